/*
 * Queues: jobs from many threads, batches with the bits of single runs, every job answered once.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"
#include "on_threads.h"

#include <sched.h>
#include <time.h>
#if HAS_FORK
#include <sys/wait.h>
#endif

enum { FOR_EVER_LESS = 30 }; /* seconds: what takes longer has failed */
#define SOON (FOR_EVER_LESS * 1000000000ull)

static inferno_queue_options defaults(void) {
    inferno_queue_options options;
    REQUIRE_OK(inferno_queue_options_init(&options, sizeof options));
    return options;
}

static inferno_job_options job_defaults(void) {
    inferno_job_options options;
    REQUIRE_OK(inferno_job_options_init(&options, sizeof options));
    return options;
}

static inferno_queue *open_queue(pb bytes, const inferno_queue_options *options) {
    inferno_model *model = load(bytes);
    inferno_queue *queue = NULL;
    REQUIRE_OK(inferno_queue_new(model, options, &queue));
    CHECK_OK(inferno_model_free(model));
    return queue;
}

/* An observation of the MLP, different for each number. */
static void observe(unsigned number, float *x) {
    for (unsigned i = 0; i < MLP_IN; i++) {
        x[i] = (float)((number * 7 + i * 3) % 29) / 8.0f - 1.5f;
    }
}

static inferno_job *submit(inferno_queue *queue, unsigned number, const inferno_job_options *options) {
    float x[MLP_IN];
    inferno_job *job = NULL;
    observe(number, x);
    inferno_tensor input = f32_tensor("1,4", x);
    REQUIRE_OK(inferno_queue_submit(queue, &input, 1, options, &job));
    return job;
}

/* What a session of batch 1 makes of observations, bit for bit. */
enum { NUMBERS = 256 };
static float alone[NUMBERS][MLP_OUT];

static void run_alone(void) {
    inferno_session *session = open_model(model_mlp());
    for (unsigned number = 0; number < NUMBERS; number++) {
        float x[MLP_IN];
        observe(number, x);
        inferno_tensor input = f32_tensor("1,4", x);
        CHECK_OK(inferno_session_set_input(session, 0, &input));
        CHECK_OK(inferno_session_run(session, NULL));
        CHECK_OK(inferno_session_copy_output(session, 0, alone[number], sizeof alone[0], NULL));
    }
    CHECK_OK(inferno_session_free(session));
}

static int is_alone(const inferno_job *job, unsigned number) {
    inferno_tensor output;
    return inferno_job_output(job, 0, &output) == INFERNO_STATUS_OK &&
           tensor_equals(&output, f32_tensor("1,3", alone[number]));
}

static uint64_t jobs_of(const inferno_queue *queue, inferno_status status) {
    inferno_queue_metrics metrics = {.struct_size = sizeof metrics};
    CHECK_OK(inferno_queue_get_metrics(queue, &metrics));
    return metrics.jobs_by_status[status];
}

/* ---- Batches -------------------------------------------------------------------------------- */

static void a_batch_has_the_bits_of_single_runs(void) {
    for (unsigned rows = 1; rows <= 32; rows += rows < 5 ? 1 : 9) {
        inferno_queue *queue = open_queue(model_mlp(), NULL);
        inferno_job *jobs[32];
        for (unsigned i = 0; i < rows; i++) {
            jobs[i] = submit(queue, i, NULL);
            CHECK_STATUS(inferno_job_poll(jobs[i]), INFERNO_STATUS_NOT_READY);
        }
        uint64_t steps = 0;
        CHECK_OK(inferno_queue_pump(queue, 0, &steps));
        CHECK(steps == 1);
        inferno_queue_metrics metrics = {.struct_size = sizeof metrics};
        CHECK_OK(inferno_queue_get_metrics(queue, &metrics));
        CHECK(metrics.batches == 1 && metrics.batch_rows == rows && metrics.batch_rows_max == rows);
        CHECK(metrics.jobs_by_status[INFERNO_STATUS_OK] == rows && metrics.waiting == 0);
        CHECK(metrics.wait_max_ns > 0 && metrics.health == INFERNO_QUEUE_HEALTH_CLOSED);
        for (unsigned i = 0; i < rows; i++) {
            CHECK_OK(inferno_job_poll(jobs[i]));
            CHECK(is_alone(jobs[i], i));
            CHECK(inferno_job_error(jobs[i])[0] == '\0');
            CHECK_OK(inferno_job_free(jobs[i]));
        }
        CHECK_OK(inferno_queue_free(queue));
    }
}

