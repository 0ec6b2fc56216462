/* The instructions that the kernels use: capped by an option, with the same answer. */
#include "check.h"
#include "fixtures.h"
#include <string.h>

enum { BATCH = 3 };

static void answer(inferno_isa isa, float *y) {
    inferno_runtime_options options;
    REQUIRE_OK(inferno_runtime_options_init(&options, sizeof options));
    CHECK(options.isa == INFERNO_ISA_BEST);
    options.isa = isa;
    REQUIRE_OK(inferno_init(&options));
    inferno_session *session = open_model(model_mlp());
    static float x[BATCH * MLP_IN] = {1, -2, 3.5f, 0.25f, -1, 7, 1e-3f, 2, 0.1f, 0.2f, 0.3f, 0.4f};
    inferno_tensor input = tensor_of(INFERNO_DTYPE_F32, "3,4", x);
    CHECK_OK(inferno_session_set_input(session, 0, &input));
    CHECK_OK(inferno_session_run(session, NULL));
    inferno_tensor output;
    CHECK_OK(inferno_session_output(session, 0, &output));
    memcpy(y, output.data, sizeof(float) * BATCH * MLP_OUT);
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_shutdown());
}

static void every_set_gives_the_same_bits(void) {
    float wanted[BATCH * MLP_OUT], got[BATCH * MLP_OUT];
    answer(INFERNO_ISA_SCALAR, wanted);
    for (int isa = INFERNO_ISA_BEST; isa <= INFERNO_ISA_NEON; isa++) {
        memset(got, 0xff, sizeof got);
        answer((inferno_isa)isa, got);
        CHECK(memcmp(got, wanted, sizeof got) == 0);
    }
}

static void no_other_number_is_one(void) {
    for (int number = -1; number <= 5; number += 6) {
        inferno_runtime_options options;
        REQUIRE_OK(inferno_runtime_options_init(&options, sizeof options));
        options.isa = number;
        CHECK_ERROR(inferno_init(&options), INFERNO_STATUS_INVALID_ARGUMENT, "inferno_isa");
    }
}

int main(void) {
    RUN(every_set_gives_the_same_bits);
    RUN(no_other_number_is_one);
    return check_summary();
}
