/*
 * Before and after a run: images, samples, scores, boxes. What they compute is compared with
 * NumPy and OpenCV by tests/prep.sh; here it is that they do so at the edges of what they are
 * given, without the runtime, from several threads, and for a model.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "allocations.h"
#include "fixtures.h"
#include "on_threads.h"

#include <math.h>

static inferno_image_options image_defaults(void) {
    inferno_image_options options;
    REQUIRE_OK(inferno_image_options_init(&options, sizeof options));
    return options;
}

/* A picture whose pixels say where they are. */
static void paint(uint8_t *pixels, int width, int height, int bytes, ptrdiff_t stride) {
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width * bytes; x++) {
            pixels[y * stride + x] = (uint8_t)(x * 7 + y * 31);
        }
    }
}

static void defaults(void) {
    inferno_image_options image = image_defaults();
    inferno_nms_options nms;
    inferno_decode_options decode;
    CHECK(image.struct_size == sizeof image && image.fit == INFERNO_FIT_STRETCH);
    CHECK(image.filter == INFERNO_FILTER_BILINEAR && image.layout == INFERNO_LAYOUT_CHW);
    CHECK(image.channels == INFERNO_CHANNEL_ORDER_RGB && image.scale == 1.0f / 255.0f);
    CHECK(image.mean[2] == 0 && image.std[2] == 1 && image.pad[2] == 114);
    CHECK_OK(inferno_nms_options_init(&nms, sizeof nms));
    CHECK(nms.format == INFERNO_BOX_FORMAT_XYXY && nms.max_boxes == 300);
    CHECK(nms.score_threshold == 0.25f && nms.iou_threshold == 0.45f);
    CHECK_OK(inferno_decode_options_init(&decode, sizeof decode));
    CHECK(decode.format == INFERNO_BOX_FORMAT_CXCYWH && decode.predictions_last == 1);
    CHECK(decode.has_objectness == 0 && decode.score_threshold == 0.25f);
}

/* One size in, the same out: the pixels themselves, in every format, layout and order. */
static void pixels_pass_through(void) {
    enum { WIDTH = 5, HEIGHT = 3, AREA = WIDTH * HEIGHT };
    static const int bytes_of[] = {3, 3, 4, 4, 1};
    uint8_t pixels[AREA * 4], got[AREA * 3];
    for (int32_t format = 0; format < 5; format++) {
        int bytes = bytes_of[format];
        paint(pixels, WIDTH, HEIGHT, bytes, WIDTH * bytes);
        inferno_image image = {pixels, 0, WIDTH, HEIGHT, format};
        for (int32_t layout = 0; layout < 2; layout++) {
            for (int32_t order = 0; order < 2; order++) {
                inferno_image_options options = image_defaults();
                inferno_tensor tensor = tensor_of(INFERNO_DTYPE_U8, layout ? "3,5,3" : "3,3,5", got);
                options.layout = layout;
                options.channels = order;
                CHECK_OK(inferno_image_to_tensor(&image, &options, &tensor, NULL));
                int is_bgr = format == INFERNO_PIXEL_FORMAT_BGR || format == INFERNO_PIXEL_FORMAT_BGRA;
                for (int i = 0; i < AREA * 3; i++) {
                    int pixel = layout ? i / 3 : i % AREA, channel = layout ? i % 3 : i / AREA;
                    int at = bytes == 1 ? 0 : is_bgr == order ? channel : 2 - channel;
                    CHECK(got[i] == pixels[pixel * bytes + at]);
                }
            }
        }
    }
}

/* Nothing outside of the image is read, and nothing outside of the tensor is written: both lie
 * at the very end of a block, which checkers of memory watch. */
static void edges(void) {
    for (int width = 1; width < 70; width += width < 20 ? 1 : 7) {
        for (int32_t format = 0; format < 5; format++) {
            int bytes = (int[]){3, 3, 4, 4, 1}[format];
            size_t size = (size_t)(width * bytes) * 4;
            uint8_t *pixels = malloc(size);
            float *planes = malloc(sizeof(float) * 3 * 7 * 33);
            paint(pixels, width, 4, bytes, width * bytes);
            inferno_image image = {pixels, 0, width, 4, format};
            inferno_tensor tensor = f32_tensor("3,7,33", planes);
            for (int32_t filter = 0; filter < 3; filter++) {
                inferno_image_options options = image_defaults();
                options.filter = filter;
                options.fit = width % 4;
                CHECK_OK(inferno_image_to_tensor(&image, &options, &tensor, NULL));
                for (int i = 0; i < 3 * 7 * 33; i++) {
                    CHECK(planes[i] >= 0 && planes[i] <= 1.000001f);
                }
            }
            free(planes);
            free(pixels);
        }
    }
}

