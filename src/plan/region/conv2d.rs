//! Convolutions over two axes, channels last, in groups: the windows of the input
//! times the weights, in place.
//!
//! With channels last, what a window has of a row of the input is in one piece
//! (im2col without the copies: Dukhan, "The Indirect Convolution Algorithm",
//! 2019, goes by pointers where this goes by strides). Only what is padded is
//! copied, once, with its pads. Windows of 3×3 go by Winograd's filtering where
//! that is faster.

mod split;

use super::depthwise::Depthwise;
use super::fuse::Tail;
use super::lower::{Context, Lowered, Raw, Ref};
use super::memory::Mapped;
use super::ops::Op;
use crate::error::Result;
use crate::kernels::{self, Filter, Isa, Packed, Pieces, Tile, Winograd};
use serde::{Deserialize, Serialize};
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PoolSpec};

/// Floats of rows that are computed before `then` is done to them: they stay in
/// the second-level cache.
pub(super) const BLOCK: usize = 24 << 10;

/// Where the windows are; each pair is of rows and of columns.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Geometry {
    /// Of the image, and of the result.
    pub(super) channels: usize,
    pub(super) filters: usize,
    pub(super) from: [usize; 2],
    pub(super) to: [usize; 2],
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    /// Before the image.
    pub(super) pad: [usize; 2],
}

impl Geometry {
    /// That of a node whose first input is an image, channels first in the graph;
    /// and the images. It gives as many channels as it reads, unless that is said.
    pub(super) fn new(
        context: &Context,
        spec: &PoolSpec,
        filters: Option<usize>,
    ) -> Option<(Geometry, usize)> {
        let [batch, channels, height, width] = context.image(0)?;
        let rank = 3 + usize::from(spec.data_format.has_n());
        if spec.data_format.c_is_last() || context.input(0)?.len() != rank {
            return None;
        }
        let computed = spec.computed_padding(&[height, width]);
        if computed.len() != 2 {
            return None;
        }
        let geometry = Geometry {
            channels,
            filters: filters.unwrap_or(channels),
            from: [height, width],
            to: [0, 1].map(|axis: usize| computed[axis].convoluted),
            kernel: [0, 1].map(|axis: usize| spec.kernel_shape[axis]),
            stride: [0, 1].map(|axis: usize| spec.stride(axis)),
            dilation: [0, 1].map(|axis: usize| spec.dilation(axis)),
            pad: [0, 1].map(|axis: usize| computed[axis].pad_before),
        };
        Some((geometry, batch))
    }

    /// Whether every window is of 3×3 neighbours, and the next to its left or below.
    fn is_three(&self) -> bool {
        (self.kernel, self.stride, self.dilation) == ([3; 2], [1; 2], [1; 2])
    }

    /// Rows and columns that the windows reach over.
    fn reach(&self) -> [usize; 2] {
        [0, 1].map(|axis: usize| {
            let last = (self.to[axis] - 1) * self.stride[axis];
            last + (self.kernel[axis] - 1) * self.dilation[axis] + 1
        })
    }

    /// Whether some window reaches over the edge.
    fn is_padded(&self) -> bool {
        let reach = self.reach();
        (0..2).any(|axis| self.pad[axis] > 0 || reach[axis] > self.from[axis])
    }

    /// Floats of an image with its pads, where it has some.
    pub(super) fn padded_floats(&self) -> usize {
        let [rows, columns] = self.reach();
        if self.is_padded() { rows * columns * self.channels } else { 0 }
    }

