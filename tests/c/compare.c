/*
 * Compares Inferno's answers with those another runtime wrote down.
 *
 *   compare [--refused FILE] CASE_DIR...   prints a line a case; one check an output
 *   compare                                makes cases of its own, right and wrong ones
 *
 * CASE_DIR/case.txt is as tests/models/README.md says: `model <path>` relative to the target
 * folder (CARGO_TARGET_DIR, or target), then lines of words apart by spaces:
 *
 *   constant|input|output <name> <dtype> <rank> <dims...> <file>
 *   state <input> <output>
 *   steps <count>
 *
 * A folder with step0, step1, ... is a stream: its steps run on one session, each with a case.txt
 * of its own. In names, %XX is a byte. Floats may be off by 1e-4 (f16: 2e-3) + 1e-3 |expected|; the rest is
 * exact. FILE names what must be refused as unsupported, a MODEL or a MODEL/CASE a line, # begins
 * a comment: one of these that runs is a failure too, so that the list stays true.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"
#include "scratch.h"

#include <errno.h>
#include <math.h>

static const double RELATIVE = 1e-3, ABSOLUTE = 1e-4;
/* A half float has 11 bits: between 2 and 4 two neighbours are 2e-3 apart, and every layer rounds. */
static const double HALF = 2e-3;

enum { MAX_ITEMS = 64, NAME = 1024 };

typedef struct item {
    char name[NAME];
    inferno_tensor tensor;
} item;

typedef struct list {
    item items[MAX_ITEMS];
    size_t count;
} list;

typedef struct test_case {
    char model[NAME];
    list constants, inputs, outputs;
    char states[MAX_ITEMS][2][NAME];
    size_t state_count;
    long steps;
} test_case;

/* How far the worst element is off, and the same as a share of what is allowed. */
typedef struct errors {
    double absolute, relative, share;
} errors;

/* ---- Judging -------------------------------------------------------------------------------- */

/* The check of this program itself counts wrong verdicts here, not as failures. */
static int watching;
static int seen;

static int judge(int held, const char *place, const char *what, const char *detail) {
    char text[NAME];
    if (watching) {
        seen += !held;
        return held;
    }
    snprintf(text, sizeof text, "%s: %s", place, what);
    return check_note(held, __FILE__, __LINE__, text, detail);
}

/* A status of UNSUPPORTED is right where the list expects it. */
static int refusal_expected, refusal_seen;

static int judge_status(inferno_status status, const char *place, const char *what) {
    if (refusal_expected && status == INFERNO_STATUS_UNSUPPORTED) {
        refusal_seen = 1;
        return 0;
    }
    return judge(status == INFERNO_STATUS_OK, place, what, inferno_status_name((int32_t)status));
}

static double half(uint16_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double value = exponent == 0 ? fraction / 16777216.0 : (fraction + 1024) / 16777216.0;
    for (int i = 1; i < exponent; i++) {
        value *= 2;
    }
    if (exponent == 31) {
        value = fraction == 0 ? HUGE_VAL : NAN;
    }
    return bits >> 15 ? -value : value;
}

static double element(int32_t dtype, const void *data, size_t i) {
    float f;
    double d;
    uint16_t h;
    switch (dtype) {
        case INFERNO_DTYPE_F32: memcpy(&f, (const char *)data + 4 * i, 4); return f;
        case INFERNO_DTYPE_F64: memcpy(&d, (const char *)data + 8 * i, 8); return d;
        default: memcpy(&h, (const char *)data + 2 * i, 2); return half(h);
    }
}

static int is_float(int32_t dtype) {
    return dtype == INFERNO_DTYPE_F32 || dtype == INFERNO_DTYPE_F64 || dtype == INFERNO_DTYPE_F16;
}

