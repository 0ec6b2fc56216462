#include "metrics.h"

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

void add(TRITONSERVER_Metric* metric, std::int64_t count) noexcept {
  if (metric != nullptr && count > 0) forget(TRITONSERVER_MetricIncrement(metric, static_cast<double>(count)));
}

}  // namespace

metric_families::metric_families()
    : runs_(new_family(TRITONSERVER_METRIC_KIND_COUNTER, "inferno_runs_total", "Runs of the model that gave outputs")),
      failures_(new_family(TRITONSERVER_METRIC_KIND_COUNTER, "inferno_run_failures_total", "Runs that failed")),
      rows_(new_family(TRITONSERVER_METRIC_KIND_COUNTER, "inferno_run_rows_total", "Rows that requests brought to runs")),
      padding_(new_family(TRITONSERVER_METRIC_KIND_COUNTER, "inferno_run_padding_rows_total",
                      "Rows of zeros that filled batches up")),
      memory_(new_family(TRITONSERVER_METRIC_KIND_GAUGE, "inferno_model_memory_bytes",
                     "Bytes that the model and its instances hold")) {}

model_metrics::model_metrics(const metric_families& families, const std::string& model, std::uint64_t version) {
  const label names[] = {text("model", model), text("version", std::to_string(version))};
  const TRITONSERVER_Parameter* labels[] = {names[0].get(), names[1].get()};
  const auto of = [&labels](const metric_families::family& family) {
    TRITONSERVER_Metric* made = nullptr;
    if (family) forget(TRITONSERVER_MetricNew(&made, family.get(), labels, 2));
    return metric(made);
  };
  runs_ = of(families.runs_);
  failures_ = of(families.failures_);
  rows_ = of(families.rows_);
  padding_ = of(families.padding_);
  memory_ = of(families.memory_);
}

void model_metrics::count_run(std::int64_t rows, std::int64_t padding) const noexcept {
  add(runs_.get(), 1);
  add(rows_.get(), rows);
  add(padding_.get(), padding);
}

void model_metrics::count_failure() const noexcept { add(failures_.get(), 1); }

void model_metrics::hold(const inferno_memory_stats& memory) const noexcept {
  if (memory_) forget(TRITONSERVER_MetricSet(memory_.get(), static_cast<double>(memory.live_bytes)));
}

}  // namespace backend
