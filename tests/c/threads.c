/*
 * Threads: sessions side by side, several threads in one session, free while in use, errors and
 * logs of several threads.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"
#include "on_threads.h"

#include <sched.h>
#include <time.h>

static void nap(long microseconds) {
    struct timespec time = {0, microseconds * 1000};
    nanosleep(&time, NULL);
}

/* ---- One model, many sessions --------------------------------------------------------------- */

static inferno_model *shared_model;
static pthread_barrier_t barrier;

static void *side_by_side(void *number) {
    size_t me = (size_t)(uintptr_t)number, batch = me + 1;
    float x[THREADS * MLP_IN], expected[THREADS * MLP_OUT], first[THREADS * MLP_OUT];
    for (size_t i = 0; i < batch * MLP_IN; i++) {
        x[i] = (float)(me * 10 + i) / 8.0f;
    }
    mlp_reference(x, batch, expected);
    char dims[16];
    snprintf(dims, sizeof dims, "%zu,4", batch);
    inferno_tensor input = f32_tensor(dims, x), output;
    pthread_barrier_wait(&barrier);
    inferno_session *session = open_session(shared_model, NULL);
    int wrong = 0, failed = 0;
    for (int run = 0; run < check_times(500); run++) {
        failed += inferno_session_set_input(session, 0, &input) != INFERNO_STATUS_OK;
        failed += inferno_session_run(session, NULL) != INFERNO_STATUS_OK;
        failed += inferno_session_output(session, 0, &output) != INFERNO_STATUS_OK;
        wrong += !close_to(output.data, expected, batch * MLP_OUT);
        if (run == 0) {
            memcpy(first, output.data, output.size_bytes);
        }
        wrong += memcmp(first, output.data, output.size_bytes) != 0;
    }
    CHECK(failed == 0);
    CHECK(wrong == 0);
    CHECK_OK(inferno_session_free(session));
    return NULL;
}

static void sessions_side_by_side(void) {
    shared_model = load(model_mlp());
    on_threads(side_by_side);
    CHECK_OK(inferno_model_free(shared_model));
}

/* Loads, refusals, sessions and frees, all at once, each thread with models of its own. */
static void *own_models(void *number) {
    float x[6] = {1, 2, 3, 4, 5, 6}, twice[6] = {2, 4, 6, 8, 10, 12};
    inferno_tensor input = f32_tensor("2,3", x);
    (void)number;
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < check_times(30); i++) {
        inferno_session *session = open_model(model_add());
        inferno_model *none = NULL;
        pb bad = MODELS_REFUSED[i % COUNT_OF(MODELS_REFUSED)].make();
        CHECK_ERROR(inferno_model_load_memory(bad.data, bad.size, NULL, &none),
                    MODELS_REFUSED[i % COUNT_OF(MODELS_REFUSED)].status,
                    MODELS_REFUSED[i % COUNT_OF(MODELS_REFUSED)].part);
        pb_free(&bad);
        CHECK_OK(inferno_session_set_input(session, 0, &input));
        CHECK_OK(inferno_session_set_input(session, 1, &input));
        CHECK_OK(inferno_session_run(session, NULL));
        CHECK(output_is(session, 0, f32_tensor("2,3", twice)));
        CHECK_OK(inferno_session_free(session));
    }
    return NULL;
}

static void models_side_by_side(void) { on_threads(own_models); }

/* ---- Several threads in one session --------------------------------------------------------- */

static inferno_session *shared_session;
static atomic_int runs_done;

/* Every successful run counts once in the state: none is lost, none happens twice. */
static void *count_runs(void *number) {
    (void)number;
    int strange = 0, torn = 0, done = 0, wanted = check_times(300);
    pthread_barrier_wait(&barrier);
    while (done < wanted) {
        inferno_status status = inferno_session_run(shared_session, NULL);
        if (status == INFERNO_STATUS_OK) {
            done++;
        } else {
            strange += status != INFERNO_STATUS_BUSY;
            strange += inferno_last_error()[0] == '\0';
            sched_yield();
        }
        float sum[3];
        status = inferno_session_copy_output(shared_session, 1, sum, sizeof sum, NULL);
        if (status == INFERNO_STATUS_OK) {
            torn += sum[1] != 2 * sum[0] || sum[2] != -sum[0] || sum[0] < 1;
        } else {
            strange += status != INFERNO_STATUS_BUSY && status != INFERNO_STATUS_NOT_READY;
        }
    }
    atomic_fetch_add(&runs_done, done);
    CHECK(strange == 0);
    CHECK(torn == 0);
    return NULL;
}

