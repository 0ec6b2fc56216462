/*
 * The model writer itself: known bytes. With a directory as its argument it also puts every model
 * there, for a look at them with other tools.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "models.h"

static int same(const pb *message, const void *bytes, size_t size) {
    return message->size == size && memcmp(message->data, bytes, size) == 0;
}

static void wire_format(void) {
    pb m = {0};
    pb_int(&m, 1, 150);
    CHECK(same(&m, "\x08\x96\x01", 3));
    pb_free(&m);
    pb_string(&m, 2, "testing");
    CHECK(same(&m, "\x12\x07testing", 9));
    pb_free(&m);
    pb_int(&m, 1, -1);
    CHECK(same(&m, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11));
    pb_free(&m);
    pb_int(&m, 20, 0);
    CHECK(same(&m, "\xa0\x01\x00", 3));
    pb_free(&m);
    pb_float(&m, 2, 1.0f);
    CHECK(same(&m, "\x15\x00\x00\x80\x3f", 5));
    pb_free(&m);
    pb inner = {0};
    pb_int(&inner, 1, 150);
    pb_message(&m, 3, &inner);
    CHECK(same(&m, "\x1a\x03\x08\x96\x01", 5));
    CHECK(inner.data == NULL);
    pb_free(&m);
}

static void lists(void) {
    const char *list = "a,,bc";
    char item[3];
    CHECK(onnx_next(&list, item, sizeof item) && strcmp(item, "a") == 0);
    CHECK(onnx_next(&list, item, sizeof item) && strcmp(item, "") == 0);
    CHECK(onnx_next(&list, item, sizeof item) && strcmp(item, "bc") == 0);
    CHECK(!onnx_next(&list, item, sizeof item));
}

static void attributes(void) {
    static const int64_t numbers[2] = {1, 2};
    pb m = {0};
    onnx_int(&m, "axis", -1);
    CHECK(same(&m,
               "\x2a\x14\x0a\x04" "axis" "\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
               "\xa0\x01\x02", 22));
    pb_free(&m);
    onnx_ints(&m, "p", numbers, 2);
    CHECK(same(&m, "\x2a\x0a\x0a\x01p\x40\x01\x40\x02\xa0\x01\x07", 12));
    pb_free(&m);
    onnx_string(&m, "m", "ab");
    CHECK(same(&m, "\x2a\x0a\x0a\x01m\x22\x02" "ab" "\xa0\x01\x03", 12));
    pb_free(&m);
    onnx_float(&m, "f", 1.0f);
    CHECK(same(&m, "\x2a\x0b\x0a\x01" "f" "\x15\x00\x00\x80\x3f\xa0\x01\x01", 13));
    pb_free(&m);
    pb tensor = onnx_tensor(NULL, F32, "", "abcd", 4);
    onnx_tensor_attribute(&m, "t", &tensor);
    CHECK(same(&m, "\x2a\x10\x0a\x01t\x2a\x08\x10\x01\x4a\x04" "abcd" "\xa0\x01\x04", 18));
    pb_free(&m);
}

static void values(void) {
    pb m = onnx_value_info("x", F32, "batch,2,?");
    CHECK(same(&m,
               "\x0a\x01x\x12\x15\x0a\x13\x08\x01\x12\x0f\x0a\x07\x12\x05" "batch"
               "\x0a\x02\x08\x02\x0a\x00", 26));
    pb_free(&m);
    m = onnx_value_info("x", F32, "");
    CHECK(same(&m, "\x0a\x01x\x12\x06\x0a\x04\x08\x01\x12\x00", 11));
    pb_free(&m);
    m = onnx_value_info("x", F32, NULL);
    CHECK(same(&m, "\x0a\x01x\x12\x04\x0a\x02\x08\x01", 9));
    pb_free(&m);
}

static void put(const char *folder, const char *name, pb model) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s.onnx", folder, name);
    FILE *file = fopen(path, "wb");
    REQUIRE(file != NULL);
    CHECK(fwrite(model.data, 1, model.size, file) == model.size);
    CHECK(fclose(file) == 0);
    pb_free(&model);
}

static void put_all(const char *folder) {
    for (size_t i = 0; i < COUNT_OF(MODELS_GOOD); i++) {
        put(folder, MODELS_GOOD[i].name, MODELS_GOOD[i].make());
    }
    for (size_t i = 0; i < COUNT_OF(MODELS_REFUSED); i++) {
        char name[128];
        snprintf(name, sizeof name, "refused_%s", MODELS_REFUSED[i].name);
        put(folder, name, MODELS_REFUSED[i].make());
    }
    for (int32_t dtype = INFERNO_DTYPE_F32; dtype <= INFERNO_DTYPE_U64; dtype++) {
        char name[128];
        snprintf(name, sizeof name, "identity_dtype_%d", dtype);
        put(folder, name, model_identity(dtype, "2,3"));
    }
    put(folder, "rank_9", model_rank_9());
    put(folder, "payload_huge", model_payload_huge());
}

int main(int argc, char **argv) {
    RUN(wire_format);
    RUN(lists);
    RUN(attributes);
    RUN(values);
    if (argc > 1) {
        put_all(argv[1]);
    }
    return check_summary();
}
