/* inferno inspect: what a model is, and what it takes. */

#include <stdlib.h>
#include <string.h>

#include "cli.h"

static void put_line(const char *what, const char *text) {
  printf("%-10s", what);
  put_text(stdout, text);
  putchar('\n');
}

static int put_info(const inferno_model *model, double load_ns) {
  inferno_model_info info;
  memset(&info, 0, sizeof info);
  info.struct_size = sizeof info;
  if (failed("info", inferno_model_get_info(model, &info))) return -1;
  put_line("model", info.name);
  put_line("graph", info.graph_name);
  put_line("producer", info.producer_name);
  printf("%-10sIR %lld, opset %lld\n", "format", (long long)info.ir_version, (long long)info.opset_version);
  printf("%-10s%llu nodes, weights ", "size", (unsigned long long)info.node_count);
  put_bytes(stdout, (double)info.weight_bytes);
  printf("\n%-10s", "hash");
  for (int i = 0; i < 32; i++) printf("%02x", info.hash[i]);
  printf("\n%-10s", "load");
  put_time(stdout, load_ns);
  putchar('\n');
  return 0;
}

static int put_tensors(const inferno_model *model, const char *kind,
                       inferno_status (*count_of)(const inferno_model *, size_t *),
                       inferno_status (*info_of)(const inferno_model *, size_t, inferno_tensor_info *)) {
  size_t count;
  if (failed(kind, count_of(model, &count))) return -1;
  for (size_t i = 0; i < count; i++) {
    inferno_tensor_info info;
    if (failed(kind, info_of(model, i, &info))) return -1;
    printf("%-10s", kind);
    put_text(stdout, info.name);
    printf("  %s ", inferno_dtype_name(info.dtype));
    put_dims(stdout, &info);
    putchar('\n');
  }
  return 0;
}

static int put_metadata(const inferno_model *model) {
  size_t count;
  if (failed("metadata", inferno_model_metadata_count(model, &count))) return -1;
  for (size_t i = 0; i < count; i++) {
    const char *key, *value;
    if (failed("metadata", inferno_model_metadata(model, i, &key, &value))) return -1;
    printf("%-10s", "metadata");
    put_text(stdout, key);
    fputs(" = ", stdout);
    put_text(stdout, value);
    putchar('\n');
  }
  return 0;
}

/* The limits that this load was held to. */
static int put_limits(void) {
  inferno_model_limits limits;
  if (failed("limits", inferno_model_limits_init(&limits, sizeof limits))) return -1;
  printf("%-10snodes %llu, rank %llu, depth %llu, weights ", "limits", (unsigned long long)limits.max_nodes,
         (unsigned long long)limits.max_rank, (unsigned long long)limits.max_depth);
  put_bytes(stdout, (double)limits.max_weight_bytes);
  fputs(", a tensor ", stdout);
  put_bytes(stdout, (double)limits.max_tensor_bytes);
  fputs(", at once ", stdout);
  put_bytes(stdout, (double)limits.max_memory_bytes);
  fputs(", load ", stdout);
  put_time(stdout, (double)limits.load_time_ns);
  putchar('\n');
  return 0;
}

/* Steps of one run by the first word of their names, from the profile's lines of JSON. */
struct kind {
  char name[40];
  unsigned count, native;
};

static void count_step(struct kind *kinds, size_t *kind_count, size_t most, const char *line) {
  char name[40] = "";
  size_t length, i;
  const char *start = strstr(line, "{\"name\":\"");
  if (start == NULL) return;
  start += strlen("{\"name\":\"");
  length = strcspn(start, "\\\"");
  while (length > 0 && start[length - 1] == ' ') length--;
  snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), start);
  for (i = 0; i < *kind_count && strcmp(kinds[i].name, name) != 0; i++) {
  }
  if (i == *kind_count) {
    if (i == most) return;
    memcpy(kinds[(*kind_count)++].name, name, sizeof name);
  }
  kinds[i].count++;
  kinds[i].native += strstr(line, "\"is_native\":true") != NULL;
}

static int put_steps(inferno_session *session) {
  enum { MOST = 64 };
  static struct kind kinds[MOST];
  size_t needed = 0, kind_count = 0;
  char *json, *line;
  if (failed("profile", inferno_profile_set_enabled(session, 1)) || failed("run", inferno_session_run(session, NULL)) ||
      failed("profile", inferno_profile_copy_json(session, NULL, 0, &needed))) {
    return -1;
  }
  json = malloc(needed);
  if (json == NULL) return complain("profile", "no memory");
  if (failed("profile", inferno_profile_copy_json(session, json, needed, &needed))) {
    free(json);
    return -1;
  }
  for (line = strtok(json, "\n"); line != NULL; line = strtok(NULL, "\n")) {
    count_step(kinds, &kind_count, MOST, line);
  }
  free(json);
  for (size_t i = 0; i < kind_count; i++) {
    printf("%-10s%4u  ", "step", kinds[i].count);
    put_text(stdout, kinds[i].name);
    if (kinds[i].native == kinds[i].count) printf("  (kernel of Inferno's)\n");
    else if (kinds[i].native == 0) printf("  (operator of tract's)\n");
    else printf("  (%u of them kernels of Inferno's)\n", kinds[i].native);
  }
  return 0;
}

static void put_need(const inferno_memory_need *need) {
  printf("%-10sweights ", "memory");
  put_bytes(stdout, (double)need->weight_bytes);
  fputs("; a session: arena ", stdout);
  put_bytes(stdout, (double)need->arena_bytes);
  if (need->is_measured) {
    fputs(", scratch ", stdout);
    put_bytes(stdout, (double)need->scratch_bytes);
  } else {
    fputs(", scratch unknown: it does not run over zeros", stdout);
  }
  putchar('\n');
}

int inspect(const struct arguments *arguments) {
  const int is_told = arguments->dims.count + arguments->shapes.count + arguments->constants.count > 0;
  struct opened opened;
  inferno_memory_need need;
  int bad;
  if (open_model(arguments, &opened) != 0) return 1;
  bad = put_info(opened.model, opened.load_ns) != 0 ||
        put_tensors(opened.model, "input", inferno_model_input_count, inferno_model_input) != 0 ||
        put_tensors(opened.model, "output", inferno_model_output_count, inferno_model_output) != 0 ||
        put_metadata(opened.model) != 0 || put_limits() != 0;
  close_opened(&opened);
  if (bad) return 1;
  /* The rest wants a session, and a run, which the model may refuse with dims and values made up. */
  memset(&need, 0, sizeof need);
  need.struct_size = sizeof need;
  bad = open_session(arguments, &opened, &need) != 0;
  if (!bad) {
    put_need(&need);
    bad = put_steps(opened.session) != 0;
    close_opened(&opened);
  }
  if (bad && !is_told) printf("%-10ssteps and memory want dims that fit: --dim, --shape, --const\n", "note");
  return bad && is_told;
}
