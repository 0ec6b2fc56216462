#include "config.h"

#include <algorithm>
#include <charconv>

namespace backend {
namespace {

using nlohmann::json;

constexpr std::uint64_t most_milliseconds = 1'000'000'000;

// protobuf writes 64-bit numbers into JSON as strings.
std::int64_t integer(const json& value) {
  return value.is_string() ? std::stoll(value.get<std::string>()) : value.get<std::int64_t>();
}

const json& list(const json& object, const char* key) {
  static const json none = json::array();
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? *found : none;
}

// Dims of an input or output as the model has them: after a reshape.
dims shape_of(const json& tensor) {
  const auto reshape = tensor.find("reshape");
  dims shape;
  for (const json& dim : reshape != tensor.end() ? list(*reshape, "shape") : list(tensor, "dims")) {
    shape.push_back(integer(dim));
  }
  return shape;
}

bool fit(const dims& given, const dims& model) {
  return std::equal(given.begin(), given.end(), model.begin(), model.end(),
                    [](std::int64_t ours, std::int64_t theirs) { return theirs < 0 || ours == theirs; });
}

// What the sequence batcher adds to requests by itself.
bool is_control(const json& root, const std::string& name) {
  const auto batching = root.find("sequence_batching");
  if (batching == root.end()) return false;
  const json& controls = list(*batching, "control_input");
  return std::any_of(controls.begin(), controls.end(),
                     [&name](const json& control) { return control.value("name", "") == name; });
}

void refuse(bool is_there, const char* what) {
  if (is_there) throw unsupported(std::string("inferno: the configuration asks for ") + what);
}

inferno_isolation isolation_of(const std::string& text) {
  if (text == "none") return INFERNO_ISOLATION_NONE;
  if (text == "process") return INFERNO_ISOLATION_PROCESS;
  throw invalid("inferno: the parameter isolation is \"" + text + "\", expected \"none\" or \"process\"");
}

}  // namespace

std::uint64_t number(const std::string& text, const std::string& what, std::uint64_t most) {
  std::uint64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || code != std::errc() || end != text.data() + text.size() || value > most) {
    throw invalid("inferno: " + what + " is \"" + text + "\", expected a number from 0 to " +
                  std::to_string(most));
  }
  return value;
}

std::string backend_setting(const std::string& backend_config, const char* name, const char* fallback) {
  const json root = json::parse(backend_config);
  const auto given = root.find("cmdline");
  return given == root.end() ? fallback : given->value(name, fallback);
}

std::int64_t config::max_batch() const {
  const auto found = root_.find("max_batch_size");
  return found == root_.end() ? 0 : integer(*found);
}

std::string config::model_file() const {
  const std::string given = root_.value("default_model_filename", "");
  if (given.find("..") != std::string::npos) {
    throw invalid("inferno: default_model_filename is \"" + given + "\", expected a file in the version's folder");
  }
  return given.empty() ? "model.onnx" : given;
}

settings config::parameters() const {
  settings made;
  const auto given = root_.find("parameters");
  if (given == root_.end()) return made;
  for (const auto& [name, value] : given->items()) {
    const std::string text = value.value("string_value", "");
    const std::string what = "the parameter " + name;
    if (name == "threads") {
      made.threads = static_cast<std::uint32_t>(number(text, what, INFERNO_MAX_THREADS));
    } else if (name == "memory_limit_bytes") {
      made.memory_limit_bytes = number(text, what, INFERNO_NO_BUDGET);
    } else if (name == "run_timeout_ms") {
      made.run_timeout = std::chrono::milliseconds(number(text, what, most_milliseconds));
    } else if (name == "load_timeout_ms") {
      made.load_timeout = std::chrono::milliseconds(number(text, what, most_milliseconds));
    } else if (name == "isolation") {
      made.isolation = isolation_of(text);
    } else if (name == "cache_dir") {
      made.cache_dir = text;
    } else {
      log(TRITONSERVER_LOG_WARN, "inferno: " + what + " means nothing to this backend");
    }
  }
  return made;
}

