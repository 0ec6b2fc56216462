//! Whether a batch that is not full should wait for company, learned from when jobs
//! came.
//!
//! What is learned is the usual gap between one job and the next, a moving median, which
//! a pause between two bursts hardly moves; and who submits, and whether one job at a time.
//! A batch waits
//!
//! - only when jobs come so fast that batches of one could not keep up with ease: else
//!   the next job finds somebody who runs it at once, and waiting helps nobody;
//! - only when somebody may come: not when all who submitted lately wait already, and
//!   none of them submits a second job before the first is answered;
//! - only as long as jobs go on coming: after a few gaps without one the burst is over.

/// So many gaps without a job end a burst.
const PATIENCE: u64 = 6;
/// Runs of their own would keep those who run busy for one part in so many of the time.
const EASE: u64 = 4;
/// Who did not come among so many jobs is forgotten, or among as many more.
const MEMORY: u32 = 64;

/// Lanes of producers, a bit each.
type Lanes = u64;

/// When jobs came, and whose.
#[derive(Debug, Clone, Copy)]
pub(super) struct Company {
    /// When the newest came.
    last: u64,
    /// The usual gap.
    gap_ns: u64,
    /// Longer gaps are all alike.
    longest_ns: u64,
    /// Who came, and who came while a job of theirs waited: lately, and before.
    came: [Lanes; 2],
    crowded: [Lanes; 2],
    /// Jobs that count as lately.
    count: u32,
}

impl Company {
    /// Nothing is known, and nobody expected.
    pub(super) fn new(longest_ns: u64) -> Company {
        let (came, crowded) = ([0; 2], [0; 2]);
        Company { last: 0, gap_ns: longest_ns, longest_ns, came, crowded, count: 0 }
    }

    /// A job of a lane came, while jobs of these lanes waited.
    pub(super) fn came(&mut self, at: u64, lane: usize, waiting: Lanes) {
        let gap = at.saturating_sub(self.last);
        // A step up and a step down that cancel each other out.
        self.gap_ns = match gap < self.gap_ns {
            true => self.gap_ns - self.gap_ns.div_ceil(5),
            false => (self.gap_ns + self.gap_ns / 4 + 1).min(self.longest_ns),
        };
        self.last = self.last.max(at);
        if self.count == MEMORY {
            (self.came, self.crowded) = ([0, self.came[0]], [0, self.crowded[0]]);
            self.count = 0;
        }
        self.count += 1;
        self.came[0] |= 1 << lane;
        self.crowded[0] |= 1 << lane & waiting;
    }

    /// Until when to wait for the next one, while jobs of these lanes wait; a moment past
    /// when that is not worth it. `one_by_one_ns`: how often jobs could run, each on its own.
    pub(super) fn expected_until(&self, one_by_one_ns: u64, waiting: Lanes) -> u64 {
        let others = (self.came[0] | self.came[1]) & !waiting;
        let nobody = others | self.crowded[0] | self.crowded[1] == 0;
        if nobody || self.gap_ns > one_by_one_ns.saturating_mul(EASE) {
            return 0;
        }
        self.last.saturating_add(self.gap_ns.saturating_mul(PATIENCE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LONGEST: u64 = 200_000;

    /// After so many jobs, so far apart, of two producers in turn.
    fn after(gaps: impl IntoIterator<Item = u64>) -> Company {
        let (mut company, mut at) = (Company::new(LONGEST), 1_000_000);
        for (turn, gap) in gaps.into_iter().enumerate() {
            at += gap;
            company.came(at, turn % 2, 0);
        }
        company
    }

    #[test]
    fn nobody_is_expected_before_something_is_known() {
        assert_eq!(Company::new(LONGEST).expected_until(5_000, 0), 0);
        assert_eq!(after([0]).expected_until(5_000, 1), 0);
    }

    #[test]
    fn rare_jobs_wait_for_nobody_and_frequent_ones_for_the_next() {
        assert_eq!(after([125_000; 100]).expected_until(5_000, 1), 0);
        let company = after([1_000; 100]);
        let wait = company.expected_until(5_000, 1) - company.last;
        assert!((4_000..10_000).contains(&wait), "{wait}");
        assert_eq!(company.expected_until(100, 1), 0, "runs of their own keep up");
    }

    #[test]
    fn a_pause_does_not_end_bursts() {
        let burst = || std::iter::once(16_000_000).chain([500; 30]);
        let company = after((0..10).flat_map(|_| burst()).chain([16_000_000]));
        assert!(company.expected_until(5_000, 1) > company.last, "{company:?}");
    }

    #[test]
    fn nobody_is_expected_when_all_wait_who_submit_one_job_at_a_time() {
        let mut company = after([1_000; 100]);
        assert_eq!(company.expected_until(5_000, 0b11), 0);
        company.came(2_000_000, 1, 0b10);
        assert!(company.expected_until(5_000, 0b11) > 0, "one of them submits a second job");
        (0..2 * MEMORY).for_each(|_| company.came(2_000_000, 0, 0));
        assert_eq!(company.expected_until(5_000, 0b01), 0, "the other has not come for long");
    }

    proptest! {
        #[test]
        fn the_gap_moves_about_the_median(gaps in prop::collection::vec(100..10_000u64, 600)) {
            let known = (200..600).map(|count| after(gaps[..count].iter().copied()).gap_ns);
            let mean = known.sum::<u64>() / 400;
            let mut sorted = gaps.clone();
            sorted.sort_unstable();
            prop_assert!((sorted[150]..sorted[450]).contains(&mean), "{mean} {sorted:?}");
        }

        #[test]
        fn the_wait_is_bounded_whatever_came(
            jobs in prop::collection::vec(
                (prop_oneof![0..1000u64, any::<u64>().prop_map(|n| n >> 8)], 0..64usize, any::<u64>()),
                0..200,
            ),
            one_by_one_ns in any::<u64>(),
        ) {
            let mut company = Company::new(LONGEST);
            let mut at = 0u64;
            for (gap, lane, waiting) in jobs {
                at = at.saturating_add(gap);
                company.came(at, lane, waiting);
                prop_assert!(company.gap_ns <= LONGEST);
                prop_assert!(company.expected_until(one_by_one_ns, waiting) <= at + PATIENCE * LONGEST);
            }
        }
    }
}
