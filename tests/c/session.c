/*
 * Sessions: dims by every way to set them, views, bindings, constants, recurrent state, and what
 * an error leaves behind.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"
#include "scratch.h"

static float counting[64];

/* Whether the session, its input 0 being `batch` rows of model_mlp, gives the right answer. */
static int mlp_answers(inferno_session *session, size_t batch) {
    float expected[8 * MLP_OUT];
    inferno_tensor output;
    mlp_reference(counting, batch, expected);
    return inferno_session_output(session, 0, &output) == INFERNO_STATUS_OK && output.rank == 2 &&
           output.dims[0] == (int64_t)batch && output.dims[1] == MLP_OUT &&
           output.size_bytes == batch * MLP_OUT * sizeof(float) &&
           close_to(output.data, expected, batch * MLP_OUT);
}

static void fill_view(inferno_session *session, size_t index) {
    inferno_tensor view;
    REQUIRE_OK(inferno_session_input(session, index, &view));
    REQUIRE(view.size_bytes <= sizeof counting);
    memcpy(view.data, counting, view.size_bytes);
}

static void free_session(inferno_session *session) {
    CHECK_OK(inferno_session_free(session));
}

/* ---- Dims ----------------------------------------------------------------------------------- */

static void dims_by_symbol(void) {
    inferno_model *model = load(model_mlp());
    inferno_session_options options = session_defaults();
    char name[] = "batch";
    inferno_symbol_value batch = {name, 2};
    options.symbols = &batch;
    options.symbol_count = 1;
    inferno_session *session = open_session(model, &options);
    memset(name, 'x', 5); /* nothing is kept */
    batch.value = 7;
    inferno_tensor view;
    CHECK_OK(inferno_session_input(session, 0, &view));
    CHECK(view.dtype == INFERNO_DTYPE_F32 && view.rank == 2);
    CHECK(view.dims[0] == 2 && view.dims[1] == 4 && view.dims[2] == 0);
    CHECK(view.size_bytes == 32);
    CHECK((uintptr_t)view.data % 64 == 0);
    fill_view(session, 0);
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(mlp_answers(session, 2));
    free_session(session);
    CHECK_OK(inferno_model_free(model));
}

static void dims_by_shape(void) {
    inferno_model *model = load(model_mlp());
    inferno_session_options options = session_defaults();
    inferno_input_shape shape = {"x", 2, {3, 4}};
    /* Shapes go before symbols. */
    inferno_symbol_value batch = {"batch", 2};
    options.shapes = &shape;
    options.shape_count = 1;
    for (size_t symbols = 0; symbols < 2; symbols++) {
        options.symbols = &batch;
        options.symbol_count = symbols;
        inferno_session *session = open_session(model, &options);
        fill_view(session, 0);
        CHECK_OK(inferno_session_run(session, NULL));
        CHECK(mlp_answers(session, 3));
        free_session(session);
    }
    CHECK_OK(inferno_model_free(model));
}

static void dims_by_set_shape(void) {
    inferno_session *session = open_model(model_mlp());
    static const int64_t batches[] = {1, 5, 2, 8, 1};
    for (size_t i = 0; i < COUNT_OF(batches); i++) {
        int64_t dims[2] = {batches[i], 4};
        CHECK_OK(inferno_session_set_shape(session, 0, 2, dims));
        dims[0] = 99; /* not kept */
        if (i % 2 == 0) {
            CHECK_OK(inferno_session_prepare(session));
            CHECK_OK(inferno_session_prepare(session));
        }
        fill_view(session, 0);
        CHECK_OK(inferno_session_run(session, NULL));
        CHECK(mlp_answers(session, (size_t)batches[i]));
    }
    /* The same shape again changes nothing, the view included. */
    int64_t dims[2] = {1, 4};
    inferno_tensor view;
    CHECK_OK(inferno_session_set_shape(session, 0, 2, dims));
    CHECK_OK(inferno_session_input(session, 0, &view));
    CHECK(memcmp(view.data, counting, 16) == 0);
    free_session(session);
}

static void dims_by_set_input(void) {
    inferno_session *session = open_model(model_mlp());
    static const char *const dims[] = {"1,4", "6,4", "2,4", "2,4"};
    for (size_t i = 0; i < COUNT_OF(dims); i++) {
        inferno_tensor x = f32_tensor(dims[i], counting);
        CHECK_OK(inferno_session_set_input(session, 0, &x));
        CHECK_OK(inferno_session_run(session, NULL));
        CHECK(mlp_answers(session, (size_t)x.dims[0]));
    }
    free_session(session);
}