/* Compares `size` bytes of `dtype`; true when all of them agree. Adds to `worst`. */
static int agree(int32_t dtype, const void *got, const void *expected, size_t size,
                 errors *worst) {
    if (!is_float(dtype)) {
        return size == 0 || memcmp(got, expected, size) == 0;
    }
    int all = 1;
    for (size_t i = 0; i < size / inferno_dtype_size(dtype); i++) {
        double a = element(dtype, got, i), b = element(dtype, expected, i);
        if (a == b || (isnan(a) && isnan(b))) {
            continue;
        }
        double off = fabs(a - b);
        double allowed = (dtype == INFERNO_DTYPE_F16 ? HALF : ABSOLUTE) + RELATIVE * fabs(b);
        if (!(off <= allowed) || isinf(b)) {
            all = 0;
        }
        worst->absolute = off > worst->absolute ? off : worst->absolute;
        worst->share = off / allowed > worst->share ? off / allowed : worst->share;
        if (fabs(b) >= ABSOLUTE && off / fabs(b) > worst->relative) {
            worst->relative = off / fabs(b);
        }
        if (isnan(off)) {
            worst->absolute = worst->relative = worst->share = HUGE_VAL;
        }
    }
    return all;
}

/* ---- Reading -------------------------------------------------------------------------------- */

static void decode_name(char *to, const char *from) {
    size_t n = 0;
    while (*from != '\0' && n < NAME - 1) {
        unsigned byte;
        if (*from == '%' && sscanf(from + 1, "%2x", &byte) == 1) {
            to[n++] = (char)byte;
            from += 3;
        } else {
            to[n++] = *from++;
        }
    }
    to[n] = '\0';
}

static int read_bytes(const char *folder, const char *name, void *to, size_t size) {
    char path[2 * NAME];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return 0;
    }
    int right = fread(to, 1, size, file) == size && fgetc(file) == EOF;
    fclose(file);
    return right;
}

/* <name> <dtype> <rank> <dims...> <file> */
static int read_item(list *to, const char *folder, char **words, size_t count) {
    if (to->count == MAX_ITEMS || count < 4) {
        return 0;
    }
    item *it = &to->items[to->count];
    *it = (item){0};
    decode_name(it->name, words[0]);
    it->tensor.dtype = (int32_t)strtol(words[1], NULL, 10);
    it->tensor.rank = (int32_t)strtol(words[2], NULL, 10);
    size_t size = inferno_dtype_size(it->tensor.dtype);
    if (size == 0 || it->tensor.dtype == INFERNO_DTYPE_STRING || it->tensor.rank < 0 ||
        it->tensor.rank > INFERNO_MAX_RANK || count != 4 + (size_t)it->tensor.rank) {
        return 0;
    }
    for (int32_t i = 0; i < it->tensor.rank; i++) {
        it->tensor.dims[i] = strtoll(words[3 + i], NULL, 10);
        size *= (size_t)it->tensor.dims[i];
    }
    it->tensor.size_bytes = size;
    it->tensor.data = size == 0 ? NULL : malloc(size);
    to->count++; /* from here on it is freed with the others */
    return (size == 0 || it->tensor.data != NULL) &&
           read_bytes(folder, words[count - 1], it->tensor.data, size);
}

static int read_line(test_case *to, const char *folder, char *line) {
    char *words[INFERNO_MAX_RANK + 8], *rest = NULL;
    size_t count = 0;
    for (char *word = strtok_r(line, " \r\n", &rest); word != NULL;
         word = strtok_r(NULL, " \r\n", &rest)) {
        if (count == COUNT_OF(words)) {
            return 0;
        }
        words[count++] = word;
    }
    if (count == 0) {
        return 1;
    }
    if (strcmp(words[0], "model") == 0 && count == 2) {
        snprintf(to->model, sizeof to->model, "%s", words[1]);
        return 1;
    }
    if (strcmp(words[0], "state") == 0 && count == 3 && to->state_count < MAX_ITEMS) {
        decode_name(to->states[to->state_count][0], words[1]);
        decode_name(to->states[to->state_count++][1], words[2]);
        return 1;
    }
    if (strcmp(words[0], "steps") == 0 && count == 2) {
        to->steps = strtol(words[1], NULL, 10);
        return 1;
    }
    list *items = strcmp(words[0], "constant") == 0 ? &to->constants
                  : strcmp(words[0], "input") == 0  ? &to->inputs
                  : strcmp(words[0], "output") == 0 ? &to->outputs
                                                    : NULL;
    return items != NULL && read_item(items, folder, words + 1, count - 1);
}

static void free_list(list *items) {
    for (size_t i = 0; i < items->count; i++) {
        free(items->items[i].tensor.data);
    }
}

