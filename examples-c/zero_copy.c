/* Memory without copies of the host's own: views into the session, and buffers
 * of the host's that a session reads and writes.
 *
 *   cc zero_copy.c -I../include -L../target/release -linferno -o zero_copy */

#include <stdio.h>
#include <string.h>

#include "check.h"

/* A tensor over the host's memory: a dtype, dims, an address, a size. */
static inferno_tensor matrix(float *data, int64_t rows, int64_t columns) {
  inferno_tensor tensor;
  memset(&tensor, 0, sizeof tensor);
  tensor.dtype = INFERNO_DTYPE_F32;
  tensor.rank = 2;
  tensor.dims[0] = rows;
  tensor.dims[1] = columns;
  tensor.data = data;
  tensor.size_bytes = (size_t)(rows * columns) * sizeof *data;
  return tensor;
}

/* A picture that moves: what a frame of the host's would draw. */
static void draw(float *pixels, int frame) {
  for (int i = 0; i < 64; i++) pixels[i] = (float)((i * 7 + frame * 5) % 17);
}

int main(void) {
  enum { FRAMES = 4, BATCH = 2 };
  inferno_model *model;
  inferno_session *session;
  inferno_symbol_value batch = {"batch", BATCH};
  inferno_session_options options;
  CHECK(inferno_model_load_default(&model));
  CHECK(inferno_session_options_init(&options, sizeof options));
  options.symbols = &batch;
  options.symbol_count = 1;
  CHECK(inferno_session_new(model, &options, &session));
  inferno_model_free(model); /* the session keeps it */

  /* Way one: draw straight into the session's own input, read straight from its
   * output. The input's view stays good from frame to frame; the output's is
   * asked for after each run. */
  inferno_tensor in, out;
  float seen[FRAMES][BATCH * 10];
  CHECK(inferno_session_input(session, 0, &in));
  for (int frame = 0; frame < FRAMES; frame++) {
    for (int b = 0; b < BATCH; b++) draw((float *)in.data + 64 * b, frame + b);
    CHECK(inferno_session_run(session, NULL));
    CHECK(inferno_session_output(session, 0, &out));
    memcpy(seen[frame], out.data, out.size_bytes); /* kept only to compare below */
  }

  /* Way two: memory the host has anyway, such as a frame's buffer. Bound once,
   * it is read at the start of every run and written at its end. It must live
   * as long as the binding. */
  static float pixels[BATCH * 64];
  static float scores[BATCH * 10];
  inferno_tensor source = matrix(pixels, BATCH, 64);
  inferno_tensor sink = matrix(scores, BATCH, 10);
  CHECK(inferno_session_bind_input(session, 0, &source));
  CHECK(inferno_session_bind_output(session, 0, &sink));
  for (int frame = 0; frame < FRAMES; frame++) {
    for (int b = 0; b < BATCH; b++) draw(pixels + 64 * b, frame + b);
    CHECK(inferno_session_run(session, NULL));
    if (memcmp(scores, seen[frame], sizeof scores) != 0) {
      fprintf(stderr, "frame %d: the two ways differ\n", frame);
      return 1;
    }
  }
  CHECK(inferno_session_bind_output(session, 0, NULL));
  CHECK(inferno_session_bind_input(session, 0, NULL));

  printf("%d frames of %d images: views and bound buffers agree to the bit\n", FRAMES, BATCH);
  inferno_session_free(session);
  return 0;
}
