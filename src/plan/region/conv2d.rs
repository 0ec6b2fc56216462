//! Convolutions over one or two axes, channels first, in groups: weights times the
//! windows of the input.
//!
//! The windows of some output positions are copied side by side into the panels
//! that the product reads (im2col: Chellapilla, Puri and Simard, 2006), as many
//! at once as stay in the second-level cache; a last row of ones carries the
//! bias. What it gives lies channels first already.

use super::depthwise::Depthwise;
use super::fuse::Tail;
use super::lower::{Context, Lowered, Ref};
use super::memory::Mapped;
use super::ops::Op;
use crate::kernels::{self, Isa, PackedRef};
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat};

/// Positions side by side in a panel.
const PANEL: usize = 16;
/// Floats of windows that are copied at once.
const BLOCK: usize = 96 << 10;

/// Where the windows are; each pair is of rows and of columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    /// Of one group.
    pub(super) channels: usize,
    pub(super) from: [usize; 2],
    pub(super) to: [usize; 2],
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    pub(super) pad: [usize; 2],
}

/// Neighbouring positions of one output row, in a panel.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    lane: usize,
    len: usize,
    row: usize,
    column: usize,
}

impl Windows {
    /// Floats of a window, and the one.
    fn depth(&self) -> usize {
        self.channels * self.kernel[0] * self.kernel[1] + 1
    }

    /// Output positions.
    pub(super) fn count(&self) -> usize {
        self.to[0] * self.to[1]
    }

    /// The runs of the positions from `first` on, and how many they are.
    fn runs(&self, first: usize) -> ([Run; PANEL], usize) {
        let (mut runs, mut count, mut lane) = ([Run::default(); PANEL], 0, 0);
        let lanes = PANEL.min(self.count() - first);
        while lane < lanes {
            let at = first + lane;
            let (row, column) = (at / self.to[1], at % self.to[1]);
            let len = (lanes - lane).min(self.to[1] - column);
            runs[count] = Run { lane, len, row, column };
            count += 1;
            lane += len;
        }
        (runs, count)
    }

    /// Copies the windows of the positions from `first` on into a panel.
    fn panel(&self, x: &[f32], first: usize, panel: &mut [f32]) {
        let (runs, count) = self.runs(first);
        let mut lines = panel.as_chunks_mut::<PANEL>().0.iter_mut();
        let [height, width] = self.from;
        for plane in x.chunks_exact(height * width).take(self.channels) {
            for i in 0..self.kernel[0] {
                for j in 0..self.kernel[1] {
                    let Some(line) = lines.next() else { return };
                    if runs[0].len < PANEL {
                        *line = [0.0; PANEL];
                    }
                    for run in &runs[..count] {
                        self.run(plane, [i, j], run, line);
                    }
                }
            }
        }
        if let Some(line) = lines.next() {
            *line = [1.0; PANEL];
        }
    }

    /// Copies what lies under tap `i`, `j` of the windows of a run.
    #[inline]
    fn run(&self, plane: &[f32], [i, j]: [usize; 2], run: &Run, line: &mut [f32; PANEL]) {
        let [height, width] = self.from;
        let to = &mut line[run.lane..run.lane + run.len];
        let row = (run.row * self.stride[0] + i * self.dilation[0]).checked_sub(self.pad[0]);
        let Some(row) = row.filter(|row| *row < height) else { return to.fill(0.0) };
        let from = &plane[row * width..(row + 1) * width];
        // Of the first lane, with the pad; and of the pad's end.
        let (start, pad) = (run.column * self.stride[1] + j * self.dilation[1], self.pad[1]);
        if self.stride[1] == 1 {
            if start >= pad && start - pad + run.len <= width {
                let from = &from[start - pad..];
                match (<&mut [f32; PANEL]>::try_from(&mut *to), from.first_chunk::<PANEL>()) {
                    (Ok(to), Some(from)) => *to = *from,
                    _ => to.copy_from_slice(&from[..run.len]),
                }
                return;
            }
            let low = pad.saturating_sub(start).min(run.len);
            let high = (width + pad).saturating_sub(start).min(run.len).max(low);
            to[..low].fill(0.0);
            to[high..].fill(0.0);
            if low < high {
                to[low..high].copy_from_slice(&from[start + low - pad..start + high - pad]);
            }
            return;
        }
        for (lane, to) in to.iter_mut().enumerate() {
            let at = (start + lane * self.stride[1]).checked_sub(pad);
            *to = at.and_then(|at| from.get(at)).copied().unwrap_or(0.0);
        }
    }
}

/// A convolution.
#[derive(Debug)]
pub(super) struct Conv2d {
    windows: Windows,
    batch: usize,
    groups: usize,
    /// Of one group.
    filters: usize,
    /// A row for each filter of all groups: its weights as a window lies, and its bias.
    weights: Box<[f32]>,
    /// Positions whose windows are copied at once.
    block: usize,
    pub(super) tail: Tail,
}

