/*
 * Programs of regions against the same models operator by operator: the answers agree.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"
#include <math.h>
#include <string.h>

enum { MOST = 4096 };

/* Runs a model a few times over a fixed input; its last output 0. */
static size_t answer(pb bytes, const char *dims, size_t count, const char *regions, float *y) {
    static float x[MOST];
    for (size_t i = 0; i < count; i++) {
        x[i] = (float)((i * 37) % 101) / 50.0f - 1.0f;
    }
    if (regions != NULL) {
        setenv("INFERNO_REGIONS", regions, 1);
    }
    inferno_session *session = open_model(bytes);
    inferno_tensor input = tensor_of(INFERNO_DTYPE_F32, dims, x);
    CHECK_OK(inferno_session_set_input(session, 0, &input));
    for (int run = 0; run < 3; run++) {
        CHECK_OK(inferno_session_run(session, NULL));
    }
    inferno_tensor output;
    REQUIRE_OK(inferno_session_output(session, 0, &output));
    REQUIRE(output.size_bytes <= MOST * sizeof(float));
    memcpy(y, output.data, output.size_bytes);
    CHECK_OK(inferno_session_free(session));
    unsetenv("INFERNO_REGIONS");
    return output.size_bytes / sizeof(float);
}

static void both_ways_agree(void) {
    const struct {
        pb (*bytes)(void);
        const char *dims;
        size_t count;
    } models[] = {
        {model_mlp, "1,4", 4},
        {model_mlp, "50,4", 200},
        {model_accumulator, "1,3", 3},
        {model_convnet, "1,3,32,32", 3072},
        {model_add, "2,3", 6},
        {model_sine, "1,3", 3},
    };
    static float ours[MOST], theirs[MOST], again[MOST];
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        const char *dims = models[i].dims;
        size_t n = answer(models[i].bytes(), dims, models[i].count, NULL, ours);
        CHECK(answer(models[i].bytes(), dims, models[i].count, "0", theirs) == n);
        CHECK(answer(models[i].bytes(), dims, models[i].count, "1", again) == n);
        CHECK(memcmp(ours, again, n * sizeof *ours) == 0);
        for (size_t j = 0; j < n; j++) {
            /* The order of sums differs; and one product, one rounding. */
            CHECK(fabsf(ours[j] - theirs[j]) <= 1e-5f * fmaxf(1.0f, fabsf(theirs[j])));
        }
    }
}

/* Integers that choose rows or become numbers: read from views and from bound memory, wherever it
   begins; what is out of range is refused, and nothing has changed. */
static void integers_are_read_before_the_region(void) {
    static unsigned char room[64];
    int64_t ids[3] = {4, 0, -1}, mask[3] = {1, -2, 0}, wrong[3] = {0, 5, 1};
    float expected[12];
    for (int i = 0; i < 12; i++) {
        int row = ids[i / 4] < 0 ? (int)ids[i / 4] + 5 : (int)ids[i / 4];
        expected[i] = model_weight(6, (unsigned)(row * 4 + i % 4)) * (float)mask[i / 4];
    }
    inferno_session *session = open_model(model_tokens());
    inferno_tensor in = tensor_of(INFERNO_DTYPE_I64, "3", ids), out;
    inferno_tensor times = tensor_of(INFERNO_DTYPE_I64, "3,1", mask);
    for (int bound = 0; bound < 2; bound++) {
        if (bound) {
            in.data = room + 1;
            memcpy(room + 1, ids, sizeof ids);
            CHECK_OK(inferno_session_bind_input(session, 0, &in));
        } else {
            CHECK_OK(inferno_session_set_input(session, 0, &in));
            CHECK_OK(inferno_session_set_input(session, 1, &times));
        }
        for (int run = 0; run < 3; run++) {
            CHECK_OK(inferno_session_run(session, NULL));
            CHECK_OK(inferno_session_output(session, 0, &out));
            CHECK(out.size_bytes == sizeof expected && close_to(out.data, expected, 12));
        }
        if (bound) {
            memcpy(room + 1, wrong, sizeof wrong);
        } else {
            in.data = wrong;
            CHECK_OK(inferno_session_set_input(session, 0, &in));
        }
        CHECK_ERROR(inferno_session_run(session, NULL), INFERNO_STATUS_RUN_FAILED, "index 5 is out of range");
        CHECK_OK(inferno_session_output(session, 0, &out));
        CHECK(close_to(out.data, expected, 12));
    }
    CHECK_OK(inferno_session_free(session));
}

enum { WIDE = 256 };

static pb model_wide(void) {
    pb graph = {0};
    onnx_input(&graph, "x", INFERNO_DTYPE_F32, "n,256");
    model_weights(&graph, "w", "256,256", 7, WIDE * WIDE);
    onnx_node(&graph, "MatMul", "product", "x,w", "y", NULL);
    onnx_output(&graph, "y", INFERNO_DTYPE_F32, "n,256");
    return onnx_model(&graph, "wide", 17, NULL);
}

/* However many shapes a model is compiled for, its packed weights are there once. */
static void shapes_share_their_weights(void) {
    static float x[8 * WIDE];
    inferno_model *model = load(model_wide());
    inferno_session *session = open_session(model, NULL);
    for (int n = 1; n <= 8; n++) {
        inferno_memory_stats before = {.struct_size = sizeof before}, after = before;
        char dims[32];
        snprintf(dims, sizeof dims, "%d,%d", n, WIDE);
        inferno_tensor input = tensor_of(INFERNO_DTYPE_F32, dims, x);
        CHECK_OK(inferno_memory_get_stats(&before));
        CHECK_OK(inferno_session_set_input(session, 0, &input));
        CHECK_OK(inferno_session_run(session, NULL));
        CHECK_OK(inferno_memory_get_stats(&after));
        int64_t grown = (int64_t)(after.live_bytes - before.live_bytes);
        CHECK(n == 1 || grown < WIDE * WIDE * (int)sizeof(float) / 2);
    }
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
}

int main(void) {
    RUN(shapes_share_their_weights);
    RUN(integers_are_read_before_the_region);
    RUN(both_ways_agree);
    return check_summary();
}
