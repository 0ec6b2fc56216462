/*
 * What a model may ask for: each limit is named when it refuses; deadlines of loads and of runs.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"

static inferno_model_limits limits_default(void) {
    inferno_model_limits limits;
    REQUIRE_OK(inferno_model_limits_init(&limits, sizeof limits));
    return limits;
}

static inferno_status load_within(pb bytes, const inferno_model_limits *limits,
                                  inferno_model **model) {
    inferno_model_options options;
    REQUIRE_OK(inferno_model_options_init(&options, sizeof options));
    options.limits = limits;
    inferno_status status = inferno_model_load_memory(bytes.data, bytes.size, &options, model);
    pb_free(&bytes);
    return status;
}

static void defaults(void) {
    inferno_model_limits limits;
    memset(&limits, 0xff, sizeof limits);
    CHECK_OK(inferno_model_limits_init(&limits, sizeof limits));
    CHECK(limits.struct_size == sizeof limits);
    CHECK(limits.max_file_bytes == (uint64_t)2 << 30);
    CHECK(limits.max_weight_bytes == (uint64_t)4 << 30);
    CHECK(limits.max_tensor_bytes == (uint64_t)2 << 30);
    CHECK(limits.max_memory_bytes == (uint64_t)8 << 30);
    CHECK(limits.max_nodes == 65536);
    CHECK(limits.max_node_values == 4096);
    CHECK(limits.max_rank == 32);
    CHECK(limits.max_depth == 16);
    CHECK(limits.load_time_ns == UINT64_C(60000000000));
}

/* Refused at the load or when a session is made, with the limit's name in the text. */
static void refused(pb bytes, const inferno_model_limits *limits, const char *name) {
    inferno_model *model = NULL;
    inferno_session *session = NULL;
    inferno_status status = load_within(bytes, limits, &model);
    if (status == INFERNO_STATUS_OK) {
        status = inferno_session_new(model, NULL, &session);
    }
    CHECK(status == INFERNO_STATUS_LIMIT_EXCEEDED);
    CHECK(check_contains(inferno_last_error(), name));
    CHECK(session == NULL);
    if (model != NULL) {
        CHECK_OK(inferno_model_free(model));
    }
}

static void each_is_named(void) {
    inferno_model_limits limits = limits_default();
    limits.max_file_bytes = 10;
    refused(model_mlp(), &limits, "max_file_bytes");
    limits = limits_default();
    limits.max_weight_bytes = 4 * (32 + 8 + 24 + 3) - 1;
    refused(model_mlp(), &limits, "max_weight_bytes");
    limits = limits_default();
    limits.max_tensor_bytes = 96 * 96 * 4 - 1;
    refused(model_heavy(96, 2), &limits, "max_tensor_bytes");
    limits = limits_default();
    limits.max_nodes = 1;
    refused(model_mlp(), &limits, "max_nodes");
    limits = limits_default();
    limits.max_node_values = 2;
    refused(model_add(), &limits, "max_node_values");
    limits = limits_default();
    limits.max_rank = 1;
    refused(model_mlp(), &limits, "max_rank");
    limits = limits_default();
    limits.max_depth = 0;
    refused(model_if_constant(), &limits, "max_depth");
    limits = limits_default();
    limits.max_memory_bytes = 64 << 10;
    refused(model_heavy(96, 2), &limits, "max_memory_bytes");
}

static void exactly_enough_is_enough(void) {
    inferno_model_limits limits = limits_default();
    inferno_model *model = NULL;
    limits.max_weight_bytes = 4 * (32 + 8 + 24 + 3);
    limits.max_rank = 2;
    if (CHECK_OK(load_within(model_mlp(), &limits, &model))) {
        inferno_session *session = open_session(model, NULL);
        CHECK_OK(inferno_session_free(session));
        CHECK_OK(inferno_model_free(model));
    }
}

/* One import past its deadline takes nothing from the next. */
static void a_load_has_a_deadline(void) {
    inferno_model_limits limits = limits_default();
    inferno_model *model = NULL;
    inferno_session *session = NULL;
    limits.load_time_ns = 1;
    CHECK_ERROR(load_within(model_mlp(), &limits, &model), INFERNO_STATUS_DEADLINE_EXCEEDED,
                "time");
    CHECK(model == NULL && session == NULL);
    limits.load_time_ns = 0; /* for ever */
    if (CHECK_OK(load_within(model_mlp(), &limits, &model))) {
        CHECK_OK(inferno_session_new(model, NULL, &session));
        CHECK_OK(inferno_session_free(session));
        CHECK_OK(inferno_model_free(model));
    }
}

/* A run's memory counts from what was there before. */
static void a_run_has_a_memory_limit(void) {
    inferno_model_limits limits = limits_default();
    inferno_model *model = NULL;
    inferno_session *session = NULL;
    limits.max_memory_bytes = 8 << 20;
    if (!CHECK_OK(load_within(model_heavy(96, 4), &limits, &model))) {
        return;
    }
    CHECK_OK(inferno_session_new(model, NULL, &session));
    for (int i = 0; i < 300; i++) {
        CHECK_OK(inferno_session_run(session, NULL)); /* in all, it takes much more */
    }
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
}

static void a_run_has_a_deadline(void) {
    inferno_run_options options;
    CHECK_OK(inferno_run_options_init(&options, sizeof options));
    CHECK(options.timeout_ns == 0);
    inferno_session *session = open_model(model_heavy(96, 40));
    static float x[96 * 96], first[96 * 96], again[96 * 96];
    for (size_t i = 0; i < 96 * 96; i++) {
        x[i] = model_weight(3, (unsigned)i);
    }
    inferno_tensor input = f32_tensor("96,96", x);
    CHECK_OK(inferno_session_set_input(session, 0, &input));
    CHECK_OK(inferno_session_run(session, &options));
    CHECK_OK(inferno_session_copy_output(session, 0, first, sizeof first, NULL));
    options.timeout_ns = 1;
    CHECK_ERROR(inferno_session_run(session, &options), INFERNO_STATUS_DEADLINE_EXCEEDED, "time");
    options.timeout_ns = UINT64_C(60000000000);
    CHECK_OK(inferno_session_run(session, &options));
    CHECK_OK(inferno_session_copy_output(session, 0, again, sizeof again, NULL));
    CHECK(memcmp(first, again, sizeof first) == 0);
    options.timeout_ns = UINT64_MAX;
    CHECK_OK(inferno_session_run(session, &options));
    CHECK_OK(inferno_session_free(session));
}

int main(void) {
    RUN(defaults);
    RUN(each_is_named);
    RUN(exactly_enough_is_enough);
    RUN(a_load_has_a_deadline);
    RUN(a_run_has_a_memory_limit);
    RUN(a_run_has_a_deadline);
    return check_summary();
}
