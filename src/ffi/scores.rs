//! Scores: softmax, the best one, the best ones.

use super::guard::{Extent, apart, guard, out, slice_arg, slice_mut_arg};
use super::status::inferno_status;
use crate::error::{self, Result};
use crate::kernels::Isa;
use crate::prep;

/// Turns each row of scores into probabilities that add up to 1: e^x over the sum of all e^x
/// of its row. A row with NaN or infinity, or of -infinity alone, is NaN. Nothing is
/// allocated, here and below.
///
/// Ownership: both are the caller's, of `row_count` · `count` floats, row after row; they are
/// the same memory, or apart.
/// Threads: any.
/// Errors: INVALID_ARGUMENT (NULL, a `count` of 0, memory that is shared in part).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_softmax(
    scores: *const f32,
    probabilities: *mut f32,
    row_count: usize,
    count: usize,
) -> inferno_status {
    guard(|| {
        let volume = volume(row_count, count)?;
        // SAFETY: the caller gives so many readable and writable floats; they are the same,
        // of which one slice is made, or apart.
        unsafe {
            if scores == probabilities.cast_const() {
                let y = slice_mut_arg("probabilities", probabilities, volume)?;
                return prep::softmax_in_place(Isa::best(), count, y);
            }
            apart(&[
                extent("scores", scores, volume),
                extent("probabilities", probabilities.cast_const(), volume),
            ])?;
            let x = slice_arg("scores", scores, volume)?;
            let y = slice_mut_arg("probabilities", probabilities, volume)?;
            prep::softmax(Isa::best(), count, x, y)
        }
    })
}

/// Gives for each row of scores the index of the largest; of equal ones the first. NaN is
/// less than all else; of a row of NaN alone it is 0.
///
/// Ownership: all is the caller's: `scores` of `row_count` · `count` floats, `indices` of
/// `row_count`, apart.
/// Threads: any.
/// Errors: INVALID_ARGUMENT (NULL, a `count` of 0, memory that is shared).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_argmax(
    scores: *const f32,
    row_count: usize,
    count: usize,
    indices: *mut usize,
) -> inferno_status {
    guard(|| {
        let volume = volume(row_count, count)?;
        apart(&[
            extent("scores", scores, volume),
            extent("indices", indices.cast_const(), row_count),
        ])?;
        // SAFETY: the caller gives so many readable floats and writable places, apart.
        let (x, places) = unsafe {
            (slice_arg("scores", scores, volume)?, slice_mut_arg("indices", indices, row_count)?)
        };
        prep::argmax(Isa::best(), count, x, places)
    })
}

/// Gives the indices of the `k` largest of `count` scores, the largest first; of equal ones
/// the earlier first; NaN after all else. There are fewer when `count` is less. Takes time in
/// proportion to `count`, and more for each score that is among the best so far.
///
/// Ownership: all is the caller's: `scores` of `count` floats; `indices`, and `values` if it is
/// not NULL, of `k`, apart. `written` is how many there are.
/// Threads: any.
/// Errors: INVALID_ARGUMENT (NULL, memory that is shared).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_top_k(
    scores: *const f32,
    count: usize,
    k: usize,
    indices: *mut usize,
    values: *mut f32,
    written: *mut usize,
) -> inferno_status {
    guard(|| {
        let most = k.min(count);
        let wanted = if values.is_null() { 0 } else { most };
        apart(&[
            extent("scores", scores, count),
            extent("indices", indices.cast_const(), most),
            extent("values", values.cast_const(), wanted),
            extent("written", written.cast_const(), 1),
        ])?;
        // SAFETY: the caller gives so many readable floats and writable places, apart.
        unsafe {
            let place = out("written", written)?;
            let scores = slice_arg("scores", scores, count)?;
            let values = slice_mut_arg("values", values, wanted)?;
            let indices = slice_mut_arg("indices", indices, most)?;
            let found = prep::top_k(Isa::best(), scores, indices);
            values.iter_mut().zip(&*indices).for_each(|(value, at)| *value = scores[*at]);
            place.write(found);
        }
        Ok(())
    })
}

/// Where `count` items are.
pub(super) fn extent<T>(what: &str, items: *const T, count: usize) -> Extent<'_> {
    (what, items.cast(), count.saturating_mul(size_of::<T>()))
}

fn volume(rows: usize, count: usize) -> Result<usize> {
    rows.checked_mul(count).filter(|_| count > 0).ok_or_else(|| {
        error::invalid_argument(format!(
            "{rows} rows of {count} scores: expected 1 at least in a row, and memory for all"
        ))
    })
}