/* A stride may leave room between rows, and lead upwards. */
static void strides(void) {
    enum { WIDTH = 9, HEIGHT = 6 };
    uint8_t packed[WIDTH * HEIGHT * 3], apart[HEIGHT][64], turned[HEIGHT][64];
    float want[3 * 16], got[3 * 16];
    paint(packed, WIDTH, HEIGHT, 3, WIDTH * 3);
    memset(apart, 0xee, sizeof apart);
    for (int y = 0; y < HEIGHT; y++) {
        memcpy(apart[y], packed + y * WIDTH * 3, WIDTH * 3);
        memcpy(turned[HEIGHT - 1 - y], packed + y * WIDTH * 3, WIDTH * 3);
    }
    inferno_image image = {packed, 0, WIDTH, HEIGHT, INFERNO_PIXEL_FORMAT_RGB};
    inferno_tensor first = f32_tensor("3,4,4", want), second = f32_tensor("3,4,4", got);
    for (int32_t filter = 0; filter < 3; filter++) {
        inferno_image_options options = image_defaults();
        options.filter = filter;
        CHECK_OK(inferno_image_to_tensor(&image, &options, &first, NULL));
        inferno_image other = {apart[0], 64, WIDTH, HEIGHT, INFERNO_PIXEL_FORMAT_RGB};
        CHECK_OK(inferno_image_to_tensor(&other, &options, &second, NULL));
        CHECK(memcmp(got, want, sizeof got) == 0);
        other = (inferno_image){turned[HEIGHT - 1], -64, WIDTH, HEIGHT, INFERNO_PIXEL_FORMAT_RGB};
        CHECK_OK(inferno_image_to_tensor(&other, &options, &second, NULL));
        CHECK(memcmp(got, want, sizeof got) == 0);
    }
}

/* A letterbox, and the way back from it. */
static void letterbox(void) {
    static uint8_t pixels[8 * 4];
    float planes[8 * 8] = {0};
    memset(pixels, 255, sizeof pixels);
    inferno_image image = {pixels, 0, 8, 4, INFERNO_PIXEL_FORMAT_GRAY};
    inferno_tensor tensor = f32_tensor("8,8", planes);
    inferno_image_options options = image_defaults();
    inferno_image_map map;
    options.fit = INFERNO_FIT_LETTERBOX;
    options.channels = INFERNO_CHANNEL_ORDER_GRAY;
    options.pad[0] = options.pad[1] = options.pad[2] = 0;
    options.scale = 1;
    options.mean[0] = 55;
    options.std[0] = 2;
    CHECK_OK(inferno_image_to_tensor(&image, &options, &tensor, &map));
    for (int y = 0; y < 8; y++) {
        for (int x = 0; x < 8; x++) {
            CHECK(planes[y * 8 + x] == (y < 2 || y > 5 ? -27.5f : 100.0f));
        }
    }
    CHECK(map.scale_x == 1 && map.scale_y == 1 && map.offset_x == 0 && map.offset_y == 2);
    options.fit = INFERNO_FIT_LETTERBOX_TOP_LEFT;
    CHECK_OK(inferno_image_to_tensor(&image, &options, &tensor, &map));
    CHECK(planes[0] == 100 && planes[4 * 8] == -27.5f && map.offset_y == 0);
    options.fit = INFERNO_FIT_COVER;
    CHECK_OK(inferno_image_to_tensor(&image, &options, &tensor, &map));
    CHECK(planes[0] == 100 && planes[63] == 100 && map.scale_x == 2 && map.offset_x == -4);

    /* A box that a detector saw in the letterbox, in the image. */
    options.fit = INFERNO_FIT_LETTERBOX;
    CHECK_OK(inferno_image_to_tensor(&image, &options, &tensor, &map));
    float said[5] = {4, 4, 2, 2, 0.9f}, box[4], score;
    int32_t class;
    size_t count;
    inferno_tensor predictions = f32_tensor("1,5,1", said);
    CHECK_OK(inferno_boxes_decode(&predictions, NULL, &map, box, &score, &class, 1, &count));
    CHECK(count == 1 && score == 0.9f && class == 0);
    CHECK(box[0] == 3 && box[1] == 1 && box[2] == 5 && box[3] == 3);
}

