/*
 * The models of the C tests, each made by one function; the caller ends them with pb_free.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef MODELS_H
#define MODELS_H

#include "inferno.h"
#include "onnx_writer.h"

enum { F32 = INFERNO_DTYPE_F32, I64 = INFERNO_DTYPE_I64 };

/* ---- Models that work ----------------------------------------------------------------------- */

/* Weight `i` of a series: a multiple of 1/32 in [-1, 1), so that it is exact in every float. */
static inline float model_weight(unsigned series, unsigned i) {
    return (float)((int)((i * 37 + series * 11) % 64) - 32) / 32.0f;
}

static inline void model_weights(pb *graph, const char *name, const char *dims, unsigned series,
                                 unsigned count) {
    float *values = malloc(count * sizeof *values);
    for (unsigned i = 0; values != NULL && i < count; i++) {
        values[i] = model_weight(series, i);
    }
    onnx_initializer(graph, name, F32, dims, values, count * sizeof *values);
    free(values);
}

enum { MLP_IN = 4, MLP_HIDDEN = 8, MLP_OUT = 3, MLP_WEIGHT_BYTES = 4 * (32 + 8 + 24 + 3) };

/* x [batch, 4] -> Gemm, Relu, Gemm -> y [batch, 3]. */
static inline pb model_mlp(void) {
    pb graph = {0}, extra = {0};
    onnx_input(&graph, "x", F32, "batch,4");
    model_weights(&graph, "w1", "4,8", 1, 32);
    model_weights(&graph, "b1", "8", 2, 8);
    model_weights(&graph, "w2", "8,3", 3, 24);
    model_weights(&graph, "b2", "3", 4, 3);
    onnx_node(&graph, "Gemm", "first", "x,w1,b1", "a", NULL);
    onnx_node(&graph, "Relu", "bend", "a", "h", NULL);
    onnx_node(&graph, "Gemm", "second", "h,w2,b2", "y", NULL);
    onnx_output(&graph, "y", F32, "batch,3");
    onnx_metadata(&extra, "author", "inferno");
    onnx_metadata(&extra, "empty", "");
    onnx_metadata(&extra, "gr\xc3\xb6\xc3\x9f" "e", "7 \xc2\xb5m");
    return onnx_model(&graph, "mlp", 17, &extra);
}

/* ids [n] and mask [n, 1], both I64 -> row ids[i] of a table of 5 by 4, times mask[i] -> y [n, 4]. */
static inline pb model_tokens(void) {
    pb graph = {0};
    onnx_input(&graph, "ids", I64, "n");
    onnx_input(&graph, "mask", I64, "n,1");
    model_weights(&graph, "table", "5,4", 6, 20);
    onnx_node(&graph, "Gather", "rows", "table,ids", "r", NULL);
    pb to = {0};
    onnx_int(&to, "to", F32);
    onnx_node(&graph, "Cast", "numbers", "mask", "m", &to);
    onnx_node(&graph, "Mul", "masked", "r,m", "y", NULL);
    onnx_output(&graph, "y", F32, "n,4");
    return onnx_model(&graph, "tokens", 17, NULL);
}

/* What model_mlp computes. */
static inline void mlp_reference(const float *x, size_t batch, float *y) {
    for (size_t b = 0; b < batch; b++) {
        float hidden[MLP_HIDDEN];
        for (unsigned j = 0; j < MLP_HIDDEN; j++) {
            float sum = model_weight(2, j);
            for (unsigned i = 0; i < MLP_IN; i++) {
                sum += x[b * MLP_IN + i] * model_weight(1, i * MLP_HIDDEN + j);
            }
            hidden[j] = sum > 0.0f ? sum : 0.0f;
        }
        for (unsigned j = 0; j < MLP_OUT; j++) {
            float sum = model_weight(4, j);
            for (unsigned i = 0; i < MLP_HIDDEN; i++) {
                sum += hidden[i] * model_weight(3, i * MLP_OUT + j);
            }
            y[b * MLP_OUT + j] = sum;
        }
    }
}

