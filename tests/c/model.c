/*
 * Models: the three ways to load one, what a model says of itself, and everything that must be
 * refused.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"
#include "scratch.h"

static const float WEIGHTS[4] = {10, 20, 30, 40};

static inferno_status load_status(pb bytes, const inferno_model_options *options,
                                  inferno_model **model) {
    inferno_status status = inferno_model_load_memory(bytes.data, bytes.size, options, model);
    pb_free(&bytes);
    return status;
}

static inferno_model_options load_defaults(void) {
    inferno_model_options options;
    REQUIRE_OK(inferno_model_options_init(&options, sizeof options));
    return options;
}

static inferno_model_info about(const inferno_model *model) {
    inferno_model_info info;
    memset(&info, 0xa5, sizeof info);
    info.struct_size = sizeof info;
    REQUIRE_OK(inferno_model_get_info(model, &info));
    return info;
}

/* A model that adds WEIGHTS to its input; it is freed. */
static void adds_the_weights(inferno_model *model) {
    CHECK(adds(model, WEIGHTS));
    CHECK_OK(inferno_model_free(model));
}

/* ---- What a model says of itself ------------------------------------------------------------ */

static void describes_itself(void) {
    size_t count = 99;
    inferno_tensor_info info;
    inferno_model *model = load(model_mlp());

    CHECK_OK(inferno_model_input_count(model, &count));
    CHECK(count == 1);
    CHECK_OK(inferno_model_output_count(model, &count));
    CHECK(count == 1);
    memset(&info, 0xa5, sizeof info);
    CHECK_OK(inferno_model_input(model, 0, &info));
    CHECK(strcmp(info.name, "x") == 0);
    CHECK(info.dtype == INFERNO_DTYPE_F32);
    CHECK(info.rank == 2);
    CHECK(info.dims[0] == -1 && info.dims[1] == 4);
    CHECK(info.symbols[0] != NULL && strcmp(info.symbols[0], "batch") == 0);
    for (int i = 1; i < INFERNO_MAX_RANK; i++) {
        CHECK(info.symbols[i] == NULL);
        CHECK(i < 2 || info.dims[i] == 0);
    }
    memset(&info, 0xa5, sizeof info);
    CHECK_OK(inferno_model_output(model, 0, &info));
    CHECK(strcmp(info.name, "y") == 0);
    CHECK(info.dtype == INFERNO_DTYPE_F32);
    CHECK(info.rank == 2);
    CHECK(info.dims[0] == -1 && info.dims[1] == 3);
    CHECK(info.symbols[0] != NULL && strcmp(info.symbols[0], "batch") == 0);

    count = 99;
    CHECK_OK(inferno_model_input_index(model, "x", &count));
    CHECK(count == 0);
    count = 99;
    CHECK_OK(inferno_model_output_index(model, "y", &count));
    CHECK(count == 0);

    inferno_model_info said = about(model);
    CHECK(said.struct_size == sizeof said);
    CHECK(strcmp(said.name, "model") == 0);
    CHECK(strcmp(said.graph_name, "mlp") == 0);
    CHECK(strcmp(said.producer_name, "inferno-c-tests") == 0);
    CHECK(said.ir_version == 8);
    CHECK(said.opset_version == 17);
    CHECK(said.node_count == 3);
    CHECK(said.weight_bytes == MLP_WEIGHT_BYTES);
    CHECK_OK(inferno_model_free(model));
}

static void several_inputs(void) {
    size_t index = 99;
    inferno_tensor_info info;
    inferno_model *model = load(model_accumulator_open());
    static const char *const inputs[] = {"x", "state", "steps"};
    static const char *const outputs[] = {"state_out", "steps_out"};
    for (size_t i = 0; i < COUNT_OF(inputs); i++) {
        CHECK_OK(inferno_model_input(model, i, &info));
        CHECK(strcmp(info.name, inputs[i]) == 0);
        CHECK_OK(inferno_model_input_index(model, inputs[i], &index));
        CHECK(index == i);
    }
    for (size_t i = 0; i < COUNT_OF(outputs); i++) {
        CHECK_OK(inferno_model_output(model, i, &info));
        CHECK(strcmp(info.name, outputs[i]) == 0);
        CHECK_OK(inferno_model_output_index(model, outputs[i], &index));
        CHECK(index == i);
    }
    CHECK(info.dtype == INFERNO_DTYPE_I64 && info.rank == 1 && info.dims[0] == 1);
    CHECK_OK(inferno_model_free(model));
}

