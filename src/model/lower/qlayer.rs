//! A product or a convolution of 8-bit numbers with constant weights, as one operator.

use super::qscale::turned;
use super::qweights::Matrix;
use crate::error::Result;
use crate::kernels::{
    self, Aligned, Correction, Isa, Pieces, QDepthwise, QGemm, QOut, QPacked, QUAD, as_bytes_mut,
    as_ints_mut,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tract_onnx::tract_hir::internal::*;

/// Where the windows are, channels last; pairs are of rows and of columns. A product has
/// windows of one place, a row for each row.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Windows {
    pub(crate) channels: usize,
    pub(crate) filters: usize,
    pub(crate) from: [usize; 2],
    pub(crate) to: [usize; 2],
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) dilation: [usize; 2],
    /// Before the image.
    pub(crate) pad: [usize; 2],
}

/// Signed weights.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Weights {
    Matrix(Matrix),
    /// Of each tap, one of each channel.
    Channels(Box<[i8]>),
}

/// What does not change from run to run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Integers {
    pub(crate) windows: Windows,
    pub(super) weights: Weights,
    /// The zero of each column, where one is not 0.
    pub(super) zeros: Option<Box<[i32]>>,
    /// One for each filter.
    pub(super) bias: Box<[i32]>,
}

/// Floats that so many bytes take.
fn floats_of(bytes: usize) -> usize {
    bytes.div_ceil(size_of::<f32>())
}

impl Windows {
    /// Whether all channels of a row of a window are one piece: where those of a place
    /// do not make whole fours. A piece ends with as many bytes more as make it whole.
    fn is_joined(&self) -> bool {
        !self.channels.is_multiple_of(QUAD)
    }

    /// Pieces of a window, and their bytes.
    pub(super) fn pieces(&self) -> ([usize; 2], usize) {
        match self.is_joined() {
            true => ([self.kernel[0], 1], self.kernel[1] * self.channels),
            false => (self.kernel, self.channels),
        }
    }

    /// Rows of the image that so many rows of windows reach over, and columns.
    fn reach(&self, rows: usize) -> [usize; 2] {
        let of = |axis: usize, windows: usize| {
            (windows - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis] + 1
        };
        [of(0, rows), of(1, self.to[1])]
    }

    /// Whether what windows read is copied: with pads, or more channels.
    fn is_copied(&self) -> bool {
        let reach = self.reach(self.to[0]);
        let padded = (0..2).any(|axis| self.pad[axis] > 0 || reach[axis] > self.from[axis]);
        padded || self.is_joined()
    }

    /// Bytes of an image.
    pub(crate) fn inputs(&self) -> usize {
        self.from[0] * self.from[1] * self.channels
    }

    /// Elements of what comes of it.
    pub(crate) fn outputs(&self) -> usize {
        self.to[0] * self.to[1] * self.filters
    }

    /// Rows of the result that begin above the image, 1 at least.
    pub(crate) fn rows_above(&self) -> usize {
        self.pad[0].div_ceil(self.stride[0]).max(1)
    }

    /// Copies what so many rows of windows, from the `first`th on, read of an image.
    fn copy(&self, x: &[u8], [first, count]: [usize; 2], zero: u8, to: &mut [u8]) {
        let ([rows, columns], [height, width]) = (self.reach(count), self.from);
        let line = columns * self.channels;
        let inside = width.min(columns.saturating_sub(self.pad[1])) * self.channels;
        let before = self.pad[1].min(columns) * self.channels;
        for (row, to) in to.chunks_exact_mut(line).take(rows).enumerate() {
            let row = (row + first * self.stride[0]).checked_sub(self.pad[0]);
            let Some(row) = row.filter(|row| *row < height) else {
                to.fill(zero);
                continue;
            };
            to[..before].fill(zero);
            let x = &x[row * width * self.channels..][..inside];
            to[before..before + inside].copy_from_slice(x);
            to[before + inside..].fill(zero);
        }
    }
}

impl Integers {
    /// How many sums [`Integers::start`] writes.
    pub(crate) fn starts(&self) -> usize {
        self.windows.filters.next_multiple_of(16)
    }

    /// Packs the weights, unless they are. All that reads them comes after.
    ///
    /// Fails when there is no memory.
    pub(crate) fn pack(&self) -> Result<()> {
        match &self.weights {
            Weights::Matrix(matrix) => matrix.pack(),
            Weights::Channels(_) => Ok(()),
        }
    }

