// One request of a batch: what it brought, looked at before anything runs, and its one response.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model.h"

namespace backend {

// Moments of a run, on the server's clock, in nanoseconds.
struct stamps {
  std::uint64_t begin = 0, compute_from = 0, compute_to = 0, end = 0;
};

class request {
 public:
  explicit request(TRITONBACKEND_Request* triton) : triton_(triton) {}
  request(const request&) = delete;
  request& operator=(const request&) = delete;

  // Takes the response over: from here on it is sent, and the request released, whatever happens.
  void take(TRITONBACKEND_Response* response) noexcept { response_ = response; }

  // Reads what the inputs are, with their dims. Throws what is wrong with them.
  void read(const model_state& model);

  // Rows of the batch dim; 1 where requests are not joined.
  std::int64_t rows() const { return rows_; }
  // For each input of the model the dims as they came, without the batch dim.
  const std::vector<dims>& shapes() const { return shapes_; }
  // Requests of the same shapes can run together.
  bool fits(const request& other) const { return shapes_ == other.shapes_; }

  // Appends the bytes of input `index` to `to`, and goes that far on.
  void gather(std::size_t index, char*& to) const;
  // Appends the strings of input `index`.
  void gather(std::size_t index, std::vector<std::string>& to) const;

  // Gives output `one` to the response, if the client asked for it.
  void answer(const port& one, const dims& shape, const void* data, std::size_t size_bytes);
  void answer(const port& one, const dims& shape, const char* const* strings, std::size_t count);

  // The request ends with this error, which it takes over; NULL is none, and the first one counts.
  void fail(TRITONSERVER_Error* error) noexcept;
  bool has_failed() const noexcept { return error_ != nullptr; }

  // Sends the response, whichever it is.
  void send() noexcept;
  // Tells the server what it took, and gives the request back.
  void release(TRITONBACKEND_ModelInstance* instance, const stamps& when) noexcept;

 private:
  struct tensor {
    TRITONBACKEND_Input* triton;
    std::uint32_t buffers;
    std::uint64_t size_bytes;
    std::uint64_t elements;
  };

  void read_input(const port& one, bool is_batched);
  void* buffer_for(const port& one, const dims& shape, std::size_t size_bytes);
  bool wants(const std::string& output) const;

  TRITONBACKEND_Request* triton_;
  TRITONBACKEND_Response* response_ = nullptr;
  TRITONSERVER_Error* error_ = nullptr;
  std::int64_t rows_ = 1;
  std::vector<dims> shapes_;
  std::vector<tensor> inputs_;
  bool is_sent_well_ = false;
};

}  // namespace backend
