// inferno.hpp without exceptions: values, statuses, ownership.

#include <inferno.hpp>

#include "check.hpp"
#include "throwing.hpp"

#include <string>
#include <type_traits>
#include <utility>

template <class T>
constexpr bool moves_only =
    std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T> &&
    !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;
static_assert(moves_only<inferno::model>);
static_assert(moves_only<inferno::session>);
static_assert(moves_only<inferno::runtime>);
static_assert(moves_only<inferno::queue>);
static_assert(moves_only<inferno::job>);
static_assert(sizeof(inferno::model) == sizeof(void*));
static_assert(sizeof(inferno::session) == sizeof(void*));

static_assert(inferno::dtype_of<float> == INFERNO_DTYPE_F32);
static_assert(inferno::dtype_of<const double> == INFERNO_DTYPE_F64);
static_assert(inferno::dtype_of<inferno::half> == INFERNO_DTYPE_F16);
static_assert(inferno::dtype_of<bool> == INFERNO_DTYPE_BOOL);
static_assert(inferno::dtype_of<unsigned char> == INFERNO_DTYPE_U8);
static_assert(inferno::dtype_of<long long> == INFERNO_DTYPE_I64);
static_assert(inferno::dtype_of<std::uint32_t> == INFERNO_DTYPE_U32);
static_assert(inferno::dtype_of<void*> == INFERNO_DTYPE_UNDEFINED);