static void open_dims(void) {
    inferno_tensor_info info;
    inferno_model *model = load(model_add_open());
    CHECK_OK(inferno_model_input(model, 1, &info));
    CHECK(info.rank == 3);
    CHECK(info.dims[0] == -1 && info.dims[1] == -1 && info.dims[2] == -1);
    CHECK(info.symbols[0] != NULL && strcmp(info.symbols[0], "batch") == 0);
    CHECK(info.symbols[1] != NULL && strcmp(info.symbols[1], "time") == 0);
    CHECK(info.symbols[2] == NULL);
    CHECK_OK(inferno_model_free(model));

    model = load(model_add_shapeless());
    CHECK_OK(inferno_model_input(model, 0, &info));
    CHECK(info.rank == -1);
    CHECK(info.dtype == INFERNO_DTYPE_F32);
    CHECK_OK(inferno_model_free(model));

    model = load(model_identity(F32, ""));
    CHECK_OK(inferno_model_input(model, 0, &info));
    CHECK(info.rank == 0);
    CHECK_OK(inferno_model_free(model));
}

static void metadata(void) {
    static const char *const all[3][2] = {
        {"author", "inferno"}, {"empty", ""}, {"gr\xc3\xb6\xc3\x9f" "e", "7 \xc2\xb5m"}};
    const char *key = NULL, *value = NULL;
    size_t count = 99;
    inferno_model *model = load(model_mlp());
    CHECK_OK(inferno_model_metadata_count(model, &count));
    CHECK(count == 3);
    for (size_t i = 0; i < 3; i++) {
        CHECK_OK(inferno_model_metadata(model, i, &key, &value));
        CHECK(strcmp(key, all[i][0]) == 0);
        CHECK(strcmp(value, all[i][1]) == 0);
        CHECK_OK(inferno_model_metadata_find(model, all[i][0], &value));
        CHECK(strcmp(value, all[i][1]) == 0);
    }
    CHECK_OK(inferno_model_free(model));
    model = load(model_add());
    CHECK_OK(inferno_model_metadata_count(model, &count));
    CHECK(count == 0);
    CHECK_OK(inferno_model_free(model));
}

/* Strings stay where they are as long as the model does, whatever else is asked. */
static void strings_stay(void) {
    inferno_tensor_info first, again;
    inferno_model *model = load(model_mlp());
    inferno_session *session;
    CHECK_OK(inferno_model_input(model, 0, &first));
    inferno_model_info said = about(model);
    session = open_session(model, NULL);
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_input(model, 0, &again));
    CHECK(first.name == again.name && strcmp(first.name, "x") == 0);
    CHECK(first.symbols[0] == again.symbols[0]);
    CHECK(strcmp(said.graph_name, "mlp") == 0);
    CHECK_OK(inferno_model_free(model));
}

/* BLAKE3 of model_mlp's bytes, computed with another tool. */
static const unsigned char MLP_HASH[32] = {
    0x57, 0x6e, 0xf9, 0x08, 0xb3, 0x8d, 0xda, 0xf6, 0x96, 0xc4, 0x7d, 0x38, 0xeb, 0x3d, 0x07, 0x31,
    0x62, 0xfe, 0xd2, 0x9d, 0x5c, 0x82, 0x53, 0x0d, 0xc2, 0xc1, 0xa1, 0xc0, 0x8b, 0xdd, 0xa1, 0x4f,
};

/* ---- The three loads ------------------------------------------------------------------------ */

/* A pack of files in memory, and what was asked of it. */
typedef struct pack {
    struct {
        const char *path;
        const void *data;
        uint64_t size;      /* what there is */
        uint64_t said;      /* what open says there is */
    } files[3];
    int fail_open, fail_read; /* the code to answer with, from call `after` on */
    int after;
    int opens, reads, closes, open_now;
    int inside, overlaps; /* callbacks come one at a time */
    int out_of_range, strangers;
    char last_path[256];
} pack;

static void pack_enter(pack *p) {
    if (p->inside++ != 0) {
        p->overlaps++;
    }
}

static int32_t pack_leave(pack *p, int32_t code) {
    p->inside--;
    return code;
}

