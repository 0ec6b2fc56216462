// inferno.hpp with exceptions, in the same program as without.

#define INFERNO_EXCEPTIONS 1
#if defined(__cpp_exceptions)

#include <inferno.hpp>

#include "check.hpp"
#include "throwing.hpp"

#include <string>

namespace {

template <class Call>
inferno_status thrown_by(Call call) {
  try {
    call();
  } catch (const inferno::exception& error) {
    CHECK(std::string(error.what()) != "");
    return error.code();
  }
  return INFERNO_STATUS_OK;
}

}  // namespace

void throwing() {
  const inferno::model model = inferno::model::load_default();
  inferno::session session =
      inferno::session::create(model, inferno::session_options().with_shape("image", {1, 64}));
  inferno::view<float> image = session.input<float>(0);
  std::copy(zero, zero + 64, image.begin());
  session.run();
  CHECK(digit(session.output<float>(0)) == 0);
  CHECK(model.input_count() == 1);

  CHECK(thrown_by([] { inferno::model::load("no/such/model.onnx"); }) == INFERNO_STATUS_NOT_FOUND);
  CHECK(thrown_by([&] { session.output<double>(0); }) == INFERNO_STATUS_DTYPE_MISMATCH);
  CHECK(thrown_by([] { inferno::session().run(); }) == INFERNO_STATUS_INVALID_HANDLE);
  CHECK(thrown_by([&] {
          inferno::session::create(
              model, inferno::session_options().with_constant("nobody", std::int64_t{1}));
        }) != INFERNO_STATUS_OK);
  session.run();
}

#else

#include "throwing.hpp"

void throwing() {}

#endif
