//! Memory: where it comes from, and what a thread may hold while it works for
//! a caller.
//!
//! In the C artefacts (feature `capi`) this is the process's view of Rust's
//! allocator, so everything that Inferno and tract allocate passes here; the
//! host's own `malloc` is untouched. Three parts:
//!
//! - `block`: a block, its header, and the `source` it goes back to;
//! - `ledger`: what the current thread holds against its limit;
//! - [`Keeper`]: the watch over a thread of ours, which can be kept for ever.
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
//! In every case the shortage is noted in the thread's ledger, and the call
//! ends with a status at its next boundary ([`Scope::settle`]).
//!
//! # Invariants
//!
//! The `SAFETY:` comments of this module cite these.
//!
//! 1. Every block handed out is preceded by a `block::Header` that names its
//!    source; the header is written before the block is handed out and not
//!    changed until it is given back. It lies in the 16 bytes before the block.
//! 2. A block goes back to the source its header names, with the size and
//!    alignment it was asked with (Rust's contract for `dealloc`).
//! 3. Host sources are registered once and stay registered for ever.
//! 4. Nothing here panics, logs, or allocates through Rust's allocator; the
//!    thread-local ledger is `const` and has no destructor, so it can be used
//!    at any time of a thread's life.
//! 5. A ledger's keeper outlives the scope that names it.

pub(crate) mod block;
mod keeper;
mod ledger;
mod source;

pub use keeper::{Keeper, State};
pub use ledger::{Cause, Scope, Shortage, live_bytes};
pub use source::use_host;

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
