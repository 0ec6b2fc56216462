//! y = a ∘ b, float by float.

use super::isa::Isa;
use super::lanes::{Lanes, WIDTH, for_isa};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

/// A function of two floats, as ONNX has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Binary {
    /// a + b.
    Add,
    /// a − b.
    Sub,
    /// a · b.
    Mul,
    /// a / b.
    Div,
    /// The larger; NaN when one is.
    Max,
    /// The smaller; NaN when one is.
    Min,
    /// a; a · b where a < 0.
    PRelu,
}

/// One side of a [`Binary`].
#[derive(Debug, Clone, Copy)]
pub enum Operand<'a> {
    /// A float for each of the answer.
    Slice(&'a [f32]),
    /// The same for all.
    Scalar(f32),
}

impl Operand<'_> {
    fn side(&self, len: usize) -> Side<'_> {
        match self {
            Operand::Slice(x) => {
                assert!(x.len() == len, "{} floats for {len}", x.len());
                Side::new(x.as_ptr(), len, 1)
            }
            Operand::Scalar(v) => Side::new(v, 0, 0),
        }
    }
}

/// Writes a ∘ b to `y`.
///
/// # Panics
///
/// When a slice is not as long as `y`, or the processor has not `isa`.
pub fn binary(isa: Isa, op: Binary, a: Operand<'_>, b: Operand<'_>, y: &mut [f32]) {
    let n = y.len();
    run(isa, op, Job::new(a.side(n), b.side(n), false, n, y.as_mut_ptr(), n));
}

/// y = y ∘ b, or b ∘ y when `swapped`.
///
/// # Panics
///
/// When a slice is not as long as `y`, or the processor has not `isa`.
pub fn binary_in_place(isa: Isa, op: Binary, y: &mut [f32], b: Operand<'_>, swapped: bool) {
    let n = y.len();
    let to = y.as_mut_ptr();
    run(isa, op, Job::new(Side::new(to, n, 1), b.side(n), swapped, n, to, n));
}

/// Each row of `x`, which is as long as `v`, with `v`: x ∘ v, or v ∘ x when
/// `swapped`, to `y`.
///
/// # Panics
///
/// When `x` and `y` are not of one length, or not of whole rows, or the
/// processor has not `isa`.
pub fn binary_rows(isa: Isa, op: Binary, x: &[f32], v: &[f32], swapped: bool, y: &mut [f32]) {
    assert!(x.len() == y.len(), "{} floats in, {} out", x.len(), y.len());
    rows(isa, op, x.as_ptr(), v, swapped, y.as_mut_ptr(), y.len());
}

/// As [`binary_rows`] of `y` itself.
///
/// # Panics
///
/// When `y` has not whole rows, or the processor has not `isa`.
pub fn binary_rows_in_place(isa: Isa, op: Binary, y: &mut [f32], v: &[f32], swapped: bool) {
    let (to, len) = (y.as_mut_ptr(), y.len());
    rows(isa, op, to, v, swapped, to, len);
}

/// Row i of as many as `v` has floats, all of one length, with `v[i]`: x ∘ v, or
/// v ∘ x when `swapped`, to `y`.
///
/// # Panics
///
/// When `x` and `y` are not of one length, or do not divide so, or the processor
/// has not `isa`.
pub fn binary_columns(isa: Isa, op: Binary, x: &[f32], v: &[f32], swapped: bool, y: &mut [f32]) {
    assert!(x.len() == y.len(), "{} floats in, {} out", x.len(), y.len());
    columns(isa, op, x.as_ptr(), v, swapped, y.as_mut_ptr(), y.len());
}

/// As [`binary_columns`] of `y` itself.
///
/// # Panics
///
/// When `y` does not divide into so many rows, or the processor has not `isa`.
pub fn binary_columns_in_place(isa: Isa, op: Binary, y: &mut [f32], v: &[f32], swapped: bool) {
    let (to, len) = (y.as_mut_ptr(), y.len());
    columns(isa, op, to, v, swapped, to, len);
}

/// Floats of a buffer on the stack in which short vectors are repeated.
const BUFFER: usize = 256;

/// There are `len` floats from `from` and `to` on.
fn rows(
    isa: Isa,
    op: Binary,
    from: *const f32,
    v: &[f32],
    swapped: bool,
    to: *mut f32,
    len: usize,
) {
    if len == 0 {
        return;
    }
    let n = v.len();
    assert!(n > 0 && len.is_multiple_of(n), "{len} floats in rows of {n}");
    // A row of few floats fills no vector: many of them at once do.
    let mut buffer = [0.0; BUFFER];
    let times = if n < 4 * WIDTH { BUFFER / n } else { 1 };
    let v = if times == 1 || len == n {
        v
    } else {
        let whole = n * times;
        for (i, place) in buffer[..whole].chunks_exact_mut(n).enumerate() {
            if i * n < len {
                place.copy_from_slice(v);
            }
        }
        &buffer[..whole]
    };
    let (x, v, row) = (Side::new(from, v.len(), 1), Side::new(v.as_ptr(), 0, 1), v.len());
    run(isa, op, Job::new(x, v, swapped, row, to, len));
}

