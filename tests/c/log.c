/*
 * The log callback: levels, user_data, removal; and that nothing reaches the standard streams.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"
#include "scratch.h"

#include <fcntl.h>
#include <unistd.h>

typedef struct sink {
    int lines;
    int by_level[6];
    int odd; /* lines that break a promise */
    char last[256];
} sink;

static int is_utf8(const char *text) {
    const unsigned char *p = (const unsigned char *)text;
    while (*p != 0) {
        int more = *p < 0x80 ? 0 : *p >= 0xc2 && *p < 0xe0 ? 1 : *p >= 0xe0 && *p < 0xf0 ? 2
                   : *p >= 0xf0 && *p < 0xf5                                             ? 3
                                                                                         : -1;
        if (more < 0) {
            return 0;
        }
        for (p++; more > 0; more--, p++) {
            if ((*p & 0xc0) != 0x80) {
                return 0;
            }
        }
    }
    return 1;
}

static void take(void *user_data, int32_t level, const char *module, const char *message) {
    sink *to = user_data;
    to->lines++;
    if (level < INFERNO_LOG_LEVEL_ERROR || level > INFERNO_LOG_LEVEL_TRACE || module == NULL ||
        message == NULL || *module == '\0' || *message == '\0' || !is_utf8(module) ||
        !is_utf8(message)) {
        to->odd++;
        return;
    }
    to->by_level[level]++;
    snprintf(to->last, sizeof to->last, "%s", message);
}

/* Something to log: a load, a session, a run, and a load that fails. */
static void act(void) {
    inferno_model *none = NULL;
    inferno_session *session = open_model(model_add());
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK_OK(inferno_session_free(session));
    pb bad = model_cycle();
    CHECK_STATUS(inferno_model_load_memory(bad.data, bad.size, NULL, &none),
                 INFERNO_STATUS_INVALID_MODEL);
    pb_free(&bad);
}

static void levels(void) {
    int lines_before = 0;
    for (int32_t level = INFERNO_LOG_LEVEL_OFF; level <= INFERNO_LOG_LEVEL_TRACE; level++) {
        sink to = {0};
        CHECK_OK(inferno_log_set_callback(take, &to, level));
        act();
        CHECK_OK(inferno_log_set_callback(NULL, NULL, INFERNO_LOG_LEVEL_OFF));
        CHECK(to.odd == 0);
        for (int32_t above = level + 1; above <= INFERNO_LOG_LEVEL_TRACE; above++) {
            CHECK(to.by_level[above] == 0);
        }
        CHECK(to.lines >= lines_before);
        lines_before = to.lines;
        if (level == INFERNO_LOG_LEVEL_OFF) {
            CHECK(to.lines == 0);
        }
        if (level >= INFERNO_LOG_LEVEL_INFO) {
            CHECK(to.by_level[INFERNO_LOG_LEVEL_INFO] > 0);
        }
    }
    CHECK(lines_before > 0);
}

static void replaced_and_removed(void) {
    sink first = {0}, second = {0};
    CHECK_OK(inferno_log_set_callback(take, &first, INFERNO_LOG_LEVEL_TRACE));
    act();
    CHECK(first.lines > 0);
    int so_far = first.lines;
    CHECK_OK(inferno_log_set_callback(take, &second, INFERNO_LOG_LEVEL_TRACE));
    act();
    CHECK(first.lines == so_far);
    CHECK(second.lines > 0);
    so_far = second.lines;
    CHECK_OK(inferno_log_set_callback(NULL, &first, INFERNO_LOG_LEVEL_TRACE));
    act();
    CHECK(first.odd == 0 && second.odd == 0);
    CHECK(second.lines == so_far);
}

/* A refused change leaves the callback that was there. */
static void refused_change(void) {
    sink to = {0}, other = {0};
    CHECK_OK(inferno_log_set_callback(take, &to, INFERNO_LOG_LEVEL_TRACE));
    CHECK_ERROR(inferno_log_set_callback(take, &other, 6), INFERNO_STATUS_INVALID_ARGUMENT, "6");
    CHECK_ERROR(inferno_log_set_callback(NULL, NULL, -1), INFERNO_STATUS_INVALID_ARGUMENT, "-1");
    act();
    CHECK(to.lines > 0);
    CHECK(other.lines == 0);
    CHECK_OK(inferno_log_set_callback(NULL, NULL, INFERNO_LOG_LEVEL_OFF));
}

/* With a callback and without one, what goes to stdout and stderr is nothing. */
static void silence(void) {
    int file = open(scratch("said"), O_RDWR | O_CREAT, 0600);
    REQUIRE(file >= 0);
    fflush(stdout);
    fflush(stderr);
    int keep_out = dup(1), keep_err = dup(2);
    sink to = {0};
    pb unsupported = model_unsupported_ops();
    inferno_model *none = NULL;
    dup2(file, 1);
    dup2(file, 2);
    act();
    (void)inferno_model_load_memory(unsupported.data, unsupported.size, NULL, &none);
    (void)inferno_log_set_callback(take, &to, INFERNO_LOG_LEVEL_TRACE);
    act();
    (void)inferno_model_load_memory(unsupported.data, unsupported.size, NULL, &none);
    (void)inferno_log_set_callback(NULL, NULL, INFERNO_LOG_LEVEL_OFF);
    (void)inferno_shutdown();
    fflush(stdout);
    dup2(keep_out, 1);
    dup2(keep_err, 2);
    close(keep_out);
    close(keep_err);
    CHECK(lseek(file, 0, SEEK_END) == 0);
    close(file);
    pb_free(&unsupported);
}

int main(void) {
    RUN(levels);
    RUN(replaced_and_removed);
    RUN(refused_change);
    RUN(silence);
    return check_summary();
}
