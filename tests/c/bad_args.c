/*
 * Every function of the header with every bad argument: the exact status, a text that names what
 * was expected, and outputs that were not written.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"

#include <math.h>

/* Every output of every call lies in here; filled with a pattern, and compared after the call. */
static struct outputs {
    inferno_model *model;
    inferno_session *session;
    size_t count;
    const char *key, *value;
    inferno_tensor tensor;
    inferno_tensor_info info;
    struct {
        inferno_model_info info;
        unsigned char tail[64];
    } about;
    struct {
        inferno_memory_stats stats;
        unsigned char tail[64];
    } memory;
    struct {
        inferno_memory_need need;
        unsigned char tail[64];
    } need;
    struct {
        inferno_metrics metrics;
        unsigned char tail[64];
    } counted;
    uint64_t number;
    unsigned char buffer[64];
    int32_t finished;
} out, before;

static inferno_model *model;          /* the accumulator: inputs x, state; outputs y, state_out */
static inferno_session *session;      /* over it, with its state pair, run once */
static inferno_session *fresh;        /* over it, without a pair, never run */
static inferno_session *open_dims;    /* over the MLP, batch not set */
static inferno_session *strings;      /* an identity of strings, run once */
static inferno_session *parameter;    /* a Reshape whose shape is a constant */
static inferno_model *mlp, *reshape;

static const char BAD_UTF8[] = "\xff\xfe";

static void poison(void) {
    memset(&out, 0xa5, sizeof out);
    out.about.info.struct_size = sizeof out.about.info;
    out.memory.stats.struct_size = sizeof out.memory.stats;
    out.need.need.struct_size = sizeof out.need.need;
    out.counted.metrics.struct_size = sizeof out.counted.metrics;
}

static void refused(inferno_status got, inferno_status expected, const char *part, int line,
                    const char *what) {
    check_status(got, expected, part, __FILE__, line, what);
    if (!check_note(memcmp(&out, &before, sizeof out) == 0, __FILE__, line, what,
                    "an output was written")) {
        poison();
    }
}

