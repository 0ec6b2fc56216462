//! Helpers: threads of ours that take parts of a step, for the sessions that ask
//! for them.
//!
//! They are started when the first session asks, shared by all, and joined by the
//! last shutdown. Without a job they sleep. A call offers its parts to the helpers
//! that are free, does parts itself until none is left, and waits for those who
//! are still at one: a helper that is busy or wakes late costs nothing but its
//! help. `place` says what makes that sound.
//!
//! A child after `fork` has no helpers: its calls do all parts themselves.
//!
//! A host that brings jobs of its own has no helpers of ours: `hosts`.

mod desk;
mod hosts;
mod place;

use crate::error::{self, Result};
use crate::panics;
use crate::sync::Mutex;
pub use hosts::{are_hosts, use_jobs};
pub use place::MOST_PARTS;
use place::{Job, Place};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread::JoinHandle;

#[cfg(all(test, feature = "capi"))]
pub(crate) mod audited {
    pub(crate) use super::Apart;
    pub(crate) use super::desk::Desk;
    pub(crate) use super::place::{Job, Place};
}

/// The most threads that a call may have, its own among them.
pub const MOST_THREADS: usize = 64;

/// The stack of a helper.
const STACK_BYTES: usize = 1 << 20;

static PLACES: [Place; MOST_THREADS - 1] = [const { Place::new() }; MOST_THREADS - 1];

/// Helpers that are there, and whose they are.
static HIRED: AtomicUsize = AtomicUsize::new(0);
static PROCESS: AtomicU32 = AtomicU32::new(0);

static THREADS: Mutex<Vec<ManuallyDrop<JoinHandle<()>>>> = Mutex::new(Vec::new());

/// Sees to it that a call can have so many threads, its own among them.
///
/// Fails when a thread cannot be started.
pub fn hire(threads: usize) -> Result<()> {
    if threads > MOST_THREADS {
        return Err(error::limit_exceeded(format!(
            "threads is {threads}: expected at most {MOST_THREADS}"
        )));
    }
    if threads <= 1 || are_hosts() {
        return Ok(());
    }
    let mut there = THREADS.lock();
    let process = std::process::id();
    if there.is_empty() {
        PROCESS.store(process, Ordering::Relaxed);
    } else if PROCESS.load(Ordering::Relaxed) != process {
        return Ok(());
    }
    while there.len() < threads - 1 {
        let place = &PLACES[there.len()];
        place.end(false);
        let builder = std::thread::Builder::new().name("inferno-crew".into());
        let thread = builder.stack_size(STACK_BYTES).spawn(|| place.help());
        let thread = thread.map_err(|e| error::out_of_memory(format!("no helper thread: {e}")))?;
        there.push(ManuallyDrop::new(thread));
        HIRED.store(there.len(), Ordering::Release);
    }
    Ok(())
}

/// Ends all helpers, and waits for them.
pub fn dismiss() {
    let mut there = THREADS.lock();
    HIRED.store(0, Ordering::Release);
    if PROCESS.load(Ordering::Relaxed) != std::process::id() {
        return;
    }
    PLACES.iter().take(there.len()).for_each(|place| place.end(true));
    for thread in std::mem::take(&mut *there) {
        let _ = ManuallyDrop::into_inner(thread).join();
    }
}

/// How many helpers there are.
pub fn helpers() -> usize {
    HIRED.load(Ordering::Acquire)
}

/// Whether helpers, or the host's threads, are there in this process.
pub fn is_here() -> bool {
    if are_hosts() {
        return hosts::are_here();
    }
    helpers() > 0 && PROCESS.load(Ordering::Relaxed) == std::process::id()
}

/// What several threads write to, each its own elements.
pub(crate) struct Apart<T>(*mut T);

// SAFETY: a thread that has an index is the only one that touches its element.
unsafe impl<T: Send> Sync for Apart<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Apart<T> {}

impl<T> Apart<T> {
    /// # Safety
    ///
    /// The element is there, and nobody else touches it.
    #[allow(clippy::mut_from_ref)]
    unsafe fn get(&self, index: usize) -> &mut T {
        // SAFETY: the contract.
        unsafe { &mut *self.0.add(index) }
    }
}

/// Calls `work` with every one of `parts`, on as many threads as there are
/// `workers` and helpers are free, the caller's among them. Each thread has a
/// worker of its own, the caller the first.
///
/// Fails when `work` panics; parts may then be left out.
///
/// # Panics
///
/// When there is no worker, or there are more than [`MOST_PARTS`] parts.
pub fn each<T: Send, W: Send>(
    parts: &mut [T],
    workers: &mut [W],
    work: impl Fn(&mut W, &mut T) + Sync,
) -> Result<()> {
    assert!(!workers.is_empty(), "parts without a worker");
    let (count, most) = (parts.len(), workers.len().min(parts.len()));
    let (parts, workers) = (Apart(parts.as_mut_ptr()), Apart(workers.as_mut_ptr()));
    let failed = Mutex::new(None);
    let one = |worker: usize, part: usize| {
        let done = panics::caught(|| {
            // SAFETY: a job gives every part and every worker's number once, and
            // it has no more of either than there are.
            let (worker, part) = unsafe { (workers.get(worker), parts.get(part)) };
            work(worker, part);
        });
        if let Err(panic) = done {
            *failed.lock() = Some(panic);
        }
    };
    let job = Job::new(count, most.max(1), &one);
    match are_hosts() {
        false => with_helpers(&job, most),
        true => {
            if most > 1 {
                hosts::help(&job, most);
            }
            // What the host left.
            job.lead();
        }
    }
    match failed.lock().take() {
        None => Ok(()),
        Some(panic) => Err(error::internal(panic)),
    }
}

/// Does a job with as many helpers as are free, at most so many threads in all.
fn with_helpers(job: &Job<'_>, most: usize) {
    let offer = job.offer();
    let free = PLACES.iter().take(helpers());
    let mut asked = 0u64;
    let mut left = most.saturating_sub(1);
    for (index, place) in free.enumerate() {
        if left == 0 {
            break;
        }
        if place.offer(offer) {
            (asked, left) = (asked | 1 << index, left - 1);
        }
    }
    job.lead();
    while asked != 0 {
        PLACES[asked.trailing_zeros() as usize].withdraw(offer);
        asked &= asked - 1;
    }
}

/// The helpers are the process's: their tests take turns.
#[cfg(test)]
pub(crate) static TURN: Mutex<()> = Mutex::new(());

#[cfg(test)]
mod tests;
