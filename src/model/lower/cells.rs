//! Recurrent cells as the standard has them, for what tract's leave out:
//! `activations`, `clip`, `input_forget`, `sequence_lens`, `layout` with two
//! directions, and a `GRU` that resets before its product.

use super::attrs;
use super::native::{Facts, Kernel, Tensors, ints};
use super::values::{f32s, tensor_of};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ndarray::{
    Array2, Array3, Array4, ArrayD, ArrayView2, ArrayViewMut1, Ix2, Ix3, s,
};

/// An activation function with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Activation {
    Sigmoid,
    Tanh,
    Relu,
    Softsign,
    Softplus,
    Affine(f32, f32),
    ScaledTanh(f32, f32),
    HardSigmoid(f32, f32),
    LeakyRelu(f32),
    ThresholdedRelu(f32),
    Elu(f32),
}

impl Activation {
    /// The function of that name; parameters come from the lists in order, else by default.
    fn named(name: &str, alpha: &mut Params, beta: &mut Params) -> TractResult<Activation> {
        let mut next = |default| alpha.next().unwrap_or(default);
        Ok(match &*name.to_ascii_lowercase() {
            "sigmoid" => Activation::Sigmoid,
            "tanh" => Activation::Tanh,
            "relu" => Activation::Relu,
            "softsign" => Activation::Softsign,
            "softplus" => Activation::Softplus,
            "affine" => Activation::Affine(next(1.0), beta.next().unwrap_or(0.0)),
            "scaledtanh" => Activation::ScaledTanh(next(1.0), beta.next().unwrap_or(1.0)),
            "hardsigmoid" => Activation::HardSigmoid(next(0.2), beta.next().unwrap_or(0.5)),
            "leakyrelu" => Activation::LeakyRelu(next(0.01)),
            "thresholdedrelu" => Activation::ThresholdedRelu(next(1.0)),
            "elu" => Activation::Elu(next(1.0)),
            _ => bail!("unknown activation '{name}'"),
        })
    }

    fn of(self, x: f32) -> f32 {
        match self {
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
            Activation::Relu => x.max(0.0),
            Activation::Softsign => x / (1.0 + x.abs()),
            Activation::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Activation::Affine(a, b) => a * x + b,
            Activation::ScaledTanh(a, b) => a * (b * x).tanh(),
            Activation::HardSigmoid(a, b) => (a * x + b).clamp(0.0, 1.0),
            Activation::LeakyRelu(a) => {
                if x >= 0.0 {
                    x
                } else {
                    a * x
                }
            }
            Activation::ThresholdedRelu(a) => {
                if x > a {
                    x
                } else {
                    0.0
                }
            }
            Activation::Elu(a) => {
                if x >= 0.0 {
                    x
                } else {
                    a * (x.exp() - 1.0)
                }
            }
        }
    }
}

type Params = std::vec::IntoIter<f32>;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Cell {
    Rnn,
    Gru { linear_before_reset: bool },
    Lstm { input_forget: bool },
}

impl Cell {
    fn gates(self) -> usize {
        match self {
            Cell::Rnn => 1,
            Cell::Gru { .. } => 3,
            Cell::Lstm { .. } => 4,
        }
    }

    fn activations(self) -> &'static [&'static str] {
        match self {
            Cell::Rnn => &["Tanh"],
            Cell::Gru { .. } => &["Sigmoid", "Tanh"],
            Cell::Lstm { .. } => &["Sigmoid", "Tanh", "Tanh"],
        }
    }
}

/// For each direction of a layer, whether it runs from the end.
pub(super) fn reverse(node: &NodeProto) -> TractResult<Vec<bool>> {
    Ok(match &*attrs::string(node, "direction", "forward")? {
        "forward" => vec![false],
        "reverse" => vec![true],
        "bidirectional" => vec![false, true],
        other => bail!("{}: unknown direction '{other}'", node.op_type),
    })
}

