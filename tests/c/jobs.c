/*
 * The host's jobs: the same bits whatever the host does with them, and no thread of Inferno's.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"
#include "on_threads.h"

#include <float.h>

enum { SIDE = 256, MOST = SIDE * SIDE, WORKERS = 4 };

/* ---- What hosts do with jobs ------------------------------------------------------------------ */

typedef struct {
    inferno_job_function job;
    void *data;
    uint32_t index;
} one_job;

static atomic_uint calls;
static one_job kept[64];
static unsigned kept_count;

static void in_order(void *user, uint32_t count, inferno_job_function job, void *data) {
    (void)user;
    atomic_fetch_add(&calls, 1);
    for (uint32_t i = 0; i < count; i++) {
        job(data, i);
    }
}

static void backwards(void *user, uint32_t count, inferno_job_function job, void *data) {
    (void)user;
    atomic_fetch_add(&calls, 1);
    while (count-- > 0) {
        job(data, count);
    }
}

static void *do_one(void *given) {
    one_job *of = given;
    of->job(of->data, of->index);
    return NULL;
}

static void on_own_threads(void *user, uint32_t count, inferno_job_function job, void *data) {
    (void)user;
    atomic_fetch_add(&calls, 1);
    pthread_t threads[INFERNO_MAX_THREADS];
    one_job jobs[INFERNO_MAX_THREADS];
    for (uint32_t i = 0; i < count; i++) {
        jobs[i] = (one_job){job, data, i};
        REQUIRE(pthread_create(&threads[i], NULL, do_one, &jobs[i]) == 0);
    }
    for (uint32_t i = 0; i < count; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
}

static void none(void *user, uint32_t count, inferno_job_function job, void *data) {
    (void)user, (void)count, (void)job, (void)data;
    atomic_fetch_add(&calls, 1);
}

static void one_of_them(void *user, uint32_t count, inferno_job_function job, void *data) {
    (void)user;
    atomic_fetch_add(&calls, 1);
    job(data, count - 1);
}

static void too_often(void *user, uint32_t count, inferno_job_function job, void *data) {
    (void)user;
    atomic_fetch_add(&calls, 1);
    for (uint32_t i = 0; i < 3 * count; i++) {
        job(data, i * 1000003u);
    }
}

/* Keeps what it was given, and calls it when the next run is under way. */
static void late(void *user, uint32_t count, inferno_job_function job, void *data) {
    (void)user;
    atomic_fetch_add(&calls, 1);
    for (unsigned i = 0; i < kept_count; i++) {
        kept[i].job(kept[i].data, kept[i].index);
    }
    for (uint32_t i = 0; i < count; i++) {
        kept[kept_count++ % 64] = (one_job){job, data, i};
        kept_count = kept_count < 64 ? kept_count : 64;
    }
}

/* Returns while its threads are at work. */
static pthread_t left[2];
static one_job left_jobs[2];
static int left_count;

static void join_left(void) {
    while (left_count > 0) {
        CHECK(pthread_join(left[--left_count], NULL) == 0);
    }
}

static void too_early(void *user, uint32_t count, inferno_job_function job, void *data) {
    (void)user;
    atomic_fetch_add(&calls, 1);
    join_left();
    for (uint32_t i = 0; i < 2 && i < count; i++) {
        left_jobs[i] = (one_job){job, data, i};
        REQUIRE(pthread_create(&left[i], NULL, do_one, &left_jobs[i]) == 0);
        left_count++;
    }
}

/* Runs another session and this one meanwhile, as a job system that helps while it waits. */
static inferno_session *other, *same;
static int depth;

static void reentrant(void *user, uint32_t count, inferno_job_function job, void *data) {
    volatile float small = FLT_MIN;
    (void)user;
    atomic_fetch_add(&calls, 1);
    /* The mode is the host's. */
    CHECK(small / 2.0f > 0.0f);
    if (depth++ == 0) {
        int32_t finished = 0;
        CHECK_STATUS(inferno_session_run(same, NULL), INFERNO_STATUS_BUSY);
        CHECK_STATUS(inferno_session_run_for(same, 1, &finished), INFERNO_STATUS_BUSY);
        CHECK_OK(inferno_session_run(other, NULL));
        CHECK_OK(inferno_session_run_for(other, 1, &finished));
        CHECK_OK(inferno_session_cancel(other));
        CHECK_STATUS(inferno_session_run_for(other, 1, &finished), INFERNO_STATUS_CANCELLED);
    }
    for (uint32_t i = 0; i < count; i++) {
        job(data, i);
    }
    depth--;
}

/* ---- Runs over them ---------------------------------------------------------------------------- */

typedef void (*jobs_function)(void *, uint32_t, inferno_job_function, void *);

static void start(jobs_function run) {
    inferno_runtime_options options;
    inferno_host_jobs jobs = {sizeof jobs, NULL, run};
    REQUIRE_OK(inferno_runtime_options_init(&options, sizeof options));
    CHECK(options.jobs == NULL);
    options.jobs = run != NULL ? &jobs : NULL;
    REQUIRE_OK(inferno_init(&options));
}

static inferno_session *open_with(const inferno_model *model, uint32_t threads) {
    inferno_session_options options = session_defaults();
    options.threads = threads;
    inferno_session *session = open_session(model, &options);
    float *x = malloc(MOST * sizeof *x);
    REQUIRE(x != NULL);
    for (size_t i = 0; i < MOST; i++) {
        x[i] = (float)((i * 37) % 101) / 50.0f - 1.0f;
    }
    inferno_tensor input = f32_tensor("256,256", x);
    CHECK_OK(inferno_session_set_input(session, 0, &input));
    free(x);
    return session;
}

static float expected[MOST];

static int is_expected(inferno_session *session) {
    inferno_tensor y;
    return inferno_session_output(session, 0, &y) == INFERNO_STATUS_OK &&
           y.size_bytes == sizeof expected && memcmp(y.data, expected, sizeof expected) == 0;
}

static void alone(void) {
    inferno_model *model = load(model_heavy(SIDE, 3));
    inferno_session *session = open_with(model, 1);
    REQUIRE_OK(inferno_session_run(session, NULL));
    REQUIRE_OK(inferno_session_copy_output(session, 0, expected, sizeof expected, NULL));
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
    CHECK_OK(inferno_shutdown());
}

static void over(const char *name, jobs_function run) {
    int before = threads_here();
    start(run);
    inferno_model *model = load(model_heavy(SIDE, 3));
    inferno_session *session = open_with(model, WORKERS);
    other = open_with(model, 2);
    same = session;
    CHECK(threads_are(before));
    atomic_store(&calls, 0);
    kept_count = 0;
    for (int turn = 0; turn < 5; turn++) {
        CHECK_OK(inferno_session_run(session, NULL));
        if (!CHECK(is_expected(session))) {
            printf("jobs: %s\n", name);
        }
    }
    CHECK(atomic_load(&calls) >= 15);
    static const uint64_t budgets[] = {1, 100000, UINT64_MAX};
    for (int i = 0; i < 3; i++) {
        CHECK_OK(inferno_session_reset(session));
        for (int32_t finished = 0; !finished;) {
            REQUIRE_OK(inferno_session_run_for(session, budgets[i], &finished));
        }
        CHECK(is_expected(session));
    }
    join_left();
    CHECK(threads_are(before));
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_session_free(other));
    CHECK_OK(inferno_model_free(model));
    CHECK_OK(inferno_shutdown());
    /* What comes after the end does nothing. */
    for (unsigned i = 0; i < kept_count; i++) {
        kept[i].job(kept[i].data, kept[i].index);
    }
}

