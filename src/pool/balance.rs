//! What one account holds, and what it may hold.
//!
//! A thread does not touch a balance for every block: it *draws* some tens of
//! KiB ahead, and settles when it leaves the account (`ledger`). So a balance
//! is never less than what its blocks come to, except for what threads without
//! a budget in sight hold below [`SLACK`] each.

use crate::sync::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// No budget: anything may be held.
pub const UNBOUNDED: u64 = u64::MAX;

/// What a thread may hold of an account without a budget before it draws.
pub(super) const SLACK: i64 = 64 << 10;

/// The bounds of an account, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Past this there is an event, and nothing else.
    pub soft_bytes: u64,
    /// What goes past this is refused.
    pub hard_bytes: u64,
}

impl Budget {
    /// No bounds.
    pub const NONE: Budget = Budget { soft_bytes: UNBOUNDED, hard_bytes: UNBOUNDED };
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::NONE
    }
}

/// What happened for an account, besides what it holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) hits: u64,
    pub(super) shared_hits: u64,
    pub(super) misses: u64,
    pub(super) source_calls: u64,
    pub(super) refused: u64,
}

/// The first account of a chain that had no room, and what it held then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom {
    /// Which of the chain.
    pub(super) at: usize,
    pub(super) held: i64,
    pub(super) hard: u64,
}

/// Every count is the sum of what threads added, in any order: `Relaxed` loses
/// nothing of a sum, and nobody reads other memory by it.
#[derive(Debug)]
pub(crate) struct Balance {
    live: AtomicI64,
    peak: AtomicI64,
    /// As `peak`, since the watch began.
    lately: AtomicI64,
    /// What its tensors take of the pool.
    blocks: AtomicI64,
    soft: AtomicU64,
    hard: AtomicU64,
    /// How often the soft budget was passed.
    passed: AtomicU64,
    /// It is past its soft budget now: 1.
    over: AtomicU64,
    hits: AtomicU64,
    shared_hits: AtomicU64,
    misses: AtomicU64,
    source_calls: AtomicU64,
    refused: AtomicU64,
}

fn add(count: &AtomicU64, more: u64) {
    if more != 0 {
        count.fetch_add(more, Relaxed);
    }
}