static void free_case(test_case *c) {
    if (c != NULL) {
        free_list(&c->constants);
        free_list(&c->inputs);
        free_list(&c->outputs);
        free(c);
    }
}

/* Reads FOLDER/case.txt; NULL, and judged, when it cannot be read. */
static test_case *read_case(const char *folder) {
    char path[2 * NAME], line[4 * NAME], copy[4 * NAME];
    snprintf(path, sizeof path, "%s/case.txt", folder);
    FILE *file = fopen(path, "r");
    if (!judge(file != NULL, folder, "case.txt", strerror(errno))) {
        return NULL;
    }
    test_case *c = calloc(1, sizeof *c);
    REQUIRE(c != NULL);
    int right = 1;
    while (right && fgets(line, sizeof line, file) != NULL) {
        snprintf(copy, sizeof copy, "%s", line);
        right = judge(read_line(c, folder, line), folder, "a line that cannot be read", copy);
    }
    fclose(file);
    if (!right || !judge(c->model[0] != '\0', folder, "no model", NULL)) {
        free_case(c);
        return NULL;
    }
    if (c->steps == 0) {
        while (snprintf(path, sizeof path, "%s/step%ld/case.txt", folder, c->steps) > 0 &&
               access(path, R_OK) == 0) {
            c->steps++;
        }
    }
    return c;
}

/* ---- Models: the last one is kept, for its other cases -------------------------------------- */

static char target_folder[NAME];
static char kept_path[3 * NAME];
static inferno_model *kept_model;
static char refused_models[16384]; /* "\nname\nname\n" */
static int refused_count, skipped_count;

static void drop_model(void) {
    CHECK_OK(inferno_model_free(kept_model));
    kept_model = NULL;
    kept_path[0] = '\0';
}

static void read_refused(const char *path) {
    FILE *file = fopen(path, "r");
    char line[NAME];
    REQUIRE(file != NULL);
    strcpy(refused_models, "\n");
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "# \t\r\n")] = '\0';
        if (*line != '\0') {
            REQUIRE(strlen(refused_models) + strlen(line) + 2 < sizeof refused_models);
            strcat(strcat(refused_models, line), "\n");
        }
    }
    fclose(file);
}

/* Whether the list has the case's folder, ".../MODEL/CASE", or its MODEL. */
static int is_refused(const char *folder) {
    char name[NAME + 2];
    const char *start = folder + strlen(folder);
    for (int slashes = 0; start > folder && (start[-1] != '/' || ++slashes < 2); start--) {
    }
    snprintf(name, sizeof name - 1, "\n%s", start);
    char *end = name + strlen(name);
    strcpy(end, "\n");
    if (strstr(refused_models, name) != NULL) {
        return 1;
    }
    end = strchr(name, '/');
    if (end != NULL) {
        strcpy(end, "\n");
    }
    return strstr(refused_models, name) != NULL;
}

static inferno_model *model_of(const test_case *c, const char *folder) {
    char path[3 * NAME];
    struct stat about;
    snprintf(path, sizeof path, "%s/%s", target_folder, c->model);
    if (kept_model != NULL && strcmp(path, kept_path) == 0) {
        return kept_model;
    }
    drop_model();
    if (getenv("CHECK_SLOW") != NULL && stat(path, &about) == 0 && about.st_size > 100000) {
        skipped_count++;
        return NULL;
    }
    if (!judge_status(inferno_model_load(path, NULL, &kept_model), folder, c->model)) {
        return NULL;
    }
    snprintf(kept_path, sizeof kept_path, "%s", path);
    return kept_model;
}

/* ---- Running -------------------------------------------------------------------------------- */

static inferno_session *session_of(const inferno_model *model, const test_case *c,
                                   const char *folder) {
    inferno_input_constant constants[MAX_ITEMS];
    inferno_state_pair states[MAX_ITEMS];
    inferno_session *session = NULL;
    inferno_session_options options = session_defaults();
    for (size_t i = 0; i < c->constants.count; i++) {
        constants[i].input = c->constants.items[i].name;
        constants[i].value = c->constants.items[i].tensor;
    }
    for (size_t i = 0; i < c->state_count; i++) {
        states[i].input = c->states[i][0];
        states[i].output = c->states[i][1];
    }
    options.constants = constants;
    options.constant_count = c->constants.count;
    options.states = states;
    options.state_count = c->state_count;
    judge_status(inferno_session_new(model, &options, &session), folder, "inferno_session_new");
    return session;
}

