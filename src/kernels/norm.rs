//! Normalisation of rows.
//!
//! Sums are taken as [`fold`] says, in an order that depends on the row's length
//! alone, so every instruction set gives the same bits.

use super::isa::Isa;
use super::lanes::{Lanes, WIDTH, for_isa};
use super::stream::{Fold, Stream, Sum, fold, get, sixteen};

/// Each row of `n` less its mean, over √(variance + eps), then times `gamma` and
/// plus `beta`, which are rows.
///
/// # Panics
///
/// When `x` and `y` are not of one length, or not of whole rows, or gamma or
/// beta is no row, or the processor has not `isa`.
pub fn layer_norm(
    isa: Isa,
    n: usize,
    x: &[f32],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    eps: f32,
    y: &mut [f32],
) {
    norm(isa, Stream::new(x, y).rows(n), n, gamma, beta, eps, true);
}

/// As [`layer_norm`], of `y` itself.
///
/// # Panics
///
/// As [`layer_norm`].
pub fn layer_norm_in_place(
    isa: Isa,
    n: usize,
    y: &mut [f32],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    eps: f32,
) {
    norm(isa, Stream::in_place(y).rows(n), n, gamma, beta, eps, true);
}

/// Each row of `n` over √(mean of squares + eps), then times `gamma`, which is a
/// row.
///
/// # Panics
///
/// When `x` and `y` are not of one length, or not of whole rows, or gamma is no
/// row, or the processor has not `isa`.
pub fn rms_norm(isa: Isa, n: usize, x: &[f32], gamma: Option<&[f32]>, eps: f32, y: &mut [f32]) {
    norm(isa, Stream::new(x, y).rows(n), n, gamma, None, eps, false);
}

/// As [`rms_norm`], of `y` itself.
///
/// # Panics
///
/// As [`rms_norm`].
pub fn rms_norm_in_place(isa: Isa, n: usize, y: &mut [f32], gamma: Option<&[f32]>, eps: f32) {
    norm(isa, Stream::in_place(y).rows(n), n, gamma, None, eps, false);
}

fn norm(
    isa: Isa,
    s: Stream<'_>,
    n: usize,
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    eps: f32,
    centred: bool,
) {
    for v in [gamma, beta].into_iter().flatten() {
        assert!(v.len() == n, "{} floats for rows of {n}", v.len());
    }
    norm_of(isa, s, n, gamma, beta, eps, centred);
}

/// Squares of the distances from a float.
#[derive(Clone, Copy)]
struct Squares(f32);

impl Fold for Squares {
    const NONE: f32 = 0.0;
    #[inline(always)]
    fn blank(self) -> f32 {
        self.0
    }
    #[inline(always)]
    fn step<V: Lanes>(self, sum: V, x: V) -> V {
        let d = x.sub(V::splat(self.0));
        d.mul_add(d, sum)
    }
}

for_isa! {
    fn norm_of(
        s: Stream<'_>,
        n: usize,
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        eps: f32,
        centred: bool,
    ) = norm_kernel;
}

#[inline(always)]
fn norm_kernel<V: Lanes>(
    mut s: Stream<'_>,
    n: usize,
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    eps: f32,
    centred: bool,
) {
    let count = n as f32;
    let (ones, zeros) = ([1.0; WIDTH], [-0.0; WIDTH]);
    let gamma = Line::new(gamma, &ones);
    let beta = Line::new(beta, &zeros);
    let mut begin = 0;
    while begin < s.len() {
        let mut row = s.part(begin, n);
        begin += n;
        let mean = if centred { fold::<V, _>(row.read(), Sum) / count } else { 0.0 };
        let squares = fold::<V, _>(row.read(), Squares(mean));
        let scale = V::splat(1.0 / (squares / count + eps).sqrt());
        let centre = V::splat(mean);
        let mut at = 0;
        while at + WIDTH <= n {
            // SAFETY: there are sixteen more of the row, and gamma and beta are
            // as long, or sixteen.
            unsafe {
                let (gamma, beta) = (gamma.sixteen::<V>(at), beta.sixteen(at));
                let x = sixteen::<V>(row.read(), at).sub(centre).mul(scale);
                row.put_sixteen(at, x.mul_add(gamma, beta));
            }
            at += WIDTH;
        }
        if at < n {
            let (gamma, beta) = (gamma.some::<V>(at), beta.some(at));
            let x = row.get::<V>(at, 0.0).sub(centre).mul(scale);
            row.put(at, x.mul_add(gamma, beta));
        }
    }
}

