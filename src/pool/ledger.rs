//! What the current thread holds for the call it is in, whose account it is,
//! and how a request is answered that goes past what may be held.

use super::accounts::{self, Chain, Id, RUNTIME};
use super::balance::{Counts, SLACK};
use super::block;
use super::cache::Cache;
use super::heap::{self, TENSOR_ALIGN};
use super::keeper::Keeper;
use super::source::{self, SourceId};
use std::alloc::Layout;
use std::cell::Cell;
use std::ptr::{self, null, null_mut};

/// How far over the limit of a scope requests go that must not be refused.
const OVERDRAFT: i64 = 16 << 20;

/// Why a request was not met as it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It would have gone past the limit.
    Limit,
    /// Its source had no memory.
    Source,
    /// It would have gone past the hard budget of an account, whose number this
    /// is, with the budget.
    Budget(u16, u64),
}

/// The first request of a scope that was not met as it was asked.
#[derive(Debug, Clone, Copy)]
pub struct Shortage {
    /// Bytes asked for.
    pub bytes: usize,
    /// Bytes held at that moment: by the thread, or by the account.
    pub held: i64,
    /// Why.
    pub cause: Cause,
}

/// The first shortage of a scope. (Whether there is one is asked in every call, and a
/// value that was written in parts is slow to read as a whole.)
pub(super) struct Noted {
    is_there: Cell<bool>,
    what: Cell<Shortage>,
}

impl Noted {
    const fn nothing() -> Noted {
        let what = Shortage { bytes: 0, held: 0, cause: Cause::Limit };
        Noted { is_there: Cell::new(false), what: Cell::new(what) }
    }

    #[inline]
    pub(super) fn get(&self) -> Option<Shortage> {
        self.is_there.get().then(|| self.what.get())
    }

    #[inline]
    pub(super) fn set(&self, short: Shortage) {
        self.what.set(short);
        self.is_there.set(true);
    }

    #[inline]
    pub(super) fn clear(&self) {
        self.is_there.set(false);
    }
}

/// One thread's ledger. `const`, without a destructor (invariant 4).
pub(super) struct Ledger {
    /// A scope is open.
    pub(super) open: Cell<bool>,
    pub(super) live: Cell<i64>,
    pub(super) limit: Cell<i64>,
    pub(super) short: Noted,
    pub(super) keeper: Cell<*const Keeper>,
    /// The account that is credited.
    account: Cell<Id>,
    /// What this thread took of the account and gave back, since it settled.
    net: Cell<i64>,
    /// The most that `net` was.
    top: Cell<i64>,
    /// How far `net` may go before more is drawn.
    drawn: Cell<i64>,
    /// What `drawn` began with, which the account does not know of.
    slack: Cell<i64>,
    /// Nothing is drawn ahead: the thread waits for another one, whose it is.
    pub(super) exactly: Cell<bool>,
    /// As `net`, for what tensors take of the pool.
    blocks: Cell<i64>,
    refused: Cell<u64>,
    /// An account whose soft budget was passed and not told; 0 is the runtime's.
    passed: Cell<Option<Id>>,
    pub(super) cache: Cache,
}

thread_local! {
    static LEDGER: Ledger = const {
        Ledger {
            open: Cell::new(false),
            live: Cell::new(0),
            limit: Cell::new(i64::MAX),
            short: Noted::nothing(),
            keeper: Cell::new(null()),
            account: Cell::new(RUNTIME),
            net: Cell::new(0),
            top: Cell::new(0),
            drawn: Cell::new(SLACK),
            slack: Cell::new(SLACK),
            exactly: Cell::new(false),
            blocks: Cell::new(0),
            refused: Cell::new(0),
            passed: Cell::new(None),
            cache: Cache::new(),
        }
    };
}

/// Bytes this thread took and did not give back, since it began: in a scope or
/// not, whoever gave back what it took.
pub fn live_bytes() -> i64 {
    with(|l| l.live.get())
}

#[inline]
pub(super) fn with<T>(look: impl FnOnce(&Ledger) -> T) -> T {
    LEDGER.with(look)
}

/// The calling thread's ledger, which stays where it is for as long as the thread
/// lives (invariant 4).
#[inline]
pub(super) fn here() -> *const Ledger {
    LEDGER.with(ptr::from_ref)
}

impl Ledger {
    fn note(&self, bytes: usize, cause: Cause, held: i64) {
        self.refused.set(self.refused.get() + 1);
        if self.short.get().is_none() {
            self.short.set(Shortage { bytes, held, cause });
        }
    }

