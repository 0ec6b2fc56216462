//! The words of a queue: new jobs, free places, a job's life.

use crate::words::free::Free;
use crate::words::inbox::{Closed, Inbox, Linked};
use crate::words::phase::{Cancel, Phase};
use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU32;
use loom::sync::{Condvar, Mutex};
use loom::thread;
use std::sync::Arc;

/// A place for a job; loom sees whether what is in it is written and read at once.
struct Place {
    below: AtomicU32,
    content: UnsafeCell<u32>,
}

// SAFETY: loom sees whether one is read and written at once.
unsafe impl Sync for Place {}

impl Linked for Place {
    fn below(&self) -> &AtomicU32 {
        &self.below
    }
}

fn places(count: u32) -> Arc<Vec<Place>> {
    let one = |_| Place { below: AtomicU32::new(0), content: UnsafeCell::new(0) };
    Arc::new((0..count).map(one).collect())
}

impl Place {
    fn write(&self, value: u32) {
        // SAFETY: the caller has the place alone, which loom checks.
        self.content.with_mut(|v| unsafe { *v = value });
    }

    fn read(&self) -> u32 {
        // SAFETY: as above.
        self.content.with(|v| unsafe { *v })
    }
}

#[test]
fn what_is_pushed_is_taken_once_and_whole() {
    loom::model(|| {
        let (inbox, places) = (Arc::new(Inbox::new()), places(3));
        let pusher = {
            let (inbox, places) = (inbox.clone(), places.clone());
            thread::spawn(move || {
                for index in [0, 1] {
                    places[index as usize].write(7);
                    inbox.push(&places, index, 1, false).unwrap();
                }
            })
        };
        places[2].write(7);
        inbox.push(&places, 2, 1, false).unwrap();
        let mut seen = Vec::new();
        let mut take = || {
            inbox.take(&places, |job| {
                assert_eq!(places[job as usize].read(), 7);
                seen.push(job);
            });
        };
        take();
        pusher.join().unwrap();
        take();
        let of_pusher: Vec<u32> = seen.iter().copied().filter(|job| *job < 2).collect();
        assert_eq!(of_pusher, [0, 1], "in their order");
        assert_eq!(seen.len(), 3);
    });
}

#[test]
fn a_push_to_a_closed_inbox_is_refused_and_no_other_is_lost() {
    loom::model(|| {
        let (inbox, places) = (Arc::new(Inbox::new()), places(1));
        let pusher = {
            let (inbox, places) = (inbox.clone(), places.clone());
            thread::spawn(move || inbox.push(&places, 0, 1, false))
        };
        inbox.close();
        let pushed = pusher.join().unwrap();
        let mut taken = 0;
        assert!(inbox.take(&places, |_| taken += 1).is_closed);
        assert_eq!(taken, u32::from(pushed.is_ok()));
        assert_eq!(inbox.push(&places, 0, 1, false), Err(Closed));
    });
}

/// As drivers and submitters use gate and inbox together.
struct Gate {
    inbox: Inbox,
    sleepers: Mutex<u32>,
    opened: Condvar,
}

impl Gate {
    fn sleep(&self, rows: u32) {
        let mut sleepers = self.sleepers.lock().unwrap();
        if self.inbox.arm(rows, false) {
            *sleepers += 1;
            sleepers = self.opened.wait(sleepers).unwrap();
            *sleepers -= 1;
        }
    }

    fn wake(&self) {
        if *self.sleepers.lock().unwrap() > 0 {
            self.opened.notify_one();
        }
    }
}

#[test]
fn who_sleeps_is_woken_when_enough_has_come() {
    loom::model(|| {
        let inbox = Inbox::new();
        let gate = Arc::new(Gate { inbox, sleepers: Mutex::new(0), opened: Condvar::new() });
        let places = places(2);
        let pusher = {
            let (gate, places) = (gate.clone(), places.clone());
            thread::spawn(move || {
                for index in [0, 1] {
                    if gate.inbox.push(&places, index, 1, false).unwrap() {
                        gate.wake();
                    }
                }
            })
        };
        // (A lost wake is a deadlock, which loom finds.)
        let mut taken = 0;
        while taken < 2 {
            gate.inbox.take(&places, |_| taken += 1);
            if taken < 2 {
                gate.sleep(2 - taken);
            }
        }
        pusher.join().unwrap();
    });
}

#[test]
fn a_nudge_is_seen_before_a_sleep_or_wakes() {
    loom::model(|| {
        let inbox = Inbox::new();
        let gate = Arc::new(Gate { inbox, sleepers: Mutex::new(0), opened: Condvar::new() });
        let nudger = {
            let gate = gate.clone();
            thread::spawn(move || {
                if gate.inbox.nudge() {
                    gate.wake();
                }
            })
        };
        let places = places(0);
        while !gate.inbox.take(&places, |_| {}).is_nudged {
            gate.sleep(1);
        }
        nudger.join().unwrap();
    });
}

#[test]
fn a_place_is_one_threads_at_a_time() {
    loom::model(|| {
        let places = places(2);
        let free = Arc::new(Free::of(&places, 0..places.len() as u32));
        let turn = |free: &Free, places: &[Place], value: u32| {
            if let Ok(Some(index)) = free.take(places) {
                places[index as usize].write(value);
                assert_eq!(places[index as usize].read(), value);
                free.give(places, index).unwrap();
            }
        };
        let other = {
            let (free, places) = (free.clone(), places.clone());
            thread::spawn(move || {
                turn(&free, &places, 1);
                turn(&free, &places, 2);
            })
        };
        turn(&free, &places, 3);
        other.join().unwrap();
        let mut left = Vec::new();
        while let Ok(Some(index)) = free.take(&places) {
            left.push(index);
        }
        left.sort_unstable();
        assert_eq!(left, [0, 1]);
    });
}

#[test]
fn every_place_ends_once() {
    loom::model(|| {
        let places = places(2);
        let free = Arc::new(Free::of(&places, 0..places.len() as u32));
        let held = free.take(&places).unwrap().unwrap();
        let other = {
            let (free, places) = (free.clone(), places.clone());
            // True: the giver's to end.
            thread::spawn(move || free.give(&places, held).is_err())
        };
        let mut ended = 0;
        free.close(&places, |_| ended += 1);
        ended += i32::from(other.join().unwrap());
        assert_eq!(ended, 2);
        assert_eq!(free.take(&places), Err(Closed));
        free.close(&places, |_| unreachable!());
    });
}

#[test]
fn of_an_answer_and_a_release_one_recycles() {
    loom::model(|| {
        let phase = Arc::new(Phase::new());
        phase.open();
        let host = {
            let phase = phase.clone();
            thread::spawn(move || {
                let asked = phase.cancel();
                (asked, phase.release())
            })
        };
        let begins = phase.begin();
        phase.settle();
        let answered = phase.answer(true);
        let (asked, is_free) = host.join().unwrap();
        assert!(answered.is_free ^ is_free);
        assert_eq!(asked == Cancel::Asked, !begins, "what begins was not cancelled");
    });
}

#[test]
fn who_waits_is_answered_or_seen() {
    loom::model(|| {
        let phase = Arc::new(Phase::new());
        phase.open();
        let waiter = {
            let phase = phase.clone();
            thread::spawn(move || phase.watch())
        };
        assert!(phase.begin());
        let is_watched = phase.answer(true).is_watched;
        assert!(waiter.join().unwrap() || is_watched);
    });
}
