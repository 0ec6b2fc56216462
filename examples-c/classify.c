/* Image classification with the built-in model: which digit does a picture show?
 *
 *   classify HELDOUT IMAGE.pgm ...
 *
 * For every image (PGM, P2 or P5, of any size): label, confidence, latency of a run.
 * Then the accuracy on HELDOUT: images the model has not seen in training.
 *
 *   cc classify.c -I../include -L../target/release -linferno -o classify */

#define _POSIX_C_SOURCE 199309L /* clock_gettime */

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"

enum { PIXELS = 64, DIGITS = 10, WARM_UP = 200, RUNS = 2001 };

static void die(const char *path, const char *why) {
  fprintf(stderr, "%s: %s\n", path, why);
  exit(1);
}

static FILE *open_file(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file) die(path, "cannot be opened");
  return file;
}

/* ---- one picture ---- */

/* A number of a PGM header or of a P2 body, comments skipped; -1 when there is none. */
static int pgm_number(FILE *file) {
  int c = fgetc(file);
  while (isspace(c) || c == '#') {
    if (c == '#') {
      while (c != '\n' && c != EOF) c = fgetc(file);
    }
    c = fgetc(file);
  }
  if (!isdigit(c)) return -1;
  int number = 0;
  for (; isdigit(c) && number < 100000; c = fgetc(file)) number = number * 10 + (c - '0');
  return number; /* the one white space after it is eaten */
}

enum { MOST_PIXELS = 1024 * 1024 };

/* Reads a picture of any size into the model's input: 8×8 floats, 0 is paper, 16 is ink. */
static void read_pgm(const char *path, float *image) {
  static uint8_t pixels[MOST_PIXELS];
  FILE *file = open_file(path);
  int magic = fgetc(file) == 'P' ? fgetc(file) : 0;
  if (magic != '2' && magic != '5') die(path, "is no PGM (P2 or P5)");
  int width = pgm_number(file), height = pgm_number(file), maximum = pgm_number(file);
  if (width < 1 || height < 1 || width > MOST_PIXELS / height) die(path, "has no pixels, or too many");
  if (maximum < 1 || maximum > 255) die(path, "has no maximum from 1 to 255");
  for (int i = 0; i < width * height; i++) {
    int value = magic == '2' ? pgm_number(file) : fgetc(file);
    if (value < 0 || value > maximum) die(path, "ends early or has a pixel out of range");
    pixels[i] = (uint8_t)value;
  }
  fclose(file);

  inferno_image picture = {pixels, 0, width, height, INFERNO_PIXEL_FORMAT_GRAY};
  inferno_tensor square = {INFERNO_DTYPE_F32, 2, {8, 8}, image, PIXELS * sizeof *image};
  inferno_image_options options;
  CHECK(inferno_image_options_init(&options, sizeof options));
  options.channels = INFERNO_CHANNEL_ORDER_GRAY;
  options.filter = INFERNO_FILTER_ANTIALIAS;
  options.scale = 16.0f / (float)maximum;
  CHECK(inferno_image_to_tensor(&picture, &options, &square, NULL));
}

/* ---- one run ---- */

typedef struct answer {
  size_t label;
  float confidence;
} answer;

/* The session's image is filled: run, and read the best of its probabilities. */
static answer classify(inferno_session *session) {
  inferno_tensor scores;
  answer best;
  size_t written;
  CHECK(inferno_session_run(session, NULL));
  CHECK(inferno_session_output(session, 0, &scores));
  CHECK(inferno_top_k(scores.data, DIGITS, 1, &best.label, &best.confidence, &written));
  return best;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The median time of a run in µs, on the image the session holds. */
static double latency_us(inferno_session *session) {
  static double times[RUNS];
  for (int i = -WARM_UP; i < RUNS; i++) {
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    CHECK(inferno_session_run(session, NULL));
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (i >= 0) {
      times[i] = (double)(end.tv_sec - start.tv_sec) * 1e6 +
                 (double)(end.tv_nsec - start.tv_nsec) / 1e3;
    }
  }
  qsort(times, RUNS, sizeof *times, by_value);
  return times[RUNS / 2];
}

/* ---- the held-out part ---- */

/* "DIGITS01", a count (u32, little endian), then for each sample its label and
 * 64 pixels, a byte each. */
static void print_accuracy(const char *path, inferno_session *session, float *image) {
  unsigned char head[12], sample[1 + PIXELS];
  FILE *file = open_file(path);
  if (fread(head, sizeof head, 1, file) != 1 || memcmp(head, "DIGITS01", 8) != 0) {
    die(path, "is no file of held-out digits");
  }
  unsigned long count = head[8] | (unsigned long)head[9] << 8 | (unsigned long)head[10] << 16 |
                        (unsigned long)head[11] << 24;
  unsigned long right = 0;
  for (unsigned long n = 0; n < count; n++) {
    if (fread(sample, sizeof sample, 1, file) != 1) die(path, "ends early");
    for (int i = 0; i < PIXELS; i++) image[i] = sample[1 + i];
    right += classify(session).label == sample[0];
  }
  fclose(file);
  if (count == 0) die(path, "holds no samples");
  printf("held out: accuracy %.2f %% (%lu of %lu images)\n",
         100.0 * (double)right / (double)count, right, count);
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: classify HELDOUT IMAGE.pgm ...\n");
    return 2;
  }

  inferno_model *model;
  inferno_session *session;
  inferno_tensor image;
  inferno_symbol_value batch = {"batch", 1};
  inferno_session_options options;
  CHECK(inferno_model_load_default(&model));
  CHECK(inferno_session_options_init(&options, sizeof options));
  options.symbols = &batch;
  options.symbol_count = 1;
  CHECK(inferno_session_new(model, &options, &session));
  CHECK(inferno_session_input(session, 0, &image)); /* good for all runs */

  for (int i = 2; i < argc; i++) {
    read_pgm(argv[i], image.data);
    answer seen = classify(session);
    printf("%s: label %zu, confidence %.4f, latency %.2f us (median of %d runs)\n", argv[i],
           seen.label, seen.confidence, latency_us(session), RUNS);
  }
  print_accuracy(argv[1], session, image.data);

  inferno_session_free(session);
  inferno_model_free(model);
  return 0;
}
