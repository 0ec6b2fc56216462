//! Softmax of rows, and over an axis.
//!
//! Sums are taken in an order that depends on the length alone, so every
//! instruction set gives the same bits: of a row sixteen floats at a time, then
//! halves of sixteen; over an axis from its first to its last.

use super::isa::Isa;
use super::lanes::{Lanes, WIDTH, for_isa};
use super::math;
use super::stream::{Stream, get};

/// Softmax of each row of `n`: eˣ over the sum of all eˣ. A row that is −∞
/// throughout, or has ∞ or NaN, gives NaN as the formula does.
///
/// # Panics
///
/// When `x` and `y` are not of one length, or not of whole rows, or the
/// processor has not `isa`.
pub fn softmax(isa: Isa, n: usize, x: &[f32], y: &mut [f32]) {
    softmax_of(isa, Stream::new(x, y).rows(n), n, Softmax::Plain);
}

/// As [`softmax`], of `y` itself.
///
/// # Panics
///
/// When `y` has not whole rows, or the processor has not `isa`.
pub fn softmax_in_place(isa: Isa, n: usize, y: &mut [f32]) {
    softmax_of(isa, Stream::in_place(y).rows(n), n, Softmax::Plain);
}

/// The logarithm of [`softmax`].
///
/// # Panics
///
/// As [`softmax`].
pub fn log_softmax(isa: Isa, n: usize, x: &[f32], y: &mut [f32]) {
    softmax_of(isa, Stream::new(x, y).rows(n), n, Softmax::Log);
}

/// As [`log_softmax`], of `y` itself.
///
/// # Panics
///
/// As [`softmax_in_place`].
pub fn log_softmax_in_place(isa: Isa, n: usize, y: &mut [f32]) {
    softmax_of(isa, Stream::in_place(y).rows(n), n, Softmax::Log);
}

/// Softmax of each row of `n` of y · `scale` + `mask` (rounded once), in place.
/// The mask is whole rows, and repeats: one row serves every row, a block of
/// rows every such block.
///
/// # Panics
///
/// When `y` or the mask has not whole rows, or the mask's length does not divide
/// `y`'s, or the processor has not `isa`.
pub fn softmax_masked(isa: Isa, scale: f32, mask: Option<&[f32]>, n: usize, y: &mut [f32]) {
    let s = Stream::in_place(y).rows(n);
    let mask = mask.unwrap_or(&[]);
    if !mask.is_empty() {
        let fits = mask.len().is_multiple_of(n) && s.len().is_multiple_of(mask.len());
        assert!(fits, "a mask of {} floats for {} in rows of {n}", mask.len(), s.len());
    }
    softmax_of(isa, s, n, Softmax::Masked(scale, mask));
}

/// Softmax over the middle axis of outer × len × inner.
///
/// # Panics
///
/// When `x` and `y` have not so many floats, or the processor has not `isa`.
pub fn softmax_strided(isa: Isa, shape: [usize; 3], x: &[f32], y: &mut [f32]) {
    strided(isa, shape, Stream::new(x, y));
}

/// As [`softmax_strided`], of `y` itself.
///
/// # Panics
///
/// When `y` has not so many floats, or the processor has not `isa`.
pub fn softmax_strided_in_place(isa: Isa, shape: [usize; 3], y: &mut [f32]) {
    strided(isa, shape, Stream::in_place(y));
}

fn strided(isa: Isa, [outer, len, inner]: [usize; 3], s: Stream<'_>) {
    let all = outer.checked_mul(len).and_then(|n| n.checked_mul(inner));
    assert!(all == Some(s.len()), "{} floats for {outer}×{len}×{inner}", s.len());
    match inner {
        1 => softmax_of(isa, s, len, Softmax::Plain),
        _ => strided_of(isa, s, len, inner),
    }
}

/// What is to be done with a softmax.
#[derive(Clone, Copy)]
enum Softmax<'a> {
    Plain,
    Log,
    /// x · scale + mask, repeated; a mask of no floats is 0.
    Masked(f32, &'a [f32]),
}

for_isa! { fn softmax_of(s: Stream<'_>, n: usize, what: Softmax<'_>) = softmax_kernel; }