/// A recurrent layer.
#[derive(Debug)]
pub(super) struct Layer {
    cell: Cell,
    /// One list a direction.
    activations: Vec<Vec<Activation>>,
    /// Which directions run from the end.
    reverse: Vec<bool>,
    clip: Option<f32>,
    batch_first: bool,
}

impl Layer {
    /// The layer that a `GRU`, `LSTM` or `RNN` node describes.
    pub fn of(node: &NodeProto) -> TractResult<Layer> {
        let cell = match &*node.op_type {
            "LSTM" => Cell::Lstm { input_forget: attrs::flag(node, "input_forget", false)? },
            "GRU" => {
                let linear_before_reset = attrs::int(node, "linear_before_reset", 0)? != 0;
                Cell::Gru { linear_before_reset }
            }
            _ => Cell::Rnn,
        };
        let reverse = reverse(node)?;
        let defaults = cell.activations();
        let mut names = attrs::strings(node, "activations")?;
        if names.is_empty() {
            names = defaults.repeat(reverse.len()).iter().map(|n| n.to_string()).collect();
        }
        ensure!(
            names.len() == defaults.len() * reverse.len(),
            "{}: {} activations, expected {}",
            node.op_type,
            names.len(),
            defaults.len() * reverse.len()
        );
        let mut alpha = attrs::floats(node, "activation_alpha")?.into_iter();
        let mut beta = attrs::floats(node, "activation_beta")?.into_iter();
        let all = names
            .iter()
            .map(|name| Activation::named(name, &mut alpha, &mut beta))
            .collect::<TractResult<Vec<_>>>()?;
        let clip = node.get_attr_opt::<f32>("clip")?;
        ensure!(clip.is_none_or(|c| c >= 0.0), "{}: clip must not be negative", node.op_type);
        let activations = all.chunks(defaults.len()).map(|c| c.to_vec()).collect();
        let batch_first = attrs::flag(node, "layout", false)?;
        Ok(Layer { cell, activations, reverse, clip, batch_first })
    }

    fn dims(&self, x: &[usize], r: &[usize]) -> TractResult<(usize, usize, usize)> {
        let dirs = self.reverse.len();
        ensure!(
            x.len() == 3 && r.len() == 3 && r[0] == dirs && r[1] == self.cell.gates() * r[2],
            "dims {x:?} and {r:?} do not make a layer of {dirs} directions"
        );
        let (seq, batch) = if self.batch_first { (x[1], x[0]) } else { (x[0], x[1]) };
        Ok((seq, batch, r[2]))
    }

    /// A state given to the layer, as [directions, batch, hidden].
    fn state(&self, given: Option<&Tensor>, dims: [usize; 3]) -> TractResult<Array3<f32>> {
        let Some(given) = given else {
            return Ok(Array3::zeros(dims));
        };
        let mut state = f32s(given)?.into_dimensionality::<Ix3>()?;
        if self.batch_first {
            state.swap_axes(0, 1);
        }
        ensure!(state.shape() == dims, "a state has dims {:?}, not {dims:?}", state.shape());
        Ok(state)
    }

