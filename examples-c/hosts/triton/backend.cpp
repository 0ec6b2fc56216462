// Inferno as a backend of Triton Inference Server: what the server calls. README.md says how it is built
// and used.
//
//   TRITONBACKEND_Backend        one of Inferno's runtimes, and what all models share
//   TRITONBACKEND_Model          a model, loaded and described     (model.h)
//   TRITONBACKEND_ModelInstance  its sessions, which run batches   (instance.h, sessions.h)
//
// Triton calls an instance from one thread at a time, and instances side by side.

#include <unistd.h>

#include "instance.h"

namespace {

using namespace backend;

constexpr const char* default_rows = "4";  // Triton's own default
constexpr std::uint64_t most_rows = 4096;

// Lines of Inferno's log become lines of the server's.
void log_line(void*, std::int32_t level, const char* module, const char* message) noexcept {
  const TRITONSERVER_LogLevel as = level <= INFERNO_LOG_LEVEL_ERROR  ? TRITONSERVER_LOG_ERROR
                                   : level == INFERNO_LOG_LEVEL_WARN ? TRITONSERVER_LOG_WARN
                                                                     : TRITONSERVER_LOG_INFO;
  forget(TRITONSERVER_LogMessage(as, module, 0, message));
}

// The helper of isolated loads lies beside the backend; without one Inferno looks for it itself.
std::string helper_of(TRITONBACKEND_Backend* triton) {
  TRITONBACKEND_ArtifactType kind = TRITONBACKEND_ARTIFACT_FILESYSTEM;
  const char* folder = nullptr;
  check(TRITONBACKEND_BackendArtifacts(triton, &kind, &folder));
  const std::string path = std::string(folder) + "/inferno-check";
  return access(path.c_str(), X_OK) == 0 ? path : "";
}

std::int64_t rows_of(TRITONBACKEND_Backend* triton) {
  TRITONSERVER_Message* given = nullptr;
  const char* json = nullptr;
  std::size_t size = 0;
  check(TRITONBACKEND_BackendConfig(triton, &given));
  check(TRITONSERVER_MessageSerializeToJson(given, &json, &size));
  const char* name = "default-max-batch-size";
  return static_cast<std::int64_t>(
      number(backend_setting(std::string(json, size), name, default_rows), name, most_rows));
}

// What a backend, a model and an instance hold for as long as Triton has them.
struct backend_state {
  explicit backend_state(TRITONBACKEND_Backend* triton)
      : runtime(inferno::runtime::start(
            inferno::runtime_options().with_log(log_line, nullptr).with_helper_path(helper_of(triton)))),
        common{rows_of(triton), metric_families()} {}

  inferno::runtime runtime;
  shared common;
};

template <class State, class Handle>
State& state_of(TRITONSERVER_Error* (*get)(Handle*, void**), Handle* handle) {
  void* state = nullptr;
  check(get(handle, &state));
  return *static_cast<State*>(state);
}

// Makes a state and gives it to Triton, or ends it.
template <class State, class Handle, class... Arguments>
void make(TRITONSERVER_Error* (*set)(Handle*, void*), Handle* handle, const Arguments&... arguments) {
  auto made = std::make_unique<State>(handle, arguments...);
  check(set(handle, made.get()));
  static_cast<void>(made.release());
}

// Ends a state; there is none where making it failed.
template <class State, class Handle>
TRITONSERVER_Error* end(TRITONSERVER_Error* (*get)(Handle*, void**), Handle* handle) {
  return guard([&] {
    void* state = nullptr;
    check(get(handle, &state));
    delete static_cast<State*>(state);
  });
}

void check_version() {
  std::uint32_t major = 0, minor = 0;
  check(TRITONBACKEND_ApiVersion(&major, &minor));
  if (major == TRITONBACKEND_API_VERSION_MAJOR && minor >= TRITONBACKEND_API_VERSION_MINOR) return;
  throw unsupported("inferno: the server's backend API is " + std::to_string(major) + "." + std::to_string(minor) +
                    ", expected " + std::to_string(TRITONBACKEND_API_VERSION_MAJOR) + "." +
                    std::to_string(TRITONBACKEND_API_VERSION_MINOR) + " or a later minor version");
}

void check_kind(TRITONBACKEND_ModelInstance* instance) {
  TRITONSERVER_InstanceGroupKind kind = TRITONSERVER_INSTANCEGROUPKIND_CPU;
  check(TRITONBACKEND_ModelInstanceKind(instance, &kind));
  if (kind == TRITONSERVER_INSTANCEGROUPKIND_GPU) {
    throw unsupported("inferno: instance_group asks for KIND_GPU, expected KIND_CPU");
  }
}

}  // namespace

extern "C" {

TRITONSERVER_Error* TRITONBACKEND_Initialize(TRITONBACKEND_Backend* triton) {
  return guard([&] {
    check_version();
    make<backend_state>(TRITONBACKEND_BackendSetState, triton);
    log(TRITONSERVER_LOG_INFO, std::string("inferno ") + inferno_version_string());
  });
}

TRITONSERVER_Error* TRITONBACKEND_Finalize(TRITONBACKEND_Backend* triton) {
  return end<backend_state>(TRITONBACKEND_BackendState, triton);
}

TRITONSERVER_Error* TRITONBACKEND_GetBackendAttribute(TRITONBACKEND_Backend*,
                                                      TRITONBACKEND_BackendAttribute* attributes) {
  return guard([&] {
    check(TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(attributes, TRITONSERVER_INSTANCEGROUPKIND_CPU, 1,
                                                                  nullptr, 0));
    check(TRITONBACKEND_BackendAttributeSetParallelModelInstanceLoading(attributes, true));
  });
}

TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model* triton) {
  return guard([&] {
    TRITONBACKEND_Backend* owner = nullptr;
    check(TRITONBACKEND_ModelBackend(triton, &owner));
    const auto& common = state_of<backend_state>(TRITONBACKEND_BackendState, owner).common;
    make<model_state>(TRITONBACKEND_ModelSetState, triton, common);
  });
}

TRITONSERVER_Error* TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model* triton) {
  return end<model_state>(TRITONBACKEND_ModelState, triton);
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance* triton) {
  return guard([&] {
    check_kind(triton);
    TRITONBACKEND_Model* model = nullptr;
    check(TRITONBACKEND_ModelInstanceModel(triton, &model));
    make<instance_state>(TRITONBACKEND_ModelInstanceSetState, triton,
                         state_of<model_state>(TRITONBACKEND_ModelState, model));
  });
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceFinalize(TRITONBACKEND_ModelInstance* triton) {
  return end<instance_state>(TRITONBACKEND_ModelInstanceState, triton);
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance* triton,
                                                       TRITONBACKEND_Request** requests, std::uint32_t count) {
  return guard([&] {
    state_of<instance_state>(TRITONBACKEND_ModelInstanceState, triton).execute(requests, count);
  });
}

}  // extern "C"
