/*
 * fork: a child of a parent that is in no call has all that the parent had, but its threads.
 *
 *   fork PROGRAM      PROGRAM is what a child executes: /bin/true
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "../c/check.h"

#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SCORES = 10 };

static float expected[SCORES];

static inferno_session *open_session(uint32_t threads) {
    const inferno_symbol_value batch = {"batch", 1};
    inferno_session_options options;
    inferno_model *model = NULL;
    inferno_session *session = NULL;
    REQUIRE_OK(inferno_session_options_init(&options, sizeof options));
    options.symbols = &batch;
    options.symbol_count = 1;
    options.threads = threads;
    REQUIRE_OK(inferno_model_load_default(&model));
    REQUIRE_OK(inferno_session_new(model, &options, &session));
    CHECK_OK(inferno_model_free(model));
    return session;
}

static int answer(inferno_session *session, float *scores) {
    inferno_tensor image, output;
    int bad = inferno_session_input(session, 0, &image) != INFERNO_STATUS_OK;
    for (int i = 0; i < 64 && !bad; i++) {
        ((float *)image.data)[i] = (float)(i % 17);
    }
    bad = bad || inferno_session_run(session, NULL) != INFERNO_STATUS_OK ||
          inferno_session_output(session, 0, &output) != INFERNO_STATUS_OK;
    if (!bad) {
        memcpy(scores, output.data, SCORES * sizeof *scores);
    }
    return bad;
}

static int is_right(inferno_session *session) {
    float scores[SCORES];
    return answer(session, scores) == 0 && memcmp(scores, expected, sizeof scores) == 0;
}

/* Whether a child ended well, and within a minute. */
static int ended_well(pid_t child) {
    for (int i = 0; i < 6000; i++) {
        int status;
        const struct timespec nap = {0, 10000000};
        if (waitpid(child, &status, WNOHANG) == child) {
            return WIFEXITED(status) && WEXITSTATUS(status) == 0;
        }
        nanosleep(&nap, NULL);
    }
    printf("a child hangs\n");
    return 0;
}

/* All that a child may do, ended by `exit`, which runs what is to be run at exit. */
static void child_uses_all(inferno_session *session) {
    inferno_session *own;
    inferno_metrics metrics = {.struct_size = sizeof metrics};
    check_failures = 0;
    if (session != NULL) {
        CHECK(is_right(session));
    }
    own = open_session(2);
    if (session != NULL) {
        CHECK(is_right(own));
        CHECK_OK(inferno_session_free(session));
    }
    CHECK_OK(inferno_metrics_snapshot(&metrics));
    CHECK_OK(inferno_memory_trim());
    CHECK_OK(inferno_session_free(own));
    CHECK_OK(inferno_shutdown());
    CHECK_OK(inferno_init(NULL));
    own = open_session(0);
    CHECK_OK(inferno_session_run(own, NULL));
    exit(check_failures != 0);
}

static void try_child(inferno_session *session) {
    fflush(NULL);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        child_uses_all(session);
    }
    CHECK(ended_well(child));
}

static void before_any_use(void) { try_child(NULL); }

static void after_use(void) {
    inferno_session *session = open_session(0);
    REQUIRE(answer(session, expected) == 0);
    for (int i = 0; i < 10; i++) {
        try_child(session);
    }
    CHECK(is_right(session)); /* what a child frees is its own */
    CHECK_OK(inferno_session_free(session));
}

static void count_report(void *user_data, const inferno_metrics *now, const inferno_metrics *lately) {
    (void)now, (void)lately;
    atomic_fetch_add((atomic_int *)user_data, 1);
}

/* With helpers and a thread of metrics, which a child does not have. */
static void with_threads_of_ours(void) {
    static atomic_int reports;
    inferno_subscription_options every;
    uint64_t id;
    inferno_session *session = open_session(2);
    REQUIRE_OK(inferno_subscription_options_init(&every, sizeof every));
    every.interval_ns = 1000000;
    every.user_data = &reports;
    REQUIRE_OK(inferno_metrics_subscribe(count_report, &every, &id));
    for (int i = 0; i < 10; i++) {
        CHECK(is_right(session));
        try_child(session);
    }
    while (atomic_load(&reports) < 3) {
        const struct timespec nap = {0, 1000000};
        nanosleep(&nap, NULL);
    }
    CHECK_OK(inferno_metrics_unsubscribe(id));
    CHECK_OK(inferno_session_free(session));
}

static atomic_int stopped;

static void *run_on(void *unused) {
    (void)unused;
    while (!atomic_load(&stopped)) {
        inferno_session *session = open_session(0);
        for (int i = 0; i < 200; i++) {
            CHECK(is_right(session));
        }
        CHECK_OK(inferno_session_free(session));
    }
    return NULL;
}

/* While other threads are in calls a child may only end, or become another program. */
static void amid_calls(const char *program) {
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, run_on, NULL) == 0);
    }
    for (int i = 0; i < 40; i++) {
        fflush(NULL);
        pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            if (i % 2 == 0) {
                execl(program, program, (char *)NULL);
            }
            _exit(i % 2 == 0);
        }
        CHECK(ended_well(child));
    }
    atomic_store(&stopped, 1);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
}

int main(int argc, char **argv) {
    RUN(before_any_use);
    RUN(after_use);
    RUN(with_threads_of_ours);
    check_test = "amid_calls";
    amid_calls(argc > 1 ? argv[1] : "/bin/true");
    CHECK_OK(inferno_shutdown());
    return check_summary();
}
