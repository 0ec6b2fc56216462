/* Tensors in and out of NumPy's .npy files: a magic number, a header that is a Python dictionary, the
 * elements. What a file says is checked against its size. */

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

enum { MOST_HEADER = 1 << 16 };

static const struct {
  const char *descr;
  int32_t dtype;
} KINDS[] = {
    {"<f4", INFERNO_DTYPE_F32}, {"<f8", INFERNO_DTYPE_F64}, {"<f2", INFERNO_DTYPE_F16}, {"|b1", INFERNO_DTYPE_BOOL},
    {"|i1", INFERNO_DTYPE_I8},  {"<i2", INFERNO_DTYPE_I16}, {"<i4", INFERNO_DTYPE_I32}, {"<i8", INFERNO_DTYPE_I64},
    {"|u1", INFERNO_DTYPE_U8},  {"<u2", INFERNO_DTYPE_U16}, {"<u4", INFERNO_DTYPE_U32}, {"<u8", INFERNO_DTYPE_U64},
};
enum { KIND_COUNT = sizeof KINDS / sizeof *KINDS };

size_t tensor_count(const inferno_tensor *tensor) {
  const size_t size = inferno_dtype_size(tensor->dtype);
  return size == 0 ? 0 : tensor->size_bytes / size;
}

static double half(uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  double value = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
  if (exponent == 31) value = mantissa != 0 ? NAN : INFINITY;
  return bits >> 15 ? -value : value;
}

double tensor_element(const inferno_tensor *tensor, size_t index) {
  switch (tensor->dtype) {
    case INFERNO_DTYPE_F32: return (double)((const float *)tensor->data)[index];
    case INFERNO_DTYPE_F64: return ((const double *)tensor->data)[index];
    case INFERNO_DTYPE_F16: return half(((const uint16_t *)tensor->data)[index]);
    case INFERNO_DTYPE_I8: return ((const int8_t *)tensor->data)[index];
    case INFERNO_DTYPE_I16: return ((const int16_t *)tensor->data)[index];
    case INFERNO_DTYPE_I32: return ((const int32_t *)tensor->data)[index];
    case INFERNO_DTYPE_I64: return (double)((const int64_t *)tensor->data)[index];
    case INFERNO_DTYPE_BOOL:
    case INFERNO_DTYPE_U8: return ((const uint8_t *)tensor->data)[index];
    case INFERNO_DTYPE_U16: return ((const uint16_t *)tensor->data)[index];
    case INFERNO_DTYPE_U32: return ((const uint32_t *)tensor->data)[index];
    case INFERNO_DTYPE_U64: return (double)((const uint64_t *)tensor->data)[index];
    default: return NAN;
  }
}

/* Integers that no double holds are left out: -2^53 to 2^53 is enough for a command line. */
static int set_element(const inferno_tensor *tensor, size_t index, double value) {
  const int64_t whole = fabs(value) <= 9007199254740992.0 ? (int64_t)value : 0;
  switch (tensor->dtype) {
    case INFERNO_DTYPE_F32: ((float *)tensor->data)[index] = (float)value; return 0;
    case INFERNO_DTYPE_F64: ((double *)tensor->data)[index] = value; return 0;
    case INFERNO_DTYPE_BOOL: ((uint8_t *)tensor->data)[index] = whole != 0; return 0;
    case INFERNO_DTYPE_I8:
    case INFERNO_DTYPE_U8: ((uint8_t *)tensor->data)[index] = (uint8_t)whole; return 0;
    case INFERNO_DTYPE_I16:
    case INFERNO_DTYPE_U16: ((uint16_t *)tensor->data)[index] = (uint16_t)whole; return 0;
    case INFERNO_DTYPE_I32:
    case INFERNO_DTYPE_U32: ((uint32_t *)tensor->data)[index] = (uint32_t)whole; return 0;
    case INFERNO_DTYPE_I64:
    case INFERNO_DTYPE_U64: ((uint64_t *)tensor->data)[index] = (uint64_t)whole; return 0;
    default: return -1;
  }
}

/* What the header's text says: dtype, rank, dims. */
static int parse_header(const char *header, inferno_tensor *tensor) {
  const char *descr = strstr(header, "'descr':"), *order = strstr(header, "'fortran_order':");
  const char *shape = strstr(header, "'shape':"), *at = shape != NULL ? strchr(shape, '(') : NULL;
  tensor->dtype = INFERNO_DTYPE_UNDEFINED;
  tensor->rank = 0;
  if (descr == NULL || order == NULL || at == NULL) return -1;
  if (strncmp(order + strlen("'fortran_order':"), " False", 6) != 0) return -1;
  for (int i = 0; i < KIND_COUNT; i++) {
    const char *quoted = descr + strlen("'descr':") + strspn(descr + strlen("'descr':"), " '");
    if (strncmp(quoted, KINDS[i].descr, 3) == 0) tensor->dtype = KINDS[i].dtype;
  }
  for (at++; tensor->rank < INFERNO_MAX_RANK;) {
    char *end;
    at += strspn(at, " ,");
    if (*at == ')') return tensor->dtype == INFERNO_DTYPE_UNDEFINED ? -1 : 0;
    errno = 0;
    tensor->dims[tensor->rank] = strtoll(at, &end, 10);
    if (end == at || errno != 0 || tensor->dims[tensor->rank++] < 0) return -1;
    at = end;
  }
  at += strspn(at, " ,");
  return *at == ')' && tensor->dtype != INFERNO_DTYPE_UNDEFINED ? 0 : -1;
}