static int32_t pack_open(void *user_data, const char *path, void **file, uint64_t *size_bytes) {
    pack *p = user_data;
    pack_enter(p);
    p->opens++;
    snprintf(p->last_path, sizeof p->last_path, "%s", path);
    if (p->fail_open != 0 && p->opens > p->after) {
        return pack_leave(p, p->fail_open);
    }
    for (size_t i = 0; i < COUNT_OF(p->files); i++) {
        if (p->files[i].path != NULL && strcmp(p->files[i].path, path) == 0) {
            p->open_now++;
            *file = (void *)&p->files[i];
            *size_bytes = p->files[i].said;
            return pack_leave(p, 0);
        }
    }
    return pack_leave(p, -1);
}

static int32_t pack_read(void *user_data, void *file, uint64_t offset, void *buffer,
                         size_t size_bytes) {
    pack *p = user_data;
    pack_enter(p);
    p->reads++;
    if (p->fail_read != 0 && p->reads > p->after) {
        return pack_leave(p, p->fail_read);
    }
    for (size_t i = 0; i < COUNT_OF(p->files); i++) {
        if (file == (void *)&p->files[i]) {
            if (offset > p->files[i].size || size_bytes > p->files[i].size - offset) {
                p->out_of_range++;
                return pack_leave(p, 5);
            }
            memcpy(buffer, (const char *)p->files[i].data + offset, size_bytes);
            return pack_leave(p, 0);
        }
    }
    p->strangers++;
    return pack_leave(p, 6);
}

static void pack_close(void *user_data, void *file) {
    pack *p = user_data;
    pack_enter(p);
    p->closes++;
    p->open_now--;
    if (file < (void *)&p->files[0] || file > (void *)&p->files[COUNT_OF(p->files) - 1]) {
        p->strangers++;
    }
    (void)pack_leave(p, 0);
}

static inferno_reader reader_of(pack *p) {
    inferno_reader reader = {sizeof reader, p, pack_open, pack_read, pack_close};
    return reader;
}

static void pack_file(pack *p, size_t i, const char *path, const void *data, size_t size) {
    p->files[i].path = path;
    p->files[i].data = data;
    p->files[i].size = size;
    p->files[i].said = size;
}

/* Every file that was opened was closed, and every read was of what there is. */
static int pack_balanced(const pack *p) {
    return p->open_now == 0 && p->strangers == 0 && p->overlaps == 0 && p->closes <= p->opens;
}

static void same_from_everywhere(void) {
    inferno_model *models[3];
    pb bytes = model_mlp();
    pack p = {0};
    pack_file(&p, 0, "pack://a/b.onnx", bytes.data, bytes.size);
    inferno_reader reader = reader_of(&p);
    scratch_write("mlp file.onnx", bytes.data, bytes.size);

    REQUIRE_OK(inferno_model_load(scratch("mlp file.onnx"), NULL, &models[0]));
    REQUIRE_OK(inferno_model_load_memory(bytes.data, bytes.size, NULL, &models[1]));
    REQUIRE_OK(inferno_model_load_reader(&reader, "pack://a/b.onnx", NULL, &models[2]));
    CHECK(pack_balanced(&p) && p.opens == 1 && p.closes == 1 && p.out_of_range == 0);
    CHECK(strcmp(p.last_path, "pack://a/b.onnx") == 0);

    static const char *const names[3] = {"mlp file", "model", "b"};
    float x[8] = {1, -2, 3, -4, 0.5f, 0.25f, 0, 8}, expected[6];
    mlp_reference(x, 2, expected);
    memset(bytes.data, 0, bytes.size); /* the bytes are the caller's again */
    for (size_t i = 0; i < 3; i++) {
        inferno_model_info said = about(models[i]);
        CHECK(memcmp(said.hash, MLP_HASH, sizeof MLP_HASH) == 0);
        CHECK(check_contains(said.name, names[i]));
        inferno_session *session = open_session(models[i], NULL);
        inferno_tensor input = f32_tensor("2,4", x), output;
        CHECK_OK(inferno_session_set_input(session, 0, &input));
        CHECK_OK(inferno_session_run(session, NULL));
        CHECK_OK(inferno_session_output(session, 0, &output));
        CHECK(output.size_bytes == sizeof expected && close_to(output.data, expected, 6));
        CHECK_OK(inferno_session_free(session));
        CHECK_OK(inferno_model_free(models[i]));
    }
    pb_free(&bytes);
}

