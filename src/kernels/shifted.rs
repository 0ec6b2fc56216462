//! Sums of a plane's shifted copies: a convolution of one channel.

use super::isa::Isa;
use super::lanes::{Lanes, WIDTH, for_isa};

/// A plane that is read at several places for every place that is written.
#[derive(Debug, Clone, Copy)]
pub struct Shifted<'a> {
    /// The plane, with as much around it as is read.
    pub x: &'a [f32],
    /// Floats from what the first output row reads to what the second one does.
    pub step: usize,
    /// Where each copy begins.
    pub offsets: &'a [usize],
    /// What each copy is multiplied with.
    pub weights: &'a [f32],
    /// What every sum begins with.
    pub bias: f32,
    /// Floats of an output row.
    pub columns: usize,
}

impl Shifted<'_> {
    /// Floats that `x` needs, so that whole vectors are read: those of `rows` rows
    /// of `columns`, `step` apart, whose last copy begins at `last`.
    pub fn extent(rows: usize, step: usize, last: usize, columns: usize) -> usize {
        rows.saturating_sub(1) * step + last + columns.next_multiple_of(WIDTH)
    }

    /// Writes the rows of `y`: y\[r · columns + c\] is the bias and the sum over all
    /// copies of weight · x\[offset + r · step + c\], in their order, each product
    /// fused with its addition. All instruction sets give the same bits.
    ///
    /// # Panics
    ///
    /// When `x` is shorter than [`Shifted::extent`] says, `y` is not of whole rows,
    /// there are not as many weights as offsets, or the processor has not `isa`.
    pub fn run(self, isa: Isa, y: &mut [f32]) {
        let Shifted { x, step, offsets, weights, columns, .. } = self;
        if y.is_empty() {
            return;
        }
        assert!(columns > 0 && y.len().is_multiple_of(columns), "{} in rows of {columns}", y.len());
        assert!(offsets.len() == weights.len(), "{} of {}", weights.len(), offsets.len());
        let last = offsets.iter().copied().max().unwrap_or(0);
        let extent = Shifted::extent(y.len() / columns, step, last, columns);
        assert!(offsets.is_empty() || extent <= x.len(), "{extent} of {} floats", x.len());
        rows(isa, self, y);
    }
}

for_isa! { fn rows(shifted: Shifted<'_>, y: &mut [f32]) = kernel; }

#[inline(always)]
fn kernel<V: Lanes>(shifted: Shifted<'_>, y: &mut [f32]) {
    let Shifted { x, step, offsets, weights, bias, columns } = shifted;
    for (row, y) in y.chunks_exact_mut(columns).enumerate() {
        for column in (0..columns).step_by(WIDTH) {
            let mut sum = V::splat(bias);
            for (offset, weight) in offsets.iter().zip(weights) {
                // SAFETY: `run` has measured `x` for whole vectors of every row.
                let from = unsafe { V::load(x.as_ptr().add(row * step + offset + column)) };
                sum = V::splat(*weight).mul_add(from, sum);
            }
            let left = columns - column;
            // SAFETY: as many floats as the row has left.
            unsafe {
                let to = y.as_mut_ptr().add(column);
                if left >= WIDTH { sum.store(to) } else { sum.store_some(to, left) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{numbers, same_all, strange};
    use super::*;

    #[test]
    fn every_place_is_a_sum_in_order() {
        for (rows, columns, step) in [(1, 1, 0), (3, 15, 40), (4, 16, 16), (2, 33, 70), (5, 7, 100)]
        {
            let offsets = [0, 1, 2, 40, 41, 42, 5];
            let weights = numbers(offsets.len(), 3);
            let x = strange(Shifted::extent(rows, step, 42, columns), 5);
            let got = same_all(|isa| {
                let mut y = vec![0.0; rows * columns];
                let (offsets, weights, bias) = (&offsets[..], &weights[..], 0.5);
                Shifted { x: &x, step, offsets, weights, bias, columns }.run(isa, &mut y);
                y
            });
            for (at, got) in got.iter().enumerate() {
                let from = at / columns * step + at % columns;
                let terms = offsets.iter().zip(&weights);
                let sum = terms.fold(0.5f32, |sum, (o, w)| w.mul_add(x[from + o], sum));
                assert!(got.to_bits() == sum.to_bits() || got.is_nan() && sum.is_nan());
            }
        }
    }

    #[test]
    #[should_panic(expected = "floats")]
    fn a_plane_that_is_too_short_is_refused() {
        let (x, offsets, weights) = (&[0.0; 30][..], &[0, 15][..], &[1.0; 2][..]);
        let shifted = Shifted { x, step: 0, offsets, weights, bias: 0.0, columns: 4 };
        shifted.run(Isa::Scalar, &mut [0.0; 4]);
    }
}