    /// What so many rows of windows, from the `first`th on, have of an image, with its
    /// pads in the scratch where it has some; and its columns.
    pub(super) fn padded<'a>(
        &self,
        x: &'a [f32],
        [first, count]: [usize; 2],
        scratch: &'a mut [f32],
    ) -> (&'a [f32], usize) {
        if self.is_padded() {
            self.copy(x, [first, count], scratch);
            return (scratch, self.reach()[1]);
        }
        let line = self.from[1] * self.channels;
        (&x[first * self.stride[0] * line..], self.from[1])
    }

    /// Copies what so many rows of windows, from the `first`th on, have of an image
    /// with its pads.
    fn copy(&self, x: &[f32], [first, count]: [usize; 2], to: &mut [f32]) {
        let ([_, columns], [height, width]) = (self.reach(), self.from);
        let rows = (count - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation[0] + 1;
        let line = columns * self.channels;
        let own = width.min(columns.saturating_sub(self.pad[1])) * self.channels;
        let before = self.pad[1].min(columns) * self.channels;
        for (row, to) in to.chunks_exact_mut(line).take(rows).enumerate() {
            let row =
                (row + first * self.stride[0]).checked_sub(self.pad[0]).filter(|row| *row < height);
            let Some(row) = row else {
                to.fill(0.0);
                continue;
            };
            to[..before].fill(0.0);
            to[before..before + own].copy_from_slice(&x[row * width * self.channels..][..own]);
            to[before + own..].fill(0.0);
        }
    }

    /// Rows of the result that begin above the image, 1 at least: any later one begins
    /// within it.
    pub(super) fn rows_above(&self) -> usize {
        self.pad[0].div_ceil(self.stride[0]).max(1)
    }

    /// What the rows of the result from the `first`th on read of an image: where that
    /// begins, its rows and columns, and the pads before them.
    pub(super) fn below(&self, first: usize) -> (usize, [usize; 2], [usize; 2]) {
        let ([rows, columns], [above, left]) = (self.from, self.pad);
        let begin = first * self.stride[0];
        let skipped = begin.saturating_sub(above).min(rows);
        let pad = [above.saturating_sub(begin), left];
        (skipped * columns * self.channels, [rows - skipped, columns], pad)
    }

    /// Each image of a batch, and what comes of it.
    pub(super) fn images<'a>(
        &self,
        batch: usize,
        x: &'a [f32],
        y: &'a mut [f32],
    ) -> impl Iterator<Item = (&'a [f32], &'a mut [f32])> + use<'a> {
        x.chunks_exact(self.inputs()).zip(y.chunks_exact_mut(self.outputs())).take(batch)
    }

    pub(super) fn inputs(&self) -> usize {
        self.from[0] * self.from[1] * self.channels
    }

    pub(super) fn outputs(&self) -> usize {
        self.to[0] * self.to[1] * self.filters
    }
}

/// The weights of a convolution, as it is done.
#[derive(Debug, Serialize, Deserialize)]
enum Weights {
    /// Of each group: a row for each float of a window, a column for each filter.
    Windows(Vec<Packed>),
    Winograd(Filter),
}

/// A convolution.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Conv2d {
    geometry: Geometry,
    batch: usize,
    weights: Weights,
    bias: Box<[f32]>,
    pub(super) tail: Tail,
}

impl Conv2d {
    pub(super) fn filters(&self) -> usize {
        self.geometry.filters
    }

    /// Multiplies each filter with one of `by`.
    pub(super) fn scale(&mut self, by: &[f32]) {
        match &mut self.weights {
            Weights::Winograd(filter) => filter.scale(by),
            Weights::Windows(groups) => {
                let own = by.len() / groups.len();
                groups.iter_mut().zip(by.chunks(own)).for_each(|(g, by)| g.scale_columns(by));
            }
        }
        self.bias.iter_mut().zip(by).for_each(|(v, by)| *v *= by);
    }

    /// Adds one of `by` to each filter.
    pub(super) fn shift(&mut self, by: &[f32]) {
        self.bias.iter_mut().zip(by).for_each(|(v, by)| *v += by);
    }

    /// Floats that it needs besides.
    fn scratch(&self) -> usize {
        if let Weights::Winograd(filter) = &self.weights {
            return Winograd::scratch(filter, self.geometry.to);
        }
        self.geometry.padded_floats()
    }

    pub(super) fn run(&self, isa: Isa, reads: &Mapped, y: &mut [f32], scratch: &mut [f32]) {
        let geometry = &self.geometry;
        let residual = self.tail.residual.map(|at| reads.get(at));
        let len = geometry.outputs();
        for (at, (x, y)) in geometry.images(self.batch, reads.get(0), y).enumerate() {
            let residual = residual.map(|all| &all[at * len..]);
            match &self.weights {
                Weights::Winograd(filter) => {
                    let Geometry { from, to, pad, .. } = *geometry;
                    let (bias, clamp) = (Some(&*self.bias), self.tail.clamp);
                    let residual = residual.map(|all| &all[..len]);
                    let to_y = (&mut *y).into();
                    Winograd { x, from, to, pad, filter, bias, residual, clamp, y: to_y }
                        .run(isa, scratch);
                    self.tail.finish(isa, y);
                }
                Weights::Windows(groups) => {
                    let rows = [0, geometry.to[0]];
                    let (x, width) = geometry.padded(x, rows, scratch);
                    self.image(isa, groups, x, width, residual, y);
                }
            }
        }
    }

