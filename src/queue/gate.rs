//! Where those sleep who drive a queue: workers, and who waits for a job where there are
//! none.
//!
//! Each has a bed of its own, so that who is woken is one who has something to do: the
//! answers of a batch wake those who wait for them, and nobody else. More sleepers than
//! beds share the last one, and are woken together.

use super::inbox::Inbox;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sleeps until woken, or for so long.
pub(super) fn sleep<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    ns: Option<u64>,
) -> MutexGuard<'a, T> {
    match ns {
        None => condvar.wait(guard).unwrap_or_else(PoisonError::into_inner),
        Some(ns) => {
            let woken = condvar.wait_timeout(guard, Duration::from_nanos(ns));
            woken.unwrap_or_else(PoisonError::into_inner).0
        }
    }
}

const BEDS: usize = 64;
const SHARED: usize = BEDS - 1;
/// No job in particular.
const ANY: u32 = u32::MAX;

/// The beds, and who is in them.
pub(super) struct Gate {
    beds: [Condvar; BEDS],
    sleepers: Mutex<Sleepers>,
}

struct Sleepers {
    /// Beds with a sleeper, and those whose sleeper was woken and is not up yet.
    taken: u64,
    woken: u64,
    /// Which job each waits for, and since which turn.
    jobs: [u32; BEDS],
    since: [u64; BEDS],
    turns: u64,
    /// How many share the last bed.
    shared: u32,
}

impl Default for Gate {
    fn default() -> Gate {
        let (jobs, since) = ([ANY; BEDS], [0; BEDS]);
        let sleepers = Sleepers { taken: 0, woken: 0, jobs, since, turns: 0, shared: 0 };
        Gate { beds: [const { Condvar::new() }; BEDS], sleepers: Mutex::new(sleepers) }
    }
}

impl Sleepers {
    fn lie_down(&mut self, job: Option<u32>) -> usize {
        let bed = (self.taken.trailing_ones() as usize).min(SHARED);
        self.taken |= 1 << bed;
        self.jobs[bed] = if bed == SHARED { ANY } else { job.unwrap_or(ANY) };
        self.shared += u32::from(bed == SHARED);
        self.turns += 1;
        self.since[bed] = self.turns;
        bed
    }

    fn get_up(&mut self, bed: usize) {
        if bed == SHARED {
            self.shared -= 1;
            if self.shared > 0 {
                return;
            }
        }
        self.taken &= !(1 << bed);
        self.woken &= !(1 << bed);
    }

    /// The beds, a bit each, of those who sleep and are not woken yet.
    fn asleep(&self) -> u64 {
        self.taken & !self.woken
    }

    /// The bed of who lay down last: what it works with is still near.
    fn newest(&self) -> u64 {
        bits(self.asleep()).max_by_key(|bed| self.since[*bed]).map_or(0, |bed| 1 << bed)
    }

    /// These are woken.
    fn wake(&mut self, beds: u64) -> u64 {
        // (Who lies down in the last bed later must be woken, too.)
        self.woken |= beds & !(1 << SHARED);
        beds
    }
}

fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros() as usize;
        word &= word.wrapping_sub(1);
        (bit < BEDS).then_some(bit)
    })
}

impl Gate {
    pub(super) fn wake_one(&self) {
        self.wake(|sleepers| sleepers.newest());
    }

    pub(super) fn wake_all(&self) {
        self.wake(|sleepers| sleepers.asleep());
    }

    /// Wakes those whose job is answered.
    pub(super) fn wake_answered(&self, is_answered: impl Fn(u32) -> bool) {
        self.wake(|sleepers| {
            let wakes = |bed: &usize| match sleepers.jobs[*bed] {
                ANY => *bed == SHARED,
                job => is_answered(job),
            };
            bits(sleepers.asleep()).filter(wakes).fold(0, |beds, bed| beds | 1 << bed)
        });
    }

    /// The caller looks after the queue no more for a while, in which so many jobs
    /// wait: a sleeper does, now or when one comes.
    pub(super) fn hand_over(&self, inbox: &Inbox, waiting: usize, is_closed: bool) {
        self.wake(|sleepers| match sleepers.newest() {
            0 => 0,
            newest if waiting > 0 || !inbox.arm(1, is_closed) => newest,
            _ => 0,
        });
    }

    fn wake(&self, which: impl FnOnce(&Sleepers) -> u64) {
        let beds = {
            let mut sleepers = locked(&self.sleepers);
            let beds = which(&sleepers);
            sleepers.wake(beds)
        };
        // (Who gets up needs the lock.)
        bits(beds).for_each(|bed| self.beds[bed].notify_all());
    }

    /// Sleeps until woken, or for so long, unless `is_awake` under the lock.
    pub(super) fn sleep(&self, job: Option<u32>, ns: Option<u64>, is_awake: impl FnOnce() -> bool) {
        let mut sleepers = locked(&self.sleepers);
        if is_awake() {
            return;
        }
        let bed = sleepers.lie_down(job);
        sleepers = sleep(&self.beds[bed], sleepers, ns);
        sleepers.get_up(bed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    fn asleep(gate: &Gate) -> u32 {
        let sleepers = locked(&gate.sleepers);
        let last = sleepers.shared.saturating_sub(1);
        sleepers.taken.count_ones() + last
    }

    /// Waits until so many sleep.
    fn until(gate: &Gate, count: u32) {
        while asleep(gate) != count {
            std::thread::yield_now();
        }
    }

    #[test]
    fn only_those_are_woken_whose_job_is_answered() {
        let (gate, up) = (Gate::default(), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for job in 0..10 {
                let (gate, up) = (&gate, &up);
                scope.spawn(move || {
                    gate.sleep(Some(job), None, || false);
                    up.fetch_add(1, SeqCst);
                });
            }
            until(&gate, 10);
            gate.wake_answered(|job| job % 5 == 0);
            until(&gate, 8);
            gate.wake_one();
            until(&gate, 7);
            gate.wake_all();
            until(&gate, 0);
        });
        assert_eq!(up.into_inner(), 10);
        gate.sleep(None, None, || true);
        gate.sleep(None, Some(1000), || false);
        assert_eq!(asleep(&gate), 0);
    }

    #[test]
    fn more_sleepers_than_beds_are_woken() {
        let gate = Gate::default();
        let many = BEDS as u32 + 20;
        std::thread::scope(|scope| {
            for job in 0..many {
                let gate = &gate;
                scope.spawn(move || gate.sleep(Some(job), None, || false));
            }
            until(&gate, many);
            gate.wake_answered(|job| job % 2 == 0);
            gate.wake_all();
            until(&gate, 0);
        });
    }
}
