//! Elementary functions of sixteen floats.
//!
//! They are made of operations that are rounded correctly, always in the same
//! order: every instruction set gives the same bits. NaN stays NaN. Bounds of
//! the error are in units in the last place of the true value, over all floats
//! (the tests measure them); where denormal numbers count as zero
//! ([`FloatMode`](super::FloatMode)), they do so here. The polynomials of
//! exp and log are those of Norbert Juffa (public answers and posts,
//! 2014–2020).

use super::lanes::Lanes;

/// n and r with x = n · ln 2 + r, n an integer and |r| ≤ ln 2 / 2, where |x| is
/// less than a thousand.
#[inline(always)]
fn reduced<V: Lanes>(x: V) -> (V, V) {
    // Adding 1.5 · 2²³ leaves no room for a fraction.
    let shift = V::splat(12_582_912.0);
    let n = x.mul_add(V::splat(std::f32::consts::LOG2_E), shift).sub(shift);
    let r = n.mul_add(V::splat(-6.931_457_5e-1), x);
    (n, n.mul_add(V::splat(-1.428_606_8e-6), r))
}

/// `high` where x is more.
#[inline(always)]
fn at_most<V: Lanes>(x: V, high: f32) -> V {
    V::splat(high).min(x)
}

/// `low` where x is less.
#[inline(always)]
fn at_least<V: Lanes>(x: V, low: f32) -> V {
    V::splat(low).max(x)
}

/// eˣ: 1 ulp; denormal where it should be.
#[inline(always)]
pub(super) fn exp<V: Lanes>(x: V) -> V {
    exp_low(at_most(x, 89.0))
}

/// eˣ for x up to 89: 1 ulp.
#[inline(always)]
pub(super) fn exp_low<V: Lanes>(x: V) -> V {
    let (n, r) = reduced(at_least(x, -104.0));
    const C: [f32; 7] =
        [1.378_059_4e-3, 8.373_124_5e-3, 4.166_953_6e-2, 1.666_647_2e-1, 4.999_998_5e-1, 1.0, 1.0];
    r.polynomial(&C).scale(n)
}

/// eˣ − 1 for x up to 88: 1.5 ulp. Of −0 it is 0.
#[inline(always)]
pub(super) fn exp_m1<V: Lanes>(x: V) -> V {
    exp_m1_within(at_least(x, -30.0))
}

/// eˣ − 1 for x from -87 to 88: 1.5 ulp. Of −0 it is 0.
#[inline(always)]
fn exp_m1_within<V: Lanes>(x: V) -> V {
    let (n, r) = reduced(x);
    const C: [f32; 6] = [
        1.973_509_8e-4,
        1.393_090_7e-3,
        8.333_44e-3,
        4.166_680_2e-2,
        1.666_667_2e-1,
        4.999_999_7e-1,
    ];
    let part = r.polynomial(&C).mul_add(r.mul(r), r);
    let power = n.power_of_two();
    power.mul_add(part, power.sub(V::splat(1.0)))
}

/// 1 / (1 + e⁻ˣ): 2.5 ulp; 0 below -88.7, where it would be denormal.
#[inline(always)]
pub(super) fn sigmoid<V: Lanes>(x: V) -> V {
    let one = V::splat(1.0);
    one.div(one.add(exp(x.neg())))
}

/// tanh x: 2.5 ulp.
#[inline(always)]
pub(super) fn tanh<V: Lanes>(x: V) -> V {
    let sign = x.and(V::splat(-0.0));
    // Past 10 it is 1.
    let size = at_most(x.abs(), 10.0);
    let e = exp_m1_within(size.add(size));
    e.div(e.add(V::splat(2.0))).or(sign)
}

/// erf x: 3 ulp.
#[inline(always)]
pub(super) fn erf<V: Lanes>(x: V) -> V {
    let sign = x.and(V::splat(-0.0));
    // Past 4 it is 1.
    let t = at_most(x.abs(), 4.0);
    // ln (1 - erf t) over t, where it matters (minimax for the error of erf).
    const C: [f32; 8] = [
        -4.064_644_6e-5,
        3.805_374e-4,
        -1.250_396_1e-3,
        -2.076_509e-4,
        1.932_314_4e-2,
        -1.028_149_3e-1,
        -6.366_164e-1,
        -std::f32::consts::FRAC_2_SQRT_PI,
    ];
    let log = t.polynomial(&C).mul(t);
    exp_m1_within(log).abs().or(sign)
}

