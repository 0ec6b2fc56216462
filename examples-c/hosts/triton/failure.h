// What can go wrong, on its way to Triton: inside the backend it is an exception, at the backend's edge
// a TRITONSERVER_Error. `check` takes an error of Triton's apart and frees it, `guard` makes one of
// whatever was thrown: nothing else leaves an entry point.

#pragma once

#define INFERNO_EXCEPTIONS 1
#include <inferno.hpp>

#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>

#include "triton_api.h"

namespace backend {

// A code of Triton's and a text.
class failure : public std::runtime_error {
 public:
  failure(TRITONSERVER_Error_Code code, const std::string& text) : std::runtime_error(text), code_(code) {}
  TRITONSERVER_Error_Code code() const noexcept { return code_; }

 private:
  TRITONSERVER_Error_Code code_;
};

inline failure unsupported(const std::string& text) { return failure(TRITONSERVER_ERROR_UNSUPPORTED, text); }
inline failure invalid(const std::string& text) { return failure(TRITONSERVER_ERROR_INVALID_ARG, text); }

// Triton's code for a status of Inferno's.
inline TRITONSERVER_Error_Code code_of(inferno_status status) {
  switch (status) {
    case INFERNO_STATUS_INVALID_ARGUMENT:
    case INFERNO_STATUS_INVALID_MODEL:
    case INFERNO_STATUS_DTYPE_MISMATCH:
    case INFERNO_STATUS_SHAPE_MISMATCH:
    case INFERNO_STATUS_SIZE_MISMATCH:
    case INFERNO_STATUS_LIMIT_EXCEEDED:
    case INFERNO_STATUS_RUN_FAILED: return TRITONSERVER_ERROR_INVALID_ARG;
    case INFERNO_STATUS_NOT_FOUND: return TRITONSERVER_ERROR_NOT_FOUND;
    case INFERNO_STATUS_UNSUPPORTED: return TRITONSERVER_ERROR_UNSUPPORTED;
    case INFERNO_STATUS_CANCELLED: return TRITONSERVER_ERROR_CANCELLED;
    case INFERNO_STATUS_OUT_OF_MEMORY:
    case INFERNO_STATUS_OUT_OF_BUDGET:
    case INFERNO_STATUS_DEADLINE_EXCEEDED: return TRITONSERVER_ERROR_UNAVAILABLE;
    default: return TRITONSERVER_ERROR_INTERNAL;
  }
}

// Throws what a call of Triton's answered, if that is an error.
inline void check(TRITONSERVER_Error* error) {
  if (error == nullptr) return;
  const std::unique_ptr<TRITONSERVER_Error, decltype(&TRITONSERVER_ErrorDelete)> owned(error,
                                                                                      TRITONSERVER_ErrorDelete);
  throw failure(TRITONSERVER_ErrorCode(error), TRITONSERVER_ErrorMessage(error));
}

// For calls after which there is nothing to be done about an error.
inline void forget(TRITONSERVER_Error* error) noexcept {
  if (error != nullptr) TRITONSERVER_ErrorDelete(error);
}

// The exception in flight as Triton's error, which the caller owns.
inline TRITONSERVER_Error* error_in_flight() noexcept {
  try {
    throw;
  } catch (const inferno::exception& why) {
    try {
      const std::string text = std::string("inferno: ") + inferno_status_name(why.code()) + ": " + why.what();
      return TRITONSERVER_ErrorNew(code_of(why.code()), text.c_str());
    } catch (...) {
      return TRITONSERVER_ErrorNew(code_of(why.code()), why.what());
    }
  } catch (const failure& why) {
    return TRITONSERVER_ErrorNew(why.code(), why.what());
  } catch (const std::bad_alloc&) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_UNAVAILABLE, "inferno: out of memory");
  } catch (const std::exception& why) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, why.what());
  } catch (...) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "inferno: an unknown exception");
  }
}

// Runs an entry point: NULL, or the error of what it threw.
template <class Body>
TRITONSERVER_Error* guard(Body&& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (...) {
    return error_in_flight();
  }
}

inline void log(TRITONSERVER_LogLevel level, const std::string& text) noexcept {
  forget(TRITONSERVER_LogMessage(level, "inferno", 0, text.c_str()));
}

// Ends what `free` ends, whatever that answers.
template <auto Free>
struct ended {
  template <class Handle>
  void operator()(Handle* handle) const noexcept {
    forget(Free(handle));
  }
};
template <class Handle, auto Free>
using owned = std::unique_ptr<Handle, ended<Free>>;

}  // namespace backend
