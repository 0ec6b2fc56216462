/* Where is speech? Silero VAD as a stream: the recurrent state stays in the
 * session, the host hands over 32 ms at a time.
 *
 *   vad MODEL.onnx SPEECH.wav      (16 kHz, mono, 16 bit)
 *
 *   cc vad.c -I../include -L../target/release -linferno -o vad */

#include <string.h>

#include "check.h"

/* Silero 5 and later hear each chunk with the last samples of the one before. */
enum { RATE = 16000, CHUNK = 512, CONTEXT = 64 };

static void die(const char *path, const char *why) {
  fprintf(stderr, "%s: %s\n", path, why);
  exit(1);
}

static double seconds(unsigned long samples) { return (double)samples / (double)RATE; }

static unsigned long little(const unsigned char *bytes, int count) {
  unsigned long value = 0;
  while (count-- > 0) value = value << 8 | bytes[count];
  return value;
}

/* Opens a WAV file and goes to its samples; gives how many there are. */
static FILE *open_wav(const char *path, unsigned long *samples) {
  unsigned char riff[12], chunk[8], format[16];
  int have_format = 0;
  FILE *file = fopen(path, "rb");
  if (!file) die(path, "cannot be opened");
  if (fread(riff, sizeof riff, 1, file) != 1 || memcmp(riff, "RIFF", 4) != 0 ||
      memcmp(riff + 8, "WAVE", 4) != 0) {
    die(path, "is no WAV file");
  }
  while (fread(chunk, sizeof chunk, 1, file) == 1) {
    unsigned long size = little(chunk + 4, 4);
    if (memcmp(chunk, "data", 4) == 0) {
      if (!have_format) die(path, "has samples before their format");
      *samples = size / 2;
      return file;
    }
    if (memcmp(chunk, "fmt ", 4) == 0 && size >= sizeof format) {
      if (fread(format, sizeof format, 1, file) != 1) break;
      if (little(format, 2) != 1 || little(format + 2, 2) != 1 ||
          little(format + 4, 4) != RATE || little(format + 14, 2) != 16) {
        die(path, "is not 16 kHz, mono, 16 bit PCM");
      }
      have_format = 1;
      size -= sizeof format;
    }
    for (size += size & 1; size > 0; size--) { /* chunks are padded to two bytes */
      if (fgetc(file) == EOF) die(path, "ends early");
    }
  }
  die(path, "has no samples");
  return NULL;
}

/* Reads up to CHUNK samples as -1 to 1, the rest silence; gives how many. */
static int read_chunk(FILE *file, unsigned long left, float *samples) {
  unsigned char bytes[2];
  int count = 0;
  while (count < CHUNK && (unsigned long)count < left && fread(bytes, 2, 1, file) == 1) {
    long value = (long)little(bytes, 2);
    samples[count++] = (float)(value < 32768 ? value : value - 65536) / 32768.0f;
  }
  for (int i = count; i < CHUNK; i++) samples[i] = 0.0f;
  return count;
}

static inferno_session *open_session(const char *path, size_t *input, size_t *output) {
  inferno_model *model;
  inferno_session *session;
  inferno_session_options options;

  /* The model leaves its dims open: one stream, this many samples. */
  inferno_input_shape shapes[2] = {
      {"input", 2, {1, CONTEXT + CHUNK}},
      {"state", 3, {2, 1, 128}},
  };
  /* The rate never changes: as a constant it drops out of the graph, with the
   * half of the model that is for 8 kHz. A scalar has rank 0. */
  int64_t rate = RATE;
  inferno_input_constant constants[1];
  memset(constants, 0, sizeof constants);
  constants[0].input = "sr";
  constants[0].value.dtype = INFERNO_DTYPE_I64;
  constants[0].value.data = &rate;
  constants[0].value.size_bytes = sizeof rate;
  /* After each run the output `stateN` is the next run's input `state`. */
  inferno_state_pair states[1] = {{"state", "stateN"}};

  CHECK(inferno_model_load(path, NULL, &model));
  CHECK(inferno_model_input_index(model, "input", input));
  CHECK(inferno_model_output_index(model, "output", output));
  CHECK(inferno_session_options_init(&options, sizeof options));
  options.shapes = shapes;
  options.shape_count = 2;
  options.constants = constants;
  options.constant_count = 1;
  options.states = states;
  options.state_count = 1;
  CHECK(inferno_session_new(model, &options, &session));
  inferno_model_free(model);
  return session;
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: vad MODEL.onnx SPEECH.wav\n");
    return 2;
  }
  unsigned long samples, done = 0;
  FILE *wav = open_wav(argv[2], &samples);

  size_t input, output;
  inferno_session *session = open_session(argv[1], &input, &output);
  inferno_tensor sound, speech;
  CHECK(inferno_session_input(session, input, &sound));
  float *context = sound.data, *chunk = context + CONTEXT;
  memset(sound.data, 0, sound.size_bytes);

  /* Speech begins at one half and ends below a third, so that it does not flutter. */
  int speaking = 0, parts = 0, count;
  double begin = 0;
  while ((count = read_chunk(wav, samples - done, chunk)) > 0) {
    CHECK(inferno_session_run(session, NULL));
    CHECK(inferno_session_output(session, output, &speech));
    float probability = *(const float *)speech.data;
    double now = seconds(done);
    if (!speaking && probability >= 0.5f) {
      speaking = 1;
      begin = now;
    } else if (speaking && probability < 0.35f) {
      speaking = 0;
      parts++;
      printf("speech from %.2f s to %.2f s\n", begin, now);
    }
    memmove(context, chunk + CHUNK - CONTEXT, CONTEXT * sizeof *context);
    done += (unsigned long)count;
  }
  if (speaking) {
    parts++;
    printf("speech from %.2f s to %.2f s\n", begin, seconds(done));
  }
  printf("%d part%s of speech in %.2f s of sound\n", parts, parts == 1 ? "" : "s", seconds(done));

  fclose(wav);
  inferno_session_free(session);
  return 0;
}