static void describe(char *text, size_t room, const inferno_tensor *t) {
    size_t n = (size_t)snprintf(text, room, "%s [", inferno_dtype_name(t->dtype));
    for (int32_t i = 0; i < t->rank && n < room; i++) {
        n += (size_t)snprintf(text + n, room - n, i == 0 ? "%lld" : ", %lld",
                              (long long)t->dims[i]);
    }
    if (n < room) {
        snprintf(text + n, room - n, "]");
    }
}

static void compare_output(const inferno_model *model, inferno_session *session, const item *it,
                           const char *folder, errors *worst) {
    size_t index;
    inferno_tensor got;
    char what[2 * NAME], detail[512], one[200], other[200];
    snprintf(what, sizeof what, "output \"%s\"", it->name);
    if (!judge_status(inferno_model_output_index(model, it->name, &index), folder, what) ||
        !judge_status(inferno_session_output(session, index, &got), folder, what)) {
        return;
    }
    describe(one, sizeof one, &got);
    describe(other, sizeof other, &it->tensor);
    snprintf(detail, sizeof detail, "%s, expected %s", one, other);
    if (!judge(got.dtype == it->tensor.dtype && got.rank == it->tensor.rank &&
                   memcmp(got.dims, it->tensor.dims, sizeof got.dims) == 0 &&
                   got.size_bytes == it->tensor.size_bytes,
               folder, what, detail)) {
        return;
    }
    errors here = {0, 0, 0};
    int all = agree(got.dtype, got.data, it->tensor.data, got.size_bytes, &here);
    snprintf(detail, sizeof detail, "off by %.3g absolute, %.3g relative, %.3g of the tolerance",
             here.absolute, here.relative, here.share);
    judge(all, folder, what, detail);
    worst->absolute = here.absolute > worst->absolute ? here.absolute : worst->absolute;
    worst->relative = here.relative > worst->relative ? here.relative : worst->relative;
    worst->share = here.share > worst->share ? here.share : worst->share;
}

/* One run: the inputs given, the outputs compared. */
static int run_step(const inferno_model *model, inferno_session *session, const test_case *c,
                    const char *folder, errors *worst) {
    for (size_t i = 0; i < c->inputs.count; i++) {
        const item *it = &c->inputs.items[i];
        size_t index;
        if (!judge_status(inferno_model_input_index(model, it->name, &index), folder, it->name) ||
            !judge_status(inferno_session_set_input(session, index, &it->tensor), folder,
                          it->name)) {
            return 0;
        }
    }
    if (!judge_status(inferno_session_run(session, NULL), folder, "inferno_session_run")) {
        return 0;
    }
    for (size_t i = 0; i < c->outputs.count; i++) {
        compare_output(model, session, &c->outputs.items[i], folder, worst);
    }
    return 1;
}

/* The case's runs: one, or one a step. */
static void run_steps(const inferno_model *model, inferno_session *session, const test_case *c,
                      const char *folder, errors *worst) {
    if (c->steps == 0) {
        run_step(model, session, c, folder, worst);
    }
    for (long k = 0; k < c->steps; k++) {
        char step[2 * NAME];
        snprintf(step, sizeof step, "%s/step%ld", folder, k);
        test_case *one = read_case(step);
        int went = one != NULL && run_step(model, session, one, step, worst);
        free_case(one);
        if (!went) {
            break;
        }
    }
}

