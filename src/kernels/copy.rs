//! Copies in another order.

/// The most axes that [`permute`] takes.
pub const MOST_AXES: usize = 8;

/// Floats that a tile has along each side: a cache line.
const TILE: usize = 16;

/// Floats of a page: lines so far apart share their place in the cache.
const PAGE: usize = 1024;

/// An axis of what is copied: its length, and how far apart its elements are in
/// what is read and in what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Axis {
    len: usize,
    from: usize,
    to: usize,
}

/// Axes, the last the innermost.
#[derive(Debug, Clone, Copy)]
struct Axes {
    axes: [Axis; MOST_AXES],
    count: usize,
}

impl Axes {
    fn new() -> Axes {
        Axes { axes: [Axis { len: 1, from: 0, to: 0 }; MOST_AXES], count: 0 }
    }

    fn push(&mut self, axis: Axis) {
        self.axes[self.count] = axis;
        self.count += 1;
    }

    fn as_slice(&self) -> &[Axis] {
        &self.axes[..self.count]
    }

    /// Without the one at `index`.
    fn without(mut self, index: usize) -> Axes {
        self.axes.copy_within(index + 1..self.count, index);
        self.count -= 1;
        self
    }
}

/// Copies `x`, which has `dims`, to `y`, whose axis i is axis `axes[i]` of `x`.
///
/// # Panics
///
/// When there are more than [`MOST_AXES`], or `axes` is not all of them in some
/// order, or a slice has another length than `dims` say.
pub fn permute(dims: &[usize], axes: &[usize], x: &[f32], y: &mut [f32]) {
    let all = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    let fits = all == Some(x.len()) && all == Some(y.len());
    assert!(fits, "{dims:?} of {} floats to {}", x.len(), y.len());
    let rank = dims.len();
    assert!(rank <= MOST_AXES && axes.len() == rank, "{axes:?} of {rank} axes");
    let mut seen = [false; MOST_AXES];
    for axis in axes {
        assert!(*axis < rank && !seen[*axis], "{axes:?} is no order of {rank} axes");
        seen[*axis] = true;
    }
    if x.is_empty() {
        return;
    }
    let axes = merged(dims, axes);
    let (x, y) = (x.as_ptr(), y.as_mut_ptr());
    let Some((last, outer)) = axes.as_slice().split_last() else {
        // SAFETY: there is one float.
        return unsafe { *y = *x };
    };
    if last.from == 1 {
        return walk(outer, 0, 0, &mut |from, to| {
            // SAFETY: all offsets are within the slices, which are apart.
            unsafe { run(x.add(from), y.add(to), last.len) }
        });
    }
    // The axis whose elements are side by side in x; there is one.
    let index = outer.iter().position(|axis| axis.from == 1).unwrap_or(0);
    let (across, last) = (outer[index], *last);
    let others = axes.without(index).without(axes.count - 2);
    walk(others.as_slice(), 0, 0, &mut |from, to| {
        // SAFETY: as above.
        unsafe { transpose(x.add(from), y.add(to), across, last) }
    });
}

/// The axes of y that are not 1 long; those that x has in the same order are one.
fn merged(dims: &[usize], axes: &[usize]) -> Axes {
    let mut merged = Axes::new();
    // From the innermost of y on.
    let mut to = 1;
    for axis in axes.iter().rev() {
        let len = dims[*axis];
        let from = dims[axis + 1..].iter().product();
        let inner = &mut merged.axes[merged.count.saturating_sub(1)];
        if len == 1 {
            continue;
        } else if merged.count > 0 && from == inner.len * inner.from {
            inner.len *= len;
        } else {
            merged.push(Axis { len, from, to });
        }
        to *= len;
    }
    merged.axes[..merged.count].reverse();
    merged
}

/// Calls `f` with every offset into what is read and what is written.
fn walk(axes: &[Axis], from: usize, to: usize, f: &mut impl FnMut(usize, usize)) {
    match axes {
        [] => f(from, to),
        [axis] => (0..axis.len).for_each(|i| f(from + i * axis.from, to + i * axis.to)),
        [axis, inner @ ..] => {
            for i in 0..axis.len {
                walk(inner, from + i * axis.from, to + i * axis.to, f);
            }
        }
    }
}

