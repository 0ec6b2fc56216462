/*
 * A plug-in host of Windows: it loads inferno.dll, uses it, and frees it, time and again. The library
 * stays where it is, once, and its threads end with the shutdown.
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

/* Where the library was. */
static void *one_life(const char *path) {
    const inferno_symbol_value batch = {"batch", 8};
    inferno_session_options options;
    inferno_model *model = NULL;
    inferno_session *session = NULL;
    library = LoadLibraryA(path);
    if (library == NULL) {
        printf("%s: error %lu\n", path, GetLastError());
        exit(1);
    }
    CHECK_OK(CALL(inferno_init)(NULL));
    CHECK_OK(CALL(inferno_session_options_init)(&options, sizeof options));
    options.symbols = &batch;
    options.symbol_count = 1;
    options.threads = 2;
    CHECK_OK(CALL(inferno_model_load_default)(&model));
    CHECK_OK(CALL(inferno_session_new)(model, &options, &session));
    for (int run = 0; run < 20; run++) {
        CHECK_OK(CALL(inferno_session_run)(session, NULL));
    }
    CHECK_OK(CALL(inferno_shutdown)());
    check(FreeLibrary(library) != 0, "FreeLibrary");
    return (void *)library;
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "inferno.dll";
    int before = threads_here();
    void *place = one_life(path);
    for (int life = 0; life < 50; life++) {
        check(GetModuleHandleA(path) == place, "it stays mapped");
        check(one_life(path) == place, "it comes where it was");
        check(threads_here() == before, "its threads ended");
    }
    printf("checks: %lu failures: %lu\n", checks, failures);
    return failures != 0;
}
