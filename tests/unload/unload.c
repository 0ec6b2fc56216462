/*
 * A host that links nothing: it loads plug-ins that use Inferno, and lets go of them.
 *
 *   unload SHARED_A.so SHARED_B.so STATIC_A.so STATIC_B.so COPY.so
 *
 * Two plug-ins that share libinferno.so, two with the archive in them, and one that uses a copy of
 * libinferno.so.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#define _GNU_SOURCE

#include "expect.h"
#include "plugin.h"

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static float expected[10];

static void *load(const char *path, const struct plugin **found) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        printf("%s\n", dlerror());
        exit(1);
    }
    *found = dlsym(library, "plugin");
    EXPECT(*found != NULL);
    return library;
}

static int answers(const struct plugin *plugin) {
    float answer[10] = {0};
    return plugin->run(answer) == INFERNO_STATUS_OK && memcmp(answer, expected, sizeof answer) == 0;
}

static int thread_count(void) {
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task; tasks != NULL && (task = readdir(tasks)) != NULL;) {
        count += task->d_name[0] != '.';
    }
    if (tasks != NULL) {
        closedir(tasks);
    }
    return count;
}

/* How often a file is mapped to be executed, and the memory that is resident, in kB. */
static int mapped(const char *part) {
    char line[512];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        count += strstr(line, part) != NULL && strstr(line, "r-xp") != NULL;
    }
    if (maps != NULL) {
        fclose(maps);
    }
    return count;
}

static long resident_kb(void) {
    char line[128];
    long kb = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL) {
        sscanf(line, "VmRSS: %ld", &kb);
    }
    if (status != NULL) {
        fclose(status);
    }
    return kb;
}

static void once(const char *path) {
    const struct plugin *plugin;
    void *library = load(path, &plugin);
    EXPECT(plugin->open() == INFERNO_STATUS_OK);
    EXPECT(answers(plugin));
    EXPECT(plugin->close() == INFERNO_STATUS_OK);
    EXPECT(thread_count() == 1);
    EXPECT(dlclose(library) == 0);
}

/* The plug-in goes, the library stays mapped, once, and nothing adds up. */
static void a_hundred_times(const char *path) {
    long before = 0;
    for (int i = 0; i < 100; i++) {
        once(path);
        if (i == 9) {
            before = resident_kb();
        }
    }
    EXPECT(mapped("libinferno.so") == 1);
    EXPECT(mapped("shared_a.so") == 0);
    EXPECT(resident_kb() < before + 2048);
}

static void *on_a_thread(void *path) {
    for (int i = 0; i < 5; i++) {
        const struct plugin *plugin;
        void *library = load(path, &plugin);
        float answer[10];
        EXPECT(plugin->open() == INFERNO_STATUS_OK);
        EXPECT(plugin->run(answer) == INFERNO_STATUS_OK);
        EXPECT(plugin->close() == INFERNO_STATUS_OK);
        EXPECT(dlclose(library) == 0);
    }
    return NULL; /* what the library keeps for a thread goes now, after its plug-in */
}

/* A thread's end comes after the end of the plug-in that it ran. */
static void threads_outlive_the_plugin(const char *path) {
    for (int i = 0; i < 10; i++) {
        pthread_t thread;
        EXPECT(pthread_create(&thread, NULL, on_a_thread, (void *)path) == 0);
        pthread_join(thread, NULL);
    }
    EXPECT(thread_count() == 1);
}

/* No shutdown before dlclose: the library is still mapped and goes on; a later one ends it. */
static void without_a_shutdown(const char *path) {
    const struct plugin *plugin;
    void *library = load(path, &plugin);
    EXPECT(plugin->open() == INFERNO_STATUS_OK);
    inferno_session *left = plugin->session();
    EXPECT(dlclose(library) == 0);
    library = load(path, &plugin);
    EXPECT(plugin->run_other(left) == INFERNO_STATUS_OK);
    /* Two users: the one that left without a word is counted still. */
    EXPECT(plugin->open() == INFERNO_STATUS_OK);
    EXPECT(plugin->close() == INFERNO_STATUS_OK);
    EXPECT(plugin->run_other(left) == INFERNO_STATUS_OK);
    inferno_status (*shutdown)(void);
    *(void **)&shutdown = dlsym(library, "inferno_shutdown"); /* the plug-in's library, found through it */
    EXPECT(shutdown != NULL && shutdown() == INFERNO_STATUS_OK);
    EXPECT(plugin->run_other(left) == INFERNO_STATUS_INVALID_HANDLE);
    EXPECT(thread_count() == 1);
    EXPECT(dlclose(library) == 0);
}

/* Two that share one library: the first to go does not take it from the other. */
static void two_share_one(const char *one_path, const char *other_path) {
    const struct plugin *one, *other;
    void *one_library = load(one_path, &one), *other_library = load(other_path, &other);
    EXPECT(mapped("libinferno.so") == 1);
    EXPECT(one->open() == INFERNO_STATUS_OK && other->open() == INFERNO_STATUS_OK);
    EXPECT(answers(one) && answers(other));
    EXPECT(other->run_other(one->session()) == INFERNO_STATUS_OK); /* one library: one set of handles */
    EXPECT(one->close() == INFERNO_STATUS_OK);
    EXPECT(dlclose(one_library) == 0);
    EXPECT(answers(other));
    EXPECT(other->close() == INFERNO_STATUS_OK);
    EXPECT(thread_count() == 1);
    EXPECT(dlclose(other_library) == 0);
}

/* Two libraries in one process, of whatever kind: each has a runtime, threads and memory of its own. */
static void two_libraries(const char *one_path, const char *other_path) {
    const struct plugin *one, *other;
    void *one_library = load(one_path, &one), *other_library = load(other_path, &other);
    EXPECT(one->open() == INFERNO_STATUS_OK && other->open() == INFERNO_STATUS_OK);
    for (int i = 0; i < 100; i++) {
        EXPECT(answers(one) && answers(other));
    }
    /* A handle given to the wrong library names one of its own, or none: no crash. */
    inferno_status status = one->run_other(other->session());
    EXPECT(status == INFERNO_STATUS_OK || status == INFERNO_STATUS_INVALID_HANDLE);
    EXPECT(one->close() == INFERNO_STATUS_OK);
    EXPECT(answers(other));
    EXPECT(dlclose(one_library) == 0);
    EXPECT(answers(other));
    EXPECT(other->close() == INFERNO_STATUS_OK);
    EXPECT(thread_count() == 1);
    EXPECT(dlclose(other_library) == 0);
}

int main(int argc, char **argv) {
    const struct plugin *plugin;
    if (argc != 6) {
        return 2;
    }
    void *library = load(argv[1], &plugin);
    EXPECT(plugin->open() == INFERNO_STATUS_OK);
    EXPECT(plugin->run(expected) == INFERNO_STATUS_OK);
    EXPECT(plugin->close() == INFERNO_STATUS_OK);
    dlclose(library);

    a_hundred_times(argv[1]);
    threads_outlive_the_plugin(argv[1]);
    without_a_shutdown(argv[1]);
    two_share_one(argv[1], argv[2]);
    two_libraries(argv[1], argv[5]);
    two_libraries(argv[5], argv[1]);
    two_libraries(argv[1], argv[3]);
    two_libraries(argv[3], argv[4]);
    for (int i = 0; i < 20; i++) {
        once(argv[3]);
    }
    threads_outlive_the_plugin(argv[3]);
    return expect_summary();
}
