#include "ports.h"

#include <algorithm>

namespace backend {
namespace {

struct type_names {
  std::int32_t dtype;
  TRITONSERVER_DataType type;
  const char* config;
};

constexpr type_names types[] = {
    {INFERNO_DTYPE_BOOL, TRITONSERVER_TYPE_BOOL, "TYPE_BOOL"},
    {INFERNO_DTYPE_U8, TRITONSERVER_TYPE_UINT8, "TYPE_UINT8"},
    {INFERNO_DTYPE_U16, TRITONSERVER_TYPE_UINT16, "TYPE_UINT16"},
    {INFERNO_DTYPE_U32, TRITONSERVER_TYPE_UINT32, "TYPE_UINT32"},
    {INFERNO_DTYPE_U64, TRITONSERVER_TYPE_UINT64, "TYPE_UINT64"},
    {INFERNO_DTYPE_I8, TRITONSERVER_TYPE_INT8, "TYPE_INT8"},
    {INFERNO_DTYPE_I16, TRITONSERVER_TYPE_INT16, "TYPE_INT16"},
    {INFERNO_DTYPE_I32, TRITONSERVER_TYPE_INT32, "TYPE_INT32"},
    {INFERNO_DTYPE_I64, TRITONSERVER_TYPE_INT64, "TYPE_INT64"},
    {INFERNO_DTYPE_F16, TRITONSERVER_TYPE_FP16, "TYPE_FP16"},
    {INFERNO_DTYPE_F32, TRITONSERVER_TYPE_FP32, "TYPE_FP32"},
    {INFERNO_DTYPE_F64, TRITONSERVER_TYPE_FP64, "TYPE_FP64"},
    {INFERNO_DTYPE_STRING, TRITONSERVER_TYPE_BYTES, "TYPE_STRING"},
};

const type_names& names_of(std::int32_t dtype) {
  for (const type_names& names : types) {
    if (names.dtype == dtype) return names;
  }
  throw unsupported(std::string("Triton has no type for the dtype ") + inferno_dtype_name(dtype));
}

port port_of(const inferno_tensor_info& info) {
  port made;
  made.name = info.name;
  made.dtype = info.dtype;
  made.has_rank = info.rank >= 0;
  for (std::int32_t axis = 0; axis < info.rank; axis++) {
    made.shape.push_back(info.dims[axis]);
    made.symbols.emplace_back(info.symbols[axis] == nullptr ? "" : info.symbols[axis]);
  }
  return made;
}

template <class Test>
bool all_ports(const ports& of, Test test) {
  return !of.inputs.empty() && !of.outputs.empty() &&
         std::all_of(of.inputs.begin(), of.inputs.end(), test) &&
         std::all_of(of.outputs.begin(), of.outputs.end(), test);
}

}  // namespace

bool ports::may_be_batched() const {
  return all_ports(*this, [](const port& one) { return !one.has_rank || (!one.shape.empty() && one.shape[0] < 0); });
}

bool ports::is_batched() const {
  if (inputs.empty() || inputs[0].shape.empty() || inputs[0].symbols[0].empty()) return false;
  const std::string& batch = inputs[0].symbols[0];
  return all_ports(*this, [&batch](const port& one) {
    return !one.shape.empty() && one.symbols[0] == batch &&
           std::count(one.symbols.begin(), one.symbols.end(), batch) == 1;
  });
}

ports ports_of(const inferno::model& model) {
  ports made;
  for (std::size_t i = 0; i < model.input_count(); i++) made.inputs.push_back(port_of(model.input(i)));
  for (std::size_t i = 0; i < model.output_count(); i++) made.outputs.push_back(port_of(model.output(i)));
  return made;
}

TRITONSERVER_DataType triton_type(std::int32_t dtype) { return names_of(dtype).type; }

const char* config_type(std::int32_t dtype) { return names_of(dtype).config; }

std::string text_of(const dims& shape) {
  std::string text = "[";
  for (std::int64_t dim : shape) text += (text.size() > 1 ? "," : "") + std::to_string(dim);
  return text + "]";
}

}  // namespace backend
