//! Sums and their like over an axis.
//!
//! The order depends on the shape alone, so every instruction set gives the same
//! bits: over the last axis as [`fold`](super::stream::fold) says, over another
//! one from its first to its last.

use super::isa::Isa;
use super::lanes::{self, Lanes, WIDTH, for_isa};
use super::stream::{Fold, Map, Stream, Sum, fold, get, sixteen};
use serde::{Deserialize, Serialize};

/// What is made of many floats. Of none it is 0, but for [`Max`](Reduce::Max)
/// (−∞), [`Min`](Reduce::Min) (∞), [`Prod`](Reduce::Prod) (1) and the means (NaN).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reduce {
    /// Their sum.
    Sum,
    /// Their sum over their number.
    Mean,
    /// The largest; NaN when one is.
    Max,
    /// The smallest; NaN when one is.
    Min,
    /// Their product.
    Prod,
    /// The sum of their squares.
    SumSquare,
    /// The sum of their absolute values.
    L1,
    /// The root of the sum of their squares.
    L2,
    /// The sum of their squares over their number.
    MeanSquare,
}

/// Reduces the middle axis of `x`, which is outer × len × inner, to `y`, which is
/// outer × inner.
///
/// # Panics
///
/// When a slice has another length, or the processor has not `isa`.
pub fn reduce(isa: Isa, op: Reduce, shape: [usize; 3], x: &[f32], y: &mut [f32]) {
    let [outer, len, inner] = shape;
    let all = outer.checked_mul(inner).filter(|n| *n == y.len()).and_then(|n| n.checked_mul(len));
    assert!(all == Some(x.len()), "{shape:?} of {} floats to {}", x.len(), y.len());
    if !y.is_empty() {
        run(isa, op, len, inner, x, y);
    }
}

for_isa! { fn run(op: Reduce, len: usize, inner: usize, x: &[f32], y: &mut [f32]) = kernel; }

#[inline(always)]
fn kernel<V: Lanes>(op: Reduce, len: usize, inner: usize, x: &[f32], y: &mut [f32]) {
    match op {
        Reduce::Sum | Reduce::Mean => each::<V>(Sum, len, inner, x, y),
        Reduce::Max => each::<V>(Max, len, inner, x, y),
        Reduce::Min => each::<V>(Min, len, inner, x, y),
        Reduce::Prod => each::<V>(Prod, len, inner, x, y),
        Reduce::SumSquare | Reduce::L2 | Reduce::MeanSquare => each::<V>(Squares, len, inner, x, y),
        Reduce::L1 => each::<V>(Sizes, len, inner, x, y),
    }
    match op {
        Reduce::Mean | Reduce::MeanSquare => Stream::in_place(y).map::<V>(Over(len as f32)),
        Reduce::L2 => Stream::in_place(y).map::<V>(Root),
        _ => {}
    }
}

#[inline(always)]
fn each<V: Lanes>(f: impl Fold, len: usize, inner: usize, x: &[f32], y: &mut [f32]) {
    if inner == 1 {
        for (i, y) in y.iter_mut().enumerate() {
            *y = fold::<V, _>(&x[i * len..(i + 1) * len], f);
        }
        return;
    }
    for (i, y) in y.chunks_exact_mut(inner).enumerate() {
        let block = &x[i * len * inner..(i + 1) * len * inner];
        let mut y = Stream::in_place(y);
        let mut column = 0;
        while column + 4 * WIDTH <= inner {
            columns_64::<V>(f, block, inner, column, &mut y);
            column += 4 * WIDTH;
        }
        while column < inner {
            columns::<V>(f, block, inner, column, &mut y);
            column += WIDTH;
        }
    }
}

/// 64 columns of a block with rows of `inner`: there are so many.
#[inline(always)]
fn columns_64<V: Lanes>(f: impl Fold, x: &[f32], inner: usize, column: usize, y: &mut Stream<'_>) {
    let none = V::splat(f.blank());
    let (mut a, mut b, mut c, mut d) = (none, none, none, none);
    let mut at = column;
    while at + 4 * WIDTH <= x.len() {
        // SAFETY: there are 64 more.
        unsafe {
            a = f.step(a, sixteen(x, at));
            b = f.step(b, sixteen(x, at + WIDTH));
            c = f.step(c, sixteen(x, at + 2 * WIDTH));
            d = f.step(d, sixteen(x, at + 3 * WIDTH));
        }
        at += inner;
    }
    y.put(column, a);
    y.put(column + WIDTH, b);
    y.put(column + 2 * WIDTH, c);
    y.put(column + 3 * WIDTH, d);
}

/// Sixteen columns of a block with rows of `inner`, or as many as are left.
#[inline(always)]
fn columns<V: Lanes>(f: impl Fold, x: &[f32], inner: usize, column: usize, y: &mut Stream<'_>) {
    let mut sum = V::splat(f.blank());
    let mut at = column;
    while at < x.len() {
        // Lanes past the row's end hold what is of no use, and are not written.
        sum = f.step(sum, get(x, at, 0.0));
        at += inner;
    }
    y.put(column, sum);
}

#[derive(Clone, Copy)]
struct Squares;

