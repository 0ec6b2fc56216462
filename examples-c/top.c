/* What a program's models do, live: a terminal view from a thread of its own, over
 * a demo host whose threads run models at their own pace.
 *
 *   top [--seconds N] [--interval-ms N] [--plain] [MODEL.onnx]
 *
 * The digits model is built in; MODEL.onnx, with one input "observation" [batch, 64],
 * runs beside it. --plain prints the screens one after the other, for a log.
 *
 *   cc top.c -I../include -L../target/release -linferno -lpthread -o top */

#define _XOPEN_SOURCE 700

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "check.h"

enum { MOST_MODELS = 16, HISTORY = 32, WORKERS = 3 };

static volatile sig_atomic_t stopped;

static void stop(int signal) {
  (void)signal;
  stopped = 1;
}

static void nap(double seconds) {
  struct timespec time;
  time.tv_sec = (time_t)seconds;
  time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
  nanosleep(&time, NULL);
}

/* ---- The demo host: what any program does with its models ------------------------ */

struct worker {
  inferno_model *model;
  int64_t batch;
  double pause; /* seconds between bursts */
  int burst;    /* runs of one */
  int is_odd;   /* fails now and then: runs before its shape is known */
  pthread_t thread;
};

static void *work(void *given) {
  const struct worker *worker = given;
  unsigned turn = 0;
  while (!stopped) {
    int64_t dims[2] = {1, 64};
    inferno_session *session;
    CHECK(inferno_session_new(worker->model, NULL, &session));
    dims[0] = worker->batch + turn % 2;
    if (worker->is_odd) inferno_session_run(session, NULL); /* NOT_READY: it is counted */
    CHECK(inferno_session_set_shape(session, 0, 2, dims));
    for (unsigned burst = 0; burst < 40 && !stopped; burst++) {
      /* A load that swells and ebbs. */
      int runs = worker->burst * (int)(1 + (turn * 40 + burst) / 8 % 8);
      while (runs-- > 0) CHECK(inferno_session_run(session, NULL));
      nap(worker->pause);
    }
    CHECK(inferno_session_free(session));
    turn++;
  }
  return NULL;
}

/* ---- The view ------------------------------------------------------------------- */

struct series {
  char name[INFERNO_METRICS_NAME_BYTES];
  uint64_t runs, total_ns; /* when last looked at */
  double rates[HISTORY], times[HISTORY];
  int is_seen;
};

static struct series all_series[MOST_MODELS];

static struct series *series_of(const char *name) {
  int i;
  for (i = 0; i < MOST_MODELS - 1 && all_series[i].name[0] != '\0'; i++) {
    if (strcmp(all_series[i].name, name) == 0) return &all_series[i];
  }
  strcpy(all_series[i].name, name);
  return &all_series[i];
}

static void push(double *history, double value) {
  memmove(history, history + 1, (HISTORY - 1) * sizeof *history);
  history[HISTORY - 1] = value;
}

