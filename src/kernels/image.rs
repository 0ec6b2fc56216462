//! Pixels to floats: what resampling an image does with a part of a row.
//!
//! Sums are taken in one order whatever the instruction set, which gives the same bits.

use super::isa::Isa;
use super::lanes::{Lanes, WIDTH, for_isa};
use super::stream::get;

/// Places of a result that are worked on at once.
pub const BLOCK: usize = 256;

const _: () = assert!(BLOCK.is_multiple_of(WIDTH));

/// A channel of a part of a row.
pub type Plane = [f32; BLOCK];

/// Which bytes of a pixel, the first being 0, make which planes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Channels {
    /// One plane of one byte.
    One(usize),
    /// Three planes of a byte each.
    Three([usize; 3]),
    /// One plane: the first three bytes, weighted.
    Sum([f32; 3]),
}

impl Channels {
    /// How many planes it makes.
    pub fn planes(self) -> usize {
        if matches!(self, Channels::Three(_)) { 3 } else { 1 }
    }

    fn are_there(self) -> bool {
        match self {
            Channels::One(byte) => byte < 4,
            Channels::Three(bytes) => bytes.iter().all(|byte| *byte < 4),
            Channels::Sum(_) => true,
        }
    }
}

/// Pixels to the left and to the right of the places of a result, four bytes each, the
/// first lowest, and how much of the right one there is.
#[derive(Debug, Clone)]
pub struct Pairs {
    /// The pixels to the left.
    pub left: [u32; BLOCK],
    /// The pixels to the right.
    pub right: [u32; BLOCK],
    /// From 0, the left one alone, to 1, the right one alone.
    pub part: Plane,
}

/// Mixes the first `count` pairs: left + (right − left) · part, of each channel.
///
/// # Panics
///
/// When there are not so many, a byte is past the fourth, or the processor has not `isa`.
pub fn mix(isa: Isa, channels: Channels, count: usize, pairs: &Pairs, planes: &mut [Plane; 3]) {
    assert!(count <= BLOCK && channels.are_there(), "{count} pixels, {channels:?}");
    mix_all(isa, channels, count, pairs, planes);
}

for_isa! {
    fn mix_all(channels: Channels, count: usize, pairs: &Pairs, planes: &mut [Plane; 3]) =
        mix_kernel;
}

#[inline(always)]
fn mix_kernel<V: Lanes>(channels: Channels, count: usize, pairs: &Pairs, planes: &mut [Plane; 3]) {
    let mut at = 0;
    while at < count {
        // SAFETY: `at` is a multiple of the width below a block's length, which is one,
        // too; bytes were checked to be 3 at most.
        unsafe {
            match channels {
                Channels::One(byte) => put(planes, 0, at, mixed::<V>(pairs, at, byte)),
                Channels::Three([first, second, third]) => {
                    put(planes, 0, at, mixed::<V>(pairs, at, first));
                    put(planes, 1, at, mixed::<V>(pairs, at, second));
                    put(planes, 2, at, mixed::<V>(pairs, at, third));
                }
                Channels::Sum([first, second, third]) => {
                    let sum = mixed::<V>(pairs, at, 0).mul(V::splat(first));
                    let sum = mixed::<V>(pairs, at, 1).mul_add(V::splat(second), sum);
                    put(planes, 0, at, mixed::<V>(pairs, at, 2).mul_add(V::splat(third), sum));
                }
            }
        }
        at += WIDTH;
    }
}

/// # Safety
///
/// Sixteen pairs are from `at` on; `byte` is 3 at most.
#[inline(always)]
unsafe fn mixed<V: Lanes>(pairs: &Pairs, at: usize, byte: usize) -> V {
    // SAFETY: the contract.
    unsafe {
        let left = V::load_channel(pairs.left.as_ptr().add(at), byte);
        let right = V::load_channel(pairs.right.as_ptr().add(at), byte);
        right.sub(left).mul_add(V::load(pairs.part.as_ptr().add(at)), left)
    }
}

/// # Safety
///
/// Sixteen floats of the plane are from `at` on.
#[inline(always)]
unsafe fn put<V: Lanes>(planes: &mut [Plane; 3], plane: usize, at: usize, v: V) {
    // SAFETY: the contract.
    unsafe { v.store(planes[plane].as_mut_ptr().add(at)) };
}

