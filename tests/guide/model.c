/* Around statements that set options of a load. */
#include <inferno.h>
#include <stdio.h>

int main(void) {
  inferno_model_options options;
  inferno_model *model;
  if (inferno_model_options_init(&options, sizeof options) != INFERNO_STATUS_OK) return 1;
  CODE
  if (inferno_model_load("policy_mlp.onnx", &options, &model) != INFERNO_STATUS_OK) {
    printf("%s\n", inferno_last_error());
    return 1;
  }
  return inferno_model_free(model) != INFERNO_STATUS_OK;
}
