/* inferno bench, inferno profile: how long runs take, and where the time goes. */

#define _POSIX_C_SOURCE 200809L

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

enum { MOST_TIMES = 1 << 20, WARM_UP = 5 };

static int ascending(const void *one, const void *other) {
  const double a = *(const double *)one, b = *(const double *)other;
  return (a > b) - (a < b);
}

/* The smallest time that this share of the runs did not go past. */
static double percentile(const double *times, size_t count, double share) {
  size_t rank = (size_t)(share * (double)count);
  if ((double)rank < share * (double)count) rank++;
  return times[rank > 0 ? rank - 1 : 0];
}

/* A bar on a terminal, at most ten times a second. */
static void put_progress(double done) {
  static double last;
  const double now = now_ns();
  char bar[41];
  if (!isatty(2) || (now - last < 1e8 && done < 1)) return;
  last = now;
  done = done < 1 ? done : 1;
  memset(bar, '.', 40);
  memset(bar, '#', (size_t)(done * 40));
  bar[40] = '\0';
  fprintf(stderr, "\r[%s] %3.0f %%%s", bar, done * 100, done < 1 ? "" : "\r\033[K");
}

struct timing {
  double *times;
  size_t count;
  double elapsed_ns;
};

static int measure(const struct arguments *arguments, inferno_session *session, struct timing *timing) {
  const double most_ns = arguments->seconds * 1e9, begin = now_ns();
  const size_t most = arguments->runs > 0 && arguments->runs < MOST_TIMES ? arguments->runs : MOST_TIMES;
  double before = begin;
  for (timing->count = 0; timing->count < most; before = now_ns()) {
    double after;
    if (failed("run", inferno_session_run(session, NULL))) return -1;
    after = now_ns();
    timing->times[timing->count++] = after - before;
    put_progress(arguments->runs > 0 ? (double)timing->count / (double)most : (after - begin) / most_ns);
    if (arguments->runs == 0 && after - begin > most_ns && timing->count >= 3) break;
  }
  put_progress(1);
  timing->elapsed_ns = now_ns() - begin;
  return 0;
}

static void put_named_time(const char *what, double ns) {
  printf("%-10s", what);
  put_time(stdout, ns);
  putchar('\n');
}

static void report(const struct timing *timing, const struct opened *opened, const inferno_memory_stats *before,
                   const inferno_memory_stats *after) {
  const double *times = timing->times;
  const size_t count = timing->count;
  double sum = 0;
  for (size_t i = 0; i < count; i++) sum += times[i];
  put_named_time("load", opened->load_ns);
  put_named_time("compile", opened->prepare_ns);
  printf("%-10s%zu in %.2f s, %.1f a second\n", "runs", count, timing->elapsed_ns / 1e9,
         (double)count / (timing->elapsed_ns / 1e9));
  put_named_time("mean", sum / (double)count);
  put_named_time("min", times[0]);
  put_named_time("p50", percentile(times, count, 0.5));
  put_named_time("p90", percentile(times, count, 0.9));
  put_named_time("p99", percentile(times, count, 0.99));
  put_named_time("p99.9", percentile(times, count, 0.999));
  put_named_time("max", times[count - 1]);
  printf("%-10s", "memory");
  put_bytes(stdout, (double)after->live_bytes);
  fputs(" (peak ", stdout);
  put_bytes(stdout, (double)after->peak_bytes);
  printf("); of the system asked %llu times in these runs\n",
         (unsigned long long)(after->source_calls - before->source_calls));
  printf("bench: runs=%zu p50_us=%.3f p90_us=%.3f p99_us=%.3f p999_us=%.3f max_us=%.3f\n", count,
         percentile(times, count, 0.5) / 1e3, percentile(times, count, 0.9) / 1e3, percentile(times, count, 0.99) / 1e3,
         percentile(times, count, 0.999) / 1e3, times[count - 1] / 1e3);
}

int bench(const struct arguments *arguments) {
  struct opened opened;
  struct timing timing;
  inferno_memory_stats before, after;
  int bad = 0;
  memset(&before, 0, sizeof before);
  memset(&after, 0, sizeof after);
  before.struct_size = after.struct_size = sizeof before;
  if (open_session(arguments, &opened, NULL) != 0) return 1;
  timing.times = malloc(MOST_TIMES * sizeof *timing.times);
  if (timing.times == NULL) bad = complain("bench", "no memory");
  else memset(timing.times, 0, MOST_TIMES * sizeof *timing.times); /* its pages are there before the runs */
  for (int i = 0; i < WARM_UP && !bad; i++) bad = failed("run", inferno_session_run(opened.session, NULL));
  bad = bad || failed("memory", inferno_memory_get_stats(&before)) ||
        measure(arguments, opened.session, &timing) != 0 || failed("memory", inferno_memory_get_stats(&after));
  if (!bad) {
    qsort(timing.times, timing.count, sizeof *timing.times, ascending);
    report(&timing, &opened, &before, &after);
  }
  free(timing.times);
  close_opened(&opened);
  return bad != 0;
}

int profile(const struct arguments *arguments) {
  inferno_status (*copy)(inferno_session *, char *, size_t, size_t *) =
      arguments->is_json ? inferno_profile_copy_json : inferno_profile_copy_table;
  unsigned long runs = arguments->runs > 0 ? arguments->runs : 100;
  struct opened opened;
  size_t needed = 0;
  char *text = NULL;
  int bad = 0;
  if (open_session(arguments, &opened, NULL) != 0) return 1;
  for (int i = 0; i < WARM_UP && !bad; i++) bad = failed("run", inferno_session_run(opened.session, NULL));
  bad = bad || failed("profile", inferno_profile_set_enabled(opened.session, 1));
  for (unsigned long i = 0; i < runs && !bad; i++) {
    bad = failed("run", inferno_session_run(opened.session, NULL));
    put_progress((double)(i + 1) / (double)runs);
  }
  bad = bad || failed("profile", copy(opened.session, NULL, 0, &needed));
  if (!bad && (text = malloc(needed)) == NULL) bad = complain("profile", "no memory");
  if (!bad && (bad = failed("profile", copy(opened.session, text, needed, &needed))) == 0) {
    put_text(stdout, text);
    putchar('\n');
  }
  free(text);
  close_opened(&opened);
  return bad != 0;
}
