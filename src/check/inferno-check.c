/*
 * inferno-check: tries a model in a process of its own, for a library that was asked for
 * INFERNO_ISOLATION_PROCESS. Started by the library, with one socket as its input and output.
 *
 * It locks itself in (sandbox.h) before it gets the first byte of the model, loads it with the
 * host's limits, makes a session in which every open dim is 1, fills the inputs (floats 0,
 * integers 1), runs it once, and gives its verdict: the stage it came to, and the status and text
 * there. What that means for the model is for the library to say.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#define _GNU_SOURCE 1

#include "frames.h"
#include "sandbox.h"

#include <fcntl.h>
#include <inferno.h>
#include <malloc.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { STAGE_LOCK, STAGE_LOAD, STAGE_IMPORT, STAGE_RUN };
enum { MOST_LOCATION = 32768, MOST_NAME = 65536 };

/* ---- What is told --------------------------------------------------------------------------- */

static uint32_t stage = STAGE_LOCK;

static void enter(uint32_t next) {
    stage = next;
    give_head(FROM_STAGE, 4);
    give_number(stage, 4);
}

static void verdict(inferno_status status, const char *text) {
    struct rusage used = {0};
    size_t size = strnlen(text, MOST_LOCATION);
    getrusage(RUSAGE_SELF, &used);
    give_head(FROM_VERDICT, 16 + size);
    give_number(stage, 4);
    give_number((uint32_t)status, 4);
    give_number((uint64_t)used.ru_maxrss * 1024, 8);
    give(text, size);
    _exit(0);
}

/* What was written to the standard error output, which nobody else reads. */
static int words = -1;

/* abort() was called: when it was for want of memory, as the last words say, that is a verdict.
 * Otherwise it goes on, and the process dies of it. */
static void last_words(int signal) {
    char text[512];
    ssize_t size = read(words, text, sizeof text - 1);
    (void)signal;
    if (size > 0) {
        text[size] = '\0';
        char *why = strstr(text, "memory allocation of");
        if (why != NULL) {
            why[strcspn(why, "\n")] = '\0';
            verdict(INFERNO_STATUS_OUT_OF_MEMORY, why);
        }
    }
}

static int keep_last_words(void) {
    int ends[2];
    struct sigaction action = {.sa_handler = last_words};
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0 || dup2(ends[1], STDERR_FILENO) < 0) {
        return -1;
    }
    close(ends[1]);
    words = ends[0];
    return sigaction(SIGABRT, &action, NULL);
}

/* Goes on when the call went well. */
static void expect(inferno_status status) {
    if (status != INFERNO_STATUS_OK) {
        verdict(status, inferno_last_error());
    }
}

/* ---- External data, which the library reads -------------------------------------------------- */

static int32_t remote_open(void *user_data, const char *path, void **file, uint64_t *size_bytes) {
    (void)user_data;
    size_t length = strlen(path);
    if (length > MOST_LOCATION) {
        return -1;
    }
    give_head(FROM_SIZE, length);
    give(path, length);
    uint64_t size = take_head(TO_ANSWER);
    uint64_t code = size >= 4 ? take_number(4) : 9;
    if (size != (code == 0 ? 12 : 4)) {
        quit();
    }
    if (code != 0) {
        return code == 1 ? -1 : 1;
    }
    *size_bytes = take_number(8);
    *file = strdup(path);
    return *file == NULL ? 1 : 0;
}

static int32_t remote_read(void *user_data, void *file, uint64_t offset, void *buffer,
                           size_t size_bytes) {
    (void)user_data;
    size_t length = strlen(file);
    give_head(FROM_READ, 16 + length);
    give_number(offset, 8);
    give_number(size_bytes, 8);
    give(file, length);
    uint64_t size = take_head(TO_ANSWER);
    uint64_t code = size >= 4 ? take_number(4) : 9;
    if (size - 4 != (code == 0 ? size_bytes : 0)) {
        quit();
    }
    if (code != 0) {
        return 1;
    }
    take(buffer, size_bytes);
    return 0;
}

static void remote_close(void *user_data, void *file) {
    (void)user_data;
    free(file);
}

/* ---- The trial ------------------------------------------------------------------------------- */

/* Dims as far as the model says them; what is open is 1. */
static void set_shape(inferno_session *session, size_t index, const inferno_tensor_info *info) {
    int64_t dims[INFERNO_MAX_RANK];
    int32_t rank = info->rank < 0 ? 1 : info->rank;
    int open = info->rank < 0;
    for (int32_t i = 0; i < rank && i < INFERNO_MAX_RANK; i++) {
        int unknown = info->rank < 0 || info->dims[i] < 0;
        dims[i] = unknown ? 1 : info->dims[i];
        open |= unknown;
    }
    if (open) {
        expect(inferno_session_set_shape(session, index, rank, dims));
    }
}