static void best_scores(void) {
    float x[8] = {1, 3, (float)NAN, 3, -(float)INFINITY, 2, (float)NAN, 0}, values[8], rows[4];
    size_t indices[8], count;
    CHECK_OK(inferno_top_k(x, 8, 8, indices, values, &count));
    const size_t order[8] = {1, 3, 5, 0, 7, 4, 2, 6};
    CHECK(count == 8 && memcmp(indices, order, sizeof order) == 0);
    CHECK(values[0] == 3 && values[5] == -(float)INFINITY && isnan(values[7]));
    CHECK_OK(inferno_top_k(x, 8, 100, indices, NULL, &count));
    CHECK(count == 8);
    CHECK_OK(inferno_top_k(NULL, 0, 3, NULL, NULL, &count));
    CHECK(count == 0);
    CHECK_OK(inferno_argmax(x, 2, 4, indices));
    CHECK(indices[0] == 1 && indices[1] == 1);
    CHECK_OK(inferno_argmax(x, 0, 4, NULL));
    CHECK_OK(inferno_softmax((float[]){0, 0, 1, 1}, rows, 2, 2));
    CHECK(rows[0] == 0.5f && rows[3] == 0.5f);
    CHECK_OK(inferno_softmax(rows, rows, 1, 4));
    CHECK(rows[1] == 0.25f);
}

static void best_boxes(void) {
    const float boxes[12] = {0, 0, 10, 10, 1, 0, 11, 10, 50, 50, 60, 60}, scores[3] = {0.8f, 0.9f, 0.3f};
    const int32_t classes[3] = {0, 1, 0};
    size_t indices[3], kept;
    CHECK_OK(inferno_boxes_nms(boxes, scores, NULL, 3, NULL, indices, &kept));
    CHECK(kept == 2 && indices[0] == 1 && indices[1] == 2);
    CHECK_OK(inferno_boxes_nms(boxes, scores, classes, 3, NULL, indices, &kept));
    CHECK(kept == 3 && indices[0] == 1 && indices[1] == 0 && indices[2] == 2);
    CHECK_OK(inferno_boxes_nms(NULL, NULL, NULL, 0, NULL, NULL, &kept));
    CHECK(kept == 0);
}

static void frames(void) {
    float ring[7], frame[4];
    int16_t samples[20];
    int32_t is_read;
    int seen = 0;
    inferno_audio_framer framer;
    for (int i = 0; i < 20; i++) {
        samples[i] = (int16_t)(i / 2 * 3276);
    }
    CHECK_OK(inferno_audio_framer_init(&framer, sizeof framer, ring, 7, 4, 2));
    for (int at = 0; at < 10; at += 2) {
        /* Two channels that are the same: their mean. */
        CHECK_OK(inferno_audio_framer_write(&framer, samples + 2 * at, INFERNO_DTYPE_I16, 2, 0, 2));
        for (;;) {
            CHECK_OK(inferno_audio_framer_read(&framer, frame, 4, &is_read));
            if (!is_read) {
                break;
            }
            for (int i = 0; i < 4; i++) {
                CHECK(frame[i] == (float)((2 * seen + i) * 3276) / 32768.0f);
            }
            seen++;
        }
    }
    CHECK(seen == 4 && framer.filled == 2);
}

/* The image of a session is written in place: the digit that the built-in model then sees. */
static void into_a_session(void) {
    uint8_t pixels[16 * 16] = {0};
    for (int y = 2; y < 14; y++) {
        pixels[y * 16 + 7] = pixels[y * 16 + 8] = 255; /* a one */
    }
    inferno_model *model = NULL;
    REQUIRE_OK(inferno_model_load_default(&model));
    inferno_session *session = open_session(model, NULL);
    REQUIRE_OK(inferno_session_set_shape(session, 0, 2, (int64_t[]){1, 64}));
    inferno_tensor input, square, output;
    REQUIRE_OK(inferno_session_input(session, 0, &input));
    square = tensor_of(INFERNO_DTYPE_F32, "1,1,8,8", input.data);
    inferno_image image = {pixels, 0, 16, 16, INFERNO_PIXEL_FORMAT_GRAY};
    inferno_image_options options = image_defaults();
    options.channels = INFERNO_CHANNEL_ORDER_GRAY;
    options.scale = 16.0f / 255.0f;
    options.filter = INFERNO_FILTER_ANTIALIAS;
    CHECK_OK(inferno_image_to_tensor(&image, &options, &square, NULL));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK_OK(inferno_session_output(session, 0, &output));
    size_t best = 77;
    CHECK_OK(inferno_argmax(output.data, 1, 10, &best));
    CHECK(best == 1);
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
    CHECK_OK(inferno_shutdown());
}

