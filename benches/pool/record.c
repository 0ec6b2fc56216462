/*
 * Writes down every tensor that a model's runs take and give back.
 *
 *     INFERNO_POOL=0 record MODEL.onnx OUT [INPUT=D,D,D ...]
 *
 * A line is `+ ID SIZE ALIGN` or `- ID`, in the order in which they happened, over three runs of a
 * fresh session, its own making left out. With the pool off, each request reaches the host's
 * allocator, a header as long as its alignment before it.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include <inferno.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 20, TENSOR = 32 };

static struct event {
    void *block;
    size_t size, align; /* 0: given back */
} events[MOST];
static size_t count;
static _Thread_local int watched;

static void note(void *block, size_t size, size_t align, int taken) {
    if (watched && align >= TENSOR && count < MOST) {
        events[count++] = (struct event){block, size - align, taken ? align : 0};
    }
}

static void *take(void *user_data, size_t size, size_t alignment) {
    (void)user_data;
    void *block = NULL;
    if (posix_memalign(&block, alignment, size) != 0) {
        return NULL;
    }
    note(block, size, alignment, 1);
    return block;
}

static void give(void *user_data, void *block, size_t size, size_t alignment) {
    (void)user_data;
    note(block, size, alignment, 0);
    free(block);
}

static void must(inferno_status status, const char *what) {
    if (status != INFERNO_STATUS_OK) {
        fprintf(stderr, "record: %s: %s\n", what, inferno_last_error());
        exit(1);
    }
}

static inferno_input_shape shape_of(char *text) {
    inferno_input_shape shape = {0};
    char *dims = strchr(text, '=');
    if (dims == NULL) {
        fprintf(stderr, "record: %s: expected INPUT=D,D,D\n", text);
        exit(2);
    }
    *dims++ = '\0';
    shape.input = text;
    for (char *dim = strtok(dims, ","); dim != NULL && shape.rank < INFERNO_MAX_RANK;
         dim = strtok(NULL, ",")) {
        shape.dims[shape.rank++] = strtoll(dim, NULL, 10);
    }
    return shape;
}

int main(int argc, char **argv) {
    if (argc < 3 || argc > 10) {
        fprintf(stderr, "record MODEL.onnx OUT [INPUT=D,D,D ...]\n");
        return 2;
    }
    inferno_input_shape shapes[8];
    for (int i = 3; i < argc; i++) {
        shapes[i - 3] = shape_of(argv[i]);
    }
    inferno_runtime_options runtime;
    must(inferno_runtime_options_init(&runtime, sizeof runtime), "options");
    inferno_allocator host = {sizeof host, NULL, take, give};
    runtime.allocator = &host;
    must(inferno_init(&runtime), "init");
    inferno_model *model = NULL;
    must(inferno_model_load(argv[1], NULL, &model), argv[1]);
    inferno_session_options options;
    must(inferno_session_options_init(&options, sizeof options), "options");
    options.shapes = shapes;
    options.shape_count = (size_t)(argc - 3);
    inferno_session *session = NULL;
    must(inferno_session_new(model, &options, &session), "session");
    must(inferno_session_prepare(session), "prepare");
    watched = 1;
    for (int run = 0; run < 3; run++) {
        must(inferno_session_run(session, NULL), "run");
    }
    watched = 0;

    FILE *out = fopen(argv[2], "w");
    if (out == NULL) {
        perror(argv[2]);
        return 1;
    }
    size_t tensors = 0;
    for (size_t i = 0; i < count; i++) {
        if (events[i].align != 0) {
            fprintf(out, "+ %zu %zu %zu\n", tensors++, events[i].size, events[i].align);
            continue;
        }
        /* The last to take this block has it; what was taken before is not in the trace. */
        for (size_t j = i, id = tensors; j-- > 0;) {
            id -= events[j].align != 0;
            if (events[j].block == events[i].block) {
                if (events[j].align != 0) {
                    fprintf(out, "- %zu\n", id);
                }
                break;
            }
        }
    }
    fclose(out);
    fprintf(stderr, "%s: %zu tensors\n", argv[2], tensors);
    must(inferno_session_free(session), "session");
    must(inferno_model_free(model), "model");
    must(inferno_shutdown(), "shutdown");
    return 0;
}
