/*
 * Runs a model, and says by the library's own counters what its memory cost once it was warm:
 *
 *   silent MODEL.onnx RUNS [INPUT=D,D,D | IN:OUT | NAME@NUMBER ...]
 *
 * Two writes to no file mark the runs for whoever traces the system calls (tests/silent.sh).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "args.h"

#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "silent MODEL.onnx RUNS [INPUT=D,D,D | IN:OUT | NAME@NUMBER ...]\n");
        return 2;
    }
    inferno_model *model = NULL;
    must(inferno_model_load(argv[1], NULL, &model), argv[1]);
    inferno_session *session = session_of(model, argv + 3, argc - 3);
    inferno_tensor input, output;
    must(inferno_session_input(session, 0, &input), "input");
    long runs = strtol(argv[2], NULL, 10);
    double sum = 0;
    inferno_memory_stats before = held();
    for (long run = -20; run < runs; run++) {
        if (run == 0) {
            before = held();
            if (write(-1, "silent: begin", 13) >= 0) {
                return 1;
            }
        }
        if (input.dtype == INFERNO_DTYPE_F32 && input.size_bytes > 0) {
            *(float *)input.data = (float)(run % 7) * 0.125f;
        }
        must(inferno_session_run(session, NULL), "run");
        must(inferno_session_output(session, 0, &output), "output");
        if (output.dtype == INFERNO_DTYPE_F32 && output.size_bytes > 0) {
            sum += (double)*(const float *)output.data;
        }
    }
    if (write(-1, "silent: end", 11) >= 0) {
        return 1;
    }
    inferno_memory_stats after = held();
    printf("runs=%ld misses=%lld source_calls=%lld refused=%lld live_growth=%lld hits=%lld sum=%g\n", runs,
           (long long)(after.misses - before.misses),
           (long long)(after.source_calls - before.source_calls),
           (long long)(after.refused - before.refused),
           (long long)(after.live_bytes - before.live_bytes),
           (long long)(after.hits + after.shared_hits - before.hits - before.shared_hits), sum);
    must(inferno_session_free(session), "session");
    must(inferno_model_free(model), "model");
    return 0;
}