impl Conv2d {
    /// Floats that it needs besides.
    fn scratch(&self) -> usize {
        self.block * self.windows.depth()
    }

    pub(super) fn run(&self, isa: Isa, reads: &Mapped, y: &mut [f32], scratch: &mut [f32]) {
        let x = reads.get(0);
        let residual = self.tail.residual.map(|at| reads.get(at));
        let (windows, count) = (&self.windows, self.windows.count());
        let (depth, m) = (windows.depth(), self.filters);
        let (size, len) = (windows.channels * windows.from[0] * windows.from[1], m * count);
        let groups = x.chunks_exact(size).zip(y.chunks_exact_mut(len));
        for (at, (x, y)) in groups.take(self.batch * self.groups).enumerate() {
            let residual = residual.map(|all| &all[at * len..]);
            let a = &self.weights[at % self.groups * m * depth..];
            for first in (0..count).step_by(self.block) {
                let n = self.block.min(count - first);
                let panels = &mut scratch[..n.div_ceil(PANEL) * PANEL * depth];
                for (at, panel) in panels.chunks_exact_mut(PANEL * depth).enumerate() {
                    windows.panel(x, first + at * PANEL, panel);
                }
                let b = PackedRef::new(depth, n, panels);
                let residual = residual.map(|all| (&all[first..], count));
                let (relu, c) = (self.tail.relu, &mut y[first..]);
                let gemm = kernels::Gemm {
                    m,
                    a,
                    lda: depth,
                    b,
                    bias: None,
                    residual,
                    relu,
                    c,
                    ldc: count,
                };
                gemm.run(isa);
            }
            self.tail.finish(isa, y);
        }
    }
}

#[cfg(feature = "profile")]
impl Conv2d {
    pub(super) fn flop(&self) -> u64 {
        let filters = self.batch * self.groups * self.filters;
        2 * (filters * self.windows.count() * (self.windows.depth() - 1)) as u64
    }

    pub(super) fn weight_bytes(&self) -> u64 {
        size_of_val(&*self.weights) as u64
    }
}

pub(super) fn lower(context: &Context) -> Option<Lowered> {
    let op = context.node.op_as::<Conv>()?;
    let (dims, to) = (context.input(0)?, context.output(0)?);
    let spec = &op.pool_spec;
    let shape = spec.data_format.shape(&dims[..]).ok()?;
    let plain = op.group > 0 && op.q_params.is_none() && !spec.data_format.c_is_last();
    if !plain || !(1..=2).contains(&spec.kernel_shape.len()) || op.kernel_fmt != KernelFormat::OIHW
    {
        return None;
    }
    let computed = spec.computed_padding(shape.hw_dims());
    // One axis is the second of two.
    let lacking = 2 - spec.kernel_shape.len();
    let pair = |none: usize, of: &dyn Fn(usize) -> usize| {
        [0, 1].map(|axis: usize| axis.checked_sub(lacking).map_or(none, of))
    };
    let windows = Windows {
        channels: *shape.c() / op.group,
        from: pair(1, &|axis| shape.hw_dims()[axis]),
        to: pair(1, &|axis| computed[axis].convoluted),
        kernel: pair(1, &|axis| spec.kernel_shape[axis]),
        stride: pair(1, &|axis| spec.stride(axis)),
        dilation: pair(1, &|axis| spec.dilation(axis)),
        pad: pair(0, &|axis| computed[axis].pad_before),
    };
    let (batch, filters) = (shape.n().copied().unwrap_or(1), spec.output_channels);
    let (depth, weights) = (windows.depth(), context.floats(1)?);
    let len: usize = to.iter().product();
    let whole = shape.c().is_multiple_of(op.group) && filters.is_multiple_of(op.group);
    if !whole || weights.len() != filters * (depth - 1) || len != batch * filters * windows.count()
    {
        return None;
    }
    let biases = context.biases(2, filters)?;
    let mut lowered = Lowered::default();
    if (windows.channels, filters) == (1, op.group) {
        let planes = batch * filters;
        let conv = Depthwise::new(windows, planes, filters, weights.into(), biases);
        let writes = vec![len, conv.scratch()];
        let value = lowered.step_of(Op::Depthwise(conv), vec![Ref::Input(0)], writes);
        lowered.outputs.push(value);
        return Some(lowered);
    }
    let rows = weights.chunks_exact(depth - 1).zip(&biases);
    let weights = rows.flat_map(|(row, bias)| row.iter().copied().chain([*bias])).collect();
    let block = (BLOCK / depth).max(3 * PANEL).next_multiple_of(PANEL);
    let block = block.min(windows.count().next_multiple_of(PANEL));
    let (groups, tail) = (op.group, Tail::default());
    let filters = filters / groups;
    let conv = Conv2d { windows, batch, groups, filters, weights, block, tail };
    let writes = vec![len, conv.scratch()];
    let value = lowered.step_of(Op::Conv2d(conv), vec![Ref::Input(0)], writes);
    lowered.outputs.push(value);
    Some(lowered)
}
