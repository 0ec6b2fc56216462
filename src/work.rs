//! Work on a thread of ours: a known stack, bounded memory, a deadline.
//!
//! An importer walks graphs that somebody else wrote. It may need more stack
//! than a host's thread has, more memory than there is, or never end. So it runs
//! on a thread of its own for as long as the call lasts, and its waiter does not
//! depend on it:
//!
//! - past its deadline it is *abandoned*. The waiter answers
//!   `DEADLINE_EXCEEDED` at once. The thread gets a low priority, every
//!   tensor it asks for is refused, which unwinds it, and if it is still at work
//!   after as long again it is kept at its next request (see [`crate::pool`]);
//! - when it asks for memory that cannot be had and Rust would end the process,
//!   it is *kept*: the waiter answers, the thread never goes on.
//!
//! No more than [`MOST_LEFT_BEHIND`] such threads exist at a time; with so many,
//! further work is refused with `LIMIT_EXCEEDED`. An abandoned thread that ends
//! after all is counted out again.

#![allow(unsafe_code)]

mod limits;

use crate::error::{self, Error, Result};
use crate::log::log_line;
use crate::panics;
use crate::pool::{self, Keeper, Scope, State, Waiting, Working};
use crate::sync::Mutex;
use limits::Inherited;
pub use limits::{Checks, Deadline, Stop, aside, between, cancelled, check, moment, within_limits};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

#[cfg(all(test, feature = "capi"))]
pub(crate) mod audited {
    pub(crate) use super::Task;
    pub(crate) use super::limits::Inherited;
}

/// The stack an import has: graphs nest, and a host's thread may be small.
const STACK_BYTES: usize = 64 << 20;

/// The most threads that were abandoned or kept and have not ended.
pub const MOST_LEFT_BEHIND: usize = 8;

static LEFT_BEHIND: AtomicUsize = AtomicUsize::new(0);

/// How many threads were abandoned or kept and have not ended.
pub fn left_behind() -> usize {
    LEFT_BEHIND.load(Ordering::Relaxed)
}

/// What work may take.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Bytes it may hold at once.
    pub memory_bytes: u64,
    /// How long it may take; zero means for ever.
    pub time: Duration,
}

/// Does `work` on a thread of ours, and waits no longer than its budget says.
pub fn within<T: Send + 'static>(
    budget: Budget,
    what: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    // SAFETY: everything is 'static: the thread may outlive the call.
    unsafe { run(budget, budget.time, what, work) }
}

/// Does `work` on a thread of ours, held to its budget and to what the calling thread is,
/// and waits until it has ended.
pub fn to_its_end<T: Send>(
    budget: Budget,
    what: &str,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    // SAFETY: without a time to wait, the call ends when the thread is done, or
    // kept, and a kept thread never touches anything again.
    unsafe {
        let limits = Inherited::here();
        run(budget, Duration::ZERO, what, move || {
            let limits = limits;
            limits.during(work)
        })
    }
}

pub(crate) struct Task<T> {
    keeper: Keeper,
    answer: Mutex<Option<Result<T>>>,
    /// The thread's number for the scheduler; 0 until it has begun.
    tid: AtomicI32,
}

/// SAFETY: `work` and `T` may be used for as long as the thread goes on, which
/// is at most until the call ends when `wait` is zero.
unsafe fn run<T: Send>(
    budget: Budget,
    wait: Duration,
    what: &str,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let left = left_behind();
    if left >= MOST_LEFT_BEHIND {
        return Err(error::limit_exceeded(format!(
            "{what}: {left} earlier loads went past their limits and have not ended: expected \
             fewer than {MOST_LEFT_BEHIND}"
        )));
    }
    let deadline = moment(wait);
    let (account, _waiting) = (Working::here(), Waiting::begin());
    let task = Arc::new(Task {
        keeper: Keeper::new(budget.time),
        answer: Mutex::new(None),
        tid: AtomicI32::new(0),
    });
    let theirs = task.clone();
    let builder = std::thread::Builder::new().name("inferno-import".into()).stack_size(STACK_BYTES);
    let body = move || {
        theirs.tid.store(priority::this_thread(), Ordering::Release);
        let answer = watched(budget, &theirs.keeper, account, work);
        *theirs.answer.lock() = Some(answer);
        if theirs.keeper.done() == State::Abandoned {
            drop(theirs.answer.lock().take());
            LEFT_BEHIND.fetch_sub(1, Ordering::Relaxed);
        }
    };
    // SAFETY: as this function's own contract. A thread that is done only drops
    // its empty share of `task`; it is joined below.
    let thread = unsafe { builder.spawn_unchecked(body) }
        .map_err(|e| error::out_of_memory(format!("no thread for {what}: {e}")))?;
    match task.keeper.wait(deadline) {
        State::Done | State::Working => {
            let _ = thread.join();
            let answer = task.answer.lock().take();
            answer.unwrap_or_else(|| Err(error::internal("the import thread gave no answer")))
        }
        State::Kept => {
            let left = LEFT_BEHIND.fetch_add(1, Ordering::Relaxed) + 1;
            log_line!(Warn, "{what}: memory ran out; its thread stays behind ({left} now)");
            Err(error::out_of_memory(format!(
                "{what}: it asked for more memory at once than there is, or than \
                 max_memory_bytes, {}",
                budget.memory_bytes
            )))
        }
        State::Abandoned => {
            let left = LEFT_BEHIND.fetch_add(1, Ordering::Relaxed) + 1;
            priority::low(task.tid.load(Ordering::Acquire));
            log_line!(Warn, "{what}: past its deadline, abandoned ({left} left behind now)");
            Err(error::deadline_exceeded(format!(
                "{what}: not done after {} ms: expected at most load_time_ns",
                budget.time.as_millis()
            )))
        }
    }
}