    /// Tells the account what this thread took and gave back, and draws nothing
    /// ahead any more.
    fn flush(&self) {
        let drawn = self.drawn.get() - self.slack.get();
        let moved = self.net.get() | self.top.get() | self.blocks.get() | drawn;
        if moved == 0 && self.refused.get() == 0 && !self.cache.has_counted() {
            return;
        }
        self.tell();
    }

    #[inline(never)]
    fn tell(&self) {
        let counts = Counts { refused: self.refused.take(), ..self.cache.counts() };
        let (net, top, blocks) = (self.net.take(), self.top.take(), self.blocks.take());
        let drawn = self.drawn.replace(self.slack.get()) - self.slack.get();
        let chain = Chain::of(self.account.get());
        chain.own().count(counts);
        chain.own().add_blocks(blocks);
        for (at, balance) in chain.balances().iter().enumerate() {
            // What is held, what it was at the most, and what it is now.
            if balance.see(balance.live() - drawn + top) {
                self.passed.set(Some(chain.id(at)));
            }
            let after = balance.add(net - drawn);
            // (Without a budget in sight there is nothing to come down from.)
            if self.slack.get() == 0 {
                balance.see(after);
            }
        }
    }

    /// Credits `account` from now on.
    fn charge(&self, account: Id) {
        self.account.set(account);
        let slack = accounts::slack(account);
        self.slack.set(slack);
        self.drawn.set(slack);
    }

    pub(super) fn settle(&self) {
        self.flush();
        self.charge(self.account.get());
    }