impl Balance {
    #[cfg(not(loom))]
    pub(super) const fn new() -> Balance {
        Balance {
            live: AtomicI64::new(0),
            peak: AtomicI64::new(0),
            lately: AtomicI64::new(0),
            blocks: AtomicI64::new(0),
            soft: AtomicU64::new(UNBOUNDED),
            hard: AtomicU64::new(UNBOUNDED),
            passed: AtomicU64::new(0),
            over: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            shared_hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            source_calls: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    #[cfg(loom)]
    pub(super) fn new() -> Balance {
        Balance {
            live: AtomicI64::new(0),
            peak: AtomicI64::new(0),
            lately: AtomicI64::new(0),
            blocks: AtomicI64::new(0),
            soft: AtomicU64::new(UNBOUNDED),
            hard: AtomicU64::new(UNBOUNDED),
            passed: AtomicU64::new(0),
            over: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            shared_hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            source_calls: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    pub(super) fn live(&self) -> i64 {
        self.live.load(Relaxed)
    }

    pub(super) fn peak(&self) -> i64 {
        self.peak.load(Relaxed)
    }

    /// Begins to watch what is held at the most.
    pub(super) fn watch(&self) {
        self.lately.store(self.live(), Relaxed);
    }

    pub(super) fn lately(&self) -> i64 {
        self.lately.load(Relaxed)
    }

    pub(super) fn blocks(&self) -> i64 {
        self.blocks.load(Relaxed)
    }

    pub(super) fn passed(&self) -> u64 {
        self.passed.load(Relaxed)
    }

    pub(super) fn budget(&self) -> Budget {
        Budget { soft_bytes: self.soft.load(Relaxed), hard_bytes: self.hard.load(Relaxed) }
    }

    pub(super) fn set_budget(&self, budget: Budget) {
        self.soft.store(budget.soft_bytes, Relaxed);
        self.hard.store(budget.hard_bytes, Relaxed);
        self.over.store(0, Relaxed);
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.budget() != Budget::NONE
    }

    /// As it was made: nothing is held, and nobody uses it.
    pub(super) fn clear(&self) {
        self.set_budget(Budget::NONE);
        self.peak.store(0, Relaxed);
        let counts =
            [&self.passed, &self.hits, &self.shared_hits, &self.misses, &self.source_calls];
        for count in counts.into_iter().chain([&self.refused]) {
            count.store(0, Relaxed);
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            hits: self.hits.load(Relaxed),
            shared_hits: self.shared_hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            source_calls: self.source_calls.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }

    pub(super) fn count(&self, counts: Counts) {
        add(&self.hits, counts.hits);
        add(&self.shared_hits, counts.shared_hits);
        add(&self.misses, counts.misses);
        add(&self.source_calls, counts.source_calls);
        add(&self.refused, counts.refused);
    }

    pub(super) fn add_passed(&self, more: u64) {
        add(&self.passed, more);
    }

    pub(super) fn add_blocks(&self, more: i64) {
        if more != 0 {
            self.blocks.fetch_add(more, Relaxed);
        }
    }

    /// Adds to what is held, whatever the budget; what is held then.
    pub(super) fn add(&self, more: i64) -> i64 {
        match more {
            0 => self.live(),
            _ => self.live.fetch_add(more, Relaxed) + more,
        }
    }

    /// Adds to what is held, unless that goes past the hard budget: what is
    /// held then, or what was found instead.
    fn try_add(&self, more: i64) -> Result<i64, i64> {
        let hard = self.hard.load(Relaxed);
        if hard == UNBOUNDED {
            return Ok(self.add(more));
        }
        let mut live = self.live.load(Relaxed);
        loop {
            let after = live.saturating_add(more);
            if u64::try_from(after).is_ok_and(|after| after > hard) {
                return Err(live);
            }
            match self.live.compare_exchange_weak(live, after, Relaxed, Relaxed) {
                Ok(_) => return Ok(after),
                Err(now) => live = now,
            }
        }
    }

    /// That so much is held at this moment; whether the soft budget is passed
    /// by it.
    pub(super) fn see(&self, held: i64) -> bool {
        if held > self.peak.load(Relaxed) {
            self.peak.fetch_max(held, Relaxed);
        }
        if held > self.lately.load(Relaxed) {
            self.lately.fetch_max(held, Relaxed);
        }
        let soft = self.soft.load(Relaxed);
        if soft == UNBOUNDED {
            return false;
        }
        let over = u64::from(u64::try_from(held).is_ok_and(|held| held > soft));
        if over == self.over.load(Relaxed) || over == self.over.swap(over, Relaxed) {
            return false;
        }
        add(&self.passed, over);
        over == 1
    }
}

/// Draws `more` bytes of every account of a chain, or of none: the innermost
/// comes first. They are asked for because so much is `wanted` of them; what is
/// held with that, `seen` is told for each.
pub(super) fn draw(
    chain: &[&Balance],
    more: i64,
    wanted: i64,
    mut passed: impl FnMut(usize),
) -> Result<(), NoRoom> {
    for (at, balance) in chain.iter().enumerate() {
        match balance.try_add(more) {
            Ok(after) => {
                if balance.see(after - more + wanted) {
                    passed(at);
                }
            }
            Err(held) => {
                chain[..at].iter().for_each(|below| {
                    below.add(-more);
                });
                return Err(NoRoom { at, held, hard: balance.budget().hard_bytes });
            }
        }
    }
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn bounded(soft_bytes: u64, hard_bytes: u64) -> Balance {
        let balance = Balance::new();
        balance.set_budget(Budget { soft_bytes, hard_bytes });
        balance
    }

    #[test]
    fn a_chain_is_drawn_from_whole_or_not_at_all() {
        let (inner, outer) = (bounded(UNBOUNDED, 100), bounded(UNBOUNDED, 150));
        let none = |_| unreachable!();
        draw(&[&inner, &outer], 90, 90, none).unwrap();
        let refused = draw(&[&inner, &outer], 11, 11, none).unwrap_err();
        assert_eq!(refused, NoRoom { at: 0, held: 90, hard: 100 });
        draw(&[&inner, &outer], 10, 10, none).unwrap();
        let other = Balance::new();
        let refused = draw(&[&other, &outer], 51, 51, none).unwrap_err();
        assert_eq!((refused.at, refused.held, other.live()), (1, 100, 0));
        assert_eq!((inner.live(), outer.live(), outer.peak()), (100, 100, 100));
        assert!(draw(&[&bounded(UNBOUNDED, 0)], 1, 1, none).is_err());
    }

    #[test]
    fn the_soft_budget_is_told_at_each_passing() {
        let balance = bounded(100, UNBOUNDED);
        let mut told = 0;
        let mut take = |more: i64| draw(&[&balance], more, more, |_| told += 1).unwrap();
        take(100);
        take(1);
        take(5);
        balance.see(balance.add(-50));
        take(60);
        assert_eq!((told, balance.passed()), (2, 2));
    }

    #[test]
    fn the_peak_is_what_was_wanted_and_not_what_was_drawn() {
        let balance = Balance::new();
        draw(&[&balance], 1000, 10, |_| ()).unwrap();
        assert_eq!((balance.live(), balance.peak()), (1000, 10));
    }
}