/// A row, or sixteen floats that serve for it.
#[derive(Clone, Copy)]
struct Line<'a> {
    x: &'a [f32],
    /// Which bits of a place count.
    bits: usize,
}

impl<'a> Line<'a> {
    #[inline(always)]
    fn new(x: Option<&'a [f32]>, none: &'a [f32; WIDTH]) -> Line<'a> {
        x.map_or(Line { x: none, bits: 0 }, |x| Line { x, bits: usize::MAX })
    }

    /// What belongs to the sixteen floats from `at` on.
    ///
    /// # Safety
    ///
    /// The row has them.
    #[inline(always)]
    unsafe fn sixteen<V: Lanes>(self, at: usize) -> V {
        // SAFETY: by the contract.
        unsafe { sixteen(self.x, at & self.bits) }
    }

    /// What belongs to the floats from `at` on, as many as there are.
    #[inline(always)]
    fn some<V: Lanes>(self, at: usize) -> V {
        get(self.x, at & self.bits, 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{COUNTS, SIZES, near, numbers, place_too};
    use super::*;

    fn doubles(x: &[f32]) -> Vec<f64> {
        x.iter().map(|x| f64::from(*x)).collect()
    }

    fn norm_64(x: &[f32], gamma: &[f32], beta: &[f32], centred: bool) -> Vec<f64> {
        let (x, n) = (doubles(x), x.len() as f64);
        let mean = if centred { x.iter().sum::<f64>() / n } else { 0.0 };
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let one = |(i, x): (usize, &f64)| {
            (x - mean) / (variance + 1e-5f32 as f64).sqrt() * f64::from(gamma[i])
                + f64::from(beta[i])
        };
        x.iter().enumerate().map(one).collect()
    }

    #[test]
    fn norms_of_rows() {
        for (n, count) in SIZES[1..].iter().flat_map(|n| COUNTS.map(|count| (*n, count))) {
            let (x, gamma, beta) = (numbers(n * count, 1), numbers(n, 2), numbers(n, 3));
            let (ones, zeros) = (vec![1.0; n], vec![0.0; n]);
            for (g, b) in [(true, true), (true, false), (false, true), (false, false)] {
                let what = format!("{count} rows of {n}, {g} {b}");
                let (g, b) = (g.then_some(&gamma[..]), b.then_some(&beta[..]));
                let (g64, b64) = (g.unwrap_or(&ones), b.unwrap_or(&zeros));
                let y = place_too(
                    &x,
                    |i, x, y| layer_norm(i, n, x, g, b, 1e-5, y),
                    |i, y| layer_norm_in_place(i, n, y, g, b, 1e-5),
                );
                let want: Vec<_> =
                    x.chunks(n).flat_map(|row| norm_64(row, g64, b64, true)).collect();
                near(&y, &want, 2e-5, &what);
                let y = place_too(
                    &x,
                    |i, x, y| rms_norm(i, n, x, g, 1e-5, y),
                    |i, y| rms_norm_in_place(i, n, y, g, 1e-5),
                );
                let want: Vec<_> =
                    x.chunks(n).flat_map(|row| norm_64(row, g64, &zeros, false)).collect();
                near(&y, &want, 2e-6, &what);
            }
        }
    }

    #[test]
    fn special_values_stay_in_their_row() {
        for n in [3, 16, 21, 70] {
            for special in [f32::NAN, f32::INFINITY] {
                let mut x = numbers(3 * n, 4);
                x[n + 2] = special;
                let y = place_too(
                    &x,
                    |i, x, y| layer_norm(i, n, x, None, None, 0.0, y),
                    |i, y| layer_norm_in_place(i, n, y, None, None, 0.0),
                );
                assert!(y[n..2 * n].iter().all(|y| y.is_nan()), "{special} {y:?}");
                assert!(y[..n].iter().chain(&y[2 * n..]).all(|y| y.is_finite()));
            }
        }
    }
}
