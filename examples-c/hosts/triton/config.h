// A model's configuration: config.pbtxt as Triton hands it over, in JSON. What it leaves out is completed
// from the model, what it says is held against the model, and its parameters become options of Inferno's.

#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "ports.h"

namespace backend {

// The `parameters` of a configuration.
struct settings {
  std::uint32_t threads = 0;                                 // "threads": of one run
  std::uint64_t memory_limit_bytes = INFERNO_NO_BUDGET;      // "memory_limit_bytes": model and instances
  std::chrono::milliseconds run_timeout{0};                  // "run_timeout_ms"; 0: none
  std::chrono::milliseconds load_timeout{0};                 // "load_timeout_ms"; 0: Inferno's default
  inferno_isolation isolation = INFERNO_ISOLATION_NONE;      // "isolation": "none" or "process"
  std::string cache_dir;                                     // "cache_dir": of compiled models
};

class config {
 public:
  explicit config(const std::string& json) : root_(nlohmann::json::parse(json)) {}

  std::string text() const { return root_.dump(); }
  // The most rows of a run; 0: requests are not joined.
  std::int64_t max_batch() const;
  // The model's file in the folder of its version.
  std::string model_file() const;
  // Throws when a parameter's value makes no sense; warns of parameters nobody knows.
  settings parameters() const;

  // Adds what is not there: inputs, outputs and, where neither was and the model has a batch dim, the
  // batch size and the dynamic batcher.
  void complete(const ports& model, std::int64_t default_max_batch);
  // Throws what of the configuration the model, or this backend, cannot do.
  void validate(const ports& model) const;

 private:
  void validate_batch(const ports& model) const;
  void validate_tensors(const char* key, const std::vector<port>& model) const;
  nlohmann::json tensors_of(const std::vector<port>& model) const;

  nlohmann::json root_;
};

// The value of --backend-config=inferno,NAME=VALUE; `fallback` where it is not given.
std::string backend_setting(const std::string& backend_config, const char* name, const char* fallback);

// A decimal number from 0 to `most`, or an error that names `what`.
std::uint64_t number(const std::string& text, const std::string& what, std::uint64_t most);

}  // namespace backend