static void dims_still_open(void) {
    inferno_tensor view;
    inferno_session *session = open_model(model_add_open());
    CHECK_ERROR(inferno_session_prepare(session), INFERNO_STATUS_NOT_READY, "batch");
    CHECK_ERROR(inferno_session_run(session, NULL), INFERNO_STATUS_NOT_READY, "batch");
    inferno_tensor a = f32_tensor("2,3,4", counting);
    CHECK_OK(inferno_session_set_input(session, 0, &a));
    CHECK_OK(inferno_session_set_input(session, 1, &a));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK_OK(inferno_session_output(session, 0, &view));
    CHECK(view.rank == 3 && view.dims[0] == 2 && view.dims[1] == 3 && view.dims[2] == 4);
    CHECK(((float *)view.data)[23] == 2 * counting[23]);
    free_session(session);

    /* Symbols alone leave the nameless dim open. */
    inferno_model *model = load(model_add_open());
    inferno_session_options options = session_defaults();
    inferno_symbol_value symbols[2] = {{"batch", 2}, {"time", 3}};
    options.symbols = symbols;
    options.symbol_count = 2;
    session = open_session(model, &options);
    CHECK_STATUS(inferno_session_prepare(session), INFERNO_STATUS_NOT_READY);
    int64_t dims[3] = {2, 3, 4};
    CHECK_OK(inferno_session_set_shape(session, 0, 3, dims));
    CHECK_OK(inferno_session_set_shape(session, 1, 3, dims));
    CHECK_OK(inferno_session_prepare(session));
    free_session(session);
    CHECK_OK(inferno_model_free(model));

    /* Not even the rank. */
    session = open_model(model_add_shapeless());
    CHECK_STATUS(inferno_session_input(session, 0, &view), INFERNO_STATUS_NOT_READY);
    CHECK_STATUS(inferno_session_run(session, NULL), INFERNO_STATUS_NOT_READY);
    for (int rank = 0; rank < 3; rank++) {
        static const char *const shapes[] = {"", "3", "2,2"};
        a = f32_tensor(shapes[rank], counting);
        CHECK_OK(inferno_session_set_input(session, 0, &a));
        CHECK_OK(inferno_session_set_input(session, 1, &a));
        CHECK_OK(inferno_session_run(session, NULL));
        CHECK_OK(inferno_session_output(session, 0, &view));
        CHECK(view.rank == rank && view.size_bytes == a.size_bytes);
        CHECK(((float *)view.data)[0] == 2 * counting[0]);
    }
    free_session(session);
}

/* One symbol has one value, whichever inputs it stands in. */
static void dims_that_contradict(void) {
    inferno_session *session = open_model(model_add_of("batch,3"));
    inferno_tensor two = f32_tensor("2,3", counting), four = f32_tensor("4,3", counting);
    CHECK_OK(inferno_session_set_input(session, 0, &two));
    inferno_status status = inferno_session_set_input(session, 1, &four);
    if (status == INFERNO_STATUS_OK) {
        status = inferno_session_run(session, NULL);
    }
    CHECK(status == INFERNO_STATUS_SHAPE_MISMATCH);
    CHECK(check_contains(inferno_last_error(), "\"batch\" is 2 in input"));
    /* And the session goes on. */
    CHECK_OK(inferno_session_set_input(session, 0, &two));
    CHECK_OK(inferno_session_set_input(session, 1, &two));
    CHECK_OK(inferno_session_run(session, NULL));
    free_session(session);

    /* Both inputs may change, one after the other. */
    session = open_model(model_add_of("batch,3"));
    for (int i = 0; i < 3; i++) {
        inferno_tensor *x = i % 2 == 0 ? &two : &four;
        CHECK_OK(inferno_session_set_input(session, 0, x));
        CHECK_OK(inferno_session_set_input(session, 1, x));
        CHECK_OK(inferno_session_run(session, NULL));
        inferno_tensor view;
        CHECK_OK(inferno_session_output(session, 0, &view));
        CHECK(view.dims[0] == x->dims[0] && ((float *)view.data)[5] == 2 * counting[5]);
    }
    free_session(session);
}

static void empty_batch(void) {
    inferno_session *session = open_model(model_mlp());
    int64_t dims[2] = {0, 4};
    inferno_tensor view;
    CHECK_OK(inferno_session_set_shape(session, 0, 2, dims));
    CHECK_OK(inferno_session_input(session, 0, &view));
    CHECK(view.rank == 2 && view.dims[0] == 0 && view.size_bytes == 0 && view.data == NULL);
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK_OK(inferno_session_output(session, 0, &view));
    CHECK(view.rank == 2 && view.dims[0] == 0 && view.dims[1] == MLP_OUT);
    CHECK(view.size_bytes == 0 && view.data == NULL);
    size_t needed = 99;
    CHECK_OK(inferno_session_copy_output(session, 0, NULL, 0, &needed));
    CHECK(needed == 0);
    free_session(session);
}

/* ---- Views ---------------------------------------------------------------------------------- */

static void views_keep_their_values(void) {
    inferno_session *session = open_model(model_add());
    inferno_tensor a, b, again, c;
    CHECK_OK(inferno_session_input(session, 0, &a));
    CHECK_OK(inferno_session_input(session, 1, &b));
    CHECK(a.data != b.data);
    CHECK((uintptr_t)a.data % 64 == 0 && (uintptr_t)b.data % 64 == 0);
    memcpy(a.data, counting, 24);
    memcpy(b.data, counting + 6, 24);
    float first[6], sums[6];
    for (int i = 0; i < 6; i++) {
        sums[i] = counting[i] + counting[i + 6];
    }
    for (int run = 0; run < 3; run++) {
        CHECK_OK(inferno_session_run(session, NULL));
        CHECK_OK(inferno_session_output(session, 0, &c));
        CHECK(tensor_equals(&c, f32_tensor("2,3", sums)));
        CHECK(c.data != a.data && c.data != b.data);
        if (run == 0) {
            memcpy(first, c.data, sizeof first);
        }
        CHECK(memcmp(first, c.data, sizeof first) == 0); /* the same bits every time */
        CHECK(memcmp(a.data, counting, 24) == 0);
        CHECK(memcmp(b.data, counting + 6, 24) == 0);
        CHECK_OK(inferno_session_input(session, 0, &again));
        CHECK(again.data == a.data);
    }
    /* Only one of them written anew. */
    ((float *)a.data)[0] += 100;
    sums[0] += 100;
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(output_is(session, 0, f32_tensor("2,3", sums)));
    free_session(session);
}

