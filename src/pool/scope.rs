//! A part of a call whose memory is watched.

use super::account::Charge;
use super::accounts::{self, Id};
use super::keeper::Keeper;
use super::ledger::{self, Cause, Ledger, Shortage};
use crate::error::{self, Error, Result};
use std::marker::PhantomData;

/// The account that a thread works for and where it takes its memory, for another
/// thread to do the same while it waits. It is the caller's matter that the account stays
/// open for as long.
#[derive(Debug, Clone, Copy)]
pub struct Working {
    account: Id,
    shard: usize,
}

impl Working {
    /// The calling thread's.
    pub fn here() -> Working {
        Working { account: ledger::account(), shard: ledger::with(|l| l.cache.shard()) }
    }

    /// What this thread takes is credited to it, until the answer is dropped.
    pub fn charge(&self) -> Charge<'_> {
        ledger::with(|l| l.cache.join(self.shard));
        Charge::of(self.account)
    }
}

/// While it lives, the calling thread draws nothing ahead: what there is belongs
/// to the thread that it waits for.
#[must_use]
pub struct Waiting {
    outer: bool,
    /// Of this thread only.
    of: PhantomData<*const ()>,
}

impl Waiting {
    /// From now on.
    pub fn begin() -> Waiting {
        ledger::settle();
        Waiting { outer: ledger::with(|l| l.exactly.replace(true)), of: PhantomData }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        ledger::with(|l| l.exactly.set(self.outer));
    }
}

/// A boundary between two steps: something that Rust could not be refused went
/// past a budget.
#[inline]
pub fn check() -> Result<()> {
    between(|boundary| boundary.check())
}

/// The boundaries between the steps of one run, on this thread.
#[derive(Clone, Copy)]
pub struct Boundary<'a>(&'a Ledger);

/// Calls `steps`, which may ask at each boundary.
#[inline]
pub fn between<T>(steps: impl FnOnce(Boundary<'_>) -> T) -> T {
    ledger::with(|l| steps(Boundary(l)))
}

impl Boundary<'_> {
    /// As [`check`].
    #[inline]
    pub fn check(self) -> Result<()> {
        match self.0.short.get() {
            Some(short) if matches!(short.cause, Cause::Budget(..)) => Err(budget_error(short)),
            _ => Ok(()),
        }
    }
}

#[cold]
fn budget_error(short: Shortage) -> Error {
    let Cause::Budget(account, hard) = short.cause else {
        return error::internal("no budget");
    };
    let more = i64::try_from(short.bytes).unwrap_or(i64::MAX);
    accounts::out_of_budget(account, short.held.saturating_add(more), more, hard)
}

/// A part of a call whose memory is watched, on this thread. Scopes nest; an
/// inner one does not widen the outer one's limit.
#[must_use]
pub struct Scope<'a> {
    outer: (bool, i64, Option<Shortage>, *const Keeper),
    /// What the thread held when the scope began.
    base: i64,
    limit: u64,
    /// The thread's, which the scope does not leave.
    ledger: *const Ledger,
    keeper: PhantomData<&'a Keeper>,
}

impl<'a> Scope<'a> {
    /// Opens a scope that may hold `limit` bytes more than the thread does.
    #[inline]
    pub fn open(limit: u64) -> Scope<'a> {
        let ledger = ledger::here();
        // SAFETY: this thread's, just now.
        let l = unsafe { &*ledger };
        let outer = (l.open.get(), l.limit.get(), l.short.get(), l.keeper.get());
        let base = l.live.get();
        let most = base.saturating_add_unsigned(limit);
        l.open.set(true);
        l.limit.set(most.min(l.limit.get()));
        l.short.clear();
        Scope { outer, base, limit, ledger, keeper: PhantomData }
    }

    /// The same on a thread of ours, which `keeper` watches.
    pub fn kept(limit: u64, keeper: &'a Keeper) -> Scope<'a> {
        let scope = Scope::open(limit);
        scope.ledger().keeper.set(keeper);
        scope
    }

    #[inline]
    fn ledger(&self) -> &Ledger {
        // SAFETY: a scope cannot be sent, so its thread, whose ledger it is, lives.
        unsafe { &*self.ledger }
    }

    /// What was not met as it was asked since the scope began, if anything.
    #[inline]
    pub fn shortage(&self) -> Option<Shortage> {
        self.ledger().short.get()
    }

    /// Whether there is anything to be told of a soft budget.
    #[inline]
    pub fn is_past_soft(&self) -> bool {
        self.ledger().is_past_soft()
    }

    /// What is to be told of a soft budget that this thread passed.
    pub fn past_soft(&self) -> Option<String> {
        self.ledger().past_soft()
    }

    /// The boundary where a noted shortage becomes an error.
    #[inline]
    pub fn settle(&self) -> Result<()> {
        match self.shortage() {
            None => Ok(()),
            Some(short) => Err(self.error(short)),
        }
    }

    #[cold]
    fn error(&self, short: Shortage) -> Error {
        let (bytes, held) = (short.bytes, short.held.saturating_sub(self.base).max(0));
        match short.cause {
            Cause::Source => {
                error::out_of_memory(format!("no memory for {bytes} bytes, with {held} held"))
            }
            Cause::Budget(..) => budget_error(short),
            Cause::Limit => error::limit_exceeded(format!(
                "{bytes} bytes more than the {held} held: expected at most max_memory_bytes, {}",
                self.limit
            )),
        }
    }
}

impl Drop for Scope<'_> {
    #[inline]
    fn drop(&mut self) {
        let l = self.ledger();
        let (open, limit, ref short, keeper) = self.outer;
        l.open.set(open);
        l.limit.set(limit);
        match short {
            Some(first) => l.short.set(*first),
            // (What was noted inside is the outer one's first.)
            None if open => {}
            None => l.short.clear(),
        }
        l.keeper.set(keeper);
        if !open {
            l.settle();
        }
    }
}
