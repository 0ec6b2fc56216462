//! The steps of a cell, once the input's part of their gates is known.

use super::Weights;
use super::tile::{Part, Registers, State, pass};
use crate::kernels::lanes::{Lanes, for_isa};
use crate::kernels::math::{sigmoid, tanh};
use crate::kernels::pack::PANEL;

/// Steps of one sequence.
pub(super) struct Chunk<'a> {
    pub weights: &'a Weights,
    /// Rows of a step.
    pub batch: usize,
    /// Steps.
    pub count: usize,
    /// From the last to the first.
    pub reverse: bool,
    /// For each step and row, the input's part of all gates in the order of panel,
    /// gate, unit.
    pub parts: &'a [f32],
    /// Rows of the output, from the first step's on.
    pub y: Option<&'a mut [f32]>,
    pub step_stride: usize,
    pub batch_stride: usize,
    /// Rows of whole panels: the state before the first step, and room for the
    /// one after it; an odd count of steps leaves the last state in the latter.
    pub h: [&'a mut [f32]; 2],
    /// As many: the cell of an LSTM, the gate z of a GRU.
    pub own: &'a mut [f32],
    /// As many: the state after a GRU's gate r.
    pub more: &'a mut [f32],
}

/// Where one step reads and writes. All rows of states are `padded` floats apart.
#[derive(Clone, Copy)]
struct Step {
    batch: usize,
    hidden: usize,
    padded: usize,
    /// Every other step goes through the panels backwards.
    backwards: bool,
    parts: *const f32,
    columns: usize,
    old: *const f32,
    new: *mut f32,
    own: *mut f32,
    more: *mut f32,
    /// NULL without.
    y: *mut f32,
    batch_stride: usize,
    bias_h: *const f32,
    /// NULL without.
    peepholes: *const f32,
}

impl Chunk<'_> {
    /// Measures the slices, and gives the pointers that all steps have in common.
    #[inline(always)]
    fn begin(&mut self) -> Step {
        let (hidden, padded) = (self.weights.hidden, self.weights.padded());
        let columns = self.weights.w.n();
        assert!(self.parts.len() == self.count * self.batch * columns);
        let states = [&*self.h[0], &*self.h[1], &*self.own, &*self.more];
        assert!(states.iter().all(|state| state.len() >= self.batch * padded));
        let peepholes = &self.weights.peepholes;
        Step {
            batch: self.batch,
            hidden,
            padded,
            backwards: false,
            parts: self.parts.as_ptr(),
            columns,
            old: self.h[0].as_mut_ptr(),
            new: self.h[1].as_mut_ptr(),
            own: self.own.as_mut_ptr(),
            more: self.more.as_mut_ptr(),
            y: self.y.as_mut().map_or(std::ptr::null_mut(), |y| y.as_mut_ptr()),
            batch_stride: self.batch_stride,
            bias_h: self.weights.bias_h.as_ptr(),
            peepholes: if peepholes.is_empty() { std::ptr::null() } else { peepholes.as_ptr() },
        }
    }

    /// The step after `i` others.
    ///
    /// SAFETY: `begin` is of this chunk, which has so many steps.
    #[inline(always)]
    unsafe fn step(&self, begin: &Step, i: usize) -> Step {
        let mut step = *begin;
        let t = if self.reverse { self.count - 1 - i } else { i };
        if i % 2 == 1 {
            (step.old, step.new) = (begin.new, begin.old.cast_mut());
        }
        step.backwards = i % 2 == 1;
        // SAFETY: the contract; every step has its rows.
        unsafe {
            step.parts = begin.parts.add(t * self.batch * step.columns);
            if !begin.y.is_null() {
                step.y = begin.y.add(t * self.step_stride);
            }
        }
        step
    }
}

impl Step {
    /// The input's part of a gate of `gates`.
    #[inline(always)]
    unsafe fn part<V: Lanes>(&self, row: usize, panel: usize, gates: usize, gate: usize) -> V {
        let at = row * self.columns + (panel * gates + gate) * PANEL;
        // SAFETY: the callers': the step has the row, the panel and the gate.
        unsafe { V::load(self.parts.add(at)) }
    }