// Triton has no tensors without dims: those are [1] to its clients. With a batch the server reshapes
// them, without one the backend does.
json config::tensors_of(const std::vector<port>& model) const {
  json tensors = json::array();
  for (const port& one : model) {
    if (!one.has_rank) {
      throw invalid("inferno: the model does not say how many dims `" + one.name +
                    "` has: write the inputs and outputs into config.pbtxt");
    }
    const dims shape(one.shape.begin() + (max_batch() > 0 ? 1 : 0), one.shape.end());
    json tensor = {{"name", one.name}, {"data_type", config_type(one.dtype)}, {"dims", shape}};
    if (shape.empty()) {
      tensor["dims"] = {1};
      if (max_batch() > 0) tensor["reshape"] = {{"shape", json::array()}};
    }
    tensors.push_back(tensor);
  }
  return tensors;
}

void config::complete(const ports& model, std::int64_t default_max_batch) {
  const bool is_bare = list(root_, "input").empty() && list(root_, "output").empty();
  if (is_bare && max_batch() == 0 && model.is_batched()) root_["max_batch_size"] = default_max_batch;
  validate_batch(model);
  if (list(root_, "input").empty()) root_["input"] = tensors_of(model.inputs);
  if (list(root_, "output").empty()) root_["output"] = tensors_of(model.outputs);
  const bool is_scheduled = root_.contains("dynamic_batching") || root_.contains("sequence_batching") ||
                            root_.contains("ensemble_scheduling");
  if (is_bare && max_batch() > 1 && !is_scheduled) root_["dynamic_batching"] = json::object();
}

void config::validate_tensors(const char* key, const std::vector<port>& model) const {
  for (const json& tensor : list(root_, key)) {
    const std::string name = tensor.value("name", "");
    const std::string what = std::string("inferno: the configuration's ") + key + " `" + name + "`";
    const auto found =
        std::find_if(model.begin(), model.end(), [&name](const port& one) { return one.name == name; });
    if (found == model.end()) {
      std::string names;
      for (const port& one : model) names += (names.empty() ? "`" : ", `") + one.name + "`";
      throw invalid(what + " is not in the model, which has " + names);
    }
    refuse(tensor.value("allow_ragged_batch", false), "ragged batches");
    refuse(tensor.value("optional", false), "optional inputs, which the model has not");
    const std::string type = tensor.value("data_type", "");
    if (type != config_type(found->dtype)) {
      throw invalid(what + " is " + type + ", in the model it is " + config_type(found->dtype));
    }
    dims shape = shape_of(tensor);
    if (max_batch() > 0) shape.insert(shape.begin(), -1);
    else if (found->is_scalar() && shape == dims{1}) continue;
    if (found->has_rank && !fit(shape, found->shape)) {
      throw invalid(what + " is " + text_of(shape) + (max_batch() > 0 ? " with its batch" : "") +
                    ", in the model it is " + text_of(found->shape));
    }
  }
}

void config::validate_batch(const ports& model) const {
  if (max_batch() > 0 && !model.may_be_batched()) {
    throw invalid("inferno: max_batch_size is " + std::to_string(max_batch()) +
                  ", but the first dim of some input or output of the model is fixed: expected 0");
  }
}

void config::validate(const ports& model) const {
  validate_batch(model);
  refuse(!list(root_, "batch_input").empty() || !list(root_, "batch_output").empty(), "batch inputs or outputs");
  const auto sequences = root_.find("sequence_batching");
  refuse(sequences != root_.end() && !list(*sequences, "state").empty(), "implicit states of sequences");
  const auto policy = root_.find("model_transaction_policy");
  refuse(policy != root_.end() && policy->value("decoupled", false), "decoupled answers");
  validate_tensors("input", model.inputs);
  validate_tensors("output", model.outputs);
  const json& given = list(root_, "input");
  for (const port& one : model.inputs) {
    const bool is_given = std::any_of(given.begin(), given.end(),
                                      [&one](const json& tensor) { return tensor.value("name", "") == one.name; });
    if (!is_given && !is_control(root_, one.name)) {
      throw invalid("inferno: the model's input `" + one.name + "` is not in the configuration");
    }
  }
}

}  // namespace backend
