/*
 * Metrics: what is counted, told, written, timed, traced and logged; and that all of it ends.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"
#include "on_threads.h"
#include "scratch.h"

#include <time.h>

static void nap(long milliseconds) {
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static inferno_metrics snapshot(void) {
    inferno_metrics metrics = {.struct_size = sizeof metrics};
    REQUIRE_OK(inferno_metrics_snapshot(&metrics));
    return metrics;
}

typedef inferno_status copy_function(char *, size_t, size_t *);

/* A text of the library's; the caller frees it. */
static char *text_of(copy_function *copy) {
    for (;;) {
        size_t needed = 0;
        REQUIRE_OK(copy(NULL, 0, &needed));
        REQUIRE(needed > 0);
        char *text = malloc(needed + 4096);
        REQUIRE(text != NULL);
        inferno_status status = copy(text, needed + 4096, &needed);
        if (status == INFERNO_STATUS_OK) {
            CHECK(strlen(text) + 1 == needed);
            return text;
        }
        CHECK(status == INFERNO_STATUS_SIZE_MISMATCH);
        free(text);
    }
}

static inferno_model *load_as(const char *name, const char *tag, pb bytes) {
    inferno_model_options options;
    REQUIRE_OK(inferno_model_options_init(&options, sizeof options));
    options.name = name;
    options.tag = tag;
    inferno_model *model = NULL;
    REQUIRE_OK(inferno_model_load_memory(bytes.data, bytes.size, &options, &model));
    pb_free(&bytes);
    return model;
}

static void run_times(inferno_session *session, int times) {
    for (int i = 0; i < times; i++) {
        REQUIRE(inferno_session_run(session, NULL) == INFERNO_STATUS_OK);
    }
}

/* ---- Counts ------------------------------------------------------------------------------- */

static void counts(void) {
    CHECK_OK(inferno_shutdown());
    inferno_model *model = load_as("adder", NULL, model_add());
    inferno_session *one = open_session(model, NULL), *two = open_session(model, NULL);
    run_times(one, 100);
    run_times(two, 50);
    inferno_run_options late;
    CHECK_OK(inferno_run_options_init(&late, sizeof late));
    inferno_metrics of_one = {.struct_size = sizeof of_one}, of_model = of_one, listed = of_one;
    CHECK_OK(inferno_session_get_metrics(one, &of_one));
    CHECK(of_one.runs == 100 && of_one.failures == 0 && of_one.sessions == 1);
    CHECK(strcmp(of_one.name, "adder") == 0);
    CHECK(of_one.run_p50_ns > 0 && of_one.run_p50_ns <= of_one.run_p90_ns);
    CHECK(of_one.run_p90_ns <= of_one.run_p99_ns && of_one.run_p99_ns <= of_one.run_p999_ns);
    CHECK(of_one.run_p999_ns <= of_one.run_max_ns && of_one.run_total_ns >= of_one.run_max_ns);
    CHECK(of_one.live_bytes > 0);
    CHECK_OK(inferno_model_get_metrics(model, &of_model));
    CHECK(of_model.runs == 150 && of_model.sessions == 2 && of_model.models == 1);
    CHECK(of_model.loads == 1 && of_model.version == 1 && of_model.load_ns > 0);
    CHECK(of_model.programs_compiled == 1 && of_model.programs_reused == 1);
    CHECK(of_model.live_bytes >= of_one.live_bytes);
    inferno_model_info info = {.struct_size = sizeof info};
    CHECK_OK(inferno_model_get_info(model, &info));
    CHECK(memcmp(info.hash, of_model.hash, sizeof info.hash) == 0);
    CHECK_OK(inferno_metrics_model(0, &listed));
    CHECK(strcmp(listed.name, "adder") == 0 && listed.runs == 150);
    CHECK_ERROR(inferno_metrics_model(1, &listed), INFERNO_STATUS_NOT_FOUND, "1 name");
    /* A session that ends leaves its counts to its model, a model to the library. */
    CHECK_OK(inferno_session_free(one));
    CHECK_OK(inferno_model_get_metrics(model, &of_model));
    CHECK(of_model.runs == 150 && of_model.sessions == 1);
    CHECK_OK(inferno_session_free(two));
    CHECK_OK(inferno_model_free(model));
    inferno_metrics all = snapshot();
    CHECK(all.runs == 150 && all.models == 0 && all.sessions == 0 && all.loads == 1);
    CHECK(all.programs_compiled == 1 && all.uptime_ns > 0);
    CHECK_OK(inferno_shutdown());
    CHECK(snapshot().runs == 0);
}