    /// What the sums of each filter begin with, for inputs of such a zero.
    pub(crate) fn start(&self, zero: u8, to: &mut [i32]) {
        let (zero, filters) = (i32::from(zero), self.windows.filters);
        let kernel = self.windows.kernel;
        let depth = (kernel[0] * kernel[1] * self.windows.channels) as i32;
        to.fill(0);
        for (j, (to, bias)) in to.iter_mut().zip(&self.bias).enumerate() {
            let sum = match &self.weights {
                Weights::Matrix(matrix) => matrix.packed().sums()[j],
                Weights::Channels(taps) => {
                    taps.iter().skip(j).step_by(filters).map(|w| i32::from(*w)).sum()
                }
            };
            let own = self.zeros.as_ref().map_or(0, |zeros| zeros[j].wrapping_mul(depth));
            *to = bias.wrapping_sub(zero.wrapping_mul(sum.wrapping_sub(own)));
        }
    }

    /// Floats of scratch for so many rows of windows.
    pub(crate) fn scratch(&self, rows: usize) -> usize {
        let windows = &self.windows;
        if matches!(self.weights, Weights::Channels(_)) {
            return floats_of(windows.channels);
        }
        let [down, across] = windows.reach(rows);
        let copied = if windows.is_copied() { down * across * windows.channels + QUAD } else { 0 };
        let sums = if self.zeros.is_some() { rows * windows.to[1] } else { 0 };
        floats_of(copied) + sums
    }

    /// Multiplications and additions for an image.
    pub(crate) fn flop(&self) -> u64 {
        let windows = &self.windows;
        let depth = match self.weights {
            Weights::Matrix(_) => windows.channels,
            Weights::Channels(_) => 1,
        };
        2 * (windows.outputs() * windows.kernel[0] * windows.kernel[1] * depth) as u64
    }

    /// Bytes of the weights.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.weights {
            Weights::Matrix(_) => {
                let ([down, across], len) = self.windows.pieces();
                (down * across * len.next_multiple_of(QUAD) * self.starts()) as u64
            }
            Weights::Channels(taps) => taps.len() as u64,
        }
    }

    /// Writes so many rows of windows of an image, from the `first`th on; `start` is
    /// what [`Integers::start`] wrote for `zero`.
    pub(crate) fn run(
        &self,
        isa: Isa,
        x: &[u8],
        [first, count]: [usize; 2],
        (zero, start): (u8, &[i32]),
        out: QOut<'_>,
        scratch: &mut [f32],
    ) {
        let w = &self.windows;
        match &self.weights {
            Weights::Matrix(matrix) => {
                let of = (zero, start, matrix.packed());
                self.matrix(isa, x, [first, count], of, out, scratch);
            }
            Weights::Channels(taps) => {
                let ground = &mut as_bytes_mut(scratch)[..w.channels];
                ground.fill(zero);
                // All rows but the first begin within the image.
                let skipped = (first * w.stride[0]).saturating_sub(w.pad[0]).min(w.from[0]);
                QDepthwise {
                    x: &x[skipped * w.from[1] * w.channels..],
                    from: [w.from[0] - skipped, w.from[1]],
                    to: [count, w.to[1]],
                    channels: w.channels,
                    kernel: w.kernel,
                    stride: w.stride,
                    dilation: w.dilation,
                    pad: [w.pad[0].saturating_sub(first * w.stride[0]), w.pad[1]],
                    ground,
                    weights: taps,
                    start: &start[..w.channels],
                    y: out,
                }
                .run(isa);
            }
        }
    }

    fn matrix(
        &self,
        isa: Isa,
        x: &[u8],
        [first, count]: [usize; 2],
        (zero, start, packed): (u8, &[i32], &QPacked),
        c: QOut<'_>,
        scratch: &mut [f32],
    ) {
        let w = &self.windows;
        let sums = if self.zeros.is_some() { count * w.to[1] } else { 0 };
        let (sums, copy) = scratch.split_at_mut(sums);
        let (a, line) = if w.is_copied() {
            let copy = as_bytes_mut(copy);
            w.copy(x, [first, count], zero, copy);
            (&*copy, w.reach(count)[1] * w.channels)
        } else {
            let line = w.from[1] * w.channels;
            (&x[first * w.stride[0] * line..], line)
        };
        let (rows, steps) = ([count, w.to[1]], [w.stride[0] * line, w.stride[1] * w.channels]);
        let steps_of = [w.dilation[0] * line, w.dilation[1] * w.channels];
        let (pieces, len) = w.pieces();
        let pieces = Pieces { count: pieces, steps: steps_of, len };
        let sums = as_ints_mut(sums);
        let less = self.zeros.as_deref().map(|zeros| {
            kernels::row_sums(a, rows, steps, pieces, sums);
            Correction { zeros, sums }
        });
        let pieces = Pieces { len: len.next_multiple_of(QUAD), ..pieces };
        QGemm { rows, a, steps, pieces, b: packed.as_packed(), start, less, c, ldc: w.filters }
            .run(isa);
    }
}

