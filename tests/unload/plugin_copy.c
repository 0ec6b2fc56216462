/*
 * The plug-in over a copy of the library, which it loads itself: COPY is its path.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#define _GNU_SOURCE

#include "plugin.h"

#include <dlfcn.h>
#include <string.h>

/* plugin.c calls what this table has. */
static struct {
    inferno_status (*init)(const inferno_runtime_options *);
    inferno_status (*shutdown)(void);
    inferno_status (*options_init)(inferno_session_options *, size_t);
    inferno_status (*load_default)(inferno_model **);
    inferno_status (*session_new)(const inferno_model *, const inferno_session_options *, inferno_session **);
    inferno_status (*model_free)(inferno_model *);
    inferno_status (*session_free)(inferno_session *);
    inferno_status (*input)(inferno_session *, size_t, inferno_tensor *);
    inferno_status (*output)(inferno_session *, size_t, inferno_tensor *);
    inferno_status (*run)(inferno_session *, const inferno_run_options *);
} api;

__attribute__((constructor)) static void find(void) {
    const struct {
        const char *name;
        void *place;
    } functions[] = {
        {"inferno_init", &api.init},
        {"inferno_shutdown", &api.shutdown},
        {"inferno_session_options_init", &api.options_init},
        {"inferno_model_load_default", &api.load_default},
        {"inferno_session_new", &api.session_new},
        {"inferno_model_free", &api.model_free},
        {"inferno_session_free", &api.session_free},
        {"inferno_session_input", &api.input},
        {"inferno_session_output", &api.output},
        {"inferno_session_run", &api.run},
    };
    void *library = dlopen(COPY, RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *found = library != NULL ? dlsym(library, functions[i].name) : NULL;
        memcpy(functions[i].place, &found, sizeof found);
    }
}

#define inferno_init api.init
#define inferno_shutdown api.shutdown
#define inferno_session_options_init api.options_init
#define inferno_model_load_default api.load_default
#define inferno_session_new api.session_new
#define inferno_model_free api.model_free
#define inferno_session_free api.session_free
#define inferno_session_input api.input
#define inferno_session_output api.output
#define inferno_session_run api.run

#include "plugin.c"
