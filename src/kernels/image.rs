//! Pixels to floats: what resampling an image does with a part of a row.
//!
//! Sums are taken in one order whatever the instruction set, which gives the same bits.

use super::isa::Isa;
use super::lanes::{Lanes, WIDTH, for_isa};
use super::stream::{Stream, get};

/// Places of a result that are worked on at once: most rows are one block, and are read from
/// end to end.
pub const BLOCK: usize = 640;

const _: () = assert!(BLOCK.is_multiple_of(WIDTH));

/// A channel of a part of a row.
pub type Plane = [f32; BLOCK];

/// What the bytes of a pixel become.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pixel {
    /// One byte: one plane.
    Gray,
    /// Three bytes, or four of which the last is passed over: a plane each.
    Colours(usize),
    /// The same, weighted: one plane.
    Sum(usize, [f32; 3]),
}

impl Pixel {
    /// How many bytes it has.
    pub fn bytes(self) -> usize {
        match self {
            Pixel::Gray => 1,
            Pixel::Colours(bytes) | Pixel::Sum(bytes, _) => bytes,
        }
    }

    /// How many planes it makes.
    pub fn planes(self) -> usize {
        if matches!(self, Pixel::Colours(_)) { 3 } else { 1 }
    }
}

/// Where in a row the pairs of neighbours are that places of a result are between, and how
/// much of the right one there is.
#[derive(Debug, Clone)]
pub struct Pairs {
    count: usize,
    /// Each begins where the one before ends.
    is_run: bool,
    /// None begins before the one before it.
    is_sorted: bool,
    /// In bytes, of the left one.
    begins: [usize; BLOCK],
    /// From 0, the left one alone, to 1, the right one alone.
    parts: Plane,
    /// Eight bytes from the left one on.
    found: [u64; BLOCK],
}

/// Bytes that are read for a pair.
const READ: usize = 8;

impl Default for Pairs {
    fn default() -> Pairs {
        Pairs {
            count: 0,
            is_run: true,
            is_sorted: true,
            begins: [0; BLOCK],
            parts: [0.0; BLOCK],
            found: [0; BLOCK],
        }
    }
}

