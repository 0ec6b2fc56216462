/* EXPECT(condition) for programs that do not link the library; expect_summary() is their exit status. */

#ifndef EXPECT_H
#define EXPECT_H

#include <stdio.h>

static int expect_count, expect_failures;

#define EXPECT(condition)                                                     \
    do {                                                                      \
        expect_count++;                                                       \
        if (!(condition)) {                                                   \
            expect_failures++;                                                \
            printf("%s:%d: expected: %s\n", __FILE__, __LINE__, #condition);  \
            fflush(stdout);                                                   \
        }                                                                     \
    } while (0)

static inline int expect_summary(void) {
    printf("checks: %d failures: %d\n", expect_count, expect_failures);
    return expect_failures != 0;
}

#endif
