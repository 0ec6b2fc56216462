/* Text for people: of a model that may be hostile, sizes, times. */

#include "cli.h"

/* Control characters could command a terminal: they are shown as bytes. */
void put_text(FILE *to, const char *text) {
  const unsigned char *byte = (const unsigned char *)text;
  for (; *byte != '\0'; byte++) {
    const int is_c1 = byte[0] == 0xc2 && byte[1] >= 0x80 && byte[1] < 0xa0;
    if (is_c1) {
      fprintf(to, "\\x%02x", byte[1]);
      byte++;
    } else if ((*byte < 0x20 && *byte != '\n' && *byte != '\t') || *byte == 0x7f) {
      fprintf(to, "\\x%02x", *byte);
    } else {
      fputc(*byte, to);
    }
  }
}

void put_dims(FILE *to, const inferno_tensor_info *info) {
  if (info->rank < 0) {
    fputs("[?]", to);
    return;
  }
  fputc('[', to);
  for (int i = 0; i < info->rank && i < INFERNO_MAX_RANK; i++) {
    if (i > 0) fputs(", ", to);
    if (info->dims[i] >= 0) fprintf(to, "%lld", (long long)info->dims[i]);
    else put_text(to, info->symbols[i] != NULL ? info->symbols[i] : "?");
  }
  fputc(']', to);
}

void put_bytes(FILE *to, double bytes) {
  if (bytes < 10 * 1024.0) fprintf(to, "%.0f B", bytes);
  else if (bytes < 10 * 1024.0 * 1024) fprintf(to, "%.1f KiB", bytes / 1024);
  else fprintf(to, "%.1f MiB", bytes / (1024.0 * 1024));
}

void put_time(FILE *to, double ns) {
  if (ns < 1e4) fprintf(to, "%.0f ns", ns);
  else if (ns < 1e7) fprintf(to, "%.1f us", ns / 1e3);
  else if (ns < 1e10) fprintf(to, "%.1f ms", ns / 1e6);
  else fprintf(to, "%.1f s", ns / 1e9);
}

int complain(const char *what, const char *why) {
  fflush(stdout);
  fputs("inferno: ", stderr);
  put_text(stderr, what);
  fputs(": ", stderr);
  put_text(stderr, why);
  fputc('\n', stderr);
  return -1;
}

int failed(const char *what, inferno_status status) {
  if (status == INFERNO_STATUS_OK) return 0;
  fflush(stdout);
  fprintf(stderr, "inferno: ");
  put_text(stderr, what);
  fprintf(stderr, ": %s: ", inferno_status_name((int32_t)status));
  put_text(stderr, inferno_last_error());
  fputc('\n', stderr);
  return -1;
}