#[inline(always)]
fn softmax_kernel<V: Lanes>(mut s: Stream<'_>, n: usize, what: Softmax<'_>) {
    let mut begin = 0;
    // Where in the mask.
    let mut place = 0;
    while begin < s.len() {
        let mut row = s.part(begin, n);
        begin += n;
        match what {
            Softmax::Plain => {
                let most = largest::<V>(&row);
                softmax_row::<V>(&mut row, most);
            }
            Softmax::Log => {
                let most = largest::<V>(&row);
                log_softmax_row::<V>(&mut row, most);
            }
            Softmax::Masked(scale, mask) => {
                let mask = if mask.is_empty() { mask } else { &mask[place..place + n] };
                let most = scaled::<V>(&mut row, scale, mask);
                softmax_row::<V>(&mut row.again(), most);
                place += n;
                place = if place >= what.mask_len() { 0 } else { place };
            }
        }
    }
}

impl Softmax<'_> {
    #[inline(always)]
    fn mask_len(self) -> usize {
        if let Softmax::Masked(_, mask) = self { mask.len() } else { 0 }
    }
}

/// The largest of a row. NaN may be passed over: it comes to light later.
#[inline(always)]
fn largest<V: Lanes>(row: &Stream<'_>) -> V {
    let mut most = V::splat(f32::NEG_INFINITY);
    let mut at = 0;
    while at < row.len() {
        most = row.get::<V>(at, f32::NEG_INFINITY).max(most);
        at += WIDTH;
    }
    V::splat(most.largest())
}

/// Scales and masks a row, and gives its largest.
#[inline(always)]
fn scaled<V: Lanes>(row: &mut Stream<'_>, scale: f32, mask: &[f32]) -> V {
    const LEAST: f32 = f32::NEG_INFINITY;
    let (scale, none) = (V::splat(scale), [0.0; WIDTH]);
    let mut most = V::splat(LEAST);
    let mut at = 0;
    while at < row.len() {
        let mask = if mask.is_empty() {
            get(&none[..WIDTH.min(row.len() - at)], 0, LEAST)
        } else {
            get(mask, at, LEAST)
        };
        let x = row.get::<V>(at, 0.0).mul_add(scale, mask);
        row.put(at, x);
        most = x.max(most);
        at += WIDTH;
    }
    V::splat(most.largest())
}

#[inline(always)]
fn softmax_row<V: Lanes>(row: &mut Stream<'_>, most: V) {
    let mut sum = V::splat(0.0);
    let mut at = 0;
    while at < row.len() {
        // Past the end: e^-∞ is 0.
        let e = math::exp_low(row.get::<V>(at, f32::NEG_INFINITY).sub(most));
        row.put(at, e);
        sum = sum.add(e);
        at += WIDTH;
    }
    let share = V::splat(1.0 / sum.sum());
    let mut row = row.again();
    let mut at = 0;
    while at < row.len() {
        let e = row.get::<V>(at, 0.0);
        row.put(at, e.mul(share));
        at += WIDTH;
    }
}

#[inline(always)]
fn log_softmax_row<V: Lanes>(row: &mut Stream<'_>, most: V) {
    let mut sum = V::splat(0.0);
    let mut at = 0;
    while at < row.len() {
        sum = sum.add(math::exp_low(row.get::<V>(at, f32::NEG_INFINITY).sub(most)));
        at += WIDTH;
    }
    let log = math::log(V::splat(sum.sum()));
    let mut at = 0;
    while at < row.len() {
        let x = row.get::<V>(at, 0.0);
        row.put(at, x.sub(most).sub(log));
        at += WIDTH;
    }
}

