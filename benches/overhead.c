/*
 * What counting costs a run: overhead MODEL.onnx PAIRS INPUT=D,D
 *
 * One session runs in short spells, counted and not counted in turn, the first of each pair by lot, so
 * that what else the machine does falls on both alike. The median of a run's time of each, and the
 * median of the pairs' differences; what the runs allocated; and the same with eight threads, each
 * with a session of its own, all counted or all not.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "args.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { RUNS = 100, THREADS = 8 };

static double now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count) {
    qsort(values, count, sizeof *values, by_size);
    return values[count / 2];
}

/* Nanoseconds of a run, over a spell. */
static double spell(inferno_session *session, int counted) {
    must(inferno_metrics_set_counting(counted), "counting");
    for (int run = 0; run < RUNS / 10; run++) {
        must(inferno_session_run(session, NULL), "run");
    }
    double begun = now_ns();
    for (int run = 0; run < RUNS; run++) {
        inferno_session_run(session, NULL);
    }
    return (now_ns() - begun) / RUNS;
}

static atomic_ulong taken;

static void *take(void *user_data, size_t size_bytes, size_t alignment) {
    void *block = NULL;
    (void)user_data;
    atomic_fetch_add(&taken, 1);
    return posix_memalign(&block, alignment < 16 ? 16 : alignment, size_bytes) == 0 ? block : NULL;
}

static void give(void *user_data, void *block, size_t size_bytes, size_t alignment) {
    (void)user_data, (void)size_bytes, (void)alignment;
    free(block);
}

/* ---- Eight threads -------------------------------------------------------------------------- */

static inferno_session *sessions[THREADS];
static double run_ns[THREADS];
static pthread_barrier_t barrier;

static void *one_of_eight(void *number) {
    size_t me = (size_t)(uintptr_t)number;
    struct timespec from, to;
    pthread_barrier_wait(&barrier);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
    for (int run = 0; run < 20 * RUNS; run++) {
        inferno_session_run(sessions[me], NULL);
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
    run_ns[me] = ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) /
                 (20 * RUNS);
    return NULL;
}

/* Processor time of a run, the median over the threads. */
static double eight(int counted) {
    pthread_t threads[THREADS];
    must(inferno_metrics_set_counting(counted), "counting");
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (uintptr_t i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], NULL, one_of_eight, (void *)i) != 0) {
            exit(1);
        }
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&barrier);
    return median(run_ns, THREADS);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "overhead MODEL.onnx PAIRS INPUT=D,D\n");
        return 2;
    }
    size_t pairs = (size_t)strtoul(argv[2], NULL, 10);
    inferno_allocator allocator = {sizeof allocator, NULL, take, give};
    inferno_runtime_options options;
    must(inferno_runtime_options_init(&options, sizeof options), "options");
    options.allocator = &allocator;
    must(inferno_init(&options), "init");
    inferno_model *model = NULL;
    must(inferno_model_load(argv[1], NULL, &model), argv[1]);
    for (int i = 0; i < THREADS; i++) {
        /* (It cuts its words up.) */
        char word[64], *words[] = {word};
        snprintf(word, sizeof word, "%s", argv[3]);
        sessions[i] = session_of(model, words, 1);
    }
    double *on = malloc(pairs * sizeof *on), *off = malloc(pairs * sizeof *off);
    double *more = malloc(pairs * sizeof *more);
    if (on == NULL || off == NULL || more == NULL || pairs == 0) {
        return 2;
    }
    unsigned lot = 12345;
    for (int i = 0; i < 100; i++) {
        spell(sessions[0], i % 2);
    }
    unsigned long taken_before = atomic_load(&taken);
    inferno_memory_stats before = held();
    for (size_t i = 0; i < pairs; i++) {
        lot = lot * 1664525u + 1013904223u;
        if (lot >> 31) {
            on[i] = spell(sessions[0], 1);
            off[i] = spell(sessions[0], 0);
        } else {
            off[i] = spell(sessions[0], 0);
            on[i] = spell(sessions[0], 1);
        }
        more[i] = on[i] - off[i];
    }
    inferno_memory_stats after = held();
    unsigned long long allocations =
        (after.hits + after.shared_hits + after.misses) -
        (before.hits + before.shared_hits + before.misses) + (atomic_load(&taken) - taken_before);
    double difference = median(more, pairs);
    double counted = median(on, pairs), plain = median(off, pairs);
    double threads_on[9], threads_off[9];
    for (int i = 0; i < 9; i++) {
        threads_on[i] = eight(1);
        threads_off[i] = eight(0);
    }
    double eight_on = median(threads_on, 9), eight_off = median(threads_off, 9);
    printf("threads: counted_ns=%.1f plain_ns=%.1f overhead_percent=%.2f\n", eight_on, eight_off,
           100 * (eight_on - eight_off) / eight_off);
    double percent = 100 * difference / plain;
    printf("metrics: overhead_percent=%.2f counted_ns=%.1f plain_ns=%.1f difference_ns=%.1f "
           "allocations=%llu\n",
           percent, counted, plain, difference, allocations);
    const char *most = getenv("OVERHEAD_MOST");
    return percent > (most != NULL ? atof(most) : 3) || allocations != 0;
}
