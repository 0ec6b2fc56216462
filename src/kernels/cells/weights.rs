//! The weights of a recurrent layer as its kernels read them.

use super::{Cell, STATES, steps_at_once};
use crate::error::{self, Result};
use crate::kernels::Isa;
use crate::kernels::pack::{PANEL, Packed, pack_into};
use serde::{Deserialize, Serialize};

/// The weights of one direction of a layer, packed. They do not depend on the
/// instruction set.
#[derive(Debug, Serialize, Deserialize)]
pub struct Weights {
    pub(super) cell: Cell,
    pub(super) input: usize,
    pub(super) hidden: usize,
    /// `input` rows; columns in the order of panel, gate, unit.
    pub(super) w: Packed,
    /// One value a column of `w`.
    pub(super) bias: Vec<f32>,
    /// A panel of units has, for each row of the state, a line for each gate.
    pub(super) r: Packed,
    /// The gate h by itself, when it needs the others first.
    pub(super) r_h: Option<Packed>,
    /// The state's bias of the gate h, when the reset gate multiplies it.
    pub(super) bias_h: Vec<f32>,
    /// One row for each of i, o, f; or nothing.
    pub(super) peepholes: Vec<f32>,
}

impl Weights {
    /// Packs the weights of one direction, as ONNX has them: `w` is [gates ·
    /// hidden, input], `r` [gates · hidden, hidden], `b` [2 · gates · hidden] with
    /// the input's biases before the state's, `p` [3 · hidden], for an LSTM only.
    ///
    /// Fails when a length is another one, or there is no memory.
    pub fn new(
        cell: Cell,
        input: usize,
        hidden: usize,
        w: &[f32],
        r: &[f32],
        b: Option<&[f32]>,
        p: Option<&[f32]>,
    ) -> Result<Weights> {
        let gates = cell.gates();
        let is = |length: usize, factors: &[usize]| {
            let product = factors.iter().try_fold(1usize, |x, y| x.checked_mul(*y));
            product == Some(length)
        };
        let wrong = |name: &str, length: usize| {
            error::invalid_model(format!(
                "{name} of {length} floats for {gates} gates of {hidden} units, {input} inputs"
            ))
        };
        if !is(w.len(), &[gates, hidden, input]) {
            return Err(wrong("W", w.len()));
        }
        if !is(r.len(), &[gates, hidden, hidden]) {
            return Err(wrong("R", r.len()));
        }
        if let Some(b) = b.filter(|b| !is(b.len(), &[2, gates, hidden])) {
            return Err(wrong("B", b.len()));
        }
        if let Some(p) = p.filter(|p| cell != Cell::Lstm || !is(p.len(), &[3, hidden])) {
            return Err(wrong("P", p.len()));
        }

        let columns = hidden.checked_next_multiple_of(PANEL).and_then(|n| n.checked_mul(gates));
        let columns = columns.ok_or_else(|| wrong("W", w.len()))?;
        // The gate and the unit of a column of `w`.
        let place = |j: usize| (j / PANEL % gates, j / PANEL / gates * PANEL + j % PANEL);
        let w = Packed::written(input, columns, |to| {
            for (panel, to) in to.chunks_exact_mut((input * PANEL).max(1)).enumerate() {
                let (gate, unit) = place(panel * PANEL);
                turned(&w[gate * hidden * input..][..hidden * input], input, unit, to);
            }
        })?;
        // The last gate of a GRU is by itself, in its products or in its bias.
        let before = cell == Cell::Gru { linear_before_reset: false };
        let after = cell == Cell::Gru { linear_before_reset: true };
        let together = if before { 2 } else { gates };
        let of = |gate: usize| &r[gate * hidden * hidden..][..hidden * hidden];
        let mut one = floats(hidden * PANEL, |_| 0.0)?;
        let packed_r = Packed::written(hidden * together, hidden, |to| {
            let panels = to.chunks_exact_mut((hidden * together * PANEL).max(1));
            for (unit, to) in (0..hidden).step_by(PANEL).zip(panels) {
                for gate in 0..together {
                    turned(of(gate), hidden, unit, &mut one);
                    let lines = to.chunks_exact_mut(PANEL).skip(gate).step_by(together);
                    lines.zip(one.chunks_exact(PANEL)).for_each(|(to, of)| to.copy_from_slice(of));
                }
            }
        })?;
        let r_h = match before {
            true => Some(Packed::from_strided(hidden, hidden, of(2), 1, hidden)?),
            false => None,
        };
        let bias = floats(columns, |j| match (b, place(j)) {
            (Some(b), (gate, unit)) if unit < hidden => match after && gate == 2 {
                true => b[gate * hidden + unit],
                false => b[gate * hidden + unit] + b[(gates + gate) * hidden + unit],
            },
            _ => 0.0,
        })?;
        let bias_h = floats(if after { columns / gates } else { 0 }, |unit| match b {
            Some(b) if unit < hidden => b[5 * hidden + unit],
            _ => 0.0,
        })?;
        let padded = columns / gates;
        let peepholes = floats(p.map_or(0, |_| 3 * padded), |j| match p {
            Some(p) if j % padded < hidden => p[j / padded * hidden + j % padded],
            _ => 0.0,
        })?;
        Ok(Weights { cell, input, hidden, w, bias, r: packed_r, r_h, bias_h, peepholes })
    }

    /// What is calculated with them.
    pub fn cell(&self) -> Cell {
        self.cell
    }

    /// Floats of a row of the input.
    pub fn input(&self) -> usize {
        self.input
    }

    /// Hidden units: floats of a row of the state, and of the output.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Bytes they take.
    pub fn bytes(&self) -> usize {
        let vectors = [&self.bias, &self.bias_h, &self.peepholes];
        self.w.bytes()
            + self.r.bytes()
            + self.r_h.as_ref().map_or(0, Packed::bytes)
            + vectors.iter().map(|v| size_of_val(v.as_slice())).sum::<usize>()
    }

    /// Floats of scratch that [`recur`](super::recur) needs for so many steps of so many rows;
    /// `usize::MAX` when there is no such number.
    pub fn scratch(&self, steps: usize, batch: usize) -> usize {
        let rows = steps_at_once(steps, batch).checked_mul(batch);
        let states = batch.checked_mul(self.padded() * STATES);
        let parts = rows.and_then(|rows| rows.checked_mul(self.w.n() + self.input));
        let all = parts.zip(states).and_then(|(parts, states)| parts.checked_add(states));
        all.and_then(|all| all.checked_add(PANEL)).unwrap_or(usize::MAX)
    }

    /// Hidden units in whole panels.
    pub(super) fn padded(&self) -> usize {
        self.hidden.next_multiple_of(PANEL)
    }
}

/// Writes the panel of the units from `unit` on: those of `w`, which has `k` floats of each,
/// and zeros, or what was there, past the last.
fn turned(w: &[f32], k: usize, unit: usize, to: &mut [f32]) {
    let units = (w.len() / k.max(1)).saturating_sub(unit).min(PANEL);
    if units > 0 && k > 0 {
        pack_into(Isa::best(), k, units, &w[unit * k..], 1, k, to);
    }
}

fn floats(count: usize, at: impl FnMut(usize) -> f32) -> Result<Vec<f32>> {
    let mut all = Vec::new();
    all.try_reserve_exact(count)
        .map_err(|_| error::out_of_memory(format!("no memory for {count} floats")))?;
    all.extend((0..count).map(at));
    Ok(all)
}
