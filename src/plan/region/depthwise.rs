//! Convolutions over two axes in which every channel is a group of its own.
//!
//! Each plane is copied with its pads, its columns sorted by their remainder to
//! the stride, so that what a tap reads for a row of the output is in one piece.

use super::conv2d::Windows;
use super::fuse::Tail;
use super::memory::Mapped;
use crate::kernels::{self, Binary, Isa, Operand, Shifted, Unary};

/// A convolution of planes one by one.
#[derive(Debug)]
pub(super) struct Depthwise {
    windows: Windows,
    planes: usize,
    channels: usize,
    /// One row a channel.
    weights: Box<[f32]>,
    biases: Box<[f32]>,
    /// Where each tap begins in a copied plane.
    offsets: Vec<usize>,
    /// Floats of the columns of one remainder, in a row of a copied plane.
    part: usize,
    pub(super) tail: Tail,
}

impl Depthwise {
    pub(super) fn new(
        windows: Windows,
        planes: usize,
        channels: usize,
        weights: Box<[f32]>,
        biases: Box<[f32]>,
    ) -> Depthwise {
        let Windows { to, kernel, stride, dilation, .. } = windows;
        let reach = (to[1] - 1) * stride[1] + (kernel[1] - 1) * dilation[1] + 1;
        // What is read past the end of a row, in whole vectors, is in the next one.
        let part = reach.div_ceil(stride[1]).next_multiple_of(8);
        let row = part * stride[1];
        let mut offsets = Vec::with_capacity(kernel[0] * kernel[1]);
        for i in 0..kernel[0] {
            for j in 0..kernel[1] {
                let column = j * dilation[1];
                let (phase, at) = (column % stride[1], column / stride[1]);
                offsets.push(i * dilation[0] * row + phase * part + at);
            }
        }
        let tail = Tail::default();
        Depthwise { windows, planes, channels, weights, biases, offsets, part, tail }
    }

    fn row(&self) -> usize {
        self.part * self.windows.stride[1]
    }

    /// Floats of a copied plane.
    pub(super) fn scratch(&self) -> usize {
        let Windows { to, kernel, stride, dilation, .. } = self.windows;
        let last = self.offsets.iter().copied().max().unwrap_or(0);
        let read = Shifted::extent(to[0], stride[0] * self.row(), last, to[1]);
        let rows = (to[0] - 1) * stride[0] + (kernel[0] - 1) * dilation[0] + 1;
        read.max(rows * self.row())
    }

    /// Copies a plane; what is around it stays zero.
    fn copy(&self, plane: &[f32], to: &mut [f32]) {
        let Windows { from: [_, width], stride, pad, .. } = self.windows;
        let rows = to.chunks_exact_mut(self.row()).skip(pad[0]);
        for (from, to) in plane.chunks_exact(width).zip(rows) {
            if stride[1] == 1 {
                let len = width.min(to.len() - pad[1].min(to.len()));
                to[pad[1]..pad[1] + len].copy_from_slice(&from[..len]);
                continue;
            }
            for (phase, to) in to.chunks_exact_mut(self.part).enumerate() {
                // The first column of the input with this remainder.
                let first = (phase + stride[1] - pad[1] % stride[1]) % stride[1];
                let skipped = (first + pad[1]) / stride[1];
                let from = from.iter().skip(first).step_by(stride[1]);
                to.iter_mut().skip(skipped).zip(from).for_each(|(to, from)| *to = *from);
            }
        }
    }

    pub(super) fn run(&self, isa: Isa, reads: &Mapped, y: &mut [f32], scratch: &mut [f32]) {
        let (windows, x) = (&self.windows, reads.get(0));
        let residual = self.tail.residual.map(|at| reads.get(at));
        let (size, len) = (windows.from[0] * windows.from[1], windows.count());
        let taps = self.offsets.len();
        scratch.fill(0.0);
        let planes = x.chunks_exact(size).zip(y.chunks_exact_mut(len));
        for (at, (x, y)) in planes.take(self.planes).enumerate() {
            let channel = at % self.channels;
            self.copy(x, scratch);
            let shifted = Shifted {
                x: scratch,
                step: windows.stride[0] * self.row(),
                offsets: &self.offsets,
                weights: &self.weights[channel * taps..(channel + 1) * taps],
                bias: self.biases[channel],
                columns: windows.to[1],
            };
            shifted.run(isa, y);
            if let Some(residual) = residual {
                let added = Operand::Slice(&residual[at * len..(at + 1) * len]);
                kernels::binary_in_place(isa, Binary::Add, y, added, false);
            }
            if self.tail.relu {
                kernels::unary_in_place(isa, Unary::Relu, y);
            }
            self.tail.finish(isa, y);
        }
    }
}

#[cfg(feature = "profile")]
impl Depthwise {
    pub(super) fn flop(&self) -> u64 {
        2 * (self.planes * self.windows.count() * self.offsets.len()) as u64
    }
}
