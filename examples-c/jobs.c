/* An engine's own job system does the work: no thread of Inferno's is alive.
 *
 *   jobs MODEL.onnx[@DIMS] [THREADS [RUNS]]     such as ResNet-50; DIMS of its input, if open
 *
 *   cc -std=c11 jobs.c -I../include -L../target/release -linferno -lpthread -o jobs */

#define _POSIX_C_SOURCE 200809L

#include <dirent.h>
#include <time.h>

#include "check.h"
#include "job_system.h"

/* The engine's side of inferno_host_jobs. */
static void run_jobs(void *user_data, uint32_t count, inferno_job_function job, void *job_data) {
  jobs_run(user_data, count, job, job_data);
}

static int threads_here(void) {
  int count = 0;
  DIR *folder = opendir("/proc/self/task");
  if (!folder) return -1;
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) count += entry->d_name[0] != '.';
  closedir(folder);
  return count;
}

static double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static inferno_session *open_session(const inferno_model *model, uint32_t threads,
                                     const inferno_input_shape *shape, size_t shapes) {
  inferno_session_options options;
  inferno_session *session;
  inferno_tensor x;
  CHECK(inferno_session_options_init(&options, sizeof options));
  options.threads = threads;
  options.shapes = shape;
  options.shape_count = shapes;
  CHECK(inferno_session_new(model, &options, &session));
  CHECK(inferno_session_prepare(session));
  CHECK(inferno_session_input(session, 0, &x));
  float *values = x.data;
  for (size_t i = 0; i < x.size_bytes / sizeof *values; i++) {
    values[i] = (float)(i * 37 % 101) / 50.0f - 1.0f;
  }
  CHECK(inferno_session_run(session, NULL));
  return session;
}

static double best_ms(inferno_session *session, int runs) {
  double best = 0;
  for (int i = 0; i < runs; i++) {
    double begun = now_ms();
    CHECK(inferno_session_run(session, NULL));
    double took = now_ms() - begun;
    if (i == 0 || took < best) best = took;
  }
  return best;
}

int main(int argc, char **argv) {
  if (argc < 2 || argc > 4) {
    fprintf(stderr, "usage: jobs MODEL.onnx[@DIMS] [THREADS [RUNS]]\n");
    return 2;
  }
  int threads = argc > 2 ? atoi(argv[2]) : 2, runs = argc > 3 ? atoi(argv[3]) : 10;
  if (threads < 1 || threads > JOBS_MOST_THREADS || runs < 1) {
    fprintf(stderr, "jobs: expected 1 to %d threads, and runs\n", JOBS_MOST_THREADS);
    return 2;
  }
  /* The main thread works while it waits: it is one of them. */
  jobs_system *system = jobs_start(threads - 1);
  if (!system) return 1;
  inferno_host_jobs jobs = {sizeof jobs, system, run_jobs};
  inferno_runtime_options options;
  CHECK(inferno_runtime_options_init(&options, sizeof options));
  options.jobs = &jobs;
  CHECK(inferno_init(&options));

  inferno_model *model;
  inferno_tensor one, many;
  inferno_tensor_info x;
  inferno_input_shape shape;
  size_t shapes = dims_of(argv[1], &shape);
  CHECK(inferno_model_load(argv[1], NULL, &model));
  CHECK(inferno_model_input(model, 0, &x));
  shape.input = x.name;
  inferno_session *alone = open_session(model, 1, &shape, shapes);
  inferno_session *together = open_session(model, (uint32_t)threads, &shape, shapes);
  double alone_ms = best_ms(alone, runs), together_ms = best_ms(together, runs);
  int here = threads_here();
  CHECK(inferno_session_output(alone, 0, &one));
  CHECK(inferno_session_output(together, 0, &many));
  int is_same = one.size_bytes == many.size_bytes && memcmp(one.data, many.data, one.size_bytes) == 0;

  printf("one thread: %.2f ms, %d with the engine's jobs: %.2f ms, %.2f times as fast\n", alone_ms,
         threads, together_ms, alone_ms / together_ms);
  printf("jobs: threads=%d engine=%d inferno=%d stolen=%u same_bits=%d\n", here, threads,
         here - threads, atomic_load(&system->stolen), is_same);
  CHECK(inferno_session_free(alone));
  CHECK(inferno_session_free(together));
  CHECK(inferno_model_free(model));
  CHECK(inferno_shutdown());
  jobs_end(system);
  return is_same && here == threads ? 0 : 1;
}
