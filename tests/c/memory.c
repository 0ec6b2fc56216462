/*
 * The host's allocator: everything comes from it and goes back with its size, and every request that
 * it refuses ends in a status. The sweep fails the n-th request for every n until none is left, once
 * (one failure) and once for good (all from the n-th on), as SQLite tests itself.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"

#include <stdint.h>

/* What the allocator keeps before each block. */
typedef struct head {
    uint64_t mark;
    size_t size, alignment, before;
} head;

enum { MARK = 0x5eed, NEVER = INT32_MAX };

static atomic_long live_blocks, live_bytes, requests, wrong;
static atomic_long fail_at = NEVER; /* the request that fails, counted from 1 */
static atomic_int for_good;         /* and all after it */

static void *give(void *user_data, size_t size, size_t alignment) {
    long number = atomic_fetch_add(&requests, 1) + 1;
    long at = atomic_load(&fail_at);
    if (user_data != &live_blocks || size == 0 || (alignment & (alignment - 1)) != 0) {
        atomic_fetch_add(&wrong, 1);
    }
    if (number == at || (number > at && atomic_load(&for_good))) {
        return NULL;
    }
    size_t before = alignment > sizeof(head) ? alignment : sizeof(head);
    void *start = aligned_new(alignment < 16 ? 16 : alignment, size + before);
    if (start == NULL) {
        return NULL;
    }
    char *block = (char *)start + before;
    head h = {MARK, size, alignment, before};
    memcpy(block - sizeof h, &h, sizeof h);
    atomic_fetch_add(&live_blocks, 1);
    atomic_fetch_add(&live_bytes, (long)size);
    return block;
}

static void take_back(void *user_data, void *block, size_t size, size_t alignment) {
    if (block == NULL) {
        return;
    }
    head h;
    memcpy(&h, (char *)block - sizeof h, sizeof h);
    if (user_data != &live_blocks || h.mark != MARK || h.size != size || h.alignment != alignment) {
        atomic_fetch_add(&wrong, 1);
        return;
    }
    memset((char *)block - sizeof h, 0xdd, sizeof h);
    atomic_fetch_add(&live_blocks, -1);
    atomic_fetch_add(&live_bytes, -(long)size);
    aligned_free((char *)block - h.before);
}

static const inferno_allocator allocator = {sizeof(inferno_allocator), &live_blocks, give,
                                            take_back};

static void start(void) {
    inferno_runtime_options options;
    REQUIRE_OK(inferno_runtime_options_init(&options, sizeof options));
    options.allocator = &allocator;
    REQUIRE_OK(inferno_init(&options));
}

static void arm(long at, int good) {
    atomic_store(&requests, 0);
    atomic_store(&for_good, good);
    atomic_store(&fail_at, at);
}

static void disarm(void) { atomic_store(&fail_at, NEVER); }

/* ---- The sweep ------------------------------------------------------------------------------ */

enum stage { LOAD, IMPORT, RUN };

typedef struct subject {
    pb bytes;
    const char *dims;
    size_t output_size;
    const char *state, *state_out;
    int32_t dtype;
} subject;

static int odd; /* statuses that full memory may not have */

static int fine(inferno_status status) {
    if (status == INFERNO_STATUS_OUT_OF_MEMORY) {
        CHECK(inferno_last_error()[0] != '\0');
    } else if (status != INFERNO_STATUS_OK) {
        odd++;
        CHECK_STATUS(status, INFERNO_STATUS_OUT_OF_MEMORY);
    }
    return status == INFERNO_STATUS_OK;
}

static inferno_status ran_ok(inferno_session *session, int *ran) {
    inferno_status status = inferno_session_run(session, NULL);
    *ran = status == INFERNO_STATUS_OK;
    return status;
}

static long stage_requests; /* how many the armed call made */

/* One call of the walk: with the failure when its stage is the armed one, then without. */
#define STAGE(which, done, call)                          \
    for (int again = 0; again < 2 && !(done); again++) {  \
        arm(armed == which && again == 0 ? at : NEVER, good); \
        int ok = fine(call);                              \
        if (armed == which && again == 0) {               \
            stage_requests = atomic_load(&requests);      \
        }                                                 \
        disarm();                                         \
        CHECK(ok == !!(done));                            \
    }

/* Goes the whole way, with a failure in one stage. */
static void walk(const subject *s, enum stage armed, long at, int good, float *result) {
    static float zeros[64];
    inferno_model *model = NULL;
    inferno_session *session = NULL;
    inferno_state_pair pair = {s->state, s->state_out};
    inferno_session_options options = session_defaults();
    if (s->state != NULL) {
        options.states = &pair;
        options.state_count = 1;
    }
    inferno_tensor x = tensor_of(s->dtype, s->dims, zeros);
    STAGE(LOAD, model != NULL,
          inferno_model_load_memory(s->bytes.data, s->bytes.size, NULL, &model))
    STAGE(IMPORT, session != NULL, inferno_session_new(model, &options, &session))
    CHECK_OK(inferno_session_set_input(session, 0, &x));
    int ran = 0;
    STAGE(RUN, ran, ran_ok(session, &ran))
    CHECK_OK(inferno_session_copy_output(session, 0, result, s->output_size, NULL));
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
}