/// The thread's own part: a panic or a shortage is an error.
fn watched<T>(
    budget: Budget,
    keeper: &Keeper,
    account: Working,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let _working = account.charge();
    let scope = Scope::kept(budget.memory_bytes, keeper);
    let deadline = Deadline::after(budget.time);
    let outcome = panics::caught(work);
    drop(deadline);
    if let Some(text) = pool::past_soft() {
        log_line!(Warn, "{text}");
    }
    match (scope.settle(), outcome) {
        (Ok(()), Ok(answer)) => answer,
        (Ok(()), Err(panic)) => Err(refused(&panic)),
        (Err(short), _) => Err(short),
    }
}

/// A panic of the importer: it asserts on what a model says. That is no defect
/// of the host's, and the model is refused.
fn refused(panic: &str) -> Error {
    if panic.contains("failed to allocate") {
        error::out_of_memory(format!("while importing: {panic}"))
    } else {
        error::invalid_model(format!("the importer could not digest it: {panic}"))
    }
}

#[cfg(target_os = "linux")]
mod priority {
    //! How much of the processor a thread gets when others want it, too.

    /// About a tenth. (Least of all would be worse: such a thread can be stopped
    /// for long while it holds a lock of the C library's.)
    const NICE: i32 = 10;

    pub(super) fn this_thread() -> i32 {
        // SAFETY: it has no conditions.
        unsafe { libc::gettid() }
    }

    pub(super) fn low(tid: i32) {
        if tid > 0 {
            // SAFETY: it takes numbers; a thread that has ended is an error,
            // which changes nothing.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, tid as libc::id_t, NICE) };
        }
    }
}

#[cfg(windows)]
mod priority {
    //! The same in the terms of Windows.

    use windows_sys::Win32::Foundation::CloseHandle;
    use windows_sys::Win32::System::Threading::{
        GetCurrentThreadId, OpenThread, SetThreadPriority, THREAD_PRIORITY_BELOW_NORMAL,
        THREAD_SET_INFORMATION,
    };

    pub(super) fn this_thread() -> i32 {
        // SAFETY: it has no conditions.
        unsafe { GetCurrentThreadId() }.cast_signed()
    }

    pub(super) fn low(id: i32) {
        // SAFETY: they take numbers and a handle of ours; a thread that has ended has
        // none, which changes nothing.
        unsafe {
            let thread = OpenThread(THREAD_SET_INFORMATION, 0, id.cast_unsigned());
            if !thread.is_null() {
                SetThreadPriority(thread, THREAD_PRIORITY_BELOW_NORMAL);
                CloseHandle(thread);
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", windows)))]
mod priority {
    pub(super) fn this_thread() -> i32 {
        0
    }

    pub(super) fn low(_: i32) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use std::sync::mpsc;
    use std::time::Instant;

    fn budget(ms: u64) -> Budget {
        Budget { memory_bytes: 64 << 20, time: Duration::from_millis(ms) }
    }

    /// The count is the process's: its tests take turns.
    static TURN: Mutex<()> = Mutex::new(());

    #[test]
    fn work_that_ends_gives_its_answer_and_a_panic_is_a_refusal() {
        let _turn = TURN.lock();
        assert_eq!(within(budget(10_000), "test", || Ok(7)).unwrap(), 7);
        let text = "borrowed".to_owned();
        assert_eq!(to_its_end(budget(10_000), "test", || Ok(text.as_str())).unwrap(), "borrowed");
        let e = within(budget(10_000), "test", || -> Result<()> { panic!("odd") }).unwrap_err();
        assert_eq!(e.kind(), Kind::InvalidModel);
    }

    // (After as long again it would be kept, and never be counted out: a thread has to
    // have its turn in time, on whatever machine.)
    #[test]
    fn the_waiter_does_not_wait_past_the_deadline_and_the_thread_is_counted_out() {
        let _turn = TURN.lock();
        let (go_on, wait) = mpsc::channel::<()>();
        let before = Instant::now();
        let e = within(budget(500), "slow", move || {
            let _ = wait.recv();
            Ok(())
        })
        .unwrap_err();
        assert_eq!(e.kind(), Kind::DeadlineExceeded);
        assert!(before.elapsed() < Duration::from_secs(5));
        assert_eq!(left_behind(), 1);
        go_on.send(()).unwrap();
        while left_behind() > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn loops_of_ours_see_their_deadline() {
        let _turn = TURN.lock();
        assert!(check().is_ok());
        let e = within(budget(500), "loop", || -> Result<()> {
            loop {
                check()?;
            }
        });
        assert_eq!(e.unwrap_err().kind(), Kind::DeadlineExceeded);
        while left_behind() > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    #[cfg(feature = "capi")]
    fn a_vec_that_cannot_be_had_is_a_status_and_not_an_abort() {
        let _turn = TURN.lock();
        let before = left_behind();
        let e = within(budget(10_000), "greedy", || Ok(Vec::<u8>::with_capacity(1 << 45).len()));
        assert_eq!(e.unwrap_err().kind(), Kind::OutOfMemory);
        assert_eq!(left_behind(), before + 1, "it stays behind");
        let e = to_its_end(budget(0), "greedy", || Ok(Vec::<u8>::with_capacity(1 << 45).len()));
        assert_eq!(e.unwrap_err().kind(), Kind::OutOfMemory);
        LEFT_BEHIND.fetch_sub(2, Ordering::Relaxed);
    }
}