/// There are `len` floats from `from` and `to` on.
fn columns(
    isa: Isa,
    op: Binary,
    from: *const f32,
    v: &[f32],
    swapped: bool,
    to: *mut f32,
    len: usize,
) {
    if len == 0 {
        return;
    }
    assert!(!v.is_empty() && len.is_multiple_of(v.len()), "{len} floats in {} rows", v.len());
    let n = len / v.len();
    if n == 1 {
        let (x, v) = (Side::new(from, len, 1), Side::new(v.as_ptr(), len, 1));
        run(isa, op, Job::new(x, v, swapped, len, to, len));
    } else if n >= WIDTH {
        let (x, v) = (Side::new(from, n, 1), Side::new(v.as_ptr(), 1, 0));
        run(isa, op, Job::new(x, v, swapped, n, to, len));
    } else {
        let mut buffer = [0.0; BUFFER];
        let most = BUFFER / n;
        for (i, some) in v.chunks(most).enumerate() {
            for (place, v) in buffer.chunks_exact_mut(n).zip(some) {
                place.fill(*v);
            }
            let (at, part) = (i * most * n, some.len() * n);
            // Within, as `some` is within `v`.
            let (from, to) = (from.wrapping_add(at), to.wrapping_add(at));
            let (x, v) = (Side::new(from, part, 1), Side::new(buffer.as_ptr(), part, 1));
            run(isa, op, Job::new(x, v, swapped, part, to, part));
        }
    }
}

/// Where one side of a job is read: row r begins `r * row` floats on; with a
/// step of 0, its first float is the same for the row.
#[derive(Clone, Copy)]
struct Side<'a> {
    from: *const f32,
    row: usize,
    step: usize,
    of: PhantomData<&'a [f32]>,
}

impl Side<'_> {
    fn new<'a>(from: *const f32, row: usize, step: usize) -> Side<'a> {
        Side { from, row, step, of: PhantomData }
    }

    /// Where row `r` is read: in `line`, when it is one float.
    ///
    /// # Safety
    ///
    /// There is such a row.
    #[inline(always)]
    unsafe fn row<V: Lanes>(self, r: usize, line: &mut [f32; WIDTH]) -> *const f32 {
        // SAFETY: the row is there, by the contract; `line` has sixteen floats.
        unsafe {
            let from = self.from.add(r * self.row);
            if self.step == 1 {
                return from;
            }
            V::splat(*from).store(line.as_mut_ptr());
            line.as_ptr()
        }
    }
}

/// `len` floats are written from `to` on, in rows of `n`; the last may be short.
struct Job<'a> {
    a: Side<'a>,
    b: Side<'a>,
    n: usize,
    to: *mut f32,
    len: usize,
}

impl<'a> Job<'a> {
    /// The sides are there for all rows, and what is written may only be read at
    /// the very same place.
    fn new(a: Side<'a>, b: Side<'a>, swap: bool, n: usize, to: *mut f32, len: usize) -> Job<'a> {
        let (a, b) = if swap { (b, a) } else { (a, b) };
        Job { a, b, n, to, len }
    }

    #[inline(always)]
    fn each<V: Lanes>(self, f: impl Two) {
        let (mut line_a, mut line_b) = ([0.0; WIDTH], [0.0; WIDTH]);
        let Job { a, b, n, to, len } = self;
        let mut begin = 0;
        let mut r = 0;
        while begin < len {
            // SAFETY: as the job's maker saw to; a side that is one float for a
            // row is read from its sixteen.
            unsafe {
                let from_a = a.row::<V>(r, &mut line_a);
                let from_b = b.row::<V>(r, &mut line_b);
                let to = to.add(begin);
                let n = n.min(len - begin);
                let mut at = 0;
                while at + WIDTH <= n {
                    let x = V::load(from_a.add(at * a.step));
                    let y = V::load(from_b.add(at * b.step));
                    f.of(x, y).store(to.add(at));
                    at += WIDTH;
                }
                if at < n {
                    let x = V::load_some(from_a.add(at * a.step), n - at, 1.0);
                    let y = V::load_some(from_b.add(at * b.step), n - at, 1.0);
                    f.of(x, y).store_some(to.add(at), n - at);
                }
            }
            begin += n;
            r += 1;
        }
    }
}

