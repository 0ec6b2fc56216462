//! Recurrent layers: a whole sequence in one call.
//!
//! The input's part of every gate is one matrix product for many steps at once.
//! Then, step by step, the state's part: the same sixteen hidden units of all
//! gates are summed side by side in registers, and what the cell makes of them
//! follows at once. The recurrent weights lie in the order in which they are
//! read, once a step; every other step reads the panels backwards, so that those
//! read last are still in the first-level cache.
//!
//! Every gate starts as its bias, and adds its products in the order of the
//! input and then of the state, each fused with its addition: the same bits for
//! every instruction set, for a row of a batch alone and among others, and for a
//! sequence in one call and in many.

#[cfg(test)]
mod case;
mod step;
#[cfg(test)]
mod tests;
mod tile;
mod weights;

use super::gemm::gemm;
use super::isa::Isa;
use super::pack::PANEL;
use serde::{Deserialize, Serialize};
use step::{Chunk, gru_after, gru_before, lstm, rnn};
pub use weights::Weights;

/// Rows whose input's part is calculated at once, where a step has no more.
const ROWS: usize = 64;

/// What a recurrent layer calculates, with the activations that ONNX has when
/// nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cell {
    /// Gates i, o, f, c.
    Lstm,
    /// Gates z, r, h.
    Gru {
        /// The reset gate multiplies the state's product and its bias, and not
        /// the state before its product.
        linear_before_reset: bool,
    },
    /// One gate.
    Rnn {
        /// The activation is max(0, x) rather than tanh.
        relu: bool,
    },
}

impl Cell {
    /// How many gates it has.
    pub fn gates(self) -> usize {
        match self {
            Cell::Lstm => 4,
            Cell::Gru { .. } => 3,
            Cell::Rnn { .. } => 1,
        }
    }
}

/// States in the scratch: h before and after a step, and two of the cell's own.
const STATES: usize = 4;

/// Steps whose input's part is calculated at once.
fn steps_at_once(steps: usize, batch: usize) -> usize {
    (ROWS / batch.max(1)).max(1).min(steps)
}

/// What a layer reads.
#[derive(Debug, Clone, Copy)]
pub struct Sequence<'a> {
    /// Steps.
    pub steps: usize,
    /// Rows of a step.
    pub batch: usize,
    /// From the last step to the first.
    pub reverse: bool,
    /// The row of `weights.input()` floats of step `t` and batch `b` begins at
    /// `t * x_step_stride + b * x_batch_stride`.
    pub x: &'a [f32],
    /// Floats from a step's row to the next step's.
    pub x_step_stride: usize,
    /// Floats from a row to the next of its step.
    pub x_batch_stride: usize,
    /// The state before the first step, `batch` rows; empty for zeros.
    pub h: &'a [f32],
    /// An LSTM's cell before the first step, `batch` rows; empty for zeros.
    pub c: &'a [f32],
    /// Floats from a row of `h`, and of `c`, to the next.
    pub state_stride: usize,
}

/// What a layer writes: nothing but the rows named here.
#[derive(Debug)]
pub struct Outputs<'a> {
    /// The state after every step: its row of `weights.hidden()` floats for step
    /// `t` and batch `b` begins at `t * step_stride + b * batch_stride`.
    pub y: Option<&'a mut [f32]>,
    /// Floats from a step's row of `y` to the next step's.
    pub step_stride: usize,
    /// Floats from a row of `y` to the next of its step.
    pub batch_stride: usize,
    /// The state after the last step, `batch` rows; empty when it is not wanted.
    pub h: &'a mut [f32],
    /// An LSTM's cell after the last step, `batch` rows; empty when it is not
    /// wanted.
    pub c: &'a mut [f32],
    /// Floats from a row of `h`, and of `c`, to the next.
    pub state_stride: usize,
}

/// Floats up to the end of the last of some rows of `row` floats, each kind of
/// them a count and a stride.
fn extent(row: usize, strides: [(usize, usize); 2]) -> usize {
    if strides.iter().any(|(count, _)| *count == 0) {
        return 0;
    }
    let add = |sum: usize, (count, stride): (usize, usize)| {
        (count - 1).checked_mul(stride).and_then(|floats| sum.checked_add(floats))
    };
    strides.into_iter().try_fold(row, add).expect("rows past the end of memory")
}