/* Jobs of several rows, and views that outlive the queue. */
static void jobs_of_several_rows(void) {
    inferno_queue_options options = defaults();
    options.max_batch = 8;
    inferno_queue *queue = open_queue(model_mlp(), &options);
    float x[9 * MLP_IN];
    for (unsigned i = 0; i < 9; i++) {
        observe(i, x + i * MLP_IN);
    }
    inferno_job *jobs[3], *none = NULL;
    inferno_tensor three = f32_tensor("3,4", x), two = f32_tensor("2,4", x + 3 * MLP_IN);
    inferno_tensor four = f32_tensor("4,4", x + 5 * MLP_IN), nine = f32_tensor("9,4", x);
    CHECK_OK(inferno_queue_submit(queue, &three, 1, NULL, &jobs[0]));
    CHECK_OK(inferno_queue_submit(queue, &two, 1, NULL, &jobs[1]));
    CHECK_OK(inferno_queue_submit(queue, &four, 1, NULL, &jobs[2]));
    CHECK_ERROR(inferno_queue_submit(queue, &nine, 1, NULL, &none), INFERNO_STATUS_INVALID_ARGUMENT,
                "9 rows: expected at most 8");
    inferno_tensor empty = f32_tensor("0,4", x);
    CHECK_ERROR(inferno_queue_submit(queue, &empty, 1, NULL, &none), INFERNO_STATUS_SHAPE_MISMATCH,
                "0 rows");
    CHECK_OK(inferno_queue_pump(queue, 0, NULL));
    CHECK_OK(inferno_queue_free(queue));
    inferno_tensor output;
    CHECK_OK(inferno_job_output(jobs[0], 0, &output));
    CHECK(tensor_equals(&output, f32_tensor("3,3", alone[0])));
    CHECK_OK(inferno_job_output(jobs[1], 0, &output));
    CHECK(tensor_equals(&output, f32_tensor("2,3", alone[3])));
    CHECK_OK(inferno_job_output(jobs[2], 0, &output));
    CHECK(tensor_equals(&output, f32_tensor("4,3", alone[5])));
    for (int i = 0; i < 3; i++) {
        CHECK_OK(inferno_job_wait(jobs[i], 0));
        CHECK_OK(inferno_job_free(jobs[i]));
    }
}

/* An index out of range fails its own job, not the others of the batch. */
static void a_failing_member_fails_alone(void) {
    inferno_queue *queue = open_queue(model_tokens(), NULL);
    inferno_job *jobs[6];
    for (int64_t i = 0; i < 6; i++) {
        int64_t id = i == 2 ? 77 : i % 5, mask = 1;
        inferno_tensor inputs[] = {i64_tensor("1", &id), i64_tensor("1,1", &mask)};
        CHECK_OK(inferno_queue_submit(queue, inputs, 2, NULL, &jobs[i]));
    }
    CHECK_OK(inferno_queue_pump(queue, 0, NULL));
    for (unsigned i = 0; i < 6; i++) {
        inferno_tensor output;
        if (i == 2) {
            CHECK_ERROR(inferno_job_poll(jobs[i]), INFERNO_STATUS_RUN_FAILED, "77");
            CHECK_ERROR(inferno_job_output(jobs[i], 0, &output), INFERNO_STATUS_RUN_FAILED, "77");
            CHECK(check_contains(inferno_job_error(jobs[i]), "77"));
        } else {
            float row[4];
            for (unsigned k = 0; k < 4; k++) {
                row[k] = model_weight(6, i % 5 * 4 + k);
            }
            CHECK_OK(inferno_job_output(jobs[i], 0, &output));
            CHECK(tensor_equals(&output, f32_tensor("1,4", row)));
        }
        CHECK_OK(inferno_job_free(jobs[i]));
    }
    CHECK(jobs_of(queue, INFERNO_STATUS_RUN_FAILED) == 1 && jobs_of(queue, INFERNO_STATUS_OK) == 5);
    CHECK_OK(inferno_queue_free(queue));
}

/* What cannot be batched runs one by one; what is not alike runs apart. */
static void other_models(void) {
    inferno_model *model = load(model_add());
    inferno_queue_options options = defaults();
    inferno_queue *queue = NULL;
    options.max_batch = 2;
    CHECK_ERROR(inferno_queue_new(model, &options, &queue), INFERNO_STATUS_UNSUPPORTED,
                "cannot be batched");
    CHECK_OK(inferno_queue_new(model, NULL, &queue));
    float x[6] = {1, 2, 3, 4, 5, 6}, twice[6] = {2, 4, 6, 8, 10, 12};
    inferno_tensor inputs[] = {f32_tensor("2,3", x), f32_tensor("2,3", x)}, output;
    inferno_job *jobs[2];
    uint64_t steps = 0;
    CHECK_OK(inferno_queue_submit(queue, inputs, 2, NULL, &jobs[0]));
    CHECK_OK(inferno_queue_submit(queue, inputs, 2, NULL, &jobs[1]));
    CHECK_OK(inferno_queue_pump(queue, 0, &steps));
    CHECK(steps == 2);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(inferno_job_output(jobs[i], 0, &output));
        CHECK(tensor_equals(&output, f32_tensor("2,3", twice)));
        CHECK_OK(inferno_job_free(jobs[i]));
    }
    CHECK_OK(inferno_queue_free(queue));
    CHECK_OK(inferno_model_free(model));

    queue = open_queue(model_add_open(), NULL);
    inferno_tensor wide[] = {f32_tensor("1,2,3", x), f32_tensor("1,2,3", x)};
    inferno_tensor high[] = {f32_tensor("1,3,2", x), f32_tensor("1,3,2", x)};
    CHECK_OK(inferno_queue_submit(queue, wide, 2, NULL, &jobs[0]));
    CHECK_OK(inferno_queue_submit(queue, high, 2, NULL, &jobs[1]));
    CHECK_OK(inferno_queue_pump(queue, 0, NULL));
    CHECK_OK(inferno_job_output(jobs[0], 0, &output));
    CHECK(tensor_equals(&output, f32_tensor("1,2,3", twice)));
    CHECK_OK(inferno_job_output(jobs[1], 0, &output));
    CHECK(tensor_equals(&output, f32_tensor("1,3,2", twice)));
    CHECK_OK(inferno_job_free(jobs[0]));
    CHECK_OK(inferno_job_free(jobs[1]));
    CHECK_OK(inferno_queue_free(queue));

    model = load(model_identity_string());
    CHECK_ERROR(inferno_queue_new(model, NULL, &queue), INFERNO_STATUS_UNSUPPORTED, "string");
    CHECK_OK(inferno_model_free(model));
}

