//! How much too late a sleeper wakes, so that it goes to sleep for shorter. Pure.
//!
//! A timer of the system's fires late, and a processor that was idle takes its time to
//! come back: from a few microseconds to hundreds, by machine. Who has to begin a batch at a
//! moment sleeps until shortly before, and looks at the clock from there on.

use super::policy::NEVER;

/// What comes later is the scheduler's doing, and no earlier alarm would help.
const MOST_NS: u64 = 100_000;

/// How late one sleeper was.
pub(super) struct Punctual {
    least_ns: u64,
    late_ns: u64,
}

impl Punctual {
    /// Expects to be late by so much at the least.
    pub(super) fn new(least_ns: u64) -> Punctual {
        Punctual { least_ns, late_ns: least_ns }
    }

    /// When to be woken in order to be there then.
    pub(super) fn early(&self, until: u64) -> u64 {
        if until == NEVER { NEVER } else { until.saturating_sub(self.late_ns) }
    }

    /// It was to be woken then, and was awake at `now`, by the timer or sooner.
    pub(super) fn woke(&mut self, alarm: u64, now: u64) {
        let Some(late) = now.checked_sub(alarm) else { return };
        if late > MOST_NS {
            return;
        }
        // The latest of the last few dozen times, and a little more.
        let kept = self.late_ns - self.late_ns / 64;
        self.late_ns = kept.max(late + late / 4).max(self.least_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_is_as_early_as_it_was_late() {
        let mut punctual = Punctual::new(50_000);
        let early = |punctual: &Punctual| 1_000_000 - punctual.early(1_000_000);
        assert_eq!(
            (early(&punctual), punctual.early(10), punctual.early(NEVER)),
            (50_000, 0, NEVER)
        );
        punctual.woke(1_000, 81_000);
        assert_eq!(early(&punctual), 100_000);
        punctual.woke(1_000, 900);
        punctual.woke(NEVER, 900);
        punctual.woke(0, 10 * MOST_NS);
        assert_eq!(early(&punctual), 100_000, "woken by a job, or held up by others");
        (0..200).for_each(|_| punctual.woke(1_000, 1_001));
        assert_eq!(early(&punctual), 50_000, "it forgets");
    }
}