static void run_case(const char *folder) {
    errors worst = {0, 0, 0};
    unsigned long failures = atomic_load(&check_failures);
    int skipped = skipped_count;
    test_case *c = read_case(folder);
    if (c == NULL) {
        return;
    }
    refusal_expected = is_refused(folder);
    refusal_seen = 0;
    inferno_model *model = model_of(c, folder);
    inferno_session *session = model == NULL ? NULL : session_of(model, c, folder);
    if (session != NULL) {
        run_steps(model, session, c, folder, &worst);
        CHECK_OK(inferno_session_free(session));
    }
    free_case(c);
    const char *verdict = failures == atomic_load(&check_failures) ? "ok" : "FAILED";
    if (skipped != skipped_count) {
        verdict = "skipped";
    } else if (refusal_expected) {
        judge(refusal_seen, folder, "listed as unsupported, and it is not", NULL);
        refused_count++;
        verdict = refusal_seen ? "unsupported, as listed" : "FAILED";
    }
    refusal_expected = 0;
    if (!watching) {
        printf("%-50s abs %-9.2g rel %-9.2g %s\n", folder, worst.absolute, worst.relative,
               verdict);
    }
}

/* ---- This program's own check --------------------------------------------------------------- */

static void tolerance(void) {
    static const struct {
        float got, expected;
        int right;
    } all[] = {
        {1.0f, 1.0f, 1},          {1.0f, 1.0005f, 1},      {1.0f, 1.002f, 0},
        {0.0f, 0.00009f, 1},      {0.0f, 0.00011f, 0},     {-1.0f, 1.0f, 0},
        {1000.0f, 1000.9f, 1},    {1000.0f, 1001.1f, 0},   {NAN, NAN, 1},
        {NAN, 1.0f, 0},           {1.0f, NAN, 0},          {INFINITY, INFINITY, 1},
        {INFINITY, -INFINITY, 0}, {INFINITY, 3e38f, 0},    {3e38f, INFINITY, 0},
        {0.0f, -0.0f, 1},
    };
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        errors worst = {0, 0, 0};
        CHECK(agree(INFERNO_DTYPE_F32, &all[i].got, &all[i].expected, 4, &worst) == all[i].right);
    }
    errors worst = {0, 0, 0};
    const int32_t one = 1000000, other = 1000001;
    CHECK(!agree(INFERNO_DTYPE_I32, &one, &other, 4, &worst));
    CHECK(agree(INFERNO_DTYPE_I32, &one, &one, 4, &worst));
    CHECK(half(0x3c00) == 1.0 && half(0xc000) == -2.0 && half(0x7bff) == 65504.0);
    CHECK(half(0x0001) == 1.0 / 16777216.0 && half(0x0400) == 1.0 / 16384.0 && half(0) == 0.0);
    CHECK(isinf(half(0x7c00)) && half(0xfc00) < 0 && isnan(half(0x7e00)));
    char name[NAME];
    decode_name(name, "a%20b%C3%B6%25");
    CHECK(strcmp(name, "a b\xc3\xb6%") == 0);
}

static void put_text(const char *name, const char *text) {
    scratch_write(name, text, strlen(text));
}

/* How many wrong verdicts a case comes to. */
static int verdicts(const char *name) {
    watching = 1;
    seen = 0;
    run_case(scratch(name));
    watching = 0;
    return seen;
}

static void own_cases(void) {
    float x[8] = {1, -2, 3, -4, 0.5f, 0.25f, 0, 8}, y[6];
    pb bytes = model_mlp();
    REQUIRE(make_folder(scratch("one")) == 0);
    snprintf(target_folder, sizeof target_folder, "%s", scratch_folder);
    scratch_write("mlp.onnx", bytes.data, bytes.size);
    pb_free(&bytes);
    mlp_reference(x, 2, y);
    scratch_write("one/x.bin", x, sizeof x);
    scratch_write("one/y.bin", y, sizeof y);
    put_text("one/case.txt", "model mlp.onnx\ninput x 1 2 2 4 x.bin\noutput y 1 2 2 3 y.bin\n");
    CHECK(verdicts("one") == 0);
    y[5] += 0.1f;
    scratch_write("one/y.bin", y, sizeof y);
    CHECK(verdicts("one") == 1);
    scratch_write("one/y.bin", y, sizeof y - 1);
    CHECK(verdicts("one") == 1);
    put_text("one/case.txt", "model mlp.onnx\ninput x 1 2 2 4 x.bin\noutput y 1 2 3 2 x.bin\n");
    CHECK(verdicts("one") == 1);
    put_text("one/case.txt", "model mlp.onnx\ninput %78 1 2 2 4 x.bin\noutput z 1 1 8 x.bin\n");
    CHECK(verdicts("one") == 1);
    put_text("one/case.txt", "model other.onnx\n");
    CHECK(verdicts("one") == 1);
    CHECK(verdicts("nowhere") == 1);
    CHECK(!is_refused("one"));
    strcpy(refused_models, "\none\ntwo/case1\n");
    CHECK(is_refused("a/b/one/case0") && is_refused("one/case7") && is_refused("b/two/case1"));
    CHECK(!is_refused("one/a/b") && !is_refused("a/one") && !is_refused("two/case2"));
    put_text("one/case.txt", "model mlp.onnx\ninput x 1 2 2 4 x.bin\n");
    drop_model();
    snprintf(refused_models, sizeof refused_models, "\n%s/one\n", strrchr(scratch_folder, '/') + 1);
    CHECK(verdicts("one") == 1); /* listed, and it runs */
    bytes = model_bfloat16_input();
    scratch_write("bf.onnx", bytes.data, bytes.size);
    pb_free(&bytes);
    put_text("one/case.txt", "model bf.onnx\n");
    CHECK(verdicts("one") == 0);
    refused_models[0] = '\0';
    CHECK(verdicts("one") == 1); /* refused, and not listed */
}

