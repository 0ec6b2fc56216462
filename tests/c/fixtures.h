/*
 * What several tests share: loading models that the writer made, and tensors over C arrays.
 * Include after check.h.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef FIXTURES_H
#define FIXTURES_H

#include "check.h"
#include "models.h"

/* Loads `bytes` and frees them. */
static inline inferno_model *load(pb bytes) {
    inferno_model *model = NULL;
    inferno_status status = inferno_model_load_memory(bytes.data, bytes.size, NULL, &model);
    pb_free(&bytes);
    REQUIRE_OK(status);
    return model;
}

static inline inferno_session *open_session(const inferno_model *model,
                                            const inferno_session_options *options) {
    inferno_session *session = NULL;
    REQUIRE_OK(inferno_session_new(model, options, &session));
    return session;
}

/* A session over a model of its own, with the default options. */
static inline inferno_session *open_model(pb bytes) {
    inferno_model *model = load(bytes);
    inferno_session *session = open_session(model, NULL);
    CHECK_OK(inferno_model_free(model));
    return session;
}

static inline inferno_session_options session_defaults(void) {
    inferno_session_options options;
    REQUIRE_OK(inferno_session_options_init(&options, sizeof options));
    return options;
}

/* A session over a model of its own with one recurrent pair. */
static inline inferno_session *open_recurrent(pb bytes, const char *input, const char *output) {
    inferno_state_pair pair = {input, output};
    inferno_session_options options = session_defaults();
    options.states = &pair;
    options.state_count = 1;
    inferno_model *model = load(bytes);
    inferno_session *session = open_session(model, &options);
    CHECK_OK(inferno_model_free(model));
    return session;
}

/* A tensor over `data`; dims as in onnx_writer.h: "2,3". */
static inline inferno_tensor tensor_of(int32_t dtype, const char *dims, void *data) {
    inferno_tensor tensor = {.dtype = dtype, .data = data};
    const char *list = *dims == '\0' ? NULL : dims;
    char item[32];
    size_t volume = 1;
    while (onnx_next(&list, item, sizeof item)) {
        int64_t dim = strtoll(item, NULL, 10);
        tensor.dims[tensor.rank++] = dim;
        volume *= (size_t)dim;
    }
    tensor.size_bytes = volume * inferno_dtype_size(dtype);
    if (tensor.size_bytes == 0) {
        tensor.data = NULL;
    }
    return tensor;
}

static inline inferno_tensor f32_tensor(const char *dims, const float *data) {
    return tensor_of(INFERNO_DTYPE_F32, dims, (void *)data);
}

static inline inferno_tensor i64_tensor(const char *dims, const int64_t *data) {
    return tensor_of(INFERNO_DTYPE_I64, dims, (void *)data);
}

/* Whether `tensor` has this dtype, these dims and these elements. */
static inline int tensor_equals(const inferno_tensor *tensor, inferno_tensor expected) {
    return tensor->dtype == expected.dtype && tensor->rank == expected.rank &&
           memcmp(tensor->dims, expected.dims, sizeof expected.dims) == 0 &&
           tensor->size_bytes == expected.size_bytes &&
           (expected.size_bytes == 0
                ? tensor->data == NULL
                : tensor->data != NULL &&
                      memcmp(tensor->data, expected.data, expected.size_bytes) == 0);
}

/* Whether output `index` of `session` is exactly this. */
static inline int output_is(inferno_session *session, size_t index, inferno_tensor expected) {
    inferno_tensor tensor;
    return inferno_session_output(session, index, &tensor) == INFERNO_STATUS_OK &&
           tensor_equals(&tensor, expected);
}

/* Whether a `model_external` adds these weights to what it is given. */
static inline int adds(const inferno_model *model, const float weights[4]) {
    float x[4] = {10, 20, 30, 40}, sum[4];
    for (int i = 0; i < 4; i++) {
        sum[i] = x[i] + weights[i];
    }
    inferno_session *session = open_session(model, NULL);
    inferno_tensor input = f32_tensor("4", x);
    CHECK_OK(inferno_session_set_input(session, 0, &input));
    CHECK_OK(inferno_session_run(session, NULL));
    int held = output_is(session, 0, f32_tensor("4", sum));
    CHECK_OK(inferno_session_free(session));
    return held;
}

/* Whether two runs of floats agree to about the last bits. */
static inline int close_to(const float *got, const float *expected, size_t count) {
    for (size_t i = 0; i < count; i++) {
        float difference = got[i] - expected[i];
        float room = 1e-5f + 1e-5f * (expected[i] < 0 ? -expected[i] : expected[i]);
        if (!(difference <= room && difference >= -room)) {
            return 0;
        }
    }
    return 1;
}

#endif /* FIXTURES_H */
