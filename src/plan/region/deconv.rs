//! Transposed convolutions, channels last.
//!
//! Where the windows of the result lie side by side, each pixel makes one: the
//! products of its channels with a row of the kernel lie one after the other in a row
//! of it. Where they overlap, the elements that are equally far past a multiple of the
//! stride are a convolution by the taps that reach them (Shi and others, "Is the
//! deconvolution layer the same as a convolutional layer?", 2016): every element is
//! written once, and nothing is added up in memory.

use super::conv2d::Geometry;
use super::fuse::Tail;
use super::lower::{Context, LARGEST, Lowered, Raw, Ref};
use super::memory::Mapped;
use super::ops::Op;
use super::split::Team;
use crate::error::Result;
use crate::kernels::{self, Isa, Packed, Pieces};
use serde::{Deserialize, Serialize};
use tract_onnx::tract_core::internal::{DimLike, TDim, ToDim};
use tract_onnx::tract_core::ops::cnn::{Deconv as Given, KernelFormat};

/// A transposed convolution.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Deconv {
    geometry: Geometry,
    batch: usize,
    /// Windows side by side: of each row of the kernel, a row for each channel, a column
    /// for each tap and filter. Others: of each row and column past a multiple of the
    /// stride, a row for each tap that reaches it and channel, a column for each filter.
    weights: Vec<Packed>,
    /// One for each of those columns.
    bias: Box<[f32]>,
    pub(super) tail: Tail,
}

/// Whether the windows of the result lie side by side and fill it.
fn are_beside(geometry: &Geometry) -> bool {
    let Geometry { from, to, kernel, stride, pad, .. } = geometry;
    let fills = |axis: usize| to[axis] == from[axis] * kernel[axis];
    kernel == stride && *pad == [0; 2] && fills(0) && fills(1)
}

/// The convolution whose windows have all taps that reach an element, wherever it is past
/// a multiple of the stride.
fn windows(geometry: &Geometry) -> Geometry {
    let Geometry { from, to, kernel, stride, pad, .. } = *geometry;
    let last = |axis: usize| (to[axis] - 1 + pad[axis]) / stride[axis];
    let most = [0, 1].map(|axis: usize| kernel[axis].div_ceil(stride[axis]));
    Geometry {
        to: [0, 1].map(|axis: usize| from[axis].max(last(axis) + 1)),
        kernel: most,
        stride: [1; 2],
        dilation: [1; 2],
        pad: most.map(|taps| taps - 1),
        ..*geometry
    }
}

/// How many taps reach what is so far past a multiple of the stride.
fn taps(geometry: &Geometry, axis: usize, past: usize) -> usize {
    (geometry.kernel[axis] - past).div_ceil(geometry.stride[axis])
}

impl Deconv {
    /// `raw` has a window for each filter and channel.
    fn new(geometry: Geometry, batch: usize, raw: Raw, bias: Box<[f32]>) -> Option<Deconv> {
        let Geometry { channels, filters, kernel: [rows, columns], .. } = geometry;
        let place = move |filter: usize, channel: usize, [row, column]: [usize; 2]| {
            ((filter * channels + channel) * rows + row) * columns + column
        };
        let (weights, bias) = match are_beside(&geometry) {
            true => {
                let of_row = |row: usize| {
                    let at = move |raw: &[f32], channel: usize, column: usize| {
                        raw[place(column % filters, channel, [row, column / filters])]
                    };
                    Packed::later_of(channels, columns * filters, raw.clone(), at).ok()
                };
                ((0..rows).map(of_row).collect::<Option<Vec<_>>>()?, bias.repeat(columns).into())
            }
            false => {
                let [down, across] = geometry.stride;
                let of_past = |past: [usize; 2]| {
                    let count = [0, 1].map(|axis| taps(&geometry, axis, past[axis]));
                    // (The later a tap, the earlier what it reads.)
                    let at = move |raw: &[f32], row: usize, filter: usize| {
                        let (tap, channel) = (row / channels, row % channels);
                        let back = [tap / count[1], tap % count[1]];
                        let tap = |axis: usize| {
                            past[axis] + (count[axis] - 1 - back[axis]) * geometry.stride[axis]
                        };
                        raw[place(filter, channel, [tap(0), tap(1)])]
                    };
                    let k = count[0] * count[1] * channels;
                    Packed::later_of(k, filters, raw.clone(), at).ok()
                };
                let all = (0..down).flat_map(|y| (0..across).map(move |x| [y, x]));
                (all.map(of_past).collect::<Option<Vec<_>>>()?, bias)
            }
        };
        Some(Deconv { geometry, batch, weights, bias, tail: Tail::default() })
    }

    pub(super) fn filters(&self) -> usize {
        self.geometry.filters
    }

    /// Multiplies each filter with one of `by`.
    pub(super) fn scale(&mut self, by: &[f32]) {
        let by = by.repeat(self.bias.len() / self.geometry.filters);
        self.weights.iter_mut().for_each(|packed| packed.scale_columns(&by));
        self.bias.iter_mut().zip(by).for_each(|(v, by)| *v *= by);
    }

