//! Weighted sums of places: one axis of a resized image.

use super::isa::Isa;
use super::lanes::{Lanes, WIDTH, for_isa};

/// What each place of the result is made of: `window` places of what is read, and
/// how much of each.
#[derive(Debug, Clone, Copy)]
pub struct Taps<'a> {
    /// Taps of a place, 1 at least.
    pub window: usize,
    /// The places that are read, those of a result after another's.
    pub indices: &'a [usize],
    /// How much of each; what is zero is not read.
    pub weights: &'a [f32],
}

/// Writes places of `n` floats: the sum of a place's taps times their weights, in
/// their order, each product but the first fused with its addition. All
/// instruction sets give the same bits.
///
/// # Panics
///
/// When `y` is not of as many places as there are windows, an index is beyond `x`,
/// or the processor has not `isa`.
pub fn blend(isa: Isa, taps: Taps<'_>, n: usize, x: &[f32], y: &mut [f32]) {
    let Taps { window, indices, weights } = taps;
    let places = indices.len() / window;
    let whole = indices.len() == places * window && weights.len() == indices.len();
    assert!(whole, "{} taps in windows of {window}", indices.len());
    assert!(Some(y.len()) == places.checked_mul(n), "{places} of {n} floats in {}", y.len());
    let last = indices.iter().copied().max().unwrap_or(0);
    let reach = last.checked_add(1).and_then(|end| end.checked_mul(n));
    assert!(reach.is_some_and(|reach| reach <= x.len()), "place {last} of {n} in {}", x.len());
    if n > 0 {
        all(isa, taps, n, x, y);
    }
}

for_isa! { fn all(taps: Taps<'_>, n: usize, x: &[f32], y: &mut [f32]) = kernel; }

#[inline(always)]
fn kernel<V: Lanes>(taps: Taps<'_>, n: usize, x: &[f32], y: &mut [f32]) {
    let Taps { window, indices, weights } = taps;
    let windows = indices.chunks_exact(window).zip(weights.chunks_exact(window));
    for ((indices, weights), y) in windows.zip(y.chunks_exact_mut(n)) {
        let mut at = 0;
        while at < n {
            let left = n - at;
            let (mut sum, mut is_first) = (V::splat(0.0), true);
            for (index, weight) in indices.iter().zip(weights) {
                if *weight == 0.0 {
                    continue;
                }
                let from = x.as_ptr().wrapping_add(index * n + at);
                // SAFETY: every index is of `n` floats within `x`, as was asserted;
                // `left` of them are from `at` on.
                let v = unsafe {
                    if left >= WIDTH { V::load(from) } else { V::load_some(from, left, 0.0) }
                };
                let weight = V::splat(*weight);
                sum = if is_first { weight.mul(v) } else { weight.mul_add(v, sum) };
                is_first = false;
            }
            let to = y.as_mut_ptr().wrapping_add(at);
            // SAFETY: as many floats as the place has left.
            unsafe { if left >= WIDTH { sum.store(to) } else { sum.store_some(to, left) } }
            at += WIDTH;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{same_all, strange};
    use super::*;

    #[test]
    fn a_place_is_a_sum_in_order() {
        let indices = [0, 1, 2, 2, 0, 4, 3, 1, 0];
        let weights = [0.5, 0.25, 0.0, 1.0, 0.0, 0.0, -0.75, 1.5, 0.3];
        for n in [1, 7, 16, 33] {
            let x = strange(5 * n, 3);
            let got = same_all(|isa| {
                let mut y = vec![7.0; 3 * n];
                let taps = Taps { window: 3, indices: &indices, weights: &weights };
                blend(isa, taps, n, &x, &mut y);
                y
            });
            for (at, got) in got.iter().enumerate() {
                let (place, of) = (at / n, at % n);
                let taps = (place * 3..place * 3 + 3).filter(|tap| weights[*tap] != 0.0);
                let sum = taps.fold(None, |sum, tap| {
                    let v = x[indices[tap] * n + of];
                    Some(sum.map_or(weights[tap] * v, |sum| weights[tap].mul_add(v, sum)))
                });
                let sum: f32 = sum.unwrap_or(0.0);
                assert!(got.to_bits() == sum.to_bits() || got.is_nan() && sum.is_nan());
            }
        }
    }

    #[test]
    #[should_panic(expected = "place 2")]
    fn a_place_beyond_what_is_read_is_refused() {
        let taps = Taps { window: 1, indices: &[0, 2], weights: &[1.0, 1.0] };
        blend(Isa::Scalar, taps, 2, &[0.0; 5], &mut [0.0; 4]);
    }
}
