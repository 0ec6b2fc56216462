//! Samples to floats of one channel.

use super::isa::Isa;
use super::lanes::{Lanes, WIDTH, for_isa};

/// Samples of 16 bits as floats from −1 to 1: each over 32,768, which is exact.
///
/// # Panics
///
/// When `x` and `y` are not of one length, or the processor has not `isa`.
pub fn from_shorts(isa: Isa, x: &[i16], y: &mut [f32]) {
    assert!(x.len() == y.len(), "{} samples in, {} out", x.len(), y.len());
    from_shorts_all(isa, x, y);
}

for_isa! { fn from_shorts_all(x: &[i16], y: &mut [f32]) = from_shorts_kernel; }

#[inline(always)]
fn from_shorts_kernel<V: Lanes>(x: &[i16], y: &mut [f32]) {
    let step = V::splat(1.0 / 32768.0);
    for (x, y) in x.chunks(WIDTH).zip(y.chunks_mut(WIDTH)) {
        let mut some = [0; WIDTH];
        // SAFETY: either there are sixteen samples and places, or `some` is read and as
        // many places written as there are.
        unsafe {
            if x.len() == WIDTH {
                V::load_shorts(x.as_ptr()).mul(step).store(y.as_mut_ptr());
            } else {
                some[..x.len()].copy_from_slice(x);
                V::load_shorts(some.as_ptr()).mul(step).store_some(y.as_mut_ptr(), y.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{SIZES, same, same_all};
    use super::*;

    #[test]
    fn shorts_are_exact() {
        for n in SIZES {
            let x: Vec<i16> = (0..*n)
                .map(|i| [i16::MIN, i16::MAX, -1, 0, 12345][i % 5] ^ (i / 5) as i16)
                .collect();
            let want: Vec<f32> = x.iter().map(|x| f32::from(*x) / 32768.0).collect();
            let got = same_all(|isa| {
                let mut y = vec![0.0; *n];
                from_shorts(isa, &x, &mut y);
                y
            });
            same(&got, &want, "shorts");
        }
    }
}
