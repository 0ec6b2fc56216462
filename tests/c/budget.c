/*
 * Accounts and budgets: who holds what, and that a budget of any size ends a call with a status and
 * loses nothing. The sweeps go over budgets from zero to the need: every one below it is refused, and
 * the same session, load or runtime goes on under the next larger one.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"
#include "on_threads.h"

static inferno_memory_stats of_session(const inferno_session *session) {
    inferno_memory_stats stats = {.struct_size = sizeof stats};
    REQUIRE_OK(inferno_session_get_memory_stats(session, &stats));
    CHECK(stats.live_bytes <= stats.peak_bytes && stats.cached_bytes == 0);
    return stats;
}

static inferno_memory_stats of_model(const inferno_model *model) {
    inferno_memory_stats stats = {.struct_size = sizeof stats};
    REQUIRE_OK(inferno_model_get_memory_stats(model, &stats));
    CHECK(stats.live_bytes <= stats.peak_bytes && stats.cached_bytes == 0);
    return stats;
}

static inferno_memory_stats of_all(void) {
    inferno_memory_stats stats = {.struct_size = sizeof stats};
    REQUIRE_OK(inferno_memory_get_stats(&stats));
    return stats;
}

/* How many tensors were made. */
static uint64_t taken(const inferno_memory_stats *stats) {
    return stats->hits + stats->shared_hits + stats->misses;
}

static int pooled(void) {
    const char *off = getenv("INFERNO_POOL");
    return off == NULL || off[0] != '0';
}

/* ---- A model, its input, and the answer it should give -------------------------------------- */

typedef struct subject {
    pb (*bytes)(void);
    const char *dims, *state, *state_out;
    size_t output_count;
    /* One region: a run after the first takes no memory. */
    int takes_nothing;
} subject;

static const subject subjects[] = {
    {model_mlp, "1,4", NULL, NULL, MLP_OUT, 1},
    {model_accumulator, "1,3", "state", "state_out", 3, 1},
    {model_convnet, "1,3,32,32", NULL, NULL, 4, 1},
    {model_sine, "1,3", NULL, NULL, 3, 0},
};
enum { SUBJECTS = sizeof subjects / sizeof *subjects, RUNS = 3 };

static inferno_tensor input_of(const subject *s) {
    static float x[3 * 32 * 32];
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
        x[i] = model_weight(9, (unsigned)i);
    }
    return f32_tensor(s->dims, x);
}

static inferno_session_options options_of(const subject *s, inferno_state_pair *pair,
                                          uint64_t hard) {
    inferno_session_options options = session_defaults();
    CHECK(options.hard_budget_bytes == INFERNO_NO_BUDGET);
    options.hard_budget_bytes = hard;
    if (s->state != NULL) {
        *pair = (inferno_state_pair){s->state, s->state_out};
        options.states = pair;
        options.state_count = 1;
    }
    return options;
}

/* A status of a call under a budget: fine, or refused with a text that gives the budget. */
static int fine(inferno_status status, uint64_t hard) {
    char part[64];
    snprintf(part, sizeof part, "hard budget, %llu", (unsigned long long)hard);
    if (status == INFERNO_STATUS_OK) {
        return 1;
    }
    CHECK_ERROR(status, INFERNO_STATUS_OUT_OF_BUDGET, part);
CHECK_ERROR(status, INFERNO_STATUS_OUT_OF_BUDGET, " needs ");
    return 0;
}

/* Sets the input and runs; what it gave, when nothing was refused. */
static int go(const subject *s, inferno_session *session, uint64_t hard, float *result) {
    inferno_tensor x = input_of(s);
    if (!fine(inferno_session_set_input(session, 0, &x), hard)) {
        return 0;
    }
    CHECK_OK(inferno_session_reset(session));
    for (int run = 0; run < RUNS; run++) {
        if (!fine(inferno_session_run(session, NULL), hard)) {
            return 0;
        }
    }
    size_t size = s->output_count * sizeof *result;
    return fine(inferno_session_copy_output(session, 0, result, size, NULL), hard);
}

/* ---- Who holds what ------------------------------------------------------------------------- */

