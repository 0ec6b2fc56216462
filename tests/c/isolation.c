/*
 * Isolated loads: what is accepted, what is refused and with which words, and helpers that
 * misbehave. The helper is found beside the library or the program; tests/c.sh puts it there.
 *
 * System: Linux
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"
#include "scratch.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

static inferno_model_limits limits;

static inferno_model_options isolated(void) {
    inferno_model_options options;
    REQUIRE_OK(inferno_model_options_init(&options, sizeof options));
    options.isolation = INFERNO_ISOLATION_PROCESS;
    REQUIRE_OK(inferno_model_limits_init(&limits, sizeof limits));
    options.limits = &limits;
    return options;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int open_files(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    REQUIRE(folder != NULL);
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}

/* Whether this process has a child, alive or not waited for. */
static int has_child(void) { return waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD; }

static inferno_status load_bytes(pb bytes, const inferno_model_options *options,
                                 inferno_model **model) {
    *model = NULL;
    inferno_status status = inferno_model_load_memory(bytes.data, bytes.size, options, model);
    pb_free(&bytes);
    return status;
}

static void write_model(const char *name, pb bytes) {
    scratch_write(name, bytes.data, bytes.size);
    pb_free(&bytes);
}

/* ---- Accepted ------------------------------------------------------------------------------- */

static int computes(const inferno_model *model) {
    float x[8] = {1, -2, 3, -4, 0.5f, 0.25f, -0.125f, 8}, expected[6];
    inferno_session *session = open_session(model, NULL);
    inferno_tensor in = f32_tensor("2,4", x), out;
    mlp_reference(x, 2, expected);
    CHECK_OK(inferno_session_set_input(session, 0, &in));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK_OK(inferno_session_output(session, 0, &out));
    int right = out.size_bytes == sizeof expected && close_to(out.data, expected, 6);
    CHECK_OK(inferno_session_free(session));
    return right;
}

static void accepted(void) {
    static const float weights[4] = {1, 2, 3, 4};
    inferno_model_options options = isolated();
    inferno_model *model;
    CHECK_OK(load_bytes(model_mlp(), &options, &model));
    CHECK(computes(model));
    CHECK_OK(inferno_model_free(model));
    scratch_write("weights.bin", weights, sizeof weights);
    for (size_t i = 0; i < COUNT_OF(MODELS_GOOD); i++) {
        write_model("good.onnx", MODELS_GOOD[i].make());
        if (!CHECK_OK(inferno_model_load(scratch("good.onnx"), &options, &model))) {
            printf("    %s\n", MODELS_GOOD[i].name);
        }
        CHECK_OK(inferno_model_free(model));
    }
}

/* ---- Every source --------------------------------------------------------------------------- */

typedef struct pack {
    pb model;
    float weights[4];
    int opened, closed;
    /* Which opening of the weights finds them changed; 0 = none. */
    int changes_at, weights_opened;
} pack;

static int32_t pack_open(void *user_data, const char *path, void **file, uint64_t *size_bytes) {
    pack *it = user_data;
    int is_model = strcmp(path, "pack/m.onnx") == 0;
    if (!is_model && strcmp(path, "pack/weights.bin") != 0 && strcmp(path, "weights.bin") != 0) {
        return strcmp(path, "pack/broken.bin") == 0 ? 77 : -1;
    }
    if (!is_model && ++it->weights_opened == it->changes_at) {
        it->weights[3] += 1;
    }
    *file = is_model ? (void *)it->model.data : it->weights;
    *size_bytes = is_model ? it->model.size : sizeof it->weights;
    it->opened++;
    return 0;
}

static int32_t pack_read(void *user_data, void *file, uint64_t offset, void *buffer,
                         size_t size_bytes) {
    (void)user_data;
    memcpy(buffer, (char *)file + offset, size_bytes);
    return 0;
}

static void pack_close(void *user_data, void *file) {
    (void)file;
    ((pack *)user_data)->closed++;
}

static const float WEIGHTS[4] = {1, 2, 3, 4};

