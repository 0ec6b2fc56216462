/*
 * The version as text, as a number, and as the header's macros; the names of statuses and dtypes.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"

static void version(void) {
    char text[64];
    snprintf(text, sizeof text, "%d.%d.%d", INFERNO_VERSION_MAJOR, INFERNO_VERSION_MINOR,
             INFERNO_VERSION_PATCH);
    CHECK(strcmp(inferno_version_string(), text) == 0);
    CHECK(inferno_version() == INFERNO_VERSION);
    CHECK(INFERNO_VERSION == INFERNO_VERSION_MAJOR * 1000000 + INFERNO_VERSION_MINOR * 1000 +
                                 INFERNO_VERSION_PATCH);
    CHECK(inferno_version_string() == inferno_version_string());
}

static void status_names(void) {
    static const char *const names[] = {
        "OK",             "INVALID_ARGUMENT", "INVALID_HANDLE", "BUSY",
        "NOT_FOUND",      "IO",               "INVALID_MODEL",  "UNSUPPORTED",
        "DTYPE_MISMATCH", "SHAPE_MISMATCH",   "SIZE_MISMATCH",  "NOT_READY",
        "OUT_OF_MEMORY",  "LIMIT_EXCEEDED",   "RUN_FAILED",     "INTERNAL",
    };
    for (int32_t i = 0; i < 16; i++) {
        CHECK(strcmp(inferno_status_name(i), names[i]) == 0);
    }
    CHECK(INFERNO_STATUS_OK == 0);
    CHECK(INFERNO_STATUS_INTERNAL == 15);
}

static void dtypes(void) {
    static const struct {
        int32_t dtype;
        size_t size;
        const char *name;
    } all[] = {
        {INFERNO_DTYPE_UNDEFINED, 0, "undefined"},
        {INFERNO_DTYPE_F32, 4, "f32"},
        {INFERNO_DTYPE_U8, 1, "u8"},
        {INFERNO_DTYPE_I8, 1, "i8"},
        {INFERNO_DTYPE_U16, 2, "u16"},
        {INFERNO_DTYPE_I16, 2, "i16"},
        {INFERNO_DTYPE_I32, 4, "i32"},
        {INFERNO_DTYPE_I64, 8, "i64"},
        {INFERNO_DTYPE_STRING, sizeof(const char *), "string"},
        {INFERNO_DTYPE_BOOL, 1, "bool"},
        {INFERNO_DTYPE_F16, 2, "f16"},
        {INFERNO_DTYPE_F64, 8, "f64"},
        {INFERNO_DTYPE_U32, 4, "u32"},
        {INFERNO_DTYPE_U64, 8, "u64"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        CHECK(inferno_dtype_size(all[i].dtype) == all[i].size);
        CHECK(strcmp(inferno_dtype_name(all[i].dtype), all[i].name) == 0);
    }
}

/* A failure leaves a text, the next success takes it away. */
static void error_text(void) {
    CHECK_ERROR(inferno_model_load_memory(NULL, 1, NULL, NULL), INFERNO_STATUS_INVALID_ARGUMENT,
                "expected");
    CHECK_OK(inferno_shutdown());
    CHECK(inferno_last_error()[0] == '\0');
    CHECK(inferno_last_error() == inferno_last_error());
}

int main(void) {
    RUN(version);
    RUN(status_names);
    RUN(dtypes);
    RUN(error_text);
    return check_summary();
}