static void threads_in_one_session(void) {
    float x[3] = {1, 2, -1}, sum[3];
    inferno_tensor input = f32_tensor("1,3", x);
    shared_session = open_recurrent(model_accumulator(), "state", "state_out");
    CHECK_OK(inferno_session_set_input(shared_session, 0, &input));
    atomic_store(&runs_done, 0);
    on_threads(count_runs);
    float total = (float)atomic_load(&runs_done);
    CHECK_OK(inferno_session_copy_output(shared_session, 1, sum, sizeof sum, NULL));
    CHECK(sum[0] == total && sum[1] == 2 * total && sum[2] == -total);
    CHECK_OK(inferno_session_free(shared_session));
}

static atomic_int stop;

static void *keep_running(void *unused) {
    (void)unused;
    int strange = 0;
    while (!atomic_load(&stop)) {
        inferno_status status = inferno_session_run(shared_session, NULL);
        strange += status != INFERNO_STATUS_OK && status != INFERNO_STATUS_BUSY;
    }
    CHECK(strange == 0);
    return NULL;
}

enum { HEAVY = 96, HEAVY_TIMES = 40, HEAVY_BYTES = 4 * HEAVY * HEAVY };

static float heavy_x[HEAVY * HEAVY], heavy_first[HEAVY * HEAVY], heavy_again[HEAVY * HEAVY];

static inferno_status enter(int which) {
    int64_t dims[2] = {HEAVY, HEAVY};
    inferno_tensor x = f32_tensor("96,96", heavy_x), view;
    size_t size;
    switch (which) {
        case 0: return inferno_session_set_shape(shared_session, 0, 2, dims);
        case 1: return inferno_session_prepare(shared_session);
        case 2: return inferno_session_input(shared_session, 0, &view);
        case 3: return inferno_session_output(shared_session, 0, &view);
        case 4: return inferno_session_set_input(shared_session, 0, &x);
        case 5: return inferno_session_copy_output(shared_session, 0, heavy_again, HEAVY_BYTES,
                                                   &size);
        case 6: return inferno_session_bind_input(shared_session, 0, NULL);
        case 7: return inferno_session_bind_output(shared_session, 0, NULL);
        case 8: return inferno_session_run(shared_session, NULL);
        case 9: return inferno_session_state_size(shared_session, &size);
        case 10: return inferno_session_copy_state(shared_session, heavy_again, HEAVY_BYTES);
        case 11: return inferno_session_reset(shared_session);
        default: return inferno_session_set_state(shared_session, "nonsense", 8);
    }
}