/* ---- What a queue and a job are asked wrongly ----------------------------------------------- */

static void wrong_handles_and_arguments(void) {
    inferno_queue *queue = open_queue(model_mlp(), NULL), *stale, *none = NULL;
    inferno_job *job = submit(queue, 0, NULL), *nothing = NULL;
    float x[MLP_IN] = {0};
    inferno_tensor input = f32_tensor("1,4", x), output;
    const inferno_status invalid = INFERNO_STATUS_INVALID_HANDLE;
    CHECK_STATUS(inferno_queue_submit(NULL, &input, 1, NULL, &nothing), invalid);
    CHECK_STATUS(inferno_queue_submit((inferno_queue *)job, &input, 1, NULL, &nothing), invalid);
    CHECK_STATUS(inferno_job_wait((inferno_job *)queue, 0), invalid);
    CHECK_STATUS(inferno_job_poll(NULL), invalid);
    CHECK_STATUS(inferno_job_cancel(NULL), invalid);
    CHECK_STATUS(inferno_job_output(NULL, 0, &output), invalid);
    CHECK(check_contains(inferno_job_error(NULL), "NULL"));
    CHECK_OK(inferno_job_free(NULL));
    CHECK_OK(inferno_queue_free(NULL));
    CHECK_ERROR(inferno_queue_submit(queue, &input, 2, NULL, &nothing),
                INFERNO_STATUS_INVALID_ARGUMENT, "expected 1, the inputs");
    CHECK_STATUS(inferno_queue_submit(queue, NULL, 1, NULL, &nothing),
                 INFERNO_STATUS_INVALID_ARGUMENT);
    CHECK_ERROR(inferno_queue_submit(queue, &input, 1, NULL, NULL), INFERNO_STATUS_INVALID_ARGUMENT,
                "expected one of them");
    inferno_tensor other = f32_tensor("1,3", x);
    CHECK_STATUS(inferno_queue_submit(queue, &other, 1, NULL, &nothing),
                 INFERNO_STATUS_SHAPE_MISMATCH);
    other = tensor_of(INFERNO_DTYPE_I32, "1,4", x);
    CHECK_STATUS(inferno_queue_submit(queue, &other, 1, NULL, &nothing),
                 INFERNO_STATUS_DTYPE_MISMATCH);
    other = input;
    other.size_bytes--;
    CHECK_STATUS(inferno_queue_submit(queue, &other, 1, NULL, &nothing),
                 INFERNO_STATUS_SIZE_MISMATCH);
    inferno_job_options options = job_defaults();
    options.priority = 3;
    CHECK_ERROR(inferno_queue_submit(queue, &input, 1, &options, &nothing),
                INFERNO_STATUS_INVALID_ARGUMENT, "priority is 3");
    options = job_defaults();
    options.is_borrowed = 2;
    CHECK_STATUS(inferno_queue_submit(queue, &input, 1, &options, &nothing),
                 INFERNO_STATUS_INVALID_ARGUMENT);
    CHECK(nothing == NULL);
    CHECK_STATUS(inferno_job_output(job, 0, &output), INFERNO_STATUS_NOT_READY);
    CHECK_STATUS(inferno_job_output(job, 1, &output), INFERNO_STATUS_NOT_FOUND);
    CHECK_STATUS(inferno_job_output(job, 0, NULL), INFERNO_STATUS_INVALID_ARGUMENT);
    CHECK(check_contains(inferno_job_error(job), "not answered"));
    CHECK_STATUS(inferno_queue_shutdown(queue, 2, 0), INFERNO_STATUS_INVALID_ARGUMENT);
    CHECK_OK(inferno_job_wait(job, SOON)); /* (no workers: this thread runs it) */
    CHECK(is_alone(job, 0));
    CHECK_OK(inferno_job_free(job));
    CHECK_STATUS(inferno_job_free(job), invalid);
    CHECK_STATUS(inferno_job_poll(job), invalid);
    CHECK_STATUS(inferno_job_cancel(job), invalid);
    stale = queue;
    CHECK_OK(inferno_queue_free(queue));
    CHECK_STATUS(inferno_queue_free(stale), invalid);
    CHECK_STATUS(inferno_queue_pump(stale, 0, NULL), invalid);
    CHECK_STATUS(inferno_queue_shutdown(stale, 0, 0), invalid);
    CHECK_STATUS(inferno_queue_submit(stale, &input, 1, NULL, &nothing), invalid);

    inferno_model *model = load(model_mlp());
    inferno_queue_options bad = defaults();
    bad.capacity = 0;
    CHECK_ERROR(inferno_queue_new(model, &bad, &none), INFERNO_STATUS_INVALID_ARGUMENT, "capacity");
    bad = defaults();
    bad.workers = 65;
    CHECK_ERROR(inferno_queue_new(model, &bad, &none), INFERNO_STATUS_INVALID_ARGUMENT, "workers");
    bad = defaults();
    bad.max_batch = 5000;
    CHECK_STATUS(inferno_queue_new(model, &bad, &none), INFERNO_STATUS_INVALID_ARGUMENT);
    bad = defaults();
    bad.retries = 33;
    CHECK_ERROR(inferno_queue_new(model, &bad, &none), INFERNO_STATUS_INVALID_ARGUMENT, "retries");
    CHECK_STATUS(inferno_queue_new(model, NULL, NULL), INFERNO_STATUS_INVALID_ARGUMENT);
    CHECK_STATUS(inferno_queue_new(NULL, NULL, &none), invalid);
    CHECK(none == NULL);
    CHECK_OK(inferno_model_free(model));
}

