//! What becomes of sums.

use crate::kernels::gemm::Panel;
use crate::kernels::lanes::{Lanes, WIDTH};
use std::ptr;

/// What sums are written as; `ldc` apart in elements are the rows of what is written.
/// A scale is one for each column, or one for all; a bias is one for each column.
#[derive(Debug)]
pub enum QOut<'a> {
    /// As they are: the bits of i32.
    Sums(Panel<'a>),
    /// sum · scale + bias, each rounded.
    Floats {
        /// By what sums are multiplied.
        scale: &'a [f32],
        /// What is added.
        bias: Option<&'a [f32]>,
        /// Where to.
        c: Panel<'a>,
    },
    /// The same, rounded to the nearest integer, ties to even, plus `zero`, from 0 to
    /// 255.
    Bytes {
        /// By what sums are multiplied.
        scale: &'a [f32],
        /// What is added.
        bias: Option<&'a [f32]>,
        /// The byte that stands for zero.
        zero: u8,
        /// Where to.
        c: Panel<'a>,
    },
}

/// What is taken from sums where the weights' zero is another than 0: that of each
/// column times the sum of each row of A.
#[derive(Debug, Clone, Copy)]
pub struct Correction<'a> {
    /// Of each column.
    pub zeros: &'a [i32],
    /// Of each row.
    pub sums: &'a [i32],
}

impl Correction<'_> {
    /// Corrects sums of `row`, from `column` on.
    pub(super) fn apply(&self, row: usize, column: usize, sums: &mut [i32; WIDTH]) {
        let of = self.sums[row];
        for (sum, zero) in sums.iter_mut().zip(&self.zeros[column..]) {
            *sum = sum.wrapping_sub(zero.wrapping_mul(of));
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Sums,
    Floats,
    Bytes,
}

/// A [`QOut`] that has been measured.
#[derive(Clone, Copy)]
pub(super) struct Finish {
    kind: Kind,
    c: *mut f32,
    ldc: usize,
    scale: *const f32,
    /// Each column has a scale of its own.
    each: bool,
    bias: *const f32,
    zero: f32,
}

impl QOut<'_> {
    /// # Panics
    ///
    /// When a slice is shorter than `rows` of `n` need it.
    pub(super) fn measured(&mut self, rows: usize, n: usize, ldc: usize) -> Finish {
        let (kind, scale, bias, zero, c) = match self {
            QOut::Sums(c) => (Kind::Sums, &[1.0][..], None, 0, c),
            QOut::Floats { scale, bias, c } => (Kind::Floats, *scale, *bias, 0, c),
            QOut::Bytes { scale, bias, zero, c } => (Kind::Bytes, *scale, *bias, *zero, c),
        };
        match kind {
            Kind::Bytes => c.expect_bytes(rows, ldc, n),
            _ => c.expect(rows, ldc, n),
        }
        assert!(scale.len() == n || scale.len() == 1, "{} scales for {n}", scale.len());
        assert!(bias.is_none_or(|bias| bias.len() == n), "a bias of another length than {n}");
        Finish {
            kind,
            c: c.as_mut_ptr(),
            ldc,
            each: scale.len() > 1,
            scale: scale.as_ptr(),
            bias: bias.map_or(ptr::null(), <[f32]>::as_ptr),
            zero: f32::from(zero),
        }
    }
}

/// What makes bytes of the sums of `N` columns, in some order.
#[cfg(target_arch = "x86_64")]
pub(super) struct Bytes<const N: usize> {
    pub(super) scale: [f32; N],
    pub(super) bias: [f32; N],
    pub(super) has_bias: bool,
    pub(super) zero: f32,
}

