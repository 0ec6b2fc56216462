//! What a model may ask for, and where it is tried before it is trusted.

use super::guard::guard;
use super::options::{InitStruct, init_struct};
use super::status::inferno_status;
use crate::error::{self, Result};
use crate::model::{Isolation, Limits};

/// What a model may ask for. The model's limits hold for its load, for the
/// import when one of its sessions gets new shapes, and for their runs. Fill
/// with `inferno_model_limits_init`, then set what you need. A refusal is
/// `INFERNO_STATUS_LIMIT_EXCEEDED` and names the limit, except where noted.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_model_limits {
    /// Set by `inferno_model_limits_init`.
    pub struct_size: usize,
    /// The largest model file, and the largest file of external data, in bytes.
    /// Default 2 GiB.
    pub max_file_bytes: u64,
    /// All weights together, in bytes. Default 4 GiB.
    pub max_weight_bytes: u64,
    /// The largest value that a node gives, in bytes. Default 2 GiB.
    pub max_tensor_bytes: u64,
    /// What one load, one import or one run may hold at once besides what was
    /// there before, in bytes. Default 8 GiB. One request that goes far past it
    /// is `INFERNO_STATUS_OUT_OF_MEMORY`.
    pub max_memory_bytes: u64,
    /// Nodes, those of sub-graphs and of called functions counted. Default
    /// 65,536.
    pub max_nodes: u64,
    /// Inputs and outputs of one node together. Default 4,096.
    pub max_node_values: u64,
    /// Rank of any tensor inside the model; bounds every axis. Default 32.
    pub max_rank: u64,
    /// How deep sub-graphs nest. Default 16.
    pub max_depth: u64,
    /// How long a load, or the import for new shapes, may take, in nanoseconds;
    /// 0 = for ever. Default 60 s. The call then answers
    /// `INFERNO_STATUS_DEADLINE_EXCEEDED`; work that does not end by itself is
    /// left behind on a thread of a low priority, starved of memory, and
    /// no more than eight such threads may exist: with as many, loads and
    /// imports are refused.
    pub load_time_ns: u64,
}

impl InitStruct for inferno_model_limits {
    const NAME: &'static str = "inferno_model_limits";
    fn defaults() -> Self {
        let limits = Limits::default();
        inferno_model_limits {
            struct_size: size_of::<Self>(),
            max_file_bytes: limits.file_bytes,
            max_weight_bytes: limits.weight_bytes,
            max_tensor_bytes: limits.tensor_bytes,
            max_memory_bytes: limits.memory_bytes,
            max_nodes: limits.nodes,
            max_node_values: limits.node_values,
            max_rank: limits.rank,
            max_depth: limits.depth,
            load_time_ns: limits.load_time_ns,
        }
    }
}

/// Where a model is tried before it is trusted.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum inferno_isolation {
    /// Nowhere: it is vetted and loaded in this process.
    None = 0,
    /// In a process of its own, with limits on memory, time and system calls:
    /// the helper program `inferno-check` loads it, makes a session in which
    /// every open dim is 1, and runs that once, all within `load_time_ns`. The
    /// load is refused with what the helper's load answers; when the session or
    /// the run goes past a limit; with INVALID_MODEL when the helper dies of the
    /// model; with DEADLINE_EXCEEDED when it takes too long; with NOT_FOUND, IO
    /// or UNSUPPORTED when there is no helper, it does not work, is of another
    /// version, or the system cannot lock it in. A session or run that fails
    /// otherwise does not count: dims and values were guesses. Then the model is
    /// loaded here, from the bytes that were tried: external data is read a
    /// second time and compared. It keeps accidents out, and is no proof that a
    /// model is harmless. Linux only: elsewhere such a load is UNSUPPORTED.
    Process = 1,
}

/// Fills `limits` with the defaults.
///
/// Ownership: `limits` is the caller's; `struct_size` is its `sizeof`, and what
/// this library does not know of it is set to zero.
/// Threads: any.
/// Errors: INVALID_ARGUMENT (NULL, or a size smaller than any release's).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_model_limits_init(
    limits: *mut inferno_model_limits,
    struct_size: usize,
) -> inferno_status {
    // SAFETY: the caller gives NULL or `struct_size` writable bytes.
    guard(|| unsafe { init_struct(limits, struct_size) })
}

pub(super) fn isolation_of(given: i32) -> Result<Isolation> {
    match given {
        n if n == inferno_isolation::None as i32 => Ok(Isolation::None),
        n if n == inferno_isolation::Process as i32 => Ok(Isolation::Process),
        n => Err(error::invalid_argument(format!(
            "options.isolation is {n}: expected an inferno_isolation, 0 or 1"
        ))),
    }
}

pub(super) fn limits_of(given: &inferno_model_limits) -> Limits {
    Limits {
        file_bytes: given.max_file_bytes,
        weight_bytes: given.max_weight_bytes,
        tensor_bytes: given.max_tensor_bytes,
        memory_bytes: given.max_memory_bytes,
        nodes: given.max_nodes,
        node_values: given.max_node_values,
        rank: given.max_rank,
        depth: given.max_depth,
        load_time_ns: given.load_time_ns,
    }
}
