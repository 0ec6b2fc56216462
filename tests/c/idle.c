/*
 * What a process costs that has everything and asks for nothing: a runtime, a metrics thread, a
 * queue with workers, helpers of runs on several threads, and warm sessions.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"
#include "on_threads.h"

#include <time.h>

/* So long that two steps of the clock are less than what is allowed. */
enum { SECONDS = PROCESSOR_STEP_MS > 1 ? 4 * PROCESSOR_STEP_MS : 5 };
enum { WORKERS = 2, HELPERS = 2, HEAVY = 256 };

static atomic_int reports;

static void report(void *unused, const inferno_metrics *now, const inferno_metrics *lately) {
    (void)unused, (void)now, (void)lately;
    atomic_fetch_add(&reports, 1);
}

static void nap(long milliseconds) {
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* A session whose runs have helpers, warm. */
static inferno_session *with_helpers(void) {
    static float x[HEAVY * HEAVY];
    inferno_session_options options = session_defaults();
    options.threads = HELPERS + 1;
    inferno_model *model = load(model_heavy(HEAVY, 3));
    inferno_session *session = open_session(model, &options);
    CHECK_OK(inferno_model_free(model));
    inferno_tensor input = f32_tensor("256,256", x);
    CHECK_OK(inferno_session_set_input(session, 0, &input));
    for (int run = 0; run < 3; run++) {
        CHECK_OK(inferno_session_run(session, NULL));
    }
    return session;
}

/* A queue whose workers have worked; batches wait for company. */
static inferno_queue *with_workers(void) {
    inferno_queue_options options;
    REQUIRE_OK(inferno_queue_options_init(&options, sizeof options));
    options.workers = WORKERS;
    options.max_delay_ns = 200000;
    inferno_model *model = load(model_mlp());
    inferno_queue *queue = NULL;
    REQUIRE_OK(inferno_queue_new(model, &options, &queue));
    CHECK_OK(inferno_model_free(model));
    float x[4] = {1, 2, 3, 4};
    inferno_tensor input = f32_tensor("1,4", x);
    for (int i = 0; i < 100; i++) {
        inferno_job *job = NULL;
        REQUIRE_OK(inferno_queue_submit(queue, &input, 1, NULL, &job));
        CHECK_OK(inferno_job_wait(job, UINT64_MAX));
        CHECK_OK(inferno_job_free(job));
    }
    return queue;
}

static void an_idle_process_sleeps(void) {
    int before = threads_here();
    inferno_session *session = with_helpers();
    inferno_queue *queue = with_workers();
    uint64_t subscription = 0;
    /* Every second: the default. */
    REQUIRE_OK(inferno_metrics_subscribe(report, NULL, &subscription));
    CHECK(threads_are(before + HELPERS + WORKERS + 1));
    nap(100);
    double begun = processor_seconds();
    nap(SECONDS * 1000);
    double percent = (processor_seconds() - begun) / SECONDS * 100;
    printf("idle: idle_cpu_percent=%.4f threads=%d\n", percent, threads_here());
    CHECK(percent < 0.1);
    CHECK(atomic_load(&reports) >= SECONDS * 9 / 10);
    CHECK_OK(inferno_metrics_unsubscribe(subscription));
    CHECK_OK(inferno_queue_free(queue));
    CHECK_OK(inferno_session_free(session));
}

int main(void) {
    /* (A checker of memory has costs of its own.) */
    if (getenv("CHECK_SLOW") == NULL) {
        RUN(an_idle_process_sleeps);
    }
    CHECK_OK(inferno_shutdown());
    return check_summary();
}