// (Other processors have no kernel that writes bytes by itself.)
#[cfg(target_arch = "x86_64")]
impl Finish {
    /// What makes bytes of the sums of `count` columns from `column` on, where that is
    /// what they become; that of the `i`th at `place(i)`.
    pub(super) fn bytes<const N: usize>(
        &self,
        column: usize,
        count: usize,
        place: impl Fn(usize) -> usize,
    ) -> Option<Bytes<N>> {
        let has_bias = !self.bias.is_null();
        let mut of = Bytes { scale: [0.0; N], bias: [0.0; N], has_bias, zero: self.zero };
        for i in 0..count {
            let scale = if self.each { column + i } else { 0 };
            // SAFETY: `measured` has looked at what there is for each column.
            unsafe {
                of.scale[place(i)] = *self.scale.add(scale);
                if has_bias {
                    of.bias[place(i)] = *self.bias.add(column + i);
                }
            }
        }
        (self.kind == Kind::Bytes).then_some(of)
    }

    /// Whether sums become bytes.
    #[inline(always)]
    pub(super) fn gives_bytes(&self) -> bool {
        self.kind == Kind::Bytes
    }

    /// The scale of a column, and whether those of the next follow it.
    #[inline(always)]
    pub(super) fn scale(&self, column: usize) -> (bool, *const f32) {
        (self.each, self.scale.wrapping_add(if self.each { column } else { 0 }))
    }

    /// The biases from a column on.
    #[inline(always)]
    pub(super) fn bias(&self, column: usize) -> Option<*const f32> {
        (!self.bias.is_null()).then(|| self.bias.wrapping_add(column))
    }

    /// The byte that stands for zero.
    #[inline(always)]
    pub(super) fn zero(&self) -> f32 {
        self.zero
    }

    /// Where the byte of a column of a row goes.
    #[inline(always)]
    pub(super) fn byte(&self, row: usize, column: usize) -> *mut u8 {
        self.c.cast::<u8>().wrapping_add(row * self.ldc + column)
    }
}

impl Finish {
    /// Writes `count` sums of `row`, from `column` on.
    ///
    /// # Safety
    ///
    /// There are so many columns, and such a row; sixteen at most.
    #[inline(always)]
    pub(super) unsafe fn write<V: Lanes>(
        &self,
        row: usize,
        column: usize,
        sums: &[i32; WIDTH],
        count: usize,
    ) {
        let at = row * self.ldc + column;
        // SAFETY: the contract, and `measured` has looked at what there is.
        unsafe {
            if self.kind == Kind::Sums {
                return ptr::copy_nonoverlapping(
                    sums.as_ptr(),
                    self.c.cast::<i32>().add(at),
                    count,
                );
            }
            let of = |from: *const f32| {
                let from = from.add(column);
                if count == WIDTH { V::load(from) } else { V::load_some(from, count, 0.0) }
            };
            let scale = if self.each { of(self.scale) } else { V::splat(*self.scale) };
            let mut v = V::load_ints(sums.as_ptr()).mul(scale);
            if !self.bias.is_null() {
                v = v.add(of(self.bias));
            }
            if self.kind == Kind::Floats {
                let to = self.c.add(at);
                return if count == WIDTH { v.store(to) } else { v.store_some(to, count) };
            }
            store_quantized(v, V::splat(self.zero), self.c.cast::<u8>().add(at), count);
        }
    }
}

/// Writes the first `count` of what is `v` times the scale as bytes; NaN is as low as
/// can be.
///
/// # Safety
///
/// There are so many bytes, sixteen at most.
#[inline(always)]
pub(super) unsafe fn store_quantized<V: Lanes>(v: V, zero: V, to: *mut u8, count: usize) {
    let (low, high) = (V::splat(0.0).sub(zero), V::splat(255.0).sub(zero));
    let q = high.min(v.max(low)).round().add(zero);
    // SAFETY: the contract.
    unsafe {
        if count == WIDTH {
            return q.store_bytes(to);
        }
        let mut bytes = [0; WIDTH];
        q.store_bytes(bytes.as_mut_ptr());
        ptr::copy_nonoverlapping(bytes.as_ptr(), to, count.min(WIDTH));
    }
}
