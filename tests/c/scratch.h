/*
 * A folder of a test's own, gone when the program ends. Include after check.h.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef SCRATCH_H
#define SCRATCH_H

#include "check.h"

#include <ftw.h>

static char scratch_folder[512];

static inline int scratch_remove_one(const char *path, const struct stat *about, int type,
                                     struct FTW *place) {
    (void)about, (void)place;
    return type == FTW_DP ? rmdir(path) : remove(path);
}

static inline void scratch_remove(void) {
    nftw(scratch_folder, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* The path of `name` in the folder; good until the fourth call after. */
static inline const char *scratch(const char *name) {
    static char paths[4][1024];
    static unsigned next;
    if (scratch_folder[0] == '\0') {
        snprintf(scratch_folder, sizeof scratch_folder, "%s/inferno-c-XXXXXX",
                 temporary_folder());
        REQUIRE(mkdtemp(scratch_folder) != NULL);
        atexit(scratch_remove);
    }
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", scratch_folder, name);
    return path;
}

/* Writes a file into the folder. */
static inline void scratch_write(const char *name, const void *bytes, size_t size) {
    FILE *file = fopen(scratch(name), "wb");
    REQUIRE(file != NULL);
    REQUIRE(fwrite(bytes, 1, size, file) == size);
    REQUIRE(fclose(file) == 0);
}

#endif /* SCRATCH_H */