static void a_full_queue_refuses(void) {
    inferno_queue_options options = defaults();
    options.capacity = 4;
    inferno_queue *queue = open_queue(model_mlp(), &options);
    inferno_job *jobs[4], *none = NULL;
    float x[MLP_IN] = {0};
    inferno_tensor input = f32_tensor("1,4", x);
    for (int turn = 0; turn < 3; turn++) {
        for (unsigned i = 0; i < 4; i++) {
            jobs[i] = submit(queue, i, NULL);
        }
        CHECK_ERROR(inferno_queue_submit(queue, &input, 1, NULL, &none), INFERNO_STATUS_QUEUE_FULL,
                    "4 jobs");
        CHECK_OK(inferno_queue_pump(queue, 0, NULL));
        CHECK_STATUS(inferno_queue_submit(queue, &input, 1, NULL, &none), INFERNO_STATUS_QUEUE_FULL);
        for (unsigned i = 0; i < 4; i++) {
            CHECK(is_alone(jobs[i], i));
            CHECK_OK(inferno_job_free(jobs[i]));
        }
    }
    CHECK(none == NULL && jobs_of(queue, INFERNO_STATUS_QUEUE_FULL) == 6);
    CHECK_OK(inferno_queue_free(queue));
}

/* ---- Ends of jobs --------------------------------------------------------------------------- */

typedef struct ends {
    atomic_int calls, ok, cancelled, late, unavailable, failed, odd;
    inferno_queue *queue;
    uint32_t workers;
    unsigned more;
    /* Callbacks that have done all they do. */
    atomic_int over;
} ends;

static void note_end(void *user_data, inferno_job *job, inferno_status status) {
    ends *e = user_data;
    (void)job;
    atomic_fetch_add(&e->calls, 1);
    switch (status) {
        case INFERNO_STATUS_OK: atomic_fetch_add(&e->ok, 1); break;
        case INFERNO_STATUS_CANCELLED: atomic_fetch_add(&e->cancelled, 1); break;
        case INFERNO_STATUS_DEADLINE_EXCEEDED: atomic_fetch_add(&e->late, 1); break;
        case INFERNO_STATUS_UNAVAILABLE: atomic_fetch_add(&e->unavailable, 1); break;
        case INFERNO_STATUS_RUN_FAILED: atomic_fetch_add(&e->failed, 1); break;
        default: atomic_fetch_add(&e->odd, 1);
    }
}

static void cancelled_late_and_freed_jobs(void) {
    inferno_queue *queue = open_queue(model_mlp(), NULL);
    ends e = {0};
    inferno_job_options options = job_defaults();
    options.callback = note_end;
    options.user_data = &e;
    inferno_job *run = submit(queue, 1, &options), *cancelled = submit(queue, 2, &options);
    inferno_job *freed = submit(queue, 3, &options);
    options.timeout_ns = 1;
    inferno_job *late = submit(queue, 4, &options);
    CHECK_OK(inferno_job_cancel(cancelled));
    CHECK_OK(inferno_job_cancel(cancelled));
    CHECK_OK(inferno_job_free(freed));
    CHECK_STATUS(inferno_job_poll(cancelled), INFERNO_STATUS_NOT_READY); /* nobody drives yet */
    CHECK(atomic_load(&e.calls) == 0);
    CHECK_OK(inferno_queue_pump(queue, 0, NULL));
    CHECK(e.calls == 4 && e.ok == 1 && e.cancelled == 2 && e.late == 1 && e.odd == 0);
    CHECK_ERROR(inferno_job_poll(cancelled), INFERNO_STATUS_CANCELLED, "cancelled");
    CHECK_ERROR(inferno_job_wait(late, SOON), INFERNO_STATUS_DEADLINE_EXCEEDED, "time was over");
    CHECK(is_alone(run, 1));
    CHECK_OK(inferno_job_cancel(run));
    CHECK_OK(inferno_job_poll(run));
    CHECK_OK(inferno_job_free(run));
    CHECK_OK(inferno_job_free(cancelled));
    CHECK_OK(inferno_job_free(late));
    CHECK(jobs_of(queue, INFERNO_STATUS_CANCELLED) == 2);
    CHECK(jobs_of(queue, INFERNO_STATUS_DEADLINE_EXCEEDED) == 1);
    CHECK_OK(inferno_queue_free(queue));
    CHECK(atomic_load(&e.calls) == 4);
}