static void each_holds_its_own(void) {
    for (size_t i = 0; i < SUBJECTS; i++) {
        const subject *s = &subjects[i];
        inferno_state_pair pair;
        inferno_session_options options = options_of(s, &pair, INFERNO_NO_BUDGET);
        inferno_model *model = load(s->bytes());
        float result[8];
        inferno_session *first = open_session(model, &options);
        CHECK(go(s, first, 0, result));
        inferno_memory_stats alone = of_model(model), one = of_session(first);
        CHECK(one.live_bytes > 0 && one.peak_bytes >= one.live_bytes);
        CHECK(alone.live_bytes > one.live_bytes && alone.peak_bytes >= alone.live_bytes);
        CHECK(!pooled() || (taken(&one) > 0 && one.committed_bytes > 0));
        CHECK(of_all().live_bytes >= alone.live_bytes);
        inferno_session *second = open_session(model, &options);
        CHECK(go(s, second, 0, result));
        /* Two of a kind hold the same, and their model both. */
        inferno_memory_stats two = of_session(second), both = of_model(model);
        CHECK(two.live_bytes <= one.live_bytes && two.live_bytes > one.live_bytes / 4);
        CHECK(both.live_bytes == alone.live_bytes + two.live_bytes);
        CHECK(of_session(first).live_bytes == one.live_bytes);
        inferno_memory_stats again = of_session(first);
        CHECK(taken(&again) == taken(&one));
        CHECK_OK(inferno_session_free(second));
        inferno_memory_stats after = of_model(model);
        /* (What an operator keeps for the thread may stay.) */
        CHECK(after.live_bytes >= alone.live_bytes);
        CHECK(after.live_bytes < alone.live_bytes + two.live_bytes / 2);
        CHECK(taken(&after) >= taken(&both));
        CHECK_OK(inferno_model_free(model));
        CHECK_OK(inferno_session_free(first));
    }
}

static inferno_model *shared;
static inferno_session *handed[THREADS];

static void *open_one(void *number) {
    inferno_state_pair pair;
    inferno_session_options options = options_of(&subjects[2], &pair, INFERNO_NO_BUDGET);
    float result[8];
    inferno_session *session = open_session(shared, &options);
    CHECK(go(&subjects[2], session, 0, result));
    handed[(uintptr_t)number] = session;
    return NULL;
}

static void *free_the_next(void *number) {
    inferno_session *session = handed[((uintptr_t)number + 1) % THREADS];
    inferno_memory_stats before = of_session(session);
    CHECK(before.live_bytes > 3 * 32 * 32 * 4);
    float result[8];
    CHECK(go(&subjects[2], session, 0, result));
    CHECK(of_session(session).live_bytes >= before.live_bytes);
    CHECK_OK(inferno_session_free(session));
    return NULL;
}

/* Blocks go back to whom they were taken for, whichever thread frees them. */
static void whichever_thread_frees_it(void) {
    shared = load(model_convnet());
    inferno_session *last = open_session(shared, NULL);
    uint64_t before = of_model(shared).live_bytes;
    for (int turn = 0; turn < 3; turn++) {
        on_threads(open_one);
        CHECK(of_model(shared).live_bytes > before + THREADS * 3 * 32 * 32 * 4);
        on_threads(free_the_next);
        CHECK(of_model(shared).live_bytes == before);
    }
    CHECK_OK(inferno_session_free(last));
    CHECK_OK(inferno_model_free(shared));
}

/* ---- Budgets -------------------------------------------------------------------------------- */

