#include "model.h"

#include <utility>

namespace backend {
namespace {

using message = owned<TRITONSERVER_Message, TRITONSERVER_MessageDelete>;

std::string configuration_of(TRITONBACKEND_Model* triton) {
  TRITONSERVER_Message* given = nullptr;
  check(TRITONBACKEND_ModelConfig(triton, 1, &given));
  const message ours(given);
  const char* json = nullptr;
  std::size_t size = 0;
  check(TRITONSERVER_MessageSerializeToJson(given, &json, &size));
  return std::string(json, size);
}

void set_configuration(TRITONBACKEND_Model* triton, const std::string& json) {
  TRITONSERVER_Message* made = nullptr;
  check(TRITONSERVER_MessageNewFromSerializedJson(&made, json.data(), json.size()));
  const message ours(made);
  check(TRITONBACKEND_ModelSetConfig(triton, 1, made));
}

std::string path_of(TRITONBACKEND_Model* triton, std::uint64_t version, const std::string& file) {
  TRITONBACKEND_ArtifactType kind = TRITONBACKEND_ARTIFACT_FILESYSTEM;
  const char* folder = nullptr;
  check(TRITONBACKEND_ModelRepository(triton, &kind, &folder));
  if (kind != TRITONBACKEND_ARTIFACT_FILESYSTEM) throw unsupported("inferno: the model's repository is no folder");
  return std::string(folder) + "/" + std::to_string(version) + "/" + file;
}

inferno::model load(const std::string& path, const std::string& name, const settings& given) {
  inferno::model_options options;
  options.with_name(name).with_isolation(given.isolation).with_budget({INFERNO_NO_BUDGET, given.memory_limit_bytes});
  if (given.load_timeout.count() > 0) {
    inferno_model_limits limits{};
    static_cast<void>(inferno_model_limits_init(&limits, sizeof limits));
    limits.load_time_ns = static_cast<std::uint64_t>(std::chrono::nanoseconds(given.load_timeout).count());
    options.with_limits(limits);
  }
  inferno_model_options c_options = options.c_options();
  if (!given.cache_dir.empty()) c_options.cache_dir = given.cache_dir.c_str();
  inferno_model* made = nullptr;
  const inferno_status status = inferno_model_load(path.c_str(), &c_options, &made);
  return inferno::detail::give(status, inferno::model(made));
}

}  // namespace

model_state::model_state(TRITONBACKEND_Model* triton, const shared& backend) : common(backend) {
  const char* given_name = nullptr;
  bool may_complete = false;
  check(TRITONBACKEND_ModelName(triton, &given_name));
  check(TRITONBACKEND_ModelVersion(triton, &version));
  check(TRITONBACKEND_ModelAutoCompleteConfig(triton, &may_complete));
  name = given_name;
  config given(configuration_of(triton));
  options = given.parameters();
  model = load(path_of(triton, version, given.model_file()), name, options);
  tensors = ports_of(model);
  if (may_complete) given.complete(tensors, common.default_max_batch);
  given.validate(tensors);
  if (may_complete) set_configuration(triton, given.text());
  max_batch = given.max_batch();
  metrics = model_metrics(common.families, name, version);
  metrics.hold(model.memory_stats());
}

}  // namespace backend