/* x [1, 3, 32, 32] -> Conv 3x3, Relu, Conv 3x3, GlobalAveragePool -> y [1, 4, 1, 1]. */
static inline pb model_convnet(void) {
    static const int64_t pads[] = {1, 1, 1, 1};
    pb graph = {0}, first = {0}, second = {0};
    onnx_input(&graph, "x", F32, "1,3,32,32");
    model_weights(&graph, "w1", "16,3,3,3", 5, 16 * 3 * 9);
    model_weights(&graph, "w2", "4,16,3,3", 6, 4 * 16 * 9);
    onnx_ints(&first, "pads", pads, 4);
    onnx_node(&graph, "Conv", "first", "x,w1", "a", &first);
    onnx_node(&graph, "Relu", "bend", "a", "b", NULL);
    onnx_ints(&second, "pads", pads, 4);
    onnx_node(&graph, "Conv", "second", "b,w2", "c", &second);
    onnx_node(&graph, "GlobalAveragePool", "mean", "c", "y", NULL);
    onnx_output(&graph, "y", F32, "1,4,1,1");
    return onnx_model(&graph, "convnet", 17, NULL);
}

/* c = a + b, all f32 of `dims`. */
static inline pb model_add_of(const char *dims) {
    pb graph = {0};
    onnx_input(&graph, "a", F32, dims);
    onnx_input(&graph, "b", F32, dims);
    onnx_node(&graph, "Add", "sum", "a,b", "c", NULL);
    onnx_output(&graph, "c", F32, dims);
    return onnx_model(&graph, "add", 17, NULL);
}

static inline pb model_add(void) { return model_add_of("2,3"); }

/* Open dims of all sorts: two symbols and one without a name. */
static inline pb model_add_open(void) { return model_add_of("batch,time,?"); }

/* Not even the rank is known. */
static inline pb model_add_shapeless(void) { return model_add_of(NULL); }

/* y = x, of any dtype and dims. */
static inline pb model_identity(int dtype, const char *dims) {
    pb graph = {0};
    onnx_input(&graph, "x", dtype, dims);
    onnx_node(&graph, "Identity", "same", "x", "y", NULL);
    onnx_output(&graph, "y", dtype, dims);
    return onnx_model(&graph, "identity", 17, NULL);
}

/* state_out = state + x; y = 2 state_out. All [1, 3]. */
static inline pb model_accumulator(void) {
    static const float two = 2.0f;
    pb graph = {0};
    onnx_input(&graph, "x", F32, "1,3");
    onnx_input(&graph, "state", F32, "1,3");
    onnx_initializer(&graph, "two", F32, "", &two, sizeof two);
    onnx_node(&graph, "Add", "step", "state,x", "state_out", NULL);
    onnx_node(&graph, "Mul", "double", "state_out,two", "y", NULL);
    onnx_output(&graph, "y", F32, "1,3");
    onnx_output(&graph, "state_out", F32, "1,3");
    return onnx_model(&graph, "accumulator", 17, NULL);
}

/* The same with a batch of any size, and a second state that counts the steps in i64. */
static inline pb model_accumulator_open(void) {
    static const int64_t one = 1;
    pb graph = {0};
    onnx_input(&graph, "x", F32, "batch,3");
    onnx_input(&graph, "state", F32, "batch,3");
    onnx_input(&graph, "steps", I64, "1");
    onnx_initializer(&graph, "one", I64, "1", &one, sizeof one);
    onnx_node(&graph, "Add", "step", "state,x", "state_out", NULL);
    onnx_node(&graph, "Add", "count", "steps,one", "steps_out", NULL);
    onnx_output(&graph, "state_out", F32, "batch,3");
    onnx_output(&graph, "steps_out", I64, "1");
    return onnx_model(&graph, "accumulator_open", 17, NULL);
}

/* y = Reshape(data [2, 6], shape [2]): `shape` is a parameter, to be given as a constant. */
static inline pb model_reshape(void) {
    pb graph = {0};
    onnx_input(&graph, "data", F32, "2,6");
    onnx_input(&graph, "shape", I64, "2");
    onnx_node(&graph, "Reshape", "fold", "data,shape", "y", NULL);
    onnx_output(&graph, "y", F32, "?,?");
    return onnx_model(&graph, "reshape", 17, NULL);
}