/* The output of an identity is not the input's memory. */
static void identity_does_not_alias(void) {
    inferno_session *session = open_model(model_identity_f32());
    inferno_tensor x, y;
    fill_view(session, 0);
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK_OK(inferno_session_input(session, 0, &x));
    CHECK_OK(inferno_session_output(session, 0, &y));
    CHECK(tensor_equals(&y, f32_tensor("2,3", counting)));
    const char *low = x.data, *out = y.data;
    CHECK(out + y.size_bytes <= low || low + x.size_bytes <= out);
    memset(x.data, 0, x.size_bytes);
    CHECK(tensor_equals(&y, f32_tensor("2,3", counting)));
    free_session(session);

    /* Nor that of a bound input. */
    float mine[6];
    memcpy(mine, counting, sizeof mine);
    session = open_model(model_identity_f32());
    x = f32_tensor("2,3", mine);
    CHECK_OK(inferno_session_bind_input(session, 0, &x));
    CHECK_OK(inferno_session_run(session, NULL));
    memset(mine, 0, sizeof mine);
    CHECK(output_is(session, 0, f32_tensor("2,3", counting)));
    free_session(session);
}

static void output_stays_until_the_next_run(void) {
    inferno_session *session = open_model(model_mlp());
    inferno_tensor x = f32_tensor("2,4", counting), first, again;
    CHECK_OK(inferno_session_set_input(session, 0, &x));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK_OK(inferno_session_output(session, 0, &first));
    /* New inputs and other sessions do not touch it. */
    float zeros[8] = {0};
    inferno_tensor z = f32_tensor("2,4", zeros);
    CHECK_OK(inferno_session_set_input(session, 0, &z));
    inferno_session *other = open_model(model_mlp());
    CHECK_OK(inferno_session_set_input(other, 0, &z));
    CHECK_OK(inferno_session_run(other, NULL));
    free_session(other);
    CHECK_OK(inferno_session_output(session, 0, &again));
    CHECK(again.data == first.data);
    CHECK(mlp_answers(session, 2));
    free_session(session);
}

static void copies_of_outputs(void) {
    inferno_session *session = open_model(model_mlp());
    inferno_tensor x = f32_tensor("2,4", counting);
    float expected[6], copy[8];
    size_t needed = 99;
    CHECK_OK(inferno_session_set_input(session, 0, &x));
    CHECK_OK(inferno_session_run(session, NULL));
    mlp_reference(counting, 2, expected);
    CHECK_OK(inferno_session_copy_output(session, 0, NULL, 0, &needed));
    CHECK(needed == sizeof expected);
    memset(copy, 0xa5, sizeof copy);
    CHECK_OK(inferno_session_copy_output(session, 0, copy, sizeof expected, NULL));
    CHECK(close_to(copy, expected, 6));
    memset(copy, 0xa5, sizeof copy);
    needed = 99;
    /* A larger buffer is all right, and written as far as the output goes. */
    CHECK_OK(inferno_session_copy_output(session, 0, copy, sizeof copy, &needed));
    CHECK(needed == sizeof expected);
    CHECK(close_to(copy, expected, 6));
    for (size_t i = sizeof expected; i < sizeof copy; i++) {
        CHECK(((unsigned char *)copy)[i] == 0xa5);
    }
    memset(copy, 0xa5, sizeof copy);
    needed = 99;
    CHECK_ERROR(inferno_session_copy_output(session, 0, copy, sizeof expected - 1, &needed),
                INFERNO_STATUS_SIZE_MISMATCH, "24");
    CHECK(needed == sizeof expected);
    for (size_t i = 0; i < sizeof copy; i++) {
        CHECK(((unsigned char *)copy)[i] == 0xa5);
    }
    free_session(session);
}

static void odd_addresses(void) {
    unsigned char bytes[6 * sizeof(float) + 1];
    inferno_session *session = open_model(model_identity_f32());
    memcpy(bytes + 1, counting, 24);
    inferno_tensor x = tensor_of(INFERNO_DTYPE_F32, "2,3", bytes + 1);
    CHECK_OK(inferno_session_set_input(session, 0, &x));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(output_is(session, 0, f32_tensor("2,3", counting)));
    unsigned char copy[25];
    CHECK_OK(inferno_session_copy_output(session, 0, copy + 1, 24, NULL));
    CHECK(memcmp(copy + 1, counting, 24) == 0);
    free_session(session);
}

/* ---- Bindings ------------------------------------------------------------------------------- */

