/* Shared by the examples: end the program with the library's text when a call fails. */

#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inferno.h"

#define CHECK(call)                                                                      \
  do {                                                                                   \
    int32_t status_ = (int32_t)(call);                                                   \
    if (status_ != INFERNO_STATUS_OK) {                                                  \
      fprintf(stderr, "%s: %s\n", inferno_status_name(status_), inferno_last_error());   \
      exit(1);                                                                           \
    }                                                                                    \
  } while (0)

/* The dims of a model's first input, when they stand behind its path:
 * "model.onnx@1,3,224,224". The path ends there then; 0 when there are none. */
static inline size_t dims_of(char *path, inferno_input_shape *shape) {
  char *next = strchr(path, '@');
  shape->rank = 0;
  if (!next) return 0;
  *next = '\0';
  while (next && shape->rank < INFERNO_MAX_RANK) {
    shape->dims[shape->rank++] = strtol(next + 1, NULL, 10);
    next = strchr(next + 1, ',');
  }
  return 1;
}

#endif