/* y = 2 x by the taken branch; the other one adds [2, 3] and [5, 7], which cannot be. */
static inline pb model_if_constant(void) {
    static const unsigned char yes = 1;
    static const float two = 2.0f, odd[35] = {0};
    pb graph = {0}, then_branch = {0}, else_branch = {0}, attributes = {0};
    onnx_initializer(&then_branch, "two", F32, "", &two, sizeof two);
    onnx_node(&then_branch, "Mul", "good", "x,two", "then_y", NULL);
    onnx_output(&then_branch, "then_y", F32, "2,3");
    onnx_initializer(&else_branch, "odd", F32, "5,7", odd, sizeof odd);
    onnx_node(&else_branch, "Add", "bad", "x,odd", "else_y", NULL);
    onnx_output(&else_branch, "else_y", F32, NULL);
    onnx_graph_attribute(&attributes, "then_branch", &then_branch);
    onnx_graph_attribute(&attributes, "else_branch", &else_branch);
    onnx_input(&graph, "x", F32, "2,3");
    onnx_initializer(&graph, "yes", INFERNO_DTYPE_BOOL, "", &yes, sizeof yes);
    onnx_node(&graph, "If", "choice", "yes", "y", &attributes);
    onnx_output(&graph, "y", F32, "2,3");
    return onnx_model(&graph, "if_constant", 17, NULL);
}

/* y = 2 sin(x), [1, 3]: no region, since the sine is none of our kernels. */
static inline pb model_sine(void) {
    static const float two = 2.0f;
    pb graph = {0};
    onnx_input(&graph, "x", F32, "1,3");
    onnx_initializer(&graph, "two", F32, "", &two, sizeof two);
    onnx_node(&graph, "Sin", "sine", "x", "s", NULL);
    onnx_node(&graph, "Mul", "double", "s,two", "y", NULL);
    onnx_output(&graph, "y", F32, "1,3");
    return onnx_model(&graph, "sine", 17, NULL);
}

/*
 * y = table[index], row of [4, 3]; state_out = state + y. An index past 3 makes the run fail, in a
 * node called "lookup".
 */
static inline pb model_lookup(void) {
    float table[12];
    for (unsigned i = 0; i < 12; i++) {
        table[i] = (float)i;
    }
    pb graph = {0};
    onnx_input(&graph, "index", I64, "1");
    onnx_input(&graph, "state", F32, "1,3");
    onnx_initializer(&graph, "table", F32, "4,3", table, sizeof table);
    onnx_node(&graph, "Gather", "lookup", "table,index", "y", NULL);
    onnx_node(&graph, "Add", "step", "state,y", "state_out", NULL);
    onnx_output(&graph, "y", F32, "1,3");
    onnx_output(&graph, "state_out", F32, "1,3");
    return onnx_model(&graph, "lookup", 17, NULL);
}

/* A run that takes a while: x [n, n] times an n x n matrix, `times` over. */
static inline pb model_heavy(unsigned n, unsigned times) {
    pb graph = {0};
    char dims[32], from[32] = "x", to[32], both[64];
    snprintf(dims, sizeof dims, "%u,%u", n, n);
    onnx_input(&graph, "x", F32, dims);
    model_weights(&graph, "w", dims, 5, n * n);
    for (unsigned i = 1; i <= times; i++) {
        snprintf(to, sizeof to, i == times ? "y" : "t%u", i);
        snprintf(both, sizeof both, "%s,w", from);
        onnx_node(&graph, "MatMul", to, both, to, NULL);
        memcpy(from, to, sizeof from);
    }
    onnx_output(&graph, "y", F32, dims);
    return onnx_model(&graph, "heavy", 17, NULL);
}

/* y = x + w, w [4] of f32 in another file. */
static inline pb model_external(const char *location, long long offset, long long length) {
    pb graph = {0};
    onnx_input(&graph, "x", F32, "4");
    onnx_external_initializer(&graph, "w", F32, "4", location, offset, length);
    onnx_node(&graph, "Add", "sum", "x,w", "y", NULL);
    onnx_output(&graph, "y", F32, "4");
    return onnx_model(&graph, "external", 17, NULL);
}

/* ---- Models that must be refused ------------------------------------------------------------ */

