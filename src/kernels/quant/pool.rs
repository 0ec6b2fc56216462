//! The largest byte of each channel in a window, channels last.

use crate::kernels::window::{Axis, axes, floats};

/// A pool over two axes; pairs are of rows and columns.
#[derive(Debug, Clone, Copy)]
pub struct QPool<'a> {
    /// The image: rows of columns of channels.
    pub x: &'a [u8],
    /// Rows and columns of `x`.
    pub from: [usize; 2],
    /// Rows and columns that are written.
    pub to: [usize; 2],
    /// Channels of both.
    pub channels: usize,
    /// Taps.
    pub kernel: [usize; 2],
    /// From one window to the next one.
    pub stride: [usize; 2],
    /// From one tap to the next one.
    pub dilation: [usize; 2],
    /// How far before the image the first window begins.
    pub pad: [usize; 2],
}

impl QPool<'_> {
    /// Writes the largest of what each window has of the image; 0 where it has nothing.
    /// Every instruction set gives the same.
    ///
    /// # Panics
    ///
    /// When a slice has another length than it says, or a stride or dilation is 0.
    pub fn run(self, y: &mut [u8]) {
        let QPool { x, from, to, channels, .. } = self;
        assert_eq!((x.len(), y.len()), (floats(from, channels), floats(to, channels)), "bytes");
        let [rows, columns] = axes!(self);
        if y.is_empty() {
            return;
        }
        for (window, y) in y.chunks_exact_mut(channels).enumerate() {
            let (row, column) = (window / to[1], window % to[1]);
            y.fill(0);
            for i in rows.taps(row) {
                let line = rows.place(row, i) * from[1];
                for j in columns.taps(column) {
                    let at = line + columns.place(column, j);
                    largest(y, &x[at * channels..][..channels]);
                }
            }
        }
    }
}

/// The larger of each two bytes.
#[inline]
fn largest(y: &mut [u8], x: &[u8]) {
    let (y, y_rest) = y.as_chunks_mut::<16>();
    let (x, x_rest) = x.as_chunks::<16>();
    for (y, x) in y.iter_mut().zip(x) {
        larger(y, x);
    }
    y_rest.iter_mut().zip(x_rest).for_each(|(y, x)| *y = (*y).max(*x));
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn larger(y: &mut [u8; 16], x: &[u8; 16]) {
    use std::arch::x86_64::*;
    // SAFETY: sixteen bytes of each; every x86-64 has SSE2.
    unsafe {
        let to = y.as_mut_ptr().cast();
        let both = _mm_max_epu8(_mm_loadu_si128(to), _mm_loadu_si128(x.as_ptr().cast()));
        _mm_storeu_si128(to, both);
    }
}

#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
#[inline(always)]
fn larger(y: &mut [u8; 16], x: &[u8; 16]) {
    use std::arch::aarch64::*;
    // SAFETY: sixteen bytes of each; these AArch64 have NEON.
    unsafe {
        let both = vmaxq_u8(vld1q_u8(y.as_ptr()), vld1q_u8(x.as_ptr()));
        vst1q_u8(y.as_mut_ptr(), both);
    }
}

#[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon"))))]
fn larger(y: &mut [u8; 16], x: &[u8; 16]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y = (*y).max(*x));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_a_window_is_that_of_the_image() {
        for (channels, kernel, stride, pad) in [
            (1, [3, 3], [2, 2], [1, 1]),
            (20, [2, 3], [1, 2], [0, 1]),
            (64, [1, 1], [3, 1], [0, 0]),
        ] {
            let from = [6, 7];
            let to = [0, 1].map(|i: usize| (from[i] + 2 * pad[i] - kernel[i]) / stride[i] + 1);
            let x: Vec<u8> = (0..42 * channels).map(|i| (i * 97 % 251) as u8).collect();
            let mut y = vec![9; to[0] * to[1] * channels];
            let dilation = [1, 1];
            QPool { x: &x, from, to, channels, kernel, stride, dilation, pad }.run(&mut y);
            for (i, y) in y.iter().enumerate() {
                let (window, c) = (i / channels, i % channels);
                let taps = (0..kernel[0]).flat_map(|a| (0..kernel[1]).map(move |b| [a, b]));
                let at = |tap: [usize; 2]| {
                    let row = (window / to[1] * stride[0] + tap[0]).checked_sub(pad[0])?;
                    let column = (window % to[1] * stride[1] + tap[1]).checked_sub(pad[1])?;
                    let inside = row < from[0] && column < from[1];
                    inside.then(|| x[(row * from[1] + column) * channels + c])
                };
                assert_eq!(Some(*y), taps.filter_map(at).max());
            }
        }
    }
}
