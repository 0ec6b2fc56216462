//! Transposed convolutions whose windows do not overlap, channels last.
//!
//! Each pixel makes a window of the result: the products of its channels with a
//! row of the kernel lie one after the other in a row of it.

use super::conv2d::Geometry;
use super::fuse::Tail;
use super::lower::{Context, Lowered, Ref};
use super::memory::Mapped;
use super::ops::Op;
use crate::error::Result;
use crate::kernels::{self, Isa, Packed};
use serde::{Deserialize, Serialize};
use tract_onnx::tract_core::ops::cnn::{Deconv as Given, KernelFormat};

/// A transposed convolution.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Deconv {
    geometry: Geometry,
    batch: usize,
    /// Of each row of the kernel: a row for each channel, a column for each tap and
    /// filter.
    weights: Vec<Packed>,
    /// One for each of those columns.
    bias: Box<[f32]>,
    pub(super) tail: Tail,
}

impl Deconv {
    pub(super) fn filters(&self) -> usize {
        self.geometry.filters
    }

    /// Multiplies each filter with one of `by`.
    pub(super) fn scale(&mut self, by: &[f32]) {
        let by = by.repeat(self.geometry.kernel[1]);
        self.weights.iter_mut().for_each(|packed| packed.scale_columns(&by));
        self.bias.iter_mut().zip(by).for_each(|(v, by)| *v *= by);
    }

    /// Adds one of `by` to each filter.
    pub(super) fn shift(&mut self, by: &[f32]) {
        self.bias.iter_mut().zip(by.iter().cycle()).for_each(|(v, by)| *v += by);
    }

    pub(super) fn run(&self, isa: Isa, reads: &Mapped, y: &mut [f32]) {
        let Geometry { channels, from: [height, width], .. } = self.geometry;
        let residual = self.tail.residual.map(|at| reads.get(at));
        let (x, n) = (reads.get(0), self.bias.len());
        // Rows of all images; what one makes lies in as many as the kernel has.
        for row in 0..self.batch * height {
            let a = &x[row * width * channels..];
            for (at, weights) in self.weights.iter().enumerate() {
                let at = (row * self.weights.len() + at) * width * n;
                let c = &mut y[at..at + width * n];
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
}

impl Deconv {
    pub(super) fn flop(&self) -> u64 {
        2 * (self.batch * self.geometry.outputs() * self.geometry.channels) as u64
    }

    pub(super) fn pack(&mut self) -> Result<()> {
        self.weights.iter_mut().try_for_each(Packed::pack)
    }

    pub(super) fn weight_bytes(&self) -> u64 {
        self.weights.iter().map(|packed| packed.bytes() as u64).sum()
    }
}

pub(super) fn lower(context: &Context) -> Option<Lowered> {
    let op = context.node.op_as::<Given>()?;
    let (spec, filters) = (&op.pool_spec, op.pool_spec.output_channels);
    let (geometry, batch) = Geometry::of_windows(context, spec, filters)?;
    let Geometry { channels, kernel: [rows, columns], .. } = geometry;
    let (weights, raw) = (context.floats(1)?, context.raw(1)?);
    let len = context.output(0)?.iter().product();
    let plain = op.group == 1
        && op.kernel_format == KernelFormat::OIHW
        && op.adjustments.iter().all(|more| *more == 0);
    let whole = weights.len() == filters * channels * rows * columns;
    if !plain || !whole || len != batch * geometry.outputs() {
        return None;
    }
    let of_row = |row: usize| {
        let raw = raw.clone();
        let at = move |channel: usize, column: usize| {
            let (tap, filter) = (column / filters, column % filters);
            raw.as_ref()[((filter * channels + channel) * rows + row) * columns + tap]
        };
        Packed::later_of(channels, columns * filters, at).ok()
    };
    let weights = (0..rows).map(of_row).collect::<Option<Vec<_>>>()?;
    let bias = context.biases(2, filters)?.repeat(columns).into();
    let conv = Deconv { geometry, batch, weights, bias, tail: Tail::default() };
    Some(Lowered::one(Op::Deconv(conv), vec![Ref::Input(0)], len))
}
