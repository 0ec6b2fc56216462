/*
 * Quantised models: what is dequantised, multiplied and quantised again, products of integers, and
 * scales and zero points that make no sense. Against sums that are written out here, with the same
 * bits whatever the instructions and the threads.
 */
#include "check.h"
#include "fixtures.h"
#include <math.h>
#include <string.h>

enum { U8 = INFERNO_DTYPE_U8, I8 = INFERNO_DTYPE_I8, I32 = INFERNO_DTYPE_I32 };

/* ---- What a model is made of ----------------------------------------------------------------- */

static void scalar_f32(pb *graph, const char *name, float value) {
    onnx_initializer(graph, name, F32, "", &value, sizeof value);
}

static void scalar_u8(pb *graph, const char *name, uint8_t value) {
    onnx_initializer(graph, name, U8, "", &value, sizeof value);
}

static int8_t weight_of(unsigned i) { return (int8_t)(int)(i * 89 % 255 - 127); }

static void weights_i8(pb *graph, const char *name, const char *dims, unsigned count) {
    int8_t *values = malloc(count);
    REQUIRE(values != NULL);
    for (unsigned i = 0; i < count; i++) {
        values[i] = weight_of(i);
    }
    onnx_initializer(graph, name, I8, dims, values, count);
    free(values);
}

static float input_of(unsigned i) { return (float)((int)(i * 29 % 97) - 48) / 16.0f; }

static int quantised(float x, float scale, int zero) {
    float q = nearbyintf(x / scale) + (float)zero;
    return q < 0 ? 0 : q > 255 ? 255 : (int)q;
}

/* ---- A convolution between quantised values -------------------------------------------------- */

enum { CHANNELS = 3, SIDE = 9, FILTERS = 5, TO = 5, PIXELS = SIDE * SIDE, FROM_ALL = CHANNELS * PIXELS };
static const float X_SCALE = 0.05f, Y_SCALE = 0.75f;
enum { X_ZERO = 113, Y_ZERO = 120 };

static float filter_scale(unsigned filter) { return 0.01f * (float)(filter + 1); }

/* x -> Q -> DQ -> Conv (3x3, stride 2, pads 1, scales by filter) -> Q -> DQ -> y. */
static pb model_conv(void) {
    pb graph = {0}, axis = {0}, window = {0}, zero_axis = {0};
    float scales[FILTERS], bias_scales[FILTERS];
    int8_t zeros[FILTERS] = {0};
    int32_t bias[FILTERS], bias_zeros[FILTERS] = {0};
    for (unsigned f = 0; f < FILTERS; f++) {
        scales[f] = filter_scale(f);
        bias_scales[f] = filter_scale(f) * X_SCALE;
        bias[f] = 100 * (int32_t)f - 150;
    }
    onnx_input(&graph, "x", F32, "1,3,9,9");
    scalar_f32(&graph, "xs", X_SCALE);
    scalar_u8(&graph, "xz", X_ZERO);
    scalar_f32(&graph, "ys", Y_SCALE);
    scalar_u8(&graph, "yz", Y_ZERO);
    weights_i8(&graph, "w", "5,3,3,3", FILTERS * CHANNELS * 9);
    onnx_initializer(&graph, "ws", F32, "5", scales, sizeof scales);
    onnx_initializer(&graph, "wz", I8, "5", zeros, sizeof zeros);
    onnx_initializer(&graph, "b", I32, "5", bias, sizeof bias);
    onnx_initializer(&graph, "bs", F32, "5", bias_scales, sizeof bias_scales);
    onnx_initializer(&graph, "bz", I32, "5", bias_zeros, sizeof bias_zeros);
    onnx_node(&graph, "QuantizeLinear", "q", "x,xs,xz", "xq", NULL);
    onnx_node(&graph, "DequantizeLinear", "dq", "xq,xs,xz", "xd", NULL);
    onnx_int(&axis, "axis", 0);
    onnx_node(&graph, "DequantizeLinear", "dw", "w,ws,wz", "wd", &axis);
    onnx_int(&zero_axis, "axis", 0);
    onnx_node(&graph, "DequantizeLinear", "db", "b,bs,bz", "bd", &zero_axis);
    onnx_ints(&window, "strides", (const int64_t[]){2, 2}, 2);
    onnx_ints(&window, "pads", (const int64_t[]){1, 1, 1, 1}, 4);
    onnx_node(&graph, "Conv", "conv", "xd,wd,bd", "c", &window);
    onnx_node(&graph, "QuantizeLinear", "qy", "c,ys,yz", "yq", NULL);
    onnx_node(&graph, "DequantizeLinear", "dy", "yq,ys,yz", "y", NULL);
    onnx_output(&graph, "y", F32, "1,5,5,5");
    return onnx_model(&graph, "conv", 13, NULL);
}