static void names(void) {
    inferno_model *model;
    inferno_model_options options = load_defaults();
    CHECK(options.name == NULL);
    CHECK(options.reader == NULL);
    CHECK(options.limits == NULL);
    CHECK(options.isolation == INFERNO_ISOLATION_NONE);
    char name[] = "policy \xe2\x82\xac";
    options.name = name;
    REQUIRE_OK(load_status(model_mlp(), &options, &model));
    memset(name, 'x', sizeof name - 1); /* not kept */
    CHECK(strcmp(about(model).name, "policy \xe2\x82\xac") == 0);
    CHECK_OK(inferno_model_free(model));
    /* Messages use it. */
    options.name = "my-policy";
    CHECK_ERROR(load_status(model_cycle(), &options, &model), INFERNO_STATUS_INVALID_MODEL,
                "my-policy");
}

static void hash(void) {
    pb bytes = model_add();
    inferno_model *model;
    REQUIRE_OK(inferno_model_load_memory(bytes.data, bytes.size, NULL, &model));
    inferno_model_info first = about(model);
    CHECK_OK(inferno_model_free(model));
    REQUIRE_OK(inferno_model_load_memory(bytes.data, bytes.size, NULL, &model));
    inferno_model_info again = about(model);
    CHECK(memcmp(first.hash, again.hash, 32) == 0);
    CHECK_OK(inferno_model_free(model));
    /* A field that changes nothing but the bytes. */
    onnx_metadata(&bytes, "k", "v");
    REQUIRE_OK(inferno_model_load_memory(bytes.data, bytes.size, NULL, &model));
    again = about(model);
    CHECK(memcmp(first.hash, again.hash, 32) != 0);
    CHECK_OK(inferno_model_free(model));
    pb_free(&bytes);
}

static void built_in(void) {
    inferno_model *model;
    inferno_tensor_info info;
    inferno_tensor image, probabilities;
    REQUIRE_OK(inferno_model_load_default(&model));
    CHECK_OK(inferno_model_input(model, 0, &info));
    CHECK(strcmp(info.name, "image") == 0);
    CHECK(info.dtype == INFERNO_DTYPE_F32 && info.rank == 2);
    CHECK(info.dims[0] == -1 && info.dims[1] == 64);
    CHECK(info.symbols[0] != NULL && strcmp(info.symbols[0], "batch") == 0);
    CHECK_OK(inferno_model_output(model, 0, &info));
    CHECK(strcmp(info.name, "probabilities") == 0);
    CHECK(info.dtype == INFERNO_DTYPE_F32 && info.rank == 2);
    CHECK(info.dims[0] == -1 && info.dims[1] == 10);
    inferno_symbol_value batch = {"batch", 1};
    inferno_session_options options = session_defaults();
    options.symbols = &batch;
    options.symbol_count = 1;
    inferno_session *session = open_session(model, &options);
    CHECK_OK(inferno_session_input(session, 0, &image));
    for (int i = 0; i < 64; i++) {
        ((float *)image.data)[i] = (float)(i % 17);
    }
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK_OK(inferno_session_output(session, 0, &probabilities));
    float sum = 0;
    for (int i = 0; i < 10; i++) {
        float p = ((const float *)probabilities.data)[i];
        CHECK(p >= 0.0f && p <= 1.0f);
        sum += p;
    }
    CHECK(sum > 0.999f && sum < 1.001f);
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
}

static void constant_if(void) {
    float x[6] = {1, 2, 3, 4, 5, 6}, expected[6] = {2, 4, 6, 8, 10, 12};
    inferno_tensor input = f32_tensor("2,3", x);
    inferno_session *session = open_model(model_if_constant());
    CHECK_OK(inferno_session_set_input(session, 0, &input));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(output_is(session, 0, f32_tensor("2,3", expected)));
    CHECK_OK(inferno_session_free(session));
}

/* ---- Files that are not there, not files, too large ----------------------------------------- */

static void files(void) {
    static char place;
    inferno_model *const untouched = (inferno_model *)(void *)&place;
    inferno_model *model = untouched;
    CHECK_ERROR(inferno_model_load(scratch("missing.onnx"), NULL, &model),
                INFERNO_STATUS_NOT_FOUND, "missing.onnx");
    CHECK_ERROR(inferno_model_load(scratch("no/folder/m.onnx"), NULL, &model),
                INFERNO_STATUS_NOT_FOUND, "m.onnx");
    CHECK_STATUS(inferno_model_load("", NULL, &model), INFERNO_STATUS_NOT_FOUND);
    REQUIRE(make_folder(scratch("folder.onnx")) == 0);
    CHECK_ERROR(inferno_model_load(scratch("folder.onnx"), NULL, &model), INFERNO_STATUS_IO,
                "folder.onnx");
    scratch_write("empty.onnx", "", 0);
    CHECK_ERROR(inferno_model_load(scratch("empty.onnx"), NULL, &model),
                INFERNO_STATUS_INVALID_MODEL, "empty");
    scratch_write("text.onnx", "this is not a model at all\n", 27);
    CHECK_ERROR(inferno_model_load(scratch("text.onnx"), NULL, &model),
                INFERNO_STATUS_INVALID_MODEL, "text");
    inferno_status status = inferno_model_load(scratch("text.onnx/deeper.onnx"), NULL, &model);
    CHECK(status == INFERNO_STATUS_NOT_FOUND || status == INFERNO_STATUS_IO);
    CHECK(model == untouched);
}

