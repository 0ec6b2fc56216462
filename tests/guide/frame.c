/* Around statements of one frame, that go on with a run of a session. */
#include <inferno.h>
#include <stdio.h>

int main(void) {
  const inferno_symbol_value batch = {"batch", 1};
  inferno_session_options options;
  inferno_model *model;
  inferno_session *session = NULL;
  inferno_tensor answer;
  if (inferno_model_load("policy_mlp.onnx", NULL, &model) != INFERNO_STATUS_OK) return 1;
  inferno_session_options_init(&options, sizeof options);
  options.symbols = &batch;
  options.symbol_count = 1;
  if (inferno_session_new(model, &options, &session) != INFERNO_STATUS_OK) return 1;
  {
    CODE
  }
  if (inferno_session_run(session, NULL) != INFERNO_STATUS_OK) return 1;
  inferno_session_output(session, 0, &answer);
  return inferno_shutdown() != INFERNO_STATUS_OK;
}