for_isa! { fn run(op: Binary, job: Job<'_>) = kernel; }

#[inline(always)]
fn kernel<V: Lanes>(op: Binary, job: Job<'_>) {
    match op {
        Binary::Add => job.each::<V>(Add),
        Binary::Sub => job.each::<V>(Sub),
        Binary::Mul => job.each::<V>(Mul),
        Binary::Div => job.each::<V>(Div),
        Binary::Max => job.each::<V>(Max),
        Binary::Min => job.each::<V>(Min),
        Binary::PRelu => job.each::<V>(PRelu),
    }
}

/// A function of two lanes.
trait Two: Copy {
    fn of<V: Lanes>(self, x: V, y: V) -> V;
}

macro_rules! twos {
    ($($name:ident $x:ident, $y:ident => $value:expr;)+) => {$(
        #[derive(Clone, Copy)]
        struct $name;

        impl Two for $name {
            #[inline(always)]
            fn of<V: Lanes>(self, $x: V, $y: V) -> V {
                $value
            }
        }
    )+};
}

twos! {
    Add x, y => x.add(y);
    Sub x, y => x.sub(y);
    Mul x, y => x.mul(y);
    Div x, y => x.div(y);
    Max x, y => x.if_nan(x, x.max(y));
    Min x, y => x.if_nan(x, x.min(y));
    PRelu x, y => x.if_less(V::splat(0.0), x.mul(y), x);
}

#[cfg(test)]
mod tests {
    use super::super::testing::{SIZES, same, same_all, strange};
    use super::*;

    const ALL: [Binary; 7] = [
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Div,
        Binary::Max,
        Binary::Min,
        Binary::PRelu,
    ];

    fn reference(op: Binary, x: f32, y: f32) -> f32 {
        match op {
            Binary::Add => x + y,
            Binary::Sub => x - y,
            Binary::Mul => x * y,
            Binary::Div => x / y,
            Binary::Max if x.is_nan() || x > y => x,
            Binary::Min if x.is_nan() || x < y => x,
            Binary::Max | Binary::Min => y,
            Binary::PRelu if x < 0.0 => x * y,
            Binary::PRelu => x,
        }
    }

    /// All of `f(i)`, the sides swapped or not.
    fn expected(op: Binary, n: usize, swap: bool, f: impl Fn(usize) -> (f32, f32)) -> Vec<f32> {
        let one = |(x, y)| if swap { reference(op, y, x) } else { reference(op, x, y) };
        (0..n).map(|i| one(f(i))).collect()
    }

    #[test]
    fn slices_and_scalars() {
        for op in ALL {
            for n in SIZES.iter().copied() {
                let (x, z) = (strange(n, 3), strange(n, 5));
                let of = |a, b, swap| {
                    same_all(|isa| {
                        let mut y = vec![7.0; n + 1];
                        let (a, b) = if swap { (b, a) } else { (a, b) };
                        binary(isa, op, a, b, &mut y[..n]);
                        assert_eq!(y.pop(), Some(7.0), "past the end");
                        y
                    })
                };
                let in_place = |b, swap| {
                    same_all(|isa| {
                        let mut y = x.clone();
                        binary_in_place(isa, op, &mut y, b, swap);
                        y
                    })
                };
                let (xs, zs, one) = (Operand::Slice(&x), Operand::Slice(&z), Operand::Scalar(0.3));
                for swap in [false, true] {
                    let want = expected(op, n, swap, |i| (x[i], z[i]));
                    same(&of(xs, zs, swap), &want, "slices");
                    same(&in_place(zs, swap), &want, "slices in place");
                    let want = expected(op, n, swap, |i| (x[i], 0.3));
                    same(&of(xs, one, swap), &want, "a scalar");
                    same(&in_place(one, swap), &want, "a scalar in place");
                }
                let want = expected(op, n, false, |_| (-2.0, 0.3));
                same(&of(Operand::Scalar(-2.0), one, false), &want, "two scalars");
            }
        }
    }

    #[test]
    fn rows_and_columns() {
        for (op, n, count, swap) in ALL.into_iter().flat_map(|op| {
            let sizes = SIZES.iter().flat_map(|n| [0, 1, 2, 3, 37, 130].map(|count| (*n, count)));
            sizes.flat_map(move |(n, count)| [(op, n, count, false), (op, n, count, true)])
        }) {
            if n == 0 {
                continue;
            }
            let (x, row, column) = (strange(n * count, 3), strange(n, 4), strange(count, 5));
            let what = format!("{op:?} of {count} rows of {n}");
            let all = |v: &[f32], apart: Apart, place: InPlace| {
                let y = same_all(|isa| {
                    let mut y = vec![7.0; x.len()];
                    apart(isa, op, &x, v, swap, &mut y);
                    y
                });
                let z = same_all(|isa| {
                    let mut z = x.clone();
                    place(isa, op, &mut z, v, swap);
                    z
                });
                same(&y, &z, &what);
                y
            };
            let want = expected(op, n * count, swap, |i| (x[i], row[i % n]));
            same(&all(&row, binary_rows, binary_rows_in_place), &want, &what);
            let want = expected(op, n * count, swap, |i| (x[i], column[i / n]));
            same(&all(&column, binary_columns, binary_columns_in_place), &want, &what);
        }
    }

    type Apart = fn(Isa, Binary, &[f32], &[f32], bool, &mut [f32]);
    type InPlace = fn(Isa, Binary, &mut [f32], &[f32], bool);

    #[test]
    #[should_panic(expected = "in rows of 3")]
    fn a_part_of_a_row_is_refused() {
        binary_rows_in_place(Isa::Scalar, Binary::Add, &mut [0.0; 7], &[0.0; 3], false);
    }
}
