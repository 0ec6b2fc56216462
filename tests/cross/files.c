/*
 * Files as Windows has them: long paths, locks, read-only files, names of devices; and a model's file that
 * the host replaces while it is read, which is how a game's assets are reloaded.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"
#include "imports.h"
#include "scratch.h"

enum { PATH_CHARS = 1024 };

/* UTF-8 to what Windows takes at any length; good until the fourth call after. */
static const wchar_t *wide(const char *path) {
    static wchar_t paths[4][PATH_CHARS];
    static unsigned next;
    char verbatim[PATH_CHARS];
    wchar_t *to = paths[next++ % 4];
    snprintf(verbatim, sizeof verbatim, "\\\\?\\%s", path);
    for (char *at = verbatim; *at != '\0'; at++) {
        *at = *at == '/' ? '\\' : *at;
    }
    REQUIRE(MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, verbatim, -1, to, PATH_CHARS) > 0);
    return to;
}

static void write_file(const char *path, const void *bytes, size_t size) {
    FILE *file = _wfopen(wide(path), L"wb");
    REQUIRE(file != NULL);
    REQUIRE(fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

static void write_model(const char *path, pb bytes) {
    write_file(path, bytes.data, bytes.size);
    pb_free(&bytes);
}

/* A path below a folder. */
static const char *below(const char *folder, const char *name) {
    static char paths[4][PATH_CHARS];
    static unsigned next;
    char *path = paths[next++ % 4];
    REQUIRE(snprintf(path, PATH_CHARS, "%s/%s", folder, name) < PATH_CHARS);
    return path;
}

static void empty_folder(const char *folder) {
    WIN32_FIND_DATAW found;
    HANDLE all = FindFirstFileW(wide(below(folder, "*")), &found);
    do {
        char name[PATH_CHARS];
        WideCharToMultiByte(CP_UTF8, 0, found.cFileName, -1, name, sizeof name, NULL, NULL);
        if ((found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) == 0) {
            CHECK(DeleteFileW(wide(below(folder, name))));
        } else if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
            char inner[PATH_CHARS];
            snprintf(inner, sizeof inner, "%s", below(folder, name));
            empty_folder(inner);
        }
    } while (FindNextFileW(all, &found));
    FindClose(all);
    CHECK(RemoveDirectoryW(wide(folder)));
}

static const float WEIGHTS[4] = {1, 2, 3, 4};

/* Whether the file `path` adds WEIGHTS, which are in a file beside it. */
static int file_adds(const char *path) {
    inferno_model *model = NULL;
    if (!CHECK_OK(inferno_model_load(path, NULL, &model))) {
        return 0;
    }
    int held = adds(model, WEIGHTS);
    CHECK_OK(inferno_model_free(model));
    return held;
}

static int loads(const char *path) {
    inferno_model *model = NULL;
    inferno_status status = inferno_model_load(path, NULL, &model);
    CHECK_OK(status);
    CHECK_OK(status == INFERNO_STATUS_OK ? inferno_model_free(model) : INFERNO_STATUS_OK);
    return status == INFERNO_STATUS_OK;
}

/* (GetFinalPathNameByHandle of some of its releases knows no path longer than MAX_PATH.) */
static int is_wine(void) {
    return GetProcAddress(GetModuleHandleA("ntdll.dll"), "wine_get_version") != NULL;
}

/* Longer than MAX_PATH: absolute with either slash, as Windows itself spells it, relative; and so the
 * folder of a cache and a file of metrics. */
static void paths_may_be_long(void) {
    char deep[PATH_CHARS], base[PATH_CHARS], cache[PATH_CHARS], part[101];
    memset(part, 'd', 100);
    part[100] = '\0';
    snprintf(base, sizeof base, "%s", scratch("deep"));
    snprintf(deep, sizeof deep, "%s", base);
    for (int depth = 0; depth < 4; depth++) {
        REQUIRE(CreateDirectoryW(wide(deep), NULL));
        snprintf(deep, sizeof deep, "%s", below(deep, part));
    }
    REQUIRE(CreateDirectoryW(wide(deep), NULL));
    write_model(below(deep, "mlp.onnx"), model_mlp());
    const char *path = below(deep, "mlp.onnx");
    char turned[PATH_CHARS];
    CHECK(loads(path));
    WideCharToMultiByte(CP_UTF8, 0, wide(path), -1, turned, sizeof turned, NULL, NULL);
    CHECK(loads(turned));
    CHECK(loads(turned + strlen("\\\\?\\")));
    wchar_t here[PATH_CHARS], there[PATH_CHARS];
    REQUIRE(MultiByteToWideChar(CP_UTF8, 0, scratch_folder, -1, there, PATH_CHARS) > 0);
    REQUIRE(GetCurrentDirectoryW(PATH_CHARS, here) > 0 && SetCurrentDirectoryW(there));
    CHECK(loads(path + strlen(scratch_folder) + 1));
    REQUIRE(SetCurrentDirectoryW(here));
    if (is_wine()) {
        SKIP(external_data_at_long_paths, "Wine does not tell the real path of such a file");
    } else {
        write_file(below(deep, "w.bin"), WEIGHTS, sizeof WEIGHTS);
        write_model(below(deep, "add.onnx"), model_external("w.bin", 0, 16));
        CHECK(file_adds(below(deep, "add.onnx")));
    }

    inferno_model_options options;
    inferno_model *model = NULL;
    REQUIRE_OK(inferno_model_options_init(&options, sizeof options));
    snprintf(cache, sizeof cache, "%s", below(deep, "cache"));
    options.cache_dir = cache;
    pb bytes = model_mlp();
    CHECK_OK(inferno_model_load_memory(bytes.data, bytes.size, &options, &model));
    pb_free(&bytes);
    CHECK_OK(inferno_session_free(open_session(model, NULL)));
    CHECK_OK(inferno_model_free(model));
    uint64_t subscription = 0;
    CHECK_OK(inferno_metrics_export(below(deep, "inferno.prom"), 0, NULL, &subscription));
    CHECK_OK(inferno_metrics_unsubscribe(subscription));
    CHECK(GetFileAttributesW(wide(below(deep, "inferno.prom"))) != INVALID_FILE_ATTRIBUTES);
    empty_folder(base);
}

static void a_model_may_be_read_only(void) {
    scratch_write("w.bin", WEIGHTS, sizeof WEIGHTS);
    write_model(scratch("add.onnx"), model_external("w.bin", 0, 16));
    const char *const names[] = {"w.bin", "add.onnx"};
    for (int i = 0; i < 2; i++) {
        REQUIRE(SetFileAttributesW(wide(scratch(names[i])), FILE_ATTRIBUTE_READONLY));
    }
    CHECK(file_adds(scratch("add.onnx")));
    for (int i = 0; i < 2; i++) {
        REQUIRE(SetFileAttributesW(wide(scratch(names[i])), FILE_ATTRIBUTE_NORMAL));
    }
}

static HANDLE open_shared(const char *path, DWORD access, DWORD share) {
    HANDLE file = CreateFileW(wide(path), access, share, NULL, OPEN_EXISTING, 0, NULL);
    REQUIRE(file != INVALID_HANDLE_VALUE);
    return file;
}

/* Another program's locks: one that shares nothing is told, any other is none. */
static void a_model_may_be_locked(void) {
    inferno_model *model = NULL;
    HANDLE file = open_shared(scratch("add.onnx"), GENERIC_READ, 0);
    CHECK_ERROR(inferno_model_load(scratch("add.onnx"), NULL, &model), INFERNO_STATUS_IO, "add.onnx");
    CHECK(check_contains(inferno_last_error(), "os error 32") && model == NULL);
    CloseHandle(file);
    file = open_shared(scratch("w.bin"), GENERIC_READ, 0);
    CHECK_ERROR(inferno_model_load(scratch("add.onnx"), NULL, &model), INFERNO_STATUS_IO, "w.bin");
    CHECK(model == NULL);
    CloseHandle(file);
    file = open_shared(scratch("add.onnx"), GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ);
    CHECK(file_adds(scratch("add.onnx")));
    CloseHandle(file);
}

/* ---- A file that is replaced while it is read ----------------------------------------------- */

static HANDLE(WINAPI *create_file)(LPCWSTR, DWORD, DWORD, LPSECURITY_ATTRIBUTES, DWORD, DWORD, HANDLE);
static const char *watched; /* whose next reader meets a host that replaces it */
static int moves;

/* Opens the file as asked; if it is the watched one, another takes its name before it is read. */
static HANDLE WINAPI open_and_replace(LPCWSTR path, DWORD access, DWORD share,
                                      LPSECURITY_ATTRIBUTES security, DWORD how, DWORD flags,
                                      HANDLE like) {
    HANDLE file = create_file(path, access, share, security, how, flags, like);
    char name[PATH_CHARS];
    WideCharToMultiByte(CP_UTF8, 0, path, -1, name, sizeof name, NULL, NULL);
    size_t length = watched != NULL ? strlen(watched) : 0, whole = strlen(name);
    if (length > 0 && whole >= length && strcmp(name + whole - length, watched) == 0 &&
        (access & GENERIC_READ) != 0) {
        const char *was = watched;
        watched = NULL;
        CHECK((share & FILE_SHARE_READ) && (share & FILE_SHARE_WRITE) && (share & FILE_SHARE_DELETE));
        CHECK(MoveFileExW(wide(scratch(was)), wide(scratch("old")), 0));
        CHECK(MoveFileExW(wide(scratch("new")), wide(scratch(was)), 0));
        CHECK(DeleteFileW(wide(scratch("old"))));
        moves++;
    }
    return file;
}

static void a_file_may_be_replaced_while_it_is_read(void) {
    const float others[4] = {0, 0, 0, 5};
    divert_import("CreateFileW", &create_file, (uintptr_t)open_and_replace);
    /* The model: the load has the old one, the next has the new one. */
    write_model(scratch("new"), model_mlp());
    watched = "add.onnx";
    CHECK(file_adds(scratch("add.onnx")) && moves == 1);
    inferno_model *model = NULL;
    inferno_tensor_info info;
    CHECK_OK(inferno_model_load(scratch("add.onnx"), NULL, &model));
    CHECK_OK(inferno_model_input(model, 0, &info));
    CHECK(info.rank == 2); /* (The other's is 1.) */
    CHECK_OK(inferno_model_free(model));
    /* Its weights. */
    write_model(scratch("add.onnx"), model_external("w.bin", 0, 16));
    scratch_write("new", others, sizeof others);
    watched = "w.bin";
    CHECK(file_adds(scratch("add.onnx")) && moves == 2);
    CHECK(!file_adds(scratch("add.onnx")));
}

/* ---- Names that Windows reads in its own way ------------------------------------------------ */

static void weights_stay_in_their_folder(void) {
    const char *const names[] = {
        "NUL",      "CON",          "CONIN$",       "COM1",          "LPT1.bin",          "aux",
        "C:w.bin",  "w.bin:stream", "w.bin::$DATA", "..\\w.bin",     "d\\..\\..\\w.bin",  ".. \\w.bin",
        "\\w.bin",  "C:\\w.bin",    "...\\w.bin",   "\\\\?\\C:\\w",  "\\\\host\\share\\w", "\\\\.\\NUL",
        "//host/w", "w*.bin",       "w?bin",        "w.bin|",        "<w.bin",            "d\\NUL",
    };
    REQUIRE(make_folder(scratch("d")) == 0);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        inferno_model *model = NULL;
        write_model(scratch("odd.onnx"), model_external(names[i], 0, 16));
        inferno_status status = inferno_model_load(scratch("odd.onnx"), NULL, &model);
        check_note(status == INFERNO_STATUS_INVALID_MODEL || status == INFERNO_STATUS_IO ||
                       status == INFERNO_STATUS_NOT_FOUND,
                   __FILE__, __LINE__, names[i], inferno_status_name((int32_t)status));
        CHECK(model == NULL && inferno_last_error()[0] != '\0');
    }
    /* Capitals or not, it is the same file. */
    scratch_write("w.bin", WEIGHTS, sizeof WEIGHTS);
    write_model(scratch("odd.onnx"), model_external("W.BIN", 0, 16));
    CHECK(file_adds(scratch("odd.onnx")));
}

int main(void) {
    RUN(paths_may_be_long);
    RUN(a_model_may_be_read_only);
    RUN(a_model_may_be_locked);
    RUN(a_file_may_be_replaced_while_it_is_read);
    RUN(weights_stay_in_their_folder);
    CHECK_OK(inferno_shutdown());
    return check_summary();
}
