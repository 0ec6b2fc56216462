/* Shared by the examples: end the program with the library's text when a call fails. */

#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#include "inferno.h"

#define CHECK(call)                                                                      \
  do {                                                                                   \
    int32_t status_ = (int32_t)(call);                                                   \
    if (status_ != INFERNO_STATUS_OK) {                                                  \
      fprintf(stderr, "%s: %s\n", inferno_status_name(status_), inferno_last_error());   \
      exit(1);                                                                           \
    }                                                                                    \
  } while (0)

#endif
