/*
 * Runs in slices: the same bits as in one go whatever the budget, what may not be done meanwhile,
 * and cancelling from any thread.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1 << 19, MOST_SLICES = 1 << 20 };

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void pause_ms(long ms) {
    struct timespec time = {0, ms * 1000000};
    nanosleep(&time, NULL);
}

static void fill(float *x, size_t count, int turn) {
    for (size_t i = 0; i < count; i++) {
        x[i] = (float)((i * 37 + (size_t)turn * 11) % 101) / 50.0f - 1.0f;
    }
}

/* A run in slices to its end; the number of slices, 0 when one failed. */
static int run_sliced(inferno_session *session, uint64_t budget_ns) {
    for (int slices = 1; slices < MOST_SLICES; slices++) {
        int32_t finished = -1;
        if (!CHECK_OK(inferno_session_run_for(session, budget_ns, &finished))) {
            return 0;
        }
        CHECK(finished == 0 || finished == 1);
        if (finished == 1) {
            return slices;
        }
    }
    CHECK(!"a run that comes to its end");
    return 0;
}

typedef struct {
    const char *name;
    pb bytes;
    const char *file; /* in target/models, instead of `bytes` */
    const char *dims; /* of input 0 */
    const char *state[2];
    int least_slices; /* with a budget of 1 ns */
} one_model;

static const char *models_folder(void) {
    const char *folder = getenv("INFERNO_MODELS");
    return folder != NULL ? folder : "target/models";
}

static inferno_model *load_one(one_model *of) {
    if (of->file == NULL) {
        return load(of->bytes);
    }
    char path[512];
    snprintf(path, sizeof path, "%s/%s", models_folder(), of->file);
    if (access(path, R_OK) != 0) {
        return NULL;
    }
    inferno_model *model = NULL;
    REQUIRE_OK(inferno_model_load(path, NULL, &model));
    return model;
}

static inferno_session *open_one(const one_model *of, const inferno_model *model,
                                 uint32_t threads) {
    inferno_state_pair pair = {of->state[0], of->state[1]};
    inferno_session_options options = session_defaults();
    if (of->state[0] != NULL) {
        options.states = &pair;
        options.state_count = 1;
    }
    options.threads = threads;
    return open_session(model, &options);
}

static void set_x(inferno_session *session, const one_model *of, int turn) {
    static float x[1 << 20];
    inferno_tensor input = tensor_of(INFERNO_DTYPE_F32, of->dims, x);
    REQUIRE(input.size_bytes <= sizeof x);
    fill(x, input.size_bytes / sizeof *x, turn);
    REQUIRE_OK(inferno_session_set_input(session, 0, &input));
}

/* Three runs with a state that goes on are the same in slices of any budget, from 1 ns up. */
static void same_bits(one_model of) {
    static const uint64_t budgets[] = {1, 0, 10000, 100000, 1000000, 20000000, UINT64_MAX};
    inferno_model *model = load_one(&of);
    if (model == NULL) {
        printf("slice: %s is not in %s\n", of.file, models_folder());
        return;
    }
    static unsigned char expected[3][MOST];
    size_t sizes[3] = {0};
    inferno_session *whole = open_one(&of, model, 0);
    for (int turn = 0; turn < 3; turn++) {
        set_x(whole, &of, turn);
        REQUIRE_OK(inferno_session_run(whole, NULL));
        REQUIRE_OK(inferno_session_copy_output(whole, 0, expected[turn], MOST, &sizes[turn]));
    }
    for (uint32_t threads = 1; threads <= 3; threads++) {
        for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++) {
            if (getenv("CHECK_SLOW") != NULL && (threads == 3 || i % 3 != 0)) {
                continue;
            }
            inferno_session *session = open_one(&of, model, threads);
            int slices = 0;
            for (int turn = 0; turn < 3; turn++) {
                set_x(session, &of, turn);
                slices = run_sliced(session, budgets[i]);
                static unsigned char got[MOST];
                size_t size = 0;
                CHECK_OK(inferno_session_copy_output(session, 0, got, MOST, &size));
                CHECK(size == sizes[turn] && memcmp(got, expected[turn], size) == 0);
            }
            if (budgets[i] == 1 && !CHECK(slices >= of.least_slices)) {
                printf("slice: %s of %s has %d slices\n", of.name, of.dims, slices);
            }
            CHECK(budgets[i] != UINT64_MAX || slices == 1);
            CHECK_OK(inferno_session_free(session));
        }
    }
    CHECK_OK(inferno_session_free(whole));
    CHECK_OK(inferno_model_free(model));
}