    /// As what is multiplied: the state before the step, or else.
    #[inline(always)]
    fn times(&self, rows: *const f32) -> State {
        let Step { batch, hidden, padded, backwards, .. } = *self;
        State { rows, batch, hidden, padded, backwards }
    }

    /// A panel of a row of some state.
    #[inline(always)]
    fn at(&self, row: usize, panel: usize) -> usize {
        row * self.padded + panel * PANEL
    }

    /// Writes a panel of the new state, and of the output.
    #[inline(always)]
    unsafe fn write<V: Lanes>(&self, row: usize, panel: usize, h: V) {
        // SAFETY: the callers': the step has the row and the panel; the output has
        // the row without what pads it.
        unsafe {
            h.store(self.new.add(self.at(row, panel)));
            if !self.y.is_null() {
                let to = self.y.add(row * self.batch_stride + panel * PANEL);
                match self.hidden - panel * PANEL {
                    PANEL.. => h.store(to),
                    some => h.store_some(to, some),
                }
            }
        }
    }
}

/// All gates of an LSTM: i, o, f, c.
struct Lstm(Step);

impl Part<4> for Lstm {
    #[inline(always)]
    unsafe fn start<V: Lanes>(&self, row: usize, panel: usize) -> [V; 4] {
        // SAFETY: the contract.
        unsafe {
            [
                self.0.part(row, panel, 4, 0),
                self.0.part(row, panel, 4, 1),
                self.0.part(row, panel, 4, 2),
                self.0.part(row, panel, 4, 3),
            ]
        }
    }

    #[inline(always)]
    unsafe fn finish<V: Lanes>(&self, row: usize, panel: usize, [i, o, f, g]: [V; 4]) {
        let step = &self.0;
        // SAFETY: the contract; there are three rows of peepholes, or none.
        unsafe {
            let cell = step.own.add(step.at(row, panel));
            let c = V::load(cell);
            let peephole = |index: usize, c: V, sum: V| match step.peepholes.is_null() {
                true => sum,
                false => {
                    let at = step.at(index, panel);
                    V::load(step.peepholes.add(at)).mul_add(c, sum)
                }
            };
            let (i, f) = (peephole(0, c, i), peephole(2, c, f));
            let c = sigmoid(f).mul_add(c, sigmoid(i).mul(tanh(g)));
            c.store(cell);
            let o = peephole(1, c, o);
            step.write(row, panel, sigmoid(o).mul(tanh(c)));
        }
    }
}

/// All gates of a GRU whose gate r multiplies after the product: z, r, h.
struct GruAfter(Step);

