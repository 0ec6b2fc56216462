/*
 * The process ends while threads run models, load them and are helped; nobody shuts anything down.
 *
 *   exit WAY      return, exit, quick_exit, _exit, shutdown (then exit), thread (the main thread ends first)
 *
 * Its exit status is 0 and it is quick, or there is a fault.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "../c/check.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

static atomic_int turns;

static void end_at_exit(void) {
    /* A host's own last words may still use the library. */
    inferno_metrics metrics = {.struct_size = sizeof metrics};
    if (inferno_metrics_snapshot(&metrics) != INFERNO_STATUS_OK) {
        _exit(9);
    }
}

static void *run_on(void *number) {
    const inferno_symbol_value batch = {"batch", 64};
    for (;;) {
        inferno_session_options options;
        inferno_model *model = NULL;
        inferno_session *session = NULL;
        if (inferno_session_options_init(&options, sizeof options) != INFERNO_STATUS_OK) {
            _exit(10);
        }
        options.symbols = &batch;
        options.symbol_count = 1;
        options.threads = (uint32_t)(uintptr_t)number % 3;
        inferno_status status = inferno_model_load_default(&model);
        if (status == INFERNO_STATUS_OK) {
            status = inferno_session_new(model, &options, &session);
        }
        for (int i = 0; i < 50 && status == INFERNO_STATUS_OK; i++) {
            status = inferno_session_run(session, NULL);
            atomic_fetch_add(&turns, 1);
        }
        /* (A shutdown of the main thread's makes handles stale at any moment.) */
        if (status != INFERNO_STATUS_OK && status != INFERNO_STATUS_INVALID_HANDLE) {
            fprintf(stderr, "%s\n", inferno_last_error());
            _exit(11);
        }
        inferno_session_free(session);
        inferno_model_free(model);
    }
    return NULL;
}

static void report(void *user_data, const inferno_metrics *now, const inferno_metrics *lately) {
    (void)user_data, (void)now, (void)lately;
}

static void *end_from_here(void *unused) {
    const struct timespec nap = {0, 5000000};
    (void)unused;
    nanosleep(&nap, NULL);
    exit(0);
}

int main(int argc, char **argv) {
    const char *way = argc > 1 ? argv[1] : "return";
    inferno_subscription_options every;
    uint64_t id;
    REQUIRE(atexit(end_at_exit) == 0);
    REQUIRE_OK(inferno_init(NULL));
    REQUIRE_OK(inferno_subscription_options_init(&every, sizeof every));
    every.interval_ns = 1000000;
    REQUIRE_OK(inferno_metrics_subscribe(report, &every, &id));
    for (uintptr_t i = 0; i < 4; i++) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, run_on, (void *)i) == 0);
    }
    while (atomic_load(&turns) < 20) {
        const struct timespec nap = {0, 100000};
        nanosleep(&nap, NULL);
    }
    if (strcmp(way, "exit") == 0) exit(0);
    if (strcmp(way, "quick_exit") == 0) quick_exit(0);
    if (strcmp(way, "_exit") == 0) _exit(0);
    if (strcmp(way, "shutdown") == 0) return inferno_shutdown() != INFERNO_STATUS_OK;
    if (strcmp(way, "thread") == 0) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, end_from_here, NULL) == 0);
        pthread_exit(NULL);
    }
    return 0;
}