static void any_budget_gives_the_same_bits(void) {
    same_bits((one_model){"mlp", model_mlp(), NULL, "20000,4", {0}, 2});
    same_bits((one_model){"mlp", model_mlp(), NULL, "1,4", {0}, 2});
    same_bits((one_model){"convnet", model_convnet(), NULL, "1,3,32,32", {0}, 3});
    same_bits((one_model){"heavy", model_heavy(256, 3), NULL, "256,256", {0}, 6});
    same_bits((one_model){"accumulator", model_accumulator(), NULL, "1,3",
                          {"state", "state_out"}, 2});
    /* Step by step: no region. */
    same_bits((one_model){"sine", model_sine(), NULL, "1,3", {0}, 2});
}

static void models_from_files_give_the_same_bits(void) {
    const pb none = {0};
    same_bits((one_model){"ppocr", none, "ppocr_cls.onnx", "1,3,48,192", {0}, 20});
    same_bits((one_model){"qdq", none, "qdq_mlp.onnx", "300,32", {0}, 1});
    same_bits((one_model){"lstm", none, "lstm_sequence.onnx", "16,1,40", {0}, 1});
    same_bits((one_model){"vad", none, "silero_vad_16k_op15.onnx", "1,512", {"state", "stateN"}, 3});
}

static void outputs_are_those_of_the_run_before_until_it_has_finished(void) {
    one_model of = {"heavy", model_heavy(128, 4), NULL, "128,128", {0}, 0};
    inferno_model *model = load_one(&of);
    inferno_session *session = open_one(&of, model, 0);
    inferno_tensor y;
    int32_t finished = 0;
    set_x(session, &of, 1);
    CHECK_OK(inferno_session_run_for(session, 1, &finished));
    CHECK(finished == 0);
    CHECK_STATUS(inferno_session_output(session, 0, &y), INFERNO_STATUS_NOT_READY);
    CHECK(run_sliced(session, UINT64_MAX) == 1);
    static float first[128 * 128];
    REQUIRE_OK(inferno_session_copy_output(session, 0, first, sizeof first, NULL));
    set_x(session, &of, 2);
    CHECK_OK(inferno_session_run_for(session, 1, &finished));
    CHECK(finished == 0);
    REQUIRE_OK(inferno_session_output(session, 0, &y));
    CHECK(memcmp(y.data, first, sizeof first) == 0);
    CHECK(run_sliced(session, 1) > 1);
    REQUIRE_OK(inferno_session_output(session, 0, &y));
    CHECK(memcmp(y.data, first, sizeof first) != 0);
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
}

/* Begins a run in slices that is not done after the first. */
static void begin(inferno_session *session) {
    int32_t finished = 1;
    REQUIRE_OK(inferno_session_run_for(session, 1, &finished));
    REQUIRE(finished == 0);
}

static void what_a_run_reads_stays_as_it_is(void) {
    inferno_session *session = open_recurrent(model_accumulator(), "state", "state_out");
    const float x[3] = {1.0f, 2.0f, 3.0f};
    float out[3] = {0};
    unsigned char state[256];
    size_t size = 0;
    const int64_t dims[2] = {1, 3};
    inferno_tensor input = f32_tensor("1,3", x), output = tensor_of(INFERNO_DTYPE_F32, "1,3", out);
    inferno_tensor view;
    REQUIRE_OK(inferno_session_set_input(session, 0, &input));
    REQUIRE_OK(inferno_session_state_size(session, &size));
    REQUIRE(size <= sizeof state);
    REQUIRE_OK(inferno_session_copy_state(session, state, size));
    begin(session);
#define REFUSED(call) CHECK_ERROR(call, INFERNO_STATUS_BUSY, "inferno_session_run_for")
    REFUSED(inferno_session_run(session, NULL));
    REFUSED(inferno_session_set_input(session, 0, &input));
    REFUSED(inferno_session_set_shape(session, 0, 2, dims));
    REFUSED(inferno_session_input(session, 0, &view));
    REFUSED(inferno_session_bind_input(session, 0, &input));
    REFUSED(inferno_session_bind_output(session, 0, &output));
    REFUSED(inferno_session_set_state(session, state, size));
    CHECK_OK(inferno_session_prepare(session));
    CHECK_OK(inferno_session_copy_state(session, state, size));
    CHECK(run_sliced(session, 1) > 0);
    CHECK_OK(inferno_session_bind_output(session, 0, &output));
    begin(session);
    CHECK(out[0] == 0.0f);
    CHECK(run_sliced(session, UINT64_MAX) == 1);
    CHECK(out[0] == 4.0f && out[2] == 12.0f);

    /* A reset gives the run up, and so does the end of the session. */
    begin(session);
    CHECK_OK(inferno_session_reset(session));
    CHECK_OK(inferno_session_set_input(session, 0, &input));
    CHECK(run_sliced(session, 1) > 1);
    CHECK(out[0] == 2.0f && out[2] == 6.0f);
    begin(session);
    CHECK_OK(inferno_session_free(session));
    CHECK_STATUS(inferno_session_run_for(session, 1, &(int32_t){0}), INFERNO_STATUS_INVALID_HANDLE);
}