static void every_source(void) {
    pack it = {model_external_beside(), {1, 2, 3, 4}, 0, 0, 0, 0};
    inferno_reader reader = {sizeof reader, &it, pack_open, pack_read, pack_close};
    inferno_model_options options = isolated();
    inferno_model *model = NULL;

    scratch_write("weights.bin", it.weights, sizeof it.weights);
    scratch_write("m.onnx", it.model.data, it.model.size);
    CHECK_OK(inferno_model_load(scratch("m.onnx"), &options, &model));
    CHECK(adds(model, WEIGHTS));
    CHECK_OK(inferno_model_free(model));

    CHECK_OK(inferno_model_load_reader(&reader, "pack/m.onnx", &options, &model));
    CHECK(adds(model, WEIGHTS));
    CHECK_OK(inferno_model_free(model));
    CHECK(it.opened == it.closed);

    options.reader = &reader;
    CHECK_OK(inferno_model_load_memory(it.model.data, it.model.size, &options, &model));
    CHECK(adds(model, WEIGHTS));
    CHECK_OK(inferno_model_free(model));
    options.reader = NULL;
    CHECK_ERROR(inferno_model_load_memory(it.model.data, it.model.size, &options, &model),
                INFERNO_STATUS_NOT_FOUND, "options.reader");

    /* What is loaded is what was tried: opened for its size, for the trial, for the load. */
    it.weights_opened = 0;
    it.changes_at = 3;
    CHECK_ERROR(inferno_model_load_reader(&reader, "pack/m.onnx", &options, &model),
                INFERNO_STATUS_INVALID_MODEL, "isolated trial");
    CHECK(it.opened == it.closed);
    pb_free(&it.model);
}

/* ---- Refused -------------------------------------------------------------------------------- */

/* An isolated load refuses with the same status as a plain one. */
static void same_status(const char *path, const inferno_model_options *options, char *text,
                        size_t size) {
    inferno_model *model = NULL;
    inferno_model_options plain = *options;
    plain.isolation = INFERNO_ISOLATION_NONE;
    inferno_status status = inferno_model_load(path, &plain, &model);
    CHECK(status != INFERNO_STATUS_OK);
    snprintf(text, size, "%s", inferno_last_error());
    CHECK_STATUS(inferno_model_load(path, options, &model), status);
}

/* And with the same text. */
static void same_refusal(const char *path, const inferno_model_options *options) {
    char text[4096];
    same_status(path, options, text, sizeof text);
    if (!CHECK(strcmp(inferno_last_error(), text) == 0)) {
        printf("    plain: %s\n", text);
    }
}

static void refused(void) {
    inferno_model_options options = isolated();
    inferno_model *model;
    for (size_t i = 0; i < COUNT_OF(MODELS_REFUSED); i++) {
        const model_refused *it = &MODELS_REFUSED[i];
        CHECK_ERROR(load_bytes(it->make(), &options, &model), it->status, it->part);
        write_model("bad.onnx", it->make());
        same_refusal(scratch("bad.onnx"), &options);
    }
    static const char *const places[] = {"../secret", "/etc/passwd", "nowhere.bin", "."};
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        char text[4096];
        write_model("bad.onnx", model_external(places[i], 0, 16));
        same_status(scratch("bad.onnx"), &options, text, sizeof text);
        CHECK(check_contains(inferno_last_error(), places[i]));
    }
    scratch_write("weights.bin", "123456789abcdef", 15);
    write_model("bad.onnx", model_external("weights.bin", 0, 16));
    same_refusal(scratch("bad.onnx"), &options);
    scratch_write("bad.onnx", "not a model", 11);
    same_refusal(scratch("bad.onnx"), &options);
    scratch_write("bad.onnx", "", 0);
    same_refusal(scratch("bad.onnx"), &options);
    same_refusal(scratch("no such file"), &options);
}

