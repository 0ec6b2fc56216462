#include "instance.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>

namespace backend {
namespace {

std::uint64_t now_ns() noexcept {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(since).count());
}

using response = owned<TRITONBACKEND_Response, TRITONBACKEND_ResponseDelete>;

std::vector<response> responses_to(TRITONBACKEND_Request** requests, std::uint32_t count) {
  std::vector<response> made;
  made.reserve(count);
  for (std::uint32_t i = 0; i < count; i++) {
    TRITONBACKEND_Response* one = nullptr;
    check(TRITONBACKEND_ResponseNew(&one, requests[i]));
    made.emplace_back(one);
  }
  return made;
}

// Whether a run that failed so for several requests may do without some of them: values of one are at
// fault, or there was no memory for so many. Time that is over is over for all.
bool may_be_split(inferno_status status) {
  return status == INFERNO_STATUS_RUN_FAILED || status == INFERNO_STATUS_INVALID_ARGUMENT ||
         status == INFERNO_STATUS_OUT_OF_BUDGET || status == INFERNO_STATUS_OUT_OF_MEMORY;
}

std::int64_t rows_of(request* const* first, request* const* last) {
  std::int64_t rows = 0;
  for (; first != last; first++) rows += (*first)->rows();
  return rows;
}

TRITONSERVER_Error* copy_of(TRITONSERVER_Error* error) noexcept {
  if (error == nullptr) return nullptr;
  return TRITONSERVER_ErrorNew(TRITONSERVER_ErrorCode(error), TRITONSERVER_ErrorMessage(error));
}

std::string name_of(TRITONBACKEND_ModelInstance* triton) {
  const char* name = nullptr;
  check(TRITONBACKEND_ModelInstanceName(triton, &name));
  return name;
}

}  // namespace

instance_state::instance_state(TRITONBACKEND_ModelInstance* triton, const model_state& model)
    : triton_(triton),
      model_(model),
      sessions_(model),
      metrics_(model.common.families, model.name, model.version, name_of(triton)) {
  sessions_.prepare();
  model_.metrics.hold(model_.model.memory_stats());
}

void instance_state::execute(TRITONBACKEND_Request** given, std::uint32_t count) {
  const std::uint64_t begin = now_ns();
  std::deque<request> requests;
  std::vector<request*> order;
  for (std::uint32_t i = 0; i < count; i++) order.push_back(&requests.emplace_back(given[i]));
  std::vector<response> responses = responses_to(given, count);

  // Nothing below throws: each request has its response by now, and gets its own error.
  for (std::uint32_t i = 0; i < count; i++) {
    request& one = *order[i];
    one.take(responses[i].release());
    one.fail(guard([&] { one.read(model_); }));
  }
  request** const last = order.data() + count;
  for (request** first = order.data(); first != last;) {
    const request& like = **first;
    request** next = first + 1;
    if (model_.max_batch > 0 && !like.has_failed()) {
      next = std::partition(next, last, [&like](const request* one) { return !one->has_failed() && like.fits(*one); });
    }
    run({first, static_cast<std::size_t>(next - first), {begin, 0, 0, 0}});
    first = next;
  }
  forget(guard([this] { model_.metrics.hold(model_.model.memory_stats()); }));
}

void instance_state::run(group together) noexcept {
  together.when.compute_from = together.when.compute_to = now_ns();
  if ((*together.first)->has_failed()) return finish(together, false);
  bool is_split = false;
  TRITONSERVER_Error* error = guard([&] {
    try {
      compute(together);
    } catch (const inferno::exception& why) {
      is_split = together.count > 1 && may_be_split(why.code());
      throw;
    }
  });
  if (error != nullptr) metrics_.count_failure();
  if (is_split) {
    for (request*& one : together) run({&one, 1, {together.when.begin, 0, 0, 0}});
  } else {
    for (request* one : together) {
      one->fail(copy_of(error));
    }
    finish(together, true);
  }
  forget(error);
}

void instance_state::finish(group& together, bool has_run) noexcept {
  for (request* one : together) one->send();
  together.when.end = now_ns();
  const stamps& when = together.when;
  if (has_run) {
    forget(TRITONBACKEND_ModelInstanceReportBatchStatistics(
        triton_, static_cast<std::uint64_t>(rows_of(together.begin(), together.end())), when.begin,
        when.compute_from, when.compute_to, when.end));
  }
  for (request* one : together) one->release(triton_, when);
}

void instance_state::compute(group& together) {
  const std::int64_t rows = rows_of(together.begin(), together.end());
  const std::int64_t padded = model_.max_batch > 0 ? sessions_.rows_for(rows) : rows;
  inferno::session& session = sessions_.of(padded, (*together.first)->shapes());
  for (std::size_t i = 0; i < model_.tensors.inputs.size(); i++) {
    if (model_.tensors.inputs[i].is_string()) fill_strings(session, i, padded, together);
    else fill(session, i, together);
  }
  together.when.compute_from = together.when.compute_to = now_ns();
  sessions_.run(session);
  together.when.compute_to = now_ns();
  metrics_.count_run(rows, padded - rows);
  for (std::size_t i = 0; i < model_.tensors.outputs.size(); i++) {
    scatter(model_.tensors.outputs[i], session.output_tensor(i), padded, together);
  }
}

// The rows of all requests one after the other, then zeros.
void instance_state::fill(inferno::session& session, std::size_t input, const group& together) const {
  const inferno_tensor tensor = session.input_tensor(input);
  char* to = static_cast<char*>(tensor.data);
  char* const end = to + tensor.size_bytes;
  for (const request* one : together) one->gather(input, to);
  if (to != end) std::memset(to, 0, static_cast<std::size_t>(end - to));
}

void instance_state::fill_strings(inferno::session& session, std::size_t input, std::int64_t rows,
                                  const group& together) const {
  std::vector<std::string> strings;
  for (const request* one : together) one->gather(input, strings);
  dims shape = (*together.first)->shapes()[input];
  if (model_.max_batch > 0) shape.insert(shape.begin(), rows);
  std::size_t count = 1;
  for (std::int64_t dim : shape) count *= static_cast<std::size_t>(dim);
  strings.resize(count);
  std::vector<const char*> pointers;
  for (const std::string& one : strings) pointers.push_back(one.c_str());
  session.set_input(input, pointers.data(), inferno::shape(shape.data(), shape.size()));
}

// Each request gets its rows of an output.
void instance_state::scatter(const port& one, const inferno_tensor& tensor, std::int64_t rows,
                             const group& together) const {
  dims shape(tensor.dims, tensor.dims + tensor.rank);
  const bool is_batched = model_.max_batch > 0;
  if (is_batched && (shape.empty() || shape[0] != rows)) {
    throw failure(TRITONSERVER_ERROR_INTERNAL, "inferno: output `" + one.name + "` has dims " + text_of(shape) +
                                                   " for a batch of " + std::to_string(rows) +
                                                   ": set max_batch_size to 0");
  }
  const std::size_t row_bytes = tensor.size_bytes / static_cast<std::size_t>(is_batched ? rows : 1);
  const char* from = static_cast<const char*>(tensor.data);
  for (request* to : together) {
    if (is_batched) shape[0] = to->rows();
    const std::size_t size = row_bytes * static_cast<std::size_t>(to->rows());
    to->fail(guard([&] {
      if (one.is_string()) to->answer(one, shape, reinterpret_cast<const char* const*>(from), size / sizeof(char*));
      else to->answer(one, shape, from, size);
    }));
    from += size;
  }
}

}  // namespace backend