static void sweep_a_session(const subject *s) {
    inferno_state_pair pair;
    inferno_session_options options = options_of(s, &pair, INFERNO_NO_BUDGET);
    inferno_model *model = load(s->bytes());
    float expected[8], result[8];
    uint64_t need = 0;
    /* The first one makes what the thread keeps. */
    for (int i = 0; i < 2; i++) {
        inferno_session *session = open_session(model, &options);
        CHECK(go(s, session, 0, expected));
        need = of_session(session).peak_bytes;
        CHECK_OK(inferno_session_free(session));
    }
    uint64_t before = of_model(model).live_bytes, refusals = 0;
    uint64_t step = need / (uint64_t)check_times(300) + 1;
    for (uint64_t hard = 0, next = 0;; hard = next) {
        next = hard + step < need ? hard + step : hard < need - 1 ? need - 1 : need;
        options.hard_budget_bytes = hard;
        inferno_session *session = NULL;
        int ok = fine(inferno_session_new(model, &options, &session), hard);
        CHECK(ok == (session != NULL));
        if (session != NULL) {
            ok = go(s, session, hard, result);
            CHECK(ok == (hard >= need));
            CHECK(!ok || memcmp(result, expected, s->output_count * sizeof *result) == 0);
            CHECK(ok || of_session(session).refused > 0);
            /* The same session, under a larger one: to set an input takes it twice for a moment. */
            uint64_t larger = need + input_of(s).size_bytes + 256;
            CHECK_OK(inferno_session_set_memory_budget(session, INFERNO_NO_BUDGET, larger));
            CHECK(of_session(session).hard_budget_bytes == larger);
            CHECK(go(s, session, larger, result));
            CHECK(memcmp(result, expected, s->output_count * sizeof *result) == 0);
        }
        refusals += !ok;
        CHECK(ok == (hard >= need));
        CHECK_OK(inferno_session_free(session));
        CHECK(of_model(model).live_bytes == before);
        if (hard >= need) {
            break;
        }
    }
    CHECK(refusals > 10);
    CHECK_OK(inferno_model_free(model));
}

static void any_budget_of_a_session(void) {
    for (size_t i = 0; i < SUBJECTS; i++) {
        sweep_a_session(&subjects[i]);
    }
}

/* From bytes to an answer within a model's budget; how far it came. */
static int within_a_model(const subject *s, uint64_t hard, float *result, uint64_t *peak) {
    inferno_model_options of_load;
    REQUIRE_OK(inferno_model_options_init(&of_load, sizeof of_load));
    CHECK(of_load.hard_budget_bytes == INFERNO_NO_BUDGET);
    of_load.hard_budget_bytes = hard;
    inferno_state_pair pair;
    inferno_session_options options = options_of(s, &pair, INFERNO_NO_BUDGET);
    pb bytes = s->bytes();
    inferno_model *model = NULL;
    inferno_session *session = NULL;
    int ok = fine(inferno_model_load_memory(bytes.data, bytes.size, &of_load, &model), hard) &&
             fine(inferno_session_new(model, &options, &session), hard) &&
             go(s, session, hard, result);
    if (model != NULL) {
        *peak = of_model(model).peak_bytes;
        CHECK_OK(inferno_model_set_memory_budget(model, 0, INFERNO_NO_BUDGET));
        if (session == NULL) {
            session = open_session(model, &options);
        }
        CHECK(go(s, session, 0, result));
    }
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
    pb_free(&bytes);
    return ok;
}

static void any_budget_of_a_model(void) {
    for (size_t i = 0; i < SUBJECTS; i++) {
        const subject *s = &subjects[i];
        float expected[8], result[8];
        uint64_t need = 0, ignored;
        CHECK(within_a_model(s, INFERNO_NO_BUDGET, expected, &need));
        uint64_t step = need / (uint64_t)check_times(60) + 1;
        CHECK(!within_a_model(s, 0, result, &ignored));
        for (uint64_t hard = 1; hard < need + 2 * step; hard += step) {
            memset(result, 0, sizeof result);
            int ok = within_a_model(s, hard, result, &ignored);
            /* (The order in which a model is imported is not always the same.) */
            CHECK(!ok || hard > need - need / 8);
            CHECK(!ok || memcmp(result, expected, s->output_count * sizeof *result) == 0);
        }
        CHECK(within_a_model(s, need + 65536, result, &ignored));
        CHECK(memcmp(result, expected, s->output_count * sizeof *result) == 0);
    }
}

