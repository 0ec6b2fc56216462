//! The watch over a thread of ours: the waiter may give up, and the thread may
//! be kept for ever.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How a watched thread stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// At work.
    Working,
    /// It has ended, or is about to without touching anything of its waiter's.
    Done,
    /// It asked for memory that cannot be had, and will never go on.
    Kept,
    /// Nobody waits for it any more.
    Abandoned,
}

/// What a thread and its waiter tell each other. Nothing here allocates.
#[derive(Debug)]
pub struct Keeper {
    state: Mutex<State>,
    changed: Condvar,
    /// The state is `Abandoned`, for the allocator to see without the lock.
    abandoned: AtomicBool,
    /// How long an abandoned thread may go on.
    grace: Duration,
    since: Mutex<Option<Instant>>,
}

impl Keeper {
    /// A watch over a thread at work.
    pub const fn new(grace: Duration) -> Keeper {
        Keeper {
            state: Mutex::new(State::Working),
            changed: Condvar::new(),
            abandoned: AtomicBool::new(false),
            grace,
            since: Mutex::new(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the thread is no longer at work, at most until `deadline`;
    /// then it is abandoned. The answer is how it stands.
    pub fn wait(&self, deadline: Option<Instant>) -> State {
        let mut state = self.lock();
        while *state == State::Working {
            let Some(deadline) = deadline else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                *state = State::Abandoned;
                *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                self.abandoned.store(true, Ordering::Release);
                break;
            }
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *state
    }

    /// The thread says that it is done; the answer is how it stood.
    pub fn done(&self) -> State {
        self.tell(State::Done)
    }

    fn tell(&self, next: State) -> State {
        let mut state = self.lock();
        let before = *state;
        if before == State::Working {
            *state = next;
            self.changed.notify_all();
        }
        before
    }

    /// Whether nobody waits for the thread any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Whether an abandoned thread has had its grace.
    pub(super) fn is_overdue(&self) -> bool {
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() > self.grace)
    }

    /// Ends the calling thread's work without ending the thread: the waiter is
    /// told, and this never returns.
    pub(super) fn keep(&self) -> ! {
        self.tell(State::Kept);
        loop {
            std::thread::sleep(Duration::from_secs(1 << 30));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_waiter_is_told_or_gives_up() {
        let keeper = Arc::new(Keeper::new(Duration::ZERO));
        let inner = keeper.clone();
        let thread = std::thread::spawn(move || inner.done());
        assert_eq!(keeper.wait(None), State::Done);
        assert_eq!(thread.join().unwrap(), State::Working);

        let late = Keeper::new(Duration::ZERO);
        assert_eq!(late.wait(Some(Instant::now())), State::Abandoned);
        assert_eq!(late.done(), State::Abandoned);
        assert!(late.is_abandoned() && late.is_overdue());
    }

    #[test]
    fn a_kept_thread_tells_its_waiter() {
        let keeper: &'static Keeper = Box::leak(Box::new(Keeper::new(Duration::ZERO)));
        std::thread::spawn(|| keeper.keep());
        assert_eq!(keeper.wait(None), State::Kept);
    }
}
