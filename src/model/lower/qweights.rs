//! Constant bytes as the weights of a layer.

use super::qlayer::{Weights, Windows};
use crate::kernels::{QDepthwise, QPacked, QUAD};
use std::sync::Arc;
use tract_onnx::tract_hir::internal::*;

/// Bytes that are weights: one scale and zero for all, or for each slice along an axis.
pub(super) struct Constant {
    pub(super) values: Arc<Tensor>,
    pub(super) scale: Vec<f32>,
    pub(super) zero: Vec<i32>,
    pub(super) axis: usize,
}

/// Weights as signed bytes, as a layer has them, and the zeros of the columns that are
/// left.
pub(super) type Signed = (Weights, Option<Box<[i32]>>);

/// None for groups of more than one channel, or too many taps.
pub(super) fn signed(
    of: &Constant,
    windows: &Windows,
    group: usize,
    is_filter_first: bool,
) -> TractResult<Option<Signed>> {
    let Windows { channels, filters, kernel, .. } = *windows;
    let taps = kernel[0] * kernel[1];
    let own = channels / group;
    let depthwise = group == channels && filters == channels && group > 1;
    let bytes = of.values.as_bytes();
    let whole = channels.is_multiple_of(group) && bytes.len() == filters * own * taps;
    if !whole || group > 1 && !depthwise || depthwise && taps > QDepthwise::MOST_TAPS {
        return Ok(None);
    }
    let by = if of.values.datum_type() == DatumType::U8 { 0x80 } else { 0 };
    let bias = i32::from(by == 0x80) * 128;
    let zero = |filter: usize| {
        let zero = if of.zero.len() == 1 { of.zero[0] } else { of.zero[filter] };
        zero.wrapping_sub(bias)
    };
    // Weight `c` of a tap of a filter.
    let value = |filter: usize, tap: usize, c: usize| {
        let at = match is_filter_first {
            true => (filter * own + c) * taps + tap,
            false => c * filters + filter,
        };
        (bytes[at] ^ by) as i8
    };
    // Most weights are signed bytes without their zero, too.
    let less = |filter: usize, v: i8| i8::try_from(i32::from(v).wrapping_sub(zero(filter)));
    let all = |filter: usize| {
        (0..taps).all(|tap| (0..own).all(|c| less(filter, value(filter, tap, c)).is_ok()))
    };
    let centred = (0..filters).all(|filter| zero(filter) == 0 || all(filter));
    let value = |filter: usize, tap: usize, c: usize| {
        let v = value(filter, tap, c);
        if centred { less(filter, v).unwrap_or(v) } else { v }
    };
    let zeros = (!centred).then(|| (0..filters).map(zero).collect());
    if depthwise {
        let taps = (0..taps).flat_map(|tap| (0..channels).map(move |c| (tap, c)));
        let weights = taps.map(|(tap, c)| value(c, tap, 0)).collect();
        return Ok(centred.then_some((Weights::Channels(weights), None)));
    }
    let (pieces, len) = windows.pieces();
    if pieces != kernel && windows.dilation[1] != 1 {
        return Ok(None);
    }
    let (count, padded) = (pieces[0] * pieces[1], len.next_multiple_of(QUAD));
    let packed = QPacked::new(count * padded, filters, |filter, to| {
        // (A piece may have the channels of several taps.)
        let mut all = (0..taps).flat_map(|tap| (0..channels).map(move |c| (tap, c)));
        for piece in to.chunks_mut(padded) {
            piece.iter_mut().zip(all.by_ref().take(len)).for_each(|(to, (tap, c))| {
                *to = value(filter, tap, c);
            });
        }
    })?;
    Ok(Some((Weights::Matrix(packed), zeros)))
}
