//! Convolutions along one axis, as matrix products without copies.
//!
//! With channels last, the window of an output position is `kernel · channels`
//! floats in a row, and the next position's begins `stride · channels` floats on:
//! the windows are the rows of a matrix that overlap. Channels first are
//! transposed before and after; a pad is a copy, but where one position is all
//! there is: then the taps over the pad are left out.

use super::einsum::Product;
use super::loops::Loop;
use super::lower::{Context, Lowered, Ref};
use super::moves;
use super::ops::Op;
use crate::kernels::Packed;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat};

/// A convolution along one axis.
#[derive(Debug)]
struct Geometry {
    batch: usize,
    channels: usize,
    filters: usize,
    /// Positions of the input and of the output.
    from: usize,
    to: usize,
    kernel: usize,
    stride: usize,
    /// Zeros before and after the input.
    pads: [usize; 2],
    channels_last: bool,
}

/// The one axis along which something happens.
fn geometry(context: &Context, op: &Conv) -> Option<Geometry> {
    let (x, y) = (context.input(0)?, context.output(0)?);
    let spec = &op.pool_spec;
    let shape = spec.data_format.shape(&x[..]).ok()?;
    let spatial = shape.hw_dims();
    let computed = spec.computed_padding(spatial);
    let trivial = |axis: &usize| {
        let pad = &computed[*axis];
        let still = (spec.kernel_shape[*axis], spatial[*axis], pad.convoluted) == (1, 1, 1);
        still && (pad.pad_before, pad.pad_after) == (0, 0)
    };
    let mut axes = (0..spatial.len()).filter(|axis| !trivial(axis));
    let axis = axes.next().unwrap_or(0);
    if axes.next().is_some() || op.group != 1 || op.q_params.is_some() {
        return None;
    }
    let (kernel, pad) = (spec.kernel_shape[axis], &computed[axis]);
    if kernel > 1 && spec.dilation(axis) != 1 {
        return None;
    }
    let geometry = Geometry {
        batch: shape.n().copied().unwrap_or(1),
        channels: *shape.c(),
        filters: spec.output_channels,
        from: spatial[axis],
        to: pad.convoluted,
        kernel,
        stride: spec.stride(axis),
        pads: [pad.pad_before, pad.pad_after],
        channels_last: spec.data_format.c_is_last(),
    };
    let Geometry { batch, filters, to, .. } = geometry;
    (y.iter().product::<usize>() == batch * filters * to).then_some(geometry)
}

/// The weights of taps `taps`, packed: a row for each tap and channel, a column
/// for each filter.
fn packed(context: &Context, op: &Conv, g: &Geometry, taps: [usize; 2]) -> Option<Packed> {
    let data = context.raw(1)?;
    let Geometry { channels, filters, kernel, .. } = *g;
    if data.as_ref().len() != channels * filters * kernel {
        return None;
    }
    let format = op.kernel_fmt;
    let place = move |tap: usize, channel: usize, filter: usize| match format {
        KernelFormat::OIHW => (filter * channels + channel) * kernel + tap,
        KernelFormat::HWIO => (tap * channels + channel) * filters + filter,
        KernelFormat::OHWI => (filter * kernel + tap) * channels + channel,
    };
    let at = move |data: &[f32], row: usize, filter: usize| {
        data[place(taps[0] + row / channels, row % channels, filter)]
    };
    Packed::later_of((taps[1] - taps[0]) * channels, filters, data, at).ok()
}

pub(super) fn lower(context: &Context) -> Option<Lowered> {
    let op = context.node.op_as::<Conv>()?;
    let g = geometry(context, op)?;
    let Geometry { batch, channels, filters, from, to, kernel, stride, pads, .. } = g;
    let bias = context.biases(2, filters)?;
    let mut lowered = Lowered::default();
    let mut x = Ref::Input(0);
    if !g.channels_last && channels > 1 && from > 1 {
        let turn = Op::permute(&[batch, channels, from], &[0, 2, 1]);
        x = lowered.step(turn, vec![x], batch * channels * from);
    }
    let mut taps = [0, kernel];
    let mut length = from;
    if to == 1 {
        taps = [pads[0], kernel.min(from + pads[0])];
        if taps[0] >= taps[1] {
            return None;
        }
    } else if pads != [0, 0] {
        length = pads[0] + from + pads[1];
        let padded = moves::padded([batch, from, channels], pads);
        x = lowered.step(padded, vec![x], batch * length * channels);
    }
    if length < (to - 1) * stride + taps[1] - taps[0] {
        return None;
    }
    let weights = packed(context, op, &g, taps)?;
    let mut loops = Vec::new();
    if batch > 1 {
        loops.push(Loop { count: batch, steps: [length * channels, 0, to * filters] });
    }
    let product = Product::dense(to, stride * channels, weights, bias, loops);
    let len = batch * filters * to;
    let mut y = lowered.step(Op::Product(product), vec![x], len);
    if !g.channels_last && filters > 1 && to > 1 {
        let turn = Op::permute(&[batch, to, filters], &[0, 2, 1]);
        y = lowered.step(turn, vec![y], len);
    }
    lowered.outputs.push(y);
    Some(lowered)
}