namespace {

inferno::session make_session(const inferno::model& model, std::int64_t batch) {
  auto made = inferno::session::create(
      model, inferno::session_options().with_symbol("batch", batch));
  CHECK(made);
  return *std::move(made);
}

inferno::model make_model() {
  auto made = inferno::model::load_default();
  CHECK(made);
  return *std::move(made);
}

void describes() {
  const inferno::model model = make_model();
  CHECK(*model.input_count() == 1);
  CHECK(*model.output_count() == 1);
  CHECK(*model.find_input("image") == 0);
  CHECK(*model.find_output("probabilities") == 0);
  const auto image = model.input(0);
  CHECK(image && std::string(image->name) == "image");
  CHECK(image->dtype == INFERNO_DTYPE_F32 && image->rank == 2 && image->dims[1] == 64);
  CHECK(image->dims[0] == -1 && std::string(image->symbols[0]) == "batch");
  const auto scores = model.output(0);
  CHECK(scores && std::string(scores->name) == "probabilities" && scores->dims[1] == 10);
  CHECK(model.info() && model.info()->opset_version > 0);
  CHECK(std::string(*model.find_metadata("task")) == "image-classification");
  CHECK(*model.metadata_count() > 0);
  CHECK(model.metadata(0)->first != nullptr && model.metadata(0)->second != nullptr);
}

void classifies() {
  const inferno::model model = make_model();
  inferno::session session = make_session(model, 1);
  CHECK(session.prepare());

  auto image = session.input<float>(0);
  CHECK(image && image->size() == 64 && image->size_bytes() == 256);
  CHECK(reinterpret_cast<std::uintptr_t>(image->data()) % 64 == 0);
  std::copy(zero, zero + 64, image->begin());
  CHECK(session.run());
  auto scores = session.output<float>(0);
  CHECK(scores && scores->size() == 10 && !scores->empty());
  CHECK(digit(*scores) == 0);
  CHECK((*scores)[0] > 0.5F);
  float sum = 0;
  for (float score : *scores) sum += score;
  CHECK(sum > 0.999F && sum < 1.001F);

  auto tensor = session.output_tensor(0);
  CHECK(tensor && tensor->data == scores->data());
  const inferno::shape dims(*tensor);
  CHECK(dims.rank() == 2 && dims[0] == 1 && dims[1] == 10);
  CHECK(session.input_tensor(0)->size_bytes == 256);

  float copy[10];
  CHECK(*session.copy_output(0, nullptr, 0) == sizeof copy);
  CHECK(*session.copy_output(0, copy, sizeof copy) == sizeof copy);
  CHECK(std::equal(copy, copy + 10, scores->begin()));
  CHECK(session.copy_output(0, copy, 4).error().code() == INFERNO_STATUS_SIZE_MISMATCH);
}

void sets_and_binds() {
  const inferno::model model = make_model();
  inferno::session session = make_session(model, 1);
  CHECK(session.set_input(0, zero, {1, 64}));
  CHECK(session.run());
  CHECK(digit(*session.output<float>(0)) == 0);

  // The session reads from and writes to memory of ours.
  float pixels[128];
  std::copy(zero, zero + 64, pixels);
  std::copy(zero, zero + 64, pixels + 64);
  float scores[20] = {};
  CHECK(session.set_shape(0, {2, 64}));
  CHECK(session.bind_input(0, pixels, {2, 64}));
  CHECK(session.bind_output(0, scores, {2, 10}));
  CHECK(session.run());
  CHECK(digit(scores) == 0 && digit(scores + 10) == 0);
  CHECK(session.unbind_output(0));
  CHECK(session.unbind_input(0));
  std::fill(std::begin(scores), std::end(scores), 0.0F);
  CHECK(session.run());
  CHECK(scores[0] == 0.0F);
  CHECK(session.reset());
  CHECK(session.output<float>(0).error().code() == INFERNO_STATUS_NOT_READY);
}

void in_order(void*, std::uint32_t count, inferno_job_function job, void* job_data) {
  for (std::uint32_t i = 0; i < count; ++i) job(job_data, i);
}

void runs_in_slices() {
  inferno::session session = make_session(make_model(), 1);
  CHECK(session.set_input(0, zero, {1, 64}));
  int slices = 1;
  while (true) {
    const auto finished = session.run_for(std::chrono::nanoseconds(1));
    CHECK(finished);
    if (!finished || *finished) break;
    CHECK(session.run().code() == INFERNO_STATUS_BUSY);
    ++slices;
  }
  CHECK(slices > 1);
  CHECK(digit(*session.output<float>(0)) == 0);
  CHECK(!*session.run_for(std::chrono::nanoseconds(-1)));
  CHECK(session.cancel());
  CHECK(session.run_for(std::chrono::seconds(1)).error().code() == INFERNO_STATUS_CANCELLED);
  CHECK(*session.run_for(std::chrono::seconds(60)));
  CHECK(inferno::session().run_for(std::chrono::seconds(1)).error().code() ==
        INFERNO_STATUS_INVALID_HANDLE);
  CHECK(inferno::session().cancel().code() == INFERNO_STATUS_INVALID_HANDLE);

  const inferno_host_jobs jobs{sizeof(inferno_host_jobs), nullptr, in_order};
  const auto options = inferno::runtime_options().with_jobs(jobs);
  CHECK(options.c_options().jobs->run == in_order);
  CHECK(inferno::runtime_options().c_options().jobs == nullptr);
}

void keeps_state() {
  inferno::session session = make_session(make_model(), 1);
  auto saved = session.save_state();
  CHECK(saved);
  CHECK(session.restore_state(*saved));
}

void refuses() {
  const auto absent = inferno::model::load(std::string("no/such/model.onnx"));
  CHECK(!absent && !absent.ok());
  CHECK(absent.error().code() == INFERNO_STATUS_NOT_FOUND);
  CHECK(absent.error().name() == std::string("NOT_FOUND"));
  CHECK(absent.error().text().find("no/such/model.onnx") != std::string::npos);
  CHECK(inferno::model::load(nullptr).error().code() == INFERNO_STATUS_INVALID_ARGUMENT);
  inferno_model_limits small{};
  CHECK(inferno_model_limits_init(&small, sizeof small) == INFERNO_STATUS_OK);
  small.max_file_bytes = 1024;
  const auto named = inferno::model_options().with_name("noise").with_limits(small);
  CHECK(inferno::model::load_memory("noise", 5, named).error().code() ==
        INFERNO_STATUS_INVALID_MODEL);

  const inferno::model model = make_model();
  CHECK(model.input(7).error().code() == INFERNO_STATUS_NOT_FOUND);
  CHECK(model.find_input("nobody").error().code() == INFERNO_STATUS_NOT_FOUND);
  CHECK(!inferno::session::create(model, inferno::session_options().with_symbol("nobody", 1)));
  CHECK(!inferno::session::create(
      model, inferno::session_options().with_shape("image", {1, 2, 3, 4, 5, 6, 7, 8, 9})));

  inferno::session open = *inferno::session::create(model);
  const inferno::status ran = open.run(std::chrono::seconds(60));
  CHECK(ran.code() == INFERNO_STATUS_NOT_READY);
  CHECK(ran.text().find("batch") != std::string::npos);

  inferno::session session = make_session(model, 1);
  const auto wrong = session.input<std::int64_t>(0);
  CHECK(wrong.error().code() == INFERNO_STATUS_DTYPE_MISMATCH);
  CHECK(wrong.error().text() == "the tensor is f32, the view asked for i64");
  CHECK(session.input<float>(1).error().code() == INFERNO_STATUS_NOT_FOUND);
  const double doubles[64] = {};
  CHECK(session.set_input(0, doubles, {1, 64}).code() == INFERNO_STATUS_DTYPE_MISMATCH);
  CHECK(!session.set_input(0, zero, {INT64_MAX, INT64_MAX}));
  CHECK(!session.set_input(0, zero, {-1, 64}));
  // A refusal leaves the session usable.
  CHECK(session.set_input(0, zero, {1, 64}));
  CHECK(session.run());
}

void moves() {
  inferno::model first = make_model();
  inferno_model* handle = first.get();
  inferno::model second = std::move(first);
  CHECK(!first && second && second.get() == handle);
  CHECK(first.input_count().error().code() == INFERNO_STATUS_INVALID_HANDLE);
  first = std::move(second);
  CHECK(first.get() == handle && !second);

  // Assigning ends what was held before.
  first = make_model();
  size_t count = 0;
  CHECK(inferno_model_input_count(handle, &count) == INFERNO_STATUS_INVALID_HANDLE);

  // A session outlives its model.
  inferno::session session = make_session(first, 1);
  first = inferno::model();
  CHECK(session.run());

  // Out to C and back.
  inferno_session* raw = session.release();
  CHECK(!session && raw != nullptr);
  inferno::session adopted(raw);
  CHECK(adopted.run());
  {
    const inferno::session ends = std::move(adopted);
  }
  CHECK(inferno_session_run(raw, nullptr) == INFERNO_STATUS_INVALID_HANDLE);
}

void count_line(void* lines, std::int32_t, const char*, const char*) {
  ++*static_cast<int*>(lines);
}

void starts_and_stops() {
  int lines = 0;
  auto outer = inferno::runtime::start(
      inferno::runtime_options().with_log(count_line, &lines, INFERNO_LOG_LEVEL_TRACE));
  CHECK(outer);
  inferno::runtime held = *std::move(outer);
  CHECK(held && !*outer);
  inferno::runtime other;
  CHECK(!other);
  other = std::move(held);
  CHECK(other && !held);
}

void isolates() {
  const auto runtime =
      inferno::runtime::start(inferno::runtime_options().with_helper_path("/nowhere/check"));
  CHECK(runtime);
  const auto refused = inferno::model::load_memory(
      "noise", 5, inferno::model_options().with_isolation(INFERNO_ISOLATION_PROCESS));
#ifdef __linux__
  CHECK(refused.error().code() == INFERNO_STATUS_NOT_FOUND);
  CHECK(refused.error().text().find("/nowhere/check") != std::string::npos);
#else
  CHECK(refused.error().code() == INFERNO_STATUS_UNSUPPORTED);
#endif
}

void keeps_to_budgets() {
  const auto runtime = inferno::runtime::start(
      inferno::runtime_options().with_budget({}).with_memory_decay(std::chrono::milliseconds(50)));
  CHECK(runtime);
  inferno::model model = make_model();
  const auto options = inferno::session_options().with_symbol("batch", 1);
  const auto need = model.memory_need(options);
  CHECK(need && need->is_measured == 1 && need->arena_bytes > 0);
  const std::uint64_t enough = need->arena_bytes + need->scratch_bytes;
  auto held = inferno::session::create(
      model, inferno::session_options().with_symbol("batch", 1).with_budget(
                 {INFERNO_NO_BUDGET, enough}));
  CHECK(held && held->run());
  CHECK(held->memory_stats()->hard_budget_bytes == enough);
  CHECK(model.memory_stats()->live_bytes > held->memory_stats()->live_bytes);
  CHECK(inferno::memory::stats()->live_bytes >= model.memory_stats()->live_bytes);
  CHECK(held->set_memory_budget({INFERNO_NO_BUDGET, 1}));
  const auto refused = held->run();
  CHECK(!refused && refused.code() == INFERNO_STATUS_OUT_OF_BUDGET);
  CHECK(held->set_memory_budget({}) && held->run());
  CHECK(model.set_memory_budget({INFERNO_NO_BUDGET, 0}) && !held->run());
  CHECK(model.set_memory_budget({}) && held->run());
  CHECK(inferno::memory::set_budget({}) && inferno::memory::reserve(65536, 65536));
  CHECK(inferno::memory::trim());
  const auto none = inferno::model::load_memory(
      "noise", 5, inferno::model_options().with_budget({INFERNO_NO_BUDGET, 0}));
  CHECK(none.error().code() == INFERNO_STATUS_OUT_OF_BUDGET);
}

void measures() {
  const auto runtime = inferno::runtime::start();
  CHECK(runtime);
  auto loaded = inferno::model::load_default();
  CHECK(loaded);
  inferno::session session = make_session(*loaded, 1);
  int reports = 0, events = 0;
  const auto by_host = [](void* user_data) {
    return inferno::subscription_options()
        .with_driver(INFERNO_METRICS_DRIVER_HOST)
        .with_interval(std::chrono::milliseconds(1))
        .with_user_data(user_data);
  };
  auto told = inferno::metrics::subscribe(
      [](void* user_data, const inferno_metrics* now, const inferno_metrics* lately) {
        *static_cast<int*>(user_data) += now->runs >= lately->runs ? 1 : 1000;
      },
      by_host(&reports));
  CHECK(told && *told);
  auto heard = inferno::audit::subscribe(
      [](void* user_data, const inferno_event*) { ++*static_cast<int*>(user_data); },
      by_host(&events));
  CHECK(heard);
  auto watched = inferno::metrics::watch(
      INFERNO_METRIC_RATE, nullptr, 1, 0.5, [](void*, std::int32_t, std::int32_t, double) {},
      by_host(nullptr));
  CHECK(watched);
  CHECK(session.set_profiling(true) && inferno::trace::start());
  for (int i = 0; i < 3; i++) CHECK(session.run());
  CHECK(session.set_profiling(false) && inferno::trace::stop());
  CHECK(session.metrics()->runs == 3 && loaded->metrics()->runs == 3);
  CHECK(inferno::metrics::snapshot()->runs == 3 && inferno::metrics::of_model(0)->runs == 3);
  CHECK(!inferno::metrics::of_model(1));
  CHECK(session.profile_table()->find("3 runs") == 0);
  CHECK(session.profile_json()->find("{\"runs\":3,") == 0);
  CHECK(session.reset_profile());
  CHECK(inferno::trace::json()->find("\"cat\":\"run\"") != std::string::npos);
  CHECK(inferno::metrics::openmetrics()->find("inferno_runs_total 3\n") != std::string::npos);
  CHECK(inferno::metrics::prometheus()->find("# EOF") == std::string::npos);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (reports == 0 && std::chrono::steady_clock::now() < until) {
    const auto due = inferno::metrics::poll();
    CHECK(due && due->has_value());
  }
  CHECK(reports == 1 && events >= 1);
  CHECK(inferno::audit::set_capacity(1 << 16));
  const auto log = inferno::audit::log();
  CHECK(log && *inferno::audit::verify(*log) >= 1);
  CHECK(!inferno::audit::verify("not a log"));
  inferno::subscription moved = *std::move(told);
  CHECK(moved && !*told);
  CHECK(inferno::metrics::set_counting(false) && session.run());
  CHECK(inferno::metrics::set_counting(true) && session.metrics()->runs == 3);
  CHECK(!inferno::metrics::export_to("/nowhere/at/all", INFERNO_METRICS_FORMAT_PROMETHEUS,
                                     by_host(nullptr)));
}

void prepares() {
  const std::uint8_t pixels[2 * 4 * 3] = {255, 0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0};
  const inferno_image image{pixels, 0, 4, 2, INFERNO_PIXEL_FORMAT_BGR};
  float planes[3 * 4 * 4];
  inferno_tensor tensor{};
  tensor.dtype = INFERNO_DTYPE_F32;
  tensor.rank = 3;
  tensor.dims[0] = 3;
  tensor.dims[1] = tensor.dims[2] = 4;
  tensor.data = planes;
  tensor.size_bytes = sizeof planes;
  auto options = inferno::prep::image_options();
  options.fit = INFERNO_FIT_LETTERBOX;
  const auto map = inferno::prep::image_to_tensor(image, tensor, options);
  CHECK(map && map->offset_y == 1 && map->scale_x == 1);
  CHECK(planes[0] > 0.44F && planes[2 * 16 + 4] == 1.0F && planes[4] == 0.0F);
  CHECK(inferno::prep::image_to_tensor(image, inferno_tensor{}).error().code() ==
        INFERNO_STATUS_INVALID_ARGUMENT);

  const std::vector<float> scores = {1, 4, 2, 4};
  std::vector<float> shares(4);
  CHECK(inferno::prep::softmax({scores.data(), 4}, {shares.data(), 4}, 4));
  CHECK(shares[1] > 0.4F && shares[1] == shares[3]);
  CHECK(inferno::prep::softmax({scores.data(), 4}, {shares.data(), 3}, 4).code() ==
        INFERNO_STATUS_SIZE_MISMATCH);
  CHECK(*inferno::prep::argmax({scores.data(), 4}) == 1);
  std::size_t best[3];
  CHECK(*inferno::prep::top_k({scores.data(), 4}, {best, 3}) == 3);
  CHECK(best[0] == 1 && best[1] == 3 && best[2] == 2);

  float said[12] = {5, 5, 4, 4, 0.9F, 0.1F, 5, 6, 4, 4, 0.8F, 0.1F};
  inferno_tensor predictions = tensor;
  predictions.rank = 2;
  predictions.dims[0] = 2;
  predictions.dims[1] = 6;
  predictions.dims[2] = 0;
  predictions.data = said;
  predictions.size_bytes = sizeof said;
  auto rows = inferno::prep::decode_options();
  rows.predictions_last = 0;
  float boxes[8], sure[2];
  std::int32_t classes[2];
  const auto count =
      inferno::prep::decode(predictions, {boxes, 8}, {sure, 2}, {classes, 2}, nullptr, rows);
  CHECK(count && *count == 2 && boxes[0] == 3 && boxes[7] == 8 && classes[1] == 0);
  CHECK(*inferno::prep::nms({boxes, 8}, {sure, 2}, {best, 3}) == 1 && best[0] == 0);
  classes[1] = 1;
  CHECK(*inferno::prep::nms({boxes, 8}, {sure, 2}, {best, 3}, {classes, 2}) == 2);
  CHECK(!inferno::prep::nms({boxes, 8}, {sure, 2}, {best, 1}));

  auto framer = inferno::audio_framer::create(4, 2, 6);
  CHECK(framer && !inferno::audio_framer::create(4, 5, 6));
  const std::int16_t shorts[8] = {16384, 0, 16384, 0, 16384, 0, 16384, 0};
  float frame[4];
  CHECK(framer->write({shorts, 8}, 2) && *framer->read({frame, 4}) && frame[3] == 0.25F);
  inferno::audio_framer moved = *std::move(framer);
  CHECK(!*moved.read({frame, 4}) && !framer->read({frame, 4}));
  CHECK(moved.write(inferno::view<const float>(frame, 2)) && *moved.read({frame, 4}));
}

void queues() {
  const inferno::model model = make_model();
  auto made = inferno::queue::create(
      model, inferno::queue_options().with_batches(8).with_capacity(9).with_breaker(
                 5, std::chrono::seconds(1)).with_retries(1, std::chrono::microseconds(10)));
  CHECK(made);
  inferno::queue queue = *std::move(made);
  int told = 0;
  const auto count = [](void* user_data, inferno_job*, inferno_status status) {
    *static_cast<int*>(user_data) += status == INFERNO_STATUS_OK ? 1 : 100;
  };
  auto first = queue.submit(zero, {1, 64}, inferno::job_options().with_callback(count, &told));
  auto second = queue.submit(zero, {2, 64},
                             inferno::job_options().with_priority(INFERNO_PRIORITY_HIGH)
                                 .with_producer(7).with_borrowed_inputs());
  CHECK(first && second);
  CHECK(first->poll().code() == INFERNO_STATUS_NOT_READY);
  CHECK(!first->output<float>(0));
  CHECK(*queue.pump(std::chrono::milliseconds(100)) == 1 && told == 1);
  CHECK(first->wait() && second->wait_for(std::chrono::seconds(1)) && second->poll());
  CHECK(digit(*first->output<float>(0)) == 0);
  CHECK(first->output<double>(0).error().code() == INFERNO_STATUS_DTYPE_MISMATCH);
  CHECK(second->output_tensor(0)->dims[0] == 2 && second->error_text().empty());
  const inferno_tensor image = [] {
    inferno_tensor tensor{};
    tensor.dtype = INFERNO_DTYPE_F32;
    tensor.rank = 2;
    tensor.dims[0] = 1;
    tensor.dims[1] = 64;
    tensor.data = const_cast<float*>(zero);
    tensor.size_bytes = 64 * sizeof(float);
    return tensor;
  }();
  CHECK(queue.post(&image, 1, inferno::job_options().with_callback(count, &told)));
  auto late = queue.submit(&image, 1, inferno::job_options().with_timeout({}));
  auto never = queue.submit(&image, 1);
  CHECK(late && never && never->cancel());
  CHECK(queue.drain() && told == 2);
  CHECK(late->poll().code() == INFERNO_STATUS_DEADLINE_EXCEEDED);
  CHECK(never->poll().code() == INFERNO_STATUS_CANCELLED && !never->error_text().empty());
  CHECK(queue.submit(&image, 1).error().code() == INFERNO_STATUS_UNAVAILABLE);
  CHECK(queue.shutdown(INFERNO_SHUTDOWN_MODE_CANCEL, std::chrono::seconds(1)));
  CHECK(queue.metrics()->batches == 2 && queue.metrics()->batch_rows == 4);
  CHECK(inferno::queue().pump().error().code() == INFERNO_STATUS_INVALID_HANDLE);

  auto driven = inferno::queue::create(
      model, inferno::queue_options().with_workers(1).with_concurrency(1).with_threads(1)
                 .with_batches(4, std::chrono::microseconds(50)).with_learned_delay(false));
  CHECK(driven);
  auto job = driven->submit(zero, {1, 64});
  CHECK(job && job->wait() && digit(*job->output<float>(0)) == 0);
  inferno::queue moved = *std::move(driven);
  CHECK(moved && !*driven);
}

}  // namespace

int main() {
  describes();
  classifies();
  sets_and_binds();
  runs_in_slices();
  keeps_state();
  refuses();
  moves();
  throwing();
  starts_and_stops();
  isolates();
  keeps_to_budgets();
  measures();
  prepares();
  queues();
  std::printf("inferno.hpp %s: ok\n", inferno_version_string());
}