/// What becomes of two rows: upper · `upper` + lower · `lower` + `bias`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Blend {
    /// How much of the upper row.
    pub upper: f32,
    /// How much of the lower row.
    pub lower: f32,
    /// What is added.
    pub bias: f32,
}

/// Joins two rows: as many floats as `to` has.
///
/// # Panics
///
/// When they are more than a block, or the processor has not `isa`.
pub fn join(isa: Isa, blend: Blend, upper: &Plane, lower: &Plane, to: &mut [f32]) {
    assert!(to.len() <= BLOCK, "{} floats", to.len());
    join_all(isa, blend, upper, lower, to);
}

for_isa! { fn join_all(blend: Blend, upper: &Plane, lower: &Plane, to: &mut [f32]) = join_kernel; }

#[inline(always)]
fn join_kernel<V: Lanes>(blend: Blend, upper: &Plane, lower: &Plane, to: &mut [f32]) {
    let mut at = 0;
    while at < to.len() {
        let left = to.len() - at;
        // SAFETY: `at` is a multiple of the width below a block's length; `left` floats of
        // the result are from `at` on.
        unsafe {
            let v = joined::<V>(blend, upper, lower, at);
            let place = to.as_mut_ptr().add(at);
            if left >= WIDTH { v.store(place) } else { v.store_some(place, left) }
        }
        at += WIDTH;
    }
}

/// As [`join`], rounded to the nearest byte, ties to even.
///
/// # Panics
///
/// As [`join`].
pub fn join_bytes(isa: Isa, blend: Blend, upper: &Plane, lower: &Plane, to: &mut [u8]) {
    assert!(to.len() <= BLOCK, "{} bytes", to.len());
    join_bytes_all(isa, blend, upper, lower, to);
}

for_isa! {
    fn join_bytes_all(blend: Blend, upper: &Plane, lower: &Plane, to: &mut [u8]) =
        join_bytes_kernel;
}

#[inline(always)]
fn join_bytes_kernel<V: Lanes>(blend: Blend, upper: &Plane, lower: &Plane, to: &mut [u8]) {
    for (i, to) in to.chunks_mut(WIDTH).enumerate() {
        let mut bytes = [0; WIDTH];
        // SAFETY: a chunk begins at a multiple of the width below a block's length; there
        // are sixteen bytes.
        unsafe {
            let v = joined::<V>(blend, upper, lower, i * WIDTH);
            let v = v.round().max(V::splat(0.0)).min(V::splat(255.0));
            v.store_bytes(bytes.as_mut_ptr());
        }
        to.copy_from_slice(&bytes[..to.len()]);
    }
}

/// # Safety
///
/// Sixteen floats of either row are from `at` on.
#[inline(always)]
unsafe fn joined<V: Lanes>(blend: Blend, upper: &Plane, lower: &Plane, at: usize) -> V {
    // SAFETY: the contract.
    unsafe {
        let lower = V::load(lower.as_ptr().add(at));
        let v = lower.mul_add(V::splat(blend.lower), V::splat(blend.bias));
        V::load(upper.as_ptr().add(at)).mul_add(V::splat(blend.upper), v)
    }
}

/// Rows of bytes, one `stride` after the other, and how much of each.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// All bytes.
    pub bytes: &'a [u8],
    /// Where the first row begins.
    pub first: usize,
    /// From a row to the next one.
    pub stride: isize,
    /// How much of each row.
    pub weights: &'a [f32],
}

/// The weighted sum of rows, byte by byte: as many as `to` has.
///
/// # Panics
///
/// When a row is not within the bytes, or the processor has not `isa`.
pub fn sum_rows(isa: Isa, rows: Rows<'_>, to: &mut [f32]) {
    let steps = rows.weights.len().saturating_sub(1) as isize;
    let last = rows.stride.checked_mul(steps).and_then(|by| rows.first.checked_add_signed(by));
    let is_within =
        |begin: usize| begin.checked_add(to.len()).is_some_and(|end| end <= rows.bytes.len());
    assert!(is_within(rows.first) && last.is_some_and(is_within), "rows of {}", to.len());
    sum_rows_all(isa, rows, to);
}

