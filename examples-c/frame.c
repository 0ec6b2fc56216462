/* A game's frame: 60 a second, with 500 agents that think, a microphone that is listened to, and
 * a picture that takes longer than a frame, done in slices.
 *
 *   frame [--seconds N] [--budget-ms MS] POLICY.onnx IMAGE.onnx[@DIMS] [VAD.onnx]
 *
 * Plays N seconds (60) without inference, then as many with it, and prints percentiles of what a
 * frame took. The image model gets MS milliseconds (2) of each frame. Ends in
 *
 *   frame: slice_over_budget_p999_ns=… allocations_per_frame=…
 *
 *   cc -std=c11 frame.c -I../include -L../target/release -linferno -lm -o frame */

#define _GNU_SOURCE

#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/resource.h>
#include <time.h>

#include "check.h"

enum { AGENTS = 500, RATE = 16000, CHUNK = 512, CONTEXT = 64 };
static const uint64_t FRAME_NS = 1000000000 / 60;

/* ---- What this program and the library ask the system for ------------------------------------- */

static atomic_ulong system_requests;

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *block);

void *malloc(size_t size) {
  atomic_fetch_add(&system_requests, 1);
  return __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
  atomic_fetch_add(&system_requests, 1);
  return __libc_calloc(count, size);
}
void *realloc(void *block, size_t size) {
  atomic_fetch_add(&system_requests, 1);
  return __libc_realloc(block, size);
}
void *aligned_alloc(size_t alignment, size_t size) {
  atomic_fetch_add(&system_requests, 1);
  return __libc_memalign(alignment, size);
}
int posix_memalign(void **block, size_t alignment, size_t size) {
  atomic_fetch_add(&system_requests, 1);
  *block = __libc_memalign(alignment, size);
  return *block ? 0 : 12;
}
void free(void *block) { __libc_free(block); }

/* The same, and blocks of the library's own pool. */
static uint64_t requests(void) {
  inferno_memory_stats stats;
  memset(&stats, 0, sizeof stats);
  stats.struct_size = sizeof stats;
  CHECK(inferno_memory_get_stats(&stats));
  return atomic_load(&system_requests) + stats.hits + stats.shared_hits + stats.misses;
}