static void failures(void) {
    inferno_model *none = NULL;
    inferno_session *fresh = open_model(model_mlp());
    inferno_metrics before = snapshot();
    for (int i = 0; i < 3; i++) {
        CHECK_STATUS(inferno_session_run(fresh, NULL), INFERNO_STATUS_NOT_READY);
    }
    pb bad = model_cycle();
    CHECK_STATUS(inferno_model_load_memory(bad.data, bad.size, NULL, &none),
                 INFERNO_STATUS_INVALID_MODEL);
    pb_free(&bad);
    inferno_metrics after = snapshot();
    CHECK(after.failures == before.failures + 3);
    CHECK(after.failures_by_status[INFERNO_STATUS_NOT_READY] ==
          before.failures_by_status[INFERNO_STATUS_NOT_READY] + 3);
    CHECK(after.runs == before.runs);
    CHECK(after.load_failures == before.load_failures + 1);
    CHECK(after.events_recorded == before.events_recorded + 4);
    CHECK_OK(inferno_session_free(fresh));
}

static void counting_can_stop(void) {
    inferno_session *session = open_model(model_add());
    uint64_t before = snapshot().runs;
    CHECK_OK(inferno_metrics_set_counting(0));
    run_times(session, 10);
    CHECK(snapshot().runs == before);
    CHECK_OK(inferno_metrics_set_counting(1));
    run_times(session, 10);
    CHECK(snapshot().runs == before + 10);
    CHECK_ERROR(inferno_metrics_set_counting(2), INFERNO_STATUS_INVALID_ARGUMENT, "0 or 1");
    CHECK_OK(inferno_session_free(session));
}

static void texts(void) {
    inferno_model *model = load_as("a \"quoted\"\\name\n", NULL, model_add());
    inferno_session *session = open_session(model, NULL);
    run_times(session, 7);
    char *open_metrics = text_of(inferno_metrics_copy_openmetrics);
    CHECK(strstr(open_metrics, "inferno_run_duration_seconds_count{model=\"a \\\"quoted\\\"\\\\name\\n\"} 7\n"));
    CHECK(strcmp(open_metrics + strlen(open_metrics) - 6, "# EOF\n") == 0);
    char *prometheus = text_of(inferno_metrics_copy_prometheus);
    CHECK(strstr(prometheus, "# TYPE inferno_runs_total counter\n"));
    CHECK(strstr(prometheus, "# EOF") == NULL);
    free(open_metrics);
    free(prometheus);
    size_t needed = 0;
    char small[16] = "untouched";
    CHECK_ERROR(inferno_metrics_copy_openmetrics(small, sizeof small, &needed),
                INFERNO_STATUS_SIZE_MISMATCH, "16 bytes");
    CHECK(strcmp(small, "untouched") == 0 && needed > sizeof small);
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
}

/* ---- Subscriptions ------------------------------------------------------------------------ */

typedef struct told {
    atomic_int reports, raised, cleared, events, odd;
    atomic_ulong lately;
    pthread_t thread;
} told;

