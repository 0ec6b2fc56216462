/*
 * Locks this process in: after sandbox_enter it computes, and talks over the descriptors it has
 * been given; nothing else. For Linux on x86-64 and 64-bit ARM.
 *
 * What a call gets that is not on the list:
 *   - one that looks around (open, stat, readlink, ...): an error, because the C library and
 *     Rust's ask such things in passing and do without the answer;
 *   - one whose number is newer than this list: ENOSYS, because a newer C library tries it first
 *     and then falls back;
 *   - any other (exec, socket, kill, ptrace, fork, executable memory, ...): the end of the process
 *     by SIGSYS. No model needs it, so who makes it has been taken over and gets no second try.
 *
 * RLIMIT_NPROC is not set: it counts all processes of the user, here and elsewhere, and would
 * refuse our own threads. Processes cannot be made at all, and threads are bounded by memory.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef SANDBOX_H
#define SANDBOX_H

#ifndef _GNU_SOURCE
#error "define _GNU_SOURCE before the first include"
#endif

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Room for what is no model's: the stack of the load's thread (64 MiB), allocator, code. */
#define SANDBOX_SLACK ((uint64_t)256 << 20)

/* The newest call that this list was made with (mseal). */
#define SANDBOX_NEWEST 462

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif
#ifndef SYS_rseq
#if defined(__x86_64__)
#define SYS_rseq 334
#else
#define SYS_rseq 293
#endif
#endif

#if defined(__x86_64__)
#define SANDBOX_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define SANDBOX_ARCH AUDIT_ARCH_AARCH64
#endif

/* First thing: what this process may have been given and does not need. */
static inline int sandbox_begin(void) {
    if (syscall(SYS_close_range, 3u, ~0u, 0u) != 0) {
        long most = sysconf(_SC_OPEN_MAX);
        for (int fd = 3; fd < (most > 0 && most < 65536 ? most : 65536); fd++) {
            close(fd);
        }
    }
    static char *nothing[] = {NULL};
    environ = nothing;
    sigset_t none;
    sigemptyset(&none);
    return sigprocmask(SIG_SETMASK, &none, NULL) || chdir("/") ||
           prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) ||
           prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static inline int sandbox_limit(int what, uint64_t soft, uint64_t hard) {
    struct rlimit now;
    if (getrlimit(what, &now) != 0) {
        return -1;
    }
    /* Never more than it has. */
    struct rlimit wanted = {soft < now.rlim_max ? soft : now.rlim_max,
                            hard < now.rlim_max ? hard : now.rlim_max};
    return setrlimit(what, &wanted);
}