/// Copies `len` floats.
///
/// # Safety
///
/// They are there, and apart.
#[inline(always)]
unsafe fn run(x: *const f32, y: *mut f32, len: usize) {
    // SAFETY: by the contract.
    unsafe {
        if len >= 32 {
            return y.copy_from_nonoverlapping(x, len);
        }
        let mut at = 0;
        while at + 4 <= len {
            copy::<4>(x.add(at), y.add(at));
            at += 4;
        }
        if len & 2 != 0 {
            copy::<2>(x.add(at), y.add(at));
        }
        if len & 1 != 0 {
            copy::<1>(x.add(len - 1), y.add(len - 1));
        }
    }
}

/// Copies `N` floats.
///
/// # Safety
///
/// They are there, and apart.
#[inline(always)]
unsafe fn copy<const N: usize>(x: *const f32, y: *mut f32) {
    // SAFETY: by the contract.
    unsafe { y.cast::<[f32; N]>().write_unaligned(x.cast::<[f32; N]>().read_unaligned()) };
}

/// Copies a matrix whose axis `across` is side by side in x, and `last` in y.
///
/// # Safety
///
/// All of it is there, and apart.
unsafe fn transpose(x: *const f32, y: *mut f32, across: Axis, last: Axis) {
    if across.len < 4 {
        // SAFETY: as the contract says.
        return unsafe { narrow(x, y, across, last) };
    }
    if last.len < 4 {
        // SAFETY: as above.
        return unsafe { narrow(x, y, last, across) };
    }
    for a in (0..across.len).step_by(TILE) {
        let rows = TILE.min(across.len - a);
        for b in (0..last.len).step_by(TILE) {
            let columns = TILE.min(last.len - b);
            // SAFETY: a part of what the contract says.
            unsafe {
                let (x, y) = (x.add(b * last.from + a), y.add(a * across.to + b));
                if rows == TILE && columns == TILE && last.from.is_multiple_of(PAGE) {
                    // The cache holds but few lines that are so far apart: each
                    // is read at once.
                    let mut lines = [0.0; TILE * TILE];
                    for j in 0..TILE {
                        copy::<TILE>(x.add(j * last.from), lines.as_mut_ptr().add(j * TILE));
                    }
                    tile(lines.as_ptr(), y, TILE, across.to, TILE, TILE);
                } else {
                    tile(x, y, last.from, across.to, rows, columns);
                }
            }
        }
    }
}

/// Copies a matrix that is `few` by `many`.
///
/// # Safety
///
/// All of it is there, and apart.
unsafe fn narrow(x: *const f32, y: *mut f32, few: Axis, many: Axis) {
    for i in 0..few.len {
        for j in 0..many.len {
            let (from, to) = (i * few.from + j * many.from, i * few.to + j * many.to);
            // SAFETY: by the contract.
            unsafe { *y.add(to) = *x.add(from) };
        }
    }
}

/// Copies `rows` by `columns` of y, at most [`TILE`] each: rows are `down` apart
/// in y, columns `right` in x.
///
/// # Safety
///
/// All of it is there, and apart.
unsafe fn tile(x: *const f32, y: *mut f32, right: usize, down: usize, rows: usize, columns: usize) {
    let (whole_rows, whole_columns) = (rows & !3, columns & !3);
    // SAFETY: by the contract.
    unsafe {
        for i in (0..whole_rows).step_by(4) {
            for j in (0..whole_columns).step_by(4) {
                four(x.add(j * right + i), y.add(i * down + j), right, down);
            }
        }
        for i in 0..rows {
            let first = if i < whole_rows { whole_columns } else { 0 };
            for j in first..columns {
                *y.add(i * down + j) = *x.add(j * right + i);
            }
        }
    }
}