static void report(void *user_data, const inferno_metrics *now, const inferno_metrics *lately) {
    told *to = user_data;
    inferno_metrics inside = {.struct_size = sizeof inside};
    uint64_t id = 0;
    to->thread = pthread_self();
    atomic_fetch_add(&to->lately, (unsigned long)lately->runs);
    if (inferno_metrics_snapshot(&inside) != INFERNO_STATUS_OK || inside.runs < now->runs ||
        lately->runs > now->runs || now->struct_size != sizeof inside ||
        inferno_metrics_subscribe(report, NULL, &id) != INFERNO_STATUS_BUSY ||
        inferno_metrics_unsubscribe(1) != INFERNO_STATUS_BUSY ||
        inferno_metrics_poll(NULL) != INFERNO_STATUS_BUSY ||
        inferno_init(NULL) != INFERNO_STATUS_BUSY || inferno_shutdown() != INFERNO_STATUS_BUSY) {
        atomic_fetch_add(&to->odd, 1);
    }
    atomic_fetch_add(&to->reports, 1);
}

static void crossing(void *user_data, int32_t metric, int32_t is_raised, double value) {
    told *to = user_data;
    if (metric != INFERNO_METRIC_RATE || value < 0) {
        atomic_fetch_add(&to->odd, 1);
    }
    atomic_fetch_add(is_raised ? &to->raised : &to->cleared, 1);
}

static void event(void *user_data, const inferno_event *happened) {
    told *to = user_data;
    if (happened->struct_size != sizeof *happened || happened->at_unix_ns == 0 ||
        happened->model == NULL || happened->detail == NULL) {
        atomic_fetch_add(&to->odd, 1);
    }
    atomic_fetch_add(&to->events, 1);
}

static inferno_subscription_options every(uint64_t milliseconds, told *to, int32_t driver) {
    inferno_subscription_options options;
    REQUIRE_OK(inferno_subscription_options_init(&options, sizeof options));
    CHECK(options.interval_ns == 1000000000 && options.driver == INFERNO_METRICS_DRIVER_THREAD);
    options.interval_ns = milliseconds * 1000000;
    options.user_data = to;
    options.driver = driver;
    return options;
}

static void by_a_thread(void) {
    CHECK_OK(inferno_shutdown());
    told to = {0};
    inferno_subscription_options options = every(2, &to, INFERNO_METRICS_DRIVER_THREAD);
    inferno_session *session = open_model(model_add());
    int before = threads_here();
    uint64_t reports = 0, rate = 0, events = 0, other = 0;
    REQUIRE_OK(inferno_metrics_subscribe(report, &options, &reports));
    REQUIRE_OK(inferno_metrics_watch(INFERNO_METRIC_RATE, NULL, 10, 1, crossing, &options, &rate));
    REQUIRE_OK(inferno_audit_subscribe(event, &options, &events));
    CHECK(threads_are(before + 1));
    CHECK(reports != rate && rate != events);
    inferno_subscription_options host = every(2, &to, INFERNO_METRICS_DRIVER_HOST);
    CHECK_ERROR(inferno_metrics_subscribe(report, &host, &other), INFERNO_STATUS_INVALID_ARGUMENT,
                "driven by a thread");
    for (int i = 0; i < 5000 && (atomic_load(&to.raised) < 1 || atomic_load(&to.reports) < 3); i++) {
        run_times(session, 10);
        nap(1);
    }
    for (int i = 0; i < 5000 && atomic_load(&to.cleared) < 1; i++) {
        nap(1);
    }
    CHECK(atomic_load(&to.raised) >= 1 && atomic_load(&to.cleared) >= 1);
    CHECK(atomic_load(&to.reports) >= 3);
    CHECK(!pthread_equal(to.thread, pthread_self()));
    CHECK_OK(inferno_session_free(session)); /* and the model with it */
    for (int i = 0; i < 5000 && atomic_load(&to.events) < 3; i++) {
        nap(1);
    }
    CHECK(atomic_load(&to.events) >= 3); /* raised, cleared, unloaded */
    CHECK_OK(inferno_metrics_unsubscribe(reports));
    CHECK(atomic_load(&to.lately) == snapshot().runs || atomic_load(&to.lately) > 0);
    int so_far = atomic_load(&to.reports);
    nap(20);
    CHECK(atomic_load(&to.reports) == so_far);
    CHECK_ERROR(inferno_metrics_unsubscribe(reports), INFERNO_STATUS_NOT_FOUND, "number");
    CHECK_OK(inferno_metrics_unsubscribe(rate));
    CHECK(threads_are(before + 1));
    CHECK_OK(inferno_metrics_unsubscribe(events));
    CHECK(threads_are(before));
    CHECK(atomic_load(&to.odd) == 0);
    /* A shutdown ends what is left. */
    REQUIRE_OK(inferno_metrics_subscribe(report, &options, &reports));
    CHECK(threads_are(before + 1));
    CHECK_OK(inferno_shutdown());
    CHECK(threads_are(before));
    CHECK_STATUS(inferno_metrics_unsubscribe(reports), INFERNO_STATUS_NOT_FOUND);
}

