//! Parts on the host's threads: its job system takes the place of our helpers.
//!
//! A call lays its job on a desk, and has the host call [`take_part`] as often as
//! there may be workers. Each such call does parts until none is left, so the host's
//! threads come in any order, one after the other, or not at all: what they leave,
//! the caller does. What the host is given is no pointer but the desk and a turn:
//!
//! 1. A desk's `state` is its turn, whether it is open, and how many are inside. Who
//!    comes with that turn while it is open goes inside by one compare-and-swap
//!    (acquire: it sees the job), and leaves by a subtraction (release).
//! 2. The caller closes the desk, and waits until nobody is inside (acquire) before
//!    the job goes. A call that comes later, of a host that was not true to its word,
//!    finds another turn or a closed desk, and does nothing.

use super::place::{Job, Offer};
use crate::host::HostJobs;
use crate::sync::Mutex;
use std::ffi::c_void;
use std::ptr::{from_ref, null_mut, without_provenance_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Calls that have the host's threads at a time; more do their parts themselves.
const DESKS: usize = 64;

static DESK: [Desk; DESKS] = [const { Desk::new() }; DESKS];

/// The host's jobs, null for none. What it points to is in [`EVER`], and stays.
static JOBS: AtomicPtr<HostJobs> = AtomicPtr::new(null_mut());
/// All that were brought to this process.
static EVER: Mutex<Vec<&'static HostJobs>> = Mutex::new(Vec::new());
/// Whose threads they have: a child has none.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// Where a job lies while the host's threads are asked for.
pub(crate) struct Desk {
    is_taken: AtomicBool,
    /// The turn from bit 32 on, [`OPEN`], and who is inside.
    state: AtomicU64,
    job: AtomicPtr<Job<'static>>,
}

const OPEN: u64 = 1 << 31;
const INSIDE: u64 = OPEN - 1;
/// Bits of a desk's number in what the host is given.
const NUMBER: u32 = DESKS.trailing_zeros();

impl Desk {
    const fn new() -> Desk {
        Desk {
            is_taken: AtomicBool::new(false),
            state: AtomicU64::new(0),
            job: AtomicPtr::new(null_mut()),
        }
    }

    /// A free one, and its number: the caller's until it says that it is free again.
    fn take() -> Option<(usize, &'static Desk)> {
        let is_free = |desk: &Desk| {
            !desk.is_taken.load(Ordering::Relaxed) && !desk.is_taken.swap(true, Ordering::Acquire)
        };
        DESK.iter().enumerate().find(|(_, desk)| is_free(desk))
    }

    /// Lays a job there; the turn it has.
    fn open(&self, Offer(job): Offer) -> u64 {
        let turn = ((self.state.load(Ordering::Relaxed) >> 32) + 1) & TURNS;
        self.job.store(job, Ordering::Relaxed);
        self.state.store(turn << 32 | OPEN, Ordering::Release);
        turn
    }

    /// Goes inside, unless it is closed or has another turn.
    fn enter(&self, turn: u64) -> bool {
        let open = |state: u64| state >> 32 == turn && state & OPEN != 0;
        let inside = |state: u64| open(state).then_some(state + 1);
        self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, inside).is_ok()
    }

    /// Lets nobody in any more, and waits for who is inside: nobody is, when the host is
    /// true to its word.
    fn close(&self) {
        self.state.fetch_and(!OPEN, Ordering::Relaxed);
        while self.state.load(Ordering::Acquire) & INSIDE != 0 {
            std::thread::yield_now();
        }
    }

    fn free(&self) {
        self.is_taken.store(false, Ordering::Release);
    }
}

/// As many turns as what the host is given has bits for.
const TURNS: u64 = (usize::MAX as u64 >> NUMBER) & (u32::MAX as u64);

/// Has the host's jobs do parts from now on; none: our helpers again.
pub fn use_jobs(jobs: Option<HostJobs>) {
    let Some(jobs) = jobs else {
        JOBS.store(null_mut(), Ordering::Release);
        return;
    };
    let mut ever = EVER.lock();
    let known = ever.iter().find(|known| known.same(&jobs)).copied();
    let jobs = known.unwrap_or_else(|| {
        let made: &'static HostJobs = Box::leak(Box::new(jobs));
        ever.push(made);
        made
    });
    PROCESS.store(std::process::id(), Ordering::Relaxed);
    JOBS.store(from_ref(jobs).cast_mut(), Ordering::Release);
}

/// Whether the host brought jobs.
#[inline]
pub fn are_hosts() -> bool {
    !JOBS.load(Ordering::Relaxed).is_null()
}

/// Whether they can be asked: a child after `fork` has none of the host's threads.
pub(super) fn are_here() -> bool {
    PROCESS.load(Ordering::Relaxed) == std::process::id()
}

/// Has the host's threads do parts of a job, and waits for them.
pub(super) fn help(job: &Job<'_>, workers: usize) {
    // SAFETY: null, or of `EVER`, where nothing goes.
    let jobs = unsafe { JOBS.load(Ordering::Acquire).as_ref() };
    let (Some(jobs), Some((number, desk))) = (jobs, Desk::take()) else { return };
    let turn = desk.open(job.offer());
    let ticket = (turn as usize) << NUMBER | number;
    let count = u32::try_from(workers).unwrap_or(u32::MAX);
    // SAFETY: `take_part` takes any number and any ticket, at any time.
    unsafe { jobs.run(count, Some(take_part), without_provenance_mut(ticket)) };
    desk.close();
    desk.free();
}

/// What the host calls: does parts until none is left.
unsafe extern "C" fn take_part(ticket: *mut c_void, _index: u32) {
    let (number, turn) = (ticket.addr() & (DESKS - 1), (ticket.addr() >> NUMBER) as u64);
    let desk = &DESK[number];
    if !desk.enter(turn) {
        return;
    }
    let job = desk.job.load(Ordering::Relaxed);
    // SAFETY: its caller waits in `close` until the subtraction below. A job does not
    // panic.
    unsafe { &*job }.join();
    desk.state.fetch_sub(1, Ordering::Release);
}
