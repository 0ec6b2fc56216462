//! The largest of many: of a run of floats, and of each column of rows.

use super::image::{BLOCK, Plane};
use super::isa::Isa;
use super::lanes::{Lanes, WIDTH, for_isa};
use super::stream::get;

/// The largest; NaN is passed over. −∞ when there is nothing else.
///
/// # Panics
///
/// When the processor has not `isa`.
pub fn largest(isa: Isa, x: &[f32]) -> f32 {
    let mut most = f32::NEG_INFINITY;
    largest_of(isa, x, &mut most);
    most
}

for_isa! { fn largest_of(x: &[f32], most: &mut f32) = largest_kernel; }

#[inline(always)]
fn largest_kernel<V: Lanes>(x: &[f32], most: &mut f32) {
    let least = V::splat(f32::NEG_INFINITY);
    let (mut a, mut b) = (least, least);
    let mut at = 0;
    while at < x.len() {
        a = get::<V>(x, at, f32::NEG_INFINITY).max(a);
        if at + WIDTH < x.len() {
            b = get::<V>(x, at + WIDTH, f32::NEG_INFINITY).max(b);
        }
        at += 2 * WIDTH;
    }
    *most = a.max(b).largest();
}

/// The largest of each column, and in which row it first is.
#[derive(Debug, Clone)]
pub struct Best {
    /// The largest; −∞ where there is none but NaN.
    pub value: Plane,
    /// Its row; 0 where there is none but NaN.
    pub row: Plane,
}

/// Finds the best of the first `count` columns of `rows` rows, which begin `stride` floats
/// apart; NaN is passed over.
///
/// # Panics
///
/// When `count` is more than a block, there are more rows than floats count exactly, `x` has
/// not so many floats, or the processor has not `isa`.
pub fn best_of_columns(
    isa: Isa,
    x: &[f32],
    stride: usize,
    rows: usize,
    count: usize,
    best: &mut Best,
) {
    let last = rows.saturating_sub(1).checked_mul(stride);
    let end = last.and_then(|last| last.checked_add(count));
    assert!(count <= BLOCK && rows <= 1 << 24, "{count} columns of {rows} rows");
    assert!(rows == 0 || end.is_some_and(|end| end <= x.len()), "{rows} rows in {}", x.len());
    best_of_all(isa, x, stride, rows, count, best);
}

for_isa! {
    fn best_of_all(x: &[f32], stride: usize, rows: usize, count: usize, best: &mut Best) =
        best_kernel;
}

#[inline(always)]
fn best_kernel<V: Lanes>(x: &[f32], stride: usize, rows: usize, count: usize, best: &mut Best) {
    best.value = [f32::NEG_INFINITY; BLOCK];
    best.row = [0.0; BLOCK];
    for row in 0..rows {
        let (columns, number) = (&x[row * stride..][..count], V::splat(row as f32));
        let mut at = 0;
        while at < count {
            let v = get::<V>(columns, at, f32::NEG_INFINITY);
            // SAFETY: `at` is a multiple of the width below a block's length.
            unsafe {
                let (value, which) =
                    (best.value.as_mut_ptr().add(at), best.row.as_mut_ptr().add(at));
                let old = V::load(value);
                old.if_less(v, number, V::load(which)).store(which);
                old.if_less(v, v, old).store(value);
            }
            at += WIDTH;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{SIZES, same_all, strange};
    use super::*;

    #[test]
    fn the_largest_but_nan() {
        for n in SIZES.iter().copied().chain([1000]) {
            for seed in 0..4 {
                let x = strange(n, seed);
                let want = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let got = same_all(|isa| vec![largest(isa, &x)]);
                assert_eq!(got[0], want, "{n} {seed}");
            }
        }
        assert_eq!(largest(Isa::best(), &[f32::NAN; 20]), f32::NEG_INFINITY);
    }

    #[test]
    fn the_best_of_columns_is_the_first() {
        for (stride, rows, count) in [(3, 4, 3), (40, 5, 17), (300, 80, 256), (7, 0, 7)] {
            let mut x = strange(stride * rows, 2);
            if rows > 2 {
                let first = x[stride];
                x[2 * stride] = first;
            }
            let run = |isa| {
                let mut best = Best { value: [1.0; BLOCK], row: [1.0; BLOCK] };
                best_of_columns(isa, &x, stride, rows, count, &mut best);
                [&best.value[..count], &best.row[..count]].concat()
            };
            let got = same_all(run);
            for column in 0..count {
                let (mut value, mut at) = (f32::NEG_INFINITY, 0);
                for row in 0..rows {
                    if x[row * stride + column] > value {
                        (value, at) = (x[row * stride + column], row);
                    }
                }
                assert_eq!((got[column], got[count + column]), (value, at as f32));
            }
        }
    }
}