for_isa! { fn sum_rows_all(rows: Rows<'_>, to: &mut [f32]) = sum_rows_kernel; }

#[inline(always)]
fn sum_rows_kernel<V: Lanes>(rows: Rows<'_>, to: &mut [f32]) {
    let mut at = 0;
    while at < to.len() {
        let left = to.len() - at;
        let mut sum = V::splat(0.0);
        let mut from = rows.bytes.as_ptr().wrapping_add(rows.first + at);
        for weight in rows.weights {
            // SAFETY: the first and the last row are within the bytes, and so are those
            // between; `left` bytes of a row are from `at` on.
            let v = unsafe { if left >= WIDTH { V::load_bytes(from) } else { some(from, left) } };
            sum = v.mul_add(V::splat(*weight), sum);
            from = from.wrapping_offset(rows.stride);
        }
        let place = to.as_mut_ptr().wrapping_add(at);
        // SAFETY: `left` floats of the result are from `at` on.
        unsafe { if left >= WIDTH { sum.store(place) } else { sum.store_some(place, left) } }
        at += WIDTH;
    }
}

/// # Safety
///
/// `count` bytes are from `from` on, at most sixteen.
#[inline(always)]
unsafe fn some<V: Lanes>(from: *const u8, count: usize) -> V {
    let mut bytes = [0; WIDTH];
    // SAFETY: the contract.
    unsafe {
        std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), count);
        V::load_bytes(bytes.as_ptr())
    }
}

/// The sums of windows: place i of `to` is the sum of the `weights` from i · `width` on, each
/// times the float of `from` from `begins[i]` on.
///
/// # Panics
///
/// When there are not so many of any, a window goes past the end of `from`, or the processor
/// has not `isa`.
pub fn sum_windows(
    isa: Isa,
    width: usize,
    weights: &[f32],
    begins: &[usize],
    from: &[f32],
    to: &mut [f32],
) {
    let all = to.len().checked_mul(width);
    assert!(begins.len() == to.len() && all == Some(weights.len()), "windows of {width}");
    let fits = |begin: &usize| begin.checked_add(width).is_some_and(|end| end <= from.len());
    assert!(begins.iter().all(fits), "windows of {width} in {}", from.len());
    sum_windows_all(isa, width, weights, begins, from, to);
}

for_isa! {
    fn sum_windows_all(
        width: usize, weights: &[f32], begins: &[usize], from: &[f32], to: &mut [f32],
    ) = sum_windows_kernel;
}

