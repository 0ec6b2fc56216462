// The C++ header: owners that end what they own, results instead of statuses.
//
//   c++ -std=c++17 raii.cpp -I../include -L../target/release -linferno -o raii

#include <inferno.hpp>

#include <algorithm>
#include <cstdio>

namespace {

int complain(const inferno::status& status) {
  std::fprintf(stderr, "%s: %s\n", status.name(), status.text().c_str());
  return 1;
}

}  // namespace

int main() {
  auto model = inferno::model::load_default();
  if (!model) return complain(model.error());

  auto session = inferno::session::create(
      *model, inferno::session_options().with_symbol("batch", 1));
  if (!session) return complain(session.error());

  // An upright stroke, drawn straight into the session's memory.
  auto image = session->input<float>(0);
  if (!image) return complain(image.error());
  for (std::size_t i = 0; i < image->size(); ++i) {
    const std::size_t column = i % 8;
    (*image)[i] = column == 3 || column == 4 ? 16.0F : 0.0F;
  }

  if (const inferno::status ran = session->run(); !ran) return complain(ran);

  auto scores = session->output<float>(0);
  if (!scores) return complain(scores.error());
  const auto best = std::max_element(scores->begin(), scores->end());
  std::printf("label %td, confidence %.3f\n", best - scores->begin(),
              static_cast<double>(*best));

  // Asking for the wrong type is an answer, not undefined behaviour.
  if (auto wrong = session->output<int>(0); !wrong) {
    std::printf("as integers: %s\n", wrong.error().text().c_str());
  }
}
