#include "metrics.h"

#include <vector>

namespace backend {
namespace {

TRITONSERVER_MetricFamily* new_family(TRITONSERVER_MetricKind kind, const char* name, const char* help) {
  TRITONSERVER_MetricFamily* made = nullptr;
  forget(TRITONSERVER_MetricFamilyNew(&made, kind, name, help));
  return made;
}

using label = std::unique_ptr<TRITONSERVER_Parameter, decltype(&TRITONSERVER_ParameterDelete)>;

label text(const char* name, const std::string& value) {
  return label(TRITONSERVER_ParameterNew(name, TRITONSERVER_PARAMETER_STRING, value.c_str()),
               TRITONSERVER_ParameterDelete);
}

using labels = std::vector<label>;

metric new_metric(TRITONSERVER_MetricFamily* family, const labels& of) {
  std::vector<const TRITONSERVER_Parameter*> pointers;
  for (const label& one : of) pointers.push_back(one.get());
  TRITONSERVER_Metric* made = nullptr;
  if (family != nullptr) forget(TRITONSERVER_MetricNew(&made, family, pointers.data(), pointers.size()));
  return metric(made);
}

labels labels_of(const std::string& model, std::uint64_t version) {
  labels made;
  made.push_back(text("model", model));
  made.push_back(text("version", std::to_string(version)));
  return made;
}

void add(TRITONSERVER_Metric* metric, std::int64_t count) noexcept {
  if (metric != nullptr && count > 0) forget(TRITONSERVER_MetricIncrement(metric, static_cast<double>(count)));
}

}  // namespace

metric_families::metric_families()
    : runs_(new_family(TRITONSERVER_METRIC_KIND_COUNTER, "inferno_runs_total",
                       "Runs of the model that gave outputs")),
      failures_(new_family(TRITONSERVER_METRIC_KIND_COUNTER, "inferno_run_failures_total", "Runs that failed")),
      rows_(new_family(TRITONSERVER_METRIC_KIND_COUNTER, "inferno_run_rows_total",
                       "Rows that requests brought to runs")),
      padding_(new_family(TRITONSERVER_METRIC_KIND_COUNTER, "inferno_run_padding_rows_total",
                          "Rows of zeros that filled batches up")),
      memory_(new_family(TRITONSERVER_METRIC_KIND_GAUGE, "inferno_model_memory_bytes",
                         "Bytes that the model and its instances hold")) {}

model_metrics::model_metrics(const metric_families& families, const std::string& model, std::uint64_t version)
    : memory_(new_metric(families.memory_.get(), labels_of(model, version))) {}

instance_metrics::instance_metrics(const metric_families& families, const std::string& model, std::uint64_t version,
                                   const std::string& instance) {
  labels of = labels_of(model, version);
  of.push_back(text("instance", instance));
  runs_ = new_metric(families.runs_.get(), of);
  failures_ = new_metric(families.failures_.get(), of);
  rows_ = new_metric(families.rows_.get(), of);
  padding_ = new_metric(families.padding_.get(), of);
}

void instance_metrics::count_run(std::int64_t rows, std::int64_t padding) const noexcept {
  add(runs_.get(), 1);
  add(rows_.get(), rows);
  add(padding_.get(), padding);
}

void instance_metrics::count_failure() const noexcept { add(failures_.get(), 1); }

void model_metrics::hold(const inferno_memory_stats& memory) const noexcept {
  if (memory_) forget(TRITONSERVER_MetricSet(memory_.get(), static_cast<double>(memory.live_bytes)));
}

}  // namespace backend
