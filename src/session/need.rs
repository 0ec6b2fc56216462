//! What a session needs, told before there is one.

use super::{Session, SessionOptions};
use crate::error::{Kind, Result};
use crate::model::Model;
use crate::pool::Account;
use crate::work;
use std::sync::Arc;
use std::time::Duration;

/// Bytes that a model and one session over it hold at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Held by the model for all sessions of these shapes.
    pub weight_bytes: u64,
    /// Inputs, outputs, state, and the values between two steps.
    pub arena_bytes: u64,
    /// What steps take besides.
    pub scratch_bytes: u64,
    /// It was seen in a run; otherwise the plan says so, and nothing is known of
    /// the scratch.
    pub is_measured: bool,
}

/// A run that holds as much as any: the outputs of the one before are there.
const RUNS: usize = 3;

/// What a session made with `options` needs. It is made, run over zeros on a
/// thread of its own, whose scratch no earlier run made, and ended again.
pub fn need(model: &Arc<Model>, account: Account, options: SessionOptions) -> Result<Need> {
    let budget = model.limits().budget();
    work::to_its_end(budget, "the trial run", || {
        let session = Session::new(model.clone(), account, options)?;
        let mut entered = session.enter()?;
        entered.prepare()?;
        let weight_bytes = model.account().own_bytes();
        let ran = (0..RUNS).try_for_each(|_| entered.run(Duration::ZERO));
        let values = entered.value_bytes();
        drop(entered);
        let most = session.account().stats().peak_bytes;
        let (is_measured, arena_bytes) = match ran {
            Ok(()) => (true, values.map_or(most, |values| values.min(most))),
            // Zeros may be refused where other values are not.
            Err(e) if e.kind() == Kind::RunFailed => (false, most.max(values.unwrap_or(0))),
            Err(e) => return Err(e),
        };
        let scratch_bytes = most.saturating_sub(arena_bytes);
        Ok(Need { weight_bytes, arena_bytes, scratch_bytes, is_measured })
    })
    .map_err(|e| e.at(model.name()))
}
