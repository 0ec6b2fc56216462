/*
 * Every dtype in and out again: number types, bool, strings; empty tensors, scalars, rank 8.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"

static const int32_t NUMBERS[] = {
    INFERNO_DTYPE_F32, INFERNO_DTYPE_U8,  INFERNO_DTYPE_I8,  INFERNO_DTYPE_U16,
    INFERNO_DTYPE_I16, INFERNO_DTYPE_I32, INFERNO_DTYPE_I64, INFERNO_DTYPE_F16,
    INFERNO_DTYPE_F64, INFERNO_DTYPE_U32, INFERNO_DTYPE_U64,
};

/* Bits that any number type may have, the extremes and not-a-numbers among them. */
static void patterns(unsigned char *bytes, size_t size, unsigned series) {
    static const unsigned char fixed[] = {0x00, 0xff, 0x80, 0x7f, 0x01, 0xfe};
    for (size_t i = 0; i < size; i++) {
        bytes[i] = series < COUNT_OF(fixed) ? fixed[series]
                                            : (unsigned char)(i * 37 + series * 101 + 13);
    }
}

/* All ways in, all ways out; bits are bits. */
static void round_trip(int32_t dtype, const char *dims) {
    unsigned char sent[256], kept[256], copy[256];
    inferno_tensor_info info;
    inferno_tensor x, y, view;
    inferno_model *model = load(model_identity(dtype, dims));
    CHECK_OK(inferno_model_input(model, 0, &info));
    CHECK(info.dtype == dtype);
    CHECK_OK(inferno_model_output(model, 0, &info));
    CHECK(info.dtype == dtype);
    inferno_session *session = open_session(model, NULL);
    x = tensor_of(dtype, dims, sent);
    REQUIRE(x.size_bytes <= sizeof sent);
    for (unsigned series = 0; series < 8; series++) {
        patterns(sent, sizeof sent, series);
        memcpy(kept, sent, sizeof kept);
        inferno_tensor expected = tensor_of(dtype, dims, kept);

        CHECK_OK(inferno_session_set_input(session, 0, &x));
        memset(sent, 0x33, sizeof sent);
        CHECK_OK(inferno_session_run(session, NULL));
        CHECK_OK(inferno_session_output(session, 0, &y));
        check_note(tensor_equals(&y, expected), __FILE__, __LINE__, "set_input to output",
                   inferno_dtype_name(dtype));
        memset(copy, 0x33, sizeof copy);
        CHECK_OK(inferno_session_copy_output(session, 0, copy, x.size_bytes, NULL));
        CHECK(memcmp(copy, kept, x.size_bytes) == 0);

        patterns(sent, sizeof sent, series + 1);
        memcpy(kept, sent, sizeof kept);
        CHECK_OK(inferno_session_input(session, 0, &view));
        CHECK(view.dtype == dtype && view.rank == x.rank && view.size_bytes == x.size_bytes);
        if (x.size_bytes != 0) {
            memcpy(view.data, sent, x.size_bytes);
        }
        CHECK_OK(inferno_session_run(session, NULL));
        CHECK_OK(inferno_session_output(session, 0, &y));
        check_note(tensor_equals(&y, expected), __FILE__, __LINE__, "view to output",
                   inferno_dtype_name(dtype));

        inferno_tensor to = tensor_of(dtype, dims, copy);
        patterns(sent, sizeof sent, series + 2);
        memset(copy, 0x33, sizeof copy);
        CHECK_OK(inferno_session_bind_input(session, 0, &x));
        CHECK_OK(inferno_session_bind_output(session, 0, &to));
        CHECK_OK(inferno_session_run(session, NULL));
        CHECK(memcmp(copy, sent, x.size_bytes) == 0);
        CHECK_OK(inferno_session_bind_input(session, 0, NULL));
        CHECK_OK(inferno_session_bind_output(session, 0, NULL));
    }
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
}

static void numbers(void) {
    for (size_t i = 0; i < COUNT_OF(NUMBERS); i++) {
        round_trip(NUMBERS[i], "2,3");
    }
}

static void scalars(void) {
    for (size_t i = 0; i < COUNT_OF(NUMBERS); i++) {
        round_trip(NUMBERS[i], "");
    }
}

static void empty_tensors(void) {
    for (size_t i = 0; i < COUNT_OF(NUMBERS); i++) {
        round_trip(NUMBERS[i], "0");
    }
    round_trip(INFERNO_DTYPE_F32, "2,0,3");
    round_trip(INFERNO_DTYPE_F32, "0,0");
}