static inline uint64_t sandbox_sum(uint64_t a, uint64_t b) {
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* Bytes of address space in use. */
static inline uint64_t sandbox_mapped(void) {
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%llu", &pages) != 1) {
        pages = ((uint64_t)1 << 30) / 4096;
    }
    if (file != NULL) {
        fclose(file);
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* `memory` bytes more than now; `seconds` of processor time, 0 = for ever. */
static inline int sandbox_limits(uint64_t memory, uint64_t seconds) {
    uint64_t space = sandbox_sum(sandbox_sum(memory, SANDBOX_SLACK), sandbox_mapped());
    return sandbox_limit(RLIMIT_CORE, 0, 0) || sandbox_limit(RLIMIT_FSIZE, 0, 0) ||
           sandbox_limit(RLIMIT_NOFILE, 3, 3) ||
           sandbox_limit(RLIMIT_AS, space < RLIM_INFINITY ? space : RLIM_INFINITY, RLIM_INFINITY) ||
           (seconds != 0 && sandbox_limit(RLIMIT_CPU, sandbox_sum(seconds, 1),
                                          sandbox_sum(seconds, 2)));
}

#ifdef SANDBOX_ARCH

#define SANDBOX_RETURN(what) BPF_STMT(BPF_RET | BPF_K, (what))
#define SANDBOX_LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
/* Both machines are little-endian: the low half of an argument comes first. */
#define SANDBOX_ARGUMENT(index, half)                \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS,               \
             offsetof(struct seccomp_data, args) + (index) * 8 + (half) * 4)
#define SANDBOX_IS(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (yes), (no))
#define SANDBOX_ERROR(code) (SECCOMP_RET_ERRNO | ((code) & SECCOMP_RET_DATA))
#define ALLOW(name) SANDBOX_IS(SYS_##name, 0, 1), SANDBOX_RETURN(SECCOMP_RET_ALLOW)
#define REFUSE(name, code) SANDBOX_IS(SYS_##name, 0, 1), SANDBOX_RETURN(SANDBOX_ERROR(code))
/* No memory that can be executed. */
#define DATA_ONLY(name)                                                    \
    SANDBOX_IS(SYS_##name, 0, 4), SANDBOX_ARGUMENT(2, 0),                  \
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1),             \
        SANDBOX_RETURN(SECCOMP_RET_KILL_PROCESS), SANDBOX_RETURN(SECCOMP_RET_ALLOW)

static inline int sandbox_filter(void) {
    const uint32_t thread = CLONE_VM | CLONE_THREAD;
    struct sock_filter rules[] = {
        SANDBOX_LOAD(arch),
        SANDBOX_IS(SANDBOX_ARCH, 1, 0),
        SANDBOX_RETURN(SECCOMP_RET_KILL_PROCESS),
        SANDBOX_LOAD(nr),
        ALLOW(read), ALLOW(write), ALLOW(close), ALLOW(futex),
        ALLOW(munmap), ALLOW(mremap), ALLOW(madvise), ALLOW(brk),
        DATA_ONLY(mmap), DATA_ONLY(mprotect),
        ALLOW(exit), ALLOW(exit_group), ALLOW(restart_syscall),
        ALLOW(rt_sigaction), ALLOW(rt_sigprocmask), ALLOW(rt_sigreturn), ALLOW(sigaltstack),
        ALLOW(clock_gettime), ALLOW(clock_getres), ALLOW(clock_nanosleep), ALLOW(nanosleep),
        ALLOW(gettimeofday), ALLOW(getpid), ALLOW(gettid), ALLOW(getrandom), ALLOW(getrusage),
        ALLOW(sched_yield), ALLOW(sched_getaffinity), ALLOW(sysinfo),
        ALLOW(set_robust_list), ALLOW(rseq),
        /* A thread is made by clone; clone3 hides its flags from this filter. */
        REFUSE(clone3, ENOSYS),
        SANDBOX_IS(SYS_clone, 0, 5), SANDBOX_ARGUMENT(0, 0),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, thread), SANDBOX_IS(thread, 0, 1),
        SANDBOX_RETURN(SECCOMP_RET_ALLOW), SANDBOX_RETURN(SECCOMP_RET_KILL_PROCESS),
        /* abort() and the like: a signal to itself. */
        SANDBOX_IS(SYS_tgkill, 0, 4), SANDBOX_ARGUMENT(0, 0),
        SANDBOX_IS((uint32_t)getpid(), 0, 1),
        SANDBOX_RETURN(SECCOMP_RET_ALLOW), SANDBOX_RETURN(SECCOMP_RET_KILL_PROCESS),
        /* A thread's name. */
        SANDBOX_IS(SYS_prctl, 0, 4), SANDBOX_ARGUMENT(0, 0),
        SANDBOX_IS(PR_SET_NAME, 0, 1),
        SANDBOX_RETURN(SECCOMP_RET_ALLOW), SANDBOX_RETURN(SANDBOX_ERROR(EPERM)),
        /* Reading a limit. */
        SANDBOX_IS(SYS_prlimit64, 0, 8), SANDBOX_ARGUMENT(0, 0), SANDBOX_IS(0, 0, 5),
        SANDBOX_ARGUMENT(2, 0), SANDBOX_IS(0, 0, 3), SANDBOX_ARGUMENT(2, 1), SANDBOX_IS(0, 0, 1),
        SANDBOX_RETURN(SECCOMP_RET_ALLOW), SANDBOX_RETURN(SANDBOX_ERROR(EPERM)),
#ifdef __x86_64__
        ALLOW(time), REFUSE(open, EACCES), REFUSE(stat, EACCES), REFUSE(lstat, EACCES),
        REFUSE(access, EACCES), REFUSE(readlink, EACCES),
#endif
        REFUSE(openat, EACCES), REFUSE(openat2, EACCES), REFUSE(newfstatat, EACCES),
        REFUSE(fstat, EACCES), REFUSE(statx, EACCES), REFUSE(faccessat, EACCES),
        REFUSE(faccessat2, EACCES), REFUSE(readlinkat, EACCES), REFUSE(getcwd, EACCES),
        REFUSE(ioctl, EPERM), REFUSE(fcntl, EPERM), REFUSE(lseek, EPERM), REFUSE(uname, EPERM),
        REFUSE(getuid, EPERM), REFUSE(geteuid, EPERM), REFUSE(membarrier, ENOSYS),
        REFUSE(setpriority, EPERM), REFUSE(sched_setscheduler, EPERM), REFUSE(sched_getparam, EPERM),
        REFUSE(sched_getscheduler, EPERM), REFUSE(sched_setaffinity, EPERM),
        /* Numbers above the newest; those of the x32 ABI are far above. */
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, SANDBOX_NEWEST, 0, 2),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 1, 0),
        SANDBOX_RETURN(SANDBOX_ERROR(ENOSYS)),
        SANDBOX_RETURN(SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {sizeof rules / sizeof *rules, rules};
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
}

#undef ALLOW
#undef REFUSE
#undef DATA_ONLY

#else

static inline int sandbox_filter(void) {
    errno = ENOSYS;
    return -1;
}

#endif

/* Locks the process in; what failed, or NULL. */
static inline const char *sandbox_enter(uint64_t memory, uint64_t seconds) {
    if (sandbox_limits(memory, seconds) != 0) {
        return "its limits (setrlimit) cannot be set";
    }
    if (sandbox_filter() != 0) {
        return "its system calls cannot be filtered (seccomp)";
    }
    return NULL;
}

#endif /* SANDBOX_H */