/* One row: the call, its status, and what its text must contain. */
#define REFUSED(call, expected, part)                                            \
    do {                                                                         \
        memcpy(&before, &out, sizeof out);                                       \
        refused((call), INFERNO_STATUS_##expected, (part), __LINE__, #call);     \
    } while (0)

/* ---- Handles ------------------------------------------------------------------------------- */

#define MODEL_CALLS(X)                                                            \
    X(inferno_model_input_count(m, &out.count))                                   \
    X(inferno_model_output_count(m, &out.count))                                  \
    X(inferno_model_input(m, 0, &out.info))                                       \
    X(inferno_model_output(m, 0, &out.info))                                      \
    X(inferno_model_input_index(m, "x", &out.count))                              \
    X(inferno_model_output_index(m, "y", &out.count))                             \
    X(inferno_model_get_info(m, &out.about.info))                                 \
    X(inferno_model_metadata_count(m, &out.count))                                \
    X(inferno_model_metadata(m, 0, &out.key, &out.value))                         \
    X(inferno_model_metadata_find(m, "author", &out.value))                       \
    X(inferno_session_new(m, NULL, &out.session))                                 \
    X(inferno_model_get_memory_stats(m, &out.memory.stats))                       \
    X(inferno_model_set_memory_budget(m, 1, 1))                                   \
    X(inferno_model_get_metrics(m, &out.counted.metrics))                         \
    X(inferno_model_memory(m, NULL, &out.need.need))

#define SESSION_CALLS(X)                                                          \
    X(inferno_session_set_shape(s, 0, 2, dims))                                   \
    X(inferno_session_prepare(s))                                                 \
    X(inferno_session_input(s, 0, &out.tensor))                                   \
    X(inferno_session_output(s, 0, &out.tensor))                                  \
    X(inferno_session_set_input(s, 0, &good))                                     \
    X(inferno_session_copy_output(s, 0, out.buffer, sizeof out.buffer, &out.count)) \
    X(inferno_session_bind_input(s, 0, &good))                                    \
    X(inferno_session_bind_input(s, 0, NULL))                                     \
    X(inferno_session_bind_output(s, 0, &good))                                   \
    X(inferno_session_bind_output(s, 0, NULL))                                    \
    X(inferno_session_run(s, NULL))                                               \
    X(inferno_session_run_for(s, 1, &out.finished))                               \
    X(inferno_session_cancel(s))                                                  \
    X(inferno_session_reset(s))                                                   \
    X(inferno_session_state_size(s, &out.count))                                  \
    X(inferno_session_copy_state(s, out.buffer, sizeof out.buffer))               \
    X(inferno_session_set_state(s, "some bytes", 10))                             \
    X(inferno_session_get_memory_stats(s, &out.memory.stats))                     \
    X(inferno_session_get_metrics(s, &out.counted.metrics))                       \
    X(inferno_profile_set_enabled(s, 1))                                          \
    X(inferno_profile_reset(s))                                                   \
    X(inferno_profile_copy_table(s, (char *)out.buffer, sizeof out.buffer, &out.count)) \
    X(inferno_profile_copy_json(s, (char *)out.buffer, sizeof out.buffer, &out.count)) \
    X(inferno_session_set_memory_budget(s, 1, 1))

static float numbers[6] = {1, 2, 3, 4, 5, 6};

static void bad_model_handle(inferno_model *m) {
#define X(call) REFUSED(call, INVALID_HANDLE, "model");
    MODEL_CALLS(X)
#undef X
    if (m != NULL) {
        REFUSED(inferno_model_free(m), INVALID_HANDLE, "model");
    }
}

static void bad_session_handle(inferno_session *s) {
    const int64_t dims[2] = {1, 3};
    inferno_tensor good = f32_tensor("1,3", numbers);
#define X(call) REFUSED(call, INVALID_HANDLE, "session");
    SESSION_CALLS(X)
#undef X
    if (s != NULL) {
        REFUSED(inferno_session_free(s), INVALID_HANDLE, "session");
    }
}

/* Bits that were never a handle; a model's or a session's are added by the caller. */
static void foreign_handles(void (*test)(void *)) {
    long on_stack = 0;
    static long in_data;
    void *in_heap = malloc(64);
    const uintptr_t bits[] = {
        1, 2, 3, 7, 15, 16, 0xff, 0x1000, 0xdeadbeef, (uintptr_t)0x123456789abcdef0,
        UINTPTR_MAX, UINTPTR_MAX - 1, UINTPTR_MAX / 2, UINTPTR_MAX / 2 + 1, (uintptr_t)INT32_MAX,
    };
    test(NULL);
    test(&on_stack);
    test((char *)&on_stack + 1);
    test(&in_data);
    test(in_heap);
    test((void *)(uintptr_t)inferno_version_string());
    for (size_t i = 0; i < COUNT_OF(bits); i++) {
        test((void *)bits[i]);
    }
    free(in_heap);
}

static void test_model_handle(void *bits) { bad_model_handle((inferno_model *)bits); }
static void test_session_handle(void *bits) { bad_session_handle((inferno_session *)bits); }

static int is_live(const void *bits) {
    const void *live[] = {model, mlp, reshape, session, fresh, open_dims, strings, parameter};
    for (size_t i = 0; i < COUNT_OF(live); i++) {
        if (bits == live[i]) {
            return 1;
        }
    }
    return 0;
}

static void handles(void) {
    foreign_handles(test_model_handle);
    foreign_handles(test_session_handle);
    bad_model_handle((inferno_model *)session);
    bad_session_handle((inferno_session *)model);
    /* One bit away from a live handle. */
    for (unsigned bit = 0; bit < 8 * sizeof(uintptr_t); bit++) {
        void *near_model = (void *)((uintptr_t)model ^ (uintptr_t)1 << bit);
        void *near_session = (void *)((uintptr_t)session ^ (uintptr_t)1 << bit);
        if (!is_live(near_model)) {
            bad_model_handle((inferno_model *)near_model);
        }
        if (!is_live(near_session)) {
            bad_session_handle((inferno_session *)near_session);
        }
    }
}

static void stale_handles(void) {
    inferno_model *m = load(model_accumulator());
    inferno_session *s = open_session(m, NULL);
    CHECK_OK(inferno_session_free(s));
    bad_session_handle(s);
    CHECK_OK(inferno_model_free(m));
    bad_model_handle(m);
    /* The next ones may take the same place: the old handles must not find them. */
    inferno_model *next_model = load(model_accumulator());
    inferno_session *next_session = open_session(next_model, NULL);
    CHECK(next_model != m);
    CHECK(next_session != s);
    bad_session_handle(s);
    bad_model_handle(m);
    CHECK_OK(inferno_session_run(next_session, NULL));
    CHECK_OK(inferno_session_free(next_session));
    CHECK_OK(inferno_model_free(next_model));
    bad_session_handle(s);
    bad_session_handle(next_session);
    bad_model_handle(m);
    bad_model_handle(next_model);
    CHECK_OK(inferno_session_free(NULL));
    CHECK_OK(inferno_model_free(NULL));
}

/* ---- Structs that say their size ----------------------------------------------------------- */

#define TAIL 64

/* A struct with room for what a later release might add. */
#define GROWN(type)                     \
    struct {                            \
        type now;                       \
        unsigned char tail[TAIL];       \
    }

/* init of `type`: every size that no release had, and one from a later release. */
#define BAD_INIT(type, init)                                                                \
    do {                                                                                    \
        GROWN(type) grown, old;                                                             \
        const size_t bad_sizes[] = {0, 1, sizeof(size_t), sizeof(type) - 1, SIZE_MAX,       \
                                    (size_t)PTRDIFF_MAX, (size_t)1 << 20};                  \
        REFUSED(init(NULL, sizeof(type)), INVALID_ARGUMENT, "NULL");                        \
        REFUSED(init(NULL, 0), INVALID_ARGUMENT, "");                                       \
        memset(&grown, 0x5a, sizeof grown);                                                 \
        memcpy(&old, &grown, sizeof grown);                                                 \
        for (size_t i = 0; i < COUNT_OF(bad_sizes); i++) {                                  \
            REFUSED(init(&grown.now, bad_sizes[i]), INVALID_ARGUMENT, "struct_size");       \
            CHECK(memcmp(&grown, &old, sizeof grown) == 0);                                 \
        }                                                                                   \
        CHECK_OK(init(&grown.now, sizeof(type)));                                           \
        CHECK(grown.now.struct_size == sizeof(type));                                       \
        CHECK(memcmp(grown.tail, old.tail, TAIL) == 0);                                     \
        CHECK_OK(init(&grown.now, sizeof(type) + 16));                                      \
        CHECK(grown.now.struct_size == sizeof(type) + 16);                                  \
        for (size_t i = 0; i < TAIL; i++) {                                                 \
            CHECK(grown.tail[i] == (i < 16 ? 0 : 0x5a));                                    \
        }                                                                                   \
    } while (0)

/*
 * A call that reads the struct `grown.now`: wrong sizes, and a later release's tail, zero and not.
 * `undo` runs after a call that went well.
 */
#define BAD_STRUCT(type, grown, call, undo)                                                 \
    do {                                                                                    \
        const size_t bad_sizes[] = {0, 1, sizeof(size_t), sizeof(type) - 1, SIZE_MAX,       \
                                    (size_t)1 << 20};                                       \
        memset((grown).tail, 0, TAIL);                                                      \
        for (size_t i = 0; i < COUNT_OF(bad_sizes); i++) {                                  \
            (grown).now.struct_size = bad_sizes[i];                                         \
            REFUSED(call, INVALID_ARGUMENT, #type);                                         \
        }                                                                                   \
        for (size_t i = 0; i < 16; i++) {                                                   \
            (grown).now.struct_size = sizeof(type) + 16;                                    \
            (grown).tail[i] = 1;                                                            \
            REFUSED(call, INVALID_ARGUMENT, #type);                                         \
            (grown).tail[i] = 0;                                                            \
        }                                                                                   \
        (grown).tail[16] = 1; /* outside */                                                 \
        if (CHECK_OK(call)) {                                                               \
            undo;                                                                           \
        }                                                                                   \
        poison();                                                                           \
        (grown).tail[16] = 0;                                                               \
        (grown).now.struct_size = sizeof(type);                                             \
        memset((grown).tail, 1, TAIL); /* outside */                                        \
        if (CHECK_OK(call)) {                                                               \
            undo;                                                                           \
        }                                                                                   \
        poison();                                                                           \
        memset((grown).tail, 0, TAIL);                                                      \
    } while (0)

static int32_t no_open(void *user_data, const char *path, void **file, uint64_t *size_bytes) {
    (void)user_data, (void)path, (void)file, (void)size_bytes;
    return -1;
}

static pb reader_model;

static int32_t model_open(void *user_data, const char *path, void **file, uint64_t *size_bytes) {
    (void)user_data, (void)path;
    *file = &reader_model;
    *size_bytes = reader_model.size;
    return 0;
}

static int32_t model_read(void *user_data, void *file, uint64_t offset, void *buffer,
                          size_t size_bytes) {
    (void)user_data, (void)file;
    memcpy(buffer, reader_model.data + offset, size_bytes);
    return 0;
}

static void model_close(void *user_data, void *file) { (void)user_data, (void)file; }

static void ignore_log(void *user_data, int32_t level, const char *module, const char *message) {
    (void)user_data, (void)level, (void)module, (void)message;
}

static void *plain_alloc(void *user_data, size_t size_bytes, size_t alignment) {
    (void)user_data;
    return aligned_new(alignment < 16 ? 16 : alignment, size_bytes);
}

static void plain_free(void *user_data, void *block, size_t size_bytes, size_t alignment) {
    (void)user_data, (void)size_bytes, (void)alignment;
    aligned_free(block);
}

static void plain_jobs(void *user_data, uint32_t count, inferno_job_function job, void *job_data) {
    (void)user_data;
    for (uint32_t i = 0; i < count; i++) {
        job(job_data, i);
    }
}

static void ignore_report(void *user_data, const inferno_metrics *now,
                          const inferno_metrics *lately) {
    (void)user_data, (void)now, (void)lately;
}

static void ignore_crossing(void *user_data, int32_t metric, int32_t is_raised, double value) {
    (void)user_data, (void)metric, (void)is_raised, (void)value;
}

static void ignore_event(void *user_data, const inferno_event *event) {
    (void)user_data, (void)event;
}

static void inits(void) {
    BAD_INIT(inferno_runtime_options, inferno_runtime_options_init);
    BAD_INIT(inferno_model_options, inferno_model_options_init);
    BAD_INIT(inferno_model_limits, inferno_model_limits_init);
    BAD_INIT(inferno_session_options, inferno_session_options_init);
    BAD_INIT(inferno_run_options, inferno_run_options_init);
    BAD_INIT(inferno_subscription_options, inferno_subscription_options_init);
    BAD_INIT(inferno_image_options, inferno_image_options_init);
    BAD_INIT(inferno_nms_options, inferno_nms_options_init);
    BAD_INIT(inferno_decode_options, inferno_decode_options_init);
    BAD_INIT(inferno_queue_options, inferno_queue_options_init);
    BAD_INIT(inferno_job_options, inferno_job_options_init);
}

static void sized_structs(void) {
    pb bytes = model_accumulator();

    GROWN(inferno_runtime_options) runtime = {0};
    inferno_runtime_options_init(&runtime.now, sizeof runtime.now);
    BAD_STRUCT(inferno_runtime_options, runtime, inferno_init(&runtime.now),
               CHECK_OK(inferno_shutdown()));

    GROWN(inferno_model_options) load_options = {0};
    inferno_model_options_init(&load_options.now, sizeof load_options.now);
    BAD_STRUCT(inferno_model_options, load_options,
               inferno_model_load_memory(bytes.data, bytes.size, &load_options.now, &out.model),
               CHECK_OK(inferno_model_free(out.model)));
    load_options.now.struct_size = 3;
    REFUSED(inferno_model_load("model.onnx", &load_options.now, &out.model), INVALID_ARGUMENT,
            "inferno_model_options");

    GROWN(inferno_reader) reader = {
        .now = {sizeof(inferno_reader), NULL, model_open, model_read, model_close}};
    reader_model = bytes;
    REFUSED(inferno_model_load_reader(&reader.now, "m", &load_options.now, &out.model),
            INVALID_ARGUMENT, "inferno_model_options");
    BAD_STRUCT(inferno_reader, reader,
               inferno_model_load_reader(&reader.now, "m", NULL, &out.model),
               CHECK_OK(inferno_model_free(out.model)));
    inferno_model_options_init(&load_options.now, sizeof load_options.now);
    load_options.now.reader = &reader.now;
    reader.now.struct_size = sizeof reader.now;
    BAD_STRUCT(inferno_reader, reader,
               inferno_model_load_memory(bytes.data, bytes.size, &load_options.now, &out.model),
               CHECK_OK(inferno_model_free(out.model)));

    GROWN(inferno_model_limits) limits = {0};
    inferno_model_limits_init(&limits.now, sizeof limits.now);
    inferno_model_options_init(&load_options.now, sizeof load_options.now);
    load_options.now.limits = &limits.now;
    BAD_STRUCT(inferno_model_limits, limits,
               inferno_model_load_memory(bytes.data, bytes.size, &load_options.now, &out.model),
               CHECK_OK(inferno_model_free(out.model)));
    load_options.now.limits = NULL;
    const int32_t no_isolation[] = {-1, 2, INT32_MAX};
    for (size_t i = 0; i < COUNT_OF(no_isolation); i++) {
        load_options.now.isolation = no_isolation[i];
        REFUSED(inferno_model_load_memory(bytes.data, bytes.size, &load_options.now, &out.model),
                INVALID_ARGUMENT, "isolation");
    }
    pb_free(&bytes);

    /* inferno_init looks at its options when it starts the runtime or not. */
    GROWN(inferno_allocator) allocator = {
        .now = {sizeof(inferno_allocator), NULL, plain_alloc, plain_free}};
    runtime.now.struct_size = sizeof runtime.now;
    runtime.now.allocator = &allocator.now;
    BAD_STRUCT(inferno_allocator, allocator, inferno_init(&runtime.now),
               CHECK_OK(inferno_shutdown()));
    allocator.now = (inferno_allocator){sizeof allocator.now, NULL, NULL, plain_free};
    REFUSED(inferno_init(&runtime.now), INVALID_ARGUMENT, "allocator.alloc");
    allocator.now = (inferno_allocator){sizeof allocator.now, NULL, plain_alloc, NULL};
    REFUSED(inferno_init(&runtime.now), INVALID_ARGUMENT, "allocator.free");
    runtime.now.allocator = NULL;

    GROWN(inferno_host_jobs) jobs = {.now = {sizeof(inferno_host_jobs), NULL, plain_jobs}};
    runtime.now.jobs = &jobs.now;
    BAD_STRUCT(inferno_host_jobs, jobs, inferno_init(&runtime.now), CHECK_OK(inferno_shutdown()));
    jobs.now = (inferno_host_jobs){sizeof jobs.now, NULL, NULL};
    REFUSED(inferno_init(&runtime.now), INVALID_ARGUMENT, "jobs.run");

    GROWN(inferno_session_options) options = {0};
    inferno_session_options_init(&options.now, sizeof options.now);
    BAD_STRUCT(inferno_session_options, options,
               inferno_session_new(model, &options.now, &out.session),
               CHECK_OK(inferno_session_free(out.session)));

    GROWN(inferno_run_options) run = {0};
    inferno_run_options_init(&run.now, sizeof run.now);
    BAD_STRUCT(inferno_run_options, run, inferno_session_run(session, &run.now), (void)0);

    /* Filled, not read: the size counts, the tail is the library's to clear. */
    const size_t bad_sizes[] = {0, 1, sizeof(size_t), sizeof out.about.info - 1, SIZE_MAX};
    for (size_t i = 0; i < COUNT_OF(bad_sizes); i++) {
        out.about.info.struct_size = bad_sizes[i];
        REFUSED(inferno_model_get_info(model, &out.about.info), INVALID_ARGUMENT, "struct_size");
    }
    out.about.info.struct_size = sizeof out.about.info + 16;
    CHECK_OK(inferno_model_get_info(model, &out.about.info));
    CHECK(out.about.info.struct_size == sizeof out.about.info + 16);
    CHECK(out.about.info.opset_version == 17);
    for (size_t i = 0; i < sizeof out.about.tail; i++) {
        CHECK(out.about.tail[i] == (i < 16 ? 0 : 0xa5));
    }
    for (size_t i = 0; i < COUNT_OF(bad_sizes); i++) {
        out.memory.stats.struct_size = i == 3 ? sizeof out.memory.stats - 1 : bad_sizes[i];
        REFUSED(inferno_memory_get_stats(&out.memory.stats), INVALID_ARGUMENT, "struct_size");
        REFUSED(inferno_model_get_memory_stats(model, &out.memory.stats), INVALID_ARGUMENT,
                "struct_size");
        REFUSED(inferno_session_get_memory_stats(session, &out.memory.stats), INVALID_ARGUMENT,
                "struct_size");
        out.need.need.struct_size = i == 3 ? sizeof out.need.need - 1 : bad_sizes[i];
        REFUSED(inferno_model_memory(model, NULL, &out.need.need), INVALID_ARGUMENT, "struct_size");
    }
    REFUSED(inferno_memory_get_stats(NULL), INVALID_ARGUMENT, "inferno_memory_stats");
    REFUSED(inferno_model_get_memory_stats(model, NULL), INVALID_ARGUMENT, "inferno_memory_stats");
    REFUSED(inferno_session_get_memory_stats(session, NULL), INVALID_ARGUMENT,
            "inferno_memory_stats");
    REFUSED(inferno_model_memory(model, NULL, NULL), INVALID_ARGUMENT, "inferno_memory_need");
    out.need.need.struct_size = sizeof out.need.need + 16;
    CHECK_OK(inferno_model_memory(model, NULL, &out.need.need));
    CHECK(out.need.need.struct_size == sizeof out.need.need + 16);
    CHECK(out.need.need.arena_bytes > 0 && out.need.need.is_measured == 1);
    for (size_t i = 0; i < sizeof out.need.tail; i++) {
        CHECK(out.need.tail[i] == (i < 16 ? 0 : 0xa5));
    }
    REFUSED(inferno_model_memory(mlp, NULL, &out.need.need), NOT_READY, "batch");
    REFUSED(inferno_memory_reserve(1, SIZE_MAX), INVALID_ARGUMENT, "block_bytes");
    REFUSED(inferno_memory_reserve(1, ((size_t)127 << 20) + 1), INVALID_ARGUMENT, "block_bytes");
    CHECK_OK(inferno_memory_reserve(0, 0));
    CHECK_OK(inferno_memory_set_budget(INFERNO_NO_BUDGET, INFERNO_NO_BUDGET));
    out.memory.stats.struct_size = sizeof out.memory.stats + 16;
    CHECK_OK(inferno_memory_get_stats(&out.memory.stats));
    CHECK(out.memory.stats.struct_size == sizeof out.memory.stats + 16);
    CHECK(out.memory.stats.live_bytes > 0);
    for (size_t i = 0; i < sizeof out.memory.tail; i++) {
        CHECK(out.memory.tail[i] == (i < 16 ? 0 : 0xa5));
    }
    CHECK_OK(inferno_memory_trim());
    poison();
}

/* ---- Runtime, log, plain values ------------------------------------------------------------ */

static void runtime_and_log(void) {
    const int32_t levels[] = {-1, 6, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < COUNT_OF(levels); i++) {
        REFUSED(inferno_log_set_callback(ignore_log, NULL, levels[i]), INVALID_ARGUMENT, "level");
        REFUSED(inferno_log_set_callback(NULL, NULL, levels[i]), INVALID_ARGUMENT, "level");
    }
    /* inferno_init looks at its options when it starts the runtime. */
    CHECK_OK(inferno_shutdown());
    inferno_runtime_options options;
    CHECK_OK(inferno_runtime_options_init(&options, sizeof options));
    options.log_callback = ignore_log;
    for (size_t i = 0; i < COUNT_OF(levels); i++) {
        options.log_level = levels[i];
        REFUSED(inferno_init(&options), INVALID_ARGUMENT, "level");
    }
    CHECK_OK(inferno_shutdown());
}

static void plain_values(void) {
    const int32_t no_dtypes[] = {-1, 0, 14, 15, 16, 17, 23, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < COUNT_OF(no_dtypes); i++) {
        CHECK(inferno_dtype_size(no_dtypes[i]) == 0);
        CHECK(strcmp(inferno_dtype_name(no_dtypes[i]), "undefined") == 0);
    }
    const int32_t no_statuses[] = {-1, 21, 99, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < COUNT_OF(no_statuses); i++) {
        CHECK(strcmp(inferno_status_name(no_statuses[i]), "UNKNOWN") == 0);
    }
    CHECK(inferno_last_error() != NULL);
    CHECK(inferno_version() == INFERNO_VERSION);
}

/* ---- Metrics -------------------------------------------------------------------------------- */

/* A text function: nowhere to write, too small a place. */
#define BAD_TEXT(copy)                                                                      \
    do {                                                                                    \
        REFUSED(copy(NULL, 16, &out.count), INVALID_ARGUMENT, "buffer");                    \
        REFUSED(copy(NULL, 16, NULL), INVALID_ARGUMENT, "buffer");                          \
        REFUSED(copy(NULL, 0, NULL), INVALID_ARGUMENT, "needed_bytes");                     \
        REFUSED(copy((char *)out.buffer, 3, NULL), SIZE_MISMATCH, "3 bytes");               \
    } while (0)

static inferno_status table_of_session(char *buffer, size_t size_bytes, size_t *needed_bytes) {
    return inferno_profile_copy_table(session, buffer, size_bytes, needed_bytes);
}

static inferno_status json_of_session(char *buffer, size_t size_bytes, size_t *needed_bytes) {
    return inferno_profile_copy_json(session, buffer, size_bytes, needed_bytes);
}

static void metrics_texts(void) {
    BAD_TEXT(inferno_metrics_copy_openmetrics);
    BAD_TEXT(inferno_metrics_copy_prometheus);
    BAD_TEXT(inferno_trace_copy_json);
    BAD_TEXT(inferno_audit_copy_log);
    BAD_TEXT(table_of_session);
    BAD_TEXT(json_of_session);
    REFUSED(inferno_audit_verify(NULL, 5, &out.number), INVALID_ARGUMENT, "log");
    REFUSED(inferno_audit_verify("log", 3, NULL), INVALID_ARGUMENT, "record_count");
    REFUSED(inferno_audit_verify("log", 3, &out.number), INVALID_ARGUMENT, "line 1");
    REFUSED(inferno_audit_verify(NULL, 0, &out.number), INVALID_ARGUMENT, "line 1");
    REFUSED(inferno_audit_verify(BAD_UTF8, 2, &out.number), INVALID_ARGUMENT, "UTF-8");
}

static void metrics_structs(void) {
    const size_t bad_sizes[] = {0, 1, sizeof(size_t), sizeof out.counted.metrics - 1, SIZE_MAX};
    inferno_metrics *place = &out.counted.metrics;
    for (size_t i = 0; i < COUNT_OF(bad_sizes); i++) {
        place->struct_size = bad_sizes[i];
        REFUSED(inferno_metrics_snapshot(place), INVALID_ARGUMENT, "struct_size");
        REFUSED(inferno_metrics_model(0, place), INVALID_ARGUMENT, "struct_size");
        REFUSED(inferno_model_get_metrics(model, place), INVALID_ARGUMENT, "struct_size");
        REFUSED(inferno_session_get_metrics(session, place), INVALID_ARGUMENT, "struct_size");
    }
    REFUSED(inferno_metrics_snapshot(NULL), INVALID_ARGUMENT, "inferno_metrics");
    REFUSED(inferno_metrics_model(0, NULL), INVALID_ARGUMENT, "inferno_metrics");
    REFUSED(inferno_model_get_metrics(model, NULL), INVALID_ARGUMENT, "inferno_metrics");
    REFUSED(inferno_session_get_metrics(session, NULL), INVALID_ARGUMENT, "inferno_metrics");
    poison();
    REFUSED(inferno_metrics_model(SIZE_MAX, place), NOT_FOUND, "names");
    place->struct_size = sizeof *place + 16;
    CHECK_OK(inferno_metrics_snapshot(place));
    CHECK(place->struct_size == sizeof *place + 16 && place->models > 0);
    for (size_t i = 0; i < sizeof out.counted.tail; i++) {
        CHECK(out.counted.tail[i] == (i < 16 ? 0 : 0xa5));
    }
    poison();
}

static void subscriptions(void) {
    uint64_t *number = &out.number;
    GROWN(inferno_subscription_options) options = {0};
    REQUIRE_OK(inferno_subscription_options_init(&options.now, sizeof options.now));
    options.now.driver = INFERNO_METRICS_DRIVER_HOST;
    BAD_STRUCT(inferno_subscription_options, options,
               inferno_metrics_subscribe(ignore_report, &options.now, number),
               CHECK_OK(inferno_metrics_unsubscribe(*number)));
    inferno_subscription_options good = options.now, bad = good;
    REFUSED(inferno_metrics_subscribe(NULL, &good, number), INVALID_ARGUMENT, "callback");
    REFUSED(inferno_metrics_subscribe(ignore_report, &good, NULL), INVALID_ARGUMENT, "subscription");
    REFUSED(inferno_audit_subscribe(NULL, &good, number), INVALID_ARGUMENT, "callback");
    REFUSED(inferno_audit_subscribe(ignore_event, &good, NULL), INVALID_ARGUMENT, "subscription");
    bad.driver = 2;
    REFUSED(inferno_metrics_subscribe(ignore_report, &bad, number), INVALID_ARGUMENT, "driver is 2");
    REFUSED(inferno_audit_subscribe(ignore_event, &bad, number), INVALID_ARGUMENT, "driver is 2");
    bad = good;
    bad.interval_ns = 999999;
    REFUSED(inferno_metrics_subscribe(ignore_report, &bad, number), INVALID_ARGUMENT, "interval");
#define WATCH(metric, raise, clear) \
    inferno_metrics_watch(metric, NULL, raise, clear, ignore_crossing, &good, number)
    REFUSED(WATCH(0, 2, 1), INVALID_ARGUMENT, "metric is 0");
    REFUSED(WATCH(8, 2, 1), INVALID_ARGUMENT, "metric is 8");
    REFUSED(WATCH(INFERNO_METRIC_RATE, 1, 1), INVALID_ARGUMENT, "two different");
    REFUSED(WATCH(INFERNO_METRIC_RATE, 0.0 / 0.0, 1), INVALID_ARGUMENT, "two different");
    REFUSED(WATCH(INFERNO_METRIC_RATE, 1, 1.0 / 0.0), INVALID_ARGUMENT, "two different");
#undef WATCH
    REFUSED(inferno_metrics_watch(1, NULL, 2, 1, NULL, &good, number), INVALID_ARGUMENT, "callback");
    REFUSED(inferno_metrics_watch(1, BAD_UTF8, 2, 1, ignore_crossing, &good, number),
            INVALID_ARGUMENT, "UTF-8");
    REFUSED(inferno_metrics_watch(1, NULL, 2, 1, ignore_crossing, &good, NULL), INVALID_ARGUMENT,
            "subscription");
    REFUSED(inferno_metrics_export(NULL, 0, &good, number), INVALID_ARGUMENT, "path");
    REFUSED(inferno_metrics_export(BAD_UTF8, 0, &good, number), INVALID_ARGUMENT, "UTF-8");
    REFUSED(inferno_metrics_export("/", 0, &good, number), INVALID_ARGUMENT, "path of a file");
    REFUSED(inferno_metrics_export("/no/such/folder", 0, &good, number), IO, "/no/such/folder");
    REFUSED(inferno_metrics_export("file", 2, &good, number), INVALID_ARGUMENT, "format is 2");
    REFUSED(inferno_metrics_export("/tmp/never", 0, &good, NULL), INVALID_ARGUMENT, "subscription");
    CHECK(fopen("/tmp/never", "r") == NULL);
    REFUSED(inferno_metrics_unsubscribe(0), NOT_FOUND, "number 0");
    REFUSED(inferno_metrics_unsubscribe(UINT64_MAX), NOT_FOUND, "number");
    REFUSED(inferno_metrics_poll((uint64_t *)((char *)&out.number + 1)), INVALID_ARGUMENT,
            "misaligned");
    CHECK_OK(inferno_metrics_poll(NULL));
    REFUSED(inferno_metrics_set_counting(-1), INVALID_ARGUMENT, "is_on is -1");
    REFUSED(inferno_profile_set_enabled(session, 7), INVALID_ARGUMENT, "is_on is 7");
    CHECK_OK(inferno_profile_reset(session));
    REFUSED(inferno_trace_start(1), INVALID_ARGUMENT, "size_bytes");
    REFUSED(inferno_trace_start(SIZE_MAX), OUT_OF_MEMORY, "trace");
    CHECK_OK(inferno_trace_stop());
    CHECK_OK(inferno_audit_set_capacity(32768));
}

/* ---- Before and after a run ------------------------------------------------------------------ */

static void images(void) {
    static uint8_t pixels[4 * 4 * 4];
    /* (One more: what is misaligned is apart from all else, too.) */
    static float planes[3 * 8 * 8 + 1];
    inferno_image good = {pixels, 0, 4, 4, INFERNO_PIXEL_FORMAT_RGBA}, image = good;
    inferno_tensor tensor = f32_tensor("1,3,8,8", planes), other = tensor;
    inferno_image_options options;
    REQUIRE_OK(inferno_image_options_init(&options, sizeof options));

#define REFUSED_IMAGE(change, status, part)                                                    \
    do {                                                                                       \
        change;                                                                                \
        REFUSED(inferno_image_to_tensor(&image, &options, &other, NULL), status, part);        \
        image = good;                                                                          \
        other = tensor;                                                                        \
        inferno_image_options_init(&options, sizeof options);                                  \
    } while (0)
    REFUSED(inferno_image_to_tensor(NULL, &options, &tensor, NULL), INVALID_ARGUMENT, "image is NULL");
    REFUSED(inferno_image_to_tensor(&image, &options, NULL, NULL), INVALID_ARGUMENT, "tensor is NULL");
    REFUSED_IMAGE(options.struct_size = 3, INVALID_ARGUMENT, "inferno_image_options");
    REFUSED_IMAGE(image.pixels = NULL, INVALID_ARGUMENT, "image.pixels is NULL: expected 64 bytes");
    REFUSED_IMAGE(image.width = 0, INVALID_ARGUMENT, "image.width is 0");
    REFUSED_IMAGE(image.height = -4, INVALID_ARGUMENT, "image.height is -4");
    REFUSED_IMAGE(image.format = 5, INVALID_ARGUMENT, "image.format is 5");
    REFUSED_IMAGE(image.stride_bytes = 15, INVALID_ARGUMENT, "expected 16 at least");
    REFUSED_IMAGE(image.stride_bytes = INT64_MIN, INVALID_ARGUMENT, "image.stride_bytes");
    REFUSED_IMAGE(image.stride_bytes = INT64_MAX, INVALID_ARGUMENT, "no memory holds");
    REFUSED_IMAGE(image.stride_bytes = INT64_MIN + 1, INVALID_ARGUMENT, "no memory holds");
    REFUSED_IMAGE(options.fit = 4, INVALID_ARGUMENT, "options.fit is 4: expected 0 to 3");
    REFUSED_IMAGE(options.filter = -1, INVALID_ARGUMENT, "options.filter is -1");
    REFUSED_IMAGE(options.layout = 2, INVALID_ARGUMENT, "options.layout is 2");
    REFUSED_IMAGE(options.channels = 3, INVALID_ARGUMENT, "options.channels is 3");
    REFUSED_IMAGE(options.std[1] = 0, INVALID_ARGUMENT, "std[1] 0");
    REFUSED_IMAGE(options.mean[2] = (float)INFINITY, INVALID_ARGUMENT, "mean[2] is inf");
    REFUSED_IMAGE(options.scale = (float)NAN, INVALID_ARGUMENT, "scale is NaN");
    REFUSED_IMAGE(options.pad[0] = 256, INVALID_ARGUMENT, "pad[0] is 256");
    REFUSED_IMAGE(options.channels = INFERNO_CHANNEL_ORDER_GRAY, SHAPE_MISMATCH, "[1, height, width]");
    REFUSED_IMAGE(options.layout = INFERNO_LAYOUT_HWC, SHAPE_MISMATCH, "[height, width, 3]");
    REFUSED_IMAGE(other.dims[0] = 2; other.size_bytes *= 2, SHAPE_MISMATCH, "[3, height, width]");
    REFUSED_IMAGE(other.dims[3] = 0; other.size_bytes = 0, SHAPE_MISMATCH, "0 x 8 pixels");
    REFUSED_IMAGE(other.size_bytes--, SIZE_MISMATCH, "tensor.size_bytes");
    REFUSED_IMAGE(other.data = NULL, INVALID_ARGUMENT, "tensor.data is NULL");
    REFUSED_IMAGE(other.data = (char *)planes + 1, INVALID_ARGUMENT, "misaligned");
    REFUSED_IMAGE(other.dtype = INFERNO_DTYPE_I32, DTYPE_MISMATCH, "expected f32 or u8");
    REFUSED_IMAGE(image.pixels = (uint8_t *)planes, INVALID_ARGUMENT, "share memory");
    /* The top row of four is the last in memory. */
    REFUSED_IMAGE(image.pixels = (uint8_t *)(planes + 3 * 8 * 8) + 3 * 16; image.stride_bytes = -32,
                  INVALID_ARGUMENT, "share memory");
    CHECK_OK(inferno_image_to_tensor(&image, NULL, &tensor, NULL));
}

static void scores(void) {
    float x[4] = {1, 3, 2, 3}, y[4];
    REFUSED(inferno_softmax(NULL, y, 1, 4), INVALID_ARGUMENT, "scores is NULL");
    REFUSED(inferno_softmax(x, NULL, 1, 4), INVALID_ARGUMENT, "probabilities is NULL");
    REFUSED(inferno_softmax(NULL, NULL, 1, 4), INVALID_ARGUMENT, "is NULL");
    REFUSED(inferno_softmax(x, y, 1, 0), INVALID_ARGUMENT, "rows of 0");
    REFUSED(inferno_softmax(x, y, SIZE_MAX, SIZE_MAX), INVALID_ARGUMENT, "memory for all");
    REFUSED(inferno_softmax(x, y, SIZE_MAX / 16, 4), INVALID_ARGUMENT, "share memory");
    REFUSED(inferno_softmax(x, x + 1, 1, 3), INVALID_ARGUMENT, "share memory");
    REFUSED(inferno_argmax(x, 1, 4, NULL), INVALID_ARGUMENT, "indices is NULL");
    REFUSED(inferno_argmax(NULL, 1, 4, &out.count), INVALID_ARGUMENT, "scores is NULL");
    REFUSED(inferno_argmax(x, 1, 0, &out.count), INVALID_ARGUMENT, "rows of 0");
    REFUSED(inferno_argmax((float *)(void *)&out.count, 1, 2, &out.count), INVALID_ARGUMENT,
            "share memory");
    REFUSED(inferno_top_k(x, 4, 1, &out.count, NULL, NULL), INVALID_ARGUMENT, "written is NULL");
    REFUSED(inferno_top_k(NULL, 4, 1, &out.count, NULL, (size_t *)out.buffer), INVALID_ARGUMENT,
            "scores is NULL");
    REFUSED(inferno_top_k(x, 4, 1, NULL, NULL, &out.count), INVALID_ARGUMENT, "indices is NULL");
    REFUSED(inferno_top_k(x, 4, 1, &out.count, x + 3, (size_t *)out.buffer), INVALID_ARGUMENT,
            "scores and values share memory");
    REFUSED(inferno_top_k(x, SIZE_MAX, 1, &out.count, NULL, (size_t *)out.buffer), INVALID_ARGUMENT,
            "");
}

static void boxes(void) {
    float box[8] = {0}, score[2] = {1, 1};
    int32_t class[2] = {0, -1};
    size_t index[2];
    inferno_nms_options nms;
    inferno_decode_options decode;
    inferno_tensor numbers = f32_tensor("5,2", (float[10]){0}), other = numbers;
    REQUIRE_OK(inferno_nms_options_init(&nms, sizeof nms));
    REQUIRE_OK(inferno_decode_options_init(&decode, sizeof decode));

#define REFUSED_NMS(change, part)                                                              \
    do {                                                                                       \
        change;                                                                                \
        REFUSED(inferno_boxes_nms(box, score, NULL, 2, &nms, index, &out.count), INVALID_ARGUMENT, \
                part);                                                                         \
        inferno_nms_options_init(&nms, sizeof nms);                                            \
    } while (0)
    REFUSED_NMS(nms.format = 3, "options.format is 3");
    REFUSED_NMS(nms.iou_threshold = 1.5f, "iou_threshold is 1.5");
    REFUSED_NMS(nms.score_threshold = (float)NAN, "score_threshold is NaN");
    REFUSED_NMS(nms.max_boxes = 0, "max_boxes is 0");
    REFUSED_NMS(nms.max_boxes = INFERNO_MAX_BOXES + 1, "expected 1 to 1024");
    REFUSED_NMS(nms.struct_size = 0, "inferno_nms_options");
    REFUSED(inferno_boxes_nms(box, score, class, 2, NULL, index, &out.count), INVALID_ARGUMENT,
            "classes[1] is -1");
    REFUSED(inferno_boxes_nms(NULL, score, NULL, 2, NULL, index, &out.count), INVALID_ARGUMENT, "boxes");
    REFUSED(inferno_boxes_nms(box, NULL, NULL, 2, NULL, index, &out.count), INVALID_ARGUMENT, "scores");
    REFUSED(inferno_boxes_nms(box, score, NULL, 2, NULL, NULL, &out.count), INVALID_ARGUMENT, "indices");
    REFUSED(inferno_boxes_nms(box, score, NULL, 2, NULL, index, NULL), INVALID_ARGUMENT, "kept");
    REFUSED(inferno_boxes_nms(box, score, NULL, 2, NULL, (size_t *)(void *)box, &out.count),
            INVALID_ARGUMENT, "indices and boxes share memory");
    REFUSED(inferno_boxes_nms(box, score, NULL, SIZE_MAX, NULL, index, &out.count),
            INVALID_ARGUMENT, "");

#define REFUSED_DECODE(change, status, part)                                                   \
    do {                                                                                       \
        change;                                                                                \
        REFUSED(inferno_boxes_decode(&other, &decode, NULL, box, score, class, 2, &out.count), \
                status, part);                                                                 \
        inferno_decode_options_init(&decode, sizeof decode);                                   \
        other = numbers;                                                                       \
    } while (0)
    REFUSED_DECODE(decode.format = 9, INVALID_ARGUMENT, "options.format is 9");
    REFUSED_DECODE(decode.predictions_last = 2, INVALID_ARGUMENT, "predictions_last is 2");
    REFUSED_DECODE(decode.has_objectness = -1, INVALID_ARGUMENT, "has_objectness is -1");
    REFUSED_DECODE(decode.has_objectness = 1, SHAPE_MISMATCH, "5 numbers");
    REFUSED_DECODE(decode.score_threshold = (float)NAN, INVALID_ARGUMENT, "score_threshold");
    REFUSED_DECODE(decode.predictions_last = 0, SIZE_MISMATCH, "capacity is 2: expected 5");
    REFUSED_DECODE(other.dtype = INFERNO_DTYPE_I32, DTYPE_MISMATCH, "expected f32");
    REFUSED_DECODE(other.rank = 1; other.dims[0] = 10; other.dims[1] = 0, SHAPE_MISMATCH,
                   "[numbers, predictions]");
    REFUSED_DECODE(other.data = box, INVALID_ARGUMENT, "share memory");
    inferno_image_map map = {0, 1, 0, 0};
    REFUSED(inferno_boxes_decode(&numbers, NULL, &map, box, score, class, 2, &out.count),
            INVALID_ARGUMENT, "map has a scale of 0");
    REFUSED(inferno_boxes_decode(NULL, NULL, NULL, box, score, class, 2, &out.count), INVALID_ARGUMENT,
            "predictions is NULL");
    REFUSED(inferno_boxes_decode(&numbers, NULL, NULL, NULL, score, class, 2, &out.count),
            INVALID_ARGUMENT, "boxes is NULL");
    REFUSED(inferno_boxes_decode(&numbers, NULL, NULL, box, score, class, 2, NULL), INVALID_ARGUMENT,
            "count is NULL");
}

static void framers(void) {
    static float ring[8], frame[4];
    inferno_audio_framer good, framer;
    int16_t samples[8] = {0};
    REFUSED(inferno_audio_framer_init(NULL, sizeof good, ring, 8, 4, 2), INVALID_ARGUMENT,
            "inferno_audio_framer");
    REFUSED(inferno_audio_framer_init(&good, 3, ring, 8, 4, 2), INVALID_ARGUMENT, "struct_size is 3");
    REFUSED(inferno_audio_framer_init(&good, sizeof good, NULL, 8, 4, 2), INVALID_ARGUMENT, "ring");
    REFUSED(inferno_audio_framer_init(&good, sizeof good, ring, 8, 0, 2), INVALID_ARGUMENT, "frame of 0");
    REFUSED(inferno_audio_framer_init(&good, sizeof good, ring, 8, 9, 2), INVALID_ARGUMENT, "frame of 9");
    REFUSED(inferno_audio_framer_init(&good, sizeof good, ring, 8, 4, 5), INVALID_ARGUMENT, "hop of 5");
    REQUIRE_OK(inferno_audio_framer_init(&good, sizeof good, ring, 8, 4, 2));
    framer = good;

#define WRITE(dtype, channels, stride, count) \
    inferno_audio_framer_write(&framer, samples, dtype, channels, stride, count)
    REFUSED(inferno_audio_framer_write(NULL, samples, 5, 1, 1, 1), INVALID_ARGUMENT, "framer");
    REFUSED(inferno_audio_framer_write(&framer, NULL, 5, 1, 1, 1), INVALID_ARGUMENT, "samples is NULL");
    REFUSED(WRITE(INFERNO_DTYPE_F64, 1, 1, 1), DTYPE_MISMATCH, "i16");
    REFUSED(WRITE(77, 1, 1, 1), DTYPE_MISMATCH, "i16");
    REFUSED(WRITE(INFERNO_DTYPE_I16, 0, 0, 1), INVALID_ARGUMENT, "0 channels");
    REFUSED(WRITE(INFERNO_DTYPE_I16, 2, 1, 1), INVALID_ARGUMENT, "2 channels");
    REFUSED(WRITE(INFERNO_DTYPE_I16, 1, SIZE_MAX, 3), INVALID_ARGUMENT, "no memory holds");
    REFUSED(WRITE(INFERNO_DTYPE_I16, 1, 1, SIZE_MAX), INVALID_ARGUMENT, "");
    REFUSED(WRITE(INFERNO_DTYPE_I16, 1, 0, 9), LIMIT_EXCEEDED, "room for 8 of 8");
    framer.begin = 8;
    REFUSED(WRITE(INFERNO_DTYPE_I16, 1, 1, 1), INVALID_ARGUMENT, "changed from outside");
    framer = good;
    framer.ring_samples = SIZE_MAX;
    REFUSED(WRITE(INFERNO_DTYPE_I16, 1, 1, 1), INVALID_ARGUMENT, "ring_samples");
    framer = good;
    framer.ring = NULL;
    REFUSED(WRITE(INFERNO_DTYPE_I16, 1, 1, 1), INVALID_ARGUMENT, "ring");
    framer = good;
    REFUSED(inferno_audio_framer_write(&framer, ring, INFERNO_DTYPE_F32, 1, 1, 4), INVALID_ARGUMENT,
            "share memory");
    CHECK_OK(WRITE(INFERNO_DTYPE_I16, 1, 1, 8));
    int32_t is_read = 7;
    REFUSED(inferno_audio_framer_read(NULL, frame, 4, &is_read), INVALID_ARGUMENT, "framer");
    REFUSED(inferno_audio_framer_read(&framer, NULL, 4, &is_read), INVALID_ARGUMENT, "frame is NULL");
    REFUSED(inferno_audio_framer_read(&framer, frame, 4, NULL), INVALID_ARGUMENT, "is_read");
    REFUSED(inferno_audio_framer_read(&framer, frame, 3, &is_read), SIZE_MISMATCH, "framer's 4");
    REFUSED(inferno_audio_framer_read(&framer, ring, 4, &is_read), INVALID_ARGUMENT, "share memory");
    CHECK(is_read == 7 && framer.filled == 8 && framer.begin == 0);
}

/* ---- Models --------------------------------------------------------------------------------- */

static void loads(void) {
    pb bytes = model_accumulator();
    inferno_model_options options;
    inferno_model_options_init(&options, sizeof options);

    options.tag = BAD_UTF8;
    REFUSED(inferno_model_load_memory(bytes.data, bytes.size, &options, &out.model),
            INVALID_ARGUMENT, "options.tag");
    options.tag = NULL;
    REFUSED(inferno_model_load(NULL, NULL, &out.model), INVALID_ARGUMENT, "path");
    REFUSED(inferno_model_load(BAD_UTF8, NULL, &out.model), INVALID_ARGUMENT, "path");
    REFUSED(inferno_model_load("no such file.onnx", NULL, &out.model), NOT_FOUND, "no such file");
    REFUSED(inferno_model_load("no such file.onnx", NULL, NULL), INVALID_ARGUMENT, "model");

    REFUSED(inferno_model_load_memory(NULL, 10, NULL, &out.model), INVALID_ARGUMENT, "data");
    REFUSED(inferno_model_load_memory(NULL, 0, NULL, &out.model), INVALID_ARGUMENT, "data");
    REFUSED(inferno_model_load_memory(bytes.data, SIZE_MAX, NULL, &out.model), INVALID_ARGUMENT,
            "size_bytes");
    REFUSED(inferno_model_load_memory(bytes.data, (size_t)PTRDIFF_MAX + 1, NULL, &out.model),
            INVALID_ARGUMENT, "size_bytes");
    REFUSED(inferno_model_load_memory(bytes.data, 0, NULL, &out.model), INVALID_MODEL, "model");
    REFUSED(inferno_model_load_memory(bytes.data, bytes.size, NULL, NULL), INVALID_ARGUMENT,
            "model");
    options.name = BAD_UTF8;
    REFUSED(inferno_model_load_memory(bytes.data, bytes.size, &options, &out.model),
            INVALID_ARGUMENT, "name");
    options.name = NULL;

    reader_model = bytes;
    const inferno_reader reader = {sizeof reader, NULL, model_open, model_read, model_close};
    REFUSED(inferno_model_load_reader(NULL, "m", NULL, &out.model), INVALID_ARGUMENT, "reader");
    REFUSED(inferno_model_load_reader(&reader, NULL, NULL, &out.model), INVALID_ARGUMENT, "path");
    REFUSED(inferno_model_load_reader(&reader, BAD_UTF8, NULL, &out.model), INVALID_ARGUMENT,
            "path");
    REFUSED(inferno_model_load_reader(&reader, "m", NULL, NULL), INVALID_ARGUMENT, "model");
    for (int missing = 0; missing < 3; missing++) {
        static const char *const names[] = {"open", "read", "close"};
        inferno_reader bad = reader;
        if (missing == 0) {
            bad.open = NULL;
        } else if (missing == 1) {
            bad.read = NULL;
        } else {
            bad.close = NULL;
        }
        REFUSED(inferno_model_load_reader(&bad, "m", NULL, &out.model), INVALID_ARGUMENT,
                names[missing]);
        options.reader = &bad;
        REFUSED(inferno_model_load_memory(bytes.data, bytes.size, &options, &out.model),
                INVALID_ARGUMENT, names[missing]);
    }
    inferno_reader none = reader;
    none.open = no_open;
    REFUSED(inferno_model_load_reader(&none, "m.onnx", NULL, &out.model), NOT_FOUND, "m.onnx");
    pb_free(&bytes);

    REFUSED(inferno_model_load_default(NULL), INVALID_ARGUMENT, "model");
}

static void queries(void) {
    const size_t past[] = {2, 3, 7, SIZE_MAX, SIZE_MAX / 2, (size_t)1 << 32};
    REFUSED(inferno_model_input_count(model, NULL), INVALID_ARGUMENT, "count");
    REFUSED(inferno_model_output_count(model, NULL), INVALID_ARGUMENT, "count");
    REFUSED(inferno_model_input(model, 0, NULL), INVALID_ARGUMENT, "info");
    REFUSED(inferno_model_output(model, 0, NULL), INVALID_ARGUMENT, "info");
    for (size_t i = 0; i < COUNT_OF(past); i++) {
        REFUSED(inferno_model_input(model, past[i], &out.info), NOT_FOUND, "input");
        REFUSED(inferno_model_output(model, past[i], &out.info), NOT_FOUND, "output");
    }
    REFUSED(inferno_model_input_index(model, NULL, &out.count), INVALID_ARGUMENT, "name");
    REFUSED(inferno_model_input_index(model, "x", NULL), INVALID_ARGUMENT, "index");
    REFUSED(inferno_model_input_index(model, BAD_UTF8, &out.count), INVALID_ARGUMENT, "name");
    REFUSED(inferno_model_input_index(model, "nope", &out.count), NOT_FOUND, "nope");
    REFUSED(inferno_model_input_index(model, "nope", &out.count), NOT_FOUND, "state");
    REFUSED(inferno_model_input_index(model, "", &out.count), NOT_FOUND, "state");
    REFUSED(inferno_model_input_index(model, "X", &out.count), NOT_FOUND, "state");
    REFUSED(inferno_model_input_index(model, "two", &out.count), NOT_FOUND, "state");
    REFUSED(inferno_model_output_index(model, NULL, &out.count), INVALID_ARGUMENT, "name");
    REFUSED(inferno_model_output_index(model, "y", NULL), INVALID_ARGUMENT, "index");
    REFUSED(inferno_model_output_index(model, BAD_UTF8, &out.count), INVALID_ARGUMENT, "name");
    REFUSED(inferno_model_output_index(model, "x", &out.count), NOT_FOUND, "state_out");
    REFUSED(inferno_model_get_info(model, NULL), INVALID_ARGUMENT, "info");
    REFUSED(inferno_model_metadata_count(mlp, NULL), INVALID_ARGUMENT, "count");
    REFUSED(inferno_model_metadata(mlp, 0, NULL, &out.value), INVALID_ARGUMENT, "key");
    REFUSED(inferno_model_metadata(mlp, 0, &out.key, NULL), INVALID_ARGUMENT, "value");
    REFUSED(inferno_model_metadata(mlp, 3, &out.key, &out.value), NOT_FOUND, "3");
    REFUSED(inferno_model_metadata(mlp, SIZE_MAX, &out.key, &out.value), NOT_FOUND, "3");
    REFUSED(inferno_model_metadata(model, 0, &out.key, &out.value), NOT_FOUND, "0");
    REFUSED(inferno_model_metadata_find(mlp, NULL, &out.value), INVALID_ARGUMENT, "key");
    REFUSED(inferno_model_metadata_find(mlp, "author", NULL), INVALID_ARGUMENT, "value");
    REFUSED(inferno_model_metadata_find(mlp, BAD_UTF8, &out.value), INVALID_ARGUMENT, "key");
    REFUSED(inferno_model_metadata_find(mlp, "Author", &out.value), NOT_FOUND, "Author");
}

/* ---- Tensors -------------------------------------------------------------------------------- */

typedef struct bad_tensor {
    const char *what;
    inferno_tensor tensor;
    inferno_status status;
    const char *part;
} bad_tensor;

#define MAX 9223372036854775807
#define T(dtype, rank, ...) \
    {dtype, rank, {__VA_ARGS__}, numbers, 12}

/* For a place where f32 [1, 3] is right. */
static const bad_tensor BAD_TENSORS[] = {
    {"no dtype", T(0, 2, 1, 3), INFERNO_STATUS_INVALID_ARGUMENT, "dtype"},
    {"dtype 14", T(14, 2, 1, 3), INFERNO_STATUS_INVALID_ARGUMENT, "dtype"},
    {"bfloat16", T(16, 2, 1, 3), INFERNO_STATUS_INVALID_ARGUMENT, "dtype"},
    {"dtype -1", T(-1, 2, 1, 3), INFERNO_STATUS_INVALID_ARGUMENT, "dtype"},
    {"dtype max", T(INT32_MAX, 2, 1, 3), INFERNO_STATUS_INVALID_ARGUMENT, "dtype"},
    {"rank -1", T(F32, -1, 1, 3), INFERNO_STATUS_INVALID_ARGUMENT, "rank"},
    {"rank 9", T(F32, 9, 1, 3), INFERNO_STATUS_INVALID_ARGUMENT, "rank"},
    {"rank max", T(F32, INT32_MAX, 1, 3), INFERNO_STATUS_INVALID_ARGUMENT, "rank"},
    {"rank min", T(F32, INT32_MIN, 1, 3), INFERNO_STATUS_INVALID_ARGUMENT, "rank"},
    {"dim -1", T(F32, 2, -1, 3), INFERNO_STATUS_INVALID_ARGUMENT, "dims"},
    {"dims -1 -3", T(F32, 2, -1, -3), INFERNO_STATUS_INVALID_ARGUMENT, "dims"},
    {"dim min", T(F32, 2, 1, -MAX - 1), INFERNO_STATUS_INVALID_ARGUMENT, "dims"},
    {"i32", T(INFERNO_DTYPE_I32, 2, 1, 3), INFERNO_STATUS_DTYPE_MISMATCH, "f32"},
    {"u32", T(INFERNO_DTYPE_U32, 2, 1, 3), INFERNO_STATUS_DTYPE_MISMATCH, "u32"},
    {"f64", {INFERNO_DTYPE_F64, 2, {1, 3}, numbers, 24}, INFERNO_STATUS_DTYPE_MISMATCH, "f32"},
    {"bool", {INFERNO_DTYPE_BOOL, 2, {1, 3}, numbers, 3}, INFERNO_STATUS_DTYPE_MISMATCH, "f32"},
    {"rank 1", T(F32, 1, 3), INFERNO_STATUS_SHAPE_MISMATCH, "3"},
    {"rank 3", T(F32, 3, 1, 1, 3), INFERNO_STATUS_SHAPE_MISMATCH, "3"},
    {"transposed", T(F32, 2, 3, 1), INFERNO_STATUS_SHAPE_MISMATCH, "3"},
    {"scalar", {F32, 0, {0}, numbers, 4}, INFERNO_STATUS_SHAPE_MISMATCH, "3"},
    {"empty", {F32, 2, {0, 3}, NULL, 0}, INFERNO_STATUS_SHAPE_MISMATCH, "3"},
    {"a byte short", {F32, 2, {1, 3}, numbers, 11}, INFERNO_STATUS_SIZE_MISMATCH, "12"},
    {"a byte long", {F32, 2, {1, 3}, numbers, 13}, INFERNO_STATUS_SIZE_MISMATCH, "12"},
    {"an element short", {F32, 2, {1, 3}, numbers, 8}, INFERNO_STATUS_SIZE_MISMATCH, "12"},
    {"size 0", {F32, 2, {1, 3}, numbers, 0}, INFERNO_STATUS_SIZE_MISMATCH, "12"},
    {"size max", {F32, 2, {1, 3}, numbers, SIZE_MAX}, INFERNO_STATUS_SIZE_MISMATCH, "12"},
    {"no data", {F32, 2, {1, 3}, NULL, 12}, INFERNO_STATUS_INVALID_ARGUMENT, "data"},
};

/* Products that do not fit 64 bits: refused; no status is promised for how. */
static const inferno_tensor OVERFLOWS[] = {
    {F32, 2, {MAX, MAX}, NULL, 0},
    {F32, 2, {(int64_t)1 << 32, (int64_t)1 << 32}, NULL, 0},
    {F32, 2, {(int64_t)1 << 62, 4}, NULL, 0},
    {F32, 2, {(int64_t)1 << 62, 1}, NULL, 0},
    {F32, 3, {(int64_t)1 << 31, (int64_t)1 << 31, 4}, numbers, 16},
    {F32, 8, {MAX, MAX, MAX, MAX, MAX, MAX, MAX, MAX}, numbers, 4},
};

static inferno_status new_with_constant(const inferno_tensor *value, const char *input) {
    inferno_input_constant constant = {input, *value};
    inferno_session_options options;
    inferno_session_options_init(&options, sizeof options);
    options.constants = &constant;
    options.constant_count = 1;
    return inferno_session_new(model, &options, &out.session);
}

static inferno_status give_input(const inferno_tensor *t) {
    return inferno_session_set_input(session, 0, t);
}
static inferno_status give_state(const inferno_tensor *t) {
    return inferno_session_set_input(session, 1, t);
}
static inferno_status bind_in(const inferno_tensor *t) {
    return inferno_session_bind_input(session, 0, t);
}
static inferno_status bind_out(const inferno_tensor *t) {
    return inferno_session_bind_output(session, 0, t);
}
static inferno_status make_constant(const inferno_tensor *t) { return new_with_constant(t, "x"); }

static const struct {
    const char *name;
    inferno_status (*call)(const inferno_tensor *);
} TENSOR_CALLS[] = {
    {"inferno_session_set_input", give_input},
    {"inferno_session_set_input of a state", give_state},
    {"inferno_session_bind_input", bind_in},
    {"inferno_session_bind_output", bind_out},
    {"inferno_session_new with a constant", make_constant},
};

static void tensors(void) {
    char what[160];
    for (size_t c = 0; c < COUNT_OF(TENSOR_CALLS); c++) {
        for (size_t i = 0; i < COUNT_OF(BAD_TENSORS); i++) {
            const bad_tensor *bad = &BAD_TENSORS[i];
            snprintf(what, sizeof what, "%s: %s", TENSOR_CALLS[c].name, bad->what);
            memcpy(&before, &out, sizeof out);
            refused(TENSOR_CALLS[c].call(&bad->tensor), bad->status, bad->part, __LINE__, what);
        }
        for (size_t i = 0; i < COUNT_OF(OVERFLOWS); i++) {
            snprintf(what, sizeof what, "%s: overflow %zu", TENSOR_CALLS[c].name, i);
            memcpy(&before, &out, sizeof out);
            inferno_status status = TENSOR_CALLS[c].call(&OVERFLOWS[i]);
            check_note(status == INFERNO_STATUS_INVALID_ARGUMENT ||
                           status == INFERNO_STATUS_SHAPE_MISMATCH ||
                           status == INFERNO_STATUS_SIZE_MISMATCH ||
                           status == INFERNO_STATUS_LIMIT_EXCEEDED,
                       __FILE__, __LINE__, what, inferno_status_name((int32_t)status));
            CHECK(inferno_last_error()[0] != '\0');
            CHECK(memcmp(&out, &before, sizeof out) == 0);
        }
    }
    REFUSED(inferno_session_set_input(session, 0, NULL), INVALID_ARGUMENT, "tensor");
    CHECK_OK(inferno_session_bind_input(session, 0, NULL));
    CHECK_OK(inferno_session_bind_output(session, 0, NULL));
}

static void string_tensors(void) {
    const char *words[2] = {"one", NULL};
    inferno_tensor tensor = tensor_of(INFERNO_DTYPE_STRING, "2", words);
    REFUSED(inferno_session_set_input(strings, 0, &tensor), INVALID_ARGUMENT, "NULL");
    words[1] = BAD_UTF8;
    REFUSED(inferno_session_set_input(strings, 0, &tensor), INVALID_ARGUMENT, "UTF-8");
    words[1] = "two";
    REFUSED(inferno_session_input(strings, 0, &out.tensor), UNSUPPORTED, "string");
    REFUSED(inferno_session_bind_input(strings, 0, &tensor), UNSUPPORTED, "string");
    REFUSED(inferno_session_bind_output(strings, 0, &tensor), UNSUPPORTED, "string");
    REFUSED(inferno_session_copy_output(strings, 0, out.buffer, sizeof out.buffer, &out.count),
            UNSUPPORTED, "string");
}

/* ---- Sessions ------------------------------------------------------------------------------- */

static inferno_status new_with_symbol(const char *symbol, int64_t value) {
    inferno_symbol_value one = {symbol, value};
    inferno_session_options options;
    inferno_session_options_init(&options, sizeof options);
    options.symbols = &one;
    options.symbol_count = 1;
    return inferno_session_new(mlp, &options, &out.session);
}

static inferno_status new_with_shape(const char *input, int32_t rank, int64_t first,
                                     int64_t second) {
    inferno_input_shape shape = {input, rank, {first, second}};
    inferno_session_options options;
    inferno_session_options_init(&options, sizeof options);
    options.shapes = &shape;
    options.shape_count = 1;
    return inferno_session_new(mlp, &options, &out.session);
}

static inferno_status new_with_states(const inferno_state_pair *pairs, size_t count) {
    inferno_session_options options;
    inferno_session_options_init(&options, sizeof options);
    options.states = pairs;
    options.state_count = count;
    return inferno_session_new(model, &options, &out.session);
}

static inferno_status new_with_state(const char *input, const char *output) {
    inferno_state_pair pair = {input, output};
    return new_with_states(&pair, 1);
}

static void session_options(void) {
    inferno_session_options options;
    REFUSED(inferno_session_new(model, NULL, NULL), INVALID_ARGUMENT, "session");

    inferno_session_options_init(&options, sizeof options);
    options.symbol_count = 1;
    REFUSED(inferno_session_new(mlp, &options, &out.session), INVALID_ARGUMENT, "symbols");
    inferno_session_options_init(&options, sizeof options);
    options.shape_count = 1;
    REFUSED(inferno_session_new(mlp, &options, &out.session), INVALID_ARGUMENT, "shapes");
    inferno_session_options_init(&options, sizeof options);
    options.constant_count = 1;
    REFUSED(inferno_session_new(mlp, &options, &out.session), INVALID_ARGUMENT, "constants");
    inferno_session_options_init(&options, sizeof options);
    options.state_count = SIZE_MAX;
    REFUSED(inferno_session_new(mlp, &options, &out.session), INVALID_ARGUMENT, "states");
    inferno_state_pair pair = {"state", "state_out"};
    options.states = &pair;
    REFUSED(inferno_session_new(model, &options, &out.session), INVALID_ARGUMENT, "states");

    REFUSED(new_with_symbol(NULL, 1), INVALID_ARGUMENT, "symbol");
    REFUSED(new_with_symbol(BAD_UTF8, 1), INVALID_ARGUMENT, "symbol");
    REFUSED(new_with_symbol("time", 1), NOT_FOUND, "time");
    REFUSED(new_with_symbol("", 1), NOT_FOUND, "batch");
    REFUSED(new_with_symbol("batch", -1), INVALID_ARGUMENT, "-1");
    REFUSED(new_with_symbol("batch", INT64_MIN), INVALID_ARGUMENT, "batch");

    REFUSED(new_with_shape(NULL, 2, 1, 4), INVALID_ARGUMENT, "input");
    REFUSED(new_with_shape(BAD_UTF8, 2, 1, 4), INVALID_ARGUMENT, "input");
    REFUSED(new_with_shape("nope", 2, 1, 4), NOT_FOUND, "nope");
    REFUSED(new_with_shape("x", -1, 1, 4), INVALID_ARGUMENT, "rank");
    REFUSED(new_with_shape("x", 9, 1, 4), INVALID_ARGUMENT, "rank");
    REFUSED(new_with_shape("x", 2, -1, 4), INVALID_ARGUMENT, "dims");
    REFUSED(new_with_shape("x", 1, 4, 0), SHAPE_MISMATCH, "x");
    REFUSED(new_with_shape("x", 0, 0, 0), SHAPE_MISMATCH, "x");
    REFUSED(new_with_shape("x", 2, 1, 5), SHAPE_MISMATCH, "4");

    inferno_tensor good = f32_tensor("1,3", numbers);
    REFUSED(new_with_constant(&good, NULL), INVALID_ARGUMENT, "input");
    REFUSED(new_with_constant(&good, BAD_UTF8), INVALID_ARGUMENT, "input");
    REFUSED(new_with_constant(&good, "nope"), NOT_FOUND, "nope");
    REFUSED(new_with_constant(&good, "two"), NOT_FOUND, "two");

    REFUSED(new_with_state(NULL, "state_out"), INVALID_ARGUMENT, "input");
    REFUSED(new_with_state("state", NULL), INVALID_ARGUMENT, "output");
    REFUSED(new_with_state(BAD_UTF8, "state_out"), INVALID_ARGUMENT, "input");
    REFUSED(new_with_state("nope", "state_out"), NOT_FOUND, "nope");
    REFUSED(new_with_state("state", "nope"), NOT_FOUND, "nope");
    REFUSED(new_with_state("state", "x"), NOT_FOUND, "x");
    const inferno_state_pair twice[2] = {{"state", "state_out"}, {"state", "y"}};
    REFUSED(new_with_states(twice, 2), INVALID_ARGUMENT, "state");

    /* One input cannot be both. */
    inferno_input_constant constant = {"state", good};
    inferno_session_options_init(&options, sizeof options);
    options.states = &pair;
    options.state_count = 1;
    options.constants = &constant;
    options.constant_count = 1;
    REFUSED(inferno_session_new(model, &options, &out.session), INVALID_ARGUMENT, "state");
}

static void session_calls(void) {
    const size_t past[] = {2, 7, SIZE_MAX, (size_t)1 << 32};
    inferno_tensor good = f32_tensor("1,3", numbers);
    for (size_t i = 0; i < COUNT_OF(past); i++) {
        const int64_t dims[2] = {1, 3};
        size_t n = past[i];
        REFUSED(inferno_session_set_shape(session, n, 2, dims), NOT_FOUND, "input");
        REFUSED(inferno_session_input(session, n, &out.tensor), NOT_FOUND, "input");
        REFUSED(inferno_session_output(session, n, &out.tensor), NOT_FOUND, "output");
        REFUSED(inferno_session_set_input(session, n, &good), NOT_FOUND, "input");
        REFUSED(inferno_session_copy_output(session, n, out.buffer, 64, &out.count), NOT_FOUND,
                "output");
        REFUSED(inferno_session_bind_input(session, n, &good), NOT_FOUND, "input");
        REFUSED(inferno_session_bind_input(session, n, NULL), NOT_FOUND, "input");
        REFUSED(inferno_session_bind_output(session, n, &good), NOT_FOUND, "output");
        REFUSED(inferno_session_bind_output(session, n, NULL), NOT_FOUND, "output");
    }

    REFUSED(inferno_session_input(session, 0, NULL), INVALID_ARGUMENT, "tensor");
    REFUSED(inferno_session_output(session, 0, NULL), INVALID_ARGUMENT, "tensor");
    REFUSED(inferno_session_copy_output(session, 0, NULL, 12, &out.count), INVALID_ARGUMENT,
            "buffer");
    REFUSED(inferno_session_copy_output(session, 0, out.buffer, 11, NULL), SIZE_MISMATCH, "12");
    REFUSED(inferno_session_copy_output(session, 0, out.buffer, 0, NULL), SIZE_MISMATCH, "12");
    memcpy(&before, &out, sizeof out);
    CHECK_ERROR(inferno_session_copy_output(session, 0, out.buffer, 11, &out.count),
                INFERNO_STATUS_SIZE_MISMATCH, "12");
    CHECK(out.count == 12);
    CHECK(memcmp(out.buffer, before.buffer, sizeof out.buffer) == 0);
    poison();

    /* The state and the constant are the session's own. */
    REFUSED(inferno_session_input(session, 1, &out.tensor), UNSUPPORTED, "state");
    REFUSED(inferno_session_bind_input(session, 1, &good), UNSUPPORTED, "state");
    const int64_t shape[2] = {3, 4};
    inferno_tensor constant = i64_tensor("2", shape);
    REFUSED(inferno_session_input(parameter, 1, &out.tensor), UNSUPPORTED, "constant");
    REFUSED(inferno_session_set_input(parameter, 1, &constant), UNSUPPORTED, "constant");
    REFUSED(inferno_session_bind_input(parameter, 1, &constant), UNSUPPORTED, "constant");

    /* Nothing has run yet. */
    REFUSED(inferno_session_output(fresh, 0, &out.tensor), NOT_READY, "run");
    REFUSED(inferno_session_copy_output(fresh, 0, out.buffer, 64, &out.count), NOT_READY, "run");

    /* The batch is not known. */
    REFUSED(inferno_session_prepare(open_dims), NOT_READY, "batch");
    REFUSED(inferno_session_run(open_dims, NULL), NOT_READY, "batch");
    REFUSED(inferno_session_run_for(open_dims, 1, &out.finished), NOT_READY, "batch");
    REFUSED(inferno_session_run_for(session, 1, NULL), INVALID_ARGUMENT, "finished");
    REFUSED(inferno_session_input(open_dims, 0, &out.tensor), NOT_READY, "batch");

    inferno_run_options run;
    inferno_run_options_init(&run, sizeof run);
    for (unsigned bit = 0; bit < 64; bit++) {
        run.flags = (uint64_t)1 << bit;
        REFUSED(inferno_session_run(session, &run), INVALID_ARGUMENT, "flags");
    }
}

static void shapes(void) {
    const int64_t right[2] = {1, 3}, negative[2] = {1, -3}, other[2] = {2, 3};
    int64_t nine[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    REFUSED(inferno_session_set_shape(session, 0, -1, right), INVALID_ARGUMENT, "rank");
    REFUSED(inferno_session_set_shape(session, 0, 9, nine), INVALID_ARGUMENT, "rank");
    REFUSED(inferno_session_set_shape(session, 0, INT32_MAX, nine), INVALID_ARGUMENT, "rank");
    REFUSED(inferno_session_set_shape(session, 0, INT32_MIN, nine), INVALID_ARGUMENT, "rank");
    REFUSED(inferno_session_set_shape(session, 0, 2, NULL), INVALID_ARGUMENT, "dims");
    REFUSED(inferno_session_set_shape(session, 0, 2, negative), INVALID_ARGUMENT, "dims");
    REFUSED(inferno_session_set_shape(session, 0, 2, other), SHAPE_MISMATCH, "1");
    REFUSED(inferno_session_set_shape(session, 0, 1, right), SHAPE_MISMATCH, "3");
    REFUSED(inferno_session_set_shape(session, 0, 8, nine), SHAPE_MISMATCH, "3");
    REFUSED(inferno_session_set_shape(session, 0, 0, NULL), SHAPE_MISMATCH, "3");
    CHECK_OK(inferno_session_set_shape(session, 0, 2, right));
}

static void states(void) {
    unsigned char saved[256], same[256];
    size_t size = 0;
    REFUSED(inferno_session_state_size(session, NULL), INVALID_ARGUMENT, "size_bytes");
    REQUIRE_OK(inferno_session_state_size(session, &size));
    REQUIRE(size > 12 && size <= sizeof saved);
    REFUSED(inferno_session_copy_state(session, NULL, size), INVALID_ARGUMENT, "buffer");
    REFUSED(inferno_session_copy_state(session, out.buffer, 1), SIZE_MISMATCH, "expected");
    CHECK_OK(inferno_session_copy_state(session, saved, size));
    memset(same, 0xa5, sizeof same);
    CHECK_STATUS(inferno_session_copy_state(session, same, size - 1),
                 INFERNO_STATUS_SIZE_MISMATCH);
    CHECK(same[0] == 0xa5 && memcmp(same, same + 1, sizeof same - 1) == 0);
    REFUSED(inferno_session_set_state(session, NULL, size), INVALID_ARGUMENT, "buffer");
    REFUSED(inferno_session_set_state(session, NULL, 0), INVALID_ARGUMENT, "state");
    REFUSED(inferno_session_set_state(session, "nonsense", 8), INVALID_ARGUMENT, "state");
    REFUSED(inferno_session_set_state(session, saved, size - 1), INVALID_ARGUMENT, "state");
    REFUSED(inferno_session_set_state(session, saved, SIZE_MAX), INVALID_ARGUMENT, "buffer");
    CHECK_OK(inferno_session_set_state(session, saved, size));
}

/* ---- Queues (more of them in queue.c) -------------------------------------------------------- */

static void queues(void) {
    inferno_queue *queue = NULL;
    inferno_job *job = NULL;
    inferno_tensor x = f32_tensor("1,4", numbers), view;
    REFUSED(inferno_queue_new(mlp, NULL, NULL), INVALID_ARGUMENT, "queue is NULL");
    REFUSED(inferno_queue_new(NULL, NULL, &queue), INVALID_HANDLE, "inferno_model");
    GROWN(inferno_queue_options) options = {0};
    inferno_queue_options_init(&options.now, sizeof options.now);
    BAD_STRUCT(inferno_queue_options, options, inferno_queue_new(mlp, &options.now, &queue),
               CHECK_OK(inferno_queue_free(queue)));
    inferno_queue_options_init(&options.now, sizeof options.now);
    options.now.is_prepared = 2;
    REFUSED(inferno_queue_new(mlp, &options.now, &queue), INVALID_ARGUMENT, "is_prepared");
    inferno_queue_options_init(&options.now, sizeof options.now);
    options.now.is_delay_learned = -1;
    REFUSED(inferno_queue_new(mlp, &options.now, &queue), INVALID_ARGUMENT, "is_delay_learned");
    CHECK_OK(inferno_queue_new(mlp, NULL, &queue));
    GROWN(inferno_job_options) job_options = {0};
    inferno_job_options_init(&job_options.now, sizeof job_options.now);
    BAD_STRUCT(inferno_job_options, job_options,
               inferno_queue_submit(queue, &x, 1, &job_options.now, &job),
               CHECK_OK(inferno_job_free(job)));
    x.data = NULL;
    REFUSED(inferno_queue_submit(queue, &x, 1, NULL, &job), INVALID_ARGUMENT, "data is NULL");
    x = f32_tensor("1,4", numbers);
    CHECK_OK(inferno_queue_submit(queue, &x, 1, NULL, &job));
    REFUSED(inferno_queue_pump(queue, 0, (uint64_t *)((char *)&view + 1)), INVALID_ARGUMENT,
            "misaligned");
    CHECK_OK(inferno_queue_pump(queue, 0, NULL));
    REFUSED(inferno_queue_get_metrics(queue, NULL), INVALID_ARGUMENT, "inferno_queue_metrics");
    REFUSED(inferno_queue_get_metrics(NULL, NULL), INVALID_HANDLE, "inferno_queue");
    REFUSED(inferno_queue_shutdown(queue, -1, 0), INVALID_ARGUMENT, "mode is -1");
    REFUSED(inferno_job_output(job, 0, NULL), INVALID_ARGUMENT, "tensor is NULL");
    REFUSED(inferno_job_output(job, SIZE_MAX, &view), NOT_FOUND, "1");
    REFUSED(inferno_job_wait((inferno_job *)&view, 0), INVALID_HANDLE, "inferno_job");
    REFUSED(inferno_job_poll((inferno_job *)model), INVALID_HANDLE, "inferno_model");
    REFUSED(inferno_job_cancel(NULL), INVALID_HANDLE, "NULL");
    CHECK(inferno_job_error(NULL)[0] != '\0');
    CHECK_OK(inferno_job_free(job));
    REFUSED(inferno_job_free(job), INVALID_HANDLE, "not open");
    CHECK_OK(inferno_queue_free(queue));
    REFUSED(inferno_queue_free(queue), INVALID_HANDLE, "not open");
}

/* ---- All of it ------------------------------------------------------------------------------ */

static void set_up(void) {
    static const int64_t shape[2] = {3, 4};
    const char *words[2] = {"one", "two"};
    inferno_tensor x = f32_tensor("1,3", numbers);

    /* A user of our own, so that the init and shutdown of a row do not end what is open. */
    REQUIRE_OK(inferno_init(NULL));
    model = load(model_accumulator());
    mlp = load(model_mlp());
    reshape = load(model_reshape());

    inferno_state_pair pair = {"state", "state_out"};
    inferno_session_options options = session_defaults();
    options.states = &pair;
    options.state_count = 1;
    session = open_session(model, &options);
    REQUIRE_OK(inferno_session_set_input(session, 0, &x));
    REQUIRE_OK(inferno_session_run(session, NULL));
    fresh = open_session(model, NULL);
    open_dims = open_session(mlp, NULL);

    inferno_input_constant constant = {"shape", i64_tensor("2", shape)};
    options = session_defaults();
    options.constants = &constant;
    options.constant_count = 1;
    parameter = open_session(reshape, &options);

    strings = open_model(model_identity_string());
    inferno_tensor text = tensor_of(INFERNO_DTYPE_STRING, "2", words);
    REQUIRE_OK(inferno_session_set_input(strings, 0, &text));
    REQUIRE_OK(inferno_session_run(strings, NULL));
}

/* After all that, everything works as before. */
static void unharmed(void) {
    inferno_tensor x = f32_tensor("1,3", numbers);
    float expected[3] = {2, 4, 6};
    CHECK_OK(inferno_session_reset(session));
    CHECK_OK(inferno_session_set_input(session, 0, &x));
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK(output_is(session, 0, f32_tensor("1,3", expected)));
    inferno_tensor view;
    CHECK_OK(inferno_session_output(strings, 0, &view));
    CHECK(strcmp(((const char **)view.data)[1], "two") == 0);
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_session_free(fresh));
    CHECK_OK(inferno_session_free(open_dims));
    CHECK_OK(inferno_session_free(strings));
    CHECK_OK(inferno_session_free(parameter));
    CHECK_OK(inferno_model_free(model));
    CHECK_OK(inferno_model_free(mlp));
    CHECK_OK(inferno_model_free(reshape));
    CHECK_OK(inferno_shutdown());
}

int main(void) {
    poison();
    RUN(runtime_and_log);
    RUN(plain_values);
    RUN(inits);
    RUN(set_up);
    RUN(handles);
    RUN(stale_handles);
    RUN(sized_structs);
    RUN(metrics_texts);
    RUN(metrics_structs);
    RUN(subscriptions);
    RUN(images);
    RUN(scores);
    RUN(boxes);
    RUN(framers);
    RUN(loads);
    RUN(queries);
    RUN(tensors);
    RUN(string_tensors);
    RUN(session_options);
    RUN(session_calls);
    RUN(shapes);
    RUN(states);
    RUN(queues);
    RUN(unharmed);
    return check_summary();
}
