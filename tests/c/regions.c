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

int main(void) {
    RUN(both_ways_agree);
    return check_summary();
}
