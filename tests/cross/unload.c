/*
 * A plug-in host of Windows: it loads inferno.dll, uses it, and frees it, time and again. The library
 * stays where it is, once, and its threads end with the shutdown; without one they go on. A copy of it is
 * a library of its own.
 *
 *   unload PATH     the library, which this program is not linked with
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "inferno.h"
#include "../c/system.h"

#include <stdio.h>

static unsigned long checks, failures;
static HMODULE library;

static void check(int held, const char *what) {
    checks++;
    if (!held) {
        failures++;
        printf("unload.c: %s\n", what);
    }
}

/* A function of the library's, by its name. */
#define CALL(function) ((__typeof__(&function))(void (*)(void))GetProcAddress(library, #function))
#define CHECK_OK(status) check((status) == INFERNO_STATUS_OK, #status)

/* Loads the library, for the calls that follow. */
static void load(const wchar_t *path) {
    library = LoadLibraryW(path);
    if (library == NULL) {
        printf("%ls: error %lu\n", path, GetLastError());
        exit(1);
    }
}

/* A model, and a session of it that has run. */
static void run(inferno_model **model, inferno_session **session) {
    const inferno_symbol_value batch = {"batch", 8};
    inferno_session_options options;
    CHECK_OK(CALL(inferno_session_options_init)(&options, sizeof options));
    options.symbols = &batch;
    options.symbol_count = 1;
    options.threads = 2;
    CHECK_OK(CALL(inferno_model_load_default)(model));
    CHECK_OK(CALL(inferno_session_new)(*model, &options, session));
    for (int times = 0; times < 20; times++) {
        CHECK_OK(CALL(inferno_session_run)(*session, NULL));
    }
}

/* Where the library was. */
static void *one_life(const wchar_t *path) {
    inferno_model *model = NULL;
    inferno_session *session = NULL;
    load(path);
    CHECK_OK(CALL(inferno_init)(NULL));
    run(&model, &session);
    CHECK_OK(CALL(inferno_shutdown)());
    check(FreeLibrary(library) != 0, "FreeLibrary");
    return (void *)library;
}

/* A host that lets go without a word: whoever loads the library next finds all as it was. */
static void freed_without_a_shutdown(const wchar_t *path) {
    int before = threads_here();
    inferno_model *model = NULL;
    inferno_session *session = NULL;
    load(path);
    run(&model, &session);
    check(FreeLibrary(library) != 0, "FreeLibrary");
    check(threads_here() == before + 1, "its thread goes on");
    load(path);
    CHECK_OK(CALL(inferno_session_run)(session, NULL));
    CHECK_OK(CALL(inferno_session_free)(session));
    CHECK_OK(CALL(inferno_model_free)(model));
    CHECK_OK(CALL(inferno_shutdown)());
    check(FreeLibrary(library) != 0, "FreeLibrary");
    check(threads_here() == before, "its threads ended");
}

/* A plug-in's own copy, in a folder with a name that no code page has. */
static void a_copy_is_another(void *place) {
    wchar_t from[1024], to[1024];
    DWORD length = GetModuleFileNameW(place, from, 1024);
    check(length > 0 && length < 1000, "where the library is");
    wcscpy(to, from);
    wcscpy(wcsrchr(to, L'\\'), L"\\pl\u00fcg-ins \u6a21\u578b");
    CreateDirectoryW(to, NULL);
    wcscat(to, L"\\inferno.dll");
    check(CopyFileW(from, to, FALSE) != 0, "a copy");
    void *copy = one_life(to);
    check(copy != place, "it is another library");
    check(one_life(to) == copy, "it comes where it was");
}

int wmain(int argc, wchar_t **argv) {
    const wchar_t *path = argc > 1 ? argv[1] : L"inferno.dll";
    int before = threads_here();
    void *place = one_life(path);
    for (int life = 0; life < 50; life++) {
        check(GetModuleHandleW(path) == place, "it stays mapped");
        check(one_life(path) == place, "it comes where it was");
        check(threads_are(before), "its threads ended");
    }
    freed_without_a_shutdown(path);
    a_copy_is_another(place);
    check(threads_here() == before, "its threads ended");
    printf("checks: %lu failures: %lu\n", checks, failures);
    return failures != 0;
}
