/* A model and a session as the arguments ask for them. */

#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"

double now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

void close_opened(struct opened *opened) {
  inferno_session_free(opened->session);
  inferno_model_free(opened->model);
  opened->session = NULL;
  opened->model = NULL;
}

int open_model(const struct arguments *arguments, struct opened *opened) {
  inferno_model_options options;
  double before = now_ns();
  memset(opened, 0, sizeof *opened);
  if (failed("options", inferno_model_options_init(&options, sizeof options))) return -1;
  if (arguments->is_isolated) options.isolation = INFERNO_ISOLATION_PROCESS;
  /* The library's text names the file. */
  if (failed("load", inferno_model_load(arguments->model, &options, &opened->model))) return -1;
  opened->load_ns = now_ns() - before;
  return 0;
}

static int is_integer(const char *text, int64_t *value, const char **end) {
  char *stop;
  errno = 0;
  *value = strtoll(text, &stop, 10);
  *end = stop;
  return stop != text && errno == 0 && *value >= 0;
}

/* `N,N,...`; no dim at all is a scalar, written as `-`. */
static int parse_dims(const struct named *given, inferno_input_shape *shape) {
  const char *at = given->value;
  shape->rank = 0;
  if (strcmp(at, "-") == 0) return 0;
  while (shape->rank < INFERNO_MAX_RANK && is_integer(at, &shape->dims[shape->rank], &at)) {
    shape->rank++;
    if (*at == '\0') return 0;
    if (*at++ != ',') break;
  }
  return complain(given->value, "expected dims such as 1,3,224,224");
}

/* The dims of an input: given by --shape, by the model, by --dim, or 1. Gives whether any were open. */
static int dims_of(const struct arguments *arguments, const inferno_tensor_info *info, inferno_input_shape *shape,
                   int *is_open) {
  const struct named *given = find(&arguments->shapes, info->name);
  *is_open = given != NULL;
  memset(shape, 0, sizeof *shape);
  shape->input = info->name;
  if (given != NULL) return parse_dims(given, shape);
  if (info->rank < 0) return 0;
  shape->rank = info->rank;
  for (int i = 0; i < info->rank; i++) {
    const struct named *symbol = info->symbols[i] != NULL ? find(&arguments->dims, info->symbols[i]) : NULL;
    const char *end = "";
    shape->dims[i] = info->dims[i] >= 0 ? info->dims[i] : 1;
    if (info->dims[i] < 0) *is_open = 1;
    if (symbol != NULL && (!is_integer(symbol->value, &shape->dims[i], &end) || *end != '\0')) {
      return complain(symbol->value, "expected a number, 0 or more");
    }
  }
  return 0;
}

/* What the options of a session point to. */
struct parts {
  inferno_input_shape shapes[MOST_NAMED];
  inferno_input_constant constants[MOST_NAMED];
  inferno_state_pair states[MOST_NAMED];
  size_t shape_count, constant_count;
};

static int add_input(const struct arguments *arguments, const inferno_tensor_info *info, struct parts *parts) {
  const struct named *constant = find(&arguments->constants, info->name);
  inferno_input_shape shape;
  int is_open;
  if (dims_of(arguments, info, &shape, &is_open) != 0) return -1;
  if (constant != NULL && parts->constant_count < MOST_NAMED) {
    inferno_input_constant *made = &parts->constants[parts->constant_count];
    inferno_tensor like = {info->dtype, shape.rank, {0}, NULL, 0};
    memcpy(like.dims, shape.dims, sizeof like.dims);
    made->input = info->name;
    if (tensor_read(constant->value, &like, &made->value) != 0) return -1;
    parts->constant_count++;
  } else if (is_open && parts->shape_count < MOST_NAMED) {
    parts->shapes[parts->shape_count++] = shape;
  }
  return 0;
}