    /// One step of one batch entry. Clipping bounds what goes into the gates, and
    /// not the cell state on its way out, as in ONNX Runtime: `x` and `h` are what input and state give
    /// each gate, biases included; `row` is the state before and after.
    fn step(&self, run: &Run, x: &[f32], h: &[f32], row: &mut Row) {
        let n = run.hidden;
        let f = |which: usize, v: f32| {
            let v = self.clip.map_or(v, |clip| v.clamp(-clip, clip));
            self.activations[run.dir][which].of(v)
        };
        match self.cell {
            Cell::Rnn => (0..n).for_each(|i| row.h[i] = f(0, x[i] + h[i])),
            Cell::Gru { linear_before_reset } => {
                let z: Vec<f32> = (0..n).map(|i| f(0, x[i] + h[i])).collect();
                let r: Vec<f32> = (n..2 * n).map(|i| f(0, x[i] + h[i])).collect();
                let inner: Vec<f32> = if linear_before_reset {
                    (0..n).map(|i| r[i] * h[2 * n + i]).collect()
                } else {
                    let reset: Vec<f32> = (0..n).map(|i| r[i] * row.h[i]).collect();
                    let weights = run.r.slice(s![2 * n.., ..]);
                    let product = |i: usize| -> f32 {
                        reset.iter().zip(weights.row(i)).map(|(a, b)| a * b).sum()
                    };
                    (0..n).map(|i| product(i) + run.recurrent_bias(2 * n + i)).collect()
                };
                for i in 0..n {
                    let new = f(1, x[2 * n + i] + inner[i]);
                    row.h[i] = (1.0 - z[i]) * new + z[i] * row.h[i];
                }
            }
            Cell::Lstm { input_forget } => {
                for i in 0..n {
                    let gate = |g: usize| x[g * n + i] + h[g * n + i];
                    let peep = |g: usize| run.peepholes.map_or(0.0, |p| p[g * n + i]);
                    let input = f(0, gate(0) + peep(0) * row.c[i]);
                    let forget = match input_forget {
                        true => 1.0 - input,
                        false => f(0, gate(2) + peep(2) * row.c[i]),
                    };
                    row.c[i] = forget * row.c[i] + input * f(1, gate(3));
                    row.h[i] = f(0, gate(1) + peep(1) * row.c[i])
                        * self.activations[run.dir][2].of(row.c[i]);
                }
            }
        }
    }
}

/// What one direction of a run reads.
struct Run<'a> {
    dir: usize,
    hidden: usize,
    r: ArrayView2<'a, f32>,
    /// Bias of the recurrent product, one a gate and unit.
    bias: Option<&'a [f32]>,
    peepholes: Option<&'a [f32]>,
}

impl Run<'_> {
    fn recurrent_bias(&self, ix: usize) -> f32 {
        self.bias.map_or(0.0, |b| b[ix])
    }
}

/// The state of one batch entry.
struct Row<'a> {
    h: ArrayViewMut1<'a, f32>,
    c: ArrayViewMut1<'a, f32>,
}