static void size_limits(void) {
    inferno_model *model = NULL;
    inferno_model_options options = load_defaults();
    pb bytes = model_mlp();
    pack p = {0};
    pack_file(&p, 0, "m", bytes.data, bytes.size);
    inferno_reader reader = reader_of(&p);
    scratch_write("limit.onnx", bytes.data, bytes.size);
    inferno_model_limits limits;
    REQUIRE_OK(inferno_model_limits_init(&limits, sizeof limits));
    options.limits = &limits;
    limits.max_file_bytes = bytes.size - 1;
    CHECK_STATUS(inferno_model_load(scratch("limit.onnx"), &options, &model),
                 INFERNO_STATUS_LIMIT_EXCEEDED);
    CHECK_STATUS(inferno_model_load_memory(bytes.data, bytes.size, &options, &model),
                 INFERNO_STATUS_LIMIT_EXCEEDED);
    CHECK_STATUS(inferno_model_load_reader(&reader, "m", &options, &model),
                 INFERNO_STATUS_LIMIT_EXCEEDED);
    CHECK(pack_balanced(&p) && p.reads == 0);
    CHECK(model == NULL);
    limits.max_file_bytes = bytes.size;
    if (CHECK_OK(inferno_model_load(scratch("limit.onnx"), &options, &model))) {
        CHECK_OK(inferno_model_free(model));
    }
    if (CHECK_OK(inferno_model_load_memory(bytes.data, bytes.size, &options, &model))) {
        CHECK_OK(inferno_model_free(model));
    }
    if (CHECK_OK(inferno_model_load_reader(&reader, "m", &options, &model))) {
        CHECK_OK(inferno_model_free(model));
    }
    pb_free(&bytes);
}

/* ---- Bytes that are no model ---------------------------------------------------------------- */

/* Exactly as many bytes as are said, so that valgrind sees a read past them. */
static inferno_status load_exactly(const unsigned char *bytes, size_t size,
                                   inferno_model **model) {
    unsigned char *exact = malloc(size == 0 ? 1 : size);
    REQUIRE(exact != NULL);
    memcpy(exact, bytes, size);
    inferno_status status = inferno_model_load_memory(exact, size, NULL, model);
    free(exact);
    return status;
}

static void truncated(void) {
    pb bytes = model_mlp();
    inferno_model *model = NULL;
    for (size_t size = 0; size < bytes.size; size++) {
        CHECK_STATUS(load_exactly(bytes.data, size, &model), INFERNO_STATUS_INVALID_MODEL);
        CHECK(model == NULL);
    }
    CHECK_OK(load_exactly(bytes.data, bytes.size, &model));
    CHECK_OK(inferno_model_free(model));
    /* A file, too. */
    for (size_t size = 0; size < bytes.size; size += 53) {
        scratch_write("cut.onnx", bytes.data, size);
        model = NULL;
        CHECK_ERROR(inferno_model_load(scratch("cut.onnx"), NULL, &model),
                    INFERNO_STATUS_INVALID_MODEL, "cut");
    }
    pb_free(&bytes);
}

/* One byte wrong: a model or an error, and nothing else. */
static void damaged(void) {
    pb bytes = model_add();
    size_t stride = check_times(10) == 10 ? 1 : 7;
    for (size_t i = 0; i < bytes.size; i += stride) {
        static const unsigned char flips[] = {0x01, 0x80, 0xff};
        for (size_t f = 0; f < COUNT_OF(flips); f++) {
            inferno_model *model = NULL;
            bytes.data[i] ^= flips[f];
            inferno_status status = load_exactly(bytes.data, bytes.size, &model);
            bytes.data[i] ^= flips[f];
            CHECK(status == INFERNO_STATUS_OK || status == INFERNO_STATUS_INVALID_MODEL ||
                  status == INFERNO_STATUS_UNSUPPORTED || status == INFERNO_STATUS_LIMIT_EXCEEDED);
            if (status == INFERNO_STATUS_OK) {
                CHECK_OK(inferno_model_free(model));
            } else {
                CHECK(model == NULL && inferno_last_error()[0] != '\0');
            }
        }
    }
    pb_free(&bytes);
}