/* ---- Times -------------------------------------------------------------------------------------- */

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void sleep_until(uint64_t ns) {
  struct timespec until = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

/* How often the system took the processor away from this thread. */
static long stops(void) {
  struct rusage usage;
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

typedef struct {
  const char *name;
  uint64_t *ns;
  size_t count, room;
} times;

static times times_of(const char *name, size_t room) {
  times made = {name, calloc(room, sizeof(uint64_t)), 0, room};
  if (!made.ns) exit(1);
  return made;
}

static void note(times *of, uint64_t ns) {
  if (of->count < of->room) of->ns[of->count++] = ns;
}

static int by_size(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

/* After qsort. */
static uint64_t percentile(const times *of, double part) {
  size_t at = (size_t)ceil(part * (double)of->count);
  return of->count == 0 ? 0 : of->ns[at == 0 ? 0 : at - 1];
}

static void print(times *of) {
  static const double parts[] = {0.5, 0.9, 0.99, 0.999, 1.0};
  qsort(of->ns, of->count, sizeof *of->ns, by_size);
  printf("%-22s %7zu", of->name, of->count);
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    printf(" %8.3f", (double)percentile(of, parts[i]) / 1e6);
  }
  printf("\n");
}

/* ---- The game ------------------------------------------------------------------------------------ */

/* What a frame does besides: some milliseconds of bodies that pull at each other. */
static float place[AGENTS][2], speed[AGENTS][2], wish[AGENTS][2];

static void simulate(void) {
  for (int a = 0; a < AGENTS; a++) {
    float pull[2] = {wish[a][0], wish[a][1]};
    for (int b = 0; b < AGENTS; b++) {
      float dx = place[b][0] - place[a][0], dy = place[b][1] - place[a][1];
      float near = 1.0f / sqrtf(dx * dx + dy * dy + 0.01f);
      pull[0] += dx * near * 1e-3f;
      pull[1] += dy * near * 1e-3f;
    }
    for (int i = 0; i < 2; i++) {
      speed[a][i] = 0.98f * speed[a][i] + 0.01f * pull[i];
      place[a][i] = fmodf(place[a][i] + speed[a][i], 100.0f);
    }
  }
}

/* ---- What is inferred ---------------------------------------------------------------------------- */

typedef struct {
  inferno_session *policy, *image, *vad;
  inferno_tensor observations, picture, sound;
  uint64_t budget_ns, chunks;
  unsigned pictures, is_under_way;
  times policy_times, vad_times, slice_times, over, over_alone;
} brain;

/* A shape without a name is the first input's. */
static inferno_session *open_session(const char *path, inferno_input_shape *shapes,
                                     size_t shape_count, const inferno_state_pair *state) {
  static int64_t rate = RATE;
  inferno_input_constant constant;
  inferno_session_options options;
  inferno_model *model;
  inferno_session *session;
  inferno_tensor_info first;
  size_t at;
  CHECK(inferno_model_load(path, NULL, &model));
  CHECK(inferno_model_input(model, 0, &first));
  if (shape_count > 0 && !shapes->input) shapes->input = first.name;
  CHECK(inferno_session_options_init(&options, sizeof options));
  options.shapes = shapes;
  options.shape_count = shape_count;
  options.states = state;
  options.state_count = state != NULL;
  memset(&constant, 0, sizeof constant);
  constant.input = "sr";
  constant.value.dtype = INFERNO_DTYPE_I64;
  constant.value.data = &rate;
  constant.value.size_bytes = sizeof rate;
  options.constants = &constant;
  options.constant_count = inferno_model_input_index(model, "sr", &at) == INFERNO_STATUS_OK;
  CHECK(inferno_session_new(model, &options, &session));
  CHECK(inferno_session_prepare(session));
  CHECK(inferno_model_free(model));
  return session;
}

static void observe(const brain *of) {
  size_t width = (size_t)of->observations.dims[1];
  float *row = of->observations.data;
  for (int a = 0; a < AGENTS; a++, row += width) {
    for (size_t i = 0; i < width; i++) row[i] = place[(a + (int)i / 4) % AGENTS][i % 2] * 0.01f;
  }
}

static void think(brain *of) {
  uint64_t begun = now_ns();
  inferno_tensor actions;
  observe(of);
  CHECK(inferno_session_run(of->policy, NULL));
  CHECK(inferno_session_output(of->policy, 0, &actions));
  size_t width = (size_t)actions.dims[1];
  const float *row = actions.data;
  for (int a = 0; a < AGENTS; a++, row += width) {
    wish[a][0] = row[0];
    wish[a][1] = row[width - 1];
  }
  note(&of->policy_times, now_ns() - begun);
}

/* As many chunks of sound as have come by now. */
static void listen(brain *of, uint64_t played_ns) {
  while (of->vad && of->chunks * CHUNK * 1000000000 / RATE <= played_ns) {
    uint64_t begun = now_ns();
    inferno_tensor speech;
    float *sound = of->sound.data;
    memmove(sound, sound + CHUNK, CONTEXT * sizeof *sound);
    for (int i = 0; i < CHUNK; i++) {
      sound[CONTEXT + i] = 0.1f * sinf((float)(of->chunks * CHUNK + (uint64_t)i) * 0.05f);
    }
    CHECK(inferno_session_run(of->vad, NULL));
    CHECK(inferno_session_output(of->vad, 0, &speech));
    of->chunks++;
    note(&of->vad_times, now_ns() - begun);
  }
}

/* A slice of the picture; a new one when that is done. */
static void look(brain *of) {
  int32_t finished = 0;
  if (!of->is_under_way) {
    float *pixels = of->picture.data;
    size_t count = of->picture.size_bytes / sizeof *pixels;
    for (size_t i = 0; i < count; i += 64) pixels[i] = (float)((i + of->pictures) % 255) / 255.0f;
  }
  long stopped = stops();
  uint64_t begun = now_ns();
  CHECK(inferno_session_run_for(of->image, of->budget_ns, &finished));
  uint64_t took = now_ns() - begun, over = took > of->budget_ns ? took - of->budget_ns : 0;
  note(&of->slice_times, took);
  note(&of->over, over);
  if (stops() == stopped) note(&of->over_alone, over);
  of->is_under_way = !finished;
  of->pictures += finished == 1;
}

static brain open_brain(char **paths, int count, uint64_t budget_ns, size_t frames) {
  brain made;
  inferno_input_shape agents = {"observation", 2, {AGENTS, 64}};
  inferno_input_shape stream[2] = {{"input", 2, {1, CONTEXT + CHUNK}},
                                   {"state", 3, {2, 1, 128}}};
  const inferno_state_pair state = {"state", "stateN"};
  memset(&made, 0, sizeof made);
  made.budget_ns = budget_ns;
  made.policy = open_session(paths[0], &agents, 1, NULL);
  inferno_input_shape picture = {NULL, 0, {0}};
  size_t shapes = dims_of(paths[1], &picture);
  made.image = open_session(paths[1], &picture, shapes, NULL);
  made.policy_times = times_of("  policy, 500 agents", frames);
  made.slice_times = times_of("  slice of the image", frames);
  made.over = times_of("", frames);
  made.over_alone = times_of("", frames);
  CHECK(inferno_session_input(made.policy, 0, &made.observations));
  CHECK(inferno_session_input(made.image, 0, &made.picture));
  if (count > 2) {
    made.vad = open_session(paths[2], stream, 2, &state);
    made.vad_times = times_of("  voice, 31 a second", frames);
    CHECK(inferno_session_input(made.vad, 0, &made.sound));
  }
  return made;
}

/* Plays so many frames; what they took, without the sleep. */
static uint64_t play(size_t frames, brain *of, times *taken) {
  uint64_t begin = now_ns(), before = requests();
  for (size_t frame = 0; frame < frames; frame++) {
    uint64_t due = begin + frame * FRAME_NS;
    sleep_until(due);
    uint64_t begun = now_ns();
    if (of) {
      think(of);
      listen(of, frame * FRAME_NS);
      look(of);
    }
    simulate();
    note(taken, now_ns() - begun);
  }
  return requests() - before;
}

int main(int argc, char **argv) {
  double seconds = 60, budget_ms = 2;
  int at = 1;
  for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
    if (strcmp(argv[at], "--seconds") == 0) seconds = atof(argv[at + 1]);
    else if (strcmp(argv[at], "--budget-ms") == 0) budget_ms = atof(argv[at + 1]);
    else break;
  }
  if (argc - at < 2 || argc - at > 3 || !(seconds > 0) || !(budget_ms > 0)) {
    fprintf(stderr,
            "usage: frame [--seconds N] [--budget-ms MS] POLICY.onnx IMAGE.onnx[@DIMS] [VAD.onnx]\n");
    return 2;
  }
  size_t frames = (size_t)ceil(seconds * 60), warm = 60;
  for (int a = 0; a < AGENTS; a++) {
    for (int i = 0; i < 2; i++) place[a][i] = (float)((a * (37 + 24 * i)) % 101);
  }
  brain of = open_brain(argv + at, argc - at, (uint64_t)(budget_ms * 1e6), frames + warm);
  times without = times_of("without inference", frames), with = times_of("with inference", frames);

  /* While the level loads: what the parts of the picture take is measured. */
  times loading = times_of("", warm);
  while (of.pictures < 2) look(&of);
  play(warm, &of, &loading);
  of.policy_times.count = of.vad_times.count = of.slice_times.count = 0;
  of.over.count = of.over_alone.count = 0;
  of.pictures = 0;
  of.chunks = 0;

  play(frames, NULL, &without);
  uint64_t asked = play(frames, &of, &with);

  printf("%-22s %7s %8s %8s %8s %8s %8s\n", "ms", "count", "p50", "p90", "p99", "p99.9", "max");
  print(&without);
  print(&with);
  print(&of.policy_times);
  if (of.vad) print(&of.vad_times);
  print(&of.slice_times);
  qsort(of.over.ns, of.over.count, sizeof *of.over.ns, by_size);
  qsort(of.over_alone.ns, of.over_alone.count, sizeof *of.over_alone.ns, by_size);
  printf("%u pictures, one every %.1f frames\n", of.pictures,
         of.pictures ? (double)frames / of.pictures : 0.0);
  printf("slices over %.1f ms, p50 p99 p99.9 max: %.3f %.3f %.3f %.3f\n", budget_ms,
         (double)percentile(&of.over, 0.5) / 1e6, (double)percentile(&of.over, 0.99) / 1e6,
         (double)percentile(&of.over, 0.999) / 1e6, (double)percentile(&of.over, 1.0) / 1e6);
  printf("without the %zu in which the system took the thread's processor away: %.3f %.3f %.3f %.3f\n",
         of.over.count - of.over_alone.count, (double)percentile(&of.over_alone, 0.5) / 1e6,
         (double)percentile(&of.over_alone, 0.99) / 1e6,
         (double)percentile(&of.over_alone, 0.999) / 1e6,
         (double)percentile(&of.over_alone, 1.0) / 1e6);
  printf("frame: slice_over_budget_p999_ns=%llu allocations_per_frame=%.3f\n",
         (unsigned long long)percentile(&of.over, 0.999), (double)asked / (double)frames);
  CHECK(inferno_session_free(of.policy));
  CHECK(inferno_session_free(of.image));
  if (of.vad) CHECK(inferno_session_free(of.vad));
  CHECK(inferno_shutdown());
  return 0;
}
