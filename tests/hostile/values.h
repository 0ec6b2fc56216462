/*
 * What a case feeds a model: dims and elements, from the case's number alone.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef VALUES_H
#define VALUES_H

#include "inferno.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * The most elements of an input that is the child's own, and the most that the open dims of an
 * input make together: a sound model must be quick.
 */
enum { MOST_ELEMENTS = 1 << 19, MOST_OPEN = 1 << 14 };

static uint64_t random_state = 1;

static inline uint64_t mixed(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t draw(void) {
    random_state += 0x9e3779b97f4a7c15u;
    return mixed(random_state);
}

static inline uint64_t below(uint64_t n) { return draw() % n; }

/* "n=3,integers=2": dims of symbols, and what the integers are, where they are not drawn. */
static const char *fixed_values = "";

/* Gives the value of `name` in fixed_values, or -1. */
static inline int64_t fixed_value(const char *name) {
    size_t length = strlen(name);
    for (const char *c = fixed_values; c != NULL && *c != '\0'; c = strchr(c, ',')) {
        c += *c == ',';
        if (strncmp(c, name, length) == 0 && c[length] == '=') {
            return strtoll(c + length + 1, NULL, 10);
        }
    }
    return -1;
}

/* Memory that ends where the next page begins, which nobody may touch. */
static inline void *guarded(size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (size + page - 1) / page * page;
    int how = PROT_READ | PROT_WRITE;
    char *base = mmap(NULL, room + page, how, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + room, page, PROT_NONE) != 0) {
        return NULL;
    }
    return base + room - size;
}

/*
 * An open dim: mostly small, at times 0, at times larger. A symbol has one value in a round, and
 * "2*n" twice that of "n".
 */
static inline int64_t some_dim(uint64_t salt, int round, const char *symbol, int axis) {
    if (symbol != NULL && symbol[0] >= '1' && symbol[0] <= '9' && symbol[1] == '*') {
        return (symbol[0] - '0') * some_dim(salt, round, symbol + 2, axis);
    }
    if (symbol != NULL && fixed_value(symbol) >= 0) {
        return fixed_value(symbol);
    }
    uint64_t h = mixed(salt * 31 + (uint64_t)round);
    for (const char *c = symbol; c != NULL && *c != '\0'; c++) {
        h = mixed(h ^ (unsigned char)*c);
    }
    h = mixed(symbol == NULL ? h + (uint64_t)axis + 1 : h);
    uint64_t kind = h % 100, rest = h / 100;
    if (kind < 70) {
        return (int64_t)(1 + rest % 8);
    }
    if (kind < 78) {
        return 0;
    }
    return (int64_t)(kind < 94 ? 9 + rest % 56 : 65 + rest % 600);
}

/* The dims an input gets. Returns the rank. */
static inline int32_t some_dims(const inferno_tensor_info *info, uint64_t salt, int round,
                                int64_t dims[INFERNO_MAX_RANK]) {
    int32_t rank = info->rank < 0 ? (int32_t)below(5) : info->rank;
    int64_t product = 1;
    for (int32_t i = 0; i < rank; i++) {
        int open = info->rank < 0 || info->dims[i] < 0;
        const char *symbol = info->rank < 0 ? NULL : info->symbols[i];
        dims[i] = open ? some_dim(salt, round, symbol, i) : info->dims[i];
        if (open && product * dims[i] > MOST_OPEN) {
            dims[i] = 1;
        }
        product *= open && dims[i] > 0 ? dims[i] : 1;
    }
    if (rank > 0 && round > 0 && fixed_values[0] == '\0' && below(25) == 0) {
        /* not what the model says */
        dims[below((uint64_t)rank)] += 1;
    }
    return rank;
}

static inline double some_float(int wild) {
    static const double odd[] = {NAN, INFINITY, -INFINITY, 3e38, -3e38, 1e-40, 1e300, 0.0, -0.0};
    if (wild && below(6) == 0) {
        return odd[below(sizeof odd / sizeof odd[0])];
    }
    return (double)(int64_t)below(2000001) / 1e6 - 1.0;
}

static inline int64_t some_integer(int mood) {
    static const int64_t odd[] = {INT64_MIN, INT64_MAX, INT32_MIN, INT32_MAX, -1, 1LL << 40,
                                  1LL << 62, 255,       256,       0};
    switch (mood) {
        case 0: return (int64_t)below(4);
        case 1: return (int64_t)below(12) - 4;
        case 4: return 0;
        case 2: return odd[below(sizeof odd / sizeof odd[0])];
        default: return (int64_t)below(64);
    }
}

static inline uint16_t half_bits(double value) {
    static const uint16_t odd[] = {0x7e00, 0x7c00, 0xfc00, 0x7bff, 1};
    if (!(fabs(value) <= 1.0)) {
        return odd[below(5)];
    }
    int exponent;
    double part = frexp(fabs(value), &exponent); /* 0.5 <= part < 1 */
    if (part == 0.0 || exponent < -13) {
        return 0;
    }
    uint16_t bits = (uint16_t)(((exponent + 14) << 10) | ((int)(part * 2048.0) & 1023));
    return (uint16_t)(bits | (value < 0 ? 0x8000 : 0));
}

static inline const char *some_string(void) {
    static const char *const texts[] = {
        "", "a", "the cat", "b", "caf\xc3\xa9 \xe2\x82\xac", "42", "A  B\tc", "\xf0\x9f\x98\x80",
        "MONDAY"};
    return below(60) == 0 ? "\xff" : texts[below(sizeof texts / sizeof texts[0])];
}

/* Writes an element of `dtype`. */
static inline void fill_one(void *at, int32_t dtype, int wild, int mood) {
    double real = 0;
    int64_t whole = 0;
    switch (dtype) {
        case INFERNO_DTYPE_F32: case INFERNO_DTYPE_F64: case INFERNO_DTYPE_F16:
            real = some_float(wild); break;
        default: whole = some_integer(mood);
    }
    float single = (float)real;
    uint16_t half = half_bits(real);
    switch (dtype) {
        case INFERNO_DTYPE_F32: memcpy(at, &single, sizeof single); break;
        case INFERNO_DTYPE_F64: memcpy(at, &real, sizeof real); break;
        case INFERNO_DTYPE_F16: memcpy(at, &half, sizeof half); break;
        case INFERNO_DTYPE_BOOL: *(uint8_t *)at = (uint8_t)(whole & (wild ? 255 : 1)); break;
        default: memcpy(at, &whole, inferno_dtype_size(dtype)); /* a little-endian machine */
    }
}

/* Writes the elements, the first 4 MiB at most. A string's pointer goes to a static text. */
static inline void fill(void *data, size_t size_bytes, int32_t dtype) {
    size_bytes = size_bytes < (4u << 20) ? size_bytes : 4u << 20;
    size_t size = inferno_dtype_size(dtype);
    int wild = below(5) == 0;
    uint64_t lot = below(10);
    int mood = lot < 6 ? 0 : lot < 8 ? 1 : lot < 9 ? 2 : 3;
    mood = fixed_value("integers") >= 0 ? (int)fixed_value("integers") : mood;
    for (size_t at = 0; size > 0 && at + size <= size_bytes; at += size) {
        char *element = (char *)data + at;
        if (dtype == INFERNO_DTYPE_STRING) {
            const char *text = some_string();
            memcpy(element, &text, sizeof text);
        } else {
            fill_one(element, dtype, wild, mood);
        }
    }
}

#endif
