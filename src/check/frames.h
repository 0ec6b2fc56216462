/*
 * How inferno-check and the library talk: src/model/isolate/wire.rs says it in full. A frame is its
 * kind (u32), its payload's length (u64), the payload; numbers are little-endian.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef FRAMES_H
#define FRAMES_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

enum { PROTOCOL = 1 };
enum { TO_HELLO = 1, TO_MODEL, TO_ANSWER };
enum { FROM_READY = 1, FROM_STAGE, FROM_SIZE, FROM_READ, FROM_VERDICT };

/* The library speaks nonsense, or is gone: nobody is left to tell. */
static inline void quit(void) { _exit(3); }

static inline void take(void *into, size_t size) {
    unsigned char *to = into;
    while (size > 0) {
        ssize_t got = read(STDIN_FILENO, to, size);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            quit();
        }
        to += got;
        size -= (size_t)got;
    }
}

static inline void give(const void *from, size_t size) {
    const unsigned char *at = from;
    while (size > 0) {
        ssize_t gone = write(STDOUT_FILENO, at, size);
        if (gone < 0 && errno == EINTR) {
            continue;
        }
        if (gone <= 0) {
            quit();
        }
        at += gone;
        size -= (size_t)gone;
    }
}

static inline uint64_t take_number(int bytes) {
    unsigned char raw[8];
    uint64_t number = 0;
    take(raw, (size_t)bytes);
    for (int i = 0; i < bytes; i++) {
        number |= (uint64_t)raw[i] << (8 * i);
    }
    return number;
}

static inline void give_number(uint64_t number, int bytes) {
    unsigned char raw[8];
    for (int i = 0; i < bytes; i++) {
        raw[i] = (unsigned char)(number >> (8 * i));
    }
    give(raw, (size_t)bytes);
}

static inline void give_head(uint32_t kind, uint64_t size) {
    give_number(kind, 4);
    give_number(size, 8);
}

/* The size of the next frame, which is of this kind. */
static inline uint64_t take_head(uint32_t kind) {
    if (take_number(4) != kind) {
        quit();
    }
    return take_number(8);
}

#endif /* FRAMES_H */