for_isa! { fn strided_of(s: Stream<'_>, len: usize, inner: usize) = strided_kernel; }

#[inline(always)]
fn strided_kernel<V: Lanes>(mut s: Stream<'_>, len: usize, inner: usize) {
    let mut begin = 0;
    while begin < s.len() {
        let mut block = s.part(begin, len * inner);
        begin += len * inner;
        let mut column = 0;
        while column < inner {
            strided_columns::<V>(&mut block, column, inner, WIDTH.min(inner - column));
            column += WIDTH;
        }
    }
}

/// Softmax of `count` columns, at most sixteen, of a block with rows of `inner`.
#[inline(always)]
fn strided_columns<V: Lanes>(s: &mut Stream<'_>, column: usize, inner: usize, count: usize) {
    let mut most = V::splat(f32::NEG_INFINITY);
    let mut at = column;
    while at < s.len() {
        most = s.part(at, count).get::<V>(0, 0.0).max(most);
        at += inner;
    }
    let mut sum = V::splat(0.0);
    at = column;
    while at < s.len() {
        let mut some = s.part(at, count);
        let e = math::exp_low(some.get::<V>(0, 0.0).sub(most));
        some.put(0, e);
        sum = sum.add(e);
        at += inner;
    }
    let share = V::splat(1.0).div(sum);
    let mut s = s.again();
    at = column;
    while at < s.len() {
        let mut some = s.part(at, count);
        let e = some.get::<V>(0, 0.0);
        some.put(0, e.mul(share));
        at += inner;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{COUNTS, SIZES, near, numbers, place_too, same_all, strange};
    use super::*;

    fn doubles(x: &[f32]) -> Vec<f64> {
        x.iter().map(|x| f64::from(*x)).collect()
    }

    fn softmax_64(x: &[f64]) -> Vec<f64> {
        let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = x.iter().map(|x| (x - most).exp()).sum();
        x.iter().map(|x| (x - most).exp() / sum).collect()
    }

    #[test]
    fn softmax_of_rows() {
        for (n, count) in SIZES[1..].iter().flat_map(|n| COUNTS.map(|count| (*n, count))) {
            let what = format!("{count} rows of {n}");
            let x = numbers(n * count, 1);
            let y = place_too(&x, |i, x, y| softmax(i, n, x, y), |i, y| softmax_in_place(i, n, y));
            let z = place_too(
                &x,
                |i, x, y| log_softmax(i, n, x, y),
                |i, y| log_softmax_in_place(i, n, y),
            );
            let want: Vec<_> = x.chunks(n).flat_map(|row| softmax_64(&doubles(row))).collect();
            near(&y, &want, 5e-7, &what);
            near(&z, &want.iter().map(|y| y.ln()).collect::<Vec<_>>(), 5e-7, &what);
            for (mask, scale) in [(0, 0.5), (0, -0.5), (0, 0.0), (1, 1.0), (3, 0.25)] {
                let mask = if count == 6 { numbers(mask * n, 2) } else { vec![] };
                let some = (!mask.is_empty()).then_some(&mask[..]);
                let y = same_all(|isa| {
                    let mut y = x.clone();
                    softmax_masked(isa, scale, some, n, &mut y);
                    y
                });
                let at = |i: usize| if mask.is_empty() { 0.0 } else { mask[i % mask.len()] };
                let value = |(i, x): (usize, &f32)| f64::from(x * scale) + f64::from(at(i));
                let masked: Vec<_> = x.iter().enumerate().map(value).collect();
                let want: Vec<_> = masked.chunks(n).flat_map(softmax_64).collect();
                near(&y, &want, 1e-6, &format!("{what}, masked"));
            }
        }
    }

    #[test]
    fn softmax_over_an_axis() {
        for [outer, len, inner] in
            [[1, 5, 7], [2, 3, 16], [3, 1, 33], [2, 40, 50], [4, 17, 1], [0, 3, 2], [2, 0, 3]]
        {
            let shape = [outer, len, inner];
            let x = strange(outer * len * inner, 8);
            let y = place_too(
                &x,
                |i, x, y| softmax_strided(i, shape, x, y),
                |i, y| softmax_strided_in_place(i, shape, y),
            );
            let mut want = vec![0.0; x.len()];
            for (o, c) in (0..outer).flat_map(|o| (0..inner).map(move |c| (o, c))) {
                let at = |l| (o * len + l) * inner + c;
                let column: Vec<_> = (0..len).map(|l| f64::from(x[at(l)])).collect();
                softmax_64(&column).iter().enumerate().for_each(|(l, v)| want[at(l)] = *v);
            }
            near(&y, &want, 1e-6, &format!("{shape:?}"));
        }
    }

    #[test]
    fn special_values_stay_in_their_row() {
        let inf = f32::INFINITY;
        for n in [3, 16, 21, 70] {
            let of = |x: &[f32]| {
                place_too(x, |i, x, y| softmax(i, n, x, y), |i, y| softmax_in_place(i, n, y))
            };
            for special in [f32::NAN, inf] {
                let mut x = numbers(3 * n, 4);
                x[n + 2] = special;
                let y = of(&x);
                assert!(y[n + 2].is_nan(), "{special} {y:?}");
                assert!(y[..n].iter().chain(&y[2 * n..]).all(|y| y.is_finite()));
            }
            let mut x = vec![-inf; n];
            assert!(of(&x).iter().all(|y| y.is_nan()));
            x[1] = 3e38;
            assert!(of(&x).iter().enumerate().all(|(i, y)| *y == f32::from(u8::from(i == 1))));
            let x = strange(n * 5, 6);
            place_too(&x, |i, x, y| log_softmax(i, n, x, y), |i, y| log_softmax_in_place(i, n, y));
        }
    }
}
