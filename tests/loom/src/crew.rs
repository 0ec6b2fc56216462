//! Callers and a helper, over the places where they meet.

use crate::desk::Desk;
use crate::place::{Job, Place};
use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::Arc;

/// Counts that parts write to; loom sees whether two threads touch one at once.
struct Counts([UnsafeCell<u32>; 2]);

// SAFETY: loom sees whether one is read and written at once.
unsafe impl Sync for Counts {}

impl Counts {
    fn new() -> Counts {
        Counts([UnsafeCell::new(0), UnsafeCell::new(0)])
    }

    fn add(&self, part: usize) {
        // SAFETY: nobody else has the part, which loom checks.
        self.0[part].with_mut(|v| unsafe { *v += 1 });
    }

    fn all(&self) -> [u32; 2] {
        // SAFETY: the job has ended, which loom checks.
        [0, 1].map(|part| self.0[part].with(|v| unsafe { *v }))
    }
}

/// As `crew::each`: two parts, by this thread and the helper if it is free.
fn call(place: &Place) {
    let counts = Counts::new();
    let work = |_worker: usize, part: usize| counts.add(part);
    let job = Job::new(2, 2, &work);
    let offer = job.offer();
    let asked = place.offer(offer);
    job.lead();
    if asked {
        place.withdraw(offer);
    }
    assert_eq!(counts.all(), [1, 1], "every part once");
}

fn with_helper(calls: impl Fn(&Arc<Place>) + Send + Sync + 'static) {
    loom::model(move || {
        let place = Arc::new(Place::new());
        let helper = {
            let place = place.clone();
            thread::spawn(move || place.help())
        };
        calls(&place);
        place.end(true);
        helper.join().unwrap();
    });
}

#[test]
fn a_helper_wakes_ends_and_touches_nothing_after() {
    with_helper(|place| call(place));
}

#[test]
fn one_call_after_the_other() {
    with_helper(|place| {
        call(place);
        call(place);
    });
}

#[test]
fn two_callers_and_one_helper() {
    with_helper(|place| {
        let other = {
            let place = place.clone();
            thread::spawn(move || call(&place))
        };
        call(place);
        other.join().unwrap();
    });
}

#[test]
fn workers_have_numbers_of_their_own() {
    loom::model(|| {
        let place = Arc::new(Place::new());
        let helper = {
            let place = place.clone();
            thread::spawn(move || place.help())
        };
        let counts = Counts::new();
        let work = |worker: usize, _part: usize| counts.add(worker);
        let job = Job::new(3, 2, &work);
        let offer = job.offer();
        let asked = place.offer(offer);
        job.lead();
        if asked {
            place.withdraw(offer);
        }
        assert_eq!(counts.all().iter().sum::<u32>(), 3);
        place.end(true);
        helper.join().unwrap();
    });
}

/// A host's thread comes to both turns of a desk when it likes: before, in time, or late.
fn with_host(calls: impl Fn(&Desk, u64) + Send + Sync + 'static) {
    loom::model(move || {
        let desk = Arc::new(Desk::new());
        let host = {
            let desk = desk.clone();
            thread::spawn(move || {
                desk.help(1);
                desk.help(2);
            })
        };
        calls(&desk, 1);
        calls(&desk, 2);
        host.join().unwrap();
    });
}

#[test]
fn a_hosts_thread_does_parts_in_time_and_touches_nothing_after() {
    with_host(|desk, turn| {
        let counts = Counts::new();
        let work = |_worker: usize, part: usize| counts.add(part);
        let job = Job::new(2, 2, &work);
        assert_eq!(desk.open(job.offer(), u64::from(u32::MAX)), turn);
        desk.close();
        job.lead();
        assert_eq!(counts.all(), [1, 1], "every part once");
    });
}

#[test]
fn a_hosts_threads_have_numbers_of_their_own() {
    with_host(|desk, turn| {
        let counts = Counts::new();
        let work = |worker: usize, _part: usize| counts.add(worker);
        let job = Job::new(2, 2, &work);
        desk.open(job.offer(), u64::from(u32::MAX));
        desk.help(turn);
        desk.close();
        job.lead();
        assert_eq!(counts.all().iter().sum::<u32>(), 2);
    });
}
