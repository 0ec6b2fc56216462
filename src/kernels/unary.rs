//! y = f(x), float by float.

use super::isa::Isa;
use super::lanes::{Lanes, for_isa};
use super::math;
use super::stream::{Map, Stream};
use serde::{Deserialize, Serialize};

/// A function of one float, as ONNX has it. NaN stays NaN; where a formula gives
/// NaN for an infinity (∞ · 0, ∞ / ∞), so does the function. Those of e and its
/// kin are within the bounds of their parts (a few units in the last place), but
/// for [`Gelu`](Unary::Gelu): 1e-7 · |x|.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Unary {
    /// x; 0 where x < 0.
    Relu,
    /// x; slope · x where x < 0.
    LeakyRelu {
        /// The slope below zero.
        slope: f32,
    },
    /// x; 0 where x ≤ alpha.
    ThresholdedRelu {
        /// The threshold.
        alpha: f32,
    },
    /// x, no less than `low` and then no more than `high`.
    Clip {
        /// The least.
        low: f32,
        /// The most.
        high: f32,
    },
    /// scale · x + shift, rounded once.
    Affine {
        /// What it is multiplied with.
        scale: f32,
        /// What is added.
        shift: f32,
    },
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// tanh x.
    Tanh,
    /// alpha · x + beta, rounded once, from 0 to 1.
    HardSigmoid {
        /// The slope.
        alpha: f32,
        /// What it is at zero.
        beta: f32,
    },
    /// x · (x / 6 + 0.5, from 0 to 1).
    HardSwish,
    /// x / (1 + e⁻ˣ).
    Silu,
    /// x · tanh (ln (1 + eˣ)).
    Mish,
    /// x · (1 + erf (x / √2)) / 2.
    Gelu,
    /// x · (1 + tanh (√(2/π) (x + 0.044715 x³))) / 2.
    GeluTanh,
    /// x; alpha · (eˣ − 1) where x < 0.
    Elu {
        /// How far below zero it goes.
        alpha: f32,
    },
    /// gamma · x; gamma · alpha · (eˣ − 1) where x < 0.
    Selu {
        /// How far below zero it goes, over gamma.
        alpha: f32,
        /// The scale.
        gamma: f32,
    },
    /// ln (1 + eˣ).
    Softplus,
    /// x / (1 + |x|).
    Softsign,
    /// eˣ.
    Exp,
    /// ln x; −∞ of 0, NaN of what is less.
    Log,
    /// √x.
    Sqrt,
    /// 1 / √x, rounded twice.
    Rsqrt,
    /// 1 / x.
    Recip,
    /// |x|.
    Abs,
    /// −x.
    Neg,
    /// x².
    Square,
    /// 1, −1, or 0 of either zero.
    Sign,
    /// The integer below.
    Floor,
    /// The integer above.
    Ceil,
    /// The nearest integer, ties to even.
    Round,
    /// erf x.
    Erf,
}

/// Writes `op` of each of `x` to `y`.
///
/// # Panics
///
/// When the slices are not of one length, or the processor has not `isa`.
pub fn unary(isa: Isa, op: Unary, x: &[f32], y: &mut [f32]) {
    run(isa, op, Stream::new(x, y));
}

/// Applies `op` to each of `y`.
///
/// # Panics
///
/// When the processor has not `isa`.
pub fn unary_in_place(isa: Isa, op: Unary, y: &mut [f32]) {
    run(isa, op, Stream::in_place(y));
}

