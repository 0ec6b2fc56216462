/* Around statements that make a queue, submit an observation and wait for its answer. */
#include <inferno.h>
#include <stdio.h>

int main(void) {
  inferno_model *model;
  inferno_queue *queue;
  inferno_job *job;
  inferno_tensor action;
  float values[64] = {0};
  const inferno_tensor observation = {.dtype = INFERNO_DTYPE_F32, .rank = 2, .dims = {1, 64},
                                      .data = values, .size_bytes = sizeof values};
  if (inferno_model_load("policy_mlp.onnx", NULL, &model) != INFERNO_STATUS_OK) return 1;
  {
    CODE
  }
  inferno_queue_free(queue);
  inferno_model_free(model);
  return inferno_shutdown() != INFERNO_STATUS_OK;
}