static void refused(void) {
    for (size_t i = 0; i < COUNT_OF(MODELS_REFUSED); i++) {
        const model_refused *bad = &MODELS_REFUSED[i];
        inferno_model *model = NULL;
        pb bytes = bad->make();
        inferno_status status =
            inferno_model_load_memory(bytes.data, bytes.size, NULL, &model);
        pb_free(&bytes);
        check_status(status, bad->status, bad->part, __FILE__, __LINE__, bad->name);
        check_status(status, bad->status, bad->other_part, __FILE__, __LINE__, bad->name);
        CHECK(model == NULL);
        if (status == INFERNO_STATUS_OK) {
            inferno_model_free(model);
        }
    }
}

/* Refused, for whichever reason is seen first. */
static void refused_somehow(void) {
    static const struct {
        const char *what;
        pb (*make)(void);
    } all[] = {{"rank 9", model_rank_9}, {"2^62 weights", model_payload_huge}};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        inferno_model *model = NULL;
        inferno_status status = load_status(all[i].make(), NULL, &model);
        check_note(status == INFERNO_STATUS_INVALID_MODEL || status == INFERNO_STATUS_UNSUPPORTED ||
                       status == INFERNO_STATUS_LIMIT_EXCEEDED,
                   __FILE__, __LINE__, all[i].what, inferno_status_name((int32_t)status));
        CHECK(model == NULL && inferno_last_error()[0] != '\0');
    }
}

/* ---- External data -------------------------------------------------------------------------- */

static void external_beside(void) {
    inferno_model *model;
    pb bytes = model_external("weights.bin", 0, 16);
    scratch_write("external.onnx", bytes.data, bytes.size);
    pb_free(&bytes);
    CHECK_ERROR(inferno_model_load(scratch("external.onnx"), NULL, &model),
                INFERNO_STATUS_NOT_FOUND, "weights.bin");
    scratch_write("weights.bin", WEIGHTS, 16);
    REQUIRE_OK(inferno_model_load(scratch("external.onnx"), NULL, &model));
    CHECK(about(model).weight_bytes == 16);
    adds_the_weights(model);

    /* With an offset, in a folder, without a length. */
    unsigned char padded[64 + 16] = {0};
    memcpy(padded + 64, WEIGHTS, 16);
    REQUIRE(make_folder(scratch("data")) == 0);
    scratch_write("data/padded.bin", padded, sizeof padded);
    bytes = model_external("data/padded.bin", 64, -1);
    scratch_write("external.onnx", bytes.data, bytes.size);
    pb_free(&bytes);
    REQUIRE_OK(inferno_model_load(scratch("external.onnx"), NULL, &model));
    adds_the_weights(model);
}

static void external_wrong(void) {
    static const struct {
        const char *what;
        long long offset, length;
    } all[] = {
        {"a byte short", 0, 15},        {"a byte long", 0, 17},
        {"past the end", 1, 16},        {"far past the end", 1000, 16},
        {"a huge offset", INT64_MAX, 16}, {"a negative offset", -1, 16},
        {"a huge length", 0, INT64_MAX},
    };
    scratch_write("weights.bin", WEIGHTS, 16);
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        inferno_model *model = NULL;
        pb bytes = model_external("weights.bin", all[i].offset, all[i].length);
        scratch_write("external.onnx", bytes.data, bytes.size);
        pb_free(&bytes);
        inferno_status status = inferno_model_load(scratch("external.onnx"), NULL, &model);
        check_note(status == INFERNO_STATUS_INVALID_MODEL, __FILE__, __LINE__, all[i].what,
                   inferno_status_name((int32_t)status));
        CHECK(check_contains(inferno_last_error(), "w"));
        CHECK(model == NULL);
    }
}