static void bound_input(void) {
    inferno_session *session = open_model(model_add());
    float mine[6], ones[6] = {1, 1, 1, 1, 1, 1}, expected[6];
    inferno_tensor x = f32_tensor("2,3", mine), b = f32_tensor("2,3", ones), view;
    CHECK_OK(inferno_session_set_input(session, 1, &b));
    fill_view(session, 0);
    CHECK_OK(inferno_session_bind_input(session, 0, &x));
    CHECK_ERROR(inferno_session_input(session, 0, &view), INFERNO_STATUS_UNSUPPORTED, "bound");
    for (int run = 0; run < 3; run++) { /* read at the start of every run */
        for (int i = 0; i < 6; i++) {
            mine[i] = (float)(run * 10 + i);
            expected[i] = mine[i] + 1;
        }
        CHECK_OK(inferno_session_run(session, NULL));
        CHECK(output_is(session, 0, f32_tensor("2,3", expected)));
        CHECK(mine[5] == (float)(run * 10 + 5)); /* and not written */
    }
    CHECK_OK(inferno_session_bind_input(session, 0, NULL));
    CHECK_OK(inferno_session_bind_input(session, 0, NULL));
    memset(mine, 0xff, sizeof mine); /* not read any more */
    fill_view(session, 0);
    CHECK_OK(inferno_session_run(session, NULL));
    for (int i = 0; i < 6; i++) {
        expected[i] = counting[i] + 1;
    }
    CHECK(output_is(session, 0, f32_tensor("2,3", expected)));
    free_session(session);
}

/* A binding sets the shape; another shape undoes the binding. */
static void bound_input_shapes(void) {
    inferno_session *session = open_model(model_mlp());
    inferno_tensor three = f32_tensor("3,4", counting), view;
    CHECK_OK(inferno_session_bind_input(session, 0, &three));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(mlp_answers(session, 3));
    inferno_tensor two = f32_tensor("2,4", counting);
    CHECK_OK(inferno_session_bind_input(session, 0, &two));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(mlp_answers(session, 2));
    int64_t dims[2] = {4, 4};
    CHECK_OK(inferno_session_set_shape(session, 0, 2, dims));
    CHECK_OK(inferno_session_input(session, 0, &view));
    CHECK(view.dims[0] == 4);
    fill_view(session, 0);
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(mlp_answers(session, 4));
    free_session(session);
}

static void bound_output(void) {
    inferno_session *session = open_model(model_mlp());
    inferno_tensor x = f32_tensor("2,4", counting);
    float mine[6] = {0}, expected[6], others[6];
    inferno_tensor y = f32_tensor("2,3", mine);
    mlp_reference(counting, 2, expected);
    CHECK_OK(inferno_session_set_input(session, 0, &x));
    CHECK_OK(inferno_session_bind_output(session, 0, &y));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(close_to(mine, expected, 6));
    CHECK(mlp_answers(session, 2)); /* also written, not instead */
    CHECK_OK(inferno_session_copy_output(session, 0, others, sizeof others, NULL));
    CHECK(memcmp(others, mine, sizeof mine) == 0);

    /* Another size: the run fails, and nothing is written. */
    memset(mine, 0xa5, sizeof mine);
    memcpy(others, mine, sizeof mine);
    inferno_tensor one = f32_tensor("1,4", counting);
    CHECK_OK(inferno_session_set_input(session, 0, &one));
    inferno_status status = inferno_session_run(session, NULL);
    CHECK(status == INFERNO_STATUS_SIZE_MISMATCH || status == INFERNO_STATUS_SHAPE_MISMATCH);
    CHECK(check_contains(inferno_last_error(), "y"));
    CHECK(memcmp(others, mine, sizeof mine) == 0);
    /* Undone, it runs. */
    CHECK_OK(inferno_session_bind_output(session, 0, NULL));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(mlp_answers(session, 1));
    CHECK(memcmp(others, mine, sizeof mine) == 0);
    free_session(session);
}

/* Two outputs bound, one of a wrong size: neither is written, and the state stays. */
static void bound_outputs_all_or_none(void) {
    inferno_model *model = load(model_accumulator_open());
    inferno_state_pair pairs[2] = {{"state", "state_out"}, {"steps", "steps_out"}};
    inferno_session_options options = session_defaults();
    options.states = pairs;
    options.state_count = 2;
    inferno_session *session = open_session(model, &options);
    float sums[6], zeros[3] = {0};
    int64_t steps[1] = {-5};
    inferno_tensor x = f32_tensor("1,3", counting), state = f32_tensor("1,3", zeros);
    inferno_tensor wide = f32_tensor("2,3", sums), count = i64_tensor("1", steps);
    memset(sums, 0xa5, sizeof sums);
    /* The batch is not known yet, so that both sizes may be right. */
    CHECK_OK(inferno_session_bind_output(session, 0, &wide));
    CHECK_OK(inferno_session_bind_output(session, 1, &count));
    CHECK_OK(inferno_session_set_input(session, 0, &x));
    CHECK_OK(inferno_session_set_input(session, 1, &state));
    for (int run = 0; run < 3; run++) {
        inferno_status status = inferno_session_run(session, NULL);
        CHECK(status == INFERNO_STATUS_SIZE_MISMATCH || status == INFERNO_STATUS_SHAPE_MISMATCH);
        CHECK(check_contains(inferno_last_error(), "state_out"));
        CHECK(steps[0] == -5);
        CHECK(((unsigned char *)sums)[0] == 0xa5);
    }
    CHECK_OK(inferno_session_bind_output(session, 0, NULL));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(steps[0] == 1); /* the failed runs did not count */
    CHECK(output_is(session, 0, x));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(steps[0] == 2);
    free_session(session);
    CHECK_OK(inferno_model_free(model));
}

/* ---- Constants ------------------------------------------------------------------------------ */

