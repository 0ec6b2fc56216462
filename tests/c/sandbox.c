/*
 * The sandbox of inferno-check: what a process in it can no longer do. Each attempt has a process
 * of its own.
 *
 * System: Linux
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#define _GNU_SOURCE 1

#include "../../src/check/sandbox.h"

#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <sys/wait.h>

/* Memory that a process in it may ask for. */
#define ROOM ((uint64_t)64 << 20)

/* Ends the process with 0 when the call succeeded, with its errno when not. */
static void answer(long result) { _exit(result >= 0 ? 0 : errno); }

/* How a process ends that locks itself in and then does this: its code, or 1000 + its signal. */
static int ending(void (*attempt)(void)) {
    fflush(stdout);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        if (sandbox_begin() != 0 || sandbox_enter(ROOM, 1) != NULL) {
            _exit(99);
        }
        attempt();
        _exit(0);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

#define KILLED (1000 + SIGSYS)

static void do_nothing(void) {}
static void do_open(void) { answer(open("/etc/passwd", O_RDONLY)); }
static void do_create(void) { answer(open("/tmp/inferno-sandbox", O_RDWR | O_CREAT, 0600)); }
static void do_stat(void) {
    struct stat about;
    answer(stat("/etc/passwd", &about));
}
static void do_readlink(void) {
    char text[64];
    answer(readlink("/proc/self/exe", text, sizeof text));
}
static void do_socket(void) { answer(socket(AF_INET, SOCK_STREAM, 0)); }
static void do_socketpair(void) {
    int pair[2];
    answer(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
}
static void do_exec(void) {
    char *const arguments[] = {"true", NULL};
    answer(execv("/bin/true", arguments));
}
static void do_fork(void) { answer(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)); }
static void do_clone3(void) { answer(syscall(SYS_clone3, NULL, 0)); }
static void do_kill(void) { answer(kill(getppid(), 0)); }
static void do_kill_itself(void) { answer(kill(getpid(), 0)); }
static void do_tgkill(void) { answer(syscall(SYS_tgkill, 1, 1, 0)); }
static void do_abort(void) { abort(); }
static void do_ptrace(void) { answer(ptrace(PTRACE_TRACEME, 0, NULL, NULL)); }
static void do_dup(void) { answer(dup(0)); }
static void do_limit(void) {
    struct rlimit more = {RLIM_INFINITY, RLIM_INFINITY};
    answer(setrlimit(RLIMIT_CPU, &more));
}
static void do_read_limit(void) {
    struct rlimit now;
    answer(getrlimit(RLIMIT_CPU, &now));
}
static void do_dumpable(void) { answer(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)); }
static void do_name(void) { answer(prctl(PR_SET_NAME, "name", 0, 0, 0)); }
static void do_executable(void) {
    void *page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    answer(page == MAP_FAILED ? -1 : 0);
}
static void do_make_executable(void) {
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    answer(page == MAP_FAILED ? -1 : mprotect(page, 4096, PROT_READ | PROT_EXEC));
}
static void do_memory(void) {
    void *block = malloc(ROOM);
    _exit(block == NULL ? ENOMEM : 0);
}
static void do_too_much_memory(void) {
    void *block = malloc(ROOM + SANDBOX_SLACK + ((size_t)64 << 20));
    _exit(block == NULL ? ENOMEM : 0);
}
static void *nothing(void *argument) { return argument; }
static void do_thread(void) {
    pthread_t thread;
    int code = pthread_create(&thread, NULL, nothing, NULL);
    _exit(code != 0 ? code : pthread_join(thread, NULL));
}
static void do_spin(void) {
    for (volatile unsigned i = 0;; i++) {
    }
}
static void do_newer_call(void) { answer(syscall(100000, 0)); }
#ifdef __x86_64__
static void do_x32_call(void) { answer(syscall(0x40000000 + 1, 1, "", 0)); }
#endif
static void do_io_uring(void) { answer(syscall(425, 1, NULL)); }
static void do_bpf(void) { answer(syscall(SYS_bpf, 0, NULL, 0)); }
static void do_other_memory(void) { answer(syscall(SYS_process_vm_readv, getppid(), 0, 0, 0, 0, 0)); }
static void do_written_descriptor(void) { answer(write(3, "", 0)); }

typedef struct attempt {
    const char *name;
    void (*attempt)(void);
    int ends;
} attempt;

static const attempt ATTEMPTS[] = {
    {"nothing", do_nothing, 0},
    {"open", do_open, EACCES},
    {"create", do_create, EACCES},
    {"stat", do_stat, EACCES},
    {"readlink", do_readlink, EACCES},
    {"socket", do_socket, KILLED},
    {"socketpair", do_socketpair, KILLED},
    {"exec", do_exec, KILLED},
    {"fork", do_fork, KILLED},
    {"clone3", do_clone3, ENOSYS},
    {"kill", do_kill, KILLED},
    {"kill itself", do_kill_itself, KILLED},
    {"tgkill", do_tgkill, KILLED},
    {"abort", do_abort, 1000 + SIGABRT},
    {"ptrace", do_ptrace, KILLED},
    {"dup", do_dup, KILLED},
    {"raise a limit", do_limit, EPERM},
    {"read a limit", do_read_limit, 0},
    {"dumpable", do_dumpable, EPERM},
    {"name a thread", do_name, 0},
    {"executable memory", do_executable, KILLED},
    {"memory made executable", do_make_executable, KILLED},
    {"memory", do_memory, 0},
    {"too much memory", do_too_much_memory, ENOMEM},
    {"a thread", do_thread, 0},
    {"all the time there is", do_spin, 1000 + SIGXCPU},
    {"a call of tomorrow", do_newer_call, ENOSYS},
    {"io_uring", do_io_uring, KILLED},
    {"bpf", do_bpf, KILLED},
    {"others' memory", do_other_memory, KILLED},
    {"another descriptor", do_written_descriptor, EBADF},
#ifdef __x86_64__
    {"a call of the x32 ABI", do_x32_call, KILLED},
#endif
};

static void attempts(void) {
    /* One that the process inherits and must close. */
    int inherited = open("/dev/null", O_RDWR);
    CHECK(inherited >= 3);
    for (size_t i = 0; i < sizeof ATTEMPTS / sizeof *ATTEMPTS; i++) {
        int ends = ending(ATTEMPTS[i].attempt);
        if (!CHECK(ends == ATTEMPTS[i].ends)) {
            printf("    %s: ended with %d, expected %d\n", ATTEMPTS[i].name, ends,
                   ATTEMPTS[i].ends);
        }
    }
    close(inherited);
}

int main(void) {
    if (getenv("CHECK_SLOW") != NULL) {
        /* A checker's own calls are not on the list. */
        CHECK(1);
        return check_summary();
    }
    RUN(attempts);
    return check_summary();
}
