/* Around statements that put a picture into `in`, run a session, and read boxes out of `out`. */
#include <inferno.h>
#include <stdio.h>
#include <stdlib.h>

static const uint8_t pixels[720 * 1280 * 4];
static float planes[3 * 640 * 640], predictions[84 * 8400], boxes[4 * 8400], scores[8400];
static int32_t classes[8400];
static size_t best[8400];

int main(void) {
  const inferno_symbol_value batch = {"batch", 1};
  const inferno_tensor in = {INFERNO_DTYPE_F32, 4, {1, 3, 640, 640}, planes, sizeof planes};
  const inferno_tensor out = {INFERNO_DTYPE_F32, 3, {1, 84, 8400}, predictions, sizeof predictions};
  const size_t stride_bytes = 1280 * 4;
  inferno_session_options options;
  inferno_model *model;
  inferno_session *session;
  size_t count = 99, kept = 99;
  if (inferno_model_load("policy_mlp.onnx", NULL, &model)) return 1;
  if (inferno_session_options_init(&options, sizeof options)) return 1;
  options.symbols = &batch;
  options.symbol_count = 1;
  if (inferno_session_new(model, &options, &session)) return 1;
  /* One box of 100 x 50 around the middle of the picture, of class 7. */
  predictions[0] = predictions[8400] = 320;
  predictions[2 * 8400] = 100;
  predictions[3 * 8400] = 50;
  predictions[(4 + 7) * 8400] = 0.9f;
  {
    CODE
  }
  if (count != 1 || kept != 1 || best[0] != 0 || classes[0] != 7) {
    printf("%d boxes, %d kept: %s\n", (int)count, (int)kept, inferno_last_error());
    return 1;
  }
  /* 640 pixels were 1280: the box is twice as large there. */
  printf("%.0f %.0f %.0f %.0f\n", (double)boxes[0], (double)boxes[1], (double)boxes[2], (double)boxes[3]);
  return boxes[0] != 540 || boxes[2] != 740 || boxes[1] != 310 || boxes[3] != 410;
}
