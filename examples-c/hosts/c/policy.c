/* A policy network in a game's loop, from the first load to the last shutdown: it runs every frame,
 * refuses a bad file without losing the good one, is reloaded while in use, and started again.
 *
 *   policy MODEL.onnx        (one input [batch, 64], one output [batch, 16])
 *
 * Build it with what is beside it: `make` (pkg-config), `meson setup build`, or by hand:
 *
 *   cc policy.c $(pkg-config --cflags --libs inferno) -o policy */

#include <inferno.h>
#include <stdio.h>
#include <string.h>

enum { OBSERVATION = 64, ACTIONS = 16, FRAMES = 600 };

/* What the game holds: a session, and the memory in it that observations are written to. The
 * session keeps its model alive. */
struct policy {
  inferno_session *session;
  inferno_tensor observation;
};

static int failed(const char *what, inferno_status status) {
  if (status == INFERNO_STATUS_OK) return 0;
  fprintf(stderr, "%s: %s: %s\n", what, inferno_status_name((int32_t)status), inferno_last_error());
  return 1;
}

static inferno_status policy_open(const char *path, struct policy *policy) {
  const inferno_symbol_value batch = {"batch", 1};
  inferno_session_options options;
  inferno_model *model = NULL;
  inferno_status status = inferno_session_options_init(&options, sizeof options);
  policy->session = NULL;
  options.symbols = &batch;
  options.symbol_count = 1;
  if (status == INFERNO_STATUS_OK) status = inferno_model_load(path, NULL, &model);
  if (status == INFERNO_STATUS_OK) status = inferno_session_new(model, &options, &policy->session);
  if (status == INFERNO_STATUS_OK) {
    status = inferno_session_input(policy->session, 0, &policy->observation);
  }
  if (status == INFERNO_STATUS_OK && policy->observation.size_bytes != OBSERVATION * sizeof(float)) {
    printf("%s: a model, but not one for this game\n", path);
    status = INFERNO_STATUS_SHAPE_MISMATCH;
  } else if (status != INFERNO_STATUS_OK) {
    /* Said at once: the frees below are calls, too, and change the thread's text. */
    printf("refused: %s: %s\n", inferno_status_name((int32_t)status), inferno_last_error());
  }
  if (status != INFERNO_STATUS_OK) {
    inferno_session_free(policy->session);
    policy->session = NULL;
  }
  inferno_model_free(model);
  return status;
}

/* Puts the model at `path` in the place of the one in use, or leaves that as it is. */
static inferno_status policy_reload(const char *path, struct policy *policy) {
  struct policy fresh;
  const inferno_status status = policy_open(path, &fresh);
  if (status == INFERNO_STATUS_OK) {
    inferno_session_free(policy->session);
    *policy = fresh;
  }
  return status;
}

/* One frame: what the agent sees goes in, the best action comes out. */
static int decide(struct policy *policy, int frame, float *value) {
  float *observation = policy->observation.data;
  inferno_tensor action;
  int best = 0;
  for (int i = 0; i < OBSERVATION; i++) {
    observation[i] = (float)((i + frame) % 8) / 8.0f - 0.5f;
  }
  if (failed("run", inferno_session_run(policy->session, NULL)) ||
      failed("output", inferno_session_output(policy->session, 0, &action)) ||
      action.size_bytes != ACTIONS * sizeof(float)) {
    return -1;
  }
  for (int i = 1; i < ACTIONS; i++) {
    if (((const float *)action.data)[i] > ((const float *)action.data)[best]) best = i;
  }
  *value = ((const float *)action.data)[best];
  return best;
}

/* The first frame again: whether the policy decides as it did. */
static int same(struct policy *policy, int action, float value) {
  float again;
  return decide(policy, 0, &again) == action && again == value;
}

int main(int argc, char **argv) {
  struct policy policy;
  float value;
  int action;
  if (argc != 2) {
    fprintf(stderr, "usage: policy MODEL.onnx\n");
    return 2;
  }
  if (failed("init", inferno_init(NULL))) return 1;
  if (policy_open(argv[1], &policy) != INFERNO_STATUS_OK) return 1;
  action = decide(&policy, 0, &value);
  if (action < 0) return 1;
  printf("answer: action %d of %d, value %.6f\n", action, ACTIONS, (double)value);
  for (int frame = 1; frame < FRAMES; frame++) {
    float ignored;
    if (decide(&policy, frame, &ignored) < 0) return 1;
  }

  /* An artist saves half a file: the game goes on with what it has. */
  if (policy_reload("no-such-policy.onnx", &policy) != INFERNO_STATUS_NOT_FOUND) return 1;
  if (!same(&policy, action, value)) return 1;
  if (policy_reload(argv[1], &policy) != INFERNO_STATUS_OK) return 1;
  if (!same(&policy, action, value)) return 1;
  printf("reloaded: same answer\n");

  /* After the last shutdown handles are stale, which is an answer and no crash. */
  if (failed("shutdown", inferno_shutdown())) return 1;
  if (inferno_session_run(policy.session, NULL) != INFERNO_STATUS_INVALID_HANDLE) return 1;
  if (failed("init", inferno_init(NULL))) return 1;
  if (policy_open(argv[1], &policy) != INFERNO_STATUS_OK) return 1;
  if (!same(&policy, action, value)) return 1;
  printf("restarted: same answer\n");
  inferno_session_free(policy.session);
  return failed("shutdown", inferno_shutdown());
}
