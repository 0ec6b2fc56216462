/*
 * Prints a trace: trace [MODEL.onnx]; loads, compilations, and runs of three sessions on two threads, the
 * built-in model's and MODEL's, whose input 0 is [1, 64].
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "inferno.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static void must(inferno_status status) {
    if (status != INFERNO_STATUS_OK) {
        fprintf(stderr, "trace: %s\n", inferno_last_error());
        exit(1);
    }
}

static inferno_session *session_of(const inferno_model *model, int64_t batch) {
    const int64_t dims[2] = {batch, 64};
    inferno_session *session;
    must(inferno_session_new(model, NULL, &session));
    must(inferno_session_set_shape(session, 0, 2, dims));
    return session;
}

static void *run_all(void *session) {
    for (int i = 0; i < 60; i++) {
        must(inferno_session_run(session, NULL));
    }
    return NULL;
}

int main(int argc, char **argv) {
    inferno_model *digits, *other = NULL;
    size_t needed = 0;
    pthread_t thread;
    must(inferno_trace_start(0));
    must(inferno_model_load_default(&digits));
    if (argc > 1) {
        must(inferno_model_load(argv[1], NULL, &other));
    }
    inferno_session *one = session_of(digits, 1), *many = session_of(digits, 32);
    if (pthread_create(&thread, NULL, run_all, many) != 0) {
        return 1;
    }
    run_all(one);
    if (other != NULL) {
        run_all(session_of(other, 1));
    }
    pthread_join(thread, NULL);
    must(inferno_trace_stop());
    must(inferno_trace_copy_json(NULL, 0, &needed));
    char *text = malloc(needed);
    must(inferno_trace_copy_json(text, needed, &needed));
    fputs(text, stdout);
    free(text);
    must(inferno_shutdown());
    return 0;
}