static void bad_arguments(void) {
    int32_t finished = 7;
    inferno_session *session = open_model(model_mlp());
    CHECK_STATUS(inferno_session_run_for(NULL, 1, &finished), INFERNO_STATUS_INVALID_HANDLE);
    CHECK_STATUS(inferno_session_run_for(session, 1, NULL), INFERNO_STATUS_INVALID_ARGUMENT);
    CHECK_ERROR(inferno_session_run_for(session, 1, &finished), INFERNO_STATUS_NOT_READY, "batch");
    CHECK_STATUS(inferno_session_cancel(NULL), INFERNO_STATUS_INVALID_HANDLE);
    CHECK_OK(inferno_session_cancel(session));
    CHECK(finished == 7);
    CHECK_OK(inferno_session_free(session));
    CHECK_STATUS(inferno_session_cancel(session), INFERNO_STATUS_INVALID_HANDLE);
}

static void cancelled_between_slices(void) {
    one_model of = {"heavy", model_heavy(64, 6), NULL, "64,64", {0}, 0};
    inferno_model *model = load_one(&of);
    inferno_session *session = open_one(&of, model, 0);
    int32_t finished = 7;
    set_x(session, &of, 1);
    CHECK_OK(inferno_session_cancel(session));
    begin(session);
    CHECK_OK(inferno_session_cancel(session));
    CHECK_ERROR(inferno_session_run_for(session, UINT64_MAX, &finished), INFERNO_STATUS_CANCELLED,
                "cancelled");
    CHECK(finished == 7);
    /* Once. */
    CHECK(run_sliced(session, 1) >= 6);
    begin(session);
    CHECK_OK(inferno_session_cancel(session));
    set_x(session, &of, 2);
    CHECK(run_sliced(session, 1) >= 6);
    begin(session);
    CHECK_OK(inferno_session_cancel(session));
    CHECK_OK(inferno_session_run(session, NULL));
    /* A run that has ended is not cancelled, nor is the next. */
    CHECK_OK(inferno_session_cancel(session));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
}

typedef struct {
    inferno_session *session;
    atomic_int go, is_done;
} canceller;

/* Cancels until the other thread says that it is done. */
static void *cancel_it(void *given) {
    canceller *of = given;
    while (!atomic_load(&of->is_done)) {
        if (atomic_exchange(&of->go, 0)) {
            pause_ms(2);
            CHECK_OK(inferno_session_cancel(of->session));
        }
    }
    return NULL;
}

/* Long runs, cancelled by another thread in the middle, leave everything as it was. */
static void cancelled_in_the_middle(pb bytes, const char *dims, size_t sliced) {
    one_model of = {"", bytes, NULL, dims, {0}, 0};
    inferno_model *model = load_one(&of);
    inferno_session *session = open_one(&of, model, 0);
    static unsigned char expected[1 << 20], got[1 << 20];
    size_t size = 0;
    set_x(session, &of, 1);
    REQUIRE_OK(inferno_session_run(session, NULL));
    uint64_t begun = now_ns();
    REQUIRE_OK(inferno_session_run(session, NULL));
    uint64_t whole = now_ns() - begun;
    REQUIRE_OK(inferno_session_copy_output(session, 0, expected, sizeof expected, &size));
    canceller other = {.session = session};
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, cancel_it, &other) == 0);
    int cancelled = 0;
    for (int turn = 0; turn < check_times(10); turn++) {
        int32_t finished = 0;
        atomic_store(&other.go, 1);
        begun = now_ns();
        inferno_status status = sliced ? inferno_session_run_for(session, UINT64_MAX, &finished)
                                       : inferno_session_run(session, NULL);
        uint64_t took = now_ns() - begun;
        CHECK(status == INFERNO_STATUS_CANCELLED || status == INFERNO_STATUS_OK);
        if (status == INFERNO_STATUS_CANCELLED) {
            CHECK(took < whole);
            cancelled++;
        }
        while (atomic_load(&other.go)) {
        }
        pause_ms(4);
        CHECK_OK(inferno_session_copy_output(session, 0, got, sizeof got, &size));
        CHECK(memcmp(got, expected, size) == 0);
    }
    CHECK(cancelled > 0 || whole < 8000000);
    atomic_store(&other.is_done, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK_OK(inferno_session_copy_output(session, 0, got, sizeof got, &size));
    CHECK(memcmp(got, expected, size) == 0);
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
}