/* Inside a callback: outputs are there, jobs are submitted and freed, waiting is refused. */
static void inside_a_callback(void *user_data, inferno_job *job, inferno_status status) {
    ends *e = user_data;
    inferno_tensor output;
    note_end(user_data, job, status);
    CHECK_OK(inferno_job_poll(job));
    CHECK_OK(inferno_job_wait(job, SOON));
    CHECK_OK(inferno_job_output(job, 0, &output));
    CHECK_STATUS(inferno_queue_pump(e->queue, 0, NULL), INFERNO_STATUS_BUSY);
    CHECK_STATUS(inferno_queue_free(e->queue), INFERNO_STATUS_BUSY);
    CHECK_STATUS(inferno_queue_shutdown(e->queue, 0, 0), INFERNO_STATUS_BUSY);
    CHECK_STATUS(inferno_shutdown(), INFERNO_STATUS_BUSY);
    if (e->more > 0) {
        e->more--;
        inferno_job_options options = job_defaults();
        float x[MLP_IN];
        observe(e->more, x);
        inferno_tensor input = f32_tensor("1,4", x);
        options.callback = inside_a_callback;
        options.user_data = e;
        CHECK_OK(inferno_queue_submit(e->queue, &input, 1, &options, NULL));
        inferno_job *other = submit(e->queue, 0, NULL);
        /* (A second worker may have answered it by now.) */
        inferno_status waited = inferno_job_wait(other, 1), polled = inferno_job_poll(other);
        int is_alone = e->workers < 2;
        CHECK(waited == INFERNO_STATUS_BUSY || (!is_alone && waited == INFERNO_STATUS_OK));
        CHECK(polled == INFERNO_STATUS_NOT_READY || (!is_alone && polled == INFERNO_STATUS_OK));
        CHECK_OK(inferno_job_free(other));
    }
    atomic_fetch_add(&e->over, 1);
}

static void callbacks_may_do_much(void) {
    for (uint32_t workers = 0; workers <= 2; workers++) {
        inferno_queue_options options = defaults();
        options.workers = workers;
        ends e = {.queue = open_queue(model_mlp(), &options), .workers = workers, .more = 20};
        inferno_job_options job_options = job_defaults();
        float x[MLP_IN] = {0};
        inferno_tensor input = f32_tensor("1,4", x);
        job_options.callback = inside_a_callback;
        job_options.user_data = &e;
        CHECK_OK(inferno_queue_submit(e.queue, &input, 1, &job_options, NULL));
        time_t give_up = time(NULL) + FOR_EVER_LESS;
        while (atomic_load(&e.over) < 21 && time(NULL) < give_up) {
            if (workers == 0) {
                CHECK_OK(inferno_queue_pump(e.queue, 0, NULL));
            }
            sched_yield();
        }
        CHECK_OK(inferno_queue_shutdown(e.queue, INFERNO_SHUTDOWN_MODE_DRAIN, SOON));
        CHECK(e.calls == 21 && e.ok == 21);
        CHECK_OK(inferno_queue_free(e.queue));
    }
}

/* ---- Order ---------------------------------------------------------------------------------- */

static unsigned order[16], ordered;

static void note_order(void *user_data, inferno_job *job, inferno_status status) {
    (void)job;
    CHECK(status == INFERNO_STATUS_OK);
    order[ordered++] = (unsigned)(uintptr_t)user_data;
}

static void priorities_go_first_and_producers_take_turns(void) {
    inferno_queue_options options = defaults();
    options.max_batch = 1;
    inferno_queue *queue = open_queue(model_mlp(), &options);
    const struct {
        int32_t priority;
        uint64_t producer;
    } jobs[] = {{1, 1}, {1, 1}, {1, 1}, {0, 2}, {1, 2}, {2, 3}, {1, 2}};
    const unsigned expected[] = {5, 0, 4, 1, 6, 2, 3};
    for (unsigned i = 0; i < 7; i++) {
        inferno_job_options job = job_defaults();
        job.callback = note_order;
        job.user_data = (void *)(uintptr_t)i;
        job.priority = jobs[i].priority;
        job.producer = jobs[i].producer;
        CHECK_OK(inferno_job_free(NULL));
        float x[MLP_IN] = {0};
        inferno_tensor input = f32_tensor("1,4", x);
        CHECK_OK(inferno_queue_submit(queue, &input, 1, &job, NULL));
    }
    ordered = 0;
    CHECK_OK(inferno_queue_pump(queue, 0, NULL));
    CHECK(ordered == 7 && memcmp(order, expected, sizeof expected) == 0);
    CHECK_OK(inferno_queue_free(queue));
}

/* ---- Threads -------------------------------------------------------------------------------- */

static inferno_queue *shared;

