// What /metrics tells of Inferno besides the server's own counts. A server without metrics refuses to make
// any: then all of this does nothing.

#pragma once

#include <cstdint>
#include <string>

#include "failure.h"

namespace backend {

class metric_families {
 public:
  metric_families();

 private:
  friend class model_metrics;
  friend class instance_metrics;
  using family = owned<TRITONSERVER_MetricFamily, TRITONSERVER_MetricFamilyDelete>;
  family runs_, failures_, rows_, padding_, memory_;
};

using metric = owned<TRITONSERVER_Metric, TRITONSERVER_MetricDelete>;

// Of a version of a model. This and the next are to be ended before the families; any thread may add.
class model_metrics {
 public:
  model_metrics() = default;
  model_metrics(const metric_families& families, const std::string& model, std::uint64_t version);

  void hold(const inferno_memory_stats& memory) const noexcept;

 private:
  metric memory_;
};

// Of one of its instances.
class instance_metrics {
 public:
  instance_metrics(const metric_families& families, const std::string& model, std::uint64_t version,
                   const std::string& instance);

  // A run of so many rows, and so many more of zeros.
  void count_run(std::int64_t rows, std::int64_t padding) const noexcept;
  void count_failure() const noexcept;

 private:
  metric runs_, failures_, rows_, padding_;
};

}  // namespace backend
