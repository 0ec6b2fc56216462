/*
 * Prints the text for file collectors of a library that did a little of everything.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "inferno.h"

#include <stdio.h>
#include <stdlib.h>

static void must(inferno_status status) {
    if (status != INFERNO_STATUS_OK) {
        fprintf(stderr, "text: %s\n", inferno_last_error());
        exit(1);
    }
}

int main(void) {
    inferno_model *model, *none;
    inferno_session *session, *fresh;
    const int64_t dims[2] = {1, 64};
    size_t needed = 0;
    must(inferno_model_load_default(&model));
    must(inferno_session_new(model, NULL, &session));
    must(inferno_session_new(model, NULL, &fresh));
    must(inferno_session_set_shape(session, 0, 2, dims));
    for (int i = 0; i < 1000; i++) {
        must(inferno_session_run(session, NULL));
    }
    if (inferno_session_run(fresh, NULL) == INFERNO_STATUS_OK ||
        inferno_model_load_memory("noise", 5, NULL, &none) == INFERNO_STATUS_OK) {
        return 1;
    }
    must(inferno_metrics_copy_prometheus(NULL, 0, &needed));
    char *text = malloc(needed + 4096);
    must(inferno_metrics_copy_prometheus(text, needed + 4096, &needed));
    fputs(text, stdout);
    free(text);
    must(inferno_shutdown());
    return 0;
}