for_isa! { fn run(op: Unary, s: Stream<'_>) = kernel; }

#[inline(always)]
fn kernel<V: Lanes>(op: Unary, mut s: Stream<'_>) {
    match op {
        Unary::Relu => s.map::<V>(Relu()),
        Unary::LeakyRelu { slope } => s.map::<V>(LeakyRelu(slope)),
        Unary::ThresholdedRelu { alpha } => s.map::<V>(ThresholdedRelu(alpha)),
        Unary::Clip { low, high } => s.map::<V>(Clip(low, high)),
        Unary::Affine { scale, shift } => s.map::<V>(Affine(scale, shift)),
        Unary::Sigmoid => s.map::<V>(Sigmoid()),
        Unary::Tanh => s.map::<V>(Tanh()),
        Unary::HardSigmoid { alpha, beta } => s.map::<V>(HardSigmoid(alpha, beta)),
        Unary::HardSwish => s.map::<V>(HardSwish()),
        Unary::Silu => s.map::<V>(Silu()),
        Unary::Mish => s.map::<V>(Mish()),
        Unary::Gelu => s.map::<V>(Gelu()),
        Unary::GeluTanh => s.map::<V>(GeluTanh()),
        Unary::Elu { alpha } => s.map::<V>(Selu(alpha, 1.0)),
        Unary::Selu { alpha, gamma } => s.map::<V>(Selu(alpha, gamma)),
        Unary::Softplus => s.map::<V>(Softplus()),
        Unary::Softsign => s.map::<V>(Softsign()),
        Unary::Exp => s.map::<V>(Exp()),
        Unary::Log => s.map::<V>(Log()),
        Unary::Sqrt => s.map::<V>(Sqrt()),
        Unary::Rsqrt => s.map::<V>(Rsqrt()),
        Unary::Recip => s.map::<V>(Recip()),
        Unary::Abs => s.map::<V>(Abs()),
        Unary::Neg => s.map::<V>(Neg()),
        Unary::Square => s.map::<V>(Square()),
        Unary::Sign => s.map::<V>(Sign()),
        Unary::Floor => s.map::<V>(Floor()),
        Unary::Ceil => s.map::<V>(Ceil()),
        Unary::Round => s.map::<V>(Round()),
        Unary::Erf => s.map::<V>(Erf()),
    }
}

/// A [`Map`] with its numbers as lanes: `Name(number, …) x => value`.
macro_rules! maps {
    ($($name:ident($($number:ident),*) $x:ident => $value:expr;)+) => {$(
        #[derive(Clone, Copy)]
        struct $name($(maps!(@ $number)),*);

        impl Map for $name {
            #[inline(always)]
            fn of<V: Lanes>(self, $x: V) -> V {
                let $name($($number),*) = self;
                $(let $number = V::splat($number);)*
                $value
            }
        }
    )+};
    (@ $number:ident) => { f32 };
}

maps! {
    Relu() x => V::splat(0.0).max(x);
    LeakyRelu(slope) x => x.if_less(V::splat(0.0), x.mul(slope), x);
    ThresholdedRelu(alpha) x => x.if_nan(x, alpha.if_less(x, x, V::splat(0.0)));
    Clip(low, high) x => high.min(low.max(x));
    Affine(scale, shift) x => x.mul_add(scale, shift);
    Sigmoid() x => math::sigmoid(x);
    Tanh() x => math::tanh(x);
    HardSigmoid(alpha, beta) x => to_unit(x.mul_add(alpha, beta));
    HardSwish() x => x.mul(to_unit(x.mul_add(V::splat(1.0 / 6.0), V::splat(0.5))));
    Silu() x => x.div(math::exp(x.neg()).add(V::splat(1.0)));
    Mish() x => {
        // tanh (ln (1 + e)) = n / (n + 2) for n = e (e + 2); past 20 it is 1.
        let two = V::splat(2.0);
        let e = math::exp_low(V::splat(20.0).min(x));
        let n = e.mul(e.add(two));
        x.mul(n.div(n.add(two)))
    };
    Gelu() x => {
        let e = math::erf(x.mul(V::splat(std::f32::consts::FRAC_1_SQRT_2)));
        let half = x.mul(V::splat(0.5));
        half.mul_add(e, half)
    };
    GeluTanh() x => {
        // (1 + tanh u) / 2 = 1 / (1 + e^-2u).
        let u = x.mul(x).mul_add(V::splat(-0.071_354_81), V::splat(-1.595_769));
        x.div(math::exp(x.mul(u)).add(V::splat(1.0)))
    };
    Selu(alpha, gamma) x => {
        let zero = V::splat(0.0);
        let below = math::exp_m1(zero.min(x)).mul(alpha);
        x.if_less(zero, below, x).mul(gamma)
    };
    Softplus() x => math::softplus(x);
    Softsign() x => x.div(x.abs().add(V::splat(1.0)));
    Exp() x => math::exp(x);
    Log() x => math::log(x);
    Sqrt() x => x.sqrt();
    Rsqrt() x => V::splat(1.0).div(x.sqrt());
    Recip() x => V::splat(1.0).div(x);
    Abs() x => x.abs();
    Neg() x => x.neg();
    Square() x => x.mul(x);
    Sign() x => {
        // Zeros become 0, and NaN stays.
        let (zero, one) = (V::splat(0.0), V::splat(1.0));
        let below = x.if_less(zero, one.neg(), x.add(zero));
        zero.if_less(x, one, below)
    };
    Floor() x => x.floor();
    Ceil() x => x.neg().floor().neg();
    Round() x => x.round();
    Erf() x => math::erf(x);
}

/// No less than 0 and no more than 1.
#[inline(always)]
fn to_unit<V: Lanes>(x: V) -> V {
    V::splat(1.0).min(V::splat(0.0).max(x))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{SIZES, all_isas, numbers, same, same_all};
    use super::*;

    const ALL: [Unary; 30] = [
        Unary::Relu,
        Unary::LeakyRelu { slope: 0.1 },
        Unary::ThresholdedRelu { alpha: 0.5 },
        Unary::Clip { low: -0.5, high: 0.75 },
        Unary::Affine { scale: 1.5, shift: -0.25 },
        Unary::Sigmoid,
        Unary::Tanh,
        Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Unary::HardSwish,
        Unary::Silu,
        Unary::Mish,
        Unary::Gelu,
        Unary::GeluTanh,
        Unary::Elu { alpha: 0.7 },
        Unary::Selu { alpha: 1.673_263_2, gamma: 1.050701 },
        Unary::Softplus,
        Unary::Softsign,
        Unary::Exp,
        Unary::Log,
        Unary::Sqrt,
        Unary::Rsqrt,
        Unary::Recip,
        Unary::Abs,
        Unary::Neg,
        Unary::Square,
        Unary::Sign,
        Unary::Floor,
        Unary::Ceil,
        Unary::Round,
        Unary::Erf,
    ];

    /// The formula; NaN where there is none.
    fn formula(op: Unary, x: f64) -> f64 {
        let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
        let plus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
        match op {
            Unary::Relu => x.max(0.0),
            Unary::LeakyRelu { slope } => {
                if x < 0.0 {
                    f64::from(slope) * x
                } else {
                    x
                }
            }
            Unary::ThresholdedRelu { alpha } => {
                if x > f64::from(alpha) {
                    x
                } else {
                    0.0
                }
            }
            Unary::Clip { low, high } => x.max(low.into()).min(high.into()),
            Unary::Affine { scale, shift } => x * f64::from(scale) + f64::from(shift),
            Unary::Sigmoid => logistic(x),
            Unary::Tanh => x.tanh(),
            Unary::HardSigmoid { alpha, beta } => {
                (x * f64::from(alpha) + f64::from(beta)).clamp(0.0, 1.0)
            }
            Unary::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Unary::Silu => x * logistic(x),
            Unary::Mish => x * plus(x).tanh(),
            Unary::GeluTanh => {
                let root = (2.0 / std::f64::consts::PI).sqrt();
                0.5 * x * (1.0 + (root * (x + 0.044715 * x.powi(3))).tanh())
            }
            Unary::Elu { alpha } => {
                if x < 0.0 {
                    f64::from(alpha) * x.exp_m1()
                } else {
                    x
                }
            }
            Unary::Selu { alpha, gamma } => {
                f64::from(gamma) * if x < 0.0 { f64::from(alpha) * x.exp_m1() } else { x }
            }
            Unary::Softplus => plus(x),
            Unary::Softsign => x / (1.0 + x.abs()),
            Unary::Exp => x.exp(),
            Unary::Log => x.ln(),
            Unary::Sqrt => x.sqrt(),
            Unary::Rsqrt => 1.0 / x.sqrt(),
            Unary::Recip => 1.0 / x,
            Unary::Abs => x.abs(),
            Unary::Neg => -x,
            Unary::Square => x * x,
            Unary::Sign => {
                if x == 0.0 {
                    0.0
                } else {
                    x.signum()
                }
            }
            Unary::Floor => x.floor(),
            Unary::Ceil => x.ceil(),
            Unary::Round => x.round_ties_even(),
            // Tested with the rest of the mathematics.
            Unary::Gelu | Unary::Erf => f64::NAN,
        }
    }

    #[test]
    fn it_is_the_formula() {
        let mut x = numbers(4000, 1);
        x.iter_mut().for_each(|x| *x *= 8.0);
        for op in ALL {
            let mut y = vec![0.0; x.len()];
            unary(Isa::best(), op, &x, &mut y);
            for (x, y) in x.iter().zip(&y) {
                let want = formula(op, f64::from(*x));
                let near = (f64::from(*y) - want).abs() <= 2e-6 * want.abs() + 1e-7;
                assert!(near || want.is_nan(), "{op:?} of {x} is {y}, not {want}");
            }
        }
        let mut y = [-6.0, -1.0, 0.0, 0.5, 1.0, 6.0];
        unary_in_place(Isa::best(), Unary::Gelu, &mut y);
        let want = [0.0, -0.158_655_25, 0.0, 0.345_731_23, 0.841_344_8, 6.0];
        for (y, want) in y.iter().zip(want) {
            assert!((y - want).abs() < 2e-7, "{y} {want}");
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits_at_every_size() {
        for op in ALL {
            for n in SIZES {
                let x = numbers(*n, 2);
                let y = same_all(|isa| {
                    let mut y = vec![7.0; n + 1];
                    unary(isa, op, &x, &mut y[..*n]);
                    assert_eq!(y.pop(), Some(7.0), "past the end");
                    let mut z = x.clone();
                    unary_in_place(isa, op, &mut z);
                    same(&y, &z, "in place");
                    y
                });
                assert_eq!(y.len(), *n);
            }
        }
    }

    #[test]
    fn special_values_go_where_they_belong() {
        let (inf, nan, least) = (f32::INFINITY, f32::NAN, f32::MIN_POSITIVE);
        let x = [nan, inf, -inf, 0.0, -0.0, least / 2.0, -least / 4.0, f32::MAX, f32::MIN];
        for op in ALL {
            let y = same_all(|isa| {
                let mut y = x.to_vec();
                unary_in_place(isa, op, &mut y);
                y
            });
            assert!(y[0].is_nan(), "{op:?}: {y:?}");
        }
        let of = |op, x: &[f32], want: &[f32]| {
            for isa in all_isas() {
                let mut y = x.to_vec();
                unary_in_place(isa, op, &mut y);
                same(&y, want, &format!("{op:?} with {isa:?}"));
            }
        };
        of(Unary::Relu, &[-0.0, -inf, inf], &[-0.0, 0.0, inf]);
        of(Unary::Sign, &[-0.0, -inf, least / 2.0], &[0.0, -1.0, 1.0]);
        of(Unary::Ceil, &[-0.7, -0.0, 0.2, 1e30], &[-0.0, -0.0, 1.0, 1e30]);
        of(Unary::Floor, &[-0.7, -0.0, 0.2, -1e30], &[-1.0, -0.0, 0.0, -1e30]);
        of(Unary::Round, &[-0.5, 0.5, 1.5, 2.5], &[-0.0, 0.0, 2.0, 2.0]);
        of(Unary::Silu, &[inf, f32::MIN, -inf], &[inf, -0.0, nan]);
        of(Unary::GeluTanh, &[inf, f32::MIN, f32::MAX], &[inf, -0.0, f32::MAX]);
        of(Unary::Mish, &[inf, f32::MAX, -120.0], &[inf, f32::MAX, -0.0]);
        of(Unary::Elu { alpha: 2.0 }, &[-inf, -0.0, inf], &[-2.0, -0.0, inf]);
        of(Unary::Recip, &[inf, -0.0], &[0.0, -inf]);
        of(Unary::Sqrt, &[-0.0, -1.0], &[-0.0, nan]);
    }
}
