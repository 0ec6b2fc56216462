//! What memory the library holds, and giving it back.

use super::guard::guard;
use super::options::{InitStruct, fill_struct};
use super::status::inferno_status;
use crate::pool;

/// What memory the library holds, over all runtimes of the process. Set
/// `struct_size` before the call. Threads that are inside a call at the time may
/// not have counted it yet.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_memory_stats {
    /// `sizeof(inferno_memory_stats)`, set by the caller.
    pub struct_size: usize,
    /// Bytes that models, sessions and calls hold.
    pub live_bytes: u64,
    /// Bytes of the pool that tensors are in, or were and that may still be
    /// resident. What is handed through is not among them: what is no tensor,
    /// and tensors over 127 MiB (over 1 MiB from a host's allocator).
    pub committed_bytes: u64,
    /// Tensors for which the calling thread had a block at hand.
    pub hits: u64,
    /// Tensors for which it took the lock of its part of the pool.
    pub misses: u64,
    /// How often the pool asked the system or the host for memory, or gave some
    /// back: while this stands still, no call costs a system call for tensors
    /// that are in the pool.
    pub source_calls: u64,
    /// Requests that were past a limit, or for which there was no memory.
    pub refused: u64,
}

impl InitStruct for inferno_memory_stats {
    const NAME: &'static str = "inferno_memory_stats";
    fn defaults() -> Self {
        inferno_memory_stats {
            struct_size: size_of::<Self>(),
            live_bytes: 0,
            committed_bytes: 0,
            hits: 0,
            misses: 0,
            source_calls: 0,
            refused: 0,
        }
    }
}

/// Fills `stats` with what memory the library holds now. It needs no runtime.
///
/// Ownership: `stats` is the caller's, its `struct_size` set.
/// Threads: any.
/// Errors: INVALID_ARGUMENT.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_memory_get_stats(
    stats: *mut inferno_memory_stats,
) -> inferno_status {
    // SAFETY: the caller gives NULL or `stats` of its `struct_size` bytes.
    guard(|| unsafe {
        let now = pool::stats();
        let filled = inferno_memory_stats {
            live_bytes: now.live_bytes,
            committed_bytes: now.committed_bytes,
            hits: now.hits,
            misses: now.misses,
            source_calls: now.source_calls,
            refused: now.refused,
            ..inferno_memory_stats::defaults()
        };
        fill_struct(stats, filled)
    })
}

/// Gives memory back that the pool holds and nothing uses. The next calls take
/// it again, which costs them system calls: this is for a host that pauses, or
/// has freed a large model. Blocks that other threads have at hand, up to 3 MiB
/// each, stay theirs. Without it the pool gives back what lay idle for ten
/// seconds, when next a larger piece of it becomes idle.
///
/// Threads: any.
/// Errors: none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_memory_trim() -> inferno_status {
    guard(|| {
        pool::trim();
        Ok(())
    })
}