/* A graph of x [4] -> y [4] around one node that the caller has written. */
static inline pb model_around(pb *graph, int64_t opset, pb *extra) {
    onnx_input(graph, "x", F32, "4");
    onnx_output(graph, "y", F32, "4");
    return onnx_model(graph, "around", opset, extra);
}

/* Two operators of ONNX's own that Inferno does not have: MaxRoiPool and ImageDecoder. */
static inline pb model_unsupported_ops(void) {
    pb graph = {0};
    onnx_input(&graph, "x", F32, "4");
    onnx_input(&graph, "s", INFERNO_DTYPE_STRING, "4");
    onnx_node(&graph, "MaxRoiPool", "once", "x", "y", NULL);
    onnx_node(&graph, "ImageDecoder", "words", "s", "t", NULL);
    onnx_output(&graph, "y", F32, "?");
    onnx_output(&graph, "t", INFERNO_DTYPE_STRING, "?");
    return onnx_model(&graph, "unsupported_ops", 17, NULL);
}

/* An operator that ONNX does not have. */
static inline pb model_unknown_op(void) {
    pb graph = {0};
    onnx_node(&graph, "Frobnicate", "odd", "x", "y", NULL);
    return model_around(&graph, 17, NULL);
}

static inline pb model_unknown_domain(void) {
    pb graph = {0}, extra = {0};
    onnx_node_of(&graph, "com.example", "Relu", "odd", "x", "y", NULL);
    onnx_opset(&extra, "com.example", 1);
    return model_around(&graph, 17, &extra);
}

static inline pb model_opset_99(void) {
    pb graph = {0};
    onnx_node(&graph, "Relu", "bend", "x", "y", NULL);
    return model_around(&graph, 99, NULL);
}

static inline pb model_dangling(void) {
    pb graph = {0};
    onnx_node(&graph, "Add", "sum", "x,nowhere", "y", NULL);
    return model_around(&graph, 17, NULL);
}

static inline pb model_cycle(void) {
    pb graph = {0};
    onnx_node(&graph, "Add", "one", "x,b", "a", NULL);
    onnx_node(&graph, "Relu", "two", "a", "b", NULL);
    onnx_node(&graph, "Relu", "three", "a", "y", NULL);
    return model_around(&graph, 17, NULL);
}

static inline pb model_duplicate_names(void) {
    pb graph = {0};
    onnx_node(&graph, "Relu", "one", "x", "y", NULL);
    onnx_node(&graph, "Neg", "two", "x", "y", NULL);
    return model_around(&graph, 17, NULL);
}

/* A graph output that no node makes. */
static inline pb model_dangling_output(void) {
    pb graph = {0};
    onnx_node(&graph, "Relu", "bend", "x", "z", NULL);
    return model_around(&graph, 17, NULL);
}

/* w says [4] of f32 and carries `size` bytes; 16 would be right. */
static inline pb model_payload(size_t size) {
    static const unsigned char zeros[64];
    pb graph = {0};
    onnx_initializer(&graph, "w", F32, "4", zeros, size);
    onnx_node(&graph, "Add", "sum", "x,w", "y", NULL);
    return model_around(&graph, 17, NULL);
}

static inline pb model_payload_short(void) { return model_payload(15); }
static inline pb model_payload_long(void) { return model_payload(17); }

/* w says 2^62 elements. */
static inline pb model_payload_huge(void) {
    pb graph = {0};
    onnx_initializer(&graph, "w", F32, "2147483648,2147483648", "1234", 4);
    onnx_node(&graph, "Add", "sum", "x,w", "y", NULL);
    return model_around(&graph, 17, NULL);
}

static inline pb model_negative_dim(void) {
    pb graph = {0};
    onnx_initializer(&graph, "w", F32, "-4", "1234567890123456", 16);
    onnx_node(&graph, "Add", "sum", "x,w", "y", NULL);
    return model_around(&graph, 17, NULL);
}

static inline pb model_bfloat16_initializer(void) {
    static const unsigned char zeros[8];
    pb graph = {0}, attributes = {0};
    onnx_initializer(&graph, "w", ONNX_BFLOAT16, "4", zeros, sizeof zeros);
    onnx_int(&attributes, "to", F32);
    onnx_node(&graph, "Cast", "widen", "w", "v", &attributes);
    onnx_node(&graph, "Add", "sum", "x,v", "y", NULL);
    return model_around(&graph, 17, NULL);
}