static void by_the_host(void) {
    told to = {0};
    inferno_subscription_options options = every(1, &to, INFERNO_METRICS_DRIVER_HOST);
    int before = threads_here();
    uint64_t reports = 0, events = 0, next = 0;
    REQUIRE_OK(inferno_metrics_subscribe(report, &options, &reports));
    REQUIRE_OK(inferno_audit_subscribe(event, &options, &events));
    CHECK(threads_are(before));
    inferno_session *session = open_model(model_add());
    run_times(session, 25);
    nap(2);
    CHECK(atomic_load(&to.reports) == 0 && atomic_load(&to.events) == 0);
    CHECK_OK(inferno_metrics_poll(&next));
    CHECK(atomic_load(&to.reports) == 1 && atomic_load(&to.events) == 1);
    CHECK(atomic_load(&to.lately) == 25 && pthread_equal(to.thread, pthread_self()));
    CHECK(next <= 1000000);
    CHECK_OK(inferno_metrics_poll(NULL));
    CHECK_OK(inferno_metrics_unsubscribe(reports));
    CHECK_OK(inferno_metrics_unsubscribe(events));
    CHECK_OK(inferno_metrics_poll(&next));
    CHECK(next == UINT64_MAX);
    CHECK(atomic_load(&to.odd) == 0);
    CHECK_OK(inferno_session_free(session));
}

static void to_a_file(void) {
    char folder[1024], path[1100], line[512];
    snprintf(folder, sizeof folder, "%s", scratch("exported"));
    REQUIRE(make_folder(folder) == 0);
    snprintf(path, sizeof path, "%s/inferno.prom", folder);
    inferno_subscription_options options = every(2, NULL, INFERNO_METRICS_DRIVER_HOST);
    uint64_t id = 0;
    REQUIRE_OK(inferno_metrics_export(path, INFERNO_METRICS_FORMAT_PROMETHEUS, &options, &id));
    CHECK(access(path, R_OK) == 0);
    inferno_session *session = open_model(model_add());
    uint64_t before = snapshot().runs;
    run_times(session, 11);
    nap(4);
    CHECK_OK(inferno_metrics_poll(NULL));
    FILE *file = fopen(path, "r");
    REQUIRE(file != NULL);
    unsigned long long runs = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        (void)sscanf(line, "inferno_runs_total %llu", &runs);
    }
    fclose(file);
    CHECK(runs == before + 11);
    CHECK_OK(inferno_metrics_unsubscribe(id));
    CHECK_ERROR(inferno_metrics_export("/nowhere/at/all", 1, &options, &id), INFERNO_STATUS_IO,
                "/nowhere/at/all");
    CHECK_OK(inferno_session_free(session));
    unlink(path);
    CHECK(rmdir(folder) == 0); /* nothing else is left */
}

/* ---- Profile, trace, audit ---------------------------------------------------------------- */

static inferno_session *profiled;
static inferno_status profile_table(char *buffer, size_t size, size_t *needed) {
    return inferno_profile_copy_table(profiled, buffer, size, needed);
}
static inferno_status profile_json(char *buffer, size_t size, size_t *needed) {
    return inferno_profile_copy_json(profiled, buffer, size, needed);
}

