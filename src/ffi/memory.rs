//! What memory the library holds, may hold and gives back.

use super::guard::{guard, opt_struct};
use super::model::{inferno_model, resolve as resolve_model};
use super::options::{InitStruct, fill_struct, out_struct};
use super::session::{self, inferno_session, inferno_session_options};
use super::status::inferno_status;
use crate::pool::{self, Budget, Stats};
use crate::session as sessions;

/// No budget: any number of bytes may be held.
pub const INFERNO_NO_BUDGET: u64 = u64::MAX;

/// What memory is held: by a session; by a model with all its sessions; by the
/// library, over all runtimes of the process. Set `struct_size` before the call.
/// Each block is counted for whom it was taken, whichever thread gives it back.
/// A thread that is inside a call at the time may have counted up to 64 KiB too
/// many or too few.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_memory_stats {
    /// `sizeof(inferno_memory_stats)`, set by the caller.
    pub struct_size: usize,
    /// Bytes held now.
    pub live_bytes: u64,
    /// The most that was held at once.
    pub peak_bytes: u64,
    /// Of the library: bytes of the pool that tensors are in, or were and that
    /// may still be resident. Of a model or session: what its tensors take of
    /// that, rounded to the pool's blocks. What is handed through is not among
    /// them: what is no tensor, and tensors over 127 MiB (over 1 MiB from a
    /// host's allocator).
    pub committed_bytes: u64,
    /// Of the library: bytes of free blocks that threads have at hand. Free
    /// blocks are nobody's: 0 for a model or session.
    pub cached_bytes: u64,
    /// Tensors for which the calling thread had a block at hand: up to 16 KiB
    /// each.
    pub hits: u64,
    /// Tensors for which it took the lock of its part of the pool, which had a
    /// block: sixteen parts are given to threads in turn.
    pub shared_hits: u64,
    /// Tensors for which memory was taken that was not in use before: it costs
    /// page faults, if not a system call.
    pub misses: u64,
    /// How often the system or the host was asked for memory for tensors, or
    /// given some back: while this stands still, no call costs a system call for
    /// them.
    pub source_calls: u64,
    /// Requests that were past a limit or a budget, or for which there was no
    /// memory.
    pub refused: u64,
    /// How often a soft budget was passed.
    pub soft_budget_passed: u64,
    /// The soft budget, or `INFERNO_NO_BUDGET`.
    pub soft_budget_bytes: u64,
    /// The hard budget, or `INFERNO_NO_BUDGET`.
    pub hard_budget_bytes: u64,
}

impl InitStruct for inferno_memory_stats {
    const NAME: &'static str = "inferno_memory_stats";
    fn defaults() -> Self {
        Stats::default().into()
    }
}

impl From<Stats> for inferno_memory_stats {
    fn from(stats: Stats) -> Self {
        inferno_memory_stats {
            struct_size: size_of::<Self>(),
            live_bytes: stats.live_bytes,
            peak_bytes: stats.peak_bytes,
            committed_bytes: stats.committed_bytes,
            cached_bytes: stats.cached_bytes,
            hits: stats.hits,
            shared_hits: stats.shared_hits,
            misses: stats.misses,
            source_calls: stats.source_calls,
            refused: stats.refused,
            soft_budget_passed: stats.soft_passed,
            soft_budget_bytes: stats.budget.soft_bytes,
            hard_budget_bytes: stats.budget.hard_bytes,
        }
    }
}

/// Fills `stats` with what the library holds now. It needs no runtime.
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
    guard(|| unsafe { fill_struct(stats, pool::stats().into()) })
}

/// Fills `stats` with what a model and its sessions hold now.
///
/// Ownership: `stats` is the caller's, its `struct_size` set.
/// Threads: any.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_model_get_memory_stats(
    model: *const inferno_model,
    stats: *mut inferno_memory_stats,
) -> inferno_status {
    // SAFETY: the caller gives NULL or `stats` of its `struct_size` bytes.
    guard(|| unsafe { fill_struct(stats, resolve_model(model)?.account().stats().into()) })
}

/// Fills `stats` with what a session holds now; another thread may be inside it.
///
/// Ownership: `stats` is the caller's, its `struct_size` set.
/// Threads: any.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_session_get_memory_stats(
    session: *const inferno_session,
    stats: *mut inferno_memory_stats,
) -> inferno_status {
    // SAFETY: the caller gives NULL or `stats` of its `struct_size` bytes.
    guard(|| unsafe { fill_struct(stats, session::resolve(session)?.account().stats().into()) })
}

/// Sets what the library may hold, over all runtimes of the process; not less
/// than it holds now, but from the next request on. Past the soft budget a
/// warning is logged, at most one a second. What would go past the hard budget
/// is refused with `INFERNO_STATUS_OUT_OF_BUDGET`, whose text gives the need;
/// nothing is lost by it, and what was refused can be tried again under another
/// budget. A run that held more before is refused before it begins.
///
/// Requests that Rust code cannot be refused (of what is no tensor) are granted
/// nevertheless, and the call ends with that status at its next step.
///
/// A hard or soft budget costs each run two atomic additions on a count that
/// those under it share. 0 means nothing may be held, `INFERNO_NO_BUDGET`
/// anything.
///
/// Threads: any.
/// Errors: none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_memory_set_budget(
    soft_budget_bytes: u64,
    hard_budget_bytes: u64,
) -> inferno_status {
    guard(|| {
        pool::set_budget(budget(soft_budget_bytes, hard_budget_bytes));
        Ok(())
    })
}

