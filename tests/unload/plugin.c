/*
 * A plug-in that uses Inferno: linked to the shared library, or with the archive in it.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "plugin.h"

#include <string.h>

static inferno_session *session;

static inferno_status open_it(void) {
    const inferno_symbol_value batch = {"batch", 1};
    inferno_session_options options;
    inferno_model *model = NULL;
    inferno_status status = inferno_init(NULL);
    if (status != INFERNO_STATUS_OK) {
        return status;
    }
    status = inferno_session_options_init(&options, sizeof options);
    options.symbols = &batch;
    options.symbol_count = 1;
    options.threads = 2;
    if (status == INFERNO_STATUS_OK) {
        status = inferno_model_load_default(&model);
    }
    if (status == INFERNO_STATUS_OK) {
        status = inferno_session_new(model, &options, &session);
    }
    inferno_model_free(model);
    return status;
}

static inferno_status run(float *answer) {
    inferno_tensor image, scores;
    inferno_status status = inferno_session_input(session, 0, &image);
    if (status != INFERNO_STATUS_OK) {
        return status;
    }
    for (size_t i = 0; i < image.size_bytes / sizeof(float); i++) {
        ((float *)image.data)[i] = (float)(i % 17);
    }
    status = inferno_session_run(session, NULL);
    if (status == INFERNO_STATUS_OK) {
        status = inferno_session_output(session, 0, &scores);
    }
    if (status == INFERNO_STATUS_OK) {
        memcpy(answer, scores.data, 10 * sizeof *answer);
    }
    return status;
}

static inferno_status close_it(void) {
    inferno_status status = inferno_session_free(session);
    session = NULL;
    return status == INFERNO_STATUS_OK ? inferno_shutdown() : status;
}

static inferno_session *the_session(void) { return session; }

static inferno_status run_other(inferno_session *other) { return inferno_session_run(other, NULL); }

__attribute__((visibility("default"))) const struct plugin plugin = {open_it, run, close_it, the_session, run_other};