static void cancelled_from_another_thread(void) {
    cancelled_in_the_middle(model_heavy(256, check_times(100)), "256,256", 0);
    cancelled_in_the_middle(model_heavy(256, check_times(100)), "256,256", 1);
}

/* A slice takes about its budget: no more than a long part over it. */
static void slices_keep_to_their_budget(void) {
    one_model of = {"heavy", model_heavy(256, 60), NULL, "256,256", {0}, 0};
    inferno_model *model = load_one(&of);
    inferno_session *session = open_one(&of, model, 0);
    set_x(session, &of, 1);
    REQUIRE_OK(inferno_session_run(session, NULL));
    uint64_t begun = now_ns();
    REQUIRE_OK(inferno_session_run(session, NULL));
    uint64_t whole = now_ns() - begun, budget = whole / 6;
    CHECK(run_sliced(session, budget) > 0);
    int over = 0, slices = 0;
    for (int turn = 0; turn < 4; turn++) {
        for (int32_t finished = 0; !finished; slices++) {
            begun = now_ns();
            REQUIRE_OK(inferno_session_run_for(session, budget, &finished));
            over += now_ns() - begun > 2 * budget;
        }
    }
    CHECK(slices >= 12);
    /* (A thread may be stopped for longer than that.) */
    CHECK(over * 4 < slices);
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
}

static void a_run_counts_once_and_a_profile_has_its_steps(void) {
    one_model of = {"heavy", model_heavy(128, 3), NULL, "128,128", {0}, 0};
    inferno_model *model = load_one(&of);
    inferno_session *session = open_one(&of, model, 0);
    inferno_metrics counted = {.struct_size = sizeof counted};
    set_x(session, &of, 1);
    CHECK_OK(inferno_profile_set_enabled(session, 1));
    CHECK(run_sliced(session, 1) >= 3);
    CHECK(run_sliced(session, 1) >= 3);
    begin(session);
    CHECK_OK(inferno_session_get_metrics(session, &counted));
    CHECK(counted.runs == 2 && counted.failures == 0);
    CHECK_OK(inferno_session_cancel(session));
    CHECK_STATUS(inferno_session_run_for(session, 1, &(int32_t){0}), INFERNO_STATUS_CANCELLED);
    CHECK_OK(inferno_session_get_metrics(session, &counted));
    CHECK(counted.runs == 2 && counted.failures == 1);
    char json[4096];
    CHECK_OK(inferno_profile_copy_json(session, json, sizeof json, NULL));
    CHECK(strncmp(json, "{\"runs\":3,", 10) == 0);
    CHECK(strstr(json, "\"count\":2,") != NULL);
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
}

static void no_slice_allocates(void) {
    one_model of = {"heavy", model_heavy(256, 3), NULL, "256,256", {0}, 0};
    inferno_model *model = load_one(&of);
    inferno_session *session = open_one(&of, model, 0);
    set_x(session, &of, 1);
    CHECK(run_sliced(session, 1) > 3);
    inferno_memory_stats before = {.struct_size = sizeof before}, after = before;
    CHECK_OK(inferno_session_get_memory_stats(session, &before));
    for (int turn = 0; turn < check_times(20); turn++) {
        CHECK(run_sliced(session, turn % 2 == 0 ? 1 : 100000) >= 1);
    }
    CHECK_OK(inferno_session_get_memory_stats(session, &after));
    CHECK(before.live_bytes == after.live_bytes);
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
}

int main(void) {
    RUN(bad_arguments);
    RUN(any_budget_gives_the_same_bits);
    if (getenv("CHECK_SLOW") == NULL) {
        RUN(models_from_files_give_the_same_bits);
    }
    RUN(outputs_are_those_of_the_run_before_until_it_has_finished);
    RUN(what_a_run_reads_stays_as_it_is);
    RUN(cancelled_between_slices);
    RUN(cancelled_from_another_thread);
    if (getenv("CHECK_SLOW") == NULL) {
        RUN(slices_keep_to_their_budget);
    }
    RUN(a_run_counts_once_and_a_profile_has_its_steps);
    RUN(no_slice_allocates);
    CHECK_OK(inferno_shutdown());
    return check_summary();
}
