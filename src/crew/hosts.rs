//! Parts on the host's threads: its job system takes the place of our helpers.
//!
//! A call lays its job on a [`Desk`], and has the host call [`take_part`] as often as
//! there may be workers. Each such call does parts until none is left, so the host's
//! threads come in any order, one after the other, or not at all: what they leave,
//! the caller does. What the host is given is no pointer but the desk and its turn: a
//! call that comes late, of a host that was not true to its word, does nothing.

use super::desk::Desk;
use super::place::Job;
use crate::host::HostJobs;
use crate::sync::Mutex;
use std::ffi::c_void;
use std::ptr::{from_ref, null_mut, without_provenance_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

/// Calls that have the host's threads at a time; more do their parts themselves.
const DESKS: usize = 64;

/// Desks, and whether each is somebody's.
static DESK: [(AtomicBool, Desk); DESKS] = [const { (AtomicBool::new(false), Desk::new()) }; DESKS];

/// Bits of a desk's number in what the host is given, and of its turn.
const NUMBER: u32 = DESKS.trailing_zeros();
const TURNS: u64 = (usize::MAX as u64 >> NUMBER) & (u32::MAX as u64);

/// The host's jobs, null for none. What it points to is in [`EVER`], and stays.
static JOBS: AtomicPtr<HostJobs> = AtomicPtr::new(null_mut());
/// All that were brought to this process.
static EVER: Mutex<Vec<&'static HostJobs>> = Mutex::new(Vec::new());
/// Whose threads they have: a child has none.
static PROCESS: AtomicU32 = AtomicU32::new(0);

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
    let is_free = |(is_taken, _): &&(AtomicBool, Desk)| {
        !is_taken.load(Ordering::Relaxed) && !is_taken.swap(true, Ordering::Acquire)
    };
    let Some(jobs) = jobs else { return };
    let Some(number) = DESK.iter().position(|desk| is_free(&desk)) else { return };
    let (is_taken, desk) = &DESK[number];
    let turn = desk.open(job.offer(), TURNS);
    let ticket = (turn as usize) << NUMBER | number;
    let count = u32::try_from(workers).unwrap_or(u32::MAX);
    // SAFETY: `take_part` takes any number and any ticket, at any time.
    unsafe { jobs.run(count, Some(take_part), without_provenance_mut(ticket)) };
    desk.close();
    is_taken.store(false, Ordering::Release);
}

/// What the host calls: does parts until none is left.
unsafe extern "C" fn take_part(ticket: *mut c_void, _index: u32) {
    let ticket = ticket.addr();
    DESK[ticket & (DESKS - 1)].1.help((ticket >> NUMBER) as u64);
}