/* Everything there is under one budget, other threads included. */
static void *work_within(void *number) {
    const subject *s = &subjects[(uintptr_t)number % SUBJECTS];
    uint64_t hard = of_all().hard_budget_bytes;
    inferno_model *model = NULL;
    inferno_session *session = NULL;
    inferno_state_pair pair;
    inferno_session_options options = options_of(s, &pair, INFERNO_NO_BUDGET);
    pb bytes = s->bytes();
    float result[8];
    if (fine(inferno_model_load_memory(bytes.data, bytes.size, NULL, &model), hard) &&
        fine(inferno_session_new(model, &options, &session), hard)) {
        go(s, session, hard, result);
    }
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
    pb_free(&bytes);
    return NULL;
}

static void any_budget_of_the_runtime(void) {
    uint64_t held = of_all().live_bytes;
    uint64_t step = 300000 / (uint64_t)check_times(30) + 1;
    for (uint64_t hard = 0; hard < held + 600000; hard += hard < held ? held / 10 + 1 : step) {
        CHECK_OK(inferno_memory_set_budget(INFERNO_NO_BUDGET, hard));
        on_threads(work_within);
        CHECK_OK(inferno_memory_set_budget(INFERNO_NO_BUDGET, INFERNO_NO_BUDGET));
        work_within((void *)0);
    }
    CHECK(of_all().live_bytes < held + 65536);
}

/* What a run held before is known before the next one. */
static void a_known_need_is_refused_before_the_run(void) {
    for (size_t i = 0; i < SUBJECTS; i++) {
        const subject *s = &subjects[i];
        inferno_state_pair pair;
        inferno_session_options options = options_of(s, &pair, INFERNO_NO_BUDGET);
        inferno_model *model = load(s->bytes());
        float first[8], result[8];
        size_t size = s->output_count * sizeof *first;
        inferno_session *session = open_session(model, &options);
        CHECK(go(s, session, 0, first));
        uint64_t live = of_session(session).live_bytes;
        CHECK_OK(inferno_session_set_memory_budget(session, INFERNO_NO_BUDGET, live));
        inferno_memory_stats before = of_session(session);
        int runs = s->takes_nothing;
        CHECK(fine(inferno_session_run(session, NULL), live) == runs);
        /* Under less than it holds, nothing runs. */
        CHECK_OK(inferno_session_set_memory_budget(session, INFERNO_NO_BUDGET, live - 1));
        CHECK(!runs || !fine(inferno_session_run(session, NULL), live - 1));
        CHECK_OK(inferno_session_set_memory_budget(session, INFERNO_NO_BUDGET, live));
        inferno_memory_stats after = of_session(session);
        CHECK(taken(&after) == taken(&before) && after.refused > before.refused);
        if (!runs) {
            /* Nothing has changed. */
            CHECK_OK(inferno_session_copy_output(session, 0, result, size, NULL));
            CHECK(memcmp(result, first, size) == 0);
        }
        CHECK_OK(inferno_session_set_memory_budget(session, INFERNO_NO_BUDGET, INFERNO_NO_BUDGET));
        /* The model's budget is asked, too, and the runtime's. */
        uint64_t of_both = of_model(model).live_bytes;
        CHECK_OK(inferno_model_set_memory_budget(model, INFERNO_NO_BUDGET, of_both));
        CHECK(fine(inferno_session_run(session, NULL), of_both) == runs);
        CHECK_OK(inferno_model_set_memory_budget(model, INFERNO_NO_BUDGET, INFERNO_NO_BUDGET));
        uint64_t all = of_all().live_bytes;
        CHECK_OK(inferno_memory_set_budget(INFERNO_NO_BUDGET, all));
        CHECK(fine(inferno_session_run(session, NULL), all) == runs);
        CHECK_OK(inferno_memory_set_budget(INFERNO_NO_BUDGET, INFERNO_NO_BUDGET));
        CHECK(go(s, session, 0, result));
        CHECK(memcmp(result, first, size) == 0);
        CHECK_OK(inferno_session_free(session));
        CHECK_OK(inferno_model_free(model));
    }
}

/* ---- What is needed, told beforehand -------------------------------------------------------- */

static const subject *asked;
static uint64_t enough;

