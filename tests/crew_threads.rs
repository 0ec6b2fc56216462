//! Parts on our helpers and on a host's threads, from many callers at once: every
//! part is done once, and nobody touches a call that has ended. Run by
//! `tests/tsan.sh` under ThreadSanitizer, too.

use inferno::crew;
use inferno::host::{HostJobs, JobFn};
use std::ffi::c_void;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const CALLERS: usize = 4;
const CALLS: usize = 200;
const WORKERS: usize = 3;

/// The crew is the process's: its tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Parts of its own for each of several callers, checked after every call.
fn call_from_many() {
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            scope.spawn(move || {
                let mut workers = [0usize; WORKERS];
                for call in 0..CALLS {
                    let mut parts: Vec<usize> = (0..1 + (call + caller) % 17).collect();
                    crew::each(&mut parts, &mut workers, |done, part| {
                        *part = *part * 2 + 1;
                        *done += 1;
                    })
                    .unwrap();
                    assert!(parts.iter().enumerate().all(|(i, part)| *part == 2 * i + 1));
                }
                let all = (0..CALLS).map(|call| 1 + (call + caller) % 17).sum::<usize>();
                assert_eq!(workers.iter().sum::<usize>(), all);
            });
        }
    });
}

#[test]
fn helpers_of_ours() {
    let _turn = TURN.lock();
    crew::hire(WORKERS).unwrap();
    call_from_many();
    crew::dismiss();
}

static ASKED: AtomicUsize = AtomicUsize::new(0);

/// A job in a host's hands.
#[derive(Clone, Copy)]
struct Given {
    job: JobFn,
    data: usize,
}

impl Given {
    fn call(self, index: u32) {
        let data = std::ptr::without_provenance_mut(self.data);
        // SAFETY: a job takes what it was given with, at any time.
        unsafe { self.job.unwrap()(data, index) }
    }
}

fn with_host(run: inferno::host::RunFn) {
    let _turn = TURN.lock();
    ASKED.store(0, Relaxed);
    // SAFETY: a function of this test.
    crew::use_jobs(Some(unsafe { HostJobs::new(std::ptr::null_mut(), run) }));
    assert!(crew::are_hosts() && crew::is_here());
    crew::hire(WORKERS).unwrap();
    assert_eq!(crew::helpers(), 0, "no thread of ours");
    call_from_many();
    assert!(ASKED.load(Relaxed) > CALLS);
    crew::use_jobs(None);
}

extern "C" fn on_threads(_: *mut c_void, count: u32, job: JobFn, data: *mut c_void) {
    ASKED.fetch_add(1, Relaxed);
    let given = Given { job, data: data.addr() };
    std::thread::scope(|scope| {
        for index in 1..count {
            scope.spawn(move || given.call(index));
        }
        given.call(0);
    });
}

#[test]
fn a_hosts_threads() {
    with_host(on_threads);
}

static KEPT: Mutex<Vec<Given>> = Mutex::new(Vec::new());

/// Leaves jobs to whoever calls next, and does those of others.
extern "C" fn late(_: *mut c_void, count: u32, job: JobFn, data: *mut c_void) {
    ASKED.fetch_add(1, Relaxed);
    let before = {
        let mut kept = KEPT.lock().unwrap();
        let before = std::mem::take(&mut *kept);
        kept.extend((0..count).map(|_| Given { job, data: data.addr() }));
        before
    };
    before.into_iter().for_each(|given| given.call(7));
}

#[test]
fn jobs_that_come_late() {
    with_host(late);
    KEPT.lock().unwrap().drain(..).for_each(|given| given.call(0));
}

static LEFT: Mutex<Vec<std::thread::JoinHandle<()>>> = Mutex::new(Vec::new());

/// Does not wait for its threads.
extern "C" fn early(_: *mut c_void, count: u32, job: JobFn, data: *mut c_void) {
    let given = Given { job, data: data.addr() };
    if ASKED.fetch_add(1, Relaxed).is_multiple_of(4) {
        let thread = std::thread::spawn(move || given.call(0));
        LEFT.lock().unwrap().push(thread);
    }
    (1..count).for_each(|index| given.call(index));
}

#[test]
fn jobs_that_are_not_waited_for() {
    with_host(early);
    LEFT.lock().unwrap().drain(..).for_each(|thread| thread.join().unwrap());
}
