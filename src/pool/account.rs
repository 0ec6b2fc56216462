//! The account of a model or a session: what it holds, and what it may hold.

use super::accounts::{
    Chain, Holder, Id, RUNTIME, TABLE, any, begin, out_of_budget, slot, take_number,
};
use super::balance::{Balance, Budget, Counts};
use super::ledger;
use super::shard;
use crate::error::{self, Result};
use std::marker::PhantomData;

/// The account of a model or a session. It is closed when dropped.
#[derive(Debug)]
pub struct Account {
    id: Id,
    /// There were no numbers left: this is the account above.
    lent: bool,
}

impl Account {
    /// An account below `parent`, or below the runtime's, called `name`.
    pub fn open(parent: Option<&Account>, name: &str, budget: Budget) -> Result<Account> {
        let (above, holder) = match parent {
            None => (RUNTIME, Holder::Model),
            Some(model) => (model.id, Holder::Session),
        };
        let Some(id) = take_number() else {
            if budget != Budget::NONE {
                return Err(error::limit_exceeded(format!(
                    "{} models and sessions have accounts: no more can have a budget",
                    Id::MAX
                )));
            }
            return Ok(Account { id: above, lent: true });
        };
        begin(id, above, holder, name, budget);
        Ok(Account { id, lent: false })
    }

    /// What this thread takes is credited to it, until the answer is dropped.
    pub fn charge(&self) -> Charge<'_> {
        Charge::of(self.id)
    }

    /// What it holds, and those below it.
    pub fn stats(&self) -> Stats {
        stats_of(self.id)
    }

    /// Sets what it may hold from now on.
    pub fn set_budget(&self, budget: Budget) -> Result<()> {
        if self.lent {
            return Err(error::limit_exceeded(format!(
                "{} models and sessions have accounts: this one has none of its own, and no budget",
                Id::MAX
            )));
        }
        slot(self.id).balance.set_budget(budget);
        Ok(())
    }

    /// Bytes it holds, and those below it do not.
    pub fn own_bytes(&self) -> u64 {
        ledger::settle();
        let table = TABLE.lock();
        let mut own = slot(self.id).balance.live();
        for at in (1..table.made).map(|at| at as Id).filter(|at| *at != self.id) {
            if Chain::of(at).is_child_of(self.id) {
                own -= slot(at).balance.live();
            }
        }
        own.max(0) as u64
    }

    /// Begins to watch what it holds at the most.
    pub fn watch(&self) {
        ledger::flush();
        slot(self.id).balance.watch();
    }

    /// The most it held since the watch began.
    pub fn most_bytes(&self) -> u64 {
        ledger::flush();
        slot(self.id).balance.lately().max(0) as u64
    }

    /// Refuses where it, or one above it, holds more than it may.
    #[inline]
    pub fn check(&self) -> Result<()> {
        let is_over = |balance: &Balance| {
            u64::try_from(balance.live()).is_ok_and(|live| live > balance.budget().hard_bytes)
        };
        if any(self.id, is_over) { expect_more(self.id, 0) } else { Ok(()) }
    }

    /// Refuses what is known to need `bytes` in all of this account, which is
    /// credited now, where it, or one above it, may not hold as much.
    pub fn expect(&self, bytes: u64) -> Result<()> {
        if !ledger::is_bounded() {
            return Ok(());
        }
        ledger::settle();
        let more = i64::try_from(bytes).unwrap_or(i64::MAX) - slot(self.id).balance.live();
        expect_more(self.id, more)
    }
}

/// Refuses what is known to take `bytes` more, where the account that is
/// credited, or one above it, may not hold as much.
pub fn expect(bytes: u64) -> Result<()> {
    ledger::settle();
    expect_more(ledger::account(), i64::try_from(bytes).unwrap_or(i64::MAX))
}

fn expect_more(id: Id, more: i64) -> Result<()> {
    let chain = Chain::of(id);
    for (at, balance) in chain.balances().iter().enumerate() {
        let hard = balance.budget().hard_bytes;
        let need = balance.live().saturating_add(more);
        if more >= 0 && u64::try_from(need).is_ok_and(|need| need > hard) {
            chain.own().count(Counts { refused: 1, ..Default::default() });
            return Err(out_of_budget(chain.id(at), need, more, hard));
        }
    }
    Ok(())
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.lent {
            return;
        }
        // Blocks given back just now may have been this account's.
        ledger::settle();
        TABLE.lock().close(self.id);
    }
}

/// Everything this thread takes is credited to one account while this lives.
#[must_use]
pub struct Charge<'a> {
    outer: Id,
    /// Of this thread only, and no longer than the account is open.
    of: PhantomData<(&'a (), *const ())>,
}

impl Charge<'_> {
    pub(super) fn of(id: Id) -> Self {
        Charge { outer: ledger::switch(id), of: PhantomData }
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        ledger::switch(self.outer);
    }
}

