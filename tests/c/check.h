/*
 * The least that a C test needs. Include it first: it asks for POSIX.
 *
 *   CHECK(cond)                  counts, and tells file and line when cond is false
 *   CHECK_STATUS(call, expected) the same for a call that returns an inferno_status; also that
 *                                inferno_last_error() is empty after OK and only then
 *   CHECK_ERROR(call, expected, part)  the same, and that the text contains `part` (any case)
 *   REQUIRE(cond), REQUIRE_OK(call)    ends the program when what follows makes no sense
 *   RUN(test)                    names the test for the messages, and runs it
 *   return check_summary();      prints `checks: N failures: M`; 0 when M is 0
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef CHECK_H
#define CHECK_H

#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700
#endif

#include "inferno.h"
#include "system.h"

#include <ctype.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_ulong check_count;
static atomic_ulong check_failures;
static const char *check_test = "main";

static inline int check_summary(void) {
    unsigned long failures = atomic_load(&check_failures);
    printf("checks: %lu failures: %lu\n", atomic_load(&check_count), failures);
    fflush(stdout);
    return failures == 0 ? 0 : 1;
}

/* Counts one check; true when it held. `detail` may be NULL. */
static inline int check_note(int held, const char *file, int line, const char *what,
                             const char *detail) {
    atomic_fetch_add(&check_count, 1);
    if (held) {
        return 1;
    }
    /* A broken loop must not bury the other failures. */
    static atomic_uint told[4096];
    atomic_fetch_add(&check_failures, 1);
    if (atomic_fetch_add(&told[line % 4096], 1) < 3) {
        printf("%s:%d: in %s: %s%s%s\n    last error: \"%s\"\n", file, line, check_test, what,
               detail ? ": " : "", detail ? detail : "", inferno_last_error());
        fflush(stdout);
    }
    return 0;
}

/* Whether `text` contains `part`, whatever the case. */
static inline int check_contains(const char *text, const char *part) {
    size_t length = strlen(part);
    for (;; text++) {
        size_t i = 0;
        while (i < length && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i])) {
            i++;
        }
        if (i == length) {
            return 1;
        }
        if (*text == '\0') {
            return 0;
        }
    }
}

static inline int check_status(inferno_status got, inferno_status expected, const char *part,
                               const char *file, int line, const char *what) {
    char detail[160];
    const char *text = inferno_last_error();
    if (got != expected) {
        snprintf(detail, sizeof detail, "got %s, expected %s", inferno_status_name((int32_t)got),
                 inferno_status_name((int32_t)expected));
        return check_note(0, file, line, what, detail);
    }
    if ((text[0] == '\0') != (got == INFERNO_STATUS_OK)) {
        snprintf(detail, sizeof detail, "%s, but the error text is %s",
                 inferno_status_name((int32_t)got), text[0] == '\0' ? "empty" : "not empty");
        return check_note(0, file, line, what, detail);
    }
    if (part != NULL && !check_contains(text, part)) {
        snprintf(detail, sizeof detail, "the error text does not contain \"%s\"", part);
        return check_note(0, file, line, what, detail);
    }
    return check_note(1, file, line, what, NULL);
}

#define CHECK(cond) check_note((cond) ? 1 : 0, __FILE__, __LINE__, #cond, NULL)
#define CHECK_STATUS(call, expected) \
    check_status((call), (expected), NULL, __FILE__, __LINE__, #call)
#define CHECK_OK(call) CHECK_STATUS(call, INFERNO_STATUS_OK)
#define CHECK_ERROR(call, expected, part) \
    check_status((call), (expected), (part), __FILE__, __LINE__, #call)

#define REQUIRE(cond)                \
    do {                             \
        if (!CHECK(cond)) {          \
            exit(check_summary());   \
        }                            \
    } while (0)
#define REQUIRE_OK(call)             \
    do {                             \
        if (!CHECK_OK(call)) {       \
            exit(check_summary());   \
        }                            \
    } while (0)

/* How often to repeat: less under valgrind and its like, where CHECK_SLOW is set. */
static inline int check_times(int times) {
    return getenv("CHECK_SLOW") == NULL ? times : times / 10 + 1;
}

#define RUN(test)                                    \
    do {                                             \
        check_test = #test;                          \
        if (getenv("CHECK_VERBOSE") != NULL) {       \
            printf("  %s\n", check_test);            \
            fflush(stdout);                          \
        }                                            \
        test();                                      \
    } while (0)

#endif /* CHECK_H */
