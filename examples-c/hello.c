/* One handwritten digit through the model that is built into the library.
 *
 *   cc hello.c -I../include -L../target/release -linferno -o hello */

#include <stdio.h>
#include <string.h>

#include "check.h"

int main(void) {
  /* Eight rows of eight pixels, 0 is paper and 16 is ink. */
  static const float zero[64] = {
      0, 0, 5,  13, 9,  1,  0,  0, /**/
      0, 0, 13, 15, 10, 15, 5,  0, /**/
      0, 3, 15, 2,  0,  11, 8,  0, /**/
      0, 4, 12, 0,  0,  8,  8,  0, /**/
      0, 5, 8,  0,  0,  9,  8,  0, /**/
      0, 4, 11, 0,  1,  12, 7,  0, /**/
      0, 2, 14, 5,  10, 12, 0,  0, /**/
      0, 0, 6,  13, 10, 0,  0,  0,
  };
  static const int64_t one_image[2] = {1, 64};

  inferno_model *model;
  inferno_session *session;
  inferno_tensor image, scores;
  CHECK(inferno_model_load_default(&model));
  CHECK(inferno_session_new(model, NULL, &session));

  /* The model takes any number of images: say how many, then fill them in. */
  CHECK(inferno_session_set_shape(session, 0, 2, one_image));
  CHECK(inferno_session_input(session, 0, &image));
  memcpy(image.data, zero, image.size_bytes);
  CHECK(inferno_session_run(session, NULL));
  CHECK(inferno_session_output(session, 0, &scores));

  const float *p = scores.data;
  int best = 0;
  for (int digit = 1; digit < 10; digit++) {
    if (p[digit] > p[best]) best = digit;
  }
  printf("Inferno %s sees a %d (%.1f %%)\n", inferno_version_string(), best, 100.0 * p[best]);

  inferno_session_free(session);
  inferno_model_free(model);
  return 0;
}