static void within_limits(void) {
    inferno_model_options options = isolated();
    inferno_model *model;
    limits.max_nodes = 2;
    CHECK_ERROR(load_bytes(model_mlp(), &options, &model), INFERNO_STATUS_LIMIT_EXCEEDED,
                "max_nodes");
    options = isolated();
    limits.max_file_bytes = 100;
    CHECK_ERROR(load_bytes(model_mlp(), &options, &model), INFERNO_STATUS_LIMIT_EXCEEDED,
                "max_file_bytes");
    /* Loading it is quick; the run is not. */
    options = isolated();
    limits.load_time_ns = 1000000000;
    double before = seconds();
    CHECK_ERROR(load_bytes(model_heavy(1200, 400), &options, &model),
                INFERNO_STATUS_DEADLINE_EXCEEDED, "");
    CHECK(seconds() - before < 5 * (getenv("CHECK_SLOW") == NULL ? 1 : 10));
    options = isolated();
    limits.load_time_ns = 1;
    CHECK_ERROR(load_bytes(model_mlp(), &options, &model), INFERNO_STATUS_DEADLINE_EXCEEDED,
                "load_time_ns");
    /* Without a deadline. */
    options = isolated();
    limits.load_time_ns = 0;
    CHECK_OK(load_bytes(model_mlp(), &options, &model));
    CHECK_OK(inferno_model_free(model));
    /* Its weights alone are more than it may hold. */
    options = isolated();
    limits.max_memory_bytes = 1 << 20;
    CHECK_ERROR(load_bytes(model_heavy(1200, 2), &options, &model),
                INFERNO_STATUS_LIMIT_EXCEEDED, "max_memory_bytes");
    /* No limit at all. */
    options = isolated();
    limits.max_memory_bytes = limits.max_file_bytes = limits.max_weight_bytes = UINT64_MAX;
    limits.load_time_ns = UINT64_MAX;
    CHECK_OK(load_bytes(model_mlp(), &options, &model));
    CHECK_OK(inferno_model_free(model));
}

/* y = x, 65,536 times as wide and as high: nothing says so before it runs. */
static pb model_wild(void) {
    static const float scales[4] = {1, 1, 65536, 65536};
    pb graph = {0};
    onnx_input(&graph, "x", F32, "1,1,2,2");
    onnx_initializer(&graph, "scales", F32, "4", scales, sizeof scales);
    onnx_node(&graph, "Resize", "grow", "x,,scales", "y", NULL);
    onnx_output(&graph, "y", F32, "?,?,?,?");
    return onnx_model(&graph, "wild", 17, NULL);
}

/* A load says nothing of a run; a trial runs. */
static void a_wild_run(void) {
    inferno_model_options options = isolated();
    inferno_model *model = load(model_wild());
    CHECK_OK(inferno_model_free(model));
    inferno_status status = load_bytes(model_wild(), &options, &model);
    CHECK(status == INFERNO_STATUS_OUT_OF_MEMORY || status == INFERNO_STATUS_LIMIT_EXCEEDED);
    CHECK(check_contains(inferno_last_error(), "its isolated trial"));
}

/* ---- Helpers that misbehave ----------------------------------------------------------------- */

static void start_with(const char *helper) {
    inferno_runtime_options options;
    CHECK_OK(inferno_runtime_options_init(&options, sizeof options));
    CHECK(options.helper_path == NULL);
    options.helper_path = helper;
    CHECK_OK(inferno_init(&options));
}

/* The side of the model's matrix; at 400 it is larger than what a socket holds. */
static unsigned fake_side = 4;

/* Loads a model with a helper that is this shell script. */
static inferno_status with_script(const char *script, const inferno_model_options *options) {
    char text[2048];
    inferno_model *model = NULL;
    int length = snprintf(text, sizeof text, "#!/bin/sh\n%s\n", script);
    scratch_write("helper", text, (size_t)length);
    CHECK(chmod(scratch("helper"), 0755) == 0);
    start_with(scratch("helper"));
    inferno_status status = load_bytes(model_heavy(fake_side, 1), options, &model);
    CHECK(model == NULL);
    /* The text is this call's: ask for it before the next. */
    static char kept[4096];
    snprintf(kept, sizeof kept, "%s", inferno_last_error());
    CHECK_OK(inferno_shutdown());
    setenv("LAST", kept, 1);
    return status;
}

static void fake(const char *script, inferno_status expected, const char *part) {
    inferno_model_options options = isolated();
    /* Time enough, but for those that never end. */
    limits.load_time_ns = expected == INFERNO_STATUS_DEADLINE_EXCEEDED ? 500000000 : 30000000000;
    int files = open_files();
    inferno_status status = with_script(script, &options);
    if (!CHECK(status == expected) || !CHECK(check_contains(getenv("LAST"), part))) {
        printf("    %s\n    %s: %s\n", script, inferno_status_name((int32_t)status),
               getenv("LAST"));
    }
    CHECK(open_files() == files);
    CHECK(!has_child());
}