/// Copies four by four.
///
/// # Safety
///
/// As [`tile`].
#[inline(always)]
unsafe fn four(x: *const f32, y: *mut f32, right: usize, down: usize) {
    // SAFETY: by the contract; these AArch64 have NEON.
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    unsafe {
        use std::arch::aarch64::*;
        // Pairs of two rows, then both halves of pairs.
        let two = |i: usize| {
            let (upper, lower) = (vld1q_f32(x.add(i * right)), vld1q_f32(x.add((i + 1) * right)));
            let (even, odd) = (vtrn1q_f32(upper, lower), vtrn2q_f32(upper, lower));
            (vreinterpretq_f64_f32(even), vreinterpretq_f64_f32(odd))
        };
        let (first, second) = (two(0), two(2));
        let put = |j: usize, v| vst1q_f32(y.add(j * down), vreinterpretq_f32_f64(v));
        put(0, vtrn1q_f64(first.0, second.0));
        put(1, vtrn1q_f64(first.1, second.1));
        put(2, vtrn2q_f64(first.0, second.0));
        put(3, vtrn2q_f64(first.1, second.1));
    }
    // SAFETY: by the contract; every x86-64 has SSE.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::*;
        let mut a = _mm_loadu_ps(x);
        let mut b = _mm_loadu_ps(x.add(right));
        let mut c = _mm_loadu_ps(x.add(2 * right));
        let mut d = _mm_loadu_ps(x.add(3 * right));
        _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
        _mm_storeu_ps(y, a);
        _mm_storeu_ps(y.add(down), b);
        _mm_storeu_ps(y.add(2 * down), c);
        _mm_storeu_ps(y.add(3 * down), d);
    }
    #[cfg(not(any(
        target_arch = "x86_64",
        all(target_arch = "aarch64", target_feature = "neon")
    )))]
    for i in 0..4 {
        for j in 0..4 {
            // SAFETY: by the contract.
            unsafe { *y.add(i * down + j) = *x.add(j * right + i) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Element by element.
    fn reference(dims: &[usize], axes: &[usize], x: &[f32]) -> Vec<f32> {
        let mut out = vec![];
        let mut index = vec![0; dims.len()];
        for _ in 0..x.len() {
            let mut from = vec![0; dims.len()];
            axes.iter().enumerate().for_each(|(i, axis)| from[*axis] = index[i]);
            out.push(x[from.iter().zip(dims).fold(0, |at, (i, d)| at * d + i)]);
            for i in (0..dims.len()).rev() {
                index[i] += 1;
                if index[i] < dims[axes[i]] {
                    break;
                }
                index[i] = 0;
            }
        }
        out
    }

    fn check(dims: &[usize], axes: &[usize]) {
        let x: Vec<f32> = (0..dims.iter().product::<usize>()).map(|i| i as f32).collect();
        let mut y = vec![-1.0; x.len()];
        permute(dims, axes, &x, &mut y);
        assert_eq!(y, reference(dims, axes, &x), "{dims:?} {axes:?}");
    }

    /// All orders of what is left, after `chosen`.
    fn orders(rank: usize, chosen: &mut Vec<usize>, f: &mut impl FnMut(&[usize])) {
        if chosen.len() == rank {
            return f(chosen);
        }
        for axis in 0..rank {
            if !chosen.contains(&axis) {
                chosen.push(axis);
                orders(rank, chosen, f);
                chosen.pop();
            }
        }
    }

    #[test]
    fn every_order_of_every_shape() {
        let shapes: &[&[usize]] = &[
            &[],
            &[7],
            &[33, 18],
            &[3, 40],
            &[17, 1024],
            &[16, 64],
            &[2, 17, 20],
            &[5, 1, 4],
            &[3, 0, 2],
            &[2, 5, 6, 19],
            &[3, 1, 21, 2, 5],
            &[2, 3, 2, 3, 2, 1, 2, 2],
        ];
        for dims in shapes {
            if dims.len() == 8 {
                check(dims, &[7, 0, 6, 1, 5, 2, 4, 3]);
                check(dims, &[2, 3, 4, 0, 1, 6, 7, 5]);
                continue;
            }
            orders(dims.len(), &mut vec![], &mut |axes| check(dims, axes));
        }
    }

    #[test]
    fn axes_that_stay_together_are_one() {
        let axes = merged(&[2, 3, 4, 5], &[2, 3, 0, 1]);
        let want = [Axis { len: 20, from: 1, to: 6 }, Axis { len: 6, from: 20, to: 1 }];
        assert_eq!(axes.as_slice(), want);
        assert_eq!(merged(&[2, 1, 4], &[0, 2, 1]).count, 1);
        assert_eq!(merged(&[1, 1], &[1, 0]).count, 0);
    }

    #[test]
    #[should_panic(expected = "no order")]
    fn an_axis_twice_is_refused() {
        permute(&[2, 2], &[1, 1], &[0.0; 4], &mut [0.0; 4]);
    }
}
