/*
 * Counted init and shutdown, restart, and handles that are stale after the last shutdown.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"

static float ones[6] = {1, 1, 1, 1, 1, 1};

static int works(void) {
    float expected[6] = {2, 2, 2, 2, 2, 2};
    inferno_tensor x = f32_tensor("2,3", ones);
    inferno_session *session = open_model(model_add());
    CHECK_OK(inferno_session_set_input(session, 0, &x));
    CHECK_OK(inferno_session_set_input(session, 1, &x));
    CHECK_OK(inferno_session_run(session, NULL));
    int right = output_is(session, 0, f32_tensor("2,3", expected));
    CHECK_OK(inferno_session_free(session));
    return right;
}

static void is_stale(inferno_model *model, inferno_session *session) {
    size_t count = 77;
    inferno_tensor tensor;
    CHECK_STATUS(inferno_model_input_count(model, &count), INFERNO_STATUS_INVALID_HANDLE);
    CHECK(count == 77);
    CHECK_STATUS(inferno_session_run(session, NULL), INFERNO_STATUS_INVALID_HANDLE);
    CHECK_STATUS(inferno_session_output(session, 0, &tensor), INFERNO_STATUS_INVALID_HANDLE);
    CHECK_STATUS(inferno_session_free(session), INFERNO_STATUS_INVALID_HANDLE);
    CHECK_STATUS(inferno_model_free(model), INFERNO_STATUS_INVALID_HANDLE);
}

static void defaults(void) {
    inferno_runtime_options options;
    memset(&options, 0xff, sizeof options);
    CHECK_OK(inferno_runtime_options_init(&options, sizeof options));
    CHECK(options.struct_size == sizeof options);
    CHECK(options.log_callback == NULL);
    CHECK(options.log_user_data == NULL);
    CHECK(options.log_level == INFERNO_LOG_LEVEL_WARN);
}

static void without_init(void) {
    CHECK(works());
    inferno_model *model = load(model_add());
    inferno_session *session = open_session(model, NULL);
    CHECK_OK(inferno_shutdown());
    is_stale(model, session);
    CHECK_OK(inferno_shutdown());
    CHECK(works());
    CHECK_OK(inferno_shutdown());
}

static void counted(void) {
    CHECK_OK(inferno_init(NULL));
    inferno_model *model = load(model_add());
    inferno_session *session = open_session(model, NULL);
    CHECK_OK(inferno_init(NULL));
    CHECK_OK(inferno_init(NULL));
    CHECK_OK(inferno_shutdown());
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK_OK(inferno_shutdown());
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK_OK(inferno_shutdown());
    is_stale(model, session);
}

static void restart(void) {
    inferno_model *old_model = NULL;
    inferno_session *old_session = NULL;
    for (int i = 0; i < 20; i++) {
        CHECK_OK(inferno_init(NULL));
        CHECK(works());
        inferno_model *model = load(model_add());
        inferno_session *session = open_session(model, NULL);
        if (i > 0) {
            CHECK(model != old_model);
            CHECK(session != old_session);
            is_stale(old_model, old_session);
        }
        old_model = model;
        old_session = session;
        CHECK_OK(inferno_session_run(session, NULL));
        CHECK_OK(inferno_shutdown());
        is_stale(model, session);
    }
}

/* More shutdowns than inits are no error, and do not count below zero. */
static void too_many_shutdowns(void) {
    for (int i = 0; i < 5; i++) {
        CHECK_OK(inferno_shutdown());
    }
    CHECK_OK(inferno_init(NULL));
    inferno_model *model = load(model_add());
    size_t count = 0;
    CHECK_OK(inferno_model_input_count(model, &count));
    CHECK(count == 2);
    CHECK_OK(inferno_shutdown());
    CHECK_STATUS(inferno_model_input_count(model, &count), INFERNO_STATUS_INVALID_HANDLE);
}

static int lines[2];

static void count_line(void *user_data, int32_t level, const char *module, const char *message) {
    (void)level, (void)module, (void)message;
    ++*(int *)user_data;
}

/* Options count for the call that starts the runtime, and only for that. */
static void options_of_the_first(void) {
    inferno_runtime_options options;
    CHECK_OK(inferno_runtime_options_init(&options, sizeof options));
    options.log_callback = count_line;
    options.log_user_data = &lines[0];
    options.log_level = INFERNO_LOG_LEVEL_TRACE;
    CHECK_OK(inferno_init(&options));
    options.log_user_data = &lines[1];
    CHECK_OK(inferno_init(&options));
    CHECK(works());
    CHECK(lines[0] > 0);
    CHECK(lines[1] == 0);
    CHECK_OK(inferno_shutdown());
    int so_far = lines[0];
    CHECK(works());
    CHECK(lines[0] > so_far);
    CHECK_OK(inferno_shutdown());
    /* The last shutdown takes the callback away. */
    so_far = lines[0];
    CHECK(works());
    CHECK(lines[0] == so_far);
    CHECK(lines[1] == 0);
    CHECK_OK(inferno_shutdown());
}

/* An init that fails counts nobody in. */
static void failed_init(void) {
    inferno_runtime_options options;
    CHECK_OK(inferno_runtime_options_init(&options, sizeof options));
    options.struct_size = 3;
    CHECK_ERROR(inferno_init(&options), INFERNO_STATUS_INVALID_ARGUMENT, "inferno_runtime_options");
    CHECK_OK(inferno_init(NULL));
    inferno_model *model = load(model_add());
    inferno_session *session = open_session(model, NULL);
    CHECK_OK(inferno_shutdown());
    is_stale(model, session);
}

int main(void) {
    RUN(defaults);
    RUN(without_init);
    RUN(counted);
    RUN(restart);
    RUN(too_many_shutdowns);
    RUN(options_of_the_first);
    RUN(failed_init);
    return check_summary();
}
