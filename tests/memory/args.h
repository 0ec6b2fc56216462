/*
 * Sessions from command-line words, for programs that are handed any model:
 *
 *   INPUT=D,D,D     the dims of an input
 *   IN:OUT          a recurrent pair
 *   NAME@NUMBER     an i64 scalar that is fixed
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef ARGS_H
#define ARGS_H

#include "inferno.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void must(inferno_status status, const char *what) {
    if (status != INFERNO_STATUS_OK) {
        fprintf(stderr, "%s: %s: %s\n", what, inferno_status_name(status), inferno_last_error());
        exit(1);
    }
}

enum { MOST_WORDS = 8 };

/* A session over `model` as `words` say, and prepared. The words are changed. */
static inline inferno_session *session_of(const inferno_model *model, char **words, int count) {
    inferno_input_shape shapes[MOST_WORDS];
    inferno_state_pair states[MOST_WORDS];
    inferno_input_constant constants[MOST_WORDS];
    int64_t numbers[MOST_WORDS];
    inferno_session_options options;
    must(inferno_session_options_init(&options, sizeof options), "options");
    for (int i = 0; i < count && i < MOST_WORDS; i++) {
        char *at = strpbrk(words[i], "=:@");
        if (at == NULL) {
            fprintf(stderr, "%s: expected INPUT=D,D,D, IN:OUT or NAME@NUMBER\n", words[i]);
            exit(2);
        }
        char kind = *at;
        *at++ = '\0';
        if (kind == ':') {
            states[options.state_count++] = (inferno_state_pair){words[i], at};
        } else if (kind == '@') {
            numbers[i] = strtoll(at, NULL, 10);
            inferno_tensor value = {.dtype = INFERNO_DTYPE_I64, .data = &numbers[i], .size_bytes = 8};
            constants[options.constant_count++] = (inferno_input_constant){words[i], value};
        } else {
            inferno_input_shape *shape = &shapes[options.shape_count++];
            *shape = (inferno_input_shape){.input = words[i]};
            char *rest = at;
            while (*rest != '\0' && shape->rank < INFERNO_MAX_RANK) {
                shape->dims[shape->rank++] = strtoll(rest, &rest, 10);
                rest += *rest == ',';
            }
        }
    }
    options.shapes = shapes;
    options.states = states;
    options.constants = constants;
    inferno_session *session = NULL;
    must(inferno_session_new(model, &options, &session), "session");
    must(inferno_session_prepare(session), "prepare");
    return session;
}

static inline inferno_memory_stats held(void) {
    inferno_memory_stats stats = {.struct_size = sizeof stats};
    must(inferno_memory_get_stats(&stats), "stats");
    return stats;
}

#endif
