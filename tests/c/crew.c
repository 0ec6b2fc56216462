/*
 * Runs on several threads: the same bits as on one, helpers that sessions share, and that shutdown
 * ends.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"
#include "on_threads.h"

#if HAS_FORK
#include <sys/wait.h>
#endif

enum { BATCH = 20000, MOST = BATCH * 16 };

static inferno_session *open_with(const inferno_model *model, uint32_t threads) {
    inferno_session_options options = session_defaults();
    CHECK(options.threads == 0);
    options.threads = threads;
    return open_session(model, &options);
}

/* Runs a model a few times over a fixed input; its output 0, which is the same every time. */
static size_t answer(inferno_session *session, const char *dims, size_t count, float *y) {
    float *x = malloc(count * sizeof *x);
    REQUIRE(x != NULL);
    for (size_t i = 0; i < count; i++) {
        x[i] = (float)((i * 37) % 101) / 50.0f - 1.0f;
    }
    inferno_tensor input = tensor_of(INFERNO_DTYPE_F32, dims, x), output;
    CHECK_OK(inferno_session_set_input(session, 0, &input));
    for (int run = 0; run < 3; run++) {
        CHECK_OK(inferno_session_run(session, NULL));
        REQUIRE_OK(inferno_session_output(session, 0, &output));
        REQUIRE(output.size_bytes <= MOST * sizeof(float));
        CHECK(run == 0 || memcmp(y, output.data, output.size_bytes) == 0);
        memcpy(y, output.data, output.size_bytes);
    }
    free(x);
    return output.size_bytes / sizeof(float);
}

static pb mlp(void) { return model_mlp(); }
static pb heavy(void) { return model_heavy(256, 3); }

static void the_same_bits(void) {
    const struct {
        pb (*bytes)(void);
        const char *dims;
        size_t count;
    } models[] = {
        {mlp, "20000,4", 80000},
        {mlp, "1,4", 4},
        {model_accumulator, "1,3", 3},
        {model_convnet, "1,3,32,32", 3072},
        {heavy, "256,256", 256 * 256},
        {model_sine, "1,3", 3},
    };
    static float one[MOST], many[MOST];
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        inferno_model *model = load(models[i].bytes());
        inferno_session *session = open_with(model, 1);
        size_t n = answer(session, models[i].dims, models[i].count, one);
        CHECK_OK(inferno_session_free(session));
        for (uint32_t threads = 2; threads <= 5; threads++) {
            session = open_with(model, threads);
            CHECK(answer(session, models[i].dims, models[i].count, many) == n);
            CHECK(memcmp(one, many, n * sizeof *one) == 0);
            CHECK_OK(inferno_session_free(session));
        }
        CHECK_OK(inferno_model_free(model));
    }
}

static void threads_come_when_asked_for_and_go(void) {
    CHECK_OK(inferno_shutdown());
    int before = threads_here();
    inferno_model *model = load(model_mlp());
    inferno_session *alone[] = {open_with(model, 0), open_with(model, 1)};
    CHECK(threads_are(before));
    inferno_session *more[] = {open_with(model, 2), open_with(model, 4), open_with(model, 3)};
    CHECK(threads_are(before + 3));
    static float y[MOST];
    for (int i = 0; i < 3; i++) {
        CHECK(answer(more[i], "20000,4", 80000, y) > 0);
        CHECK_OK(inferno_session_free(more[i]));
    }
    for (int i = 0; i < 2; i++) {
        CHECK(answer(alone[i], "20000,4", 80000, y) > 0);
        CHECK_OK(inferno_session_free(alone[i]));
    }
    CHECK(threads_are(before + 3));
    CHECK_OK(inferno_shutdown());
    CHECK(threads_are(before));
    inferno_model_free(model);
}

static void too_many_are_refused(void) {
    inferno_model *model = load(model_mlp());
    inferno_session_options options = session_defaults();
    inferno_session *session = NULL;
    options.threads = INFERNO_MAX_THREADS + 1;
    CHECK_STATUS(inferno_session_new(model, &options, &session), INFERNO_STATUS_LIMIT_EXCEEDED);
    CHECK(session == NULL);
    options.threads = UINT32_MAX;
    CHECK_STATUS(inferno_session_new(model, &options, &session), INFERNO_STATUS_LIMIT_EXCEEDED);
    CHECK_OK(inferno_model_free(model));
}

static inferno_model *shared_model;
static float expected[MOST];
static size_t expected_count;

static void *side_by_side(void *number) {
    float *y = malloc(sizeof expected);
    REQUIRE(y != NULL);
    int wrong = 0;
    for (int turn = 0; turn < check_times(20); turn++) {
        inferno_session *session = open_with(shared_model, 2 + (uint32_t)(uintptr_t)number % 2);
        wrong += answer(session, "20000,4", 80000, y) != expected_count;
        wrong += memcmp(y, expected, expected_count * sizeof *y) != 0;
        CHECK_OK(inferno_session_free(session));
    }
    CHECK(wrong == 0);
    free(y);
    return NULL;
}

static void sessions_share_the_helpers(void) {
    shared_model = load(model_mlp());
    inferno_session *session = open_with(shared_model, 1);
    expected_count = answer(session, "20000,4", 80000, expected);
    CHECK_OK(inferno_session_free(session));
    on_threads(side_by_side);
    CHECK_OK(inferno_model_free(shared_model));
}

#if HAS_FORK
/* A child has the sessions, and no helpers. */
static void a_child_runs_alone(void) {
    inferno_model *model = load(model_mlp());
    inferno_session *session = open_with(model, 2);
    static float here[MOST], there[MOST];
    size_t n = answer(session, "20000,4", 80000, here);
    fflush(NULL);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        int wrong = answer(session, "20000,4", 80000, there) != n;
        wrong += memcmp(here, there, n * sizeof *here) != 0;
        wrong += inferno_shutdown() != INFERNO_STATUS_OK;
        _exit(wrong);
    }
    int status = 1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
}
#endif

int main(void) {
    RUN(the_same_bits);
    RUN(threads_come_when_asked_for_and_go);
    RUN(too_many_are_refused);
    RUN(sessions_share_the_helpers);
#if HAS_FORK
    /* (Valgrind takes the stacks of helpers that a child does not have for lost blocks.) */
    if (getenv("CHECK_SLOW") == NULL) {
        RUN(a_child_runs_alone);
    }
#else
    SKIP(a_child_runs_alone, "there is no fork");
#endif
    CHECK_OK(inferno_shutdown());
    return check_summary();
}