/* A name that is none of the model's would be left out in silence. */
static int names_are_known(const struct arguments *arguments, const inferno_model *model) {
  const struct named_list *of_inputs[] = {&arguments->shapes, &arguments->inputs, &arguments->constants};
  const struct named_list *of_outputs[] = {&arguments->outputs, &arguments->expected};
  size_t index;
  for (size_t l = 0; l < 3; l++) {
    for (size_t i = 0; i < of_inputs[l]->count; i++) {
      if (failed("argument", inferno_model_input_index(model, of_inputs[l]->items[i].name, &index))) return 0;
    }
  }
  for (size_t l = 0; l < 2; l++) {
    for (size_t i = 0; i < of_outputs[l]->count; i++) {
      if (failed("argument", inferno_model_output_index(model, of_outputs[l]->items[i].name, &index))) return 0;
    }
  }
  return 1;
}

static int make_session(const struct arguments *arguments, struct opened *opened, struct parts *parts,
                        inferno_memory_need *need) {
  inferno_session_options options;
  const double before = now_ns();
  int bad = failed("options", inferno_session_options_init(&options, sizeof options));
  for (size_t i = 0; i < arguments->states.count; i++) {
    parts->states[i].input = arguments->states.items[i].name;
    parts->states[i].output = arguments->states.items[i].value;
  }
  options.shapes = parts->shapes;
  options.shape_count = parts->shape_count;
  options.constants = parts->constants;
  options.constant_count = parts->constant_count;
  options.states = parts->states;
  options.state_count = arguments->states.count;
  options.threads = arguments->threads;
  bad = bad || (need != NULL && failed("memory", inferno_model_memory(opened->model, &options, need)) != 0);
  bad = bad || failed("session", inferno_session_new(opened->model, &options, &opened->session)) != 0;
  opened->prepare_ns = now_ns() - before;
  return bad ? -1 : 0;
}

/* Small numbers, both signs, the same in every run; for integers zeros, which are indices mostly. */
static void fill_input(const inferno_tensor *tensor) {
  memset(tensor->data, 0, tensor->size_bytes);
  if (tensor->dtype != INFERNO_DTYPE_F32) return;
  for (size_t i = 0; i < tensor->size_bytes / sizeof(float); i++) {
    ((float *)tensor->data)[i] = (float)((i * 29 + i / 7 * 13) % 64) / 64.0f - 0.5f;
  }
}

static int write_input(const struct arguments *arguments, struct opened *opened, size_t index,
                       const inferno_tensor_info *info) {
  const struct named *given = find(&arguments->inputs, info->name);
  inferno_tensor own, tensor;
  inferno_input_shape shape;
  int is_open, bad;
  if (find(&arguments->constants, info->name) != NULL) return 0;
  if (given == NULL) {
    if (find(&arguments->states, info->name) != NULL) return 0;
    if (failed(info->name, inferno_session_input(opened->session, index, &own))) return -1;
    fill_input(&own);
    return 0;
  }
  if (dims_of(arguments, info, &shape, &is_open) != 0) return -1;
  memset(&own, 0, sizeof own);
  own.dtype = info->dtype;
  own.rank = shape.rank;
  memcpy(own.dims, shape.dims, sizeof own.dims);
  if (tensor_read(given->value, &own, &tensor) != 0) return -1;
  bad = failed(info->name, inferno_session_set_input(opened->session, index, &tensor));
  free(tensor.data);
  return bad;
}

int open_session(const struct arguments *arguments, struct opened *opened, inferno_memory_need *need) {
  static struct parts parts;
  inferno_tensor_info info;
  size_t count = 0;
  double before;
  int bad = open_model(arguments, opened) != 0 || !names_are_known(arguments, opened->model) ||
            failed("inputs", inferno_model_input_count(opened->model, &count));
  memset(&parts, 0, sizeof parts);
  for (size_t i = 0; i < count && !bad; i++) {
    bad = failed("input", inferno_model_input(opened->model, i, &info)) != 0 || add_input(arguments, &info, &parts) != 0;
  }
  bad = bad || make_session(arguments, opened, &parts, need) != 0;
  for (size_t i = 0; i < parts.constant_count; i++) free(parts.constants[i].value.data);
  for (size_t i = 0; i < count && !bad; i++) {
    bad = failed("input", inferno_model_input(opened->model, i, &info)) != 0 ||
          write_input(arguments, opened, i, &info) != 0;
  }
  before = now_ns();
  bad = bad || failed("prepare", inferno_session_prepare(opened->session)) != 0;
  opened->prepare_ns += now_ns() - before;
  if (bad) close_opened(opened);
  return bad ? -1 : 0;
}