/* Nothing outside the model's folder is read, however it is named. */
static void external_escapes(void) {
    char absolute[1100];
    REQUIRE(make_folder(scratch("inside")) == 0);
    scratch_write("secret.bin", WEIGHTS, 16);
    scratch_write("inside/model.bin", WEIGHTS, 16);
    if (make_link("../secret.bin", scratch("inside/link.bin")) != 0 ||
        make_link("..", scratch("inside/up")) != 0) {
        SKIP(links_that_lead_out, "there are no links that a program may make");
    }
    snprintf(absolute, sizeof absolute, "%s", scratch("secret.bin"));
    const char *const locations[] = {
        "../secret.bin",     "./../secret.bin", "../inside/../secret.bin", "a/../../secret.bin",
        "inside/../../secret.bin", absolute,    "/etc/passwd",             "up/secret.bin",
        "link.bin",          "..",              ".",                       "",
        "..\\secret.bin",    "file:../secret.bin", "C:secret.bin",          "CON",
        "NUL",               "inside\\..\\secret.bin", ".. /secret.bin",   "model.bin:stream",
    };
    for (size_t i = 0; i < COUNT_OF(locations); i++) {
        inferno_model *model = NULL;
        pb bytes = model_external(locations[i], 0, 16);
        scratch_write("inside/model.onnx", bytes.data, bytes.size);
        pb_free(&bytes);
        inferno_status status = inferno_model_load(scratch("inside/model.onnx"), NULL, &model);
        check_note(status != INFERNO_STATUS_OK && status != INFERNO_STATUS_INTERNAL, __FILE__,
                   __LINE__, locations[i], inferno_status_name((int32_t)status));
        CHECK(model == NULL);
        if (status == INFERNO_STATUS_OK) {
            inferno_model_free(model);
        } else {
            CHECK(inferno_last_error()[0] != '\0');
        }
        /* Nor asked for through a reader. */
        bytes = model_external(locations[i], 0, 16);
        pack p = {0};
        pack_file(&p, 0, "inside/model.onnx", bytes.data, bytes.size);
        inferno_reader reader = reader_of(&p);
        status = inferno_model_load_reader(&reader, "inside/model.onnx", NULL, &model);
        CHECK(status != INFERNO_STATUS_OK && status != INFERNO_STATUS_INTERNAL);
        CHECK(strstr(p.last_path, "..") == NULL || strcmp(locations[i], "..\\secret.bin") == 0 ||
              strcmp(locations[i], "file:../secret.bin") == 0);
        CHECK(p.last_path[0] != '/');
        CHECK(pack_balanced(&p));
        pb_free(&bytes);
    }
}

static void external_in_memory(void) {
    inferno_model *model = NULL;
    pb bytes = model_external("weights.bin", 0, 16);
    /* Without a reader there is none. */
    inferno_status status = inferno_model_load_memory(bytes.data, bytes.size, NULL, &model);
    CHECK(status == INFERNO_STATUS_NOT_FOUND || status == INFERNO_STATUS_IO);
    CHECK(check_contains(inferno_last_error(), "weights.bin"));
    CHECK(model == NULL);

    pack p = {0};
    pack_file(&p, 0, "weights.bin", WEIGHTS, 16);
    inferno_reader reader = reader_of(&p);
    inferno_model_options options = load_defaults();
    options.reader = &reader;
    REQUIRE_OK(inferno_model_load_memory(bytes.data, bytes.size, &options, &model));
    CHECK(strcmp(p.last_path, "weights.bin") == 0);
    CHECK(pack_balanced(&p) && p.opens == p.closes);
    adds_the_weights(model);
    p.fail_read = 3;
    model = NULL;
    CHECK_ERROR(inferno_model_load_memory(bytes.data, bytes.size, &options, &model),
                INFERNO_STATUS_IO, "weights.bin");
    CHECK(model == NULL && pack_balanced(&p));
    pb_free(&bytes);
}

/* ---- The host's reader ---------------------------------------------------------------------- */

static void reader_external(void) {
    inferno_model *model;
    pb bytes = model_external("weights.bin", 0, 16);
    pack p = {0};
    pack_file(&p, 0, "pack:/a/b/model.onnx", bytes.data, bytes.size);
    pack_file(&p, 1, "pack:/a/b/weights.bin", WEIGHTS, 16);
    inferno_reader reader = reader_of(&p);
    REQUIRE_OK(inferno_model_load_reader(&reader, "pack:/a/b/model.onnx", NULL, &model));
    CHECK(strcmp(p.last_path, "pack:/a/b/weights.bin") == 0);
    CHECK(pack_balanced(&p) && p.opens == p.closes && p.out_of_range == 0);
    int calls = p.opens + p.reads + p.closes;
    adds_the_weights(model);
    CHECK(p.opens + p.reads + p.closes == calls); /* used during the load only */
    pb_free(&bytes);
}