static void profiles(void) {
    inferno_session_options options = session_defaults();
    inferno_symbol_value batch = {"batch", 2};
    options.symbols = &batch;
    options.symbol_count = 1;
    inferno_model *model = load(model_mlp());
    profiled = open_session(model, &options);
    run_times(profiled, 5);
    char *text = text_of(profile_json);
    CHECK(strstr(text, "\"runs\":0,") != NULL);
    free(text);
    CHECK_OK(inferno_profile_set_enabled(profiled, 1));
    run_times(profiled, 20);
    CHECK_OK(inferno_profile_set_enabled(profiled, 0));
    run_times(profiled, 5);
    text = text_of(profile_json);
    CHECK(strstr(text, "{\"runs\":20,") == text);
    CHECK(strstr(text, "\"count\":20,") != NULL && strstr(text, "product") != NULL);
    free(text);
    text = text_of(profile_table);
    CHECK(strstr(text, "20 runs") == text && strstr(text, "product") != NULL);
    free(text);
    CHECK_OK(inferno_profile_reset(profiled));
    text = text_of(profile_table);
    CHECK(strstr(text, "0 runs") == text);
    free(text);
    inferno_metrics metrics = {.struct_size = sizeof metrics};
    CHECK_OK(inferno_session_get_metrics(profiled, &metrics));
    CHECK(metrics.runs == 30);
    CHECK_OK(inferno_session_free(profiled));
    CHECK_OK(inferno_model_free(model));
}

static size_t occurrences(const char *text, const char *part) {
    size_t count = 0;
    for (; (text = strstr(text, part)) != NULL; text += strlen(part)) {
        count++;
    }
    return count;
}

static void traces(void) {
    CHECK_OK(inferno_trace_start(1 << 16));
    inferno_session *session = open_model(model_add());
    run_times(session, 12);
    CHECK_OK(inferno_trace_stop());
    run_times(session, 5);
    char *text = text_of(inferno_trace_copy_json);
    CHECK(occurrences(text, "\"cat\":\"run\"") == 12);
    CHECK(occurrences(text, "\"cat\":\"step\"") == 12);
    CHECK(occurrences(text, "\"cat\":\"load\"") == 1);
    CHECK(occurrences(text, "\"cat\":\"compile\"") == 1);
    CHECK(strstr(text, "\"overwritten\":0") != NULL);
    free(text);
    /* Bounded: what does not fit pushes the oldest out. */
    CHECK_OK(inferno_trace_start(4096));
    run_times(session, 1000);
    CHECK_OK(inferno_trace_stop());
    text = text_of(inferno_trace_copy_json);
    CHECK(occurrences(text, "\"ph\":\"X\"") <= 4096 / 32);
    CHECK(strstr(text, "\"overwritten\":0") == NULL);
    free(text);
    CHECK_ERROR(inferno_trace_start(8), INFERNO_STATUS_INVALID_ARGUMENT, "at least");
    CHECK_OK(inferno_session_free(session));
}

static void audits(void) {
    CHECK_OK(inferno_shutdown());
    inferno_model *model = load_as("guard.onnx", "security team \"A\"", model_add());
    inferno_model *other = load_as("guard.onnx", "security team \"A\"", model_accumulator());
    inferno_model *none = NULL;
    pb bad = model_cycle();
    CHECK_STATUS(inferno_model_load_memory(bad.data, bad.size, NULL, &none),
                 INFERNO_STATUS_INVALID_MODEL);
    pb_free(&bad);
    CHECK_STATUS(inferno_model_load("/no/such/file", NULL, &none), INFERNO_STATUS_NOT_FOUND);
    CHECK_OK(inferno_model_free(model));
    CHECK_OK(inferno_model_free(other));
    char *log = text_of(inferno_audit_copy_log);
    uint64_t records = 0;
    CHECK_OK(inferno_audit_verify(log, strlen(log), &records));
    CHECK(records == 6);
    const char *at = log;
    const char *const kinds[] = {"loaded", "swapped", "refused", "load_failed", "unloaded", "unloaded"};
    for (size_t i = 0; i < 6 && at != NULL; i++) {
        char event_is[64];
        snprintf(event_is, sizeof event_is, "\"event\":\"%s\"", kinds[i]);
        at = strstr(at, event_is);
        CHECK(at != NULL);
        at = at == NULL ? NULL : at + 1;
    }
    CHECK(strstr(log, "\"tag\":\"security team \\\"A\\\"\"") != NULL);
    CHECK(strstr(log, "\"source\":\"file /no/such/file\"") != NULL);
    CHECK(strstr(log, "\"limits\":\"") != NULL);
    /* A byte that is changed is found. */
    char *guard = strstr(log, "guard.onnx");
    REQUIRE(guard != NULL);
    guard[0] = 'G';
    CHECK_ERROR(inferno_audit_verify(log, strlen(log), &records), INFERNO_STATUS_INVALID_ARGUMENT,
                "line 2");
    CHECK(records == 6);
    free(log);
    /* Bounded: the oldest go, and what is left is a log still. */
    CHECK_OK(inferno_audit_set_capacity(1024));
    log = text_of(inferno_audit_copy_log);
    CHECK(strlen(log) < 2048);
    CHECK_OK(inferno_audit_verify(log, strlen(log), &records));
    CHECK(records > 0 && records < 6);
    free(log);
    CHECK_OK(inferno_audit_set_capacity(0));
    log = text_of(inferno_audit_copy_log);
    CHECK_OK(inferno_audit_verify(log, strlen(log), &records));
    CHECK(records == 0);
    free(log);
    CHECK_OK(inferno_shutdown());
}