static inline pb model_bfloat16_input(void) {
    return model_identity(ONNX_BFLOAT16, "4");
}

static inline pb model_rank_9(void) {
    return model_identity(F32, "1,1,1,1,1,1,1,1,2");
}

static inline pb model_no_graph(void) {
    pb model = {0};
    pb_int(&model, 1, 8);
    onnx_opset(&model, "", 17);
    return model;
}

static inline pb model_no_opset(void) {
    pb graph = {0}, model = {0};
    onnx_input(&graph, "x", F32, "4");
    onnx_node(&graph, "Relu", "bend", "x", "y", NULL);
    onnx_output(&graph, "y", F32, "4");
    pb_string(&graph, 2, "no_opset");
    pb_int(&model, 1, 8);
    pb_message(&model, 7, &graph);
    return model;
}

/* ---- All of them ---------------------------------------------------------------------------- */

static inline pb model_identity_f32(void) { return model_identity(F32, "2,3"); }
static inline pb model_identity_string(void) { return model_identity(INFERNO_DTYPE_STRING, "2"); }
static inline pb model_heavy_small(void) { return model_heavy(8, 3); }
static inline pb model_external_beside(void) { return model_external("weights.bin", 0, 16); }

typedef struct model_refused {
    const char *name;
    pb (*make)(void);
    inferno_status status;
    /* The error's text must contain both, in any case. */
    const char *part, *other_part;
} model_refused;

static const model_refused MODELS_REFUSED[] = {
    {"unsupported_ops", model_unsupported_ops, INFERNO_STATUS_UNSUPPORTED, "MaxRoiPool",
     "ImageDecoder"},
    {"unknown_op", model_unknown_op, INFERNO_STATUS_UNSUPPORTED, "Frobnicate", ""},
    {"unknown_domain", model_unknown_domain, INFERNO_STATUS_UNSUPPORTED, "com.example", ""},
    {"opset_99", model_opset_99, INFERNO_STATUS_UNSUPPORTED, "99", "opset"},
    {"dangling", model_dangling, INFERNO_STATUS_INVALID_MODEL, "nowhere", "sum"},
    {"cycle", model_cycle, INFERNO_STATUS_INVALID_MODEL, "one", ""},
    {"duplicate_names", model_duplicate_names, INFERNO_STATUS_INVALID_MODEL, "\"y\"", ""},
    {"dangling_output", model_dangling_output, INFERNO_STATUS_INVALID_MODEL, "\"y\"", "output"},
    {"payload_short", model_payload_short, INFERNO_STATUS_INVALID_MODEL, "\"w\"", "15"},
    {"payload_long", model_payload_long, INFERNO_STATUS_INVALID_MODEL, "\"w\"", "17"},
    {"negative_dim", model_negative_dim, INFERNO_STATUS_INVALID_MODEL, "\"w\"", "-4"},
    {"bfloat16_initializer", model_bfloat16_initializer, INFERNO_STATUS_UNSUPPORTED, "bfloat16",
     "\"w\""},
    {"bfloat16_input", model_bfloat16_input, INFERNO_STATUS_UNSUPPORTED, "bfloat16", "\"x\""},
    {"no_graph", model_no_graph, INFERNO_STATUS_INVALID_MODEL, "graph", ""},
    {"no_opset", model_no_opset, INFERNO_STATUS_INVALID_MODEL, "opset", ""},
};

typedef struct model_good {
    const char *name;
    pb (*make)(void);
} model_good;

static const model_good MODELS_GOOD[] = {
    {"mlp", model_mlp},
    {"add", model_add},
    {"add_open", model_add_open},
    {"add_shapeless", model_add_shapeless},
    {"identity_f32", model_identity_f32},
    {"identity_string", model_identity_string},
    {"accumulator", model_accumulator},
    {"accumulator_open", model_accumulator_open},
    {"reshape", model_reshape},
    {"if_constant", model_if_constant},
    {"lookup", model_lookup},
    {"heavy", model_heavy_small},
    {"external", model_external_beside},
};

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

#endif /* MODELS_H */