static inferno_session *open_reshape(const inferno_model *model, int64_t rows, int64_t columns) {
    int64_t shape[2] = {rows, columns};
    inferno_input_constant constant = {"shape", i64_tensor("2", shape)};
    inferno_session_options options = session_defaults();
    options.constants = &constant;
    options.constant_count = 1;
    inferno_session *session = open_session(model, &options);
    memset(shape, 0, sizeof shape); /* copied */
    return session;
}

static void constants(void) {
    static const int64_t shapes[][2] = {{3, 4}, {12, 1}, {1, 12}, {4, 3}};
    inferno_model *model = load(model_reshape());
    inferno_session *all[COUNT_OF(shapes)];
    size_t count = 0;
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        all[i] = open_reshape(model, shapes[i][0], shapes[i][1]);
    }
    CHECK_OK(inferno_model_input_count(model, &count));
    CHECK(count == 2); /* the model's indexes stay */
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        inferno_tensor y;
        fill_view(all[i], 0);
        CHECK_OK(inferno_session_run(all[i], NULL));
        CHECK_OK(inferno_session_output(all[i], 0, &y));
        CHECK(y.rank == 2 && y.dims[0] == shapes[i][0] && y.dims[1] == shapes[i][1]);
        CHECK(y.size_bytes == 48 && memcmp(y.data, counting, 48) == 0);
    }
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        free_session(all[i]);
    }
    /* A value that cannot be: at once, or when the graph is compiled. */
    int64_t odd[2] = {5, 5};
    inferno_input_constant constant = {"shape", i64_tensor("2", odd)};
    inferno_session_options options = session_defaults();
    options.constants = &constant;
    options.constant_count = 1;
    inferno_session *session = NULL;
    inferno_status status = inferno_session_new(model, &options, &session);
    if (status == INFERNO_STATUS_OK) {
        status = inferno_session_run(session, NULL);
        CHECK(inferno_last_error()[0] != '\0');
        free_session(session);
    }
    CHECK(status != INFERNO_STATUS_OK && status != INFERNO_STATUS_INTERNAL);
    /* A float can be fixed as well. */
    inferno_model *add = load(model_add());
    float expected[6];
    inferno_input_constant b = {"b", f32_tensor("2,3", counting)};
    options.constants = &b;
    session = open_session(add, &options);
    fill_view(session, 0);
    CHECK_OK(inferno_session_run(session, NULL));
    for (int i = 0; i < 6; i++) {
        expected[i] = 2 * counting[i];
    }
    CHECK(output_is(session, 0, f32_tensor("2,3", expected)));
    free_session(session);
    CHECK_OK(inferno_model_free(add));
    CHECK_OK(inferno_model_free(model));
}

/* A model of one set of shapes gives its weights back once they are packed: what needs them
 * again reads the file again. */
static void weights_are_read_again(void) {
    float expected[6];
    for (int i = 0; i < 6; i++) {
        expected[i] = 2 * counting[i];
    }
    pb bytes = model_add(), other = model_mlp();
    scratch_write("add.onnx", bytes.data, bytes.size);
    inferno_model *model = NULL;
    REQUIRE_OK(inferno_model_load(scratch("add.onnx"), NULL, &model));
    free_session(open_session(model, NULL));
    REQUIRE(replace_file(scratch("add.onnx"), scratch("away.onnx")) == 0);
    free_session(open_session(model, NULL)); /* what was compiled is there */

    inferno_input_constant b = {"b", f32_tensor("2,3", counting)};
    inferno_session_options options = session_defaults();
    options.constants = &b;
    options.constant_count = 1;
    inferno_session *session = NULL;
    CHECK_ERROR(inferno_session_new(model, &options, &session), INFERNO_STATUS_NOT_FOUND,
                "add.onnx");
    scratch_write("add.onnx", other.data, other.size);
    CHECK_ERROR(inferno_session_new(model, &options, &session), INFERNO_STATUS_IO,
                "not the file any more");
    CHECK(session == NULL);
    REQUIRE(replace_file(scratch("away.onnx"), scratch("add.onnx")) == 0);
    session = open_session(model, &options);
    fill_view(session, 0);
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(output_is(session, 0, f32_tensor("2,3", expected)));
    free_session(session);
    CHECK_OK(inferno_model_free(model));
    pb_free(&bytes);
    pb_free(&other);
}

/* ---- Recurrent state ------------------------------------------------------------------------ */

static void step(inferno_session *session, float x0, float expected0) {
    float x[3] = {x0, 2 * x0, -x0}, sum[3] = {expected0, 2 * expected0, -expected0};
    float twice[3] = {2 * expected0, 4 * expected0, -2 * expected0};
    inferno_tensor input = f32_tensor("1,3", x);
    CHECK_OK(inferno_session_set_input(session, 0, &input));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(output_is(session, 0, f32_tensor("1,3", twice)));
    CHECK(output_is(session, 1, f32_tensor("1,3", sum)));
}

static inferno_session *open_accumulator(void) {
    return open_recurrent(model_accumulator(), "state", "state_out");
}

static void state_moves_on(void) {
    inferno_session *session = open_accumulator(), *other = open_accumulator();
    step(session, 1, 1);
    step(session, 2, 3);
    step(other, 10, 10);
    step(session, 4, 7);
    step(other, 10, 20);
    CHECK_OK(inferno_session_reset(session));
    inferno_tensor view;
    CHECK_ERROR(inferno_session_output(session, 0, &view), INFERNO_STATUS_NOT_READY, "run");
    /* The input is still there, the state is zero. */
    CHECK_OK(inferno_session_run(session, NULL));
    float sum[3] = {4, 8, -4};
    CHECK(output_is(session, 1, f32_tensor("1,3", sum)));
    step(other, 1, 21);
    free_session(session);
    free_session(other);
}

