//! Layers to test, and what they should give.

use super::*;
use crate::kernels::testing::numbers;

/// A layer and a sequence for it.
#[derive(Clone)]
pub(super) struct Case {
    pub cell: Cell,
    pub input: usize,
    pub hidden: usize,
    pub steps: usize,
    pub batch: usize,
    pub reverse: bool,
    pub w: Vec<f32>,
    pub r: Vec<f32>,
    pub b: Option<Vec<f32>>,
    pub p: Option<Vec<f32>>,
    pub x: Vec<f32>,
    pub h: Vec<f32>,
    pub c: Vec<f32>,
}

/// What comes of it: all states, the last, and the last cell.
#[derive(Debug, PartialEq)]
pub(super) struct Answer<T> {
    pub y: Vec<T>,
    pub h: Vec<T>,
    pub c: Vec<T>,
}

pub(super) const CELLS: [Cell; 5] = [
    Cell::Lstm,
    Cell::Gru { linear_before_reset: false },
    Cell::Gru { linear_before_reset: true },
    Cell::Rnn { relu: false },
    Cell::Rnn { relu: true },
];

const SIZES: [(usize, usize); 7] = [(1, 1), (3, 5), (40, 16), (2, 17), (0, 4), (7, 40), (5, 150)];

/// Weights such that gates are neither shut nor wide open.
fn weights_of(count: usize, depth: usize, seed: u64) -> Vec<f32> {
    let scale = 1.0 / (depth.max(1) as f32).sqrt();
    numbers(count, seed).into_iter().map(|v| v * scale).collect()
}

impl Case {
    pub fn new(
        cell: Cell,
        (input, hidden): (usize, usize),
        (steps, batch): (usize, usize),
    ) -> Case {
        let (gates, rows) = (cell.gates(), batch * hidden);
        let lstm = cell == Cell::Lstm;
        Case {
            cell,
            input,
            hidden,
            steps,
            batch,
            reverse: false,
            w: weights_of(gates * hidden * input, input, 1),
            r: weights_of(gates * hidden * hidden, hidden, 2),
            b: Some(numbers(2 * gates * hidden, 3)),
            p: lstm.then(|| numbers(3 * hidden, 4)),
            x: numbers(steps * batch * input, 5),
            h: numbers(rows, 6),
            c: numbers(if lstm { rows } else { 0 }, 7),
        }
    }

    /// Cells and sizes of every kind.
    pub fn all() -> impl Iterator<Item = Case> {
        let lengths = [(1, 1), (2, 3), (7, 1), (3, 5), (5, 2), (4, 4), (67, 1), (6, 31)];
        let sizes = SIZES.into_iter().flat_map(move |size| lengths.map(|length| (size, length)));
        sizes.enumerate().flat_map(|(i, (size, length))| {
            CELLS.into_iter().filter(move |_| !cfg!(miri) || i % 9 == 0).map(move |cell| {
                let mut case = Case::new(cell, size, length);
                case.reverse = i % 2 == 1;
                case.b = case.b.filter(|_| i % 3 != 1);
                case.p = case.p.filter(|_| i % 3 != 2);
                if i % 4 == 3 {
                    (case.h, case.c) = (Vec::new(), Vec::new());
                }
                case
            })
        })
    }

    pub fn name(&self) -> String {
        let Case { cell, input, hidden, steps, batch, reverse, .. } = self;
        format!("{cell:?} {input}→{hidden}, {steps} steps of {batch}, reverse {reverse}")
    }

    pub fn weights(&self) -> Weights {
        let (b, p) = (self.b.as_deref(), self.p.as_deref());
        Weights::new(self.cell, self.input, self.hidden, &self.w, &self.r, b, p).unwrap()
    }