impl Part<3> for GruAfter {
    #[inline(always)]
    unsafe fn start<V: Lanes>(&self, row: usize, panel: usize) -> [V; 3] {
        // SAFETY: the contract; there is a bias for every panel.
        unsafe {
            [
                self.0.part(row, panel, 3, 0),
                self.0.part(row, panel, 3, 1),
                V::load(self.0.bias_h.add(panel * PANEL)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn finish<V: Lanes>(&self, row: usize, panel: usize, [z, r, h]: [V; 3]) {
        let step = &self.0;
        // SAFETY: the contract.
        unsafe {
            let n = tanh(sigmoid(r).mul_add(h, step.part(row, panel, 3, 2)));
            let old = V::load(step.old.add(step.at(row, panel)));
            step.write(row, panel, blend(sigmoid(z), old, n));
        }
    }
}

/// z · old + (1 - z) · new.
#[inline(always)]
fn blend<V: Lanes>(z: V, old: V, new: V) -> V {
    z.mul_add(old, V::splat(1.0).sub(z).mul(new))
}

/// The first two gates of a GRU whose gate r multiplies the state: z goes to
/// `own`, the state after r to `more`.
struct GruGates(Step);

impl Part<2> for GruGates {
    #[inline(always)]
    unsafe fn start<V: Lanes>(&self, row: usize, panel: usize) -> [V; 2] {
        // SAFETY: the contract.
        unsafe { [self.0.part(row, panel, 3, 0), self.0.part(row, panel, 3, 1)] }
    }

    #[inline(always)]
    unsafe fn finish<V: Lanes>(&self, row: usize, panel: usize, [z, r]: [V; 2]) {
        let step = &self.0;
        let at = step.at(row, panel);
        // SAFETY: the contract.
        unsafe {
            sigmoid(z).store(step.own.add(at));
            sigmoid(r).mul(V::load(step.old.add(at))).store(step.more.add(at));
        }
    }
}

/// And its third.
struct GruHidden(Step);

impl Part<1> for GruHidden {
    #[inline(always)]
    unsafe fn start<V: Lanes>(&self, row: usize, panel: usize) -> [V; 1] {
        // SAFETY: the contract.
        unsafe { [self.0.part(row, panel, 3, 2)] }
    }

    #[inline(always)]
    unsafe fn finish<V: Lanes>(&self, row: usize, panel: usize, [h]: [V; 1]) {
        let step = &self.0;
        let at = step.at(row, panel);
        // SAFETY: the contract.
        unsafe {
            let (z, old) = (V::load(step.own.add(at)), V::load(step.old.add(at)));
            step.write(row, panel, blend(z, old, tanh(h)));
        }
    }
}

/// The one gate of a plain layer.
struct Rnn {
    step: Step,
    relu: bool,
}

impl Part<1> for Rnn {
    #[inline(always)]
    unsafe fn start<V: Lanes>(&self, row: usize, panel: usize) -> [V; 1] {
        // SAFETY: the contract.
        unsafe { [self.step.part(row, panel, 1, 0)] }
    }

    #[inline(always)]
    unsafe fn finish<V: Lanes>(&self, row: usize, panel: usize, [h]: [V; 1]) {
        let h = if self.relu { V::splat(0.0).max(h) } else { tanh(h) };
        // SAFETY: the contract.
        unsafe { self.step.write(row, panel, h) }
    }
}

for_isa! {
    /// The steps of an LSTM.
    pub(super) fn lstm(chunk: Chunk) = lstm_steps;
}

#[inline(always)]
fn lstm_steps<V: Registers>(mut chunk: Chunk) {
    let r = &chunk.weights.r;
    let begin = chunk.begin();
    for i in 0..chunk.count {
        // SAFETY: the slices were measured; R is packed for four gates.
        unsafe {
            let step = chunk.step(&begin, i);
            pass::<V, 4, 2, 1>(&Lstm(step), r, step.times(step.old));
        }
    }
}

for_isa! {
    /// The steps of a GRU whose gate r multiplies after the product.
    pub(super) fn gru_after(chunk: Chunk) = gru_after_steps;
}

#[inline(always)]
fn gru_after_steps<V: Registers>(mut chunk: Chunk) {
    let r = &chunk.weights.r;
    let begin = chunk.begin();
    for i in 0..chunk.count {
        // SAFETY: the slices were measured; R is packed for three gates.
        unsafe {
            let step = chunk.step(&begin, i);
            pass::<V, 3, 2, 1>(&GruAfter(step), r, step.times(step.old));
        }
    }
}

for_isa! {
    /// The steps of a GRU whose gate r multiplies the state.
    pub(super) fn gru_before(chunk: Chunk) = gru_before_steps;
}

#[inline(always)]
fn gru_before_steps<V: Registers>(mut chunk: Chunk) {
    let (r, r_h) = (&chunk.weights.r, chunk.weights.r_h.as_ref());
    let r_h = r_h.expect("the gate h is packed by itself");
    let begin = chunk.begin();
    for i in 0..chunk.count {
        // SAFETY: the slices were measured; R is packed for two gates and for
        // one; the first pass writes all that the second reads.
        unsafe {
            let step = chunk.step(&begin, i);
            pass::<V, 2, 4, 2>(&GruGates(step), r, step.times(step.old));
            pass::<V, 1, 8, 4>(&GruHidden(step), r_h, step.times(step.more));
        }
    }
}

for_isa! {
    /// The steps of a plain layer.
    pub(super) fn rnn(chunk: Chunk, relu: bool) = rnn_steps;
}

#[inline(always)]
fn rnn_steps<V: Registers>(mut chunk: Chunk, relu: bool) {
    let r = &chunk.weights.r;
    let begin = chunk.begin();
    for i in 0..chunk.count {
        // SAFETY: the slices were measured; R is packed for one gate.
        unsafe {
            let step = chunk.step(&begin, i);
            pass::<V, 1, 8, 4>(&Rnn { step, relu }, r, step.times(step.old));
        }
    }
}