impl Pairs {
    /// Sets them: for each, where its left pixel begins, in bytes, and how much of the right
    /// one there is. Those past a block are left out.
    pub fn set(&mut self, pairs: impl Iterator<Item = (usize, f32)>) {
        self.count = 0;
        for (begin, part) in pairs.take(BLOCK) {
            (self.begins[self.count], self.parts[self.count]) = (begin, part);
            self.count += 1;
        }
        let begins = &self.begins[..self.count];
        self.is_sorted = begins.is_sorted();
        self.is_run = begins.windows(2).all(|two| two[0].checked_add(READ) == Some(two[1]));
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Reads them. What is past the end of the row is 0.
    pub fn read(&mut self, row: &[u8]) {
        let begins = &self.begins[..self.count];
        let whole = match row.len().checked_sub(READ) {
            Some(last) if self.is_sorted => begins.partition_point(|begin| *begin <= last),
            _ => 0,
        };
        let (begins, rest) = begins.split_at(whole);
        let (found, found_last) = self.found[..self.count].split_at_mut(whole);
        if self.is_run && whole > 0 {
            let all = row[begins[0]..].as_chunks::<READ>().0;
            found.iter_mut().zip(all).for_each(|(to, from)| *to = u64::from_le_bytes(*from));
        } else {
            for (to, begin) in found.iter_mut().zip(begins) {
                // SAFETY: `whole` of the sorted places are followed by eight bytes at least.
                let bytes = unsafe { row.as_ptr().add(*begin).cast::<[u8; READ]>().read() };
                *to = u64::from_le_bytes(bytes);
            }
        }
        found_last.iter_mut().zip(rest).for_each(|(to, begin)| *to = near_end(row, *begin));
    }
}

/// The bytes from `begin` on; what is past the end is 0.
fn near_end(row: &[u8], begin: usize) -> u64 {
    let mut bytes = [0; READ];
    let left = row.get(begin..).unwrap_or(&[]);
    bytes.iter_mut().zip(left).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(bytes)
}

/// Mixes pairs that were read: left + (right − left) · part, of each channel.
///
/// # Panics
///
/// When a pixel is not of three or four bytes, or the processor has not `isa`.
pub fn mix(isa: Isa, pixel: Pixel, pairs: &Pairs, planes: &mut [Plane; 3]) {
    assert!(matches!(pixel.bytes(), 1 | 3 | 4), "{pixel:?}");
    mix_all(isa, pixel, pairs, planes);
}

for_isa! { fn mix_all(pixel: Pixel, pairs: &Pairs, planes: &mut [Plane; 3]) = mix_kernel; }

#[inline(always)]
fn mix_kernel<V: Lanes>(pixel: Pixel, pairs: &Pairs, planes: &mut [Plane; 3]) {
    let [first, second, third] = planes;
    let mut at = 0;
    while at < pairs.count {
        // SAFETY: `at` is a multiple of the width below a block's length, which is one, too.
        unsafe {
            match pixel {
                Pixel::Gray => mixed::<V, 0, 1>(pairs, at).store(first.as_mut_ptr().add(at)),
                Pixel::Colours(_) | Pixel::Sum(..) => {
                    let [x, y, z]: [V; 3] = match pixel.bytes() {
                        3 => [
                            mixed::<V, 0, 3>(pairs, at),
                            mixed::<V, 1, 4>(pairs, at),
                            mixed::<V, 2, 5>(pairs, at),
                        ],
                        _ => [
                            mixed::<V, 0, 4>(pairs, at),
                            mixed::<V, 1, 5>(pairs, at),
                            mixed::<V, 2, 6>(pairs, at),
                        ],
                    };
                    if let Pixel::Sum(_, [a, b, c]) = pixel {
                        let sum = y.mul_add(V::splat(b), x.mul(V::splat(a)));
                        z.mul_add(V::splat(c), sum).store(first.as_mut_ptr().add(at));
                    } else {
                        x.store(first.as_mut_ptr().add(at));
                        y.store(second.as_mut_ptr().add(at));
                        z.store(third.as_mut_ptr().add(at));
                    }
                }
            }
        }
        at += WIDTH;
    }
}

/// # Safety
///
/// Sixteen pairs are from `at` on.
#[inline(always)]
unsafe fn mixed<V: Lanes, const LEFT: usize, const RIGHT: usize>(pairs: &Pairs, at: usize) -> V {
    // SAFETY: the contract.
    unsafe {
        let from = pairs.found.as_ptr().add(at);
        let (left, right) = (V::load_byte::<LEFT>(from), V::load_byte::<RIGHT>(from));
        right.sub(left).mul_add(V::load(pairs.parts.as_ptr().add(at)), left)
    }
}

/// What becomes of a plane of two rows: upper · `upper` + lower · `lower` + `bias`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Blend {
    /// Which plane.
    pub plane: usize,
    /// How much of the upper row.
    pub upper: f32,
    /// How much of the lower row.
    pub lower: f32,
    /// What is added.
    pub bias: f32,
}

/// Where floats go: `count` of each plane, the planes `stride` apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// The first of the first plane.
    pub begin: usize,
    /// From a plane to the next one.
    pub stride: usize,
    /// Floats of a plane.
    pub count: usize,
}

impl Span {
    fn is_within(&self, planes: usize, len: usize) -> bool {
        let last = self.stride.checked_mul(planes.saturating_sub(1));
        let end = last.and_then(|last| last.checked_add(self.begin)?.checked_add(self.count));
        self.count <= BLOCK && end.is_some_and(|end| end <= len)
    }
}

/// Joins two rows, a plane for each of `blends`.
///
/// # Panics
///
/// When the span is more than a block or not within `to`, or the processor has not `isa`.
pub fn join(
    isa: Isa,
    blends: &[Blend],
    upper: &[Plane; 3],
    lower: &[Plane; 3],
    span: Span,
    to: &mut [f32],
) {
    assert!(span.is_within(blends.len(), to.len()), "{span:?} in {}", to.len());
    join_all(isa, blends, upper, lower, span, to);
}

for_isa! {
    fn join_all(
        blends: &[Blend], upper: &[Plane; 3], lower: &[Plane; 3], span: Span, to: &mut [f32],
    ) = join_kernel;
}