static float conv_at(const float *x, unsigned filter, int row, int column) {
    int32_t sum = 100 * (int32_t)filter - 150;
    for (int c = 0; c < CHANNELS; c++) {
        for (int tap = 0; tap < 9; tap++) {
            int i = 2 * row + tap / 3 - 1, j = 2 * column + tap % 3 - 1;
            if (i < 0 || i >= SIDE || j < 0 || j >= SIDE) {
                continue;
            }
            int q = quantised(x[(c * SIDE + i) * SIDE + j], X_SCALE, X_ZERO) - X_ZERO;
            sum += q * weight_of((filter * CHANNELS + (unsigned)c) * 9 + (unsigned)tap);
        }
    }
    return (float)sum * (X_SCALE * filter_scale(filter));
}

static void a_convolution_is_of_integers(void) {
    static float x[FROM_ALL];
    for (unsigned i = 0; i < FROM_ALL; i++) {
        x[i] = input_of(i);
    }
    inferno_session *session = open_model(model_conv());
    inferno_tensor input = tensor_of(F32, "1,3,9,9", x), output;
    CHECK_OK(inferno_session_set_input(session, 0, &input));
    REQUIRE_OK(inferno_session_run(session, NULL));
    REQUIRE_OK(inferno_session_output(session, 0, &output));
    const float *y = output.data;
    unsigned exact = 0;
    for (unsigned i = 0; i < FILTERS * TO * TO; i++) {
        float value = conv_at(x, i / (TO * TO), (int)(i / TO % TO), (int)(i % TO));
        int q = quantised(value, Y_SCALE, Y_ZERO);
        double off = fabs((double)y[i] / Y_SCALE - (q - Y_ZERO));
        exact += off < 1e-3;
        /* A tie may go the other way. */
        CHECK(off < 1.001);
    }
    CHECK(exact >= FILTERS * TO * TO - 2);
    CHECK_OK(inferno_session_free(session));
}

/* ---- A product of what is quantised at each run ---------------------------------------------- */

enum { ROWS = 33, DEPTH = 70, COLUMNS = 37 };

/* x -> DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul scales -> Add bias -> y. */
static pb model_dynamic(void) {
    pb graph = {0}, cast = {0};
    float bias[COLUMNS];
    for (unsigned j = 0; j < COLUMNS; j++) {
        bias[j] = (float)j / 8;
    }
    int8_t zero = 3;
    onnx_input(&graph, "x", F32, "33,70");
    weights_i8(&graph, "w", "70,37", DEPTH * COLUMNS);
    onnx_initializer(&graph, "wz", I8, "", &zero, 1);
    scalar_f32(&graph, "ws", 0.02f);
    onnx_initializer(&graph, "b", F32, "37", bias, sizeof bias);
    onnx_node(&graph, "DynamicQuantizeLinear", "q", "x", "xq,xs,xz", NULL);
    onnx_node(&graph, "MatMulInteger", "product", "xq,w,xz,wz", "sums", NULL);
    onnx_int(&cast, "to", 1);
    onnx_node(&graph, "Cast", "cast", "sums", "floats", &cast);
    onnx_node(&graph, "Mul", "scales", "xs,ws", "scale", NULL);
    onnx_node(&graph, "Mul", "scaled", "floats,scale", "scaled", NULL);
    onnx_node(&graph, "Add", "bias", "scaled,b", "y", NULL);
    onnx_output(&graph, "y", F32, "33,37");
    return onnx_model(&graph, "dynamic", 13, NULL);
}