static void whatever_the_host_does(void) {
    over("in order", in_order);
    over("backwards", backwards);
    over("on threads", on_own_threads);
    over("none", none);
    over("one of them", one_of_them);
    over("too often", too_often);
    over("late", late);
    over("too early", too_early);
    over("reentrant", reentrant);
}

static inferno_model *shared_model;

static void *side_by_side(void *number) {
    (void)number;
    inferno_session *session = open_with(shared_model, WORKERS);
    for (int turn = 0; turn < check_times(20); turn++) {
        int32_t finished = turn % 2;
        if (finished) {
            CHECK_OK(inferno_session_run(session, NULL));
        }
        while (!finished) {
            REQUIRE_OK(inferno_session_run_for(session, 200000, &finished));
        }
        CHECK(is_expected(session));
    }
    CHECK_OK(inferno_session_free(session));
    return NULL;
}

static void sessions_share_them(void) {
    static const jobs_function runs[] = {on_own_threads, too_often, one_of_them};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        start(runs[i]);
        shared_model = load(model_heavy(SIDE, 3));
        on_threads(side_by_side);
        CHECK_OK(inferno_model_free(shared_model));
        CHECK_OK(inferno_shutdown());
    }
}

static void bad_jobs_are_refused_and_helpers_come_back(void) {
    inferno_runtime_options options;
    inferno_host_jobs jobs = {sizeof jobs, NULL, NULL};
    REQUIRE_OK(inferno_runtime_options_init(&options, sizeof options));
    options.jobs = &jobs;
    CHECK_ERROR(inferno_init(&options), INFERNO_STATUS_INVALID_ARGUMENT, "jobs.run");
    jobs = (inferno_host_jobs){1, NULL, in_order};
    CHECK_ERROR(inferno_init(&options), INFERNO_STATUS_INVALID_ARGUMENT, "struct_size");
    int before = threads_here();
    start(NULL);
    atomic_store(&calls, 0);
    inferno_model *model = load(model_heavy(SIDE, 3));
    inferno_session *session = open_with(model, 2);
    CHECK(threads_are(before + 1));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(is_expected(session) && atomic_load(&calls) == 0);
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
    CHECK_OK(inferno_shutdown());
    CHECK(threads_are(before));
}

int main(void) {
    RUN(alone);
    RUN(whatever_the_host_does);
    RUN(sessions_share_them);
    RUN(bad_jobs_are_refused_and_helpers_come_back);
    CHECK_OK(inferno_shutdown());
    return check_summary();
}
