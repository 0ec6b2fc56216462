/*
 * Counts what is taken of the system's memory. Include after check.h, in one program's one file.
 *
 *   COUNTS_ALLOCATIONS     whether it can be counted here
 *   count_allocations()    begins to count
 *   allocations            blocks that were taken since: of the whole program, or on Windows by the
 *                          module that has the library in it
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef ALLOCATIONS_H
#define ALLOCATIONS_H

#include "check.h"

static atomic_ulong allocations;

#if defined(__GLIBC__)

#define COUNTS_ALLOCATIONS 1

/* (A checker of memory puts its own in place of these, and then nothing is counted.) */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);

void *malloc(size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __libc_calloc(count, size);
}

void *realloc(void *block, size_t size) {
    atomic_fetch_add(&allocations, 1);
    return __libc_realloc(block, size);
}

static inline void count_allocations(void) { atomic_store(&allocations, 0); }

#elif defined(_WIN32)

#include "imports.h"

#define COUNTS_ALLOCATIONS 1

/* What the library takes comes from the process's heap, by two of its imports. */
static void *(WINAPI *heap_alloc)(HANDLE, DWORD, SIZE_T);
static void *(WINAPI *heap_realloc)(HANDLE, DWORD, void *, SIZE_T);

static void *WINAPI counted_alloc(HANDLE heap, DWORD flags, SIZE_T size) {
    atomic_fetch_add(&allocations, 1);
    return heap_alloc(heap, flags, size);
}

static void *WINAPI counted_realloc(HANDLE heap, DWORD flags, void *block, SIZE_T size) {
    atomic_fetch_add(&allocations, 1);
    return heap_realloc(heap, flags, block, size);
}

static inline void count_allocations(void) {
    if (heap_alloc == NULL) {
        divert_import("HeapAlloc", &heap_alloc, (uintptr_t)counted_alloc);
        divert_import("HeapReAlloc", &heap_realloc, (uintptr_t)counted_realloc);
    }
    atomic_store(&allocations, 0);
}

#else

#define COUNTS_ALLOCATIONS 0

static inline void count_allocations(void) { atomic_store(&allocations, 0); }

#endif

#endif /* ALLOCATIONS_H */