#[inline(always)]
fn join_kernel<V: Lanes>(
    blends: &[Blend],
    upper: &[Plane; 3],
    lower: &[Plane; 3],
    span: Span,
    to: &mut [f32],
) {
    for (blend, i) in blends.iter().zip(0..) {
        let to = &mut to[span.begin + i * span.stride..][..span.count];
        let (upper, lower) = (&upper[blend.plane], &lower[blend.plane]);
        let mut at = 0;
        while at < to.len() {
            let left = to.len() - at;
            // SAFETY: `at` is a multiple of the width below a block's length; `left` floats
            // of the result are from `at` on.
            unsafe {
                let v = joined::<V>(blend, upper, lower, at);
                let place = to.as_mut_ptr().add(at);
                if left >= WIDTH { v.store(place) } else { v.store_some(place, left) }
            }
            at += WIDTH;
        }
    }
}

/// Writes the same everywhere.
///
/// # Panics
///
/// When the processor has not `isa`.
pub fn fill(isa: Isa, value: f32, to: &mut [f32]) {
    fill_all(isa, value, to);
}

for_isa! { fn fill_all(value: f32, to: &mut [f32]) = fill_kernel; }

#[inline(always)]
fn fill_kernel<V: Lanes>(value: f32, to: &mut [f32]) {
    let v = V::splat(value);
    let mut to = Stream::in_place(to);
    let mut at = 0;
    while at < to.len() {
        to.put(at, v);
        at += WIDTH;
    }
}

/// As [`join`], rounded to the nearest byte, ties to even.
///
/// # Panics
///
/// As [`join`].
pub fn join_bytes(
    isa: Isa,
    blends: &[Blend],
    upper: &[Plane; 3],
    lower: &[Plane; 3],
    span: Span,
    to: &mut [u8],
) {
    assert!(span.is_within(blends.len(), to.len()), "{span:?} in {}", to.len());
    join_bytes_all(isa, blends, upper, lower, span, to);
}

for_isa! {
    fn join_bytes_all(
        blends: &[Blend], upper: &[Plane; 3], lower: &[Plane; 3], span: Span, to: &mut [u8],
    ) = join_bytes_kernel;
}

#[inline(always)]
fn join_bytes_kernel<V: Lanes>(
    blends: &[Blend],
    upper: &[Plane; 3],
    lower: &[Plane; 3],
    span: Span,
    to: &mut [u8],
) {
    for (blend, i) in blends.iter().zip(0..) {
        let to = &mut to[span.begin + i * span.stride..][..span.count];
        let (upper, lower) = (&upper[blend.plane], &lower[blend.plane]);
        for (to, i) in to.chunks_mut(WIDTH).zip(0..) {
            let mut bytes = [0; WIDTH];
            // SAFETY: a chunk begins at a multiple of the width below a block's length;
            // there are sixteen bytes.
            unsafe {
                let v = joined::<V>(blend, upper, lower, i * WIDTH);
                let v = v.round().max(V::splat(0.0)).min(V::splat(255.0));
                v.store_bytes(bytes.as_mut_ptr());
            }
            to.copy_from_slice(&bytes[..to.len()]);
        }
    }
}