/// Sets what a model and its sessions may hold together: as
/// `inferno_memory_set_budget`, which goes on to hold for all.
///
/// Threads: any.
/// Errors: INVALID_HANDLE; LIMIT_EXCEEDED (65,535 models and sessions are
/// counted by themselves, and this one came later).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_model_set_memory_budget(
    model: *mut inferno_model,
    soft_budget_bytes: u64,
    hard_budget_bytes: u64,
) -> inferno_status {
    let budget = budget(soft_budget_bytes, hard_budget_bytes);
    guard(|| resolve_model(model)?.account().set_budget(budget))
}

/// Sets what a session may hold: as `inferno_memory_set_budget`, which goes on
/// to hold for all, as its model's does.
///
/// Threads: any; another thread may be inside the session.
/// Errors: INVALID_HANDLE; LIMIT_EXCEEDED (65,535 models and sessions are
/// counted by themselves, and this one came later).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_session_set_memory_budget(
    session: *mut inferno_session,
    soft_budget_bytes: u64,
    hard_budget_bytes: u64,
) -> inferno_status {
    let budget = budget(soft_budget_bytes, hard_budget_bytes);
    guard(|| session::resolve(session)?.account().set_budget(budget))
}

fn budget(soft_bytes: u64, hard_bytes: u64) -> Budget {
    Budget { soft_bytes, hard_bytes }
}

/// Takes memory beforehand, so that calls of this thread do not have to ask the
/// system for it: `size_bytes` for tensors of up to `block_bytes` each, resident
/// when the call returns. They stay until `inferno_memory_trim`. Tensors up to
/// 1 MiB lie in another part of the pool than larger ones: a host that uses
/// both reserves both. It counts as committed and for no budget.
///
/// Threads: any; it is for the calling thread, and for those that share its part
/// of the pool.
/// Errors: INVALID_ARGUMENT (`block_bytes` over 127 MiB), OUT_OF_MEMORY (as much
/// as there was is reserved).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_memory_reserve(size_bytes: usize, block_bytes: usize) -> inferno_status {
    guard(|| pool::reserve(size_bytes, block_bytes))
}

/// Gives memory back that the pool holds and nothing uses, what was reserved
/// among it. The next calls take it again, which costs them system calls: this
/// is for a host that pauses, or has freed a large model. Blocks that other
/// threads have at hand, up to 3 MiB each, stay theirs. Without it the pool gives
/// back what lay idle for `memory_decay_ms` of the runtime's options, when next
/// a larger piece of it becomes idle.
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

/// What a model and one session over it hold at the most. Set `struct_size`
/// before the call.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_memory_need {
    /// `sizeof(inferno_memory_need)`, set by the caller.
    pub struct_size: usize,
    /// Held by the model for all its sessions: weights as they were loaded and
    /// as they are packed for these shapes, the graph.
    pub weight_bytes: u64,
    /// A session's inputs, outputs, recurrent state, and the values between two
    /// steps at their most.
    pub arena_bytes: u64,
    /// What its steps take besides. A hard budget of arena and scratch together
    /// lets such a session run.
    pub scratch_bytes: u64,
    /// 1 when it was seen in a run. 0 when the model refused to run over zeros:
    /// then the plan alone was asked, and nothing is known of the scratch.
    pub is_measured: i32,
    /// 0.
    pub reserved: i32,
}

impl InitStruct for inferno_memory_need {
    const NAME: &'static str = "inferno_memory_need";
    fn defaults() -> Self {
        inferno_memory_need {
            struct_size: size_of::<Self>(),
            weight_bytes: 0,
            arena_bytes: 0,
            scratch_bytes: 0,
            is_measured: 0,
            reserved: 0,
        }
    }
}

/// Fills `need` with what a session over `model` would need. It compiles the
/// model for the shapes of `options` (a session made afterwards finds that done)
/// and runs it three times over zeros, on a thread of its own that ends with
/// the call; a model whose shapes depend on its inputs' values may need more
/// with others. Call it while loading, not in a frame.
///
/// Ownership: `options`, as of `inferno_session_new`, may be NULL and is not
/// kept; its budgets hold for the trial. `need` is the caller's, its
/// `struct_size` set.
/// Threads: any.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT, NOT_READY (an open dim), NOT_FOUND,
/// DTYPE_MISMATCH, SHAPE_MISMATCH, SIZE_MISMATCH, INVALID_MODEL, UNSUPPORTED,
/// LIMIT_EXCEEDED, DEADLINE_EXCEEDED, OUT_OF_MEMORY, OUT_OF_BUDGET.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_model_memory(
    model: *const inferno_model,
    options: *const inferno_session_options,
    need: *mut inferno_memory_need,
) -> inferno_status {
    guard(|| {
        let model = resolve_model(model)?;
        // SAFETY: the caller gives NULL or `need` of its `struct_size` bytes,
        // NULL or an initialised struct whose arrays hold what their counts say.
        let (account, options) = unsafe {
            out_struct(need)?;
            session::opened(&model, &opt_struct(options)?)?
        };
        let found = sessions::need(&model, account, options)?;
        let filled = inferno_memory_need {
            weight_bytes: found.weight_bytes,
            arena_bytes: found.arena_bytes,
            scratch_bytes: found.scratch_bytes,
            is_measured: i32::from(found.is_measured),
            ..inferno_memory_need::defaults()
        };
        // SAFETY: it was looked at above.
        unsafe { fill_struct(need, filled) }
    })
}