/* While a long run goes on, every function of the session answers BUSY. */
static void busy(void) {
    pthread_t thread;
    for (size_t i = 0; i < HEAVY * HEAVY; i++) {
        heavy_x[i] = model_weight(7, (unsigned)i);
    }
    inferno_tensor x = f32_tensor("96,96", heavy_x);
    shared_session = open_model(model_heavy(HEAVY, HEAVY_TIMES));
    CHECK_OK(inferno_session_set_input(shared_session, 0, &x));
    CHECK_OK(inferno_session_run(shared_session, NULL));
    CHECK_OK(inferno_session_copy_output(shared_session, 0, heavy_first, HEAVY_BYTES, NULL));
    atomic_store(&stop, 0);
    REQUIRE(pthread_create(&thread, NULL, keep_running, NULL) == 0);
    for (int which = 0; which <= 12; which++) {
        inferno_status status;
        int strange = 0;
        time_t give_up = time(NULL) + 60;
        do {
            status = enter(which);
            strange += status != INFERNO_STATUS_OK && status != INFERNO_STATUS_BUSY &&
                       !(status == INFERNO_STATUS_NOT_READY && (which == 3 || which == 5)) &&
                       !(status == INFERNO_STATUS_INVALID_ARGUMENT && which == 12);
            if (status != INFERNO_STATUS_BUSY) {
                nap(200);
            }
        } while (status != INFERNO_STATUS_BUSY && time(NULL) < give_up);
        CHECK(status == INFERNO_STATUS_BUSY);
        CHECK(check_contains(inferno_last_error(), "thread"));
        CHECK(strange == 0);
    }
    atomic_store(&stop, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_OK(inferno_session_run(shared_session, NULL));
    CHECK_OK(inferno_session_copy_output(shared_session, 0, heavy_again, HEAVY_BYTES, NULL));
    CHECK(memcmp(heavy_first, heavy_again, HEAVY_BYTES) == 0);
    CHECK_OK(inferno_session_free(shared_session));
}

/* ---- Free while in use ---------------------------------------------------------------------- */

static void *use_until_stale(void *number) {
    (void)number;
    int strange = 0;
    inferno_status status;
    pthread_barrier_wait(&barrier);
    do {
        float sum[3];
        size_t size;
        status = inferno_session_run(shared_session, NULL);
        strange += status != INFERNO_STATUS_OK && status != INFERNO_STATUS_BUSY &&
                   status != INFERNO_STATUS_INVALID_HANDLE;
        status = inferno_session_copy_output(shared_session, 1, sum, sizeof sum, &size);
        strange += status != INFERNO_STATUS_OK && status != INFERNO_STATUS_BUSY &&
                   status != INFERNO_STATUS_NOT_READY && status != INFERNO_STATUS_INVALID_HANDLE;
    } while (status != INFERNO_STATUS_INVALID_HANDLE);
    CHECK(strange == 0);
    /* Once stale, always stale. */
    CHECK_STATUS(inferno_session_run(shared_session, NULL), INFERNO_STATUS_INVALID_HANDLE);
    return NULL;
}

static void session_freed_in_use(void) {
    for (int round = 0; round < check_times(40); round++) {
        pthread_t threads[THREADS - 1];
        shared_session = open_recurrent(model_accumulator(), "state", "state_out");
        for (size_t i = 0; i < THREADS - 1; i++) {
            REQUIRE(pthread_create(&threads[i], NULL, use_until_stale, NULL) == 0);
        }
        pthread_barrier_wait(&barrier);
        nap(round * 50);
        CHECK_OK(inferno_session_free(shared_session));
        for (size_t i = 0; i < THREADS - 1; i++) {
            CHECK(pthread_join(threads[i], NULL) == 0);
        }
    }
}

static void *sessions_until_stale(void *number) {
    (void)number;
    int strange = 0;
    inferno_status status;
    pthread_barrier_wait(&barrier);
    do {
        inferno_session *session = NULL;
        inferno_tensor_info info;
        status = inferno_session_new(shared_model, NULL, &session);
        if (status == INFERNO_STATUS_OK) {
            strange += inferno_session_run(session, NULL) != INFERNO_STATUS_OK;
            strange += inferno_session_free(session) != INFERNO_STATUS_OK;
        } else {
            strange += status != INFERNO_STATUS_INVALID_HANDLE || session != NULL;
        }
        status = inferno_model_input(shared_model, 0, &info);
        strange += status != INFERNO_STATUS_OK && status != INFERNO_STATUS_INVALID_HANDLE;
    } while (status != INFERNO_STATUS_INVALID_HANDLE);
    CHECK(strange == 0);
    return NULL;
}

static void model_freed_in_use(void) {
    for (int round = 0; round < check_times(20); round++) {
        pthread_t threads[THREADS - 1];
        shared_model = load(model_accumulator());
        for (size_t i = 0; i < THREADS - 1; i++) {
            REQUIRE(pthread_create(&threads[i], NULL, sessions_until_stale, NULL) == 0);
        }
        pthread_barrier_wait(&barrier);
        nap(round * 100);
        CHECK_OK(inferno_model_free(shared_model));
        for (size_t i = 0; i < THREADS - 1; i++) {
            CHECK(pthread_join(threads[i], NULL) == 0);
        }
    }
}

static atomic_int session_frees, model_frees;

static void *free_both(void *number) {
    (void)number;
    pthread_barrier_wait(&barrier);
    inferno_status status = inferno_session_free(shared_session);
    atomic_fetch_add(&session_frees, status == INFERNO_STATUS_OK);
    CHECK(status == INFERNO_STATUS_OK || status == INFERNO_STATUS_INVALID_HANDLE);
    status = inferno_model_free(shared_model);
    atomic_fetch_add(&model_frees, status == INFERNO_STATUS_OK);
    CHECK(status == INFERNO_STATUS_OK || status == INFERNO_STATUS_INVALID_HANDLE);
    return NULL;
}

/* Of several frees of one handle, one succeeds. */
static void freed_by_several(void) {
    for (int round = 0; round < check_times(50); round++) {
        shared_model = load(model_add());
        shared_session = open_session(shared_model, NULL);
        atomic_store(&session_frees, 0);
        atomic_store(&model_frees, 0);
        on_threads(free_both);
        CHECK(atomic_load(&session_frees) == 1);
        CHECK(atomic_load(&model_frees) == 1);
    }
}

/* ---- Errors and logs ------------------------------------------------------------------------ */

static void *own_error(void *number) {
    char name[64];
    size_t index;
    int wrong = 0;
    snprintf(name, sizeof name, "nobody-%d", (int)(uintptr_t)number);
    CHECK(inferno_last_error()[0] == '\0'); /* a new thread has none */
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < check_times(200); i++) {
        wrong += inferno_model_input_index(shared_model, name, &index) != INFERNO_STATUS_NOT_FOUND;
        sched_yield();
        wrong += !check_contains(inferno_last_error(), name);
        if (i % 8 == 0) {
            wrong += inferno_model_input_count(shared_model, &index) != INFERNO_STATUS_OK;
            wrong += inferno_last_error()[0] != '\0';
        }
    }
    CHECK(wrong == 0);
    return NULL;
}