/// # Safety
///
/// Sixteen floats of either row are from `at` on.
#[inline(always)]
unsafe fn joined<V: Lanes>(blend: &Blend, upper: &Plane, lower: &Plane, at: usize) -> V {
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

    /// Channel `channel` of pair `i` of a row whose pixels are of `bytes`, `apart` apart.
    fn wanted(row: &[u8], bytes: usize, apart: usize, i: usize, channel: usize) -> f64 {
        let of = |pixel: usize| {
            f64::from(row.get(i * apart + pixel * bytes + channel).copied().unwrap_or(0))
        };
        of(0) + (of(1) - of(0)) * f64::from(i as f32 / 319.0)
    }

    #[test]
    fn pairs_are_mixed_channel_by_channel() {
        let row: Vec<u8> =
            (0..3000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        // In a run, all over a row, up to its end and past it.
        for (apart, len, count) in [
            (8, 3000, 320),
            (9, 3000, 255),
            (7, 100, 14),
            (4, 64, 16),
            (1, 9, 8),
            (0, 8, 1),
            (5, 0, 0),
        ] {
            let row = &row[..len];
            let mut pairs = Pairs::default();
            pairs.set((0..count).map(|i| (i * apart, i as f32 / 319.0)));
            pairs.read(row);
            assert_eq!(pairs.count(), count);
            let of = |pixel: Pixel| {
                same_all(|isa| {
                    let mut planes = [[0.0; BLOCK]; 3];
                    mix(isa, pixel, &pairs, &mut planes);
                    planes[..pixel.planes()].iter().flat_map(|p| p[..count].to_vec()).collect()
                })
            };
            let grey: Vec<f64> = (0..count).map(|i| wanted(row, 1, apart, i, 0)).collect();
            near(&of(Pixel::Gray), &grey, 1e-4, "grey");
            for bytes in [3, 4] {
                let want = |i, channel| wanted(row, bytes, apart, i, channel);
                let all = (0..3).flat_map(|c| (0..count).map(move |i| want(i, c)));
                near(&of(Pixel::Colours(bytes)), &all.collect::<Vec<_>>(), 1e-4, "colours");
                let sum = |i| want(i, 0) * 0.25 + want(i, 1) * 0.5 + want(i, 2) * 0.125;
                let sums: Vec<f64> = (0..count).map(sum).collect();
                near(&of(Pixel::Sum(bytes, [0.25, 0.5, 0.125])), &sums, 1e-4, "sum");
            }
        }
    }

    #[test]
    fn pairs_in_no_order_are_read() {
        let row: Vec<u8> = (0..40).collect();
        let mut pairs = Pairs::default();
        for begins in [[30, 20, 10], [0, 39, 38], [40, 50, usize::MAX], [usize::MAX, 0, 0]] {
            pairs.set(begins.iter().map(|begin| (*begin, 0.0)));
            pairs.read(&row);
            for (found, begin) in pairs.found.iter().zip(begins) {
                assert_eq!(found.to_le_bytes()[0], row.get(begin).copied().unwrap_or(0));
            }
        }
    }

    #[test]
    fn rows_are_joined_and_rounded() {
        let blend = |plane| Blend { plane, upper: 60.0, lower: -25.5, bias: 90.0 };
        let row = |seed| <[f32; BLOCK]>::try_from(numbers(BLOCK, seed)).unwrap();
        let (upper, lower) = ([row(1), row(3), row(5)], [row(2), row(4), row(6)]);
        for count in SIZES.iter().copied().chain([BLOCK]) {
            let span = Span { begin: 3, stride: count + 2, count };
            let blends = [blend(2), blend(0), blend(0)];
            let y = same_all(|isa| {
                let mut y = vec![7.0; 3 * count + 8];
                join(isa, &blends, &upper, &lower, span, &mut y);
                y
            });
            let mut want = vec![7.0; y.len()];
            for (i, at) in (0..3).flat_map(|i| (0..count).map(move |at| (i, at))) {
                let of = |row: &[Plane; 3]| f64::from(row[blends[i].plane][at]);
                want[3 + i * span.stride + at] = of(&upper) * 60.0 - of(&lower) * 25.5 + 90.0;
            }
            near(&y, &want, 1e-5, "join");
            let bytes = same_all(|isa| {
                let mut y = vec![7; 3 * count + 8];
                join_bytes(isa, &blends, &upper, &lower, span, &mut y);
                y.iter().map(|y| f32::from(*y)).collect()
            });
            let rounded = y.iter().map(|y| f64::from(y.round_ties_even().clamp(0.0, 255.0)));
            near(&bytes, &rounded.collect::<Vec<_>>(), 0.0, "bytes");
        }
    }

    #[test]
    fn all_is_filled_and_no_more() {
        for count in SIZES {
            let y = same_all(|isa| {
                let mut y = vec![7.0; count + 2];
                fill(isa, 2.5, &mut y[1..count + 1]);
                y
            });
            assert!(y[1..count + 1].iter().all(|y| *y == 2.5));
            assert_eq!((y[0], y[count + 1]), (7.0, 7.0));
        }
    }

    #[test]
    #[should_panic(expected = "Span")]
    fn a_span_past_the_end_is_refused() {
        let (planes, span) = ([[0.0; BLOCK]; 3], Span { begin: 0, stride: 5, count: 4 });
        join(Isa::Scalar, &[Blend::default(); 3], &planes, &planes, span, &mut [0.0; 13]);
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