    /// Adds one of `by` to each filter.
    pub(super) fn shift(&mut self, by: &[f32]) {
        self.bias.iter_mut().zip(by.iter().cycle()).for_each(|(v, by)| *v += by);
    }

    /// Floats that it needs besides: an image with its pads.
    fn scratch(&self) -> usize {
        if are_beside(&self.geometry) {
            return 0;
        }
        windows(&self.geometry).padded_floats()
    }

    pub(super) fn run(&self, isa: Isa, reads: &Mapped, y: &mut [f32], scratch: &mut [f32]) {
        let residual = self.tail.residual.map(|at| reads.get(at));
        if are_beside(&self.geometry) {
            return self.beside(isa, reads.get(0), residual, 0, y);
        }
        let len = self.geometry.outputs();
        for (at, (x, y)) in self.geometry.images(self.batch, reads.get(0), y).enumerate() {
            let residual = residual.map(|all| &all[at * len..][..len]);
            self.overlapping(isa, x, 0, residual, y, scratch);
        }
    }

    /// As [`Deconv::run`], rows of the result side by side.
    pub(super) fn split(
        &self,
        isa: Isa,
        reads: &Mapped,
        y: &mut [f32],
        cost: u64,
        team: &mut Team,
    ) -> Result<bool> {
        let Geometry { filters, from, to, stride, .. } = self.geometry;
        let residual = self.tail.residual.map(|at| reads.get(at));
        if are_beside(&self.geometry) {
            let (x, row) = (reads.get(0), self.weights.len() * from[1] * self.bias.len());
            return team.rows(cost, y, [row, 1], |_, first, y| {
                self.beside(isa, x, residual, first, y);
            });
        }
        let (len, rows) = (self.geometry.outputs(), [to[1] * filters, stride[0]]);
        let images = self.geometry.images(self.batch, reads.get(0), y);
        team.images(cost, (self.batch, images), rows, |scratch, (at, x), first, y| {
            let residual = residual.map(|all| &all[at * len..][..len]);
            self.overlapping(isa, x, first, residual, y, scratch);
        })
    }

    /// Rows of all images, from the `first`th on; what one makes lies in as many as the
    /// kernel has.
    fn beside(&self, isa: Isa, x: &[f32], residual: Option<&[f32]>, first: usize, y: &mut [f32]) {
        let Geometry { channels, from: [_, width], .. } = self.geometry;
        let n = self.bias.len();
        for (row, y) in (first..).zip(y.chunks_exact_mut(self.weights.len() * width * n)) {
            let a = &x[row * width * channels..];
            for (at, (weights, c)) in
                self.weights.iter().zip(y.chunks_exact_mut(width * n)).enumerate()
            {
                let at = (row * self.weights.len() + at) * width * n;
                let gemm = kernels::Gemm {
                    m: width,
                    a,
                    lda: channels,
                    b: weights.as_packed(),
                    bias: Some(&self.bias),
                    residual: residual.map(|all| (&all[at..], n)),
                    clamp: self.tail.clamp,
                    c: (&mut *c).into(),
                    ldc: n,
                };
                gemm.run(isa);
                self.tail.finish(isa, c);
            }
        }
    }

    /// Rows of an image, from the `first`th on, one by one; of each, what is equally far
    /// past a multiple of the stride.
    fn overlapping(
        &self,
        isa: Isa,
        x: &[f32],
        first_row: usize,
        residual: Option<&[f32]>,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        let Geometry { channels, filters, to, stride, pad, .. } = self.geometry;
        let windows = windows(&self.geometry);
        let down_to = |row: usize| (row + pad[0]) / stride[0];
        let count = y.len() / (to[1] * filters);
        let (begin, end) = (down_to(first_row), down_to(first_row + count - 1) + 1);
        let (x, width) = windows.padded(x, [begin, end - begin], scratch);
        let (line, most) = (width * channels, windows.kernel);
        for (row, y) in (first_row..).zip(y.chunks_exact_mut(to[1] * filters)) {
            let (down, below) = (down_to(row) - begin, (row + pad[0]) % stride[0]);
            let high = taps(&self.geometry, 0, below);
            for past in 0..stride[1] {
                let first = (past + stride[1] - pad[1] % stride[1]) % stride[1];
                let wide = taps(&self.geometry, 1, past);
                let across = (first + pad[1]) / stride[1];
                if first >= to[1] {
                    continue;
                }
                let begin = (down + most[0] - high) * line + (across + most[1] - wide) * channels;
                let at = row * to[1] * filters + first * filters;
                let windows = kernels::Windows {
                    x: &x[begin..],
                    to: [1, (to[1] - first).div_ceil(stride[1])],
                    steps: [line, channels],
                    pieces: Pieces { count: [high, wide], steps: [line, channels], len: channels },
                    b: self.weights[below * stride[1] + past].as_packed(),
                    bias: Some(&self.bias),
                    residual: residual.map(|all| (&all[at..], stride[1] * filters)),
                    clamp: self.tail.clamp,
                    c: (&mut y[first * filters..]).into(),
                    ldc: stride[1] * filters,
                };
                windows.run(isa);
            }
            self.tail.finish(isa, y);
        }
    }