static void sparkline(const double *history) {
  static const char *const bars[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  double most = 0;
  for (int i = 0; i < HISTORY; i++) most = history[i] > most ? history[i] : most;
  for (int i = 0; i < HISTORY; i++) {
    fputs(bars[most > 0 ? (int)(history[i] / most * 8 + 0.5) : 0], stdout);
  }
}

/* Nanoseconds with a unit that fits, in nine places. */
static void put_time(double ns) {
  if (ns < 1e4) printf("%6.0f ns", ns);
  else if (ns < 1e6) printf("%6.1f µs", ns / 1e3);
  else if (ns < 1e9) printf("%6.1f ms", ns / 1e6);
  else printf("%6.1f s ", ns / 1e9);
}

static void put_bytes(uint64_t bytes) {
  if (bytes < 10 << 10) printf("%7u B  ", (unsigned)bytes);
  else if (bytes < 10 << 20) printf("%7.1f KiB", (double)bytes / 1024);
  else printf("%7.1f MiB", (double)bytes / (1024 * 1024));
}

static void put_model(const inferno_metrics *model, double elapsed) {
  struct series *series = series_of(model->name);
  uint64_t runs = model->runs - series->runs, ns = model->run_total_ns - series->total_ns;
  double rate = series->is_seen ? (double)runs / elapsed : 0;
  push(series->rates, rate);
  push(series->times, series->is_seen && runs > 0 ? (double)ns / (double)runs : 0);
  series->runs = model->runs;
  series->total_ns = model->run_total_ns;
  series->is_seen = 1;
  printf("\033[1m%-18.18s\033[0m %3u %4u %10.0f ", model->name, (unsigned)model->version,
         (unsigned)model->sessions, rate);
  put_time((double)model->run_p50_ns);
  put_time((double)model->run_p99_ns);
  put_time((double)model->run_p999_ns);
  put_time((double)model->run_max_ns);
  printf(model->failures > 0 ? " \033[31m%6u\033[0m" : " %6u", (unsigned)model->failures);
  put_bytes(model->live_bytes);
  printf("\033[K\n  runs/s \033[32m");
  sparkline(series->rates);
  printf("\033[0m  mean time \033[33m");
  sparkline(series->times);
  printf("\033[0m\033[K\n");
}

static void screen(double elapsed) {
  static double memory[HISTORY];
  inferno_metrics all = {0}, model = {0};
  all.struct_size = model.struct_size = sizeof all;
  CHECK(inferno_metrics_snapshot(&all));
  push(memory, (double)all.live_bytes);
  printf("\033[7m Inferno %s   up %.1f s   %u models, %u sessions, %u loads   %.0f runs \033[0m\033[K\n\n",
         inferno_version_string(), (double)all.uptime_ns / 1e9, (unsigned)all.models,
         (unsigned)all.sessions, (unsigned)all.loads, (double)all.runs);
  printf("\033[4m%-18s %3s %4s %10s %9s%9s%9s%9s %6s%11s\033[0m\033[K\n", "MODEL", "VER", "SESS",
         "RUNS/S", "P50", "P99", "P99.9", "MAX", "FAILED", "MEMORY");
  for (size_t i = 0; inferno_metrics_model(i, &model) == INFERNO_STATUS_OK; i++) {
    put_model(&model, elapsed);
  }
  printf("\n\033[4m%-80s\033[0m\033[K\nheld     ", "MEMORY");
  put_bytes(all.live_bytes);
  printf("  peak");
  put_bytes(all.peak_bytes);
  printf("  pool");
  put_bytes(all.committed_bytes);
  printf("   \033[36m");
  sparkline(memory);
  printf("\033[0m\033[K\npool     hits %u, shared %u, misses %u, system calls %u\033[K\n",
         (unsigned)all.pool_hits, (unsigned)all.pool_shared_hits, (unsigned)all.pool_misses,
         (unsigned)all.pool_source_calls);
  printf("programs %u compiled, %u found   events %u recorded, %u dropped\033[K\n",
         (unsigned)all.programs_compiled, (unsigned)all.programs_reused,
         (unsigned)all.events_recorded, (unsigned)all.events_dropped);
}

struct view {
  double seconds, interval;
  int is_plain;
};

static void *watch(void *given) {
  const struct view *view = given;
  for (double shown = 0; !stopped && (view->seconds <= 0 || shown < view->seconds);
       shown += view->interval) {
    if (!view->is_plain) fputs("\033[H", stdout);
    screen(view->interval);
    if (!view->is_plain) fputs("\033[J", stdout);
    fflush(stdout);
    nap(view->interval);
  }
  stopped = 1;
  return NULL;
}

int main(int argc, char **argv) {
  struct view view = {0, 0.5, 0};
  struct worker workers[WORKERS] = {{NULL, 1, 0.002, 60, 0, 0}, {NULL, 1, 0.004, 30, 1, 0}};
  inferno_model *digits, *other = NULL;
  pthread_t viewer;
  int count = 1;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--plain") == 0) view.is_plain = 1;
    else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) view.seconds = atof(argv[++i]);
    else if (strcmp(argv[i], "--interval-ms") == 0 && i + 1 < argc)
      view.interval = atof(argv[++i]) / 1e3;
    else if (argv[i][0] != '-') CHECK(inferno_model_load(argv[i], NULL, &other));
    else {
      fprintf(stderr, "top [--seconds N] [--interval-ms N] [--plain] [MODEL.onnx]\n");
      return 2;
    }
  }
  CHECK(inferno_model_load_default(&digits));
  workers[0].model = digits;
  if (other != NULL) workers[count++].model = other;
  signal(SIGINT, stop);
  signal(SIGTERM, stop);
  for (int i = 0; i < count; i++) {
    if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) return 1;
  }
  if (!view.is_plain) fputs("\033[?25l\033[2J", stdout);
  if (pthread_create(&viewer, NULL, watch, &view) != 0) return 1;
  pthread_join(viewer, NULL);
  for (int i = 0; i < count; i++) pthread_join(workers[i].thread, NULL);
  if (!view.is_plain) fputs("\033[?25h\n", stdout);
  CHECK(inferno_shutdown());
  return 0;
}