impl Kernel for Layer {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let dt = inputs.dt(0)?;
        ensure!(
            dt == f32::datum_type() || dt == f16::datum_type(),
            "a recurrent layer of {dt:?} is not supported"
        );
        let (seq, batch, hidden) = self.dims(&inputs.dims(0)?, &inputs.dims(2)?)?;
        let dirs = self.reverse.len();
        let (y, state) = if self.batch_first {
            ([batch, seq, dirs, hidden], [batch, dirs, hidden])
        } else {
            ([seq, dirs, batch, hidden], [dirs, batch, hidden])
        };
        let mut facts = vec![dt.fact(y), dt.fact(state)];
        if matches!(self.cell, Cell::Lstm { .. }) {
            facts.push(dt.fact(state));
        }
        Ok(facts)
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let dt = inputs.need(0)?.datum_type();
        let mut x = f32s(inputs.need(0)?)?.into_dimensionality::<Ix3>()?;
        let w = f32s(inputs.need(1)?)?.into_dimensionality::<Ix3>()?;
        let r = f32s(inputs.need(2)?)?.into_dimensionality::<Ix3>()?;
        let (seq, batch, hidden) = self.dims(x.shape(), r.shape())?;
        if self.batch_first {
            x.swap_axes(0, 1);
        }
        let dirs = self.reverse.len();
        let width = self.cell.gates() * hidden;
        ensure!(w.shape() == [dirs, width, x.dim().2], "W has dims {:?}", w.shape());
        let bias = inputs.get(3).map(|b| Ok(f32s(b)?.into_dimensionality::<Ix2>()?));
        let bias: Option<Array2<f32>> = bias.transpose().map_err(|e: TractError| e)?;
        if let Some(b) = &bias {
            ensure!(b.shape() == [dirs, 2 * width], "B has dims {:?}", b.shape());
        }
        let lens = match inputs.get(4) {
            Some(lens) => ints(lens)?,
            None => vec![seq as i64; batch],
        };
        ensure!(
            lens.len() == batch && lens.iter().all(|l| (0..=seq as i64).contains(l)),
            "sequence_lens {lens:?} must be {batch} numbers in 0..={seq}"
        );
        let mut h = self.state(inputs.get(5), [dirs, batch, hidden])?;
        let mut c = self.state(inputs.get(6), [dirs, batch, hidden])?;
        let peepholes: Option<Vec<f32>> =
            inputs.get(7).map(f32s).transpose()?.map(|p| p.into_iter().collect());
        if let Some(p) = &peepholes {
            ensure!(p.len() == dirs * 3 * hidden, "P has {} values", p.len());
        }
        let x2 = x.as_standard_layout().into_owned();
        let x2 = x2.into_shape_with_order((seq * batch, w.dim().2))?;
        let mut y = Array4::<f32>::zeros((seq, dirs, batch, hidden));
        for dir in 0..dirs {
            let mut xw = x2.dot(&w.slice(s![dir, .., ..]).t());
            let bias: Option<Vec<f32>> = bias.as_ref().map(|b| b.row(dir).to_vec());
            if let Some(b) = &bias {
                for mut row in xw.rows_mut() {
                    row.iter_mut().zip(b).for_each(|(x, b)| *x += b);
                }
            }
            let run = Run {
                dir,
                hidden,
                r: r.slice(s![dir, .., ..]),
                bias: bias.as_ref().map(|b| &b[width..]),
                peepholes: peepholes.as_ref().map(|p| &p[dir * 3 * hidden..(dir + 1) * 3 * hidden]),
            };
            for k in 0..seq {
                let mut hr = h.slice(s![dir, .., ..]).dot(&run.r.t());
                if let Some(b) = run.bias {
                    for mut row in hr.rows_mut() {
                        row.iter_mut().zip(b).for_each(|(x, b)| *x += b);
                    }
                }
                for (b, len) in lens.iter().map(|len| *len as usize).enumerate() {
                    if k >= len {
                        continue;
                    }
                    let t = if self.reverse[dir] { len - 1 - k } else { k };
                    let mut row =
                        Row { h: h.slice_mut(s![dir, b, ..]), c: c.slice_mut(s![dir, b, ..]) };
                    let (from_x, from_h) = (xw.row(t * batch + b), hr.row(b));
                    self.step(&run, &from_x.to_vec(), &from_h.to_vec(), &mut row);
                    y.slice_mut(s![t, dir, b, ..]).assign(&row.h);
                }
            }
        }
        // An empty sequence ends in nothing, whatever it began with: as ONNX Runtime.
        for b in (0..batch).filter(|b| lens[*b] == 0) {
            h.slice_mut(s![.., b, ..]).fill(0.0);
            c.slice_mut(s![.., b, ..]).fill(0.0);
        }
        if self.batch_first {
            h.swap_axes(0, 1);
            c.swap_axes(0, 1);
            y = y.permuted_axes([2, 0, 1, 3]);
        }
        let out = |a: ArrayD<f32>| tensor_of(a.as_standard_layout().into_owned(), dt);
        let mut outputs = vec![out(y.into_dyn())?, out(h.into_dyn())?];
        if matches!(self.cell, Cell::Lstm { .. }) {
            outputs.push(out(c.into_dyn())?);
        }
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_go_to_the_functions_that_want_them() {
        let (mut alpha, mut beta) = (vec![0.3, 2.0].into_iter(), vec![0.7].into_iter());
        let mut named = |n: &str| Activation::named(n, &mut alpha, &mut beta).unwrap();
        assert_eq!(named("HardSigmoid"), Activation::HardSigmoid(0.3, 0.7));
        assert_eq!(named("Tanh"), Activation::Tanh);
        assert_eq!(named("Elu"), Activation::Elu(2.0));
        assert_eq!(named("LeakyRelu"), Activation::LeakyRelu(0.01));
    }

    #[test]
    fn softplus_of_much_is_itself() {
        assert_eq!(Activation::Softplus.of(200.0), 200.0);
        assert_eq!(Activation::HardSigmoid(0.2, 0.5).of(-9.0), 0.0);
    }
}
