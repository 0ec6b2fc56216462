/*
 * One case: loads a model, runs it in two sessions, and says what came of it.
 *
 *   child FILE SALT none|process [NAME=VALUE,...]
 *
 * SALT decides the way of loading, the dims and the values; the last argument gives some of them
 * (fixed_values in values.h). Standard output gets a line `@step`, with the time, as each step
 * begins, so that a death has a place, and at the end one line, between tabs:
 *
 *   ok|refused PANICKED STEP STATUS TEXT
 *
 * ok: TEXT is the first output's type and dims. refused: some call answered a status; STEP, STATUS
 * and TEXT are of the first. PANICKED is 1 when any text shows a panic that was caught. A broken
 * promise of the interface ends the child with `protocol REASON` and exit status 3.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#define _GNU_SOURCE

#include "loading.h"

/*
 * A load, an import and a run may take 2 s each, the child 5 s: what may still take that long is
 * begun only while there is time for it. A run may import first.
 */
enum { NO_SESSION_AFTER_MS = 1500, NO_RUN_AFTER_MS = 2500, RUNS_END_MS = 3500 };

/* ---- Sessions ------------------------------------------------------------------------------- */

typedef struct ports {
    inferno_tensor_info in[MOST_PORTS], out[MOST_PORTS];
    size_t in_count, out_count; /* all there are; the arrays hold the first */
    int fed[MOST_PORTS];        /* whether an input is the caller's to fill */
} ports;

static size_t few(size_t count) { return count < MOST_PORTS ? count : MOST_PORTS; }

/* A tensor of ours. Its `data` is NULL when it would be too large. */
static inferno_tensor own_tensor(int32_t dtype, int32_t rank, const int64_t *dims) {
    inferno_tensor t = {.dtype = dtype, .rank = rank, .size_bytes = inferno_dtype_size(dtype)};
    for (int32_t i = 0; i < rank; i++) {
        t.dims[i] = dims[i];
        size_t most = (size_t)MOST_ELEMENTS * 8;
        if (dims[i] < 0 || (dims[i] > 0 && t.size_bytes > most / (size_t)dims[i])) {
            return t;
        }
        t.size_bytes *= (size_t)dims[i];
    }
    t.data = guarded(t.size_bytes);
    if (t.data != NULL) {
        fill(t.data, t.size_bytes, dtype);
    }
    return t;
}

static size_t bytes_of(const inferno_tensor *t, size_t index) {
    if (t->rank < 0 || t->rank > INFERNO_MAX_RANK) {
        broken("tensor %zu has rank %d", index, (int)t->rank);
    }
    size_t bytes = inferno_dtype_size(t->dtype);
    for (int32_t d = 0; d < t->rank; d++) {
        if (t->dims[d] < 0 || __builtin_mul_overflow(bytes, (size_t)t->dims[d], &bytes)) {
            broken("tensor %zu has dim %lld", index, (long long)t->dims[d]);
        }
    }
    return bytes;
}

/* A view that the library gave: its parts must agree. */
static void check_view(const inferno_tensor *t, size_t index) {
    size_t bytes = bytes_of(t, index);
    if (bytes != t->size_bytes) {
        broken("tensor %zu has %zu bytes, its dims ask for %zu", index, t->size_bytes, bytes);
    }
    if (bytes > 0 && t->data == NULL) {
        broken("tensor %zu has %zu bytes, but its data is NULL", index, bytes);
    }
}

static void fill_input(inferno_session *session, const inferno_tensor_info *info, size_t i,
                       int round) {
    inferno_tensor view;
    if (info->dtype != INFERNO_DTYPE_STRING && (round == 0 || below(2) == 0)) {
        if (went_well(inferno_session_input(session, i, &view))) {
            check_view(&view, i);
            fill(view.data, view.size_bytes, view.dtype);
        }
        return;
    }
    int64_t dims[INFERNO_MAX_RANK];
    int32_t rank = some_dims(info, salt, round, dims);
    inferno_tensor mine = own_tensor(info->dtype, rank, dims);
    if (mine.data == NULL) {
        return;
    }
    int bind = info->dtype != INFERNO_DTYPE_STRING && below(3) == 0;
    went_well(bind ? inferno_session_bind_input(session, i, &mine)
                   : inferno_session_set_input(session, i, &mine));
}

static void read_output(inferno_session *session, size_t i) {
    inferno_tensor view;
    if (!went_well(inferno_session_output(session, i, &view))) {
        broken("output %zu after a run: %.200s", i, inferno_last_error());
    }
    check_view(&view, i);
    if (first_output[0] == '\0') {
        int at = snprintf(first_output, sizeof first_output, "%s", inferno_dtype_name(view.dtype));
        for (int32_t d = 0; d < view.rank; d++) {
            at += snprintf(first_output + at, sizeof first_output - (size_t)at, " %lld",
                           (long long)view.dims[d]);
        }
    }
    touch(view.data, view.size_bytes);
    if (view.dtype == INFERNO_DTYPE_STRING) {
        for (size_t n = 0; n < view.size_bytes / sizeof(char *); n++) {
            touch_text("a string", ((char **)view.data)[n]);
        }
        return;
    }
    size_t needed = 0;
    must(inferno_session_copy_output(session, i, NULL, 0, &needed), "output's size");
    if (needed != view.size_bytes) {
        broken("output %zu has %zu bytes, %zu to copy", i, view.size_bytes, needed);
    }
    void *copy = needed < (64u << 20) ? guarded(needed) : NULL;
    if (copy != NULL && needed > 0) {
        must(inferno_session_copy_output(session, i, copy, needed, NULL), "output's copy");
    }
}

