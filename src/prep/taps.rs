//! Which pixels a place is made of, and how much of each. Pixels are samples at their
//! middles: pixel i is at i + ½.

use super::fit::Axis;

/// A pixel, and how much of the next one there is: from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair {
    pub(super) first: usize,
    pub(super) part: f32,
}

impl Pair {
    /// Within an axis of `len` pixels: its last one is all of the next of the last but one.
    fn within(first: usize, part: f64, len: usize) -> Pair {
        match len {
            1 => Pair { first: 0, part: 0.0 },
            _ if first + 1 >= len => Pair { first: len - 2, part: 1.0 },
            _ => Pair { first, part: part as f32 },
        }
    }
}

/// The pixels to both sides of the `i`-th place; past an edge its pixel goes on.
pub(super) fn linear(axis: &Axis, i: usize) -> Pair {
    let at = (axis.middle(i) - 0.5).clamp(0.0, (axis.len - 1) as f64);
    Pair::within(at as usize, at.fract(), axis.len)
}

/// The pixel in which the middle of the `i`-th place is.
pub(super) fn nearest(axis: &Axis, i: usize) -> Pair {
    Pair::within(axis.middle(i).clamp(0.0, (axis.len - 1) as f64) as usize, 0.0, axis.len)
}

/// The pixels, from the first to past the last, that a triangle over the `i`-th place
/// covers. It is as wide as two places, and as two pixels at least.
pub(super) fn span(axis: &Axis, i: usize) -> (usize, usize) {
    let (middle, reach) = (axis.middle(i), axis.step().max(1.0));
    let last = (axis.len - 1) as f64;
    let first = (middle - reach + 0.5).clamp(0.0, last) as usize;
    let end = (middle + reach + 0.5).clamp(0.0, axis.len as f64) as usize;
    (first, end.max(first + 1))
}

/// How much of each pixel of [`span`]: a share of the triangle. They add up to 1.
pub(super) fn triangle(axis: &Axis, i: usize, weights: &mut [f32]) {
    let (first, _) = span(axis, i);
    let (middle, reach) = (axis.middle(i), axis.step().max(1.0));
    let at = |k: usize| ((first + k) as f64 + 0.5 - middle) / reach;
    let height = |k: usize| (1.0 - at(k).abs()).max(0.0);
    // A pixel's middle is within half a pixel of any place: the sum is not 0.
    let sum: f64 = (0..weights.len()).map(height).sum();
    for (k, weight) in weights.iter_mut().enumerate() {
        *weight = (height(k) / sum) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(len: usize, count: usize) -> Axis {
        Axis { begin: 0, count, start: 0.0, of: (count, len), len }
    }

    #[test]
    fn pairs_are_between_the_middles_of_pixels() {
        // 4 → 2: places are midway between two pixels.
        assert_eq!(linear(&axis(4, 2), 1), Pair { first: 2, part: 0.5 });
        // 2 → 4: past the edges their pixels go on.
        let grown: Vec<Pair> = (0..4).map(|i| linear(&axis(2, 4), i)).collect();
        let parts: Vec<f32> = grown.iter().map(|p| p.first as f32 + p.part).collect();
        assert_eq!(parts, [0.0, 0.25, 0.75, 1.0]);
        assert_eq!(linear(&axis(1, 9), 8), Pair { first: 0, part: 0.0 });
    }

    #[test]
    fn the_nearest_is_the_pixel_under_the_middle() {
        let of = |from, to| -> Vec<usize> {
            let pair = |i| nearest(&axis(from, to), i);
            (0..to).map(pair).map(|p| p.first + p.part as usize).collect()
        };
        assert_eq!(of(4, 2), [1, 3]);
        assert_eq!(of(5, 5), [0, 1, 2, 3, 4]);
        assert_eq!(of(2, 4), [0, 0, 1, 1]);
        assert_eq!(of(1, 3), [0, 0, 0]);
    }

    #[test]
    fn a_triangle_adds_up_and_grows_as_pairs_do() {
        for (from, to) in [(10, 3), (7, 7), (3, 10), (1000, 2), (1, 4), (5, 4)] {
            let axis = axis(from, to);
            for i in 0..to {
                let (first, end) = span(&axis, i);
                assert!(first < end && end <= from, "{from} {to} {i}");
                let mut weights = vec![0.0; end - first];
                triangle(&axis, i, &mut weights);
                assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                if to >= from {
                    let at = |(k, w): (usize, &f32)| (first + k) as f32 * w;
                    let pair = linear(&axis, i);
                    let centre: f32 = weights.iter().enumerate().map(at).sum();
                    assert!((centre - pair.first as f32 - pair.part).abs() < 1e-5);
                }
            }
        }
    }
}