/* Some jobs under way, of which one is waited for at a time. */
static void *produce(void *number) {
    enum { UNDER_WAY = 8 };
    inferno_job *jobs[UNDER_WAY] = {NULL};
    unsigned numbers[UNDER_WAY] = {0};
    int wrong = 0, turns = check_times(2000);
    for (int turn = 0; turn < turns + UNDER_WAY; turn++) {
        int at = turn % UNDER_WAY;
        if (jobs[at] != NULL) {
            wrong += inferno_job_wait(jobs[at], SOON) != INFERNO_STATUS_OK;
            wrong += !is_alone(jobs[at], numbers[at]);
            wrong += inferno_job_free(jobs[at]) != INFERNO_STATUS_OK;
            jobs[at] = NULL;
        }
        if (turn < turns) {
            numbers[at] = (unsigned)((uintptr_t)number * 61 + (unsigned)turn) % NUMBERS;
            jobs[at] = submit(shared, numbers[at], NULL);
        }
    }
    CHECK(wrong == 0);
    return NULL;
}

static void many_producers(void) {
    for (uint32_t workers = 0; workers <= 2; workers++) {
        for (uint64_t delay = 0; delay <= 200000; delay += 200000) {
            inferno_queue_options options = defaults();
            options.workers = workers;
            options.max_delay_ns = delay;
            options.concurrency = 2;
            options.capacity = 256;
            shared = open_queue(model_mlp(), &options);
            on_threads(produce);
            CHECK(jobs_of(shared, INFERNO_STATUS_OK) == (uint64_t)THREADS * check_times(2000));
            CHECK_OK(inferno_queue_free(shared));
        }
    }
}

/* Borrowed inputs, and a batch that waits until its first job is old. */
static void a_delay_brings_company(void) {
    inferno_queue_options options = defaults();
    options.workers = 1;
    options.max_delay_ns = 300000000;
    options.is_delay_learned = 0;
    options.max_batch = 4;
    inferno_queue *queue = open_queue(model_mlp(), &options);
    inferno_job_options job_options = job_defaults();
    job_options.is_borrowed = 1;
    static float x[4][MLP_IN];
    inferno_job *jobs[4];
    for (unsigned i = 0; i < 4; i++) {
        observe(i + 9, x[i]);
        inferno_tensor input = f32_tensor("1,4", x[i]);
        CHECK_OK(inferno_queue_submit(queue, &input, 1, &job_options, &jobs[i]));
    }
    for (unsigned i = 0; i < 4; i++) {
        CHECK_OK(inferno_job_wait(jobs[i], UINT64_MAX));
        CHECK(is_alone(jobs[i], i + 9));
        CHECK_OK(inferno_job_free(jobs[i]));
    }
    inferno_queue_metrics metrics = {.struct_size = sizeof metrics};
    CHECK_OK(inferno_queue_get_metrics(queue, &metrics));
    CHECK(metrics.batches == 1 && metrics.batch_rows_p50 == 4);
    inferno_job *job = submit(queue, 5, NULL);
    CHECK_STATUS(inferno_job_wait(job, 1000000), INFERNO_STATUS_NOT_READY);
    CHECK_OK(inferno_job_wait(job, SOON));
    CHECK_OK(inferno_queue_get_metrics(queue, &metrics));
    CHECK(metrics.batches == 2 && metrics.wait_max_ns >= 300000000);
    CHECK_OK(inferno_job_free(job));
    CHECK_OK(inferno_queue_free(queue));
}

/* By default a delay is learned: a job that comes alone does not wait for others. */
static void a_lone_job_does_not_wait(void) {
    inferno_queue_options options = defaults();
    CHECK(options.is_delay_learned == 1);
    options.workers = 1;
    options.max_delay_ns = 60000000000;
    inferno_queue *queue = open_queue(model_mlp(), &options);
    for (unsigned i = 0; i < 20; i++) {
        inferno_job *job = submit(queue, i, NULL);
        CHECK_OK(inferno_job_wait(job, SOON));
        CHECK(is_alone(job, i));
        CHECK_OK(inferno_job_free(job));
    }
    CHECK_OK(inferno_queue_free(queue));
}

/* Submits, cancels and frees while the queue is shut down: each callback comes once. */
static ends storm_ends;
static atomic_int submitted;

static void *storm(void *number) {
    unsigned lot = (unsigned)(uintptr_t)number * 2654435761u + 1;
    int odd = 0;
    for (int i = 0;; i++) {
        inferno_job_options options = job_defaults();
        options.callback = note_end;
        options.user_data = &storm_ends;
        lot = lot * 1664525u + 1013904223u;
        options.timeout_ns = lot >> 24 & 1 ? 20000 : 0;
        float x[MLP_IN];
        observe(lot >> 8, x);
        inferno_tensor input = f32_tensor("1,4", x);
        inferno_job *job = NULL;
        inferno_status status = inferno_queue_submit(shared, &input, 1, &options,
                                                     lot >> 25 & 1 ? &job : NULL);
        if (status == INFERNO_STATUS_UNAVAILABLE || status == INFERNO_STATUS_INVALID_HANDLE) {
            break;
        }
        if (status == INFERNO_STATUS_QUEUE_FULL) {
            sched_yield();
            continue;
        }
        odd += status != INFERNO_STATUS_OK;
        atomic_fetch_add(&submitted, 1);
        if (job != NULL) {
            if (lot >> 26 & 1) {
                status = inferno_job_cancel(job);
                odd += status != INFERNO_STATUS_OK && status != INFERNO_STATUS_BUSY;
            }
            if (lot >> 27 & 1) {
                odd += inferno_job_wait(job, SOON) == INFERNO_STATUS_NOT_READY;
            }
            odd += inferno_job_free(job) != INFERNO_STATUS_OK;
        }
    }
    CHECK(odd == 0);
    return NULL;
}