/// Calculates the layer for all steps, without allocating.
///
/// # Panics
///
/// When a slice is too short for the rows it has, `scratch` for
/// [`Weights::scratch`], when a cell other than an LSTM is given
/// a `c`, or the processor has not `isa`.
pub fn recur(
    isa: Isa,
    weights: &Weights,
    sequence: Sequence,
    outputs: Outputs,
    scratch: &mut [f32],
) {
    let Sequence { steps, batch, reverse, x, x_step_stride, x_batch_stride, .. } = sequence;
    let (input, hidden, padded) = (weights.input, weights.hidden, weights.padded());
    let Outputs { mut y, step_stride, batch_stride, h, c, state_stride } = outputs;
    let enough = |what: &str, length: usize, needed: usize| {
        assert!(length >= needed, "{what} of {length} floats where {needed} are needed");
    };
    enough("x", x.len(), extent(input, [(steps, x_step_stride), (batch, x_batch_stride)]));
    if let Some(y) = &y {
        enough("y", y.len(), extent(hidden, [(steps, step_stride), (batch, batch_stride)]));
    }
    let before = extent(hidden, [(1, 0), (batch, sequence.state_stride)]);
    let after = extent(hidden, [(1, 0), (batch, state_stride)]);
    for (what, length, needed) in [
        ("the first h", sequence.h.len(), before),
        ("the first c", sequence.c.len(), before),
        ("the last h", h.len(), after),
        ("the last c", c.len(), after),
    ] {
        enough(what, length, if length == 0 { 0 } else { needed });
    }
    let is_lstm = weights.cell == Cell::Lstm;
    assert!(is_lstm || (sequence.c.is_empty() && c.is_empty()), "a c without an LSTM");
    enough("scratch", scratch.len(), weights.scratch(steps, batch));
    if batch == 0 || hidden == 0 {
        return;
    }

    // The scratch, from a cache line on.
    let scratch = &mut scratch[..weights.scratch(steps, batch)];
    let skip = scratch.as_ptr().align_offset(64).min(PANEL);
    let at_once = steps_at_once(steps, batch);
    let (states, rest) = scratch[skip..].split_at_mut(batch * padded * STATES);
    let (parts, gathered) = rest.split_at_mut(at_once * batch * weights.w.n());
    let (mut h_old, rest) = states.split_at_mut(batch * padded);
    let (mut h_new, rest) = rest.split_at_mut(batch * padded);
    let (own, more) = rest.split_at_mut(batch * padded);
    copy_in(sequence.h, sequence.state_stride, h_old, hidden, padded);
    copy_in(sequence.c, sequence.state_stride, own, hidden, padded);

    let mut done = 0;
    while done < steps {
        let count = at_once.min(steps - done);
        let first = if reverse { steps - done - count } else { done };
        let rows = count * batch;
        let dense = (batch == 1 || x_batch_stride == input)
            && (count == 1 || x_step_stride == batch * input);
        let read = if dense {
            &x[first * x_step_stride..][..rows * input]
        } else {
            let read = &mut gathered[..rows * input];
            for row in 0..rows {
                let from = (first + row / batch) * x_step_stride + row % batch * x_batch_stride;
                read[row * input..][..input].copy_from_slice(&x[from..][..input]);
            }
            read
        };
        let parts = &mut parts[..rows * weights.w.n()];
        gemm(isa, rows, read, &weights.w, Some(&weights.bias), false, parts);
        let chunk = Chunk {
            weights,
            batch,
            count,
            reverse,
            parts,
            y: y.as_deref_mut().map(|y| &mut y[first * step_stride..]),
            step_stride,
            batch_stride,
            h: [&mut *h_old, &mut *h_new],
            own: &mut *own,
            more: &mut *more,
        };
        match weights.cell {
            Cell::Lstm => lstm(isa, chunk),
            Cell::Gru { linear_before_reset: true } => gru_after(isa, chunk),
            Cell::Gru { linear_before_reset: false } => gru_before(isa, chunk),
            Cell::Rnn { relu } => rnn(isa, chunk, relu),
        }
        if count % 2 == 1 {
            (h_old, h_new) = (h_new, h_old);
        }
        done += count;
    }
    copy_out(h_old, padded, h, state_stride, hidden);
    copy_out(own, padded, c, state_stride, hidden);
}

/// The rows of a state in whole panels.
fn copy_in(from: &[f32], stride: usize, to: &mut [f32], hidden: usize, padded: usize) {
    to.fill(0.0);
    if !from.is_empty() {
        for (b, row) in to.chunks_exact_mut(padded).enumerate() {
            row[..hidden].copy_from_slice(&from[b * stride..][..hidden]);
        }
    }
}

/// And back.
fn copy_out(from: &[f32], padded: usize, to: &mut [f32], stride: usize, hidden: usize) {
    if !to.is_empty() {
        for (b, row) in from.chunks_exact(padded).enumerate() {
            to[b * stride..][..hidden].copy_from_slice(&row[..hidden]);
        }
    }
}
