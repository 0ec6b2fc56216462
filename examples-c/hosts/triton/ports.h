// Inputs and outputs of a model, as Inferno tells them and as Triton names their types.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "failure.h"

namespace backend {

using dims = std::vector<std::int64_t>;

// An input or output of a model.
struct port {
  std::string name;
  std::int32_t dtype = INFERNO_DTYPE_UNDEFINED;
  bool has_rank = true;              // a model may leave even that open
  dims shape;                        // -1 for what the model leaves open
  std::vector<std::string> symbols;  // for each dim; empty where there is none

  bool is_scalar() const { return has_rank && shape.empty(); }
  bool is_string() const { return dtype == INFERNO_DTYPE_STRING; }
};

struct ports {
  std::vector<port> inputs, outputs;

  // The model says itself that its first dims are a batch: they are all one symbol, which stands nowhere
  // else. A queue of Inferno's asks for the same.
  bool is_batched() const;
  // Every first dim is open: it may be batched if its user says so.
  bool may_be_batched() const;
};

ports ports_of(const inferno::model& model);

TRITONSERVER_DataType triton_type(std::int32_t dtype);
// As config.pbtxt has it, such as "TYPE_FP32".
const char* config_type(std::int32_t dtype);

// "[2,-1,5]"
std::string text_of(const dims& shape);

}  // namespace backend