/* With nobody receiving, recording goes on, and nothing is lost from the accounts. */
static void nobody_receives(void) {
    CHECK_OK(inferno_shutdown());
    inferno_session *fresh = open_model(model_mlp());
    for (int i = 0; i < 5000; i++) {
        CHECK(inferno_session_run(fresh, NULL) == INFERNO_STATUS_NOT_READY);
    }
    inferno_metrics before = snapshot();
    CHECK(before.failures == 5000 && before.events_recorded == 5001);
    CHECK(before.events_dropped > 0 && before.events_counted == 0);
    free(text_of(inferno_audit_copy_log));
    inferno_metrics after = snapshot();
    CHECK(after.events_counted + after.events_dropped == after.events_recorded);
    char *log = text_of(inferno_audit_copy_log);
    CHECK(strstr(log, "\"event\":\"lost\"") != NULL);
    free(log);
    CHECK_OK(inferno_session_free(fresh));
}

/* ---- All of it ends ----------------------------------------------------------------------- */

static void one_life(void) {
    told to = {0};
    inferno_subscription_options options = every(1, &to, INFERNO_METRICS_DRIVER_THREAD);
    uint64_t id = 0;
    REQUIRE_OK(inferno_init(NULL));
    REQUIRE_OK(inferno_metrics_subscribe(report, &options, &id));
    REQUIRE_OK(inferno_trace_start(8192));
    inferno_session *session = open_model(model_add());
    CHECK_OK(inferno_profile_set_enabled(session, 1));
    run_times(session, 3);
    REQUIRE_OK(inferno_shutdown());
    CHECK(atomic_load(&to.odd) == 0);
}

static void a_thousand_lives(void) {
    for (int i = 0; i < 20; i++) {
        one_life();
    }
    inferno_memory_stats before = {.struct_size = sizeof before}, after = before;
    CHECK_OK(inferno_memory_get_stats(&before));
    int open_files = handles_here();
    int alive = threads_here();
    for (int i = 0; i < check_times(1000); i++) {
        one_life();
    }
    CHECK_OK(inferno_memory_get_stats(&after));
    if (!CHECK(after.live_bytes == before.live_bytes)) {
        printf("live: %lld bytes more\n", (long long)(after.live_bytes - before.live_bytes));
    }
    CHECK(handles_here() == open_files);
    CHECK(threads_are(alive));
}

int main(void) {
    RUN(counts);
    RUN(failures);
    RUN(counting_can_stop);
    RUN(texts);
    RUN(by_a_thread);
    RUN(by_the_host);
    RUN(to_a_file);
    RUN(profiles);
    RUN(traces);
    RUN(audits);
    RUN(nobody_receives);
    RUN(a_thousand_lives);
    return check_summary();
}
