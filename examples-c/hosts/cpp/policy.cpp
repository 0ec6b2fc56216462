// A policy network in a C++ game's loop: load, run every frame, an error that is handled, reload,
// shutdown, start again. Owners end what they own; nothing throws.
//
//   policy MODEL.onnx        (one input [batch, 64], one output [batch, 16])

#include <inferno.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <string>
#include <utility>

namespace {

struct decision {
  std::ptrdiff_t action = -1;
  float value = 0.0F;
  bool operator==(const decision& other) const {
    return action == other.action && value == other.value;
  }
};

class policy {
 public:
  /** Loads a model; a session keeps it alive. */
  static inferno::result<policy> open(const std::string& path) {
    auto model = inferno::model::load(path);
    if (!model) return inferno::status(model.error());
    auto session =
        inferno::session::create(*model, inferno::session_options().with_symbol("batch", 1));
    if (!session) return inferno::status(session.error());
    auto observation = session->input<float>(0);
    if (!observation) return inferno::status(observation.error());
    return policy(std::move(*session), *observation);
  }

  /** One frame: what the agent sees goes in, the best action comes out. */
  inferno::result<decision> decide(std::size_t frame) {
    for (std::size_t i = 0; i < observation_.size(); ++i) {
      observation_[i] = static_cast<float>((i + frame) % 8) / 8.0F - 0.5F;
    }
    if (inferno::status ran = session_.run(); !ran) return ran;
    const auto actions = session_.output<float>(0);
    if (!actions) return inferno::status(actions.error());
    const auto best = std::max_element(actions->begin(), actions->end());
    return decision{best - actions->begin(), *best};
  }

  bool decides(const decision& expected) {
    const auto again = decide(0);
    return again && *again == expected;
  }

 private:
  policy(inferno::session session, inferno::view<float> observation)
      : session_(std::move(session)), observation_(observation) {}

  inferno::session session_;
  inferno::view<float> observation_;  // memory of the session's
};

int complain(const char* what, const inferno::status& status) {
  std::fprintf(stderr, "%s: %s: %s\n", what, status.name(), status.text().c_str());
  return 1;
}

int play(const std::string& path, bool again, decision& first) {
  auto runtime = inferno::runtime::start();
  if (!runtime) return complain("init", runtime.error());
  auto agent = policy::open(path);
  if (!agent) return complain("load", agent.error());
  if (again) {
    if (!agent->decides(first)) return 1;
    std::printf("restarted: same answer\n");
    return 0;
  }
  auto answer = agent->decide(0);
  if (!answer) return complain("run", answer.error());
  first = *answer;
  std::printf("answer: action %td of 16, value %.6f\n", first.action,
              static_cast<double>(first.value));
  for (std::size_t frame = 1; frame < 600; ++frame) {
    if (auto ran = agent->decide(frame); !ran) return complain("run", ran.error());
  }

  // A bad file leaves the policy in use as it is; a good one takes its place.
  auto bad = policy::open("no-such-policy.onnx");
  if (bad || !agent->decides(first)) return 1;
  std::printf("refused: %s: %s\n", bad.error().name(), bad.error().text().c_str());
  auto fresh = policy::open(path);
  if (!fresh) return complain("reload", fresh.error());
  *agent = std::move(*fresh);
  if (!agent->decides(first)) return 1;
  std::printf("reloaded: same answer\n");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: policy MODEL.onnx\n");
    return 2;
  }
  // Each play starts the runtime and ends it: a level, or a plug-in that is taken out and put back.
  decision first;
  const int failed = play(argv[1], false, first);
  return failed != 0 ? failed : play(argv[1], true, first);
}