static void *on_a_fresh_thread(void *unused) {
    inferno_state_pair pair;
    inferno_session_options options = options_of(asked, &pair, enough);
    inferno_session *session = open_session(shared, &options);
    float result[8];
    CHECK(go(asked, session, enough, result));
    CHECK(of_session(session).peak_bytes <= enough);
    CHECK_OK(inferno_session_free(session));
    return unused;
}

static void the_need_is_told(void) {
    for (size_t i = 0; i < SUBJECTS; i++) {
        const subject *s = asked = &subjects[i];
        inferno_state_pair pair;
        inferno_session_options options = options_of(s, &pair, INFERNO_NO_BUDGET);
        inferno_memory_need need = {.struct_size = sizeof need};
        shared = load(s->bytes());
        if (i == 0) {
            CHECK_STATUS(inferno_model_memory(shared, &options, &need), INFERNO_STATUS_NOT_READY);
        }
        inferno_symbol_value batch = {"batch", 1};
        options.symbols = i == 0 ? &batch : NULL;
        options.symbol_count = i == 0;
        CHECK_OK(inferno_model_memory(shared, &options, &need));
        CHECK(need.is_measured == 1 && need.weight_bytes > 0);
        CHECK(need.arena_bytes > 0 && need.scratch_bytes > 0);
        CHECK(of_model(shared).live_bytes >= need.weight_bytes);
        enough = need.arena_bytes + need.scratch_bytes;
        /* Setting an input takes it twice for a moment: that is the host's, not the run's. */
        enough += input_of(s).size_bytes + 256;
        on_threads(on_a_fresh_thread);
        /* Within a budget of its own; and then it is refused where it would be. */
        options.hard_budget_bytes = need.arena_bytes / 2;
        CHECK(!fine(inferno_model_memory(shared, &options, &need), options.hard_budget_bytes));
        CHECK_OK(inferno_model_free(shared));
    }
}

/* ---- Soft budgets --------------------------------------------------------------------------- */

static char told[8][256];
static atomic_size_t told_count;

static void remember(void *user_data, int32_t level, const char *target, const char *text) {
    (void)user_data;
    /* (What else is warned of is not ours: of an emulator's processor, for one.) */
    if (level == INFERNO_LOG_LEVEL_WARN && strncmp(target, "inferno", 7) == 0) {
        size_t at = atomic_fetch_add(&told_count, 1);
        snprintf(told[at % 8], sizeof told[0], "%s", text);
    }
}

static void a_soft_budget_is_told(void) {
    CHECK_OK(inferno_log_set_callback(remember, NULL, INFERNO_LOG_LEVEL_WARN));
    const subject *s = &subjects[2];
    /* Operator by operator: a region takes nothing in a run. */
    setenv("INFERNO_REGIONS", "0", 1);
    inferno_model *model = load(s->bytes());
    inferno_session *session = open_session(model, NULL);
    float result[8];
    CHECK(go(s, session, 0, result));
    unsetenv("INFERNO_REGIONS");
    CHECK(atomic_load(&told_count) == 0);
    uint64_t live = of_session(session).live_bytes, peak = of_session(session).peak_bytes;
    CHECK_OK(inferno_session_set_memory_budget(session, peak, INFERNO_NO_BUDGET));
    CHECK(go(s, session, 0, result));
    CHECK(atomic_load(&told_count) == 0 && of_session(session).soft_budget_passed == 0);
    CHECK_OK(inferno_session_set_memory_budget(session, live + 1000, INFERNO_NO_BUDGET));
    CHECK(of_session(session).soft_budget_bytes == live + 1000);
    CHECK(go(s, session, 0, result));
    CHECK(atomic_load(&told_count) == 1);
    CHECK(check_contains(told[0], "soft budget") && check_contains(told[0], "a session of"));
    CHECK(of_session(session).soft_budget_passed >= RUNS);
    CHECK(of_model(model).soft_budget_passed == of_session(session).soft_budget_passed);
    CHECK_OK(inferno_session_set_memory_budget(session, INFERNO_NO_BUDGET, INFERNO_NO_BUDGET));
    CHECK_OK(inferno_model_set_memory_budget(model, 1000, INFERNO_NO_BUDGET));
    CHECK(go(s, session, 0, result));
    CHECK(atomic_load(&told_count) == 2 && check_contains(told[1], "with its sessions"));
    CHECK_OK(inferno_model_set_memory_budget(model, INFERNO_NO_BUDGET, INFERNO_NO_BUDGET));
    CHECK_OK(inferno_memory_set_budget(1000, INFERNO_NO_BUDGET));
    CHECK(go(s, session, 0, result));
    CHECK(atomic_load(&told_count) == 3 && check_contains(told[2], "Inferno"));
    CHECK_OK(inferno_memory_set_budget(INFERNO_NO_BUDGET, INFERNO_NO_BUDGET));
    CHECK_OK(inferno_log_set_callback(NULL, NULL, INFERNO_LOG_LEVEL_WARN));
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
}

