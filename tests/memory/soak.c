/*
 * A long day in small: runs across eight sessions on two threads, while sessions and models come and
 * go and shapes change, and what stays resident is printed over time.
 *
 *   soak MODELS RUNS          MODELS is the folder with the models, RUNS how many in all
 *
 * A warm-up of 200,000 runs goes before; what is held at its end, after a shutdown, is what may be held
 * at the end of all. Time is as short as the day: what lies idle goes back after DECAY_MS, not after ten
 * seconds, so that what a rare load needed is not taken for what runs hold.
 *
 * Two things are compared of the second quarter and the last: the median of what is resident, which the
 * pool's free pages are part of, and the least that is after a trim, which is what lives and what lies
 * between. What leaks, or breaks into pieces, shows in the latter; the former also grows once when loads
 * on both threads first need the most at a time. Ends in
 *   soak: runs=… sessions=… loads=… resident_growth_percent=… trimmed_growth_percent=… leaked_bytes=…
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#define _XOPEN_SOURCE 700

#include "args.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 8, THREADS = 2, BURST = 100, SHOWN = 20, TRIMS = 4, WARM_UP = 200000, DECAY_MS = 50 };

/* What each session runs; %d is its batch, another one each time it is made. */
static const struct kind {
    const char *file, *words[4];
} kinds[] = {
    {"policy_mlp.onnx", {"observation=%d,64"}},
    {"digits.onnx", {"image=%d,64"}},
    {"convnet_dynamic.onnx", {"image=%d,3,32,32"}},
    {"silero_vad.onnx", {"input=%d,576", "state=2,%d,128", "state:stateN", "sr@16000"}},
};
static const int kind_of_slot[SLOTS] = {0, 0, 0, 0, 1, 1, 2, 3};

static struct slot {
    pthread_mutex_t lock;
    inferno_session *session;
    double sum;
} slots[SLOTS];

static const char *folder;
static atomic_long left, done, made, loads, broken;