/* `ready` (a printf) and then the script. */
static void fake_ready(const char *script, inferno_status expected, const char *part) {
    char text[2048];
    const char *version = inferno_version_string();
    snprintf(text, sizeof text,
             "printf '\\001\\000\\000\\000\\%03o\\000\\000\\000\\000\\000\\000\\000"
             "\\001\\000\\000\\000%s'\n%s",
             (unsigned)strlen(version) + 4, version, script);
    fake(text, expected, part);
}

/* INVALID_MODEL of the load. */
#define VERDICT \
    "printf '\\005\\000\\000\\000\\023\\000\\000\\000\\000\\000\\000\\000\\001\\000\\000\\000\\006\\000\\000\\000" \
    "\\0\\0\\0\\0\\0\\0\\0\\0a\\033b'"
#define STAGE_OF(n) "printf '\\002\\000\\000\\000\\004\\000\\000\\000\\000\\000\\000\\000\\00" n "\\000\\000\\000'\n"

static void fakes(void) {
    /* Before it is ready the model is not to blame. */
    fake("exit 0", INFERNO_STATUS_IO, "code 0");
    fake("exec 0<&- 1>&-; exit 0", INFERNO_STATUS_IO, "code 0");
    fake("exit 7", INFERNO_STATUS_IO, "code 7");
    fake("kill -SEGV $$", INFERNO_STATUS_IO, "signal 11");
    fake("echo hello, world, I am no frame", INFERNO_STATUS_IO, "frame");
    fake("printf '\\001\\000\\000\\000\\377\\377\\377\\377\\377\\377\\377\\377'",
         INFERNO_STATUS_IO, "bytes");
    fake("exec /bin/sleep 60", INFERNO_STATUS_DEADLINE_EXCEEDED, "load_time_ns");
    fake("exec 0<&- 1>&-; exec /bin/sleep 60", INFERNO_STATUS_IO, "silent");
    fake("while :; do :; done", INFERNO_STATUS_DEADLINE_EXCEEDED, "load_time_ns");
    fake("printf '\\001\\000\\000\\000\\011\\000\\000\\000\\000\\000\\000\\000\\001\\000\\000\\0009.9.9'",
         INFERNO_STATUS_UNSUPPORTED, "9.9.9");
    fake("printf '\\001\\000\\000\\000\\011\\000\\000\\000\\000\\000\\000\\000\\007\\000\\000\\0000.1.0'",
         INFERNO_STATUS_UNSUPPORTED, "protocol 7");
    /* Afterwards it is. */
    fake_ready("exit 0", INFERNO_STATUS_INVALID_MODEL, "code 0");
    fake_ready("exec 0<&- 1>&-; exit 0", INFERNO_STATUS_INVALID_MODEL, "code 0");
    fake_ready("kill -SEGV $$", INFERNO_STATUS_INVALID_MODEL, "the load, died of signal 11 (SIGSEGV");
    fake_ready(STAGE_OF("3") "kill -SYS $$", INFERNO_STATUS_INVALID_MODEL, "the run, died");
    fake_ready(STAGE_OF("3") "kill -XCPU $$", INFERNO_STATUS_DEADLINE_EXCEEDED, "processor time");
    fake_ready("exec /bin/sleep 60", INFERNO_STATUS_DEADLINE_EXCEEDED, "load_time_ns");
    fake_ready("exec /bin/cat /dev/zero", INFERNO_STATUS_INVALID_MODEL, "kind 0");
    fake_ready(STAGE_OF("7") "exec /bin/sleep 60", INFERNO_STATUS_INVALID_MODEL, "out of turn");
    /* Asks for a file outside of the folder, and says that all went well. */
    fake_ready("printf '\\003\\000\\000\\000\\013\\000\\000\\000\\000\\000\\000\\000/etc/passwd'; exit 0",
               INFERNO_STATUS_INVALID_MODEL, "code 0");
    /* A good verdict of a stage that it never came to; a status that is none. */
    fake_ready("printf '\\005\\000\\000\\000\\020\\000\\000\\000\\000\\000\\000\\000\\001\\000\\000\\000\\000\\000\\000\\000\\0\\0\\0\\0\\0\\0\\0\\0'",
               INFERNO_STATUS_INVALID_MODEL, "status 0");
    fake_ready("printf '\\005\\000\\000\\000\\020\\000\\000\\000\\000\\000\\000\\000\\001\\000\\000\\000\\143\\000\\000\\000\\0\\0\\0\\0\\0\\0\\0\\0'",
               INFERNO_STATUS_INVALID_MODEL, "status 99");
    /* Its text is made printable. */
    fake_ready(VERDICT, INFERNO_STATUS_INVALID_MODEL, "a b");
}

