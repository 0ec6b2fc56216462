/*
 * The same work on several threads. Include after check.h.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef ON_THREADS_H
#define ON_THREADS_H

#include "check.h"

#include <pthread.h>

enum { THREADS = 4 };

/* Runs `work` on THREADS threads, each with its number, and joins them. */
static inline void on_threads(void *(*work)(void *)) {
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
}

#endif
