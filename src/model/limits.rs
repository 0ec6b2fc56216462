//! What a model may ask for: the host's bounds on files nobody vouches for.

use crate::error::{self, Result};
use crate::work::Budget;
use std::fmt;
use std::time::Duration;

/// Bounds of a load, of making sessions, and of their runs. Every refusal by
/// one names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest model file, and the largest file of external data, in bytes.
    pub file_bytes: u64,
    /// All weights together, in bytes.
    pub weight_bytes: u64,
    /// The largest value between two nodes, in bytes.
    pub tensor_bytes: u64,
    /// What one load, one import or one run may hold at once, in bytes.
    pub memory_bytes: u64,
    /// Nodes, those of sub-graphs and functions counted.
    pub nodes: u64,
    /// Inputs and outputs of one node.
    pub node_values: u64,
    /// Rank of any tensor; bounds every axis.
    pub rank: u64,
    /// How deep sub-graphs nest.
    pub depth: u64,
    /// How long a load may take, and how long the import for new shapes, in
    /// nanoseconds; 0 means for ever.
    pub load_time_ns: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            file_bytes: 2 << 30,
            weight_bytes: 4 << 30,
            tensor_bytes: 2 << 30,
            memory_bytes: 8 << 30,
            nodes: 1 << 16,
            node_values: 4096,
            rank: 32,
            depth: 16,
            load_time_ns: 60_000_000_000,
        }
    }
}

impl Limits {
    /// What the work of one load or import may take.
    pub fn budget(&self) -> Budget {
        Budget { memory_bytes: self.memory_bytes, time: Duration::from_nanos(self.load_time_ns) }
    }

    /// Refuses `found` when it is over `most`, which the limit `name` gives.
    pub(super) fn within(what: impl fmt::Display, found: u64, name: &str, most: u64) -> Result<()> {
        if found > most {
            return Err(error::limit_exceeded(format!(
                "{what}: {found}, expected at most {name}, {most}"
            )));
        }
        Ok(())
    }
}