static void state_replaced(void) {
    inferno_session *session = open_accumulator();
    float hundred[3] = {100, 200, -100};
    inferno_tensor state = f32_tensor("1,3", hundred);
    step(session, 1, 1);
    CHECK_OK(inferno_session_set_input(session, 1, &state));
    memset(hundred, 0, sizeof hundred);
    step(session, 1, 101);
    step(session, 1, 102);
    CHECK_OK(inferno_session_reset(session));
    step(session, 1, 1);
    free_session(session);
}

/* Without a pair the state is an input like any other. */
static void state_without_a_pair(void) {
    inferno_session *session = open_model(model_accumulator());
    size_t size = 99;
    float x[3] = {1, 2, -1}, five[3] = {5, 10, -5}, expected[3] = {6, 12, -6};
    inferno_tensor input = f32_tensor("1,3", x), state = f32_tensor("1,3", five);
    CHECK_OK(inferno_session_set_input(session, 0, &input));
    CHECK_OK(inferno_session_set_input(session, 1, &state));
    for (int i = 0; i < 3; i++) {
        CHECK_OK(inferno_session_run(session, NULL));
        CHECK(output_is(session, 1, f32_tensor("1,3", expected)));
    }
    CHECK_OK(inferno_session_state_size(session, &size));
    CHECK(size == 0);
    CHECK_OK(inferno_session_copy_state(session, NULL, 0));
    /* A reset forgets the outputs and nothing else. */
    CHECK_OK(inferno_session_reset(session));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(output_is(session, 1, f32_tensor("1,3", expected)));
    free_session(session);
}

static unsigned char *save(inferno_session *session, size_t *size) {
    REQUIRE_OK(inferno_session_state_size(session, size));
    unsigned char *bytes = malloc(*size + 1);
    REQUIRE(bytes != NULL);
    bytes[*size] = 0xa5;
    CHECK_OK(inferno_session_copy_state(session, bytes, *size));
    CHECK(bytes[*size] == 0xa5);
    return bytes;
}

static void state_saved_and_restored(void) {
    inferno_session *session = open_accumulator(), *other = open_accumulator();
    size_t size, other_size;
    unsigned char *zero = save(session, &size);
    step(session, 1, 1);
    step(session, 2, 3);
    unsigned char *three = save(session, &other_size);
    CHECK(size == other_size);
    step(session, 4, 7);
    CHECK_OK(inferno_session_set_state(session, three, size));
    step(session, 1, 4);
    /* Into another session of the same model, made from the same bytes anew. */
    CHECK_OK(inferno_session_set_state(other, three, size));
    step(other, 1, 4);
    CHECK_OK(inferno_session_set_state(other, zero, size));
    step(other, 1, 1);
    /* Saving twice gives the same bytes. */
    CHECK_OK(inferno_session_set_state(other, three, size));
    unsigned char *again = save(other, &other_size);
    CHECK(other_size == size && memcmp(again, three, size) == 0);
    free(again);
    /* A larger buffer is all right for saving. */
    unsigned char *roomy = malloc(size + 100);
    REQUIRE(roomy != NULL);
    memset(roomy, 0xa5, size + 100);
    CHECK_OK(inferno_session_copy_state(other, roomy, size + 100));
    CHECK(memcmp(roomy, three, size) == 0 && roomy[size] == 0xa5);
    free(roomy);
    free(zero);
    free(three);
    free_session(session);
    free_session(other);
}

/* Damaged, cut, lengthened, or of something else: refused, and the state stays. */
static void state_damaged(void) {
    inferno_session *session = open_accumulator();
    size_t size;
    step(session, 5, 5);
    unsigned char *good = save(session, &size);
    step(session, 1, 6);
    for (size_t i = 0; i < size; i++) {
        static const unsigned char flips[] = {0x01, 0x80, 0xff};
        for (size_t f = 0; f < COUNT_OF(flips); f++) {
            good[i] ^= flips[f];
            CHECK_STATUS(inferno_session_set_state(session, good, size),
                         INFERNO_STATUS_INVALID_ARGUMENT);
            good[i] ^= flips[f];
        }
    }
    for (size_t cut = 0; cut < size; cut++) {
        unsigned char *exact = malloc(cut + 1);
        REQUIRE(exact != NULL);
        memcpy(exact, good, cut);
        CHECK_STATUS(inferno_session_set_state(session, exact, cut),
                     INFERNO_STATUS_INVALID_ARGUMENT);
        free(exact);
    }
    CHECK_STATUS(inferno_session_set_state(session, good, size + 1),
                 INFERNO_STATUS_INVALID_ARGUMENT);
    step(session, 1, 7); /* as it was */

    /* Of another model with the same pair, dims and dtype. */
    inferno_session *other = open_recurrent(model_lookup(), "state", "state_out");
    size_t other_size;
    unsigned char *strange = save(other, &other_size);
    CHECK_STATUS(inferno_session_set_state(session, strange, other_size),
                 INFERNO_STATUS_INVALID_ARGUMENT);
    free(strange);
    free_session(other);
    /* Of other pairs of the same model. */
    other = open_recurrent(model_accumulator(), "state", "y");
    strange = save(other, &other_size);
    CHECK_STATUS(inferno_session_set_state(session, strange, other_size),
                 INFERNO_STATUS_INVALID_ARGUMENT);
    CHECK_STATUS(inferno_session_set_state(other, good, size), INFERNO_STATUS_INVALID_ARGUMENT);
    free(strange);
    free_session(other);
    /* To a session that has no state. */
    other = open_model(model_accumulator());
    CHECK_STATUS(inferno_session_set_state(other, good, size), INFERNO_STATUS_INVALID_ARGUMENT);
    free_session(other);
    step(session, 1, 8);
    CHECK_OK(inferno_session_set_state(session, good, size));
    step(session, 1, 6);
    free(good);
    free_session(session);
}

