// An instance of a model: what runs the batches that Triton makes, one at a time.

#pragma once

#include <vector>

#include "request.h"
#include "sessions.h"

namespace backend {

class instance_state {
 public:
  instance_state(TRITONBACKEND_ModelInstance* triton, const model_state& model)
      : triton_(triton), model_(model), sessions_(model) {
    sessions_.prepare();
    model_.metrics.hold(model_.model.memory_stats());
  }

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
};

}  // namespace backend
