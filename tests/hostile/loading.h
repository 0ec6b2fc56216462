/*
 * Loading a model in the way that the salt says, and asking it for all it says of itself.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef LOADING_H
#define LOADING_H

#include "telling.h"
#include "values.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { MOST_PORTS = 24, MOST_DESCRIBED = 500 };

static uint64_t salt;
static int isolated;

static int32_t reader_open(void *folder, const char *path, void **file, uint64_t *size_bytes) {
    const char *name = strrchr(path, '/');
    char full[4096];
    snprintf(full, sizeof full, "%s/%s", (const char *)folder, name != NULL ? name + 1 : path);
    struct stat s;
    FILE *opened = fopen(full, "rb");
    if (opened == NULL || fstat(fileno(opened), &s) != 0 || !S_ISREG(s.st_mode)) {
        if (opened != NULL) {
            fclose(opened);
        }
        return -1;
    }
    *file = opened;
    *size_bytes = (uint64_t)s.st_size;
    return 0;
}

static int32_t reader_read(void *folder, void *file, uint64_t offset, void *buffer, size_t size) {
    (void)folder;
    return pread(fileno(file), buffer, size, (off_t)offset) == (ssize_t)size ? 0 : 1;
}

static void reader_close(void *folder, void *file) {
    (void)folder;
    fclose(file);
}

/* The file's bytes, whole. The next byte is nobody's. */
static void *read_file(const char *path, size_t *size) {
    int fd = open(path, O_RDONLY);
    struct stat s;
    void *data = NULL;
    if (fd >= 0 && fstat(fd, &s) == 0 && (data = guarded((size_t)s.st_size)) != NULL &&
        read(fd, data, (size_t)s.st_size) == s.st_size) {
        *size = (size_t)s.st_size;
        close(fd);
        return data;
    }
    fprintf(stderr, "child: cannot read %s\n", path);
    _exit(4);
}

static inferno_model *load(const char *path) {
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    snprintf(slash != NULL ? slash : folder, 2, "%s", slash != NULL ? "" : ".");
    inferno_reader reader = {sizeof reader, folder, reader_open, reader_read, reader_close};
    inferno_model_options options;
    must(inferno_model_options_init(&options, sizeof options), "options");
#ifdef HAVE_LIMITS
    inferno_model_limits limits;
    must(inferno_model_limits_init(&limits, sizeof limits), "limits");
    limits.load_time_ns = 2000000000u;
    options.limits = &limits;
#endif
#ifdef HAVE_ISOLATION
    options.isolation = isolated ? INFERNO_ISOLATION_PROCESS : INFERNO_ISOLATION_NONE;
#endif
    inferno_model *model = NULL;
    inferno_status status;
    if (salt % 4 == 1) {
        status = inferno_model_load(path, &options, &model);
    } else if (salt % 4 == 3) {
        status = inferno_model_load_reader(&reader, path, &options, &model);
    } else {
        size_t size;
        void *data = read_file(path, &size);
        options.reader = &reader;
        status = inferno_model_load_memory(data, size, &options, &model);
    }
    if (went_well(status) && model == NULL) {
        broken("loaded, but the handle is NULL");
    }
    return status == INFERNO_STATUS_OK ? model : NULL;
}

/* ---- Describing ----------------------------------------------------------------------------- */

typedef inferno_status (*count_of)(const inferno_model *, size_t *);
typedef inferno_status (*port_of)(const inferno_model *, size_t, inferno_tensor_info *);
typedef inferno_status (*index_of)(const inferno_model *, const char *, size_t *);

static size_t describe_ports(const inferno_model *model, count_of count, port_of port,
                             index_of index, inferno_tensor_info *kept) {
    size_t ports = 0;
    must(count(model, &ports), "count");
    for (size_t i = 0; i < ports && i < MOST_DESCRIBED; i++) {
        inferno_tensor_info info;
        size_t found = 0;
        must(port(model, i, &info), "description");
        touch_text("a name", info.name);
        if (info.rank < -1 || info.rank > INFERNO_MAX_RANK) {
            broken("%s has rank %d", info.name, (int)info.rank);
        }
        for (int32_t d = 0; d < info.rank; d++) {
            if (info.dims[d] < -1 || (info.dims[d] >= 0 && info.symbols[d] != NULL)) {
                broken("%s has dim %lld", info.name, (long long)info.dims[d]);
            }
            if (info.symbols[d] != NULL) {
                touch_text("a symbol", info.symbols[d]);
            }
        }
        must(index(model, info.name, &found), "index");
        if (i < MOST_PORTS) {
            kept[i] = info;
        }
    }
    inferno_tensor_info none;
    if (port(model, ports, &none) != INFERNO_STATUS_NOT_FOUND) {
        broken("port %zu of %zu is there", ports, ports);
    }
    return ports;
}

static void describe(const inferno_model *model) {
    inferno_model_info info = {.struct_size = sizeof info};
    must(inferno_model_get_info(model, &info), "info");
    touch_text("name", info.name);
    touch_text("graph_name", info.graph_name);
    touch_text("producer_name", info.producer_name);
    touch(info.hash, sizeof info.hash);
    size_t count = 0;
    must(inferno_model_metadata_count(model, &count), "metadata count");
    for (size_t i = 0; i < count && i < MOST_DESCRIBED; i++) {
        const char *key, *value, *found;
        must(inferno_model_metadata(model, i, &key, &value), "metadata");
        touch_text("a key", key);
        touch_text("a value", value);
        must(inferno_model_metadata_find(model, key, &found), "metadata by key");
        touch_text("a found value", found);
    }
}

#endif