/// What the sums are given as.
#[derive(Debug, Clone)]
pub(crate) enum Given {
    /// As i32.
    Sums,
    /// As floats: times a scale, for each filter or for all, plus a bias.
    Floats { scale: Box<[f32]>, bias: Option<Box<[f32]>> },
}

/// The operator. Its second input is the zero point of the first, unless that is known.
#[derive(Debug, Clone)]
pub(crate) struct QLayer {
    pub(crate) integers: Arc<Integers>,
    pub(crate) given: Given,
    /// That of unsigned bytes.
    pub(crate) zero: Option<u8>,
    pub(crate) is_signed: bool,
    /// Of images, channels first in the graph; else of rows.
    pub(crate) has_images: bool,
    pub(crate) batch: usize,
    pub(super) dims: Vec<usize>,
}

impl PartialEq for QLayer {
    fn eq(&self, other: &QLayer) -> bool {
        Arc::ptr_eq(&self.integers, &other.integers)
    }
}

impl Eq for QLayer {}

/// The images of `x`, whose channels are first, with channels last; or back.
fn turn<T: Copy + Default>(x: &[T], [outer, inner]: [usize; 2]) -> Vec<T> {
    let mut y = vec![T::default(); x.len()];
    for (x, y) in x.chunks_exact(outer * inner).zip(y.chunks_exact_mut(outer * inner)) {
        for (i, x) in x.chunks_exact(inner).enumerate() {
            x.iter().enumerate().for_each(|(j, x)| y[j * outer + i] = *x);
        }
    }
    y
}

impl QLayer {
    /// What comes of the bytes, one image after the other, as it lies here: floats, or
    /// the bits of sums.
    fn rows(&self, x: &[u8], zero: u8) -> Result<Vec<f32>> {
        let (of, w) = (&*self.integers, &self.integers.windows);
        of.pack()?;
        let mut start = vec![0; of.starts()];
        of.start(zero, &mut start);
        let mut scratch = Aligned::zeros(of.scratch(w.to[0]))?;
        let mut y = vec![0.0; self.batch * w.outputs()];
        for (x, y) in x.chunks_exact(w.inputs()).zip(y.chunks_exact_mut(w.outputs())) {
            let out = match &self.given {
                Given::Sums => QOut::Sums(y.into()),
                Given::Floats { scale, bias } => {
                    QOut::Floats { scale, bias: bias.as_deref(), c: y.into() }
                }
            };
            let rows = [0, w.to[0]];
            of.run(Isa::best(), x, rows, (zero, &start), out, scratch.floats_mut());
        }
        Ok(y)
    }

    fn eval(&self, inputs: &[TValue]) -> TractResult<Tensor> {
        let w = &self.integers.windows;
        let x = turned(inputs[0].as_bytes(), self.is_signed);
        ensure!(x.len() == self.batch * w.inputs(), "{} bytes of another shape", x.len());
        let zero = match (self.zero, inputs.get(1)) {
            (Some(zero), _) => zero,
            (None, Some(zero)) => *turned(zero.as_bytes(), self.is_signed).first().context("")?,
            (None, None) => bail!("no zero point"),
        };
        let x = if self.has_images { turn(&x, [w.channels, w.from[0] * w.from[1]]) } else { x };
        let mut y = self.rows(&x, zero)?;
        if self.has_images {
            y = turn(&y, [w.to[0] * w.to[1], w.filters]);
        }
        Ok(match self.given {
            Given::Floats { .. } => Tensor::from_shape(&self.dims, &y)?,
            Given::Sums => {
                let sums: Vec<i32> = y.iter().map(|f| f.to_bits() as i32).collect();
                Tensor::from_shape(&self.dims, &sums)?
            }
        })
    }
}

impl Op for QLayer {
    fn name(&self) -> StaticName {
        "QLayer".into()
    }

    op_as_typed_op!();
}

impl EvalOp for QLayer {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Ok(tvec!(QLayer::eval(self, &inputs)?.into_tvalue()))
    }
}

impl TypedOp for QLayer {
    fn output_facts(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(match self.given {
            Given::Sums => i32::fact(&*self.dims),
            Given::Floats { .. } => f32::fact(&*self.dims),
        }))
    }

    as_op!();
}
