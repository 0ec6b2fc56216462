/*
 * Runs children under limits, several at a time, and tells how each ended.
 *
 *   driver JOBS WALL_MS CPU_S ADDRESS_MIB CHILD
 *
 * Each line of standard input is `ID ARGUMENT ARGUMENT...`, between tabs: one run of CHILD with
 * these arguments, in a process group of its own. When it ends, standard output gets
 *
 *   ID exit|signal|late CODE WALL_MS OUT_BYTES ERR_BYTES
 *
 * between tabs, a newline, and what it wrote to its standard output and error. A child past its
 * wall limit is killed with its group and told as `late`. Ends when standard input does.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_JOBS = 64, MAX_ARGUMENTS = 16, LINE_BYTES = 8192, TOLD_BYTES = 1 << 16 };

typedef struct job {
    pid_t pid; /* 0: free */
    char id[64];
    long long started, deadline; /* ms */
    int late;
    int out, err;
} job;

static job jobs[MAX_JOBS];
static int job_count;
static long long wall_ms, cpu_s, address_mib;
static char *child;

static char line_buffer[LINE_BYTES];
static size_t line_filled;
static int input_ended;

static void die(const char *what) {
    fprintf(stderr, "driver: %s: %s\n", what, strerror(errno));
    exit(2);
}

static long long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void limit(int what, rlim_t soft, rlim_t hard) {
    struct rlimit r = {soft, hard};
    setrlimit(what, &r);
}

/* In the fork: becomes the child. */
static void become_child(const job *j, char **arguments, pid_t driver) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != driver) {
        _exit(125);
    }
    int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, 0) < 0 || dup2(j->out, 1) < 0 || dup2(j->err, 2) < 0) {
        _exit(126);
    }
    limit(RLIMIT_CORE, 0, 0);
    limit(RLIMIT_CPU, (rlim_t)cpu_s, (rlim_t)cpu_s + 1);
    limit(RLIMIT_FSIZE, 8 << 20, 8 << 20);
    limit(RLIMIT_AS, (rlim_t)address_mib << 20, (rlim_t)address_mib << 20);
    execv(child, arguments);
    _exit(127);
}

static void start(char *line) {
    job *j = jobs;
    while (j->pid != 0) {
        j++;
    }
    char *arguments[MAX_ARGUMENTS + 2] = {child};
    char *rest = line, *part = strsep(&rest, "\t");
    snprintf(j->id, sizeof j->id, "%s", part);
    for (int n = 1; n <= MAX_ARGUMENTS && (part = strsep(&rest, "\t")) != NULL; n++) {
        arguments[n] = part;
    }
    j->out = memfd_create("out", MFD_CLOEXEC);
    j->err = memfd_create("err", MFD_CLOEXEC);
    if (j->out < 0 || j->err < 0) {
        die("memfd_create");
    }
    j->late = 0;
    j->started = now_ms();
    j->deadline = j->started + wall_ms;
    pid_t driver = getpid(), pid = fork();
    if (pid < 0) {
        die("fork");
    }
    if (pid == 0) {
        become_child(j, arguments, driver);
    }
    setpgid(pid, pid);
    j->pid = pid;
    job_count++;
}

/* The end of what a child wrote; `*size` is at most TOLD_BYTES. */
static void read_end(int fd, char *buffer, size_t *size) {
    off_t end = lseek(fd, 0, SEEK_END), from = end > TOLD_BYTES ? end - TOLD_BYTES : 0;
    ssize_t got = pread(fd, buffer, TOLD_BYTES, from);
    *size = got < 0 ? 0 : (size_t)got;
    close(fd);
}

static void tell(job *j, int status) {
    static char out[TOLD_BYTES], err[TOLD_BYTES];
    size_t out_size, err_size;
    kill(-j->pid, SIGKILL); /* what it may have left behind */
    read_end(j->out, out, &out_size);
    read_end(j->err, err, &err_size);
    int by_signal = WIFSIGNALED(status);
    const char *how = j->late ? "late" : by_signal ? "signal" : "exit";
    printf("%s\t%s\t%d\t%lld\t%zu\t%zu\n", j->id, how,
           by_signal ? WTERMSIG(status) : WEXITSTATUS(status), now_ms() - j->started, out_size,
           err_size);
    fwrite(out, 1, out_size, stdout);
    fwrite(err, 1, err_size, stdout);
    fflush(stdout);
    j->pid = 0;
    job_count--;
}

/* Tells of the children that have ended, and kills those whose time is up. */
static void reap(void) {
    for (job *j = jobs; j < jobs + MAX_JOBS; j++) {
        if (j->pid == 0) {
            continue;
        }
        int status;
        if (waitpid(j->pid, &status, WNOHANG) == j->pid) {
            tell(j, status);
        } else if (!j->late && now_ms() >= j->deadline) {
            j->late = 1;
            kill(-j->pid, SIGKILL);
        }
    }
}

/* Milliseconds to the first deadline; -1 when there is none. */
static int patience(void) {
    long long first = -1, now = now_ms();
    for (job *j = jobs; j < jobs + MAX_JOBS; j++) {
        if (j->pid != 0 && !j->late && (first < 0 || j->deadline < first)) {
            first = j->deadline;
        }
    }
    return first < 0 ? -1 : first <= now ? 0 : (int)(first - now);
}

/* Takes a whole line out of the buffer into `line`; 0 when there is none. */
static int take_line(char *line) {
    char *end = memchr(line_buffer, '\n', line_filled);
    if (end == NULL) {
        return 0;
    }
    size_t size = (size_t)(end - line_buffer);
    memcpy(line, line_buffer, size);
    line[size] = '\0';
    line_filled -= size + 1;
    memmove(line_buffer, end + 1, line_filled);
    return 1;
}

static void read_input(void) {
    ssize_t got = read(0, line_buffer + line_filled, sizeof line_buffer - line_filled);
    if (got < 0 && errno != EINTR) {
        die("read");
    }
    if (got == 0) {
        input_ended = 1;
    }
    line_filled += got > 0 ? (size_t)got : 0;
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "driver JOBS WALL_MS CPU_S ADDRESS_MIB CHILD\n");
        return 2;
    }
    int most = atoi(argv[1]);
    most = most < 1 ? 1 : most > MAX_JOBS ? MAX_JOBS : most;
    wall_ms = atoll(argv[2]);
    cpu_s = atoll(argv[3]);
    address_mib = atoll(argv[4]);
    child = argv[5];

    sigset_t ended;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ended, NULL);
    int signals = signalfd(-1, &ended, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0) {
        die("signalfd");
    }
    char line[LINE_BYTES];
    for (;;) {
        while (job_count < most && take_line(line)) {
            start(line);
        }
        if (input_ended && job_count == 0) {
            return 0;
        }
        int hungry = job_count < most && !input_ended;
        struct pollfd waits[2] = {{signals, POLLIN, 0}, {hungry ? 0 : -1, POLLIN, 0}};
        poll(waits, 2, patience());
        struct signalfd_siginfo told;
        while (read(signals, &told, sizeof told) > 0) {
        }
        reap();
        if (hungry && waits[1].revents != 0) {
            read_input();
        }
    }
}