    /// The rows `y` of what comes of an image, whose windows are those of `x` with its
    /// pads, of rows of so many columns.
    fn image(
        &self,
        isa: Isa,
        groups: &[Packed],
        x: &[f32],
        width: usize,
        residual: Option<&[f32]>,
        y: &mut [f32],
    ) {
        let Geometry { channels, filters, mut to, kernel, stride, dilation, .. } = self.geometry;
        to[0] = y.len() / (to[1] * filters).max(1);
        let line = width * channels;
        let (own, n) = (channels / groups.len(), filters / groups.len());
        let row = to[1] * filters;
        let rows = match self.tail.then.is_empty() {
            true => to[0],
            false => (BLOCK / row).clamp(1, to[0].max(1)),
        };
        for first in (0..to[0]).step_by(rows.max(1)) {
            let block = [rows.min(to[0] - first), to[1]];
            let y = &mut y[first * row..(first + block[0]) * row];
            for (group, weights) in groups.iter().enumerate() {
                let windows = kernels::Windows {
                    x: &x[first * stride[0] * line + group * own..],
                    to: block,
                    steps: [stride[0] * line, stride[1] * channels],
                    pieces: Pieces {
                        count: kernel,
                        steps: [dilation[0] * line, dilation[1] * channels],
                        len: own,
                    },
                    b: weights.as_packed(),
                    bias: Some(&self.bias[group * n..(group + 1) * n]),
                    residual: residual.map(|all| (&all[first * row + group * n..], filters)),
                    clamp: self.tail.clamp,
                    c: (&mut y[group * n..]).into(),
                    ldc: filters,
                };
                windows.run(isa);
            }
            self.tail.finish(isa, y);
        }
    }

    /// As if every product was made.
    pub(super) fn flop(&self) -> u64 {
        let depth = match &self.weights {
            Weights::Windows(groups) => groups.first().map_or(0, Packed::k),
            Weights::Winograd(filter) => 9 * filter.channels(),
        };
        2 * (self.batch * self.geometry.outputs() * depth) as u64
    }

    pub(super) fn pack(&mut self) -> Result<()> {
        match &mut self.weights {
            Weights::Windows(groups) => groups.iter_mut().try_for_each(Packed::pack),
            Weights::Winograd(filter) => filter.pack(),
        }
    }

    pub(super) fn weight_bytes(&self) -> u64 {
        match &self.weights {
            Weights::Windows(groups) => groups.iter().map(|packed| packed.bytes() as u64).sum(),
            Weights::Winograd(filter) => filter.bytes() as u64,
        }
    }
}

/// The weights of a group, which lie filter by filter: from the `from`th on.
fn packed(raw: Raw, from: usize, [filters, channels, taps]: [usize; 3]) -> Option<Packed> {
    let depth = channels * taps;
    let pack = move |to: &mut [f32]| {
        let weights = &raw.as_ref()[from..from + filters * depth];
        let mut by_tap = Vec::new();
        // A row for each tap of a channel; those of a tap follow each other.
        let rows = match taps {
            1 => weights,
            _ => {
                by_tap.resize(weights.len(), 0.0);
                kernels::permute(&[filters, channels, taps], &[0, 2, 1], weights, &mut by_tap);
                &by_tap
            }
        };
        kernels::pack_into(Isa::best(), depth, filters, rows, 1, depth, to);
    };
    Packed::later(depth, filters, pack).ok()
}

pub(super) fn lower(context: &Context) -> Option<Lowered> {
    let op = context.node.op_as::<Conv>()?;
    let filters = op.pool_spec.output_channels;
    let (geometry, batch) = Geometry::new(context, &op.pool_spec, Some(filters))?;
    if op.group == 0 || op.q_params.is_some() || op.kernel_fmt != KernelFormat::OIHW {
        return None;
    }
    let (channels, len) = (geometry.channels, context.output(0)?.iter().product());
    let own = channels / op.group;
    let depth = own * geometry.kernel[0] * geometry.kernel[1];
    let raw = context.raw(1)?;
    let weights = raw.as_ref();
    let whole = channels.is_multiple_of(op.group) && filters.is_multiple_of(op.group);
    if !whole || weights.len() != filters * depth || len != batch * geometry.outputs() {
        return None;
    }
    let bias = context.biases(2, filters)?;
    if own == 1 && filters == channels {
        let conv = Depthwise::new(geometry, batch, weights, bias);
        return Some(Lowered::one(Op::Depthwise(conv), vec![Ref::Input(0)], len));
    }
    let tile = (op.group == 1 && geometry.is_three())
        .then(|| Tile::of(channels, filters, geometry.to))
        .flatten();
    let weights = if let Some(tile) = tile {
        Weights::Winograd(Filter::later(tile, channels, filters, raw.clone()).ok()?)
    } else {
        let (each, of_group) = (filters / op.group, weights.len() / op.group);
        let dims = [each, own, depth / own];
        let groups = (0..op.group).map(|group| packed(raw.clone(), group * of_group, dims));
        Weights::Windows(groups.collect::<Option<Vec<_>>>()?)
    };
    let conv = Conv2d { geometry, batch, weights, bias, tail: Tail::default() };
    let mut writes = vec![len];
    writes.extend(Some(conv.scratch()).filter(|scratch| *scratch > 0));
    let mut lowered = Lowered::default();
    let value = lowered.step_of(Op::Conv2d(conv), vec![Ref::Input(0)], writes);
    lowered.outputs.push(value);
    Some(lowered)
}
