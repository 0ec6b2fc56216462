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
    // Where the weight `c` of a tap of a filter is, and the weight without `less`.
    let at = |filter: usize, tap: usize, c: usize| match is_filter_first {
        true => (filter * own + c) * taps + tap,
        false => c * filters + filter,
    };
    let value = |at: usize, less: i32| i32::from((bytes[at] ^ by) as i8).wrapping_sub(less);
    // Most weights are signed bytes without their zero, too.
    let fits = |filter: usize| {
        let less = zero(filter);
        let fits = |tap: usize, c: usize| i8::try_from(value(at(filter, tap, c), less)).is_ok();
        less == 0 || (0..taps).all(|tap| (0..own).all(|c| fits(tap, c)))
    };
    let centred = (0..filters).all(fits);
    let less = |filter: usize| if centred { zero(filter) } else { 0 };
    let zeros = (!centred).then(|| (0..filters).map(zero).collect());
    if depthwise {
        let taps = (0..taps).flat_map(|tap| (0..channels).map(move |c| (tap, c)));
        let weights = taps.map(|(tap, c)| value(at(c, tap, 0), less(c)) as i8).collect();
        return Ok(centred.then_some((Weights::Channels(weights), None)));
    }
    let (pieces, len) = windows.pieces();
    if pieces != kernel && windows.dilation[1] != 1 {
        return Ok(None);
    }
    let (count, padded) = (pieces[0] * pieces[1], len.next_multiple_of(QUAD));
    let packed = QPacked::new(count * padded, filters, |filter, to| {
        // (A piece may have the channels of several taps.)
        let (less, mut tap, mut c) = (less(filter), 0, 0);
        for to in to.chunks_mut(padded).flat_map(|piece| &mut piece[..len]) {
            *to = value(at(filter, tap, c), less) as i8;
            c += 1;
            if c == channels {
                (tap, c) = (tap + 1, 0);
            }
        }
    })?;
    Ok(Some((Weights::Matrix(packed), zeros)))
}