/// What an account holds, and what it took to get it. Threads that are inside a
/// call may have drawn ahead, or not counted yet, up to 64 KiB each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes taken and not given back.
    pub live_bytes: u64,
    /// The most of them at once.
    pub peak_bytes: u64,
    /// What its tensors take of the pool; of the runtime, what the pool has of
    /// its source that is in use, or was and may be resident still.
    pub committed_bytes: u64,
    /// Free blocks that threads have at hand; they are nobody's but the
    /// runtime's.
    pub cached_bytes: u64,
    /// Tensors that a thread had a block for.
    pub hits: u64,
    /// Tensors that a thread's shard had a block for.
    pub shared_hits: u64,
    /// Tensors for which memory was taken that was not in use before.
    pub misses: u64,
    /// How often the pool asked its source for memory, or gave some back.
    pub source_calls: u64,
    /// Requests that were not met as they were asked.
    pub refused: u64,
    /// How often a soft budget was passed.
    pub soft_passed: u64,
    /// What it may hold.
    pub budget: Budget,
}

/// What the whole library holds.
pub fn stats() -> Stats {
    let (committed, out) = shard::committed();
    let all = stats_of(RUNTIME);
    let cached_bytes = out.saturating_sub(all.committed_bytes);
    Stats { committed_bytes: committed, cached_bytes, ..all }
}

/// Sets what the whole library may hold from now on.
pub fn set_budget(budget: Budget) {
    slot(RUNTIME).balance.set_budget(budget);
}

fn stats_of(id: Id) -> Stats {
    ledger::settle();
    // No number changes hands meanwhile.
    let table = TABLE.lock();
    let own = slot(id);
    let (mut counts, mut passed, mut blocks) = (Counts::default(), 0, 0);
    let alone = id != RUNTIME && own.entry.lock().children == 0;
    let all = if alone { id as usize..id as usize + 1 } else { 0..table.made };
    for at in all {
        let chain = Chain::of(at as Id);
        if !chain.contains(id) {
            continue;
        }
        let of = chain.own().counts();
        counts.hits += of.hits;
        counts.shared_hits += of.shared_hits;
        counts.misses += of.misses;
        counts.source_calls += of.source_calls;
        counts.refused += of.refused;
        passed += chain.own().passed();
        blocks += chain.own().blocks();
    }
    let Counts { hits, shared_hits, misses, source_calls, refused } = counts;
    let live = own.balance.live();
    Stats {
        live_bytes: live.max(0) as u64,
        peak_bytes: own.balance.peak().max(live).max(0) as u64,
        committed_bytes: blocks.max(0) as u64,
        cached_bytes: 0,
        hits,
        shared_hits,
        misses,
        source_calls,
        refused,
        soft_passed: passed,
        budget: own.balance.budget(),
    }
}