/* A failure at each callback of each file in turn: the status, and every open file closed. */
static void reader_failures(void) {
    pb bytes = model_external("weights.bin", 0, 16);
    for (int after = 0; after < 2; after++) {
        const char *path = after == 0 ? "model.onnx" : "weights.bin";
        static const int codes[] = {-1, 1, 5, -2, INT32_MAX, INT32_MIN};
        for (size_t i = 0; i < COUNT_OF(codes); i++) {
            inferno_model *model = NULL;
            pack p = {.fail_open = codes[i], .after = after};
            pack_file(&p, 0, "model.onnx", bytes.data, bytes.size);
            pack_file(&p, 1, "weights.bin", WEIGHTS, 16);
            inferno_reader reader = reader_of(&p);
            CHECK_ERROR(inferno_model_load_reader(&reader, "model.onnx", NULL, &model),
                        codes[i] == -1 ? INFERNO_STATUS_NOT_FOUND : INFERNO_STATUS_IO, path);
            CHECK(model == NULL);
            CHECK(pack_balanced(&p) && p.closes == p.opens - 1);

            p = (pack){.fail_read = codes[i], .after = after};
            pack_file(&p, 0, "model.onnx", bytes.data, bytes.size);
            pack_file(&p, 1, "weights.bin", WEIGHTS, 16);
            CHECK_ERROR(inferno_model_load_reader(&reader, "model.onnx", NULL, &model),
                        INFERNO_STATUS_IO, path);
            CHECK(model == NULL);
            CHECK(pack_balanced(&p) && p.closes == p.opens);
        }
    }
    pb_free(&bytes);
}

/* A reader that says another size than there is. */
static void reader_lies(void) {
    pb bytes = model_external("weights.bin", 0, 16);
    const uint64_t said[] = {0, 1, bytes.size - 1, bytes.size + 1, (uint64_t)1 << 20,
                             (uint64_t)1 << 40, UINT64_MAX};
    for (size_t i = 0; i < COUNT_OF(said); i++) {
        inferno_model *model = NULL;
        pack p = {0};
        pack_file(&p, 0, "m", bytes.data, bytes.size);
        pack_file(&p, 1, "weights.bin", WEIGHTS, 16);
        p.files[0].said = said[i];
        inferno_reader reader = reader_of(&p);
        inferno_status expected = said[i] < bytes.size             ? INFERNO_STATUS_INVALID_MODEL
                                  : said[i] <= (uint64_t)1 << 20 ? INFERNO_STATUS_IO
                                                                 : INFERNO_STATUS_LIMIT_EXCEEDED;
        CHECK_STATUS(inferno_model_load_reader(&reader, "m", NULL, &model), expected);
        CHECK(model == NULL && pack_balanced(&p));
    }
    const uint64_t weights_said[] = {0, 15, (uint64_t)1 << 40, UINT64_MAX};
    for (size_t i = 0; i < COUNT_OF(weights_said); i++) {
        inferno_model *model = NULL;
        pack p = {0};
        pack_file(&p, 0, "m", bytes.data, bytes.size);
        pack_file(&p, 1, "weights.bin", WEIGHTS, 16);
        p.files[1].said = weights_said[i];
        inferno_reader reader = reader_of(&p);
        CHECK_STATUS(inferno_model_load_reader(&reader, "m", NULL, &model),
                     weights_said[i] < 16 ? INFERNO_STATUS_INVALID_MODEL
                                          : INFERNO_STATUS_LIMIT_EXCEEDED);
        CHECK(model == NULL && pack_balanced(&p));
    }
    pb_free(&bytes);
}

int main(void) {
    RUN(describes_itself);
    RUN(several_inputs);
    RUN(open_dims);
    RUN(metadata);
    RUN(strings_stay);
    RUN(same_from_everywhere);
    RUN(names);
    RUN(hash);
    RUN(built_in);
    RUN(constant_if);
    RUN(files);
    RUN(size_limits);
    RUN(truncated);
    RUN(damaged);
    RUN(refused);
    RUN(refused_somehow);
    RUN(external_beside);
    RUN(external_wrong);
    RUN(external_escapes);
    RUN(external_in_memory);
    RUN(reader_external);
    RUN(reader_failures);
    RUN(reader_lies);
    return check_summary();
}