static uint64_t next(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* A session of a model of its own, with some batch. */
static inferno_session *fresh(int kind, uint64_t *state) {
    int batch = 1 + (int)(next(state) % 4), count = 0;
    char path[1024], words[MOST_WORDS][64], *list[MOST_WORDS];
    snprintf(path, sizeof path, "%s/%s", folder, kinds[kind].file);
    for (; count < 4 && kinds[kind].words[count] != NULL; count++) {
        /* The one %d, where there is one, is the batch. */
        const char *word = kinds[kind].words[count], *at = strchr(word, '%');
        if (at == NULL) {
            snprintf(words[count], sizeof words[count], "%s", word);
        } else {
            snprintf(words[count], sizeof words[count], "%.*s%d%s", (int)(at - word), word, batch,
                     at + 2);
        }
        list[count] = words[count];
    }
    inferno_model *model = NULL;
    must(inferno_model_load(path, NULL, &model), path);
    inferno_session *session = session_of(model, list, count);
    must(inferno_model_free(model), "model");
    atomic_fetch_add(&loads, 1);
    atomic_fetch_add(&made, 1);
    return session;
}

static void *work(void *number) {
    uint64_t state = 77 + (uintptr_t)number;
    while (atomic_fetch_sub(&left, BURST) > 0) {
        struct slot *slot;
        do {
            slot = &slots[next(&state) % SLOTS];
        } while (pthread_mutex_trylock(&slot->lock) != 0);
        if (slot->session == NULL || next(&state) % 10 == 0) {
            /* Made by this thread or the other one. */
            must(inferno_session_free(slot->session), "free");
            slot->session = fresh(kind_of_slot[slot - slots], &state);
        }
        inferno_tensor input, output;
        must(inferno_session_input(slot->session, 0, &input), "input");
        for (int run = 0; run < BURST; run++) {
            ((float *)input.data)[0] = (float)(run % 5);
            must(inferno_session_run(slot->session, NULL), "run");
        }
        must(inferno_session_output(slot->session, 0, &output), "output");
        for (size_t i = 0; i < output.size_bytes / sizeof(float); i++) {
            slot->sum += (double)((const float *)output.data)[i];
        }
        if (slot->sum != slot->sum) {
            atomic_fetch_add(&broken, 1);
        }
        pthread_mutex_unlock(&slot->lock);
        atomic_fetch_add(&done, BURST);
    }
    return NULL;
}

static long resident_kib(void) {
    long pages = 0, ignored = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%ld %ld", &ignored, &pages) != 2) {
        pages = 0;
    }
    if (file != NULL) {
        fclose(file);
    }
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* What was resident in a quarter of a spell, a few hundred times a second. */
struct quarter {
    long kib[1 << 16];
    size_t count;
    /* The least after a trim. */
    long least;
};

static int by_size(const void *a, const void *b) {
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

static long median(struct quarter *quarter) {
    qsort(quarter->kib, quarter->count, sizeof *quarter->kib, by_size);
    return quarter->kib[quarter->count / 2];
}

/* What is told of a quarter. */
struct told {
    long median, least;
};

/* So many runs; what was resident in the second quarter and in the last. */
static void spell(long runs, int show, struct told *early, struct told *late) {
    static struct quarter quarters[4];
    inferno_runtime_options options;
    must(inferno_runtime_options_init(&options, sizeof options), "options");
    options.memory_decay_ms = DECAY_MS;
    must(inferno_init(&options), "init");
    atomic_store(&left, runs);
    atomic_store(&done, 0);
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], NULL, work, (void *)i) != 0) {
            exit(1);
        }
    }
    for (int i = 0; i < 4; i++) {
        quarters[i].count = 0;
        quarters[i].least = LONG_MAX;
    }
    for (long shown = 0, trims = 0, ran = 0; ran < runs;) {
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        ran = atomic_load(&done);
        struct quarter *quarter = &quarters[ran < runs ? ran * 4 / runs : 3];
        long now = resident_kib();
        if (quarter->count < sizeof quarter->kib / sizeof *quarter->kib) {
            quarter->kib[quarter->count++] = now;
        }
        if (show && ran * SHOWN / runs > shown) {
            inferno_memory_stats stats = held();
            shown = ran * SHOWN / runs;
            printf("%9ld runs  %7ld KiB resident  %6llu KiB live  %6llu KiB committed  %5llu KiB cached\n",
                   ran, now, (unsigned long long)stats.live_bytes / 1024,
                   (unsigned long long)stats.committed_bytes / 1024,
                   (unsigned long long)stats.cached_bytes / 1024);
            fflush(stdout);
        }
        if (ran * SHOWN * TRIMS / runs > trims) {
            trims = ran * SHOWN * TRIMS / runs;
            must(inferno_memory_trim(), "trim");
            now = resident_kib();
            quarter->least = now < quarter->least ? now : quarter->least;
        }
    }
    *early = (struct told){median(&quarters[1]), quarters[1].least};
    *late = (struct told){median(&quarters[3]), quarters[3].least};
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    for (int i = 0; i < SLOTS; i++) {
        must(inferno_session_free(slots[i].session), "free");
        slots[i].session = NULL;
    }
    must(inferno_shutdown(), "shutdown");
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "soak MODELS RUNS\n");
        return 2;
    }
    folder = argv[1];
    long runs = strtol(argv[2], NULL, 10);
    struct told early, late;
    for (int i = 0; i < SLOTS; i++) {
        pthread_mutex_init(&slots[i].lock, NULL);
    }
    spell(WARM_UP, 0, &early, &late);
    inferno_memory_stats before = held();
    atomic_store(&made, 0);
    atomic_store(&loads, 0);
    spell(runs, 1, &early, &late);
    inferno_memory_stats after = held();
    long long leaked = (long long)(after.live_bytes - before.live_bytes);
    double growth = 100.0 * (double)(late.median - early.median) / (double)early.median;
    double trimmed = 100.0 * (double)(late.least - early.least) / (double)early.least;
    printf("soak: runs=%ld sessions=%ld loads=%ld resident_growth_percent=%.1f "
           "trimmed_growth_percent=%.1f leaked_bytes=%lld\n",
           atomic_load(&done), atomic_load(&made), atomic_load(&loads), growth, trimmed, leaked);
    return leaked != 0 || trimmed > 5.0 || growth > 25.0 || atomic_load(&broken) != 0;
}