static void rank_8(void) {
    round_trip(INFERNO_DTYPE_F32, "1,2,1,2,1,2,1,2");
    round_trip(INFERNO_DTYPE_I8, "2,1,2,1,2,1,2,1");
    round_trip(INFERNO_DTYPE_F32, "1,1,1,1,1,1,1,0");
}

/* One byte, 0 or 1; any other value counts as 1. */
static void bools(void) {
    unsigned char sent[6] = {0, 1, 2, 255, 0, 128}, expected[6] = {0, 1, 1, 1, 0, 1};
    inferno_session *session = open_model(model_identity(INFERNO_DTYPE_BOOL, "2,3"));
    inferno_tensor x = tensor_of(INFERNO_DTYPE_BOOL, "2,3", sent), view;
    CHECK_OK(inferno_session_set_input(session, 0, &x));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(output_is(session, 0, tensor_of(INFERNO_DTYPE_BOOL, "2,3", expected)));
    /* Written into a view, and bound, as well. */
    CHECK_OK(inferno_session_input(session, 0, &view));
    memcpy(view.data, sent, sizeof sent);
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(output_is(session, 0, tensor_of(INFERNO_DTYPE_BOOL, "2,3", expected)));
    CHECK_OK(inferno_session_bind_input(session, 0, &x));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(output_is(session, 0, tensor_of(INFERNO_DTYPE_BOOL, "2,3", expected)));
    CHECK(sent[3] == 255);
    CHECK_OK(inferno_session_free(session));
    round_trip(INFERNO_DTYPE_BOOL, "0");
}

static int strings_are(inferno_session *session, const char *const *expected, size_t count) {
    inferno_tensor view;
    if (inferno_session_output(session, 0, &view) != INFERNO_STATUS_OK ||
        view.dtype != INFERNO_DTYPE_STRING || view.size_bytes != count * sizeof(char *)) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        const char *text = ((const char **)view.data)[i];
        if (text == NULL || strcmp(text, expected[i]) != 0) {
            return 0;
        }
    }
    return 1;
}

static void strings(void) {
    inferno_session *session = open_model(model_identity_string());
    char long_one[5000];
    memset(long_one, 'z', sizeof long_one - 1);
    long_one[sizeof long_one - 1] = '\0';
    char changing[] = "first";
    const char *words[2] = {changing, "gr\xc3\xb6\xc3\x9f" "er \xe5\xa4\xa7"};
    static const char *const expected[2] = {"first", "gr\xc3\xb6\xc3\x9f" "er \xe5\xa4\xa7"};
    inferno_tensor x = tensor_of(INFERNO_DTYPE_STRING, "2", words);
    CHECK(x.size_bytes == 2 * sizeof(char *));
    CHECK_OK(inferno_session_set_input(session, 0, &x));
    memset(changing, '?', 5); /* copied, the pointers and the text */
    words[1] = NULL;
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(strings_are(session, expected, 2));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(strings_are(session, expected, 2));
    words[0] = "";
    words[1] = long_one;
    CHECK_OK(inferno_session_set_input(session, 0, &x));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(strings_are(session, words, 2));
    CHECK_OK(inferno_session_free(session));

    session = open_model(model_identity(INFERNO_DTYPE_STRING, ""));
    x = tensor_of(INFERNO_DTYPE_STRING, "", words);
    words[0] = "alone";
    CHECK_OK(inferno_session_set_input(session, 0, &x));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(strings_are(session, words, 1));
    CHECK_OK(inferno_session_free(session));

    session = open_model(model_identity(INFERNO_DTYPE_STRING, "n"));
    for (int n = 2; n >= 0; n--) {
        static const char *const dims[] = {"0", "1", "2"};
        x = tensor_of(INFERNO_DTYPE_STRING, dims[n], words);
        CHECK_OK(inferno_session_set_input(session, 0, &x));
        CHECK_OK(inferno_session_run(session, NULL));
        CHECK(strings_are(session, words, (size_t)n));
    }
    CHECK_OK(inferno_session_free(session));
}

int main(void) {
    RUN(numbers);
    RUN(scalars);
    RUN(empty_tensors);
    RUN(rank_8);
    RUN(bools);
    RUN(strings);
    return check_summary();
}