static int run_once(inferno_session *session, const ports *p, const char *name) {
    long long elapsed = elapsed_ms();
    if (elapsed > NO_RUN_AFTER_MS) {
        return 0;
    }
    begin(name);
    inferno_run_options options;
    must(inferno_run_options_init(&options, sizeof options), "run options");
#ifdef HAVE_TIMEOUT
    long long left = RUNS_END_MS - elapsed;
    options.timeout_ns = (uint64_t)(left < 2000 ? left : 2000) * 1000000u;
#endif
    if (!went_well(inferno_session_run(session, &options))) {
        return 0;
    }
    for (size_t i = 0; i < few(p->out_count); i++) {
        read_output(session, i);
    }
    return 1;
}

/* Makes a session at the dims of `round`; at times with a state pair and a constant. */
static inferno_session *open_session(const inferno_model *model, ports *p, int round, int extras) {
    inferno_session_options options;
    must(inferno_session_options_init(&options, sizeof options), "session options");
    inferno_input_shape shapes[MOST_PORTS];
    for (size_t i = 0; i < few(p->in_count); i++) {
        p->fed[i] = 1;
        shapes[i].input = p->in[i].name;
        shapes[i].rank = some_dims(&p->in[i], salt, round, shapes[i].dims);
    }
    options.shapes = shapes;
    options.shape_count = few(p->in_count);
    inferno_state_pair pair;
    inferno_input_constant constant;
    if (extras && p->in_count > 0 && p->out_count > 0) {
        size_t last = few(p->in_count) - 1;
        pair = (inferno_state_pair){p->in[last].name, p->out[few(p->out_count) - 1].name};
        options.states = &pair;
        options.state_count = below(2);
        constant.input = p->in[0].name;
        constant.value = own_tensor(p->in[0].dtype, shapes[0].rank, shapes[0].dims);
        options.constants = &constant;
        options.constant_count = constant.value.data != NULL && last > 0;
        p->fed[last] = options.state_count == 0;
        p->fed[0] = options.constant_count == 0 && p->fed[0];
    }
    inferno_session *session = NULL;
    if (!went_well(inferno_session_new(model, &options, &session))) {
        return NULL;
    }
    if (session == NULL) {
        broken("a session was made, but the handle is NULL");
    }
    return session;
}

static void fill_inputs(inferno_session *session, const ports *p, int round) {
    for (size_t i = 0; i < few(p->in_count); i++) {
        if (p->fed[i]) {
            fill_input(session, &p->in[i], i, round);
        }
    }
}

static void try_session(const inferno_model *model, ports *p, int round) {
    begin(round == 0 ? "session" : "second session");
    inferno_session *session = NULL;
    if (round > 0 && salt % 3 == 0 && elapsed_ms() < NO_SESSION_AFTER_MS) {
        session = open_session(model, p, round, 1);
    }
    if (session == NULL && elapsed_ms() < NO_SESSION_AFTER_MS) {
        session = open_session(model, p, round, 0);
    }
    if (session == NULL) {
        return;
    }
    begin(round == 0 ? "inputs" : "second inputs");
    fill_inputs(session, p, round);
    int ran = run_once(session, p, round == 0 ? "run" : "run in second session");
    ran = run_once(session, p, "run again") && ran;
    if (!ran) { /* other values may do; the session must answer in any case */
        fill_inputs(session, p, 0);
        run_once(session, p, "run after a failure");
    }
    begin("free session");
    must(inferno_session_free(session), "free");
}

/* ---- The case ------------------------------------------------------------------------------- */

static void use(inferno_model *model) {
    ports p;
    begin("describe");
    describe(model);
    p.in_count = describe_ports(model, inferno_model_input_count, inferno_model_input,
                                inferno_model_input_index, p.in);
    p.out_count = describe_ports(model, inferno_model_output_count, inferno_model_output,
                                 inferno_model_output_index, p.out);
    for (int round = 0; round < 2; round++) {
        try_session(model, &p, round);
    }
    begin("free model");
    must(inferno_model_free(model), "free");
}

/* After a refusal the library must be as good as new. */
static void use_default(void) {
    begin("another model afterwards");
    inferno_model *model = NULL;
    inferno_session *session = NULL;
    must(inferno_model_load_default(&model), "load");
    inferno_symbol_value batch = {"batch", 2};
    inferno_session_options options;
    must(inferno_session_options_init(&options, sizeof options), "session options");
    options.symbols = &batch;
    options.symbol_count = 1;
    must(inferno_session_new(model, &options, &session), "session");
    must(inferno_session_run(session, NULL), "run");
    read_output(session, 0);
}

int main(int argc, char **argv) {
    if (argc != 4 && argc != 5) {
        fprintf(stderr, "child FILE SALT none|process [NAME=VALUE,...]\n");
        return 2;
    }
    elapsed_ms();
    salt = strtoull(argv[2], NULL, 10);
    random_state = mixed(salt);
    isolated = strcmp(argv[3], "process") == 0;
    fixed_values = argc == 5 ? argv[4] : "";
    begin("load");
    inferno_model *model = load(argv[1]);
    if (model != NULL) {
        use(model);
    } else if (elapsed_ms() < NO_SESSION_AFTER_MS) {
        use_default();
    }
    begin("shutdown");
    must(inferno_shutdown(), "shutdown");
    if (first_refusal[0] == '\0') {
        printf("ok\t0\tend\tOK\t%s\n", first_output);
    } else {
        printf("refused\t%d\t%s\n", panicked, first_refusal);
    }
    return 0;
}