static void errors_are_the_threads_own(void) {
    shared_model = load(model_add());
    on_threads(own_error);
    CHECK_OK(inferno_model_free(shared_model));
}

typedef struct sink {
    atomic_int lines, gone, late;
} sink;

static sink sinks[64];

static void take(void *user_data, int32_t level, const char *module, const char *message) {
    sink *to = user_data;
    (void)level, (void)module, (void)message;
    if (atomic_load(&to->gone)) {
        atomic_fetch_add(&to->late, 1);
    }
    nap(20);
    if (atomic_load(&to->gone)) {
        atomic_fetch_add(&to->late, 1);
    }
    atomic_fetch_add(&to->lines, 1);
}

static void *load_until_stopped(void *number) {
    (void)number;
    while (!atomic_load(&stop)) {
        inferno_session *session = open_model(model_add());
        CHECK_OK(inferno_session_free(session));
    }
    return NULL;
}

/* When the call that takes a callback away returns, nobody is inside it any more. */
static void callback_removed_in_use(void) {
    pthread_t threads[2];
    int lines = 0;
    atomic_store(&stop, 0);
    for (size_t i = 0; i < 2; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, load_until_stopped, NULL) == 0);
    }
    for (size_t i = 0; i < (size_t)check_times(COUNT_OF(sinks)); i++) {
        CHECK_OK(inferno_log_set_callback(take, &sinks[i], INFERNO_LOG_LEVEL_TRACE));
        if (i > 0 && i % 2 == 0) {
            atomic_store(&sinks[i - 1].gone, 1); /* replaced */
        }
        nap(3000);
        if (i % 2 == 0) {
            CHECK_OK(inferno_log_set_callback(NULL, NULL, INFERNO_LOG_LEVEL_OFF));
            atomic_store(&sinks[i].gone, 1); /* taken away */
        }
    }
    CHECK_OK(inferno_log_set_callback(NULL, NULL, INFERNO_LOG_LEVEL_OFF));
    atomic_store(&stop, 1);
    for (size_t i = 0; i < 2; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    for (size_t i = 0; i < COUNT_OF(sinks); i++) {
        CHECK(atomic_load(&sinks[i].late) == 0);
        lines += atomic_load(&sinks[i].lines);
    }
    CHECK(lines > 0);
}

/* ---- Users of the runtime ------------------------------------------------------------------- */

/* Each thread is a user of its own: another one's shutdown never ends its handles. */
static void *come_and_go(void *number) {
    (void)number;
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < check_times(40); i++) {
        CHECK_OK(inferno_init(NULL));
        inferno_model *model = load(model_add());
        inferno_session *session = open_session(model, NULL);
        CHECK_OK(inferno_session_run(session, NULL));
        if (i % 2 == 0) { /* the rest is left to the shutdowns */
            CHECK_OK(inferno_session_free(session));
            CHECK_OK(inferno_model_free(model));
        }
        CHECK_OK(inferno_shutdown());
    }
    return NULL;
}

static void users_come_and_go(void) {
    CHECK_OK(inferno_shutdown());
    on_threads(come_and_go);
    CHECK_OK(inferno_shutdown());
}

int main(void) {
    REQUIRE(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
    RUN(sessions_side_by_side);
    RUN(models_side_by_side);
    RUN(threads_in_one_session);
    RUN(busy);
    RUN(session_freed_in_use);
    RUN(model_freed_in_use);
    RUN(freed_by_several);
    RUN(errors_are_the_threads_own);
    RUN(callback_removed_in_use);
    RUN(users_come_and_go);
    pthread_barrier_destroy(&barrier);
    return check_summary();
}
