/*
 * What is different on Windows: paths are UTF-8 whatever the code page, either slash ends a folder, and
 * an isolated load is refused, for there is no helper.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"
#include "scratch.h"

static const float WEIGHTS[4] = {1, 2, 3, 4};

/* UTF-8 to what Windows takes. */
static const wchar_t *wide(const char *path) {
    static wchar_t paths[2][1024];
    static unsigned next;
    wchar_t *to = paths[next++ % 2];
    REQUIRE(MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, to, 1024) > 0);
    return to;
}

static void write_wide(const char *path, const void *bytes, size_t size) {
    FILE *file = _wfopen(wide(path), L"wb");
    REQUIRE(file != NULL);
    REQUIRE(fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

/* A model that adds WEIGHTS to its input; it is freed. */
static void adds_the_weights(inferno_model *model) {
    CHECK(adds(model, WEIGHTS));
    CHECK_OK(inferno_model_free(model));
}

/* What `end` does to a file of the folder: a model and its weights. */
static char folder[1024], model_path[1100];

static void fill_folder(void) {
    pb bytes = model_external("w\xc3\xa9.bin", 0, 16);
    snprintf(folder, sizeof folder, "%s", scratch("mod\xc3\xa8les \xe6\x97\xa5\xe6\x9c\xac"));
    REQUIRE(_wmkdir(wide(folder)) == 0);
    snprintf(model_path, sizeof model_path, "%s/w\xc3\xa9.bin", folder);
    write_wide(model_path, WEIGHTS, sizeof WEIGHTS);
    snprintf(model_path, sizeof model_path, "%s/\xc3\xbc.onnx", folder);
    write_wide(model_path, bytes.data, bytes.size);
    pb_free(&bytes);
}

static void empty_folder(void) {
    CHECK(_wremove(wide(model_path)) == 0);
    snprintf(model_path, sizeof model_path, "%s/w\xc3\xa9.bin", folder);
    CHECK(_wremove(wide(model_path)) == 0);
    CHECK(_wrmdir(wide(folder)) == 0);
}

static void paths_are_utf8(void) {
    inferno_model *model = NULL;
    REQUIRE_OK(inferno_model_load(model_path, NULL, &model));
    adds_the_weights(model);
    model = NULL;
    CHECK_ERROR(inferno_model_load("\xc3\xbc/none.onnx", NULL, &model), INFERNO_STATUS_NOT_FOUND,
                "none.onnx");
    CHECK_ERROR(inferno_model_load("\xfc.onnx", NULL, &model), INFERNO_STATUS_INVALID_ARGUMENT,
                "UTF-8");
    CHECK(model == NULL);
}

static void either_slash_ends_a_folder(void) {
    char path[1100];
    inferno_model *model = NULL;
    snprintf(path, sizeof path, "%s", model_path);
    for (char *at = path; *at != '\0'; at++) {
        *at = *at == '/' ? '\\' : *at;
    }
    REQUIRE_OK(inferno_model_load(path, NULL, &model));
    adds_the_weights(model);
    /* From the folder of the process, and from that of a drive. */
    wchar_t here[1024];
    REQUIRE(GetCurrentDirectoryW(1024, here) > 0 && SetCurrentDirectoryW(wide(folder)));
    REQUIRE_OK(inferno_model_load("\xc3\xbc.onnx", NULL, &model));
    adds_the_weights(model);
    snprintf(path, sizeof path, "%c:\xc3\xbc.onnx", folder[0]);
    REQUIRE_OK(inferno_model_load(path, NULL, &model));
    adds_the_weights(model);
    REQUIRE(SetCurrentDirectoryW(here));
}

static void a_cache_has_a_name_in_utf8(void) {
    char cache[1100];
    inferno_model_options options;
    inferno_model *model = NULL;
    snprintf(cache, sizeof cache, "%s", scratch("cache \xc3\xa4"));
    REQUIRE_OK(inferno_model_options_init(&options, sizeof options));
    options.cache_dir = cache;
    for (int load = 0; load < 2; load++) {
        pb bytes = model_mlp();
        REQUIRE_OK(inferno_model_load_memory(bytes.data, bytes.size, &options, &model));
        pb_free(&bytes);
        CHECK_OK(inferno_model_free(model));
    }
    CHECK(GetFileAttributesW(wide(cache)) & FILE_ATTRIBUTE_DIRECTORY);
}

static void devices_are_no_models(void) {
    const char *const names[] = {"NUL", "CON", "COM1", "\\\\.\\C:", "\\\\.\\pipe\\none", "|", "a*b"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        inferno_model *model = NULL;
        inferno_status status = inferno_model_load(names[i], NULL, &model);
        check_note(status != INFERNO_STATUS_OK && status != INFERNO_STATUS_INTERNAL, __FILE__, __LINE__,
                   names[i], inferno_status_name((int32_t)status));
        CHECK(model == NULL && inferno_last_error()[0] != '\0');
    }
}

static void isolated_loads_are_refused(void) {
    inferno_model_options options;
    inferno_model *model = NULL;
    REQUIRE_OK(inferno_model_options_init(&options, sizeof options));
    options.isolation = INFERNO_ISOLATION_PROCESS;
    pb bytes = model_mlp();
    CHECK_ERROR(inferno_model_load_memory(bytes.data, bytes.size, &options, &model),
                INFERNO_STATUS_UNSUPPORTED, "isolated");
    CHECK(model == NULL);
    CHECK_ERROR(inferno_model_load(model_path, &options, &model), INFERNO_STATUS_UNSUPPORTED,
                "isolated");
    CHECK(model == NULL);
    pb_free(&bytes);
}

int main(void) {
    fill_folder();
    RUN(paths_are_utf8);
    RUN(either_slash_ends_a_folder);
    RUN(a_cache_has_a_name_in_utf8);
    RUN(devices_are_no_models);
    RUN(isolated_loads_are_refused);
    empty_folder();
    CHECK_OK(inferno_shutdown());
    return check_summary();
}
