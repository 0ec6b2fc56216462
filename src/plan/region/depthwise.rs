//! Convolutions in which every channel is a group of its own, and pools; channels
//! last.

use super::conv2d::{BLOCK, Geometry};
use super::fuse::Tail;
use super::lower::{Context, Lowered, Ref};
use super::memory::Mapped;
use super::ops::Op;
use super::split::Team;
use crate::error::Result;
use crate::kernels::{self, Isa, Pooling};
use serde::{Deserialize, Serialize};
use tract_onnx::tract_core::ops::cnn::{MaxPool, PaddingSpec, SumPool};

/// A convolution of channels one by one.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Depthwise {
    geometry: Geometry,
    batch: usize,
    /// One row a tap.
    weights: Box<[f32]>,
    bias: Box<[f32]>,
    pub(super) tail: Tail,
}

impl Depthwise {
    /// `weights` has a row for each channel.
    pub(super) fn new(
        geometry: Geometry,
        batch: usize,
        weights: &[f32],
        bias: Box<[f32]>,
    ) -> Depthwise {
        let mut by_tap = vec![0.0; weights.len()];
        let dims = [geometry.channels, weights.len() / geometry.channels];
        kernels::permute(&dims, &[1, 0], weights, &mut by_tap);
        Depthwise { geometry, batch, weights: by_tap.into(), bias, tail: Tail::default() }
    }

    pub(super) fn channels(&self) -> usize {
        self.geometry.channels
    }

    /// Multiplies each channel with one of `by`.
    pub(super) fn scale(&mut self, by: &[f32]) {
        let taps = self.weights.chunks_exact_mut(by.len());
        for row in taps.chain([&mut *self.bias]) {
            row.iter_mut().zip(by).for_each(|(v, by)| *v *= by);
        }
    }

    /// Adds one of `by` to each channel.
    pub(super) fn shift(&mut self, by: &[f32]) {
        self.bias.iter_mut().zip(by).for_each(|(v, by)| *v += by);
    }

    pub(super) fn run(&self, isa: Isa, reads: &Mapped, y: &mut [f32]) {
        let residual = self.tail.residual.map(|at| reads.get(at));
        let len = self.geometry.outputs();
        for (at, (x, y)) in self.geometry.images(self.batch, reads.get(0), y).enumerate() {
            self.image(isa, x, residual.map(|all| &all[at * len..(at + 1) * len]), 0, y);
        }
    }

    /// As [`Depthwise::run`], by rows.
    pub(super) fn split(
        &self,
        isa: Isa,
        reads: &Mapped,
        y: &mut [f32],
        cost: u64,
        team: &mut Team,
    ) -> Result<bool> {
        let residual = self.tail.residual.map(|at| reads.get(at));
        let (len, row) = (self.geometry.outputs(), self.geometry.to[1] * self.geometry.filters);
        let images = self.geometry.images(self.batch, reads.get(0), y);
        let rows = [row, self.geometry.rows_above()];
        team.images(cost, (self.batch, images), rows, |_, (at, x), first, y| {
            let residual = residual.map(|all| &all[at * len + first * row..][..y.len()]);
            self.image(isa, x, residual, first, y);
        })
    }

    /// The rows `y` of an image, from the `from_row`th on, in blocks that what comes
    /// after finds in the cache.
    fn image(&self, isa: Isa, x: &[f32], residual: Option<&[f32]>, from_row: usize, y: &mut [f32]) {
        let Geometry { channels, to, kernel, stride, dilation, .. } = self.geometry;
        let row = to[1] * channels;
        let rows = match self.tail.then.is_empty() {
            true => to[0],
            false => (BLOCK / row).max(self.geometry.rows_above()).clamp(1, to[0]),
        };
        for (block, y) in y.chunks_mut(rows * row).enumerate() {
            // All but the first begin within the image.
            let (done, first) = (block * rows, from_row + block * rows);
            let (begin, from, pad) = self.geometry.below(first);
            let conv = kernels::Depthwise {
                x: &x[begin..],
                from,
                to: [y.len() / row, to[1]],
                channels,
                kernel,
                stride,
                dilation,
                pad,
                weights: &self.weights,
                bias: &self.bias,
                residual: residual.map(|all| &all[done * row..done * row + y.len()]),
                clamp: self.tail.clamp,
            };
            conv.run(isa, y);
            self.tail.finish(isa, y);
        }
    }

    pub(super) fn flop(&self) -> u64 {
        let taps = self.geometry.kernel[0] * self.geometry.kernel[1];
        2 * (self.batch * self.geometry.outputs() * taps) as u64
    }
}

/// A pool.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pool {
    op: Pooling,
    geometry: Geometry,
    batch: usize,
}

impl Pool {
    /// Where the windows are, and how many images, of one that takes the largest.
    pub(super) fn largest(&self) -> Option<(Geometry, usize)> {
        matches!(self.op, Pooling::Max).then_some((self.geometry, self.batch))
    }

    /// As [`Pool::run`], by rows.
    pub(super) fn split(
        &self,
        isa: Isa,
        reads: &Mapped,
        y: &mut [f32],
        cost: u64,
        team: &mut Team,
    ) -> Result<bool> {
        let rows = [self.geometry.to[1] * self.geometry.channels, self.geometry.rows_above()];
        let images = self.geometry.images(self.batch, reads.get(0), y);
        team.images(cost, (self.batch, images), rows, |_, (_, x), first, y| {
            self.image(isa, x, first, y);
        })
    }

    pub(super) fn run(&self, isa: Isa, reads: &Mapped, y: &mut [f32]) {
        for (x, y) in self.geometry.images(self.batch, reads.get(0), y) {
            self.image(isa, x, 0, y);
        }
    }

    /// The rows `y` of an image, from the `first`th on.
    fn image(&self, isa: Isa, x: &[f32], first: usize, y: &mut [f32]) {
        let Geometry { channels, to, kernel, stride, dilation, .. } = self.geometry;
        let (begin, from, pad) = self.geometry.below(first);
        let (op, x, to) = (self.op, &x[begin..], [y.len() / (to[1] * channels), to[1]]);
        kernels::Pool { op, x, from, to, channels, kernel, stride, dilation, pad }.run(isa, y);
    }
}

pub(super) fn lower(context: &Context) -> Option<Lowered> {
    let node = context.node;
    let (spec, op) = if let Some(op) = node.op_as::<MaxPool>() {
        (op.with_index_outputs.is_none().then_some(&op.pool_spec)?, Pooling::Max)
    } else {
        let op = node.op_as::<SumPool>()?;
        let after = match &op.pool_spec.padding {
            PaddingSpec::ExplicitOnnxPool(_, after, true) => [*after.first()?, *after.get(1)?],
            _ => [usize::MAX; 2],
        };
        let op_of = match (op.normalize, op.count_include_pad) {
            (false, _) => Pooling::Sum,
            (true, false) => Pooling::Average,
            (true, true) => Pooling::AverageAll { after },
        };
        (&op.pool_spec, op_of)
    };
    let (geometry, batch) = Geometry::new(context, spec, None)?;
    let len = context.output(0)?.iter().product();
    let pool = Pool { op, geometry, batch };
    (len == batch * geometry.outputs())
        .then(|| Lowered::one(Op::Pool(pool), vec![Ref::Input(0)], len))
}