static void two_states_and_an_open_batch(void) {
    inferno_model *model = load(model_accumulator_open());
    inferno_state_pair pairs[2] = {{"state", "state_out"}, {"steps", "steps_out"}};
    inferno_session_options options = session_defaults();
    options.states = pairs;
    options.state_count = 2;
    inferno_session *session = open_session(model, &options);
    size_t size = 99;
    CHECK_STATUS(inferno_session_state_size(session, &size), INFERNO_STATUS_NOT_READY);
    CHECK(size == 99);
    inferno_symbol_value batch = {"batch", 2};
    options.symbols = &batch;
    options.symbol_count = 1;
    free_session(session);
    session = open_session(model, &options);
    inferno_tensor x = f32_tensor("2,3", counting);
    CHECK_OK(inferno_session_set_input(session, 0, &x));
    float sum[6];
    for (int64_t run = 1; run <= 4; run++) {
        CHECK_OK(inferno_session_run(session, NULL));
        for (int i = 0; i < 6; i++) {
            sum[i] = (float)run * counting[i];
        }
        CHECK(output_is(session, 0, f32_tensor("2,3", sum)));
        CHECK(output_is(session, 1, i64_tensor("1", &run)));
    }
    unsigned char *saved = save(session, &size);
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK_OK(inferno_session_set_state(session, saved, size));
    CHECK_OK(inferno_session_run(session, NULL));
    int64_t five = 5;
    CHECK(output_is(session, 1, i64_tensor("1", &five)));
    free(saved);
    free_session(session);
    CHECK_OK(inferno_model_free(model));
}

/*
 * The status of a session whose only pair is this one, with a batch of 1. A failed one leaves the
 * model open, for its text to stay: the shutdown at the end takes it.
 */
static inferno_status pair_status(pb bytes, const char *input, const char *output) {
    inferno_model *model = load(bytes);
    inferno_state_pair pair = {input, output};
    inferno_symbol_value batch = {"batch", 1};
    inferno_session_options options = session_defaults();
    options.states = &pair;
    options.state_count = 1;
    options.symbols = &batch;
    options.symbol_count = 1;
    inferno_session *session = NULL;
    inferno_status status = inferno_session_new(model, &options, &session);
    CHECK((status == INFERNO_STATUS_OK) == (session != NULL));
    return status;
}

static void pairs_that_do_not_match(void) {
    CHECK_ERROR(pair_status(model_accumulator_open(), "state", "steps_out"),
                INFERNO_STATUS_DTYPE_MISMATCH, "steps_out");
    CHECK_ERROR(pair_status(model_mlp(), "x", "y"), INFERNO_STATUS_SHAPE_MISMATCH, "y");
    /* With an open batch it may come out when the graph is compiled, not later. */
    inferno_session *session = open_recurrent(model_mlp(), "x", "y");
    int64_t dims[2] = {1, 4};
    CHECK_OK(inferno_session_set_shape(session, 0, 2, dims));
    CHECK_ERROR(inferno_session_prepare(session), INFERNO_STATUS_SHAPE_MISMATCH, "y");
    CHECK_ERROR(inferno_session_run(session, NULL), INFERNO_STATUS_SHAPE_MISMATCH, "y");
    free_session(session);
}

/* ---- Errors --------------------------------------------------------------------------------- */

/* A run that fails leaves the inputs and the state, and the session works. */
static void error_leaves_the_session_usable(void) {
    inferno_session *session = open_recurrent(model_lookup(), "state", "state_out");
    int64_t index = 2;
    inferno_tensor i = i64_tensor("1", &index);
    float row2[3] = {6, 7, 8}, row2_twice[3] = {12, 14, 16}, thrice[3] = {18, 21, 24};
    CHECK_OK(inferno_session_set_input(session, 0, &i));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(output_is(session, 0, f32_tensor("1,3", row2)));
    /* The last one comes to 2 when it is multiplied by the row's 3 elements in 64 bits. */
    static const int64_t bad[] = {4, 1000, -5, INT64_MAX, INT64_MIN, 0x5555555555555556};
    for (size_t k = 0; k < COUNT_OF(bad); k++) {
        index = bad[k];
        CHECK_OK(inferno_session_set_input(session, 0, &i));
        CHECK_ERROR(inferno_session_run(session, NULL), INFERNO_STATUS_RUN_FAILED, "lookup");
        inferno_tensor view;
        CHECK_OK(inferno_session_input(session, 0, &view));
        CHECK(memcmp(view.data, &bad[k], sizeof bad[k]) == 0);
    }
    index = 2;
    CHECK_OK(inferno_session_set_input(session, 0, &i));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(output_is(session, 1, f32_tensor("1,3", row2_twice)));
    /* ONNX counts from the end as well. */
    index = -2;
    CHECK_OK(inferno_session_set_input(session, 0, &i));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(output_is(session, 0, f32_tensor("1,3", row2)));
    CHECK(output_is(session, 1, f32_tensor("1,3", thrice)));
    free_session(session);
}

