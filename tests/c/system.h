/*
 * What the tests need of the system beyond C: POSIX, and on Windows what stands for it (MinGW has
 * threads, folders and clocks of POSIX itself).
 *
 *   HAS_FORK                       whether a process can be copied
 *   SKIP(test, why)                names a test that makes no sense here; tests/c.sh counts it
 *   aligned_new, aligned_free      a block at a multiple of `alignment`, or NULL
 *   temporary_folder()             where folders of a test's own are made
 *   make_folder, make_link         0, or -1
 *   set_file_age(path, seconds)    makes a file so old
 *   replace_file(from, to)         renames a file over another one: 0, or -1
 *   processor_seconds()            processor time of this process, which goes on in steps of at most
 *   PROCESSOR_STEP_MS
 *   threads_here()                 threads of this process; in an emulator, where CHECK_EMULATED is set
 *                                  and which has threads of its own, those that have our names
 *   threads_are(count)             whether there are so many, and no others, within seconds
 *   handles_here()                 open files or handles of this process
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef SYSTEM_H
#define SYSTEM_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SKIP(test, why)                             \
    do {                                            \
        printf("skipped: %s: %s\n", #test, (why));  \
        fflush(stdout);                             \
    } while (0)

#ifdef _WIN32

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#define NOGDI
#include <windows.h>
#include <direct.h>
#include <malloc.h>
#include <process.h>
#include <sys/utime.h>
#include <tlhelp32.h>

#define HAS_FORK 0

static inline void *aligned_new(size_t alignment, size_t size) {
    return _aligned_malloc(size, alignment);
}

static inline void aligned_free(void *block) { _aligned_free(block); }

static inline const char *temporary_folder(void) {
    static char folder[MAX_PATH + 1];
    DWORD length = GetTempPathA(sizeof folder, folder);
    folder[length > 0 ? length - 1 : 0] = '\0'; /* the last is a backslash */
    return folder;
}

static inline int make_folder(const char *path) { return _mkdir(path); }

/* A link needs a right that programs do not have by themselves. */
static inline int make_link(const char *target, const char *path) {
    (void)target, (void)path;
    return -1;
}

static inline char *mkdtemp(char *path) {
    return _mktemp(path) != NULL && _mkdir(path) == 0 ? path : NULL;
}

static inline void quick_exit(int code) { _exit(code); }

static inline int setenv(const char *name, const char *value, int overwrite) {
    (void)overwrite;
    return _putenv_s(name, value);
}

static inline int unsetenv(const char *name) { return _putenv_s(name, ""); }

static inline int set_file_age(const char *path, time_t seconds) {
    time_t then = time(NULL) - seconds;
    struct _utimbuf times = {then, then};
    return _utime(path, &times);
}

/* (rename() of its C library takes no name that there is.) */
static inline int replace_file(const char *from, const char *to) {
    return MoveFileExA(from, to, MOVEFILE_REPLACE_EXISTING) ? 0 : -1;
}

#define PROCESSOR_STEP_MS 16

static inline double processor_seconds(void) {
    FILETIME begun, ended, spent[2];
    double all = 0;
    GetProcessTimes(GetCurrentProcess(), &begun, &ended, &spent[0], &spent[1]);
    for (int i = 0; i < 2; i++) {
        all += (double)((uint64_t)spent[i].dwHighDateTime << 32 | spent[i].dwLowDateTime) / 1e7;
    }
    return all;
}

/* Threads of this process of which `is` holds; all where it is NULL. */
static inline int threads_that(int (*is)(DWORD thread)) {
    THREADENTRY32 entry = {.dwSize = sizeof entry};
    HANDLE all = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
    int count = 0;
    for (BOOL more = Thread32First(all, &entry); more; more = Thread32Next(all, &entry)) {
        count += entry.th32OwnerProcessID == GetCurrentProcessId() &&
                 (is == NULL || is(entry.th32ThreadID));
    }
    CloseHandle(all);
    return count;
}

static inline int threads_here(void) { return threads_that(NULL); }

static inline int handles_here(void) {
    DWORD count = 0;
    return GetProcessHandleCount(GetCurrentProcess(), &count) ? (int)count : -1;
}

#else

#include <dirent.h>
#include <fcntl.h>

#define HAS_FORK 1

static inline void *aligned_new(size_t alignment, size_t size) {
    void *block = NULL;
    return posix_memalign(&block, alignment, size) == 0 ? block : NULL;
}

static inline void aligned_free(void *block) { free(block); }

static inline const char *temporary_folder(void) {
    const char *folder = getenv("TMPDIR");
    return folder != NULL && *folder != '\0' ? folder : "/tmp";
}

static inline int make_folder(const char *path) { return mkdir(path, 0700); }

static inline int make_link(const char *target, const char *path) { return symlink(target, path); }

static inline int set_file_age(const char *path, time_t seconds) {
    time_t then = time(NULL) - seconds;
    struct timespec times[2] = {{.tv_sec = then}, {.tv_sec = then}};
    return utimensat(AT_FDCWD, path, times, 0);
}

static inline int replace_file(const char *from, const char *to) { return rename(from, to); }

#define PROCESSOR_STEP_MS 1

static inline double processor_seconds(void) {
    struct timespec time = {0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Entries of a folder that are not hidden, of which `is` holds; all where it is NULL. */
static inline int entries_that(const char *path, int (*is)(const char *name)) {
    DIR *folder = opendir(path);
    int count = 0;
    if (folder == NULL) {
        return -1;
    }
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        count += entry->d_name[0] != '.' && (is == NULL || is(entry->d_name));
    }
    closedir(folder);
    return count;
}

/* Whether a thread has a name of ours. */
static inline int is_ours(const char *thread) {
    char path[320], name[32] = "";
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", thread);
    FILE *comm = fopen(path, "r");
    if (comm == NULL) {
        return 0;
    }
    int held = fgets(name, sizeof name, comm) != NULL && strncmp(name, "inferno-", 8) == 0;
    fclose(comm);
    return held;
}

static inline int threads_here(void) {
    return entries_that("/proc/self/task", getenv("CHECK_EMULATED") == NULL ? NULL : is_ours);
}

static inline int handles_here(void) { return entries_that("/proc/self/fd", NULL); }

#endif

/* A thread has its name, and one that was joined is off the list, a moment later. */
static inline int threads_are(int count) {
    const struct timespec moment = {.tv_nsec = 1000000};
    for (int tries = 0; tries < 5000; tries++) {
        if (threads_here() == count) {
            return 1;
        }
        nanosleep(&moment, NULL);
    }
    return 0;
}

#endif /* SYSTEM_H */