#[inline(always)]
fn sum_windows_kernel<V: Lanes>(
    width: usize,
    weights: &[f32],
    begins: &[usize],
    from: &[f32],
    to: &mut [f32],
) {
    for ((to, begin), i) in to.iter_mut().zip(begins).zip(0..) {
        let (weights, from) = (&weights[i * width..][..width], &from[*begin..][..width]);
        let mut sum = V::splat(0.0);
        let mut at = 0;
        while at < width {
            sum = get::<V>(weights, at, 0.0).mul_add(get::<V>(from, at, 0.0), sum);
            at += WIDTH;
        }
        *to = sum.sum();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{SIZES, near, numbers, same_all};
    use super::*;

    fn pairs() -> Pairs {
        let word = |i: usize| (i as u32).wrapping_mul(2_654_435_761);
        Pairs {
            left: std::array::from_fn(word),
            right: std::array::from_fn(|i| word(i + 1000)),
            part: std::array::from_fn(|i| i as f32 / 255.0),
        }
    }

    #[test]
    fn pairs_are_mixed_channel_by_channel() {
        let pairs = pairs();
        let want = |i: usize, byte: usize| wanted(&pairs, i, byte);
        for count in [0, 1, 16, 100, 255, 256] {
            let of = |channels: Channels| {
                same_all(|isa| {
                    let mut planes = [[0.0; BLOCK]; 3];
                    mix(isa, channels, count, &pairs, &mut planes);
                    planes[..channels.planes()].iter().flat_map(|p| p[..count].to_vec()).collect()
                })
            };
            for bytes in [[0, 1, 2], [2, 1, 0], [3, 3, 1]] {
                let all = bytes.iter().flat_map(|b| (0..count).map(|i| want(i, *b)));
                near(&of(Channels::Three(bytes)), &all.collect::<Vec<_>>(), 1e-4, "three");
            }
            let third: Vec<f64> = (0..count).map(|i| want(i, 3)).collect();
            near(&of(Channels::One(3)), &third, 1e-4, "one");
            let sum = |i| want(i, 0) * 0.25 + want(i, 1) * 0.5 + want(i, 2) * 0.125;
            let sums: Vec<f64> = (0..count).map(sum).collect();
            near(&of(Channels::Sum([0.25, 0.5, 0.125])), &sums, 1e-4, "sum");
        }
    }

    fn wanted(pairs: &Pairs, i: usize, byte: usize) -> f64 {
        let of = |p: u32| f64::from(p.to_le_bytes()[byte]);
        let (left, right) = (of(pairs.left[i]), of(pairs.right[i]));
        left + (right - left) * f64::from(pairs.part[i])
    }

    #[test]
    fn rows_are_joined_and_rounded() {
        let blend = Blend { upper: 60.0, lower: -25.5, bias: 90.0 };
        let row = |seed| <[f32; BLOCK]>::try_from(numbers(BLOCK, seed)).unwrap();
        let (upper, lower) = (row(1), row(2));
        for count in SIZES.iter().copied().chain([BLOCK]) {
            let y = same_all(|isa| {
                let mut y = vec![0.0; count];
                join(isa, blend, &upper, &lower, &mut y);
                y
            });
            let want = |i: usize| f64::from(upper[i]) * 60.0 - f64::from(lower[i]) * 25.5 + 90.0;
            near(&y, &(0..count).map(want).collect::<Vec<_>>(), 1e-5, "join");
            let bytes = same_all(|isa| {
                let mut y = vec![0; count];
                join_bytes(isa, blend, &upper, &lower, &mut y);
                y.iter().map(|y| f32::from(*y)).collect()
            });
            let rounded: Vec<f64> =
                y.iter().map(|y| f64::from(y.round_ties_even().clamp(0.0, 255.0))).collect();
            near(&bytes, &rounded, 0.0, "bytes");
        }
    }

    #[test]
    fn sums_of_rows_up_and_down() {
        let bytes: Vec<u8> = (0..4000u32).map(|i| (i.wrapping_mul(167) >> 3) as u8).collect();
        for count in SIZES {
            for (first, stride) in [(0, 300), (3, 211), (3000, -300), (500, 0)] {
                let weights = [0.25, -1.5, 0.75, 2.0];
                let y = same_all(|isa| {
                    let mut y = vec![0.0; *count];
                    let rows = Rows { bytes: &bytes, first, stride, weights: &weights };
                    sum_rows(isa, rows, &mut y);
                    y
                });
                let at =
                    |i: usize, k: usize| bytes[first.wrapping_add_signed(stride * k as isize) + i];
                let of =
                    |i: usize| (0..4).map(|k| f64::from(at(i, k)) * f64::from(weights[k])).sum();
                near(&y, &(0..*count).map(of).collect::<Vec<f64>>(), 1e-5, "rows");
            }
        }
    }

    #[test]
    #[should_panic(expected = "rows of 8")]
    fn a_row_past_the_end_is_refused() {
        let rows = Rows { bytes: &[0; 20], first: 0, stride: 13, weights: &[1.0, 1.0] };
        sum_rows(Isa::Scalar, rows, &mut [0.0; 8]);
    }

    #[test]
    fn sums_of_windows() {
        let from = numbers(90, 5);
        for width in [0, 1, 3, 15, 16, 17, 40] {
            let begins = [0, 7, 50, 90 - width];
            let weights = numbers(4 * width, 6);
            let y = same_all(|isa| {
                let mut y = vec![0.0; 4];
                sum_windows(isa, width, &weights, &begins, &from, &mut y);
                y
            });
            let tap = |i: usize, k: usize| f64::from(weights[i * width + k] * from[begins[i] + k]);
            let want = (0..4).map(|i| (0..width).map(|k| tap(i, k)).sum());
            near(&y, &want.collect::<Vec<f64>>(), 1e-5, "windows");
        }
    }
}