/// ln (1 + f) for |f| ≤ 1/3.
#[inline(always)]
fn log_1p_third<V: Lanes>(f: V) -> V {
    let s = f.mul(f);
    let even = s.polynomial(&[-0.130_310_06, -0.121_483_386, -0.166_846_53, -0.249_996_2]);
    let odd = s.polynomial(&[0.140_869_14, 0.139_814_85, 0.200_120_35]);
    let r = odd.mul_add(f, even);
    let r = r.mul_add(f, V::splat(0.333_331_97));
    let r = r.mul_add(f, V::splat(-0.5));
    r.mul_add(s, f)
}

/// ln x: 1 ulp; −∞ of 0, NaN of what is less.
#[inline(always)]
pub(super) fn log<V: Lanes>(x: V) -> V {
    let (zero, least) = (V::splat(0.0), V::splat(f32::MIN_POSITIVE));
    let large = x.mul(V::splat(8_388_608.0));
    let (m, e) = x.if_less(least, large, x).split();
    let e = e.sub(x.if_less(least, V::splat(23.0), zero));
    let r = log_1p_third(m.sub(V::splat(1.0)));
    let r = e.mul_add(V::splat(std::f32::consts::LN_2), r);
    let r = zero.if_less(x, r, V::splat(f32::NEG_INFINITY));
    let r = x.if_less(zero, V::splat(f32::NAN), r);
    // Infinity and NaN stay.
    x.if_less(V::splat(f32::INFINITY), r, x)
}

/// ln (1 + u) for u from 0 to 1: 1.5 ulp.
#[inline(always)]
pub(super) fn log_1p_unit<V: Lanes>(u: V) -> V {
    let third = V::splat(1.0 / 3.0);
    // 1 + u is 1 + f, or else 2 · (1 + f).
    let half = V::splat(0.5);
    let f = u.if_less(third, u, u.mul_add(half, half.neg()));
    let e = u.if_less(third, V::splat(0.0), V::splat(std::f32::consts::LN_2));
    log_1p_third(f).add(e)
}

/// ln (1 + eˣ): 2 ulp.
#[inline(always)]
pub(super) fn softplus<V: Lanes>(x: V) -> V {
    let small = exp_low(x.or(V::splat(-0.0)));
    at_least(x, 0.0).add(log_1p_unit(small))
}

#[cfg(test)]
mod tests {
    use super::super::isa::Isa;
    use super::super::lanes::{WIDTH, for_isa};
    use super::super::mode::FloatMode;
    use super::*;

    /// A function of slices for each ISA.
    macro_rules! of_slices {
        ($($name:ident),*) => {$(
            mod $name {
                use super::*;
                fn kernel<V: Lanes>(x: &[f32], y: &mut [f32]) {
                    for (x, y) in x.chunks(WIDTH).zip(y.chunks_mut(WIDTH)) {
                        // SAFETY: both have `x.len()`.
                        unsafe {
                            let v = V::load_some(x.as_ptr(), x.len(), 0.0);
                            super::super::$name(v).store_some(y.as_mut_ptr(), y.len());
                        }
                    }
                }
                for_isa! { pub(super) fn run(x: &[f32], y: &mut [f32]) = kernel; }
            }
        )*};
    }
    of_slices!(exp, exp_m1, sigmoid, tanh, erf, log, log_1p_unit, softplus);

    type Function = fn(Isa, &[f32], &mut [f32]);

