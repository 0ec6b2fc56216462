/* inferno run, inferno verify: one run, shown, written or compared. */

#include <math.h>
#include <stdlib.h>

#include "cli.h"

static void put_summary(const char *name, const inferno_tensor *tensor) {
  const size_t count = tensor_count(tensor);
  double least = INFINITY, most = -INFINITY, sum = 0;
  printf("output    ");
  put_text(stdout, name);
  printf("  %s [", inferno_dtype_name(tensor->dtype));
  for (int i = 0; i < tensor->rank; i++) printf("%s%lld", i ? ", " : "", (long long)tensor->dims[i]);
  printf("]");
  if (tensor->dtype == INFERNO_DTYPE_STRING) {
    printf("  strings");
  } else if (count > 0) {
    for (size_t i = 0; i < count; i++) {
      const double value = tensor_element(tensor, i);
      least = value < least ? value : least;
      most = value > most ? value : most;
      sum += value;
    }
    printf("  min %.6g, max %.6g, mean %.6g:", least, most, sum / (double)count);
    for (size_t i = 0; i < count && i < 6; i++) printf(" %.6g", tensor_element(tensor, i));
    if (count > 6) printf(" ...");
  }
  putchar('\n');
}

/* Whether an element is as expected: within atol, or rtol of it; NaN as NaN. */
static int is_close(double given, double expected, const struct arguments *arguments) {
  if (isnan(given) || isnan(expected)) return isnan(given) && isnan(expected);
  if (isinf(given) || isinf(expected)) return given == expected;
  return fabs(given - expected) <= arguments->atol + arguments->rtol * fabs(expected);
}

static int same_dims(const inferno_tensor *one, const inferno_tensor *other) {
  int same = one->dtype == other->dtype && one->rank == other->rank;
  for (int i = 0; same && i < one->rank; i++) same = one->dims[i] == other->dims[i];
  return same;
}

static int compare(const struct arguments *arguments, const char *name, const inferno_tensor *given,
                   const inferno_tensor *expected) {
  const size_t count = tensor_count(given);
  size_t wrong = 0, first = 0;
  double worst = 0;
  if (!same_dims(given, expected)) return complain(name, "dtype or dims are not those expected");
  for (size_t i = 0; i < count; i++) {
    const double difference = fabs(tensor_element(given, i) - tensor_element(expected, i));
    if (difference > worst) worst = difference;
    if (is_close(tensor_element(given, i), tensor_element(expected, i), arguments)) continue;
    if (wrong++ == 0) first = i;
  }
  printf("%-10s", wrong > 0 ? "differs" : "same");
  put_text(stdout, name);
  printf("  %zu of %zu elements differ, at most by %.3g", wrong, count, worst);
  if (wrong > 0) {
    printf("; the first is %zu: %.9g, expected %.9g", first, tensor_element(given, first),
           tensor_element(expected, first));
  }
  putchar('\n');
  return wrong > 0 ? -1 : 0;
}

static int check_output(const struct arguments *arguments, const char *name, const inferno_tensor *tensor) {
  const struct named *expected = find(&arguments->expected, name);
  inferno_tensor stored;
  int bad;
  if (expected == NULL) return 0;
  if (tensor->dtype == INFERNO_DTYPE_STRING) return complain(name, "strings cannot be compared");
  if (tensor_read(expected->value, tensor, &stored) != 0) return -1;
  bad = compare(arguments, name, tensor, &stored);
  free(stored.data);
  return bad;
}

/* Does `look` with every output; gives the exit status. */
static int each_output(const struct arguments *arguments,
                       int (*look)(const struct arguments *, const char *, const inferno_tensor *)) {
  struct opened opened;
  size_t count = 0;
  unsigned long runs = arguments->runs > 0 ? arguments->runs : 1;
  int bad = open_session(arguments, &opened, NULL) != 0;
  if (bad) return 1;
  while (runs-- > 0 && !bad) bad = failed("run", inferno_session_run(opened.session, NULL));
  bad = bad || failed("outputs", inferno_model_output_count(opened.model, &count));
  for (size_t i = 0; i < count && opened.session != NULL; i++) {
    inferno_tensor_info info;
    inferno_tensor tensor;
    if (bad && look != check_output) break; /* a comparison goes on to tell all that differs */
    if (failed("output", inferno_model_output(opened.model, i, &info)) ||
        failed(info.name, inferno_session_output(opened.session, i, &tensor))) {
      bad = 1;
      break;
    }
    bad = look(arguments, info.name, &tensor) != 0 || bad;
  }
  close_opened(&opened);
  return bad;
}

static int show_output(const struct arguments *arguments, const char *name, const inferno_tensor *tensor) {
  const struct named *file = find(&arguments->outputs, name);
  put_summary(name, tensor);
  return file != NULL ? tensor_write(file->value, tensor) : 0;
}

int run(const struct arguments *arguments) { return each_output(arguments, show_output); }

int verify(const struct arguments *arguments) {
  if (arguments->expected.count == 0) {
    complain("verify", "nothing to compare with: give --expect OUTPUT=FILE.npy");
    return 2;
  }
  return each_output(arguments, check_output);
}
