/* inferno: a model from the command line. See usage() for what it does.
 *
 *   make                                            with an installed Inferno (pkg-config)
 *   cc *.c $(pkg-config --cflags --libs inferno) -o inferno
 *
 * Exit status: 0 for success, 1 when the model, a file or a run was refused or an answer differs, 2 for
 * arguments that make no sense. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static const char help[] =
    "usage: inferno COMMAND MODEL.onnx [OPTION ...]\n"
    "\n"
    "  inspect   inputs, outputs, steps, memory, what the model says of itself\n"
    "  run       one run; its outputs in short, or to files\n"
    "  bench     runs for --seconds (3), or --runs; percentiles\n"
    "  profile   where the time of --runs (100) goes, step by step\n"
    "  verify    one run, compared with --expect\n"
    "\n"
    "  --dim SYMBOL=N           an open dim (default 1)\n"
    "  --shape INPUT=N,N,...    the dims of an input\n"
    "  --input INPUT=VALUE      a .npy file, or a number for all elements\n"
    "  --const INPUT=VALUE      the same, as a constant of the graph\n"
    "  --state INPUT=OUTPUT     after each run the output becomes the input\n"
    "  --output OUTPUT=FILE     where to write it, as .npy\n"
    "  --expect OUTPUT=FILE     what it must be, as .npy; --rtol 1e-3, --atol 1e-4\n"
    "  --runs N, --seconds S, --threads N\n"
    "  --isolated               try the model in a process of its own first\n"
    "  --json                   (profile) for programs\n"
    "\n"
    "Inputs that are not given hold a fixed sequence of small numbers.\n";

static int usage(const char *what, const char *why) {
  fprintf(stderr, "inferno: ");
  put_text(stderr, what);
  fprintf(stderr, ": %s; see inferno --help\n", why);
  return 2;
}

const struct named *find(const struct named_list *list, const char *name) {
  for (size_t i = 0; i < list->count; i++) {
    if (strcmp(list->items[i].name, name) == 0) return &list->items[i];
  }
  return NULL;
}

/* Cuts `text` at its first `=`: a file's name may have one in it. */
static int add(struct named_list *list, char *text) {
  char *equals = strchr(text, '=');
  if (equals == NULL || equals == text || equals[1] == '\0' || list->count == MOST_NAMED) return -1;
  *equals = '\0';
  list->items[list->count].name = text;
  list->items[list->count++].value = equals + 1;
  return 0;
}

static int number(const char *text, double least, double most, double *value) {
  char *end;
  errno = 0;
  *value = strtod(text, &end);
  return errno != 0 || end == text || *end != '\0' || !(*value >= least && *value <= most) ? -1 : 0;
}

static struct named_list *list_of(struct arguments *arguments, const char *option) {
  const struct {
    const char *option;
    struct named_list *list;
  } lists[] = {
      {"--dim", &arguments->dims},       {"--shape", &arguments->shapes},   {"--input", &arguments->inputs},
      {"--const", &arguments->constants}, {"--state", &arguments->states},   {"--output", &arguments->outputs},
      {"--expect", &arguments->expected},
  };
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    if (strcmp(option, lists[i].option) == 0) return lists[i].list;
  }
  return NULL;
}

/* An option that takes a number: 0 when it is one and the number is good. */
static int numeric(struct arguments *arguments, const char *option, const char *text) {
  double value = 0;
  if (strcmp(option, "--runs") == 0 && number(text, 1, 1e9, &value) == 0) {
    arguments->runs = (unsigned long)value;
  } else if (strcmp(option, "--seconds") == 0 && number(text, 0.001, 86400, &value) == 0) {
    arguments->seconds = value;
  } else if (strcmp(option, "--threads") == 0 && number(text, 0, INFERNO_MAX_THREADS, &value) == 0) {
    arguments->threads = (unsigned)value;
  } else if (strcmp(option, "--rtol") == 0 && number(text, 0, 1e9, &value) == 0) {
    arguments->rtol = value;
  } else if (strcmp(option, "--atol") == 0 && number(text, 0, 1e9, &value) == 0) {
    arguments->atol = value;
  } else {
    return -1;
  }
  return 0;
}

static int parse(int count, char **texts, struct arguments *arguments) {
  for (int i = 0; i < count; i++) {
    struct named_list *list;
    if (strcmp(texts[i], "--isolated") == 0) {
      arguments->is_isolated = 1;
    } else if (strcmp(texts[i], "--json") == 0) {
      arguments->is_json = 1;
    } else if (texts[i][0] != '-') {
      if (arguments->model != NULL) return usage(texts[i], "a second model");
      arguments->model = texts[i];
    } else if (i + 1 == count) {
      return usage(texts[i], "no such option, or its value is missing");
    } else if ((list = list_of(arguments, texts[i])) != NULL) {
      if (add(list, texts[++i]) != 0) return usage(texts[i], "expected NAME=VALUE, 64 at the most");
    } else if (numeric(arguments, texts[i], texts[i + 1]) == 0) {
      i++;
    } else {
      return usage(texts[i], "no such option, or no such value of it");
    }
  }
  return arguments->model == NULL ? usage("MODEL.onnx", "missing") : 0;
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    int (*command)(const struct arguments *);
  } commands[] = {
      {"inspect", inspect}, {"run", run}, {"bench", bench}, {"profile", profile}, {"verify", verify},
  };
  static struct arguments arguments;
  arguments.seconds = 3;
  arguments.rtol = 1e-3;
  arguments.atol = 1e-4;
  if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
    fputs(help, stdout);
    return 0;
  }
  if (argc == 2 && strcmp(argv[1], "--version") == 0) {
    printf("Inferno %s\n", inferno_version_string());
    return 0;
  }
  for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++) {
    if (strcmp(argv[1], commands[i].name) == 0) {
      int status = parse(argc - 2, argv + 2, &arguments);
      if (status == 0) status = commands[i].command(&arguments);
      if (inferno_shutdown() != INFERNO_STATUS_OK || fflush(stdout) != 0) status = status ? status : 1;
      return status;
    }
  }
  if (argc > 1) return usage(argv[1], "no such command");
  fputs(help, stderr);
  return 2;
}
