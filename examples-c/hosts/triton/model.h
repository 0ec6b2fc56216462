// A model as the server has it loaded: one version of it, its file open in Inferno, its configuration
// complete. Instances share it.

#pragma once

#include <cstdint>
#include <string>

#include "config.h"
#include "metrics.h"
#include "ports.h"

namespace backend {

// What all models share: --backend-config, and the families of metrics.
struct shared {
  std::int64_t default_max_batch;
  metric_families families;
};

struct model_state {
  // Throws what is wrong with the model, its configuration, or both.
  model_state(TRITONBACKEND_Model* triton, const shared& backend);

  const shared& common;
  std::string name;
  std::uint64_t version = 0;
  ports tensors;
  settings options;
  std::int64_t max_batch = 0;
  inferno::model model;
  model_metrics metrics;
};

}  // namespace backend