static void *end_it(void *mode) {
    struct timespec time = {0, 20000000};
    nanosleep(&time, NULL);
    if ((uintptr_t)mode < 2) {
        CHECK_OK(inferno_queue_shutdown(shared, (int32_t)(uintptr_t)mode, SOON));
    } else {
        CHECK_OK(inferno_queue_free(shared));
    }
    return NULL;
}

static void shutdown_with_jobs_in_flight(void) {
    for (uintptr_t turn = 0; turn < 12; turn++) {
        uintptr_t mode = turn % 3;
        inferno_queue_options options = defaults();
        options.workers = (uint32_t)(turn % 4 < 2 ? 1 : 2);
        options.capacity = 64;
        options.max_delay_ns = turn % 2 * 50000;
        shared = open_queue(model_mlp(), &options);
        memset(&storm_ends, 0, sizeof storm_ends);
        atomic_store(&submitted, 0);
        pthread_t ender;
        REQUIRE(pthread_create(&ender, NULL, end_it, (void *)mode) == 0);
        on_threads(storm);
        CHECK(pthread_join(ender, NULL) == 0);
        if (mode < 2) {
            CHECK_OK(inferno_queue_free(shared));
        }
        CHECK(storm_ends.calls == atomic_load(&submitted) && storm_ends.odd == 0);
        CHECK(storm_ends.failed == 0 && storm_ends.unavailable == 0);
    }
}

/* ---- Resilience ----------------------------------------------------------------------------- */

static inferno_status token(inferno_queue *queue, int64_t id) {
    int64_t mask = 1;
    inferno_tensor inputs[] = {i64_tensor("1", &id), i64_tensor("1,1", &mask)};
    inferno_job *job = NULL;
    inferno_status status = inferno_queue_submit(queue, inputs, 2, NULL, &job);
    if (status == INFERNO_STATUS_OK) {
        status = inferno_job_wait(job, SOON);
        CHECK_OK(inferno_job_free(job));
    }
    return status;
}

static int32_t health(const inferno_queue *queue) {
    inferno_queue_metrics metrics = {.struct_size = sizeof metrics};
    CHECK_OK(inferno_queue_get_metrics(queue, &metrics));
    return metrics.health;
}

static void the_breaker_opens_and_closes(void) {
    inferno_queue_options options = defaults();
    options.breaker_failures = 3;
    options.breaker_open_ns = 50000000;
    inferno_queue *queue = open_queue(model_tokens(), &options);
    const struct timespec rest = {0, 60000000};
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < 3; i++) {
            CHECK(token(queue, 99) == INFERNO_STATUS_RUN_FAILED);
        }
        CHECK(health(queue) == INFERNO_QUEUE_HEALTH_OPEN);
        CHECK_ERROR(token(queue, 1), INFERNO_STATUS_UNAVAILABLE, "3 runs in a row");
        nanosleep(&rest, NULL);
        CHECK(token(queue, 99) == INFERNO_STATUS_RUN_FAILED); /* the one that is let through */
        CHECK(health(queue) == INFERNO_QUEUE_HEALTH_OPEN);
        CHECK(token(queue, 1) == INFERNO_STATUS_UNAVAILABLE);
        nanosleep(&rest, NULL);
        CHECK(token(queue, 1) == INFERNO_STATUS_OK);
        CHECK(health(queue) == INFERNO_QUEUE_HEALTH_CLOSED);
        CHECK(token(queue, 1) == INFERNO_STATUS_OK);
    }
    CHECK_OK(inferno_queue_free(queue));
}

/* Every request of memory fails once, from the queue's making to the job's answer. */
static atomic_long requests, fail_at = -1;

static void *take(void *user_data, size_t size, size_t alignment) {
    (void)user_data;
    if (atomic_fetch_add(&requests, 1) == atomic_load(&fail_at)) {
        return NULL;
    }
    return aligned_new(alignment < 16 ? 16 : alignment, size);
}

static void give(void *user_data, void *block, size_t size, size_t alignment) {
    (void)user_data, (void)size, (void)alignment;
    aligned_free(block);
}

static int is_memory(inferno_status status) {
    return status == INFERNO_STATUS_OK || status == INFERNO_STATUS_OUT_OF_MEMORY;
}