    /// 2/√π · e^(−x²) · Σ 2ⁿ x²ⁿ⁺¹ / (2n+1)!!
    fn erf_64(x: f64) -> f64 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term.abs() > sum.abs() * 1e-17 {
            n += 1.0;
            term *= 2.0 * x * x / (2.0 * n + 1.0);
            sum += term;
        }
        if x.abs() > 6.0 {
            x.signum()
        } else {
            std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
        }
    }

    /// The distance in units in the last place.
    fn ulps(got: f32, want: f64) -> f64 {
        let rounded = want as f32;
        if got == rounded || got.is_nan() && want.is_nan() {
            return 0.0;
        }
        let exponent = want.abs().log2().floor().clamp(-126.0, 127.0);
        (f64::from(got) - want).abs() / (exponent - 23.0).exp2()
    }

    /// Floats of every exponent and sign, `step` bits apart.
    fn sweep(step: usize) -> Vec<f32> {
        let special = [0.0, -0.0, f32::INFINITY, -f32::INFINITY, f32::NAN, f32::MIN_POSITIVE];
        let floats = (0..=u32::MAX).step_by(step).map(f32::from_bits);
        floats.filter(|x| !x.is_nan()).chain(special).collect()
    }

    /// The largest error where the true value is `normal`, with what gives it.
    fn check(name: &str, f: Function, want: fn(f64) -> f64, within: fn(f32) -> bool, bound: f64) {
        let step = if cfg!(miri) { 100_000_007 } else { 10_007 };
        let x: Vec<f32> = sweep(step).into_iter().filter(|x| x.is_nan() || within(*x)).collect();
        let mut y = vec![0.0; x.len()];
        f(Isa::best(), &x, &mut y);
        let mut worst = (0.0, 0.0, 0.0);
        for (x, y) in x.iter().zip(&y) {
            let error = ulps(*y, want(f64::from(*x)));
            assert!(error.is_finite(), "{name}({x:?}) is {y:?}");
            if error > worst.0 {
                worst = (error, *x, *y);
            }
        }
        println!("{name}: {worst:?}");
        assert!(worst.0 <= bound, "{name}: {worst:?}");
        same_bits(name, f, &x);
        let _mode = FloatMode::flush_to_zero();
        same_bits(name, f, &x);
    }

    fn same_bits(name: &str, f: Function, x: &[f32]) {
        let run = |isa| {
            let mut y = vec![0.0; x.len()];
            f(isa, x, &mut y);
            y
        };
        let all: Vec<_> = Isa::ALL.into_iter().filter(|isa| isa.is_there()).map(run).collect();
        for other in &all[1..] {
            for (i, (y, z)) in all[0].iter().zip(other).enumerate() {
                let same = y.to_bits() == z.to_bits() || y.is_nan() && z.is_nan();
                assert!(same, "{name}({:?}): {y:?}, {z:?}", x[i]);
            }
        }
    }

    #[test]
    fn errors_are_within_their_bounds_and_bits_are_the_same() {
        let all = |_| true;
        check("exp", exp::run, f64::exp, all, 1.0);
        check("exp_m1", exp_m1::run, f64::exp_m1, |x| x <= 88.0, 1.5);
        let logistic = |x: f64| if x < -88.7 { 0.0 } else { 1.0 / (1.0 + (-x).exp()) };
        check("sigmoid", sigmoid::run, logistic, |x| !(-88.8..-88.7).contains(&x), 2.5);
        check("tanh", tanh::run, f64::tanh, all, 2.5);
        check("erf", erf::run, erf_64, all, 3.0);
        check("log", log::run, f64::ln, all, 1.0);
        check("log_1p_unit", log_1p_unit::run, f64::ln_1p, |x| (0.0..=1.0).contains(&x), 1.5);
        let plus = |x: f64| if x < 0.0 { x.exp().ln_1p() } else { x + (-x).exp().ln_1p() };
        check("softplus", softplus::run, plus, all, 2.0);
    }

    #[test]
    fn special_values() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        let cases: &[(Function, [f32; 5])] = &[
            (exp::run, [nan, inf, 0.0, 1.0, 1.0]),
            (sigmoid::run, [nan, 1.0, 0.0, 0.5, 0.5]),
            (tanh::run, [nan, 1.0, -1.0, 0.0, -0.0]),
            (erf::run, [nan, 1.0, -1.0, 0.0, -0.0]),
            (log::run, [nan, inf, nan, -inf, -inf]),
            (softplus::run, [nan, inf, 0.0, 2f32.ln(), 2f32.ln()]),
        ];
        for (f, want) in cases {
            let mut y = [0.0; 5];
            f(Isa::best(), &[nan, inf, -inf, 0.0, -0.0], &mut y);
            for (y, want) in y.iter().zip(want) {
                assert!(y.to_bits() == want.to_bits() || y.is_nan() && want.is_nan(), "{y} {want}");
            }
        }
    }
}