#[cfg(all(test, feature = "capi"))]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::pool::{Scope, UNBOUNDED};
    use std::alloc::{Layout, alloc, dealloc};
    use std::hint::black_box;
    use std::sync::atomic::Ordering;

    fn open(parent: Option<&Account>, hard_bytes: u64) -> Account {
        Account::open(parent, "test", Budget { soft_bytes: UNBOUNDED, hard_bytes }).unwrap()
    }

    struct Block(*mut u8, Layout);

    // SAFETY: a block is its holder's, on whatever thread.
    unsafe impl Send for Block {}

    impl Block {
        fn take(size: usize) -> Option<Block> {
            let layout = Layout::from_size_align(size, 64).unwrap();
            // SAFETY: the layout is not empty.
            let block = unsafe { black_box(alloc(layout)) };
            (!block.is_null()).then(|| Block(block, layout))
        }
    }

    impl Drop for Block {
        fn drop(&mut self) {
            // SAFETY: taken with this layout.
            unsafe { dealloc(self.0, self.1) }
        }
    }

    #[test]
    fn a_block_is_credited_to_whom_it_was_taken_for_whichever_thread_frees_it() {
        let model = open(None, UNBOUNDED);
        let session = open(Some(&model), UNBOUNDED);
        let blocks: Vec<Block> = {
            let sizes = [100, 5_000, 70_000, 3 << 20];
            let mut blocks = Vec::with_capacity(sizes.len());
            let _charge = session.charge();
            blocks.extend(sizes.map(|size| Block::take(size).unwrap()));
            blocks
        };
        let all = (100 + 5_000 + 70_000 + (3 << 20)) as u64;
        assert_eq!((session.stats().live_bytes, session.stats().peak_bytes), (all, all));
        assert!(session.stats().committed_bytes >= all);
        let (model_stats, session_stats) = (model.stats(), session.stats());
        assert_eq!(model_stats.live_bytes, all);
        assert_eq!(model_stats.committed_bytes, session_stats.committed_bytes);
        assert_eq!((model.own_bytes(), model_stats.misses), (0, session_stats.misses));
        std::thread::spawn(move || drop(blocks)).join().unwrap();
        let after = session.stats();
        assert_eq!((after.live_bytes, after.committed_bytes, after.peak_bytes), (0, 0, all));
        assert_eq!(model.stats().live_bytes, 0);
    }

    #[test]
    fn a_budget_holds_to_the_byte() {
        let account = open(None, 10_000);
        let _charge = account.charge();
        let scope = Scope::open(u64::MAX);
        let first = Block::take(6_000).unwrap();
        assert!(Block::take(4_001).is_none());
        let e = scope.settle().unwrap_err();
        assert_eq!(e.kind(), Kind::OutOfBudget);
        assert!(e.detail().contains("10001 bytes"), "{e}");
        drop(e); // (Its text is the account's, too.)
        let second = Block::take(4_000).unwrap();
        assert!(Block::take(1).is_none());
        drop(first);
        assert!(Block::take(6_000).is_some() && Block::take(6_001).is_none());
        account.set_budget(Budget::NONE).unwrap();
        drop(scope);
        let scope = Scope::open(u64::MAX);
        assert!(Block::take(1 << 20).is_some() || account.expect(1 << 20).is_ok());
        drop((second, scope));
        assert!(account.stats().refused >= 3);
    }

    #[test]
    fn what_cannot_be_refused_is_granted_noted_and_told() {
        let account = open(None, 1_000);
        let _charge = account.charge();
        let scope = Scope::open(u64::MAX);
        let granted: Vec<u8> = black_box(Vec::with_capacity(50_000));
        assert_eq!(crate::pool::check().unwrap_err().kind(), Kind::OutOfBudget);
        assert_eq!(scope.settle().unwrap_err().kind(), Kind::OutOfBudget);
        assert_eq!(account.stats().live_bytes, 50_000);
        drop(granted);
        assert_eq!(account.stats().live_bytes, 0);
    }

    #[test]
    fn many_threads_never_hold_more_than_their_models_budget() {
        const HARD: u64 = 1 << 20;
        let model = open(None, HARD);
        let held = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|threads| {
            for at in 0..4 {
                let (model, held) = (&model, &held);
                threads.spawn(move || {
                    let session = open(Some(model), UNBOUNDED);
                    let mut blocks = Vec::with_capacity(64);
                    let _charge = session.charge();
                    let _scope = Scope::open(u64::MAX);
                    for turn in 0..20_000usize {
                        let size = 1 + (turn * 7919 + at * 104_729) % 60_000;
                        let Some(block) = Block::take(size) else {
                            while let Some(Block(_, layout)) = blocks.last() {
                                held.fetch_sub(layout.size(), Ordering::SeqCst);
                                blocks.pop();
                            }
                            continue;
                        };
                        let now = held.fetch_add(size, Ordering::SeqCst) + size;
                        assert!(now as u64 <= HARD, "{now}");
                        blocks.push(block);
                        if blocks.len() == blocks.capacity() {
                            let block = blocks.swap_remove(turn % 64);
                            held.fetch_sub(block.1.size(), Ordering::SeqCst);
                        }
                    }
                    for block in &blocks {
                        held.fetch_sub(block.1.size(), Ordering::SeqCst);
                    }
                });
            }
        });
        let after = model.stats();
        assert_eq!(after.live_bytes, 0);
        assert!(after.refused > 0 && after.peak_bytes <= HARD, "{after:?}");
    }

    #[test]
    fn a_closed_account_ends_with_its_last_block() {
        let model = open(None, UNBOUNDED);
        let session = open(Some(&model), UNBOUNDED);
        let block = {
            let _charge = session.charge();
            Block::take(2_000).unwrap()
        };
        let id = session.id;
        drop(session);
        assert_eq!(model.stats().live_bytes, 2_000);
        assert!(slot(id).entry.lock().used, "its block is there");
        drop(block);
        let above = model.id;
        drop(model);
        TABLE.lock().collect();
        assert!(!slot(id).entry.lock().used || slot(id).entry.lock().open);
        assert!(!slot(above).entry.lock().used || slot(above).entry.lock().open);
    }

    #[test]
    fn without_a_number_a_session_is_counted_with_its_model() {
        let model = open(None, UNBOUNDED);
        let all: Vec<Account> = std::iter::from_fn(|| {
            let account = Account::open(Some(&model), "one of many", Budget::NONE).unwrap();
            (!account.lent).then_some(account)
        })
        .collect();
        assert!(all.len() > 60_000);
        let late = Account::open(Some(&model), "late", Budget::NONE).unwrap();
        assert!(late.set_budget(Budget::NONE).is_err());
        let bounded = Budget { soft_bytes: 1, hard_bytes: 1 };
        let refused = Account::open(Some(&model), "late", bounded).unwrap_err();
        assert_eq!(refused.kind(), Kind::LimitExceeded);
        let held = {
            let _charge = late.charge();
            Block::take(3_000).unwrap()
        };
        drop(late);
        assert_eq!(model.stats().live_bytes, 3_000);
        drop(held);
    }
}