    /// Draws so that `bytes` more may be held; otherwise what has no room, and
    /// what it holds.
    #[cold]
    #[inline(never)]
    fn draw(&self, bytes: i64) -> Result<(), (Cause, i64)> {
        let (net, drawn) = (self.net.get(), self.drawn.get());
        let chain = Chain::of(self.account.get());
        let exact = net + bytes - drawn;
        let passed = |id| self.passed.set(Some(id));
        let ahead = if self.exactly.get() { exact } else { exact.max(SLACK).max(drawn / 4) };
        for more in [ahead, exact] {
            match chain.draw(more, exact, passed) {
                Ok(()) => {
                    self.drawn.set(drawn + more);
                    return Ok(());
                }
                Err(no) if more == exact => {
                    let held = no.held - (drawn - self.slack.get()) + net;
                    return Err((Cause::Budget(chain.id(no.at), no.hard), held));
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Whether there is anything to be told of it.
    #[inline]
    pub(super) fn is_past_soft(&self) -> bool {
        self.passed.get().is_some()
    }

    /// What is to be told of a soft budget that the thread passed.
    pub(super) fn past_soft(&self) -> Option<String> {
        self.passed.take().and_then(accounts::past_soft)
    }

    pub(super) fn keeper(&self) -> Option<&Keeper> {
        // SAFETY: NULL, or a keeper that outlives the scope (invariant 5).
        unsafe { self.keeper.get().as_ref() }
    }

    /// A block was taken that the account has room for.
    #[inline]
    fn credit(&self, bytes: i64, block_bytes: i64) {
        self.live.set(self.live.get() + bytes);
        let net = self.net.get() + bytes;
        self.net.set(net);
        if net > self.top.get() {
            self.top.set(net);
        }
        self.blocks.set(self.blocks.get() + block_bytes);
        self.settle_at_the_end();
    }

    /// Draws so that `bytes` more may be held, whether there is room or not.
    #[cold]
    fn overdraw(&self, bytes: i64) {
        let over = self.net.get() + bytes - self.drawn.get();
        if over > 0 {
            Chain::of(self.account.get()).add(over);
            self.drawn.set(self.drawn.get() + over);
        }
    }

    #[inline]
    fn debit(&self, owner: Id, bytes: i64, block_bytes: i64) {
        self.live.set(self.live.get() - bytes);
        if owner == self.account.get() {
            self.net.set(self.net.get() - bytes);
            self.blocks.set(self.blocks.get() - block_bytes);
        } else {
            accounts::give_back(owner, bytes, block_bytes);
        }
        self.settle_at_the_end();
    }

    #[inline]
    fn settle_at_the_end(&self) {
        // A thread that is ending has no later moment.
        if self.cache.is_closed() {
            self.settle();
        }
    }

    /// A request past the limit or a budget, or one whose source failed.
    #[cold]
    fn short_of(&self, layout: Layout, zeroed: bool, cause: Cause, held: i64) -> *mut u8 {
        let (bytes, tensor) = (layout.size(), layout.align() >= TENSOR_ALIGN);
        if self.open.get() {
            self.note(bytes, cause, held);
            if tensor {
                return null_mut();
            }
        }
        if heap::is_pooled(layout) {
            return null_mut();
        }
        let over = self.live.get().saturating_add_unsigned(bytes as u64);
        let bounded = cause != Cause::Limit || over <= self.limit.get().saturating_add(OVERDRAFT);
        let ours = self.keeper();
        if bounded || ours.is_none() {
            let first = match cause {
                Cause::Limit | Cause::Budget(..) => source::current(),
                Cause::Source => SourceId::SYSTEM,
            };
            for source in [first, SourceId::SYSTEM, SourceId::RESERVE] {
                let block = block::take(source, self.account.get(), layout, zeroed);
                if !block.is_null() {
                    self.overdraw(bytes as i64);
                    self.credit(bytes as i64, 0);
                    return block;
                }
            }
        }
        match ours {
            Some(keeper) => {
                self.settle();
                keeper.keep()
            }
            None => null_mut(),
        }
    }

    /// A request on a thread that nobody waits for any more: a tensor is
    /// refused, so that it unwinds and ends; what never asks for one is kept
    /// when its grace is over.
    #[cold]
    fn abandoned(&self, layout: Layout, keeper: &Keeper) -> bool {
        if layout.align() >= TENSOR_ALIGN && !std::thread::panicking() {
            self.note(layout.size(), Cause::Limit, self.live.get());
            return true;
        }
        if keeper.is_overdue() {
            self.settle();
            keeper.keep();
        }
        false
    }
}

/// Gives back what the calling thread keeps for itself.
pub(super) fn empty_cache() {
    with(|ledger| ledger.cache.empty());
}

/// Makes so many bytes resident for blocks of the calling thread.
pub(super) fn reserve(bytes: usize, block_bytes: usize) -> bool {
    with(|ledger| heap::reserve(&ledger.cache, bytes, block_bytes))
}

/// The calling thread is one of ours: what it counts is told when it ends, whether
/// or not it ever has a tensor.
pub fn begin_thread() {
    with(|ledger| ledger.cache.open());
}

/// The calling thread ends.
pub(super) fn leave() {
    with(|ledger| {
        ledger.cache.close();
        ledger.settle();
    });
}

/// Tells the account what the calling thread took and gave back up to now.
pub(super) fn settle() {
    with(Ledger::settle);
}

/// The same, and more may be drawn as before.
pub(super) fn flush() {
    with(Ledger::flush);
}

/// Whether the account that is credited, or one above it, has a budget.
pub(super) fn is_bounded() -> bool {
    with(|ledger| ledger.slack.get() == 0)
}

/// Credits another account from now on; the answer is the one before.
pub(super) fn switch(account: Id) -> Id {
    with(|ledger| {
        let outer = ledger.account.get();
        if outer != account {
            ledger.flush();
            ledger.charge(account);
        }
        outer
    })
}

/// A source is asked for memory, or given some back.
pub(super) fn count_source_call() {
    with(|ledger| ledger.cache.source_calls.set(ledger.cache.source_calls.get() + 1));
}

/// The account that is credited.
pub(super) fn account() -> Id {
    with(|ledger| ledger.account.get())
}

/// What is to be told of a soft budget that this thread passed.
pub fn past_soft() -> Option<String> {
    with(Ledger::past_soft)
}

/// A block, or NULL where the asker looks at it.
pub(super) fn take(layout: Layout, zeroed: bool) -> *mut u8 {
    with(|ledger| {
        if let Some(keeper) = ledger.keeper()
            && keeper.is_abandoned()
            && ledger.abandoned(layout, keeper)
        {
            return null_mut();
        }
        let (bytes, account) = (layout.size() as i64, ledger.account.get());
        if ledger.live.get().saturating_add(bytes) > ledger.limit.get() {
            return ledger.short_of(layout, zeroed, Cause::Limit, ledger.live.get());
        }
        if ledger.net.get().saturating_add(bytes) > ledger.drawn.get()
            && let Err((cause, held)) = ledger.draw(bytes)
        {
            if ledger.open.get() {
                return ledger.short_of(layout, zeroed, cause, held);
            }
            // Outside of a call nobody would catch a refusal.
            ledger.overdraw(bytes);
        }
        let (block, block_bytes) = match heap::is_pooled(layout) {
            true => heap::take(&ledger.cache, account, layout, zeroed),
            false => (block::take(source::current(), account, layout, zeroed), 0),
        };
        if block.is_null() {
            return ledger.short_of(layout, zeroed, Cause::Source, ledger.live.get());
        }
        ledger.credit(bytes, block_bytes);
        block
    })
}

/// SAFETY: `block` is live and came from this module with this layout.
pub(super) unsafe fn give(block: *mut u8, layout: Layout) {
    with(|ledger| {
        // SAFETY: as this function's own contract.
        let (owner, block_bytes) = unsafe {
            match heap::is_pooled(layout) {
                true => heap::give(&ledger.cache, block, layout),
                false => (block::give(block, layout), 0),
            }
        };
        ledger.debit(owner, layout.size() as i64, block_bytes);
    });
}

/// SAFETY: `block` is live and came from this module with this layout; `size`
/// is not 0, and fits the alignment.
pub(super) unsafe fn resize(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    let more = size as i64 - layout.size() as i64;
    let moved = with(|ledger| {
        // Where it is not the plain case, it is a new request.
        if heap::is_pooled(layout)
            || ledger.live.get().saturating_add(more) > ledger.limit.get()
            || ledger.keeper().is_some_and(Keeper::is_abandoned)
            // SAFETY: as this function's own contract.
            || unsafe { block::owner(block) } != ledger.account.get()
            || (ledger.net.get() + more > ledger.drawn.get() && ledger.draw(more).is_err())
        {
            return null_mut();
        }
        // SAFETY: as this function's own contract.
        let moved = unsafe { block::resize(block, layout, size) };
        if !moved.is_null() {
            ledger.credit(more, 0);
        }
        moved
    });
    if !moved.is_null() {
        return moved;
    }
    // SAFETY: the caller promises that `size` fits the alignment; both blocks
    // have at least the copied bytes and do not overlap.
    unsafe {
        let fresh = take(Layout::from_size_align_unchecked(size, layout.align()), false);
        if !fresh.is_null() {
            fresh.copy_from_nonoverlapping(block, size.min(layout.size()));
            give(block, layout);
        }
        fresh
    }
}

#[cfg(all(test, feature = "capi"))]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::pool::Scope;
    use std::alloc::{alloc, dealloc};
    use std::hint::black_box;

    fn tensor(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, 64).unwrap()
    }

    #[test]
    fn a_tensor_past_the_limit_is_refused_and_a_vec_is_granted_and_noted() {
        let scope = Scope::open(1 << 20);
        // SAFETY: the layout is not empty; what is given is given back.
        unsafe {
            // What is not looked at, the compiler may not ask for.
            let fits = black_box(alloc(tensor(1 << 19)));
            assert!(!fits.is_null() && scope.settle().is_ok());
            assert!(black_box(alloc(tensor(1 << 20))).is_null());
            dealloc(fits, tensor(1 << 19));
        }
        let e = scope.settle().unwrap_err();
        assert_eq!(e.kind(), Kind::LimitExceeded);
        assert!(e.detail().contains("1048576"), "{e}");
        drop(scope);

        let scope = Scope::open(1 << 20);
        let v: Vec<u8> = black_box(Vec::with_capacity(2 << 20));
        assert!(scope.settle().is_err());
        drop(v);
        drop(scope);
        assert!(Scope::open(1 << 20).settle().is_ok(), "the next scope is a fresh one");
    }

    #[test]
    fn a_growing_vec_is_counted_once() {
        let before = live_bytes();
        let mut v: Vec<u64> = Vec::new();
        for i in 0..100_000 {
            v.push(i);
        }
        assert_eq!(live_bytes() - before, (v.capacity() * 8) as i64);
        assert!(v.iter().enumerate().all(|(i, n)| i as u64 == *n));
        drop(v);
        assert_eq!(live_bytes(), before);
    }

    #[test]
    fn alignments_are_kept() {
        for align in [1, 8, 16, 32, 64, 128, 4096] {
            let layout = Layout::from_size_align(100, align).unwrap();
            // SAFETY: the layout is not empty; the block is given back.
            unsafe {
                let block = alloc(layout);
                assert!(block.addr().is_multiple_of(align));
                dealloc(block, layout);
            }
        }
    }
}