    pub fn run(&self, isa: Isa) -> Answer<f32> {
        let Case { input, hidden, steps, batch, reverse, .. } = *self;
        let weights = self.weights();
        let mut scratch = vec![f32::NAN; weights.scratch(steps, batch)];
        let mut y = vec![f32::NAN; steps * batch * hidden];
        let mut h = vec![f32::NAN; batch * hidden];
        let mut c = vec![f32::NAN; if self.cell == Cell::Lstm { batch * hidden } else { 0 }];
        let sequence = Sequence {
            steps,
            batch,
            reverse,
            x: &self.x,
            x_step_stride: batch * input,
            x_batch_stride: input,
            h: &self.h,
            c: &self.c,
            state_stride: hidden,
        };
        let outputs = Outputs {
            y: Some(&mut y),
            step_stride: batch * hidden,
            batch_stride: hidden,
            h: &mut h,
            c: &mut c,
            state_stride: hidden,
        };
        recur(isa, &weights, sequence, outputs, &mut scratch);
        Answer { y, h, c }
    }

    /// The formulas of ONNX, in f64.
    pub fn reference(&self) -> Answer<f64> {
        let Case { input, hidden, steps, batch, .. } = *self;
        let wide = |v: &[f32], count: usize| match v {
            [] => vec![0.0; count],
            v => v.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>(),
        };
        let (mut h, mut c) = (wide(&self.h, batch * hidden), wide(&self.c, batch * hidden));
        let gates = self.cell.gates();
        let b = wide(self.b.as_deref().unwrap_or(&[]), 2 * gates * hidden);
        let p = wide(self.p.as_deref().unwrap_or(&[]), 3 * hidden);
        let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
        let mut y = vec![0.0; steps * batch * hidden];
        for i in 0..steps {
            let t = if self.reverse { steps - 1 - i } else { i };
            for row in 0..batch {
                let x = &self.x[(t * batch + row) * input..][..input];
                let old = h[row * hidden..][..hidden].to_vec();
                let of_x = |gate: usize, j: usize| {
                    let w = &self.w[(gate * hidden + j) * input..][..input];
                    let terms = w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
                    terms.sum::<f64>() + b[gate * hidden + j]
                };
                let of_h = |gate: usize, j: usize, state: &[f64]| {
                    let r = &self.r[(gate * hidden + j) * hidden..][..hidden];
                    let terms = r.iter().zip(state).map(|(r, h)| f64::from(*r) * h);
                    terms.sum::<f64>() + b[(gates + gate) * hidden + j]
                };
                let both = |gate: usize, j: usize| of_x(gate, j) + of_h(gate, j, &old);
                let reset: Vec<f64> = match self.cell {
                    Cell::Gru { .. } => (0..hidden).map(|j| sigmoid(both(1, j))).collect(),
                    _ => Vec::new(),
                };
                let after: Vec<f64> = reset.iter().zip(&old).map(|(r, h)| r * h).collect();
                for j in 0..hidden {
                    let at = row * hidden + j;
                    h[at] = match self.cell {
                        Cell::Lstm => {
                            let i = sigmoid(both(0, j) + p[j] * c[at]);
                            let f = sigmoid(both(2, j) + p[2 * hidden + j] * c[at]);
                            c[at] = f * c[at] + i * both(3, j).tanh();
                            let o = sigmoid(both(1, j) + p[hidden + j] * c[at]);
                            o * c[at].tanh()
                        }
                        Cell::Gru { linear_before_reset } => {
                            let product = match linear_before_reset {
                                true => reset[j] * of_h(2, j, &old),
                                false => of_h(2, j, &after),
                            };
                            let z = sigmoid(both(0, j));
                            (1.0 - z) * (of_x(2, j) + product).tanh() + z * old[j]
                        }
                        Cell::Rnn { relu: false } => both(0, j).tanh(),
                        Cell::Rnn { relu: true } => both(0, j).max(0.0),
                    };
                }
            }
            y[t * batch * hidden..][..batch * hidden].copy_from_slice(&h);
        }
        let c = if self.cell == Cell::Lstm { c } else { Vec::new() };
        Answer { y, h, c }
    }
}