static void sweep(const subject *s, enum stage stage, int good) {
    float first[64] = {0}, result[64];
    long baseline = 0, at = 1, stride = 1;
    for (int i = 0; i < 2; i++) {
        start();
        walk(s, stage, NEVER, 0, first);
        CHECK_OK(inferno_shutdown());
        baseline = atomic_load(&live_blocks);
    }
    /* Under a checker a call is tried at a dozen of its requests; at all of them with CHECK_ALL. */
    if (getenv("CHECK_SLOW") != NULL && getenv("CHECK_ALL") == NULL) {
        stride = 1 + stage_requests / 12;
    }
    /* The last requests of a call may pass: what they are for was not needed. The end is where the
       stage has asked for less than the one that should have failed. */
    for (; at <= stage_requests; at += stride) {
        start();
        memset(result, 0x7f, sizeof result);
        walk(s, stage, at, good, result);
        CHECK_OK(inferno_shutdown());
        CHECK(memcmp(first, result, s->output_size) == 0);
        CHECK(atomic_load(&live_blocks) <= baseline);
    }
    CHECK(at > 2);
    if (getenv("CHECK_VERBOSE") != NULL) {
        printf("    stage %d, %s: %ld requests\n", (int)stage, good ? "for good" : "once",
               stage_requests);
    }
}

static void every_request_may_fail(void) {
    pb lookup = model_lookup(), mlp = model_mlp(), accumulator = model_accumulator();
    const subject subjects[] = {
        {mlp, "2,4", 6 * sizeof(float), NULL, NULL, INFERNO_DTYPE_F32},
        {accumulator, "1,3", 3 * sizeof(float), "state", "state_out", INFERNO_DTYPE_F32},
        {lookup, "1", 3 * sizeof(float), NULL, NULL, INFERNO_DTYPE_I64},
    };
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
        for (int good = 0; good < 2; good++) {
            sweep(&subjects[i], LOAD, good);
            sweep(&subjects[i], IMPORT, good);
            sweep(&subjects[i], RUN, good);
        }
    }
    CHECK(odd == 0);
    pb_free(&lookup), pb_free(&mlp), pb_free(&accumulator);
}

/* ---- The rest ------------------------------------------------------------------------------- */

static void everything_comes_from_the_host(void) {
    start();
    long before = atomic_load(&requests), bytes = atomic_load(&live_bytes);
    inferno_session *session = open_model(model_heavy(64, 2));
    CHECK(atomic_load(&requests) > before);
    CHECK(atomic_load(&live_bytes) >= bytes + 64 * 64 * 4); /* the weights at least */
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_shutdown());
    /* Back to the system: the host is not asked any more. */
    before = atomic_load(&requests);
    session = open_model(model_add());
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_shutdown());
    CHECK(atomic_load(&requests) == before);
}

/* A model that is one region: once warm, no request of the host's and none of the pool. */
static void a_warm_region_asks_for_nothing(void) {
    start();
    pb models[] = {model_mlp(), model_accumulator()};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        inferno_model *model = load(models[i]);
        inferno_session_options options = session_defaults();
        inferno_state_pair pair = {"state", "state_out"};
        options.states = &pair;
        options.state_count = i == 1;
        inferno_session *session = open_session(model, &options);
        static float x[MLP_IN];
        inferno_tensor input = tensor_of(INFERNO_DTYPE_F32, i == 0 ? "1,4" : "1,3", x);
        CHECK_OK(inferno_session_set_input(session, 0, &input));
        CHECK_OK(inferno_session_run(session, NULL));
        inferno_memory_stats before = {.struct_size = sizeof before}, after = before;
        CHECK_OK(inferno_memory_get_stats(&before));
        long asked = atomic_load(&requests);
        for (int run = 0; run < check_times(10000); run++) {
            REQUIRE_OK(inferno_session_run(session, NULL));
        }
        CHECK(atomic_load(&requests) == asked);
        CHECK_OK(inferno_memory_get_stats(&after));
        CHECK(after.hits == before.hits && after.shared_hits == before.shared_hits);
        CHECK(after.misses == before.misses && after.source_calls == before.source_calls);
        CHECK_OK(inferno_session_free(session));
        CHECK_OK(inferno_model_free(model));
    }
    CHECK_OK(inferno_shutdown());
}

static void *misaligned(void *user_data, size_t size, size_t alignment) {
    (void)user_data, (void)alignment;
    char *block = malloc(size + 1);
    return block == NULL ? NULL : block + 1;
}

static void free_misaligned(void *user_data, void *block, size_t size, size_t alignment) {
    (void)user_data, (void)size, (void)alignment;
    if (block != NULL) {
        free((char *)block - 1);
    }
}

static void misaligned_blocks_count_as_none(void) {
    const inferno_allocator bad = {sizeof bad, NULL, misaligned, free_misaligned};
    inferno_runtime_options options;
    CHECK_OK(inferno_runtime_options_init(&options, sizeof options));
    options.allocator = &bad;
    CHECK_OK(inferno_init(&options));
    inferno_model *model = NULL;
    pb bytes = model_mlp();
    CHECK_STATUS(inferno_model_load_memory(bytes.data, bytes.size, NULL, &model),
                 INFERNO_STATUS_OUT_OF_MEMORY);
    CHECK(model == NULL);
    pb_free(&bytes);
    CHECK_OK(inferno_shutdown());
}

int main(void) {
    RUN(everything_comes_from_the_host);
    RUN(a_warm_region_asks_for_nothing);
    RUN(misaligned_blocks_count_as_none);
    RUN(every_request_may_fail);
    CHECK(atomic_load(&wrong) == 0);
    return check_summary();
}
