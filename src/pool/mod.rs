//! Memory: where it comes from, and what a thread may hold while it works for
//! a caller.
//!
//! In the C artefacts (feature `capi`) this is the process's view of Rust's
//! allocator, so everything that Inferno and tract allocate passes here; the
//! host's own `malloc` is untouched.
//!
//! - [`Account`]: whom a block is credited to, with its `balance`, in the table
//!   of `accounts`;
//! - `ledger`: what the current thread took for the account it works for, and
//!   what its call may hold ([`Scope`]);
//! - [`Keeper`]: the watch over a thread of ours, which can be kept for ever;
//! - `heap`: tensors, from the pool: a `cache` of blocks by size `class` for
//!   each thread, `shard`s of `chunk`s behind it, and `mapping`s from the
//!   `source`, which is the system or the host;
//! - `block`: everything else, handed through to the source with a header.
//!
//! # The path of a tensor
//!
//! | size | from | costs, when warm |
//! |---|---|---|
//! | to 16 KiB | a slab of its class, through the thread's cache | no lock |
//! | to 1 MiB | the first run of 4 KiB pages that fits | the lock of the thread's shard |
//! | to 127 MiB | the first run of 256 KiB units that fits | the same |
//! | above, or where address space is short | the source | a system call |
//!
//! Pages are resident from their first use on, and stay so until their chunk has
//! been empty for ten seconds ([`set_decay`]), or until [`trim`].
//!
//! # Accounts
//!
//! Every block carries the number of its account: in its header, or, for what
//! is the pool's, in a table of its chunk. A thread works for one account at a
//! time ([`Account::charge`]); what it takes is that account's, and a block goes
//! back to the account it carries, whichever thread frees it.
//!
//! A thread counts in its ledger and tells the account when it leaves it, so a
//! warm run, which holds at its end what it held at its beginning, writes to no
//! count that sessions share. Where the account or one above it has a budget, a
//! thread *draws* before it takes: 64 KiB ahead while there is room, to the byte
//! where there is not, from every account of the chain or from none; what it
//! drew and did not use goes back when it leaves. So a hard budget is never
//! exceeded by what can be refused, and it is exact where one thread works
//! within it; of several, each may find as much less as the others drew ahead.
//!
//! # A request that cannot be met
//!
//! Rust code asks in two ways. A *tensor* (told by its alignment of 32 bytes or
//! more: tract aligns to the vector, Inferno to 64) is asked for by code that
//! looks at the answer: it is refused with NULL, which tract turns into a panic
//! that the guard around every call catches. Anything else is asked for by a
//! `Vec` or a `Box`, whose failure ends the process; so it is not refused:
//!
//! 1. it is granted from an *overdraft*, a bounded excess over the limit, or,
//!    when its source failed, from the system or a small reserve;
//! 2. when that does not hold it either, and the thread is one of ours, the
//!    thread tells its waiter and never returns from the request (a *kept*
//!    thread: its stack and its blocks stay, untouched, until the process
//!    ends; [`crate::work`] counts and bounds such threads);
//! 3. on a thread of the host's, where neither is possible, it is granted from
//!    the system over the limit while the system has it.
//!
//! What would go past a hard budget is answered in the same way, but for step 2:
//! it is granted over the budget as far as the scope's own limit allows.
//!
//! In every case the shortage is noted in the thread's ledger, and the call
//! ends with a status at its next boundary ([`check`], [`Scope::settle`]).
//!
//! # Invariants
//!
//! The `SAFETY:` comments of this module cite these.
//!
//! 1. Every block handed through is preceded by a `block::Header` that names its
//!    source and its account; the header is written before the block is handed out and not
//!    changed until it is given back. It lies in the 16 bytes before the block.
//! 2. A block goes back to the source its header names, with the size and
//!    alignment it was asked with (Rust's contract for `dealloc`).
//! 3. Host sources are registered once and stay registered for ever.
//! 4. Nothing here panics, logs, or allocates through Rust's allocator; the
//!    thread-local ledger is `const` and has no destructor, so it can be used
//!    at any time of a thread's life.
//! 5. A ledger's keeper outlives the scope that names it.
//! 6. A chunk is unmapped when it is empty: no block of it is in use, and none
//!    lies in a thread's cache, for what lies there counts as taken.
//! 7. A chunk's head is written before the chunk is shared and never again; all
//!    else in its header is read and written under the lock of its shard only.
//! 8. A free block, in a slab or a cache, holds in its first bytes the address
//!    of the next free one of the same list, or NULL; nobody else writes there.
//! 9. Whether a block is the pool's follows from its layout alone
//!    (`heap::is_pooled`), and where in the pool from its size, but for the
//!    largest, which are looked up among the regions.
//! 10. The owner of a block, in its chunk's tables, is written and read by who
//!     has the block, and by nobody else.

