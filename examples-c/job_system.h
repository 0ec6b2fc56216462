/* A small job system, as an engine has: threads that take work from each other.
 *
 * A batch of jobs is one function to be called with every index below a count. Who
 * asks puts the whole range into a queue of its own; a thread takes ranges from
 * the end of its own queue and from the front of the others', halves what it took as
 * long as it is more than one job, and does the last one. Who waits for a batch
 * works meanwhile. */

#ifndef JOB_SYSTEM_H
#define JOB_SYSTEM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

enum { JOBS_MOST_THREADS = 32, JOBS_QUEUE = 256 };

typedef void (*jobs_function)(void *data, uint32_t index);

typedef struct {
  jobs_function function;
  void *data;
  atomic_uint left;
} jobs_batch;

typedef struct {
  jobs_batch *batch;
  uint32_t first, end;
} jobs_range;

/* A queue under a lock of its own: held for a few instructions, by its thread
 * and seldom by another. */
typedef struct {
  pthread_mutex_t lock;
  jobs_range ranges[JOBS_QUEUE];
  uint32_t front, end;
} jobs_queue;

typedef struct {
  /* The last one is for threads that are not the system's. */
  jobs_queue queues[JOBS_MOST_THREADS + 1];
  pthread_t threads[JOBS_MOST_THREADS];
  int count;
  pthread_mutex_t lock;
  pthread_cond_t more;
  atomic_uint ranges; /* in all queues */
  int ends;           /* under `lock` */
  atomic_uint stolen;
} jobs_system;

static _Thread_local int jobs_own = -1;

static inline jobs_queue *jobs_own_queue(jobs_system *system) {
  return &system->queues[jobs_own < 0 ? JOBS_MOST_THREADS : jobs_own];
}

/* False when the queue is full. */
static inline int jobs_push(jobs_system *system, jobs_range range) {
  jobs_queue *queue = jobs_own_queue(system);
  pthread_mutex_lock(&queue->lock);
  int fits = queue->end - queue->front < JOBS_QUEUE;
  if (fits) queue->ranges[queue->end++ % JOBS_QUEUE] = range;
  pthread_mutex_unlock(&queue->lock);
  if (fits && atomic_fetch_add(&system->ranges, 1) == 0) {
    /* Somebody may be about to sleep: not between its look and its sleep. */
    pthread_mutex_lock(&system->lock);
    pthread_cond_broadcast(&system->more);
    pthread_mutex_unlock(&system->lock);
  }
  return fits;
}

static inline int jobs_take_from(jobs_system *system, jobs_queue *queue, int is_own,
                                 jobs_range *range) {
  pthread_mutex_lock(&queue->lock);
  int found = queue->front != queue->end;
  if (found) *range = queue->ranges[(is_own ? --queue->end : queue->front++) % JOBS_QUEUE];
  pthread_mutex_unlock(&queue->lock);
  if (found) atomic_fetch_sub(&system->ranges, 1);
  return found;
}

/* Takes a range: one's own newest, or another's oldest. */
static inline int jobs_take(jobs_system *system, jobs_range *range) {
  if (atomic_load(&system->ranges) == 0) return 0;
  jobs_queue *own = jobs_own_queue(system);
  if (jobs_take_from(system, own, 1, range)) return 1;
  int first = jobs_own < 0 ? 0 : jobs_own + 1;
  for (int i = 0; i <= system->count; i++) {
    int at = (first + i) % (system->count + 1);
    jobs_queue *queue = &system->queues[at == system->count ? JOBS_MOST_THREADS : at];
    if (queue != own && jobs_take_from(system, queue, 0, range)) {
      atomic_fetch_add(&system->stolen, 1);
      return 1;
    }
  }
  return 0;
}

/* Does one job of a range, and leaves the rest to whoever comes. */
static inline void jobs_do(jobs_system *system, jobs_range range) {
  jobs_batch *batch = range.batch;
  while (range.end - range.first > 1) {
    uint32_t middle = range.first + (range.end - range.first) / 2;
    jobs_range rest = {batch, middle, range.end};
    if (!jobs_push(system, rest)) break;
    range.end = middle;
  }
  for (uint32_t i = range.first; i < range.end; i++) batch->function(batch->data, i);
  /* The batch may go when the last one is counted. */
  atomic_fetch_sub_explicit(&batch->left, range.end - range.first, memory_order_release);
}

typedef struct {
  jobs_system *system;
  int number;
} jobs_seat;

static inline void *jobs_worker(void *given) {
  jobs_seat seat = *(jobs_seat *)given;
  jobs_system *system = seat.system;
  free(given);
  jobs_own = seat.number;
  for (;;) {
    jobs_range range;
    if (jobs_take(system, &range)) {
      jobs_do(system, range);
      continue;
    }
    pthread_mutex_lock(&system->lock);
    while (atomic_load(&system->ranges) == 0 && !system->ends) {
      pthread_cond_wait(&system->more, &system->lock);
    }
    int ends = system->ends;
    pthread_mutex_unlock(&system->lock);
    if (ends) return NULL;
  }
}

/* Calls `function(data, i)` for every i below `count`; returns when all have ended. */
static inline void jobs_run(jobs_system *system, uint32_t count, jobs_function function,
                            void *data) {
  jobs_batch batch = {function, data, count};
  jobs_range range = {&batch, 0, count};
  if (count == 0) return;
  jobs_do(system, range);
  while (atomic_load_explicit(&batch.left, memory_order_acquire) > 0) {
    if (jobs_take(system, &range)) jobs_do(system, range);
  }
}

/* Starts `count` threads; the one that waits for a batch is one more. */
static inline jobs_system *jobs_start(int count) {
  jobs_system *system = calloc(1, sizeof *system);
  if (!system) return NULL;
  for (int i = 0; i <= JOBS_MOST_THREADS; i++) pthread_mutex_init(&system->queues[i].lock, NULL);
  pthread_mutex_init(&system->lock, NULL);
  pthread_cond_init(&system->more, NULL);
  system->count = count < JOBS_MOST_THREADS ? count : JOBS_MOST_THREADS;
  for (int i = 0; i < system->count; i++) {
    jobs_seat *seat = malloc(sizeof *seat);
    if (!seat) abort();
    seat->system = system;
    seat->number = i;
    if (pthread_create(&system->threads[i], NULL, jobs_worker, seat) != 0) abort();
  }
  return system;
}

static inline void jobs_end(jobs_system *system) {
  pthread_mutex_lock(&system->lock);
  system->ends = 1;
  pthread_cond_broadcast(&system->more);
  pthread_mutex_unlock(&system->lock);
  for (int i = 0; i < system->count; i++) pthread_join(system->threads[i], NULL);
  for (int i = 0; i <= JOBS_MOST_THREADS; i++) pthread_mutex_destroy(&system->queues[i].lock);
  pthread_mutex_destroy(&system->lock);
  pthread_cond_destroy(&system->more);
  free(system);
}

#endif
