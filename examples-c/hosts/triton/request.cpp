#include "request.h"

#include <algorithm>
#include <cstring>

namespace backend {
namespace {

// Calls `take(pointer, size)` with each piece of an input.
template <class Take>
void each_buffer(TRITONBACKEND_Input* input, std::uint32_t count, Take take) {
  for (std::uint32_t i = 0; i < count; i++) {
    const void* data = nullptr;
    std::uint64_t size = 0;
    TRITONSERVER_MemoryType place = TRITONSERVER_MEMORY_CPU;
    std::int64_t device = 0;
    check(TRITONBACKEND_InputBuffer(input, i, &data, &size, &place, &device));
    if (place == TRITONSERVER_MEMORY_GPU) throw unsupported("inferno: an input lies in a GPU's memory");
    if (size > 0) take(static_cast<const char*>(data), static_cast<std::size_t>(size));
  }
}

std::uint64_t product(const dims& shape, std::uint64_t element, const std::string& name) {
  std::uint64_t size = element;
  for (std::int64_t dim : shape) {
    if (dim < 0 || __builtin_mul_overflow(size, static_cast<std::uint64_t>(dim), &size)) {
      throw invalid("inferno: input `" + name + "` has dims " + text_of(shape) + ", which no memory holds");
    }
  }
  return size;
}

}  // namespace

void request::read(const model_state& model) {
  bool is_cancelled = false;
  check(TRITONBACKEND_RequestIsCancelled(triton_, &is_cancelled));
  if (is_cancelled) throw failure(TRITONSERVER_ERROR_CANCELLED, "inferno: the request was cancelled before it ran");
  const bool is_batched = model.max_batch > 0;
  for (const port& one : model.tensors.inputs) read_input(one, is_batched);
}

void request::read_input(const port& one, bool is_batched) {
  tensor made{};
  check(TRITONBACKEND_RequestInput(triton_, one.name.c_str(), &made.triton));
  TRITONSERVER_DataType type = TRITONSERVER_TYPE_INVALID;
  const std::int64_t* dim = nullptr;
  std::uint32_t rank = 0;
  check(TRITONBACKEND_InputProperties(made.triton, nullptr, &type, &dim, &rank, &made.size_bytes, &made.buffers));
  if (type != triton_type(one.dtype)) {
    throw invalid("inferno: input `" + one.name + "` has another dtype than the model's " +
                  inferno_dtype_name(one.dtype));
  }
  dims shape(dim, dim + rank);
  made.elements = product(shape, 1, one.name);
  const std::uint64_t expected = product(shape, inferno_dtype_size(one.dtype), one.name);
  if (!one.is_string() && made.size_bytes != expected) {
    throw invalid("inferno: input `" + one.name + "` with dims " + text_of(shape) + " has " +
                  std::to_string(made.size_bytes) + " bytes, expected " + std::to_string(expected));
  }
  if (is_batched) {
    if (shape.empty() || shape[0] < 1 || (!inputs_.empty() && shape[0] != rows_)) {
      throw invalid("inferno: input `" + one.name + "` has dims " + text_of(shape) + ", expected a batch of " +
                    (inputs_.empty() ? "1 or more" : std::to_string(rows_)) + " first");
    }
    rows_ = shape[0];
    shape.erase(shape.begin());
  } else if (one.is_scalar() && shape == dims{1}) {
    shape.clear();
  }
  shapes_.push_back(std::move(shape));
  inputs_.push_back(made);
}

void request::gather(std::size_t index, char*& to) const {
  const tensor& from = inputs_[index];
  std::uint64_t left = from.size_bytes;
  each_buffer(from.triton, from.buffers, [&](const char* data, std::size_t size) {
    if (size > left) throw failure(TRITONSERVER_ERROR_INTERNAL, "inferno: an input has more bytes than it says");
    std::memcpy(to, data, size);
    to += size;
    left -= size;
  });
  if (left != 0) throw failure(TRITONSERVER_ERROR_INTERNAL, "inferno: an input has fewer bytes than it says");
}

// Triton's strings: each its length in four bytes, then itself.
void request::gather(std::size_t index, std::vector<std::string>& to) const {
  const tensor& from = inputs_[index];
  std::string bytes;
  each_buffer(from.triton, from.buffers, [&bytes](const char* data, std::size_t size) { bytes.append(data, size); });
  std::size_t at = 0;
  for (std::uint64_t i = 0; i < from.elements; i++) {
    std::uint32_t size = 0;
    if (bytes.size() - at < sizeof size) throw invalid("inferno: a tensor of strings ends too early");
    std::memcpy(&size, bytes.data() + at, sizeof size);
    at += sizeof size;
    if (bytes.size() - at < size) throw invalid("inferno: a tensor of strings ends too early");
    to.push_back(bytes.substr(at, size));
    if (to.back().find('\0') != std::string::npos) throw invalid("inferno: a string has a NUL in it");
    at += size;
  }
}

bool request::wants(const std::string& output) const {
  std::uint32_t count = 0;
  check(TRITONBACKEND_RequestOutputCount(triton_, &count));
  for (std::uint32_t i = 0; i < count; i++) {
    const char* name = nullptr;
    check(TRITONBACKEND_RequestOutputName(triton_, i, &name));
    if (output == name) return true;
  }
  return false;
}

void* request::buffer_for(const port& one, const dims& given, std::size_t size_bytes) {
  TRITONBACKEND_Output* output = nullptr;
  const dims shape = given.empty() ? dims{1} : given;
  check(TRITONBACKEND_ResponseOutput(response_, &output, one.name.c_str(), triton_type(one.dtype), shape.data(),
                                     static_cast<std::uint32_t>(shape.size())));
  void* data = nullptr;
  TRITONSERVER_MemoryType place = TRITONSERVER_MEMORY_CPU;
  std::int64_t device = 0;
  check(TRITONBACKEND_OutputBuffer(output, &data, size_bytes, &place, &device));
  if (place == TRITONSERVER_MEMORY_GPU) throw unsupported("inferno: an output is wanted in a GPU's memory");
  return data;
}

void request::answer(const port& one, const dims& shape, const void* data, std::size_t size_bytes) {
  if (!wants(one.name)) return;
  void* to = buffer_for(one, shape, size_bytes);
  if (size_bytes > 0) std::memcpy(to, data, size_bytes);
}

void request::answer(const port& one, const dims& shape, const char* const* strings, std::size_t count) {
  std::string bytes;
  for (std::size_t i = 0; i < count; i++) {
    const std::size_t size = std::strlen(strings[i]);
    const std::uint32_t prefix = static_cast<std::uint32_t>(size);
    bytes.append(reinterpret_cast<const char*>(&prefix), sizeof prefix).append(strings[i], size);
  }
  answer(one, shape, bytes.data(), bytes.size());
}

void request::fail(TRITONSERVER_Error* error) noexcept {
  if (has_failed()) forget(error);
  else error_ = error;
}

// The server takes the response over, and copies the error.
void request::send() noexcept {
  is_sent_well_ = !has_failed();
  forget(TRITONBACKEND_ResponseSend(response_, TRITONSERVER_RESPONSE_COMPLETE_FINAL, error_));
  forget(error_);
  error_ = nullptr;
}

void request::release(TRITONBACKEND_ModelInstance* instance, const stamps& when) noexcept {
  forget(TRITONBACKEND_ModelInstanceReportStatistics(instance, triton_, is_sent_well_, when.begin,
                                                     when.compute_from, when.compute_to, when.end));
  forget(TRITONBACKEND_RequestRelease(triton_, TRITONSERVER_REQUEST_RELEASE_ALL));
}

}  // namespace backend