/* A view lasts until the next run, reset or change of shape: asking again does not end it. */
static void views_last(void) {
    const char *words[2] = {"one", "two"};
    inferno_tensor strings = tensor_of(INFERNO_DTYPE_STRING, "2", (void *)words), first, again;
    inferno_session *session = open_model(model_identity_string());
    CHECK_OK(inferno_session_set_input(session, 0, &strings));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK_OK(inferno_session_output(session, 0, &first));
    CHECK_OK(inferno_session_output(session, 0, &again));
    CHECK(first.data == again.data);
    CHECK(strcmp(((const char *const *)first.data)[1], "two") == 0);
    free_session(session);

    const int64_t dims[3] = {1, 1, 1}, others[3] = {1, 1, 2};
    session = open_model(model_add_open());
    CHECK_OK(inferno_session_set_shape(session, 0, 3, dims));
    CHECK_OK(inferno_session_set_shape(session, 1, 3, dims));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK_OK(inferno_session_output(session, 0, &first));
    CHECK_OK(inferno_session_set_shape(session, 0, 3, others));
    CHECK_STATUS(inferno_session_output(session, 0, &again), INFERNO_STATUS_NOT_READY);
    free_session(session);
}

static void run_options(void) {
    inferno_run_options options;
    inferno_session *session = open_model(model_add());
    CHECK_OK(inferno_run_options_init(&options, sizeof options));
    CHECK(options.flags == 0);
    fill_view(session, 0);
    fill_view(session, 1);
    CHECK_OK(inferno_session_run(session, &options));
    free_session(session);
}

static void option_defaults(void) {
    inferno_session_options options;
    memset(&options, 0xff, sizeof options);
    CHECK_OK(inferno_session_options_init(&options, sizeof options));
    CHECK(options.struct_size == sizeof options);
    CHECK(options.symbols == NULL && options.symbol_count == 0);
    CHECK(options.shapes == NULL && options.shape_count == 0);
    CHECK(options.constants == NULL && options.constant_count == 0);
    CHECK(options.states == NULL && options.state_count == 0);
}

/* ---- Lives ---------------------------------------------------------------------------------- */

static void model_freed_first(void) {
    inferno_model *model = load(model_mlp());
    inferno_session *one = open_session(model, NULL), *two = open_session(model, NULL);
    CHECK_OK(inferno_model_free(model));
    inferno_session *none = NULL;
    CHECK_STATUS(inferno_session_new(model, NULL, &none), INFERNO_STATUS_INVALID_HANDLE);
    inferno_tensor x = f32_tensor("2,4", counting);
    CHECK_OK(inferno_session_set_input(one, 0, &x));
    CHECK_OK(inferno_session_run(one, NULL));
    free_session(one);
    CHECK_OK(inferno_session_set_input(two, 0, &x));
    CHECK_OK(inferno_session_run(two, NULL));
    CHECK(mlp_answers(two, 2));
    free_session(two);
}

static void many_sessions(void) {
    inferno_model *model = load(model_mlp());
    inferno_session *all[100];
    inferno_tensor x = f32_tensor("1,4", counting);
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        all[i] = open_session(model, NULL);
    }
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        CHECK_OK(inferno_session_set_input(all[i], 0, &x));
        CHECK_OK(inferno_session_run(all[i], NULL));
        CHECK(mlp_answers(all[i], 1));
    }
    for (size_t i = 0; i < COUNT_OF(all); i += 2) {
        free_session(all[i]);
    }
    for (size_t i = 1; i < COUNT_OF(all); i += 2) {
        CHECK(mlp_answers(all[i], 1));
        free_session(all[i]);
    }
    CHECK_OK(inferno_model_free(model));
}

int main(void) {
    for (size_t i = 0; i < COUNT_OF(counting); i++) {
        counting[i] = (float)i + 0.5f;
    }
    RUN(dims_by_symbol);
    RUN(dims_by_shape);
    RUN(dims_by_set_shape);
    RUN(dims_by_set_input);
    RUN(dims_still_open);
    RUN(dims_that_contradict);
    RUN(empty_batch);
    RUN(views_keep_their_values);
    RUN(identity_does_not_alias);
    RUN(output_stays_until_the_next_run);
    RUN(copies_of_outputs);
    RUN(odd_addresses);
    RUN(bound_input);
    RUN(bound_input_shapes);
    RUN(bound_output);
    RUN(bound_outputs_all_or_none);
    RUN(constants);
    RUN(weights_are_read_again);
    RUN(state_moves_on);
    RUN(state_replaced);
    RUN(state_without_a_pair);
    RUN(state_saved_and_restored);
    RUN(state_damaged);
    RUN(two_states_and_an_open_batch);
    RUN(pairs_that_do_not_match);
    RUN(error_leaves_the_session_usable);
    RUN(run_options);
    RUN(views_last);
    RUN(option_defaults);
    RUN(model_freed_first);
    RUN(many_sessions);
    CHECK_OK(inferno_shutdown());
    return check_summary();
}
