#include "sessions.h"

#include <algorithm>

namespace backend {
namespace {

constexpr std::size_t most_kept = 16;

bool is_about_memory(inferno_status status) {
  return status == INFERNO_STATUS_OUT_OF_BUDGET || status == INFERNO_STATUS_OUT_OF_MEMORY;
}

}  // namespace

std::int64_t sessions::rows_for(std::int64_t rows) const {
  std::int64_t power = 1;
  while (power < rows) power *= 2;
  // A request alone may have more rows than the configuration says for a batch.
  return std::max(rows, std::min(power, model_.max_batch));
}

void sessions::prepare() {
  const std::size_t skipped = model_.max_batch > 0 ? 1 : 0;
  std::vector<dims> shapes;
  for (const port& one : model_.tensors.inputs) {
    if (one.shape.size() < skipped) return;
    shapes.emplace_back(one.shape.begin() + static_cast<std::ptrdiff_t>(skipped), one.shape.end());
    const dims& shape = shapes.back();
    if (!one.has_rank || std::any_of(shape.begin(), shape.end(), [](std::int64_t dim) { return dim < 0; })) return;
  }
  std::int64_t rows = 1;
  static_cast<void>(of(rows, shapes));
  for (std::size_t made = 1; rows < model_.max_batch && made < most_kept; made++) {
    rows = rows_for(rows + 1);
    static_cast<void>(of(rows, shapes));
  }
}

inferno::session sessions::make(std::int64_t rows, const std::vector<dims>& shapes) const {
  inferno::session_options options;
  options.with_threads(model_.options.threads);
  for (std::size_t i = 0; i < shapes.size(); i++) {
    dims whole = shapes[i];
    if (model_.max_batch > 0) whole.insert(whole.begin(), rows);
    options.with_shape(model_.tensors.inputs[i].name, inferno::shape(whole.data(), whole.size()));
  }
  return inferno::session::create(model_.model, options);
}

inferno::session& sessions::of(std::int64_t rows, const std::vector<dims>& shapes) {
  const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const place& one) {
    return one.rows == rows && one.shapes == shapes;
  });
  if (found != kept_.end()) {
    kept_.splice(kept_.begin(), kept_, found);
    return found->session;
  }
  if (kept_.size() >= most_kept) kept_.pop_back();
  try {
    kept_.push_front({rows, shapes, make(rows, shapes)});
  } catch (const inferno::exception& why) {
    // What is kept for other shapes may be what is too much.
    if (!is_about_memory(why.code()) || kept_.empty()) throw;
    kept_.clear();
    kept_.push_front({rows, shapes, make(rows, shapes)});
  }
  return kept_.front().session;
}

void sessions::run(inferno::session& one) const {
  if (model_.options.run_timeout.count() > 0) one.run(model_.options.run_timeout);
  else one.run();
}

}  // namespace backend
