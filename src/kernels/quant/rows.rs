//! From floats to bytes and back, element by element.

use super::finish::store_quantized;
use crate::kernels::Isa;
use crate::kernels::lanes::{Lanes, WIDTH, for_isa};
use serde::{Deserialize, Serialize};

/// What a byte stands for: (q - zero) · scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// What one more is worth.
    pub scale: f32,
    /// The byte that stands for zero.
    pub zero: u8,
}

impl Scale {
    /// The floats that sixteen bytes stand for.
    ///
    /// # Safety
    ///
    /// There are `count` bytes, sixteen at most.
    #[inline(always)]
    unsafe fn load<V: Lanes>(self, from: *const u8, count: usize) -> V {
        let mut some = [0; WIDTH];
        // SAFETY: the contract.
        let q = unsafe {
            if count == WIDTH {
                V::load_bytes(from)
            } else {
                std::ptr::copy_nonoverlapping(from, some.as_mut_ptr(), count.min(WIDTH));
                V::load_bytes(some.as_ptr())
            }
        };
        q.sub(V::splat(f32::from(self.zero))).mul(V::splat(self.scale))
    }
}

for_isa! {
    /// Writes the nearest integer of x / scale, ties to even, plus zero, from 0 to 255;
    /// NaN is as low as can be.
    ///
    /// # Panics
    ///
    /// When the slices are not of one length, or the processor has not `isa`.
    pub fn quantize(x: &[f32], of: Scale, y: &mut [u8]) = quantize_kernel;
}

#[inline(always)]
fn quantize_kernel<V: Lanes>(x: &[f32], of: Scale, y: &mut [u8]) {
    assert_eq!(x.len(), y.len(), "floats, and bytes");
    let (scale, zero) = (V::splat(of.scale), V::splat(f32::from(of.zero)));
    for (x, y) in x.chunks(WIDTH).zip(y.chunks_mut(WIDTH)) {
        // SAFETY: as many as there are.
        unsafe {
            let v = match x.len() {
                WIDTH => V::load(x.as_ptr()),
                count => V::load_some(x.as_ptr(), count, 0.0),
            };
            store_quantized(v.div(scale), zero, y.as_mut_ptr(), y.len());
        }
    }
}

for_isa! {
    /// Writes (x - zero) · scale.
    ///
    /// # Panics
    ///
    /// When the slices are not of one length, or the processor has not `isa`.
    pub fn dequantize(x: &[u8], of: Scale, y: &mut [f32]) = dequantize_kernel;
}

#[inline(always)]
fn dequantize_kernel<V: Lanes>(x: &[u8], of: Scale, y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "bytes, and floats");
    for (x, y) in x.chunks(WIDTH).zip(y.chunks_mut(WIDTH)) {
        // SAFETY: as many as there are.
        unsafe {
            let v: V = of.load(x.as_ptr(), x.len());
            match y.len() {
                WIDTH => v.store(y.as_mut_ptr()),
                count => v.store_some(y.as_mut_ptr(), count),
            }
        }
    }
}

for_isa! {
    /// Writes integers as the nearest floats.
    ///
    /// # Panics
    ///
    /// When the slices are not of one length, or the processor has not `isa`.
    pub fn to_floats(x: &[i32], y: &mut [f32]) = to_floats_kernel;
}

#[inline(always)]
fn to_floats_kernel<V: Lanes>(x: &[i32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "integers, and floats");
    let (x, x_rest) = x.as_chunks::<WIDTH>();
    let (y, y_rest) = y.as_chunks_mut::<WIDTH>();
    for (x, y) in x.iter().zip(y) {
        // SAFETY: sixteen of each.
        unsafe { V::load_ints(x.as_ptr()).store(y.as_mut_ptr()) };
    }
    x_rest.iter().zip(y_rest).for_each(|(x, y)| *y = *x as f32);
}

/// The sum of two values of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct QAdd {
    /// What each stands for.
    pub from: [Scale; 2],
    /// What the sum stands for.
    pub to: Scale,
}

impl QAdd {
    /// Writes the bytes of the sums.
    ///
    /// # Panics
    ///
    /// When the slices are not of one length, or the processor has not `isa`.
    pub fn run(self, isa: Isa, a: &[u8], b: &[u8], y: &mut [u8]) {
        add(isa, self, a, b, y);
    }
}

for_isa! { fn add(of: QAdd, a: &[u8], b: &[u8], y: &mut [u8]) = add_kernel; }

#[inline(always)]
fn add_kernel<V: Lanes>(of: QAdd, a: &[u8], b: &[u8], y: &mut [u8]) {
    assert!(a.len() == y.len() && b.len() == y.len(), "bytes of one length");
    let (scale, zero) = (V::splat(of.to.scale), V::splat(f32::from(of.to.zero)));
    for (i, y) in y.chunks_mut(WIDTH).enumerate() {
        let (a, b) = (&a[i * WIDTH..], &b[i * WIDTH..]);
        // SAFETY: as many as there are.
        unsafe {
            let (x, v): (V, V) =
                (of.from[0].load(a.as_ptr(), y.len()), of.from[1].load(b.as_ptr(), y.len()));
            store_quantized(x.add(v).div(scale), zero, y.as_mut_ptr(), y.len());
        }
    }
}

for_isa! { fn extremes(x: &[f32], to: &mut [f32; 2]) = extremes_kernel; }

/// The least and the most of what there is, and of zero; NaN is neither.
#[inline(always)]
fn extremes_kernel<V: Lanes>(x: &[f32], to: &mut [f32; 2]) {
    let (mut low, mut high) = (V::splat(0.0), V::splat(0.0));
    for x in x.chunks(WIDTH) {
        // SAFETY: as many as there are.
        let v = unsafe {
            match x.len() {
                WIDTH => V::load(x.as_ptr()),
                count => V::load_some(x.as_ptr(), count, 0.0),
            }
        };
        (low, high) = (v.min(low), v.max(high));
    }
    *to = [-low.neg().largest(), high.largest()];
}

/// What `DynamicQuantizeLinear` makes of these floats: their range, with zero in it, is
/// that of the bytes. Floats that are all zero have a scale of 1.
pub fn dynamic_scale(isa: Isa, x: &[f32]) -> Scale {
    let mut range = [0.0; 2];
    extremes(isa, x, &mut range);
    let [low, high] = range;
    let scale = (high - low) / 255.0;
    if scale == 0.0 {
        return Scale { scale: 1.0, zero: 0 };
    }
    // (NaN, of an infinite range, becomes 0.)
    let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0);
    Scale { scale, zero: zero as u8 }
}
