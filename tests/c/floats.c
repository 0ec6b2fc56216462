/*
 * The host's floating-point mode: debug builds of games trap exceptions, plug-ins of audio flush
 * denormals, others round as they please. A call computes the same, to the bit, and leaves it as it was.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"

#ifdef __x86_64__

#include <xmmintrin.h>

/* Exceptions trapped: all; then rounded down, up, to zero; then denormals that are zero. */
static const unsigned modes[] = {0, 0x3f80, 0x5f80, 0x7f80, 0x9fc0};

static unsigned mode_now(void) { return _mm_getcsr() & ~0x3fu; }
static void set_mode(unsigned mode) { _mm_setcsr(mode); }

#else

#include <fenv.h>

static const unsigned modes[] = {FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};

static unsigned mode_now(void) { return (unsigned)fegetround(); }
static void set_mode(unsigned mode) { fesetround((int)mode); }

#endif

static unsigned usual, chosen;

/* The call, in the mode that the host has chosen. */
#define IN_MODE(call)                        \
    do {                                     \
        set_mode(chosen);                    \
        inferno_status status_ = (call);     \
        unsigned after_ = mode_now();        \
        set_mode(usual);                     \
        CHECK(after_ == chosen);             \
        check_status(status_, INFERNO_STATUS_OK, NULL, __FILE__, __LINE__, #call); \
    } while (0)

enum { MOST = 1 << 16 };

/* What all calls wrote, one after the other. */
typedef struct results {
    size_t size;
    unsigned char bytes[MOST];
} results;

static void keep(results *all, const void *data, size_t size) {
    REQUIRE(all->size + size <= MOST);
    memcpy(all->bytes + all->size, data, size);
    all->size += size;
}

/* Numbers that raise every exception there is: infinite, none, denormal, huge, inexact. */
static void fill(float *x, size_t count) {
    static const uint32_t odd[] = {0x7f800000, 0xff800000, 0x7fc00000, 0x00000001, 0x807fffff,
                                   0x7f7fffff, 0xff7fffff, 0x00800000, 0x80000000, 0x7fa00000};
    for (size_t i = 0; i < count; i++) {
        x[i] = (float)(i % 23) / 7.0f - 1.0f;
        if (i % 5 == 0) {
            memcpy(&x[i], &odd[i / 5 % COUNT_OF(odd)], sizeof x[i]);
        }
    }
}

/* A model from its bytes to its outputs, on one thread, on helpers and on a queue's worker. */
static void runs(results *all, pb bytes, const char *dims, int is_odd) {
    static float x[1 << 14];
    inferno_model *model = NULL;
    inferno_tensor input = f32_tensor(dims, x), output;
    for (size_t i = 0; i < COUNT_OF(x); i++) {
        x[i] = (float)(i % 31) / 16.0f - 1.0f;
    }
    if (is_odd) {
        fill(x, input.size_bytes / sizeof *x);
    }
    IN_MODE(inferno_model_load_memory(bytes.data, bytes.size, NULL, &model));
    pb_free(&bytes);
    for (uint32_t threads = 1; threads < 4; threads += 2) {
        inferno_session_options options = session_defaults();
        inferno_session *session = NULL;
        options.threads = threads;
        IN_MODE(inferno_session_new(model, &options, &session));
        IN_MODE(inferno_session_set_input(session, 0, &input));
        IN_MODE(inferno_session_run(session, NULL));
        IN_MODE(inferno_session_output(session, 0, &output));
        keep(all, output.data, output.size_bytes);
        CHECK_OK(inferno_session_free(session));
    }
    inferno_queue_options options;
    inferno_queue *queue = NULL;
    inferno_job *job = NULL;
    REQUIRE_OK(inferno_queue_options_init(&options, sizeof options));
    options.workers = 1;
    IN_MODE(inferno_queue_new(model, &options, &queue));
    IN_MODE(inferno_queue_submit(queue, &input, 1, NULL, &job));
    IN_MODE(inferno_job_wait(job, UINT64_MAX));
    IN_MODE(inferno_job_output(job, 0, &output));
    keep(all, output.data, output.size_bytes);
    CHECK_OK(inferno_job_free(job));
    CHECK_OK(inferno_queue_free(queue));
    CHECK_OK(inferno_model_free(model));
}

static void before_and_after(results *all) {
    static uint8_t pixels[31 * 17 * 3];
    static float planes[3 * 9 * 13], x[6 * 40], y[6 * 40], boxes[4 * 40], scores[40];
    static int32_t classes[40];
    size_t indices[40], count = 0, kept = 0;
    for (size_t i = 0; i < sizeof pixels; i++) {
        pixels[i] = (uint8_t)(i * 7);
    }
    inferno_image image = {pixels, 0, 31, 17, INFERNO_PIXEL_FORMAT_RGB};
    inferno_tensor tensor = f32_tensor("3,9,13", planes), said = f32_tensor("6,40", x);
    for (int32_t filter = 0; filter < 3; filter++) {
        inferno_image_options options;
        REQUIRE_OK(inferno_image_options_init(&options, sizeof options));
        options.filter = filter;
        IN_MODE(inferno_image_to_tensor(&image, &options, &tensor, NULL));
        keep(all, planes, sizeof planes);
    }
    fill(x, COUNT_OF(x));
    IN_MODE(inferno_softmax(x, y, 6, 40));
    keep(all, y, sizeof y);
    IN_MODE(inferno_top_k(x, COUNT_OF(x), 40, indices, scores, &count));
    keep(all, indices, count * sizeof *indices);
    IN_MODE(inferno_boxes_decode(&said, NULL, NULL, boxes, scores, classes, 40, &count));
    keep(all, boxes, count * 4 * sizeof *boxes);
    IN_MODE(inferno_boxes_nms(boxes, scores, classes, count, NULL, indices, &kept));
    keep(all, indices, kept * sizeof *indices);
    keep(all, &kept, sizeof kept);
}

static void everything(results *all, unsigned mode) {
    chosen = mode;
    all->size = 0;
    runs(all, model_mlp(), "1,4", 0);
    runs(all, model_mlp(), "1,4", 1);
    runs(all, model_heavy(32, 3), "32,32", 1);
    runs(all, model_convnet(), "1,3,32,32", 0);
    before_and_after(all);
}

static void a_call_computes_the_same_in_any_mode(void) {
    static results first, again;
    everything(&first, usual);
    REQUIRE(first.size > 0);
    for (size_t i = 0; i < COUNT_OF(modes); i++) {
        everything(&again, modes[i]);
        CHECK(again.size == first.size && memcmp(again.bytes, first.bytes, first.size) == 0);
        CHECK_OK(inferno_shutdown());
    }
}

int main(void) {
    usual = mode_now();
    if (getenv("CHECK_SLOW") == NULL || getenv("CHECK_EMULATED") != NULL) {
        RUN(a_call_computes_the_same_in_any_mode);
    } else {
        SKIP(a_call_computes_the_same_in_any_mode, "this checker has a mode of its own");
        CHECK(usual == mode_now());
    }
    return check_summary();
}
