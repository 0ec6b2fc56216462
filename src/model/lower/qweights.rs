//! Constant bytes as the weights of a layer.

use super::qlayer::{Weights, Windows};
use crate::error::Result;
use crate::kernels::{QDepthwise, QPacked, QUAD, as_signed};
use crate::sync::Mutex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use std::sync::{Arc, OnceLock};
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

/// A row for each byte of a window, a column for each filter; a piece of a window ends
/// with as many rows of zeros as make a multiple of four. It is packed when it is first
/// wanted: best when nobody else has the constant any more.
pub(super) struct Matrix {
    packed: OnceLock<QPacked>,
    raw: Mutex<Option<Box<Raw>>>,
}

/// What a matrix is packed of.
struct Raw {
    values: Arc<Tensor>,
    /// What is taken off each weight of a filter, which makes it signed, too; none for
    /// nothing of all.
    less: Option<Vec<i8>>,
    /// Weights of a filter for a tap.
    own: usize,
    windows: Windows,
    is_filter_first: bool,
}

impl Matrix {
    /// Packs it, unless it is.
    ///
    /// Fails when there is no memory.
    pub(super) fn pack(&self) -> Result<()> {
        if self.packed.get().is_some() {
            return Ok(());
        }
        let mut raw = self.raw.lock();
        if let Some(raw) = &*raw {
            // (The only one that sets it has the lock.)
            let _ = self.packed.set(raw.packed()?);
        }
        *raw = None;
        Ok(())
    }

    /// As it was packed.
    ///
    /// # Panics
    ///
    /// When it was not.
    #[inline]
    pub(super) fn packed(&self) -> &QPacked {
        self.packed.get().expect("a matrix that is packed")
    }
}

impl From<QPacked> for Matrix {
    fn from(packed: QPacked) -> Matrix {
        Matrix { packed: packed.into(), raw: Mutex::new(None) }
    }
}

impl std::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.packed.fmt(f)
    }
}

impl Serialize for Matrix {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        let packed = self.packed.get();
        packed.ok_or_else(|| ser::Error::custom("weights that are not packed yet"))?.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Matrix {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Matrix, D::Error> {
        QPacked::deserialize(from).map(Matrix::from)
    }
}

impl Raw {
    fn packed(&self) -> Result<QPacked> {
        let (bytes, own) = (self.values.as_bytes(), self.own);
        let (windows, filters) = (&self.windows, self.windows.filters);
        let ([down, across], len) = windows.pieces();
        let padded = len.next_multiple_of(QUAD);
        if !self.is_filter_first {
            // A product: a row of the constant is one of the matrix.
            return QPacked::from_rows(len, filters, |c, to| {
                to.copy_from_slice(as_signed(&bytes[c * filters..][..filters]));
                if let Some(less) = &self.less {
                    to.iter_mut().zip(less).for_each(|(to, less)| *to = to.wrapping_sub(*less));
                }
            });
        }
        let taps = windows.kernel[0] * windows.kernel[1];
        QPacked::from_columns(down * across * padded, filters, |filter, to| {
            let bytes = as_signed(&bytes[filter * own * taps..][..own * taps]);
            let mut tap = 0;
            for piece in to.chunks_exact_mut(padded) {
                // (A piece may have the channels of several taps.)
                for to in piece[..len].chunks_exact_mut(own) {
                    gather(&bytes[tap..], taps, to);
                    tap += 1;
                }
                if let Some(less) = &self.less {
                    piece[..len].iter_mut().for_each(|to| *to = to.wrapping_sub(less[filter]));
                }
            }
        })
    }
}

/// The first of each `step` bytes.
fn gather(from: &[i8], step: usize, to: &mut [i8]) {
    if step == 1 {
        return to.copy_from_slice(from);
    }
    let mut at = 0;
    for to in to {
        *to = from[at];
        at += step;
    }
}

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
    let (pieces, _) = windows.pieces();
    if pieces != kernel && windows.dilation[1] != 1 {
        return Ok(None);
    }
    // (What is left fits a byte, whatever is above it; 128 more turn the highest bit.)
    let less: Vec<i8> = (0..filters).map(|filter| (less(filter) as u8 ^ by) as i8).collect();
    let less = less.iter().any(|less| *less != 0).then_some(less);
    let values = of.values.clone();
    let raw = Raw { values, less, own, windows: *windows, is_filter_first };
    let matrix = Matrix { packed: OnceLock::new(), raw: Mutex::new(Some(raw.into())) };
    Ok(Some((Weights::Matrix(matrix), zeros)))
}