    pub(super) fn flop(&self) -> u64 {
        let Geometry { channels, filters, from, kernel, .. } = self.geometry;
        let taps = kernel[0] * kernel[1];
        2 * (self.batch * from[0] * from[1] * channels * filters * taps) as u64
    }

    pub(super) fn pack(&mut self) -> Result<()> {
        self.weights.iter_mut().try_for_each(Packed::pack)
    }

    pub(super) fn weight_bytes(&self) -> u64 {
        self.weights.iter().map(|packed| packed.bytes() as u64).sum()
    }
}

/// The transposed convolution of a node, over the last two of its axes, or over the last one
/// of images of one row. None where a tap is skipped, or elements have none.
fn read(context: &Context) -> Option<Deconv> {
    let op = context.node.op_as::<Given>()?;
    let (spec, filters) = (&op.pool_spec, op.pool_spec.output_channels);
    let (given, result) = (context.input_fact(0)?, &context.node.outputs.first()?.fact);
    let dims = [given, result].map(|fact| fact.shape.as_concrete());
    let [Some(given), Some(result)] = dims else { return None };
    let shape = spec.data_format.shape(given).ok()?;
    let spatial = shape.hw_dims();
    let plain = op.group == 1
        && op.kernel_format == KernelFormat::OIHW
        && !spec.data_format.c_is_last()
        && (1..=2).contains(&spatial.len());
    if !plain {
        return None;
    }
    let (kernel, stride) = (&spec.kernel_shape, spec.strides().into_owned());
    let (dilation, more) = (spec.dilations().into_owned(), &op.adjustments);
    let sizes: Vec<TDim> = spatial.iter().map(ToDim::to_dim).collect();
    let computed = spec.padding.compute_for_deconv(&sizes, kernel, &dilation, &stride, more);
    let known = |dims: Vec<&TDim>| -> Option<Vec<usize>> {
        dims.into_iter().map(|dim| dim.to_usize().ok()).collect()
    };
    let computed = computed.ok()?;
    let to = known(computed.iter().map(|dim| &dim.deconvoluted).collect())?;
    let pad = known(computed.iter().map(|dim| &dim.pad_before).collect())?;
    let pair = |of: &[usize], one: usize| match *of {
        [x] => [one, x],
        [y, x] => [y, x],
        _ => [0; 2],
    };
    let geometry = Geometry {
        channels: *shape.c(),
        filters,
        from: pair(spatial, 1),
        to: pair(&to, 1),
        kernel: pair(kernel, 1),
        stride: pair(&stride, 1),
        dilation: pair(&dilation, 1),
        pad: pair(&pad, 0),
    };
    let Geometry { channels, kernel, stride, to, .. } = geometry;
    let batch = shape.n().copied().unwrap_or(1);
    let reached = (0..2).all(|axis| kernel[axis] >= stride[axis] && to[axis] > 0);
    if geometry.dilation != [1; 2]
        || !reached
        || result.iter().product::<usize>() != batch * geometry.outputs()
    {
        return None;
    }
    let raw = context.raw(1)?;
    let whole = raw.as_ref().len() == filters * channels * kernel[0] * kernel[1];
    let conv =
        if whole { Deconv::new(geometry, batch, raw, context.biases(2, filters)?) } else { None };
    conv.filter(|conv| conv.scratch() <= LARGEST)
}

/// Adds a transposed convolution of `x`.
fn step(lowered: &mut Lowered, conv: Deconv, x: Ref) -> Ref {
    let mut writes = vec![conv.batch * conv.geometry.outputs()];
    writes.extend(Some(conv.scratch()).filter(|scratch| *scratch > 0));
    lowered.step_of(Op::Deconv(conv), vec![x], writes)
}

/// Over two axes.
pub(super) fn lower(context: &Context) -> Option<Lowered> {
    context.image(0)?;
    let rank = context.node.op_as::<Given>()?.pool_spec.rank();
    let conv = (rank == 2).then(|| read(context)).flatten()?;
    let mut lowered = Lowered::default();
    let value = step(&mut lowered, conv, Ref::Input(0));
    lowered.outputs.push(value);
    Some(lowered)
}

/// Over one axis: channels first are transposed before and after.
pub(super) fn along_one(context: &Context) -> Option<Lowered> {
    let rank = context.node.op_as::<Given>()?.pool_spec.rank();
    let conv = (rank == 1).then(|| read(context)).flatten()?;
    let Deconv { geometry: Geometry { channels, filters, from, to, .. }, batch, .. } = conv;
    let mut lowered = Lowered::default();
    let mut value = Ref::Input(0);
    if channels > 1 && from[1] > 1 {
        let turn = Op::permute(&[batch, channels, from[1]], &[0, 2, 1]);
        value = lowered.step(turn, vec![value], batch * channels * from[1]);
    }
    value = step(&mut lowered, conv, value);
    if filters > 1 && to[1] > 1 {
        let turn = Op::permute(&[batch, to[1], filters], &[0, 2, 1]);
        value = lowered.step(turn, vec![value], batch * filters * to[1]);
    }
    lowered.outputs.push(value);
    Some(lowered)
}