/* Bytes of the dims' elements, or -1 when no memory could hold them. */
static int set_size(inferno_tensor *tensor) {
  size_t size = inferno_dtype_size(tensor->dtype);
  int is_empty = 0;
  for (int i = 0; i < tensor->rank; i++) is_empty |= tensor->dims[i] == 0;
  for (int i = 0; i < tensor->rank && !is_empty; i++) {
    if ((uint64_t)tensor->dims[i] > PTRDIFF_MAX / size) return -1;
    size *= (size_t)tensor->dims[i];
  }
  tensor->size_bytes = is_empty ? 0 : size;
  return 0;
}

static int read_npy(FILE *file, inferno_tensor *tensor) {
  static char header[MOST_HEADER + 1];
  unsigned char start[12];
  long begin, end;
  size_t length;
  if (fread(start, 1, 10, file) != 10 || memcmp(start, "\x93NUMPY", 6) != 0) return -1;
  length = start[8] | (size_t)start[9] << 8;
  if (start[6] > 1) {
    if (fread(start + 10, 1, 2, file) != 2) return -1;
    length |= (size_t)start[10] << 16 | (size_t)start[11] << 24;
  }
  if (length > MOST_HEADER || fread(header, 1, length, file) != length) return -1;
  header[length] = '\0';
  if (parse_header(header, tensor) != 0 || set_size(tensor) != 0) return -1;
  begin = ftell(file);
  if (begin < 0 || fseek(file, 0, SEEK_END) != 0 || (end = ftell(file)) < begin ||
      fseek(file, begin, SEEK_SET) != 0 || (size_t)(end - begin) != tensor->size_bytes) {
    return -1;
  }
  tensor->data = malloc(tensor->size_bytes + 1);
  if (tensor->data == NULL) return -1;
  return fread(tensor->data, 1, tensor->size_bytes, file) == tensor->size_bytes ? 0 : -1;
}

/* A tensor like another, of one number. */
static int fill(const inferno_tensor *like, double value, inferno_tensor *tensor) {
  int bad;
  *tensor = *like;
  tensor->data = NULL;
  bad = set_size(tensor) != 0 || (tensor->data = malloc(tensor->size_bytes + 1)) == NULL;
  for (size_t i = 0; !bad && i < tensor_count(tensor); i++) bad = set_element(tensor, i, value) != 0;
  return bad ? -1 : 0;
}

int tensor_read(const char *value, const inferno_tensor *like, inferno_tensor *tensor) {
  char *end;
  FILE *file;
  int bad;
  const double number = strtod(value, &end);
  memset(tensor, 0, sizeof *tensor);
  if (end != value && *end == '\0') {
    if (fill(like, number, tensor) == 0) return 0;
    free(tensor->data);
    tensor->data = NULL;
    return complain(value, "this input cannot be filled with a number");
  }
  file = fopen(value, "rb");
  if (file == NULL) return complain(value, strerror(errno));
  bad = read_npy(file, tensor);
  fclose(file);
  if (!bad) return 0;
  free(tensor->data);
  tensor->data = NULL;
  return complain(value, "is no .npy file of numbers, little-endian, in C order, up to 8 dims");
}

int tensor_write(const char *path, const inferno_tensor *tensor) {
  char dims[INFERNO_MAX_RANK * 22 + 1] = "", header[512];
  const char *descr = NULL;
  size_t length;
  FILE *file;
  int bad;
  for (int i = 0; i < KIND_COUNT; i++) {
    if (KINDS[i].dtype == tensor->dtype) descr = KINDS[i].descr;
  }
  if (descr == NULL) return complain(path, "strings cannot be written");
  for (int i = 0; i < tensor->rank; i++) {
    snprintf(dims + strlen(dims), 22, "%lld,", (long long)tensor->dims[i]);
  }
  snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, dims);
  /* Ten bytes, the text, spaces, a newline: together a multiple of 64. */
  length = (10 + strlen(header) + 1 + 63) / 64 * 64 - 10;
  file = fopen(path, "wb");
  if (file == NULL) return complain(path, strerror(errno));
  bad = fwrite("\x93NUMPY\x01\x00", 1, 8, file) != 8;
  bad |= fputc((int)(length & 255), file) == EOF || fputc((int)(length >> 8), file) == EOF;
  bad |= fprintf(file, "%-*s\n", (int)length - 1, header) != (int)length;
  bad |= fwrite(tensor->data, 1, tensor->size_bytes, file) != tensor->size_bytes;
  bad |= fclose(file) != 0;
  return bad ? complain(path, "cannot be written") : 0;
}
