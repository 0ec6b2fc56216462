//! What batches cost, by those before, and how many of the rows that wait are worth one.
//! Pure.
//!
//! A batch runs at the next power of two of rows. Where a model's time grows with its rows,
//! 20 of them cost as much as 32, and more than 16 and then 4.

/// What takes less is over before a thread that sleeps would be awake.
const SMALL_NS: u64 = 50_000;

/// What batches of 1, 2, 4, … rows took; 0 for none yet.
#[derive(Default)]
pub(super) struct Costs([u64; 16]);

fn class(rows: u32) -> usize {
    (rows.clamp(1, 1 << 15).next_power_of_two().ilog2() as usize).min(15)
}

impl Costs {
    /// What a batch of so many rows may take.
    pub(super) fn ns(&self, rows: u32) -> u64 {
        self.0[class(rows)]
    }

    /// Whether a batch of so many rows is over sooner than somebody else would begin it.
    pub(super) fn is_small(&self, rows: u32) -> bool {
        self.ns(rows) < SMALL_NS
    }

    /// Whether all are, of any size that ran.
    pub(super) fn are_small(&self) -> bool {
        self.0.iter().all(|ns| *ns < SMALL_NS)
    }

    /// What one took.
    pub(super) fn note(&mut self, rows: u32, ns: u64) {
        let cost = &mut self.0[class(rows)];
        // (A run that was held up says little about the next one.)
        *cost = if *cost == 0 { ns.max(1) } else { (*cost * 7 + ns.min(*cost * 4)) / 8 };
    }

    /// How many of the rows that wait to run now: all, or fewer where these and then the
    /// rest take less time than all together.
    pub(super) fn worth(&self, waiting: u32) -> u32 {
        let part = match waiting.checked_ilog2() {
            Some(bits) if !waiting.is_power_of_two() => 1 << bits,
            _ => return waiting,
        };
        let (whole, part_ns, rest_ns) = (self.ns(waiting), self.ns(part), self.ns(waiting - part));
        let is_known = part_ns > 0 && rest_ns > 0;
        if is_known && part_ns + rest_ns < whole { part } else { waiting }
    }

    /// How many of them to run with `own`, which come first: as many as make a row so much
    /// cheaper that it is worth keeping those waiting who would run them themselves.
    pub(super) fn joined(&self, own: u32, waiting: u32) -> u32 {
        let mut rows = self.worth(own);
        if rows < own {
            return rows;
        }
        rows = rows.next_power_of_two();
        while rows < waiting && 2 * self.ns(2 * rows) < 3 * self.ns(rows).max(1) {
            rows *= 2;
        }
        rows.min(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn costs(ns: impl Fn(u32) -> u64) -> Costs {
        let mut costs = Costs::default();
        (0..6).for_each(|bits| costs.note(1 << bits, ns(1 << bits)));
        costs
    }

    #[test]
    fn rows_that_cost_run_in_full_batches_and_others_together() {
        let linear = costs(|rows| 1000 + 500 * u64::from(rows));
        assert_eq!(
            [1, 8, 9, 20, 24, 31, 32].map(|rows| linear.worth(rows)),
            [1, 8, 8, 16, 16, 31, 32]
        );
        let flat = costs(|_| 5000);
        assert_eq!([3, 9, 20].map(|rows| flat.worth(rows)), [3, 9, 20]);
        assert_eq!(
            [0, 3, 20].map(|rows| Costs::default().worth(rows)),
            [0, 3, 20],
            "nothing is known"
        );
    }

    #[test]
    fn own_rows_take_others_along_where_that_makes_them_cheaper() {
        let linear = costs(|rows| 3000 + 500 * u64::from(rows));
        assert_eq!(
            [(1, 32), (3, 32), (4, 32), (8, 20), (8, 9), (12, 20)]
                .map(|(own, all)| linear.joined(own, all)),
            [8, 8, 8, 8, 8, 16],
            "up to the doubling that costs half as much again"
        );
        let steep = costs(|rows| 500 * u64::from(rows));
        assert_eq!(
            [(1, 32), (8, 32), (20, 32)].map(|(own, all)| steep.joined(own, all)),
            [1, 8, 16]
        );
        assert_eq!(Costs::default().joined(3, 30), 30, "nothing is known");
        let large = costs(|rows| 2000 * u64::from(rows));
        assert!(linear.are_small() && large.is_small(16) && !large.are_small());
    }

    #[test]
    fn a_run_that_was_held_up_counts_little() {
        let mut costs = costs(|_| 1000);
        costs.note(8, 5_000_000);
        assert_eq!(costs.ns(8), 1375);
        (0..100).for_each(|_| costs.note(8, 3000));
        assert!((2900..=3000).contains(&costs.ns(8)));
    }

    proptest! {
        #[test]
        fn what_runs_is_never_dearer_than_all(ns in prop::array::uniform16(0..1u64 << 40), rows in 1..4096u32) {
            let costs = Costs(ns);
            let first = costs.worth(rows);
            prop_assert!(first >= 1 && first <= rows);
            if first < rows {
                prop_assert!(costs.ns(first) + costs.ns(rows - first) < costs.ns(rows));
            }
        }
    }
}