/* Floats 0, everything else 1: indices and lengths of 0 are the odder guess. */
static void fill(inferno_session *session, size_t index) {
    inferno_tensor tensor;
    inferno_status status = inferno_session_input(session, index, &tensor);
    if (status == INFERNO_STATUS_UNSUPPORTED) {
        return; /* strings stay empty */
    }
    expect(status);
    size_t each = inferno_dtype_size(tensor.dtype);
    int is_float = tensor.dtype == INFERNO_DTYPE_F16 || tensor.dtype == INFERNO_DTYPE_F32 ||
                   tensor.dtype == INFERNO_DTYPE_F64;
    if (tensor.size_bytes == 0 || each == 0) {
        return;
    }
    memset(tensor.data, 0, tensor.size_bytes);
    for (size_t at = 0; !is_float && at + each <= tensor.size_bytes; at += each) {
        ((unsigned char *)tensor.data)[at] = 1;
    }
}

static void try_model(const inferno_model *model, const inferno_run_options *options) {
    inferno_session *session = NULL;
    inferno_tensor_info info;
    size_t inputs = 0;
    expect(inferno_model_input_count(model, &inputs));
    expect(inferno_session_new(model, NULL, &session));
    for (size_t i = 0; i < inputs; i++) {
        expect(inferno_model_input(model, i, &info));
        set_shape(session, i, &info);
    }
    expect(inferno_session_prepare(session));
    for (size_t i = 0; i < inputs; i++) {
        fill(session, i);
    }
    if (stage != STAGE_LOCK) {
        enter(STAGE_RUN);
    }
    expect(inferno_session_run(session, options));
    inferno_session_free(session);
}

/* What the library and its parts read of the machine, they read now: afterwards they may not. */
static void warm_up(void) {
    inferno_model *model = NULL;
    expect(inferno_model_load_default(&model));
    try_model(model, NULL);
    inferno_model_free(model);
}

static uint64_t now_ns(void) {
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int main(void) {
    int type = 0;
    socklen_t type_size = sizeof type;
    if (getsockopt(STDIN_FILENO, SOL_SOCKET, SO_TYPE, &type, &type_size) != 0) {
        fputs("inferno-check tries models for libinferno, which starts it\n", stderr);
        return 2;
    }
    uint64_t begun = now_ns();
    /* One arena: each would reserve address space, which is limited. */
    mallopt(M_ARENA_MAX, 1);
    if (sandbox_begin() != 0 || keep_last_words() != 0) {
        verdict(INFERNO_STATUS_UNSUPPORTED, "it cannot give up its privileges");
    }

    inferno_model_limits limits;
    inferno_model_options options;
    inferno_run_options run;
    inferno_reader reader = {sizeof reader, NULL, remote_open, remote_read, remote_close};
    inferno_model *model = NULL;
    expect(inferno_model_limits_init(&limits, sizeof limits));
    expect(inferno_model_options_init(&options, sizeof options));
    expect(inferno_run_options_init(&run, sizeof run));

    uint64_t size = take_head(TO_HELLO);
    uint64_t fields = 4 + 4 + 10 * 8;
    if (size < fields || size - fields > MOST_NAME || take_number(4) != PROTOCOL) {
        quit();
    }
    uint64_t flags = take_number(4);
    uint64_t model_bytes = take_number(8);
    uint64_t *const each[] = {
        &limits.max_file_bytes,   &limits.max_weight_bytes, &limits.max_tensor_bytes,
        &limits.max_memory_bytes, &limits.max_nodes,        &limits.max_node_values,
        &limits.max_rank,         &limits.max_depth,        &limits.load_time_ns,
    };
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        *each[i] = take_number(8);
    }
    static char name[MOST_NAME + 1];
    take(name, (size_t)(size - fields));
    options.name = name;
    options.limits = &limits;
    options.reader = (flags & 1) != 0 ? &reader : NULL;

    warm_up();
    const char *failed =
        sandbox_enter(sandbox_sum(limits.max_memory_bytes, model_bytes),
                      limits.load_time_ns / 1000000000u + (limits.load_time_ns % 1000000000u != 0));
    if (failed != NULL) {
        char text[256];
        snprintf(text, sizeof text, "%s: %s", failed, strerror(errno));
        verdict(INFERNO_STATUS_UNSUPPORTED, text);
    }
    const char *version = inferno_version_string();
    give_head(FROM_READY, 4 + strlen(version));
    give_number(PROTOCOL, 4);
    give(version, strlen(version));

    enter(STAGE_LOAD);
    if (take_head(TO_MODEL) != model_bytes) {
        quit();
    }
    void *bytes = malloc(model_bytes == 0 ? 1 : (size_t)model_bytes);
    if (bytes == NULL) {
        verdict(INFERNO_STATUS_OUT_OF_MEMORY, "no memory for the model's bytes");
    }
    take(bytes, (size_t)model_bytes);
    expect(inferno_model_load_memory(bytes, (size_t)model_bytes, &options, &model));
    free(bytes);

    enter(STAGE_IMPORT);
    if (limits.load_time_ns != 0) {
        uint64_t gone = now_ns() - begun;
        run.timeout_ns = gone < limits.load_time_ns ? limits.load_time_ns - gone : 1;
    }
    try_model(model, &run);
    verdict(INFERNO_STATUS_OK, "");
}