impl Fold for Squares {
    const NONE: f32 = 0.0;
    #[inline(always)]
    fn step<V: Lanes>(self, sum: V, x: V) -> V {
        x.mul_add(x, sum)
    }
}

#[derive(Clone, Copy)]
struct Sizes;

impl Fold for Sizes {
    const NONE: f32 = 0.0;
    #[inline(always)]
    fn step<V: Lanes>(self, sum: V, x: V) -> V {
        sum.add(x.abs())
    }
}

/// Folds whose sums are joined as a float is added: of nothing, of two, of all
/// lanes.
macro_rules! alike {
    ($($name:ident $none:expr, $x:ident $y:ident => $two:expr, $all:expr;)+) => {$(
        #[derive(Clone, Copy)]
        struct $name;

        impl Fold for $name {
            const NONE: f32 = $none;
            #[inline(always)]
            fn step<V: Lanes>(self, $x: V, $y: V) -> V {
                $two
            }
            #[inline(always)]
            fn join<V: Lanes>(self, sum: V, other: V) -> V {
                self.step(sum, other)
            }
            #[inline(always)]
            fn lanes<V: Lanes>(self, $x: V) -> f32 {
                $all
            }
        }
    )+};
}

alike! {
    Max f32::NEG_INFINITY, x y => x.if_nan(x, x.max(y)), nan_or(x, x.largest());
    Min f32::INFINITY, x y => x.if_nan(x, x.min(y)), nan_or(x, -x.neg().largest());
    Prod 1.0, x y => x.mul(y), lanes::fold(x.array(), |x, y| x * y);
}

/// NaN when a lane is; else `or`.
#[inline(always)]
fn nan_or<V: Lanes>(x: V, or: f32) -> f32 {
    if x.if_nan(V::splat(1.0), V::splat(0.0)).sum() > 0.0 { f32::NAN } else { or }
}

#[derive(Clone, Copy)]
struct Over(f32);

impl Map for Over {
    #[inline(always)]
    fn of<V: Lanes>(self, x: V) -> V {
        x.div(V::splat(self.0))
    }
}

#[derive(Clone, Copy)]
struct Root;

impl Map for Root {
    #[inline(always)]
    fn of<V: Lanes>(self, x: V) -> V {
        x.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{SIZES, near, numbers, same_all, strange};
    use super::*;

    const ALL: [Reduce; 9] = [
        Reduce::Sum,
        Reduce::Mean,
        Reduce::Max,
        Reduce::Min,
        Reduce::Prod,
        Reduce::SumSquare,
        Reduce::L1,
        Reduce::L2,
        Reduce::MeanSquare,
    ];

    fn formula(op: Reduce, x: &[f64]) -> f64 {
        let (n, sum) = (x.len() as f64, x.iter().sum::<f64>());
        let squares = x.iter().map(|x| x * x).sum::<f64>();
        let nan = x.iter().any(|x| x.is_nan());
        match op {
            Reduce::Sum => sum,
            Reduce::Mean => sum / n,
            Reduce::Max | Reduce::Min if nan => f64::NAN,
            Reduce::Max => x.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Reduce::Min => x.iter().copied().fold(f64::INFINITY, f64::min),
            Reduce::Prod => x.iter().product(),
            Reduce::SumSquare => squares,
            Reduce::L1 => x.iter().map(|x| x.abs()).sum(),
            Reduce::L2 => squares.sqrt(),
            Reduce::MeanSquare => squares / n,
        }
    }

    fn check(op: Reduce, shape: [usize; 3], x: &[f32]) {
        let [outer, len, inner] = shape;
        let y = same_all(|isa| {
            let mut y = vec![7.0; outer * inner + 1];
            reduce(isa, op, shape, x, &mut y[..outer * inner]);
            assert_eq!(y.pop(), Some(7.0), "past the end");
            y
        });
        let one = |i: usize| {
            let (o, c) = (i / inner, i % inner);
            let column = (0..len).map(|l| f64::from(x[(o * len + l) * inner + c]));
            formula(op, &column.collect::<Vec<_>>())
        };
        let want: Vec<_> = (0..outer * inner).map(one).collect();
        near(&y, &want, 1e-5, &format!("{op:?} of {shape:?}"));
    }

    #[test]
    fn it_is_the_formula_at_every_size() {
        for op in ALL {
            for n in SIZES.iter().copied() {
                for shape in [[3, n, 1], [2, n, 5], [2, 3, n], [1, 1, n], [n, 2, 17]] {
                    let x = numbers(shape.iter().product(), 3);
                    check(op, shape, &x);
                }
            }
            check(op, [2, 9, 150], &numbers(2700, 4));
        }
    }

    #[test]
    fn special_values_stay_in_their_column() {
        for op in ALL {
            for shape in [[9, 7, 1], [3, 70, 1], [2, 5, 21], [1, 3, 80]] {
                check(op, shape, &strange(shape.iter().product(), 5));
            }
        }
    }

    #[test]
    #[should_panic(expected = "of 7 floats to 2")]
    fn another_length_is_refused() {
        reduce(Isa::Scalar, Reduce::Sum, [2, 3, 1], &[0.0; 7], &mut [0.0; 2]);
    }
}
