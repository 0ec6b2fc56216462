/* Around statements that have a model, its session's options, and make the session. */
#include <inferno.h>
#include <stdio.h>
#include <string.h>

#define MUST(call)                                                                     \
  do {                                                                                 \
    if ((call) != INFERNO_STATUS_OK) {                                                 \
      printf("%s: %s\n", #call, inferno_last_error());                                 \
      return 1;                                                                        \
    }                                                                                  \
  } while (0)

int main(void) {
  const inferno_symbol_value batch = {"batch", 1};
  inferno_session_options options;
  inferno_model *model;
  inferno_session *session = NULL;
  MUST(inferno_model_load("policy_mlp.onnx", NULL, &model));
  MUST(inferno_session_options_init(&options, sizeof options));
  options.symbols = &batch;
  options.symbol_count = 1;
  {
    CODE
  }
  MUST(inferno_session_run(session, NULL));
  return inferno_shutdown() != INFERNO_STATUS_OK;
}