static void a_product_is_quantised_at_each_run(void) {
    static float x[ROWS * DEPTH];
    float low = 0, high = 0;
    for (unsigned i = 0; i < ROWS * DEPTH; i++) {
        x[i] = input_of(i) + 0.7f;
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    float scale = (high - low) / 255;
    int zero = (int)nearbyintf(-low / scale);
    inferno_session *session = open_model(model_dynamic());
    inferno_tensor input = tensor_of(F32, "33,70", x), output;
    CHECK_OK(inferno_session_set_input(session, 0, &input));
    REQUIRE_OK(inferno_session_run(session, NULL));
    REQUIRE_OK(inferno_session_output(session, 0, &output));
    const float *y = output.data;
    for (unsigned i = 0; i < ROWS * COLUMNS; i++) {
        int32_t sum = 0;
        for (unsigned k = 0; k < DEPTH; k++) {
            int q = quantised(x[i / COLUMNS * DEPTH + k], scale, zero) - zero;
            sum += q * (weight_of(k * COLUMNS + i % COLUMNS) - 3);
        }
        double wanted = (double)sum * scale * 0.02f + (double)(i % COLUMNS) / 8;
        CHECK(fabs(y[i] - wanted) < 1e-4 * (fabs(wanted) + 1));
    }
    CHECK_OK(inferno_session_free(session));
}

/* ---- The operators that take scales and zero points themselves ------------------------------- */

/* a, b -> QLinearMatMul -> QLinearAdd with itself -> DequantizeLinear -> y. */
static pb model_operators(void) {
    pb graph = {0}, extra = {0};
    static uint8_t w[8 * 6];
    for (unsigned i = 0; i < sizeof w; i++) {
        w[i] = (uint8_t)(i * 53 % 256);
    }
    onnx_input(&graph, "x", F32, "4,8");
    scalar_f32(&graph, "s", 0.125f);
    scalar_u8(&graph, "z", 7);
    scalar_f32(&graph, "ys", 8.0f);
    onnx_initializer(&graph, "w", U8, "8,6", w, sizeof w);
    onnx_node(&graph, "QuantizeLinear", "q", "x,s,z", "xq", NULL);
    onnx_node(&graph, "QLinearMatMul", "product", "xq,s,z,w,s,z,ys,z", "p", NULL);
    onnx_node_of(&graph, "com.microsoft", "QLinearAdd", "sum", "p,ys,z,p,ys,z,ys,z", "t", NULL);
    onnx_node(&graph, "DequantizeLinear", "d", "t,ys,z", "y", NULL);
    onnx_output(&graph, "y", F32, "4,6");
    onnx_opset(&extra, "com.microsoft", 1);
    return onnx_model(&graph, "operators", 13, &extra);
}

static void operators_have_their_own_scales(void) {
    static float x[32];
    for (unsigned i = 0; i < 32; i++) {
        x[i] = input_of(i);
    }
    inferno_session *session = open_model(model_operators());
    inferno_tensor input = tensor_of(F32, "4,8", x), output;
    CHECK_OK(inferno_session_set_input(session, 0, &input));
    REQUIRE_OK(inferno_session_run(session, NULL));
    REQUIRE_OK(inferno_session_output(session, 0, &output));
    const float *y = output.data;
    for (unsigned i = 0; i < 24; i++) {
        int32_t sum = 0;
        for (unsigned k = 0; k < 8; k++) {
            int q = quantised(x[i / 6 * 8 + k], 0.125f, 7) - 7;
            sum += q * ((int)((k * 6 + i % 6) * 53 % 256) - 7);
        }
        /* All scales are powers of two: no rounding but the last. */
        int p = quantised((float)sum / 64, 8, 7) - 7;
        int t = quantised(16.0f * (float)p, 8, 7) - 7;
        CHECK(y[i] == 8.0f * (float)t);
    }
    CHECK_OK(inferno_session_free(session));
}

/* ---- The same bits --------------------------------------------------------------------------- */

static void bits_of(pb bytes, const char *dims, unsigned count, inferno_isa isa, uint32_t threads,
                    unsigned char *to, size_t size) {
    inferno_runtime_options options;
    REQUIRE_OK(inferno_runtime_options_init(&options, sizeof options));
    options.isa = isa;
    REQUIRE_OK(inferno_init(&options));
    inferno_session_options own = session_defaults();
    own.threads = threads;
    inferno_model *model = load(bytes);
    inferno_session *session = open_session(model, &own);
    float *x = malloc(count * sizeof *x);
    REQUIRE(x != NULL);
    for (unsigned i = 0; i < count; i++) {
        x[i] = input_of(i);
    }
    inferno_tensor input = tensor_of(F32, dims, x), output;
    CHECK_OK(inferno_session_set_input(session, 0, &input));
    REQUIRE_OK(inferno_session_run(session, NULL));
    REQUIRE_OK(inferno_session_output(session, 0, &output));
    REQUIRE(output.size_bytes == size);
    memcpy(to, output.data, size);
    free(x);
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
    CHECK_OK(inferno_shutdown());
}

static void instructions_and_threads_give_the_same_bits(void) {
    enum { CONV = 4 * FILTERS * TO * TO, PRODUCT = 4 * ROWS * COLUMNS };
    static unsigned char wanted[2][PRODUCT], got[PRODUCT];
    bits_of(model_conv(), "1,3,9,9", FROM_ALL, INFERNO_ISA_SCALAR, 1, wanted[0], CONV);
    bits_of(model_dynamic(), "33,70", ROWS * DEPTH, INFERNO_ISA_SCALAR, 1, wanted[1], PRODUCT);
    for (int isa = INFERNO_ISA_BEST; isa <= INFERNO_ISA_AVX512; isa++) {
        for (uint32_t threads = 1; threads <= 4; threads *= 2) {
            bits_of(model_conv(), "1,3,9,9", FROM_ALL, (inferno_isa)isa, threads, got, CONV);
            CHECK(memcmp(got, wanted[0], CONV) == 0);
            bits_of(model_dynamic(), "33,70", ROWS * DEPTH, (inferno_isa)isa, threads, got, PRODUCT);
            CHECK(memcmp(got, wanted[1], PRODUCT) == 0);
        }
    }
}

/* ---- What makes no sense --------------------------------------------------------------------- */

/* x -> Q -> DQ -> MatMul with dequantised weights -> y. */
static pb model_with(float scale, const char *zero_dims, const uint8_t *zeros, size_t count) {
    pb graph = {0};
    onnx_input(&graph, "x", F32, "2,8");
    scalar_f32(&graph, "s", scale);
    onnx_initializer(&graph, "z", U8, zero_dims, zeros, count);
    weights_i8(&graph, "w", "8,3", 24);
    int8_t zero = 0;
    onnx_initializer(&graph, "wz", I8, "", &zero, 1);
    onnx_node(&graph, "QuantizeLinear", "q", "x,s,z", "xq", NULL);
    onnx_node(&graph, "DequantizeLinear", "dq", "xq,s,z", "xd", NULL);
    onnx_node(&graph, "DequantizeLinear", "dw", "w,s,wz", "wd", NULL);
    onnx_node(&graph, "MatMul", "product", "xd,wd", "y", NULL);
    onnx_output(&graph, "y", F32, "2,3");
    return onnx_model(&graph, "strange", 13, NULL);
}

static void strange_scales_run(void) {
    const float scales[] = {NAN, 0.0f, INFINITY, -INFINITY, -0.5f, 1e-45f, 3e38f};
    const uint8_t zero = 255;
    for (unsigned i = 0; i < sizeof scales / sizeof *scales; i++) {
        inferno_session *session = open_model(model_with(scales[i], "", &zero, 1));
        static float x[16] = {1, -1, NAN, INFINITY, -INFINITY, 0, 1e30f, -1e-30f};
        inferno_tensor input = tensor_of(F32, "2,8", x), output;
        CHECK_OK(inferno_session_set_input(session, 0, &input));
        CHECK_OK(inferno_session_run(session, NULL));
        CHECK_OK(inferno_session_output(session, 0, &output));
        CHECK_OK(inferno_session_free(session));
    }
}

static void zero_points_of_another_shape_are_refused(void) {
    const uint8_t zeros[5] = {1, 2, 3, 4, 5};
    inferno_model *model = load(model_with(0.5f, "5", zeros, 5));
    inferno_session *session = NULL;
    inferno_status status = inferno_session_new(model, NULL, &session);
    if (status == INFERNO_STATUS_OK) {
        status = inferno_session_prepare(session);
        CHECK_OK(inferno_session_free(session));
    }
    CHECK(status == INFERNO_STATUS_UNSUPPORTED);
    CHECK(strstr(inferno_last_error(), "parameters for") != NULL || status != INFERNO_STATUS_UNSUPPORTED);
    CHECK_OK(inferno_model_free(model));
}

int main(void) {
    RUN(a_convolution_is_of_integers);
    RUN(a_product_is_quantised_at_each_run);
    RUN(operators_have_their_own_scales);
    RUN(instructions_and_threads_give_the_same_bits);
    RUN(strange_scales_run);
    RUN(zero_points_of_another_shape_are_refused);
    return check_summary();
}
