//! Slices of a run: how much of it one call does.
//!
//! A run is a list of parts, each of which is done in one go: a step, or rows of a
//! large one. A slice begins with the part that the one before ended at, and does
//! parts for as long as what is left of its budget covers what the next one took
//! before. At least one part is done, whatever the budget, so that a run comes to its
//! end.

use std::time::{Duration, Instant};

/// What is left of a call's budget.
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    /// None: for ever.
    until: Option<Instant>,
    /// A part was done.
    has_begun: bool,
}

impl Slice {
    /// From now on, for so long.
    pub fn of(budget: Duration) -> Slice {
        Slice { until: Instant::now().checked_add(budget), has_begun: false }
    }

    /// Whether a part that takes so many nanoseconds may begin; then, when it does.
    pub fn admits(&mut self, cost: u64) -> Option<Instant> {
        let now = Instant::now();
        let fits = |until: Instant| {
            let left = until.saturating_duration_since(now);
            left > Duration::ZERO && left >= Duration::from_nanos(cost)
        };
        let admitted = !self.has_begun || self.until.is_none_or(fits);
        self.has_begun |= admitted;
        admitted.then_some(now)
    }
}

/// What parts of steps take, in nanoseconds, by step: as they were measured, and until
/// then as was estimated, at the rate that other estimates proved to be off by.
#[derive(Debug, Clone, Default)]
pub(super) struct Costs {
    measured: Box<[u32]>,
    /// Of steps that were measured: what was estimated, and what it came to.
    rate: [u64; 2],
}

impl Costs {
    /// Of so many steps, none of them measured.
    pub fn of(steps: usize) -> Costs {
        Costs { measured: vec![0; steps].into(), rate: [0; 2] }
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        size_of_val(&*self.measured) as u64
    }

    /// What a part of a step takes, which was estimated so.
    pub fn expected(&self, step: usize, estimate: u64) -> u64 {
        match (self.measured.get(step).copied().unwrap_or(0), self.rate) {
            (0, [0, _]) => estimate,
            (0, [estimated, measured]) => {
                let scaled = u128::from(estimate) * u128::from(measured) / u128::from(estimated);
                u64::try_from(scaled).unwrap_or(u64::MAX)
            }
            (measured, _) => u64::from(measured),
        }
    }

    /// A part of a step took so long, which was estimated so. A cost rises fast, but no
    /// more than to the double at a time, since a thread may be stopped for long; and
    /// falls slowly.
    pub fn learn(&mut self, step: usize, estimate: u64, took: u64) {
        let Some(cost) = self.measured.get_mut(step) else { return };
        let took = u32::try_from(took).unwrap_or(u32::MAX).max(1);
        *cost = match *cost {
            0 => {
                self.rate[0] = self.rate[0].saturating_add(estimate);
                self.rate[1] = self.rate[1].saturating_add(u64::from(took));
                took
            }
            old if took > old => took.min(old.saturating_mul(2)),
            old => old - (old - took) / 8,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_does_one_part_at_least_and_no_part_that_does_not_fit() {
        let mut slice = Slice::of(Duration::ZERO);
        assert!(slice.admits(u64::MAX).is_some(), "the first one");
        assert!(slice.admits(0).is_none());
        let mut slice = Slice::of(Duration::from_secs(3600));
        let hours = |n: u64| n * 3_600_000_000_000;
        assert!(slice.admits(hours(2)).is_some());
        assert!(slice.admits(hours(2)).is_none());
        assert!(slice.admits(1_000_000).is_some(), "what fits still");
        let mut slice = Slice::of(Duration::MAX);
        assert!(slice.admits(u64::MAX).is_some() && slice.admits(u64::MAX).is_some());
    }

    #[test]
    fn a_cost_is_what_was_measured_and_else_an_estimate_to_scale() {
        let mut costs = Costs::of(3);
        assert_eq!(costs.expected(0, 100), 100);
        costs.learn(0, 100, 1000);
        assert_eq!((costs.expected(0, 100), costs.expected(1, 50)), (1000, 500));
        costs.learn(0, 100, 50_000);
        assert_eq!(costs.expected(0, 100), 2000, "no more than the double");
        (0..100).for_each(|_| costs.learn(0, 100, 1000));
        assert!((1000..1010).contains(&costs.expected(0, 100)));
        costs.learn(7, 1, 1);
        assert_eq!(costs.expected(7, 100), 1000, "a step that is not there");
    }
}
