//! Floats that a kernel reads and writes, sixteen at a time.

use super::lanes::{Lanes, WIDTH};
use std::marker::PhantomData;

/// Floats that are read and as many that are written: others, or the same ones
/// in place. What is written at a place is what was read there, or later.
pub(super) struct Stream<'a> {
    from: *const f32,
    to: *mut f32,
    len: usize,
    of: PhantomData<&'a mut [f32]>,
}

/// The sixteen of `x` from `at` on; what is past the end is `or`.
#[inline(always)]
pub(super) fn get<V: Lanes>(x: &[f32], at: usize, or: f32) -> V {
    let (from, left) = (x.as_ptr().wrapping_add(at), x.len().saturating_sub(at));
    // SAFETY: so many are left.
    unsafe { if left >= WIDTH { V::load(from) } else { V::load_some(from, left, or) } }
}

/// A sum of many floats, or what is like one.
pub(super) trait Fold: Copy {
    /// The sum of none.
    const NONE: f32;

    /// What stands where there is no float, and adds nothing.
    #[inline(always)]
    fn blank(self) -> f32 {
        Self::NONE
    }
    /// `sum` and `x`.
    fn step<V: Lanes>(self, sum: V, x: V) -> V;
    /// One sum and another.
    #[inline(always)]
    fn join<V: Lanes>(self, sum: V, other: V) -> V {
        sum.add(other)
    }
    /// All lanes: halves are joined with halves.
    #[inline(always)]
    fn lanes<V: Lanes>(self, sum: V) -> f32 {
        sum.sum()
    }
}

/// The sum of all of `x`: sixteen at a time to four sums in turn, what is past
/// the last 64 to the first; then of the four, and of the lanes.
#[inline(always)]
pub(super) fn fold<V: Lanes, F: Fold>(x: &[f32], f: F) -> f32 {
    let none = V::splat(F::NONE);
    let (mut a, mut b, mut c, mut d) = (none, none, none, none);
    let mut at = 0;
    while at + 4 * WIDTH <= x.len() {
        // SAFETY: there are 64 more.
        unsafe {
            a = f.step(a, sixteen(x, at));
            b = f.step(b, sixteen(x, at + WIDTH));
            c = f.step(c, sixteen(x, at + 2 * WIDTH));
            d = f.step(d, sixteen(x, at + 3 * WIDTH));
        }
        at += 4 * WIDTH;
    }
    while at < x.len() {
        a = f.step(a, get(x, at, f.blank()));
        at += WIDTH;
    }
    f.lanes(f.join(f.join(a, b), f.join(c, d)))
}

/// The sum of all of x.
#[derive(Clone, Copy)]
pub(super) struct Sum;

impl Fold for Sum {
    const NONE: f32 = 0.0;
    #[inline(always)]
    fn step<V: Lanes>(self, sum: V, x: V) -> V {
        sum.add(x)
    }
}

/// The sixteen of `x` from `at` on.
///
/// # Safety
///
/// They are there.
#[inline(always)]
pub(super) unsafe fn sixteen<V: Lanes>(x: &[f32], at: usize) -> V {
    // SAFETY: by the contract.
    unsafe { V::load(x.as_ptr().add(at)) }
}

/// A function of lanes.
pub(super) trait Map: Copy {
    fn of<V: Lanes>(self, x: V) -> V;
}

impl<'a> Stream<'a> {
    /// Reads `x`, writes `y`.
    ///
    /// # Panics
    ///
    /// When they are not of one length.
    pub(super) fn new(x: &'a [f32], y: &'a mut [f32]) -> Stream<'a> {
        assert!(x.len() == y.len(), "{} floats in, {} out", x.len(), y.len());
        Stream { from: x.as_ptr(), to: y.as_mut_ptr(), len: x.len(), of: PhantomData }
    }

    /// Reads and writes `y`.
    pub(super) fn in_place(y: &'a mut [f32]) -> Stream<'a> {
        let to = y.as_mut_ptr();
        Stream { from: to, to, len: y.len(), of: PhantomData }
    }

    /// The same, which are rows of `n`.
    ///
    /// # Panics
    ///
    /// When they are not.
    pub(super) fn rows(self, n: usize) -> Stream<'a> {
        let len = self.len;
        assert!(len == 0 || n > 0 && len.is_multiple_of(n), "{len} floats in rows of {n}");
        self
    }

    /// How many are read, and written.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Writes what it reads.
    #[inline(always)]
    pub(super) fn again(&mut self) -> Stream<'_> {
        Stream { from: self.to, to: self.to, len: self.len, of: PhantomData }
    }

    /// The `n` from `at` on, or as many as there are.
    #[inline(always)]
    pub(super) fn part(&mut self, at: usize, n: usize) -> Stream<'_> {
        let at = at.min(self.len);
        let len = n.min(self.len - at);
        // SAFETY: `at` is within or at the end.
        unsafe { Stream { from: self.from.add(at), to: self.to.add(at), len, of: PhantomData } }
    }

    /// What is read.
    #[inline(always)]
    pub(super) fn read(&self) -> &[f32] {
        // SAFETY: so many are there; who writes borrows the stream alone.
        unsafe { std::slice::from_raw_parts(self.from, self.len) }
    }

    /// The sixteen from `at` on; what is past the end is `or`.
    #[inline(always)]
    pub(super) fn get<V: Lanes>(&self, at: usize, or: f32) -> V {
        get(self.read(), at, or)
    }

    /// Writes the sixteen from `at` on.
    ///
    /// # Safety
    ///
    /// They are there.
    #[inline(always)]
    pub(super) unsafe fn put_sixteen<V: Lanes>(&mut self, at: usize, v: V) {
        // SAFETY: by the contract.
        unsafe { v.store(self.to.add(at)) };
    }

    /// Writes the sixteen from `at` on, or as many as are left.
    #[inline(always)]
    pub(super) fn put<V: Lanes>(&mut self, at: usize, v: V) {
        let (to, left) = (self.to.wrapping_add(at), self.len.saturating_sub(at));
        // SAFETY: so many are left.
        unsafe { if left >= WIDTH { v.store(to) } else { v.store_some(to, left) } }
    }

    /// Applies `f` to each.
    #[inline(always)]
    pub(super) fn map<V: Lanes>(&mut self, f: impl Map) {
        let mut at = 0;
        while at < self.len {
            let x = self.get::<V>(at, 0.0);
            self.put(at, f.of(x));
            at += WIDTH;
        }
    }
}
