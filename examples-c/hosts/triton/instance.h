// An instance of a model: what runs the batches that Triton makes, one at a time.

#pragma once

#include <vector>

#include "request.h"
#include "sessions.h"

namespace backend {

class instance_state {
 public:
  // Makes its sessions as far as they are known.
  instance_state(TRITONBACKEND_ModelInstance* triton, const model_state& model);

  // Answers every request, with an error where it must. Throws only while all of them are Triton's.
  void execute(TRITONBACKEND_Request** requests, std::uint32_t count);

 private:
  // Requests that run together.
  struct group {
    request** first;
    std::size_t count;
    stamps when;

    request** begin() const { return first; }
    request** end() const { return first + count; }
  };

  void run(group together) noexcept;
  void finish(group& together, bool has_run) noexcept;
  // One run of the model for all of a group.
  void compute(group& together);
  void fill(inferno::session& session, std::size_t input, const group& together) const;
  void fill_strings(inferno::session& session, std::size_t input, std::int64_t rows, const group& together) const;
  void scatter(const port& one, const inferno_tensor& tensor, std::int64_t rows, const group& together) const;

  TRITONBACKEND_ModelInstance* triton_;
  const model_state& model_;
  sessions sessions_;
  instance_metrics metrics_;
};

}  // namespace backend