static void own_stream(void) {
    pb bytes = model_accumulator();
    snprintf(target_folder, sizeof target_folder, "%s", scratch_folder);
    scratch_write("sum.onnx", bytes.data, bytes.size);
    pb_free(&bytes);
    REQUIRE(make_folder(scratch("stream")) == 0);
    put_text("stream/case.txt", "model sum.onnx\nstate state state_out\nsteps 3\n");
    float sum[3] = {10, 20, 30};
    for (int k = 0; k < 3; k++) {
        char name[64];
        snprintf(name, sizeof name, "stream/step%d", k);
        REQUIRE(make_folder(scratch(name)) == 0);
        float x[3] = {(float)k, 1, 2};
        snprintf(name, sizeof name, "stream/step%d/x.bin", k);
        scratch_write(name, x, sizeof x);
        snprintf(name, sizeof name, "stream/step%d/state.bin", k);
        scratch_write(name, sum, sizeof sum);
        for (int i = 0; i < 3; i++) {
            sum[i] += x[i];
        }
        snprintf(name, sizeof name, "stream/step%d/sum.bin", k);
        scratch_write(name, sum, sizeof sum);
        snprintf(name, sizeof name, "stream/step%d/case.txt", k);
        put_text(name, k == 0 ? "model sum.onnx\ninput x 1 2 1 3 x.bin\n"
                                "input state 1 2 1 3 state.bin\noutput state_out 1 2 1 3 sum.bin\n"
                              : "model sum.onnx\ninput x 1 2 1 3 x.bin\n"
                                "output state_out 1 2 1 3 sum.bin\n");
    }
    CHECK(verdicts("stream") == 0);
    scratch_write("stream/step2/sum.bin", "123456789012", 12);
    CHECK(verdicts("stream") == 1);
    put_text("stream/case.txt", "model sum.onnx\nstate state state_out\nsteps 4\n");
    CHECK(verdicts("stream") == 2); /* no step3 */
    put_text("stream/case.txt", "model sum.onnx\n");
    CHECK(verdicts("stream") == 2); /* nothing handed on: steps 1 and 2 are wrong */
}

int main(int argc, char **argv) {
    const char *target = getenv("CARGO_TARGET_DIR");
    if (argc == 1) {
        RUN(tolerance);
        RUN(own_cases);
        RUN(own_stream);
    }
    snprintf(target_folder, sizeof target_folder, "%s",
             target != NULL && *target != '\0' ? target : "target");
    int first = 1;
    if (argc > 2 && strcmp(argv[1], "--refused") == 0) {
        read_refused(argv[2]);
        first = 3;
    }
    for (int i = first; i < argc; i++) {
        check_test = argv[i];
        run_case(argv[i]);
    }
    drop_model();
    if (argc > 1) {
        printf("%d cases, %d of them listed as unsupported, %d skipped as too large for a slow run\n",
               argc - first, refused_count, skipped_count);
    }
    CHECK_OK(inferno_shutdown());
    return check_summary();
}