mod account;
mod accounts;
mod balance;
mod block;
mod cache;
mod chunk;
mod class;
mod heap;
mod keeper;
mod ledger;
mod mapping;
mod regions;
mod reserve;
mod scope;
mod shard;
mod source;
#[cfg(all(windows, not(miri)))]
mod windows;

pub use account::{Account, Charge, Stats, expect, set_budget, stats};
pub use balance::{Budget, UNBOUNDED};
pub use heap::block_bytes;
pub use keeper::{Keeper, State};
pub use ledger::{Cause, Shortage, begin_thread, live_bytes, past_soft};
pub use scope::{Boundary, Scope, Waiting, Working, between, check};
pub use shard::DEFAULT_DECAY;
pub use source::use_host;

use crate::error::{self, Result};
use std::sync::atomic::Ordering;

#[cfg(all(test, feature = "capi"))]
pub(crate) mod audited {
    pub(crate) use super::accounts::Slot;
    pub(crate) use super::balance::Balance;
    pub(crate) use super::regions::Regions;
    pub(crate) use super::reserve::Bump;
    pub(crate) use super::shard::Shard;
    pub(crate) use super::source::Reserve;
}

/// Takes `bytes` from the source and makes them resident, for blocks of up to
/// `block_bytes` that the calling thread will ask for. They stay until [`trim`].
pub fn reserve(bytes: usize, block_bytes: usize) -> Result<()> {
    if block_bytes > heap::LARGEST {
        return Err(error::invalid_argument(format!(
            "block_bytes is {block_bytes}: expected at most {}, larger blocks are not pooled",
            heap::LARGEST
        )));
    }
    if ledger::reserve(bytes, block_bytes) {
        return Ok(());
    }
    Err(error::out_of_memory(format!(
        "no {bytes} bytes for blocks of {block_bytes}: the source has not as many (a host's \
         allocator gives blocks of up to 1 MiB only)"
    )))
}

/// How long what is not used is kept, in milliseconds.
pub fn set_decay(milliseconds: u64) {
    shard::DECAY.store(milliseconds, Ordering::Relaxed);
}

/// Gives back what the pool holds and nobody uses: the calling thread's cache,
/// empty chunks, free pages. What lies in the caches of other threads stays.
pub fn trim() {
    ledger::empty_cache();
    shard::trim();
}

#[cfg(feature = "capi")]
mod global {
    //! Rust's allocator in the C artefacts.

    use super::ledger;
    use std::alloc::{GlobalAlloc, Layout};

    struct Pool;

    #[global_allocator]
    static POOL: Pool = Pool;

    // SAFETY: `ledger::take` gives NULL or a block of the layout (invariant 1),
    // `ledger::give` gives it back (invariant 2); neither unwinds (invariant 4).
    unsafe impl GlobalAlloc for Pool {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            ledger::take(layout, false)
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            ledger::take(layout, true)
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: the caller's contract is this function's.
            unsafe { ledger::give(block, layout) }
        }

        unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            // SAFETY: the caller's contract is this function's.
            unsafe { ledger::resize(block, layout, size) }
        }
    }
}
