/*
 * A process of Windows: a program with a window has nowhere to print, threads of any making run models, and
 * the library's own have names that a debugger shows.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "check.h"
#include "fixtures.h"
#include "scratch.h"

/* What makes the library's threads, and some of its errors. */
static void act(void) {
    inferno_model *none = NULL;
    pb unsupported = model_unsupported_ops();
    CHECK_ERROR(inferno_model_load_memory(unsupported.data, unsupported.size, NULL, &none),
                INFERNO_STATUS_UNSUPPORTED, "MaxRoiPool");
    CHECK_ERROR(inferno_model_load_memory("no model", 8, NULL, &none), INFERNO_STATUS_INVALID_MODEL, "");
    pb_free(&unsupported);
    inferno_session *session = open_model(model_heavy_small());
    CHECK_ERROR(inferno_session_run(NULL, NULL), INFERNO_STATUS_INVALID_HANDLE, "session");
    CHECK_OK(inferno_session_run(session, NULL));
    CHECK_OK(inferno_session_free(session));
}

/* A program with a window has no standard handles at all; with them, nothing comes out of them. */
static void nothing_is_printed(void) {
    static const DWORD streams[2] = {STD_OUTPUT_HANDLE, STD_ERROR_HANDLE};
    HANDLE kept[2] = {GetStdHandle(streams[0]), GetStdHandle(streams[1])};
    HANDLE file = CreateFileA(scratch("said"), GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    REQUIRE(file != INVALID_HANDLE_VALUE);
    const HANDLE others[] = {file, NULL, INVALID_HANDLE_VALUE};
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        for (int stream = 0; stream < 2; stream++) {
            SetStdHandle(streams[stream], others[i]);
        }
        act();
        for (int stream = 0; stream < 2; stream++) {
            SetStdHandle(streams[stream], kept[stream]);
        }
    }
    CHECK(GetFileSize(file, NULL) == 0);
    CloseHandle(file);
}

static inferno_model *shared_model;

/* A thread that the C library knows nothing of, with a small stack, as a game engine makes its own. */
static DWORD WINAPI run_plainly(void *number) {
    float x[4] = {1, 2, 3, (float)(uintptr_t)number};
    inferno_session *session = NULL;
    inferno_tensor input = f32_tensor("1,4", x), output;
    if (!CHECK_OK(inferno_session_new(shared_model, NULL, &session))) {
        return 1;
    }
    for (int run = 0; run < 100; run++) {
        CHECK_OK(inferno_session_set_input(session, 0, &input));
        CHECK_OK(inferno_session_run(session, NULL));
        CHECK_OK(inferno_session_output(session, 0, &output));
    }
    CHECK_ERROR(inferno_session_output(session, 7, &output), INFERNO_STATUS_NOT_FOUND, "7");
    CHECK_OK(inferno_session_free(session));
    return 7;
}

static DWORD WINAPI end_at_once(void *event) {
    inferno_model *model = NULL;
    (void)inferno_model_load_default(&model);
    SetEvent((HANDLE)event);
    Sleep(INFINITE);
    return 0;
}

static void any_thread_will_do(void) {
    HANDLE threads[8];
    shared_model = load(model_mlp());
    for (uintptr_t i = 0; i < COUNT_OF(threads); i++) {
        threads[i] = CreateThread(NULL, 64 << 10, run_plainly, (void *)i,
                                  STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
        REQUIRE(threads[i] != NULL);
    }
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        DWORD code = 0;
        CHECK(WaitForSingleObject(threads[i], 60000) == WAIT_OBJECT_0);
        CHECK(GetExitCodeThread(threads[i], &code) && code == 7);
        CloseHandle(threads[i]);
    }
    CHECK_OK(inferno_model_free(shared_model));
}

/* One that is ended from outside, outside of calls: what it held is there, and nothing waits for it. */
static void a_thread_may_be_terminated(void) {
    HANDLE event = CreateEventA(NULL, TRUE, FALSE, NULL);
    HANDLE thread = CreateThread(NULL, 0, end_at_once, event, 0, NULL);
    REQUIRE(event != NULL && thread != NULL);
    CHECK(WaitForSingleObject(event, 60000) == WAIT_OBJECT_0);
    Sleep(20);
    CHECK(TerminateThread(thread, 1) && WaitForSingleObject(thread, 60000) == WAIT_OBJECT_0);
    CloseHandle(thread);
    CloseHandle(event);
    act();
}

typedef HRESULT(WINAPI *get_description)(HANDLE, PWSTR *);
static get_description describe;

/* How the names begin of the threads that are counted. */
static const wchar_t *begins;

static int is_named(DWORD id) {
    HANDLE thread = OpenThread(THREAD_QUERY_LIMITED_INFORMATION, FALSE, id);
    PWSTR name = NULL;
    int held = 0;
    if (thread != NULL && SUCCEEDED(describe(thread, &name)) && name != NULL) {
        held = wcsncmp(name, begins, wcslen(begins)) == 0;
        LocalFree(name);
    }
    CloseHandle(thread);
    return held;
}

static int threads_named(const wchar_t *name) {
    begins = name;
    return threads_that(is_named);
}

static void threads_have_names(void) {
    FARPROC found = GetProcAddress(GetModuleHandleA("kernel32.dll"), "GetThreadDescription");
    if (found == NULL) {
        SKIP(threads_have_names, "this Windows has no names of threads");
        return;
    }
    describe = (get_description)(void (*)(void))found;
    inferno_session_options options = session_defaults();
    inferno_queue_options of_queue;
    inferno_queue *queue = NULL;
    REQUIRE_OK(inferno_queue_options_init(&of_queue, sizeof of_queue));
    of_queue.workers = 2;
    options.threads = 3;
    inferno_model *model = load(model_heavy(256, 3));
    inferno_session *session = open_session(model, &options);
    CHECK_OK(inferno_session_run(session, NULL));
    REQUIRE_OK(inferno_queue_new(model, &of_queue, &queue));
    CHECK(threads_named(L"inferno-crew") == 2);
    CHECK(threads_named(L"inferno-queue") == 2);
    CHECK_OK(inferno_queue_free(queue));
    CHECK_OK(inferno_session_free(session));
    CHECK_OK(inferno_model_free(model));
}

int main(void) {
    RUN(nothing_is_printed);
    RUN(any_thread_will_do);
    RUN(threads_have_names);
    RUN(a_thread_may_be_terminated);
    CHECK_OK(inferno_shutdown());
    return check_summary();
}
