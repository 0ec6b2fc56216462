/*
 * The pool, by what inferno_memory_get_stats says: a warm run costs no request of the source, leaves
 * nothing behind, and gives the same bits as the one before; everything goes back, whichever thread frees it.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"
#include "on_threads.h"

static inferno_memory_stats now(void) {
    inferno_memory_stats stats = {.struct_size = sizeof stats};
    REQUIRE_OK(inferno_memory_get_stats(&stats));
    CHECK(stats.struct_size == sizeof stats);
    return stats;
}

/* A pool that is off, as under a checker of memory, has nothing to say. */
static int pooled(void) {
    const char *off = getenv("INFERNO_POOL");
    return off == NULL || off[0] != '0';
}

static void warm_runs_ask_for_nothing(void) {
    pb models[] = {model_mlp(), model_accumulator(), model_convnet(), model_lookup(), model_sine()};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        inferno_session *session = open_model(models[i]);
        float x[MLP_IN] = {1, 2, 3, 4};
        inferno_tensor input = f32_tensor("1,4", x);
        if (i == 0) {
            REQUIRE_OK(inferno_session_set_input(session, 0, &input));
        } else {
            REQUIRE_OK(inferno_session_prepare(session));
        }
        for (int run = 0; run < 20; run++) {
            REQUIRE_OK(inferno_session_run(session, NULL));
        }
        unsigned char first[256];
        inferno_tensor view;
        REQUIRE_OK(inferno_session_output(session, 0, &view));
        REQUIRE(view.size_bytes <= sizeof first);
        memcpy(first, view.data, view.size_bytes);
        int different = 0;
        inferno_memory_stats before = now();
        for (int run = 0; run < check_times(10000); run++) {
            REQUIRE_OK(inferno_session_run(session, NULL));
            REQUIRE_OK(inferno_session_output(session, 0, &view));
            different += memcmp(first, view.data, view.size_bytes) != 0;
        }
        CHECK(different == 0);
        inferno_memory_stats after = now();
        CHECK(after.source_calls == before.source_calls);
        CHECK(after.misses == before.misses);
        CHECK(after.live_bytes == before.live_bytes);
        CHECK(after.committed_bytes == before.committed_bytes);
        CHECK(after.refused == before.refused);
        /* A model that is one region asks for nothing at all; the others the pool has it for. */
        uint64_t given = after.hits + after.shared_hits - before.hits - before.shared_hits;
        CHECK(i < 4 ? given == 0 : !pooled() || given > 0);
        CHECK_OK(inferno_session_free(session));
    }
}

static void everything_goes_back(void) {
    CHECK_OK(inferno_memory_trim());
    inferno_memory_stats before = now();
    for (int turn = 0; turn < 3; turn++) {
        inferno_model *model = NULL;
        REQUIRE_OK(inferno_model_load_default(&model));
        inferno_session *session = open_session(model, NULL);
        int64_t dims[] = {1, 64};
        CHECK_OK(inferno_session_set_shape(session, 0, 2, dims));
        inferno_memory_stats held = now();
        CHECK(held.live_bytes > before.live_bytes + 10000);
        CHECK(!pooled() || held.committed_bytes > 0);
        CHECK_OK(inferno_session_run(session, NULL));
        CHECK_OK(inferno_session_free(session));
        CHECK_OK(inferno_model_free(model));
    }
    CHECK_OK(inferno_memory_trim());
    inferno_memory_stats after = now();
    /* Logs and errors of this thread may have been made meanwhile. */
    CHECK(after.live_bytes < before.live_bytes + 16384);
    CHECK(after.committed_bytes <= before.committed_bytes + 65536);
}

/* ---- Made here, freed there ----------------------------------------------------------------- */

enum { SESSIONS = 8 };

static inferno_model *shared;
static inferno_session *handed[THREADS][SESSIONS];

static void *make_and_run(void *number) {
    size_t me = (size_t)(uintptr_t)number;
    float x[MLP_IN] = {1, 2, 3, 4};
    inferno_tensor input = f32_tensor("1,4", x);
    for (size_t i = 0; i < SESSIONS; i++) {
        handed[me][i] = open_session(shared, NULL);
        CHECK_OK(inferno_session_set_input(handed[me][i], 0, &input));
        CHECK_OK(inferno_session_run(handed[me][i], NULL));
    }
    return NULL;
}

static void *free_the_next(void *number) {
    size_t next = ((size_t)(uintptr_t)number + 1) % THREADS;
    for (size_t i = 0; i < SESSIONS; i++) {
        CHECK_OK(inferno_session_run(handed[next][i], NULL));
        CHECK_OK(inferno_session_free(handed[next][i]));
    }
    return NULL;
}

static void one_thread_makes_another_frees(void) {
    CHECK_OK(inferno_memory_trim());
    inferno_memory_stats before = now();
    for (int turn = 0; turn < check_times(20); turn++) {
        shared = load(model_mlp());
        on_threads(make_and_run);
        on_threads(free_the_next);
        CHECK_OK(inferno_model_free(shared));
    }
    CHECK_OK(inferno_memory_trim());
    inferno_memory_stats after = now();
    CHECK(after.live_bytes < before.live_bytes + 16384);
    CHECK(after.committed_bytes <= before.committed_bytes + 65536);
}

/* A model that does not fit is refused, counted, and leaves nothing behind. */
static void refusals_are_counted(void) {
    inferno_memory_stats before = now();
    inferno_model_limits limits;
    REQUIRE_OK(inferno_model_limits_init(&limits, sizeof limits));
    limits.max_memory_bytes = 1000;
    inferno_model_options options;
    REQUIRE_OK(inferno_model_options_init(&options, sizeof options));
    options.limits = &limits;
    pb mlp = model_mlp();
    inferno_model *model = NULL;
    CHECK_STATUS(inferno_model_load_memory(mlp.data, mlp.size, &options, &model),
                 INFERNO_STATUS_LIMIT_EXCEEDED);
    pb_free(&mlp);
    CHECK(now().refused > before.refused);
}

int main(void) {
    REQUIRE_OK(inferno_init(NULL));
    RUN(warm_runs_ask_for_nothing);
    RUN(everything_goes_back);
    RUN(one_thread_makes_another_frees);
    RUN(refusals_are_counted);
    CHECK_OK(inferno_shutdown());
    return check_summary();
}