static inferno_memory_stats held(void) {
    inferno_memory_stats stats = {.struct_size = sizeof stats};
    REQUIRE_OK(inferno_memory_get_stats(&stats));
    return stats;
}

/* Every function takes no memory, neither the system's nor the pool's. */
static void nothing_is_allocated(void) {
    static uint8_t pixels[1280 * 720 * 4];
    static float planes[3 * 320 * 320], numbers[84 * 1000], boxes[4 * 1000], scores[1000], ring[2000];
    static int32_t classes[1000];
    static size_t indices[1000];
    inferno_image image = {pixels, 0, 1280, 720, INFERNO_PIXEL_FORMAT_RGBA};
    inferno_tensor tensor = f32_tensor("3,320,320", planes), said = f32_tensor("84,1000", numbers);
    inferno_image_options options = image_defaults();
    inferno_audio_framer framer;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        numbers[i] = (float)(i * 7919 % 1000) / 1000.0f;
    }
    REQUIRE_OK(inferno_audio_framer_init(&framer, sizeof framer, ring, 2000, 512, 160));
    inferno_memory_stats first = held(), last;
    for (int run = 0; run < 20; run++) {
        if (run == 1) {
            count_allocations();
            first = held();
        }
        size_t count, kept;
        int32_t is_read;
        options.filter = run % 3;
        options.layout = INFERNO_LAYOUT_CHW;
        options.fit = run % 4;
        CHECK_OK(inferno_image_to_tensor(&image, &options, &tensor, NULL));
        CHECK_OK(inferno_boxes_decode(&said, NULL, NULL, boxes, scores, classes, 1000, &count));
        CHECK_OK(inferno_boxes_nms(boxes, scores, classes, count, NULL, indices, &kept));
        CHECK_OK(inferno_top_k(numbers, 84000, 100, indices, scores, &kept));
        CHECK_OK(inferno_argmax(numbers, 84, 1000, indices));
        CHECK_OK(inferno_softmax(numbers, numbers, 84, 1000));
        CHECK_OK(inferno_audio_framer_write(&framer, planes, INFERNO_DTYPE_F32, 2, 0, 160));
        CHECK_OK(inferno_audio_framer_read(&framer, scores, 512, &is_read));
    }
    CHECK(atomic_load(&allocations) == 0);
    last = held();
    CHECK(last.misses == first.misses && last.hits == first.hits);
    CHECK(last.shared_hits == first.shared_hits && last.source_calls == first.source_calls);
    /* (A load takes some, so it is counted; but not under a checker of memory.) */
    inferno_model *model = NULL;
    CHECK_OK(inferno_model_load_default(&model));
    CHECK(atomic_load(&allocations) > 0 || getenv("CHECK_SLOW") != NULL);
    CHECK_OK(inferno_model_free(model));
}

static uint8_t shared_pixels[64 * 48 * 4];
static float expected_planes[3 * 32 * 32];

static void *one_of_many(void *unused) {
    (void)unused;
    float planes[3 * 32 * 32] = {0};
    inferno_image image = {shared_pixels, 0, 64, 48, INFERNO_PIXEL_FORMAT_RGBA};
    inferno_tensor tensor = f32_tensor("3,32,32", planes);
    for (int i = 0; i < check_times(100); i++) {
        CHECK_OK(inferno_image_to_tensor(&image, NULL, &tensor, NULL));
        CHECK(memcmp(planes, expected_planes, sizeof planes) == 0);
    }
    return NULL;
}

static void from_threads(void) {
    inferno_image image = {shared_pixels, 0, 64, 48, INFERNO_PIXEL_FORMAT_RGBA};
    inferno_tensor tensor = f32_tensor("3,32,32", expected_planes);
    paint(shared_pixels, 64, 48, 4, 64 * 4);
    CHECK_OK(inferno_image_to_tensor(&image, NULL, &tensor, NULL));
    on_threads(one_of_many);
}

int main(void) {
    RUN(defaults);
    RUN(pixels_pass_through);
    RUN(edges);
    RUN(strides);
    RUN(letterbox);
    RUN(best_scores);
    RUN(best_boxes);
    RUN(frames);
    if (COUNTS_ALLOCATIONS) {
        RUN(nothing_is_allocated);
    } else {
        SKIP(nothing_is_allocated, "allocations are counted with glibc and on Windows only");
    }
    RUN(from_threads);
    RUN(into_a_session);
    return check_summary();
}