/* ---- Beforehand and afterwards -------------------------------------------------------------- */

static void what_is_reserved_is_there(void) {
    CHECK_OK(inferno_memory_trim());
    inferno_memory_stats before = of_all();
    CHECK_OK(inferno_memory_reserve((size_t)4 << 20, (size_t)1 << 20));
    CHECK_OK(inferno_memory_reserve((size_t)8 << 20, (size_t)2 << 20));
    inferno_memory_stats reserved = of_all();
    CHECK(reserved.live_bytes == before.live_bytes);
    if (pooled()) {
        CHECK(reserved.committed_bytes >= before.committed_bytes + ((uint64_t)12 << 20));
        CHECK(reserved.source_calls > before.source_calls);
        inferno_model *model = load(model_add_of("1024,512"));
        inferno_session *session = open_session(model, NULL);
        for (int run = 0; run < 5; run++) {
            CHECK_OK(inferno_session_run(session, NULL));
        }
        /* (Loading was on a thread of its own: the runs are what counts.) */
        inferno_memory_stats loaded = of_all();
        CHECK(loaded.committed_bytes < reserved.committed_bytes + ((uint64_t)2 << 20));
        CHECK_OK(inferno_session_free(session));
        CHECK_OK(inferno_model_free(model));
        CHECK(of_all().committed_bytes >= before.committed_bytes + ((uint64_t)12 << 20));
    }
    CHECK_OK(inferno_memory_trim());
    CHECK(of_all().committed_bytes < before.committed_bytes + 65536);
}

/* With a decay of nothing, nothing idle is kept; for ever, all of it is. */
static void idle_memory_goes_when_it_is_said(void) {
    for (int keep = 0; keep < 2; keep++) {
        inferno_runtime_options options;
        REQUIRE_OK(inferno_runtime_options_init(&options, sizeof options));
        CHECK(options.memory_decay_ms == 10000);
        options.memory_decay_ms = keep ? UINT64_MAX : 0;
        REQUIRE_OK(inferno_init(&options));
        CHECK_OK(inferno_memory_trim());
        inferno_memory_stats before = of_all();
        inferno_model *model = load(model_add_of("1024,512"));
        inferno_session *session = open_session(model, NULL);
        CHECK_OK(inferno_session_run(session, NULL));
        uint64_t held = of_all().committed_bytes;
        CHECK(!pooled() || held > before.committed_bytes + ((uint64_t)6 << 20));
        CHECK_OK(inferno_session_free(session));
        CHECK_OK(inferno_model_free(model));
        uint64_t after = of_all().committed_bytes;
        CHECK(keep || after < before.committed_bytes + ((uint64_t)1 << 20));
        CHECK(!pooled() || !keep || after == held);
        CHECK_OK(inferno_shutdown());
    }
}

int main(void) {
    RUN(idle_memory_goes_when_it_is_said);
    REQUIRE_OK(inferno_init(NULL));
    RUN(each_holds_its_own);
    RUN(whichever_thread_frees_it);
    RUN(a_known_need_is_refused_before_the_run);
    RUN(any_budget_of_a_session);
    RUN(any_budget_of_a_model);
    RUN(any_budget_of_the_runtime);
    RUN(the_need_is_told);
    RUN(a_soft_budget_is_told);
    RUN(what_is_reserved_is_there);
    CHECK_OK(inferno_shutdown());
    return check_summary();
}