/* The model is still on its way when the helper is done with it. */
static void fakes_and_a_large_model(void) {
    fake_side = 400;
    fake_ready("exit 0", INFERNO_STATUS_INVALID_MODEL, "code 0");
    fake_ready("kill -SEGV $$", INFERNO_STATUS_INVALID_MODEL, "signal 11");
    fake_ready(VERDICT, INFERNO_STATUS_INVALID_MODEL, "a b");
    fake_ready("exec /bin/sleep 60", INFERNO_STATUS_DEADLINE_EXCEEDED, "load_time_ns");
    fake_ready("exec /bin/cat /dev/zero", INFERNO_STATUS_DEADLINE_EXCEEDED, "load_time_ns");
    fake_side = 4;
}

static void missing(void) {
    inferno_model_options options = isolated();
    inferno_model *model;
    options.isolation = 2;
    CHECK_ERROR(load_bytes(model_mlp(), &options, &model), INFERNO_STATUS_INVALID_ARGUMENT,
                "isolation");
    options.isolation = INFERNO_ISOLATION_PROCESS;
    start_with("/nowhere/inferno-check");
    CHECK_ERROR(load_bytes(model_mlp(), &options, &model), INFERNO_STATUS_NOT_FOUND,
                "/nowhere/inferno-check");
    CHECK_OK(inferno_shutdown());
    scratch_write("plain", "no program", 10);
    start_with(scratch("plain"));
    CHECK_ERROR(load_bytes(model_mlp(), &options, &model), INFERNO_STATUS_IO, "plain");
    CHECK_OK(inferno_shutdown());
    inferno_runtime_options odd;
    CHECK_OK(inferno_runtime_options_init(&odd, sizeof odd));
    odd.helper_path = "\xff";
    CHECK_ERROR(inferno_init(&odd), INFERNO_STATUS_INVALID_ARGUMENT, "helper_path");
}

/* ---- Hosts ---------------------------------------------------------------------------------- */

static void ignoring_children(void) {
    CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
    inferno_model_options options = isolated();
    inferno_model *model;
    int files = open_files();
    CHECK_OK(load_bytes(model_mlp(), &options, &model));
    CHECK(computes(model));
    CHECK_OK(inferno_model_free(model));
    CHECK(with_script("exit 0", &options) == INFERNO_STATUS_IO);
    CHECK(check_contains(getenv("LAST"), "SIGCHLD"));
    limits.load_time_ns = 500000000;
    CHECK(with_script("exec /bin/sleep 60", &options) == INFERNO_STATUS_DEADLINE_EXCEEDED);
    CHECK(open_files() == files);
    CHECK(!has_child());
    CHECK(signal(SIGCHLD, SIG_DFL) != SIG_ERR);
}

static void *load_some(void *argument) {
    inferno_model_options options = *(const inferno_model_options *)argument;
    for (int i = 0; i < check_times(6); i++) {
        inferno_model *model;
        if (i % 2 == 0) {
            CHECK_OK(load_bytes(model_mlp(), &options, &model));
            CHECK(computes(model));
            CHECK_OK(inferno_model_free(model));
        } else {
            CHECK_ERROR(load_bytes(model_dangling(), &options, &model),
                        INFERNO_STATUS_INVALID_MODEL, "nowhere");
        }
    }
    return NULL;
}

static void with_threads(void) {
    pthread_t threads[4];
    inferno_model_options options = isolated();
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        REQUIRE(pthread_create(&threads[i], NULL, load_some, &options) == 0);
    }
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
}

int main(void) {
    /* What a load leaves behind for good is there after the first. */
    CHECK_OK(inferno_model_free(load(model_mlp())));
    int files = open_files();
    RUN(accepted);
    RUN(every_source);
    RUN(refused);
    RUN(within_limits);
    RUN(a_wild_run);
    RUN(fakes);
    RUN(fakes_and_a_large_model);
    RUN(missing);
    RUN(ignoring_children);
    RUN(with_threads);
    CHECK(open_files() == files);
    CHECK(!has_child());
    return check_summary();
}