static int with_failure_at(long at, uint32_t retries) {
    inferno_allocator allocator = {sizeof allocator, NULL, take, give};
    inferno_runtime_options runtime;
    REQUIRE_OK(inferno_runtime_options_init(&runtime, sizeof runtime));
    runtime.allocator = &allocator;
    REQUIRE_OK(inferno_init(&runtime));
    inferno_model *model = load(model_mlp());
    inferno_queue_options options = defaults();
    inferno_queue *queue = NULL;
    options.max_batch = 4;
    options.capacity = 8;
    options.is_prepared = 0;
    options.retries = retries;
    options.retry_delay_ns = 1000;
    atomic_store(&requests, 0);
    atomic_store(&fail_at, at);
    inferno_status made = inferno_queue_new(model, &options, &queue);
    CHECK(is_memory(made) && (made == INFERNO_STATUS_OK) == (queue != NULL));
    int all = made == INFERNO_STATUS_OK;
    inferno_job *jobs[3] = {NULL};
    for (unsigned i = 0; i < 3 && all; i++) {
        float x[MLP_IN];
        observe(i, x);
        inferno_tensor input = f32_tensor("1,4", x);
        inferno_status status = inferno_queue_submit(queue, &input, 1, NULL, &jobs[i]);
        CHECK(is_memory(status) && (status == INFERNO_STATUS_OK) == (jobs[i] != NULL));
    }
    for (unsigned i = 0; i < 3; i++) {
        if (jobs[i] != NULL) {
            inferno_status status = inferno_job_wait(jobs[i], SOON);
            CHECK(is_memory(status));
            all &= status == INFERNO_STATUS_OK;
            CHECK(status != INFERNO_STATUS_OK || is_alone(jobs[i], i));
            CHECK_OK(inferno_job_free(jobs[i]));
        }
    }
    long asked = atomic_load(&requests);
    atomic_store(&fail_at, -1);
    CHECK_OK(inferno_queue_free(queue));
    CHECK_OK(inferno_model_free(model));
    CHECK_OK(inferno_shutdown());
    CHECK(retries == 0 || made != INFERNO_STATUS_OK || all);
    return at < asked;
}

static void every_request_may_fail(void) {
    CHECK_OK(inferno_shutdown());
    int stride = getenv("CHECK_SLOW") == NULL || getenv("CHECK_ALL") != NULL ? 3 : 41;
    for (uint32_t retries = 0; retries <= 1; retries++) {
        long at = retries;
        while (with_failure_at(at, retries)) {
            at += stride;
        }
        CHECK(at > 10);
    }
}

#if HAS_FORK
/* A child has no workers: who waits there runs the jobs. */
static void a_child_runs_its_jobs(void) {
    inferno_queue_options options = defaults();
    options.workers = 1;
    inferno_queue *queue = open_queue(model_mlp(), &options);
    inferno_job *before = submit(queue, 1, NULL);
    CHECK_OK(inferno_job_wait(before, SOON));
    CHECK_OK(inferno_job_free(before));
    fflush(NULL);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        inferno_job *job = submit(queue, 2, NULL);
        int wrong = inferno_job_wait(job, SOON) != INFERNO_STATUS_OK;
        wrong += !is_alone(job, 2);
        wrong += inferno_job_free(job) != INFERNO_STATUS_OK;
        wrong += inferno_queue_free(queue) != INFERNO_STATUS_OK;
        _exit(wrong);
    }
    int status = 1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_OK(inferno_queue_free(queue));
}
#endif

/* Shutdown of the runtime ends queues with all their jobs; nothing is left of their handles. */
static void the_runtime_ends_queues(void) {
    inferno_queue_options options = defaults();
    options.workers = 1;
    options.max_delay_ns = 1000000000;
    options.is_delay_learned = 0;
    inferno_queue *queue = open_queue(model_mlp(), &options);
    ends e = {0};
    inferno_job_options job_options = job_defaults();
    job_options.callback = note_end;
    job_options.user_data = &e;
    inferno_job *jobs[5];
    for (unsigned i = 0; i < 5; i++) {
        jobs[i] = submit(queue, i, &job_options);
    }
    CHECK_OK(inferno_shutdown());
    CHECK(e.calls == 5 && e.cancelled == 5);
    CHECK_STATUS(inferno_job_poll(jobs[0]), INFERNO_STATUS_INVALID_HANDLE);
    CHECK_STATUS(inferno_queue_free(queue), INFERNO_STATUS_INVALID_HANDLE);
    CHECK_OK(inferno_shutdown());
}

int main(void) {
    run_alone();
    RUN(a_batch_has_the_bits_of_single_runs);
    RUN(jobs_of_several_rows);
    RUN(a_failing_member_fails_alone);
    RUN(other_models);
    RUN(wrong_handles_and_arguments);
    RUN(a_full_queue_refuses);
    RUN(cancelled_late_and_freed_jobs);
    RUN(callbacks_may_do_much);
    RUN(priorities_go_first_and_producers_take_turns);
    RUN(many_producers);
    RUN(a_delay_brings_company);
    RUN(a_lone_job_does_not_wait);
    RUN(shutdown_with_jobs_in_flight);
    RUN(the_breaker_opens_and_closes);
#if HAS_FORK
    if (getenv("CHECK_SLOW") == NULL) {
        RUN(a_child_runs_its_jobs);
    }
#else
    SKIP(a_child_runs_its_jobs, "there is no fork");
#endif
    RUN(the_runtime_ends_queues);
    RUN(every_request_may_fail);
    CHECK_OK(inferno_shutdown());
    return check_summary();
}
