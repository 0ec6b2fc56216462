//! Every instruction set against the scalar reference, and that against plain sums.

use super::*;
use crate::kernels::gemm::Pieces;
use crate::kernels::testing::{SIZES, all_isas, strange};
use crate::kernels::{Isa, as_bytes};

/// Bytes of all values, the extremes often.
fn bytes(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2654435761).wrapping_add(7);
    let one = |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        match state >> 61 {
            0 => 0,
            1 => 255,
            _ => (state >> 40) as u8,
        }
    };
    (0..count).map(one).collect()
}

fn signed(count: usize, seed: u64) -> Vec<i8> {
    bytes(count, seed).into_iter().map(|b| b as i8).collect()
}

/// What floats have, bit by bit.
fn bits(floats: &[f32]) -> Vec<u32> {
    floats.iter().map(|f| if f.is_nan() { 0x7fc0_0000 } else { f.to_bits() }).collect()
}

/// The three kinds of what `run` writes, as bits.
fn written(n: usize, m: usize, run: impl Fn(QOut<'_>)) -> Vec<u32> {
    let scales = strange(n, 3).iter().map(|s| s * 1e-3).collect::<Vec<_>>();
    let bias = strange(n, 5);
    let mut all = Vec::new();
    for (scale, bias) in [(&scales[..], Some(&bias[..])), (&[1e-3][..], None)] {
        let mut c = vec![7.0; m * n + 1];
        run(QOut::Sums((&mut c[..m * n]).into()));
        all.extend(c.iter().map(|f| f.to_bits()));
        run(QOut::Floats { scale, bias, c: (&mut c[..m * n]).into() });
        all.extend(bits(&c));
        let mut c = vec![7.0; (m * n).div_ceil(4) + 1];
        let end = c.len() - 1;
        run(QOut::Bytes { scale, bias, zero: 131, c: (&mut c[..end]).into() });
        assert_eq!(c[end], 7.0, "past the end");
        all.extend(as_bytes(&c)[..m * n].iter().map(|b| u32::from(*b)));
    }
    all
}

#[test]
fn products_are_the_same_integers() {
    for (m, k, n) in [(1, 4, 1), (7, 36, 16), (13, 8, 70), (6, 260, 33), (1, 64, 130), (5, 0, 3)] {
        let (a, w) = (bytes(m * k, 1), signed(k * n, 2));
        let b =
            QPacked::from_columns(k, n, |j, to| (0..k).for_each(|p| to[p] = w[p * n + j])).unwrap();
        let start: Vec<i32> =
            (0..n.next_multiple_of(16)).map(|j| if j % 3 == 0 { i32::MAX } else { -5 }).collect();
        let zeros: Vec<i32> = (0..n as i32).map(|j| j * 7 - 100).collect();
        let mut sums = vec![0; m];
        let pieces = Pieces { count: [1, 1], steps: [0, 0], len: k };
        row_sums(&a, [1, m], [0, k], pieces, &mut sums);
        let run = |isa, less: Option<Correction>| {
            written(n, m, |c| {
                let (rows, steps, b) = ([1, m], [0, k], b.as_packed());
                QGemm { rows, a: &a, steps, pieces, b, start: &start, less, c, ldc: n }.run(isa);
            })
        };
        for less in [None, Some(Correction { zeros: &zeros, sums: &sums })] {
            let want = run(Isa::Scalar, less);
            for i in 0..m * n {
                let (i, j) = (i / n, i % n);
                let row = a[i * k..(i + 1) * k].iter();
                let of = |(p, a): (usize, &u8)| {
                    let zero = if less.is_some() { i64::from(zeros[j]) } else { 0 };
                    i64::from(*a) * (i64::from(w[p * n + j]) - zero)
                };
                let sum = row.enumerate().map(of).sum::<i64>() + i64::from(start[j]);
                assert_eq!(want[i * n + j] as i32, sum as i32, "{m}×{k}×{n} at {i}, {j}");
            }
            all_isas().for_each(|isa| assert!(run(isa, less) == want, "{isa:?} {m}×{k}×{n}"));
        }
    }
}

#[test]
fn windows_are_products_of_pieces() {
    // Rows of 3×2 pieces of 8 channels, of an image of 7×9.
    let (channels, width, n) = (8, 9, 21);
    let (x, w) = (bytes(7 * width * channels, 8), signed(6 * channels * n, 9));
    let b = QPacked::from_columns(6 * channels, n, |j, to| {
        (0..6 * channels).for_each(|p| to[p] = w[p * n + j])
    })
    .unwrap();
    let pieces = Pieces { count: [3, 2], steps: [width * channels, 2 * channels], len: channels };
    let (rows, steps) = ([2, 7], [2 * width * channels, channels]);
    let start = vec![3; 32];
    let run = |isa| {
        written(n, 14, |c| {
            let b = b.as_packed();
            QGemm { rows, a: &x, steps, pieces, b, start: &start, less: None, c, ldc: n }.run(isa);
        })
    };
    let want = run(Isa::Scalar);
    let at = |row: usize, column: usize, i: usize, j: usize, c: usize| {
        i32::from(x[((2 * row + i) * width + column + 2 * j) * channels + c])
    };
    for (window, f) in (0..14).flat_map(|window| (0..n).map(move |f| (window, f))) {
        let taps = (0..6 * channels).map(|p| {
            let (tap, c) = (p / channels, p % channels);
            at(window / 7, window % 7, tap / 2, tap % 2, c) * i32::from(w[p * n + f])
        });
        assert_eq!(want[window * n + f] as i32, 3 + taps.sum::<i32>());
    }
    all_isas().for_each(|isa| assert!(run(isa) == want, "{isa:?}"));
}

#[test]
fn channels_have_kernels_of_their_own() {
    for (channels, kernel, stride, dilation, pad) in [
        (1, [3, 3], [1, 1], [1, 1], [1, 1]),
        (24, [3, 3], [2, 1], [1, 1], [1, 0]),
        (64, [5, 5], [1, 2], [1, 1], [2, 2]),
        (83, [2, 3], [1, 1], [2, 1], [0, 1]),
        (130, [7, 7], [3, 2], [1, 1], [3, 3]),
    ] {
        let (from, taps) = ([11, 10], kernel[0] * kernel[1]);
        let to = [0, 1].map(|i: usize| {
            (from[i] + 2 * pad[i] - dilation[i] * (kernel[i] - 1) - 1) / stride[i] + 1
        });
        let (x, w) = (bytes(110 * channels, 3), signed(taps * channels, 4));
        let (ground, start) = (vec![77; channels], vec![-9; channels]);
        let run = |isa| {
            written(channels, to[0] * to[1], |y| {
                let (x, ground, weights, start) = (&x, &ground, &w, &start);
                QDepthwise {
                    x,
                    from,
                    to,
                    channels,
                    kernel,
                    stride,
                    dilation,
                    pad,
                    ground,
                    weights,
                    start,
                    y,
                }
                .run(isa);
            })
        };
        let want = run(Isa::Scalar);
        for (i, got) in want.iter().enumerate().take(to[0] * to[1] * channels) {
            let (window, c) = (i / channels, i % channels);
            let at = |tap: usize| {
                let place = |axis: usize, window: usize, tap: usize| {
                    (window * stride[axis] + tap * dilation[axis]).checked_sub(pad[axis])
                };
                let row = place(0, window / to[1], tap / kernel[1]).filter(|r| *r < from[0]);
                let column = place(1, window % to[1], tap % kernel[1]).filter(|c| *c < from[1]);
                row.zip(column).map_or(77, |(r, j)| i32::from(x[(r * from[1] + j) * channels + c]))
            };
            let sum: i32 = (0..taps).map(|t| at(t) * i32::from(w[t * channels + c])).sum();
            assert_eq!(*got as i32, sum - 9, "{channels} {kernel:?} at {i}");
        }
        all_isas().for_each(|isa| assert!(run(isa) == want, "{isa:?} {channels} {kernel:?}"));
    }
}

#[test]
fn floats_become_bytes_as_the_standard_says() {
    let scales = [0.5, 1e-30, 0.0, f32::NAN, f32::INFINITY, -2.0];
    for (i, (scale, zero)) in scales.iter().flat_map(|s| [0, 128, 255].map(|z| (*s, z))).enumerate()
    {
        let of = Scale { scale, zero };
        for count in SIZES {
            let mut x = strange(*count, i as u64);
            // Ties.
            x.iter_mut().step_by(3).for_each(|x| *x = (*x * 8.0).round() * 0.25);
            let want: Vec<u8> = x
                .iter()
                .map(|x| {
                    let q = (x / scale).round_ties_even() + f32::from(zero);
                    q.clamp(0.0, 255.0) as u8
                })
                .collect();
            for isa in all_isas() {
                let mut y = vec![7; *count];
                quantize(isa, &x, of, &mut y);
                assert_eq!(y, want, "{isa:?} {of:?}");
                let mut back = vec![7.0; *count];
                dequantize(isa, &y, of, &mut back);
                let each = |q: &u8| (f32::from(*q) - f32::from(zero)) * scale;
                assert_eq!(bits(&back), bits(&want.iter().map(each).collect::<Vec<_>>()));
            }
        }
    }
}

#[test]
fn sums_of_bytes_are_those_of_what_they_stand_for() {
    let from = [Scale { scale: 0.1, zero: 3 }, Scale { scale: 0.03, zero: 255 }];
    let to = Scale { scale: 0.11, zero: 140 };
    for count in SIZES {
        let (a, b) = (bytes(*count, 1), bytes(*count, 2));
        let of = |q: u8, s: Scale| (f32::from(q) - f32::from(s.zero)) * s.scale;
        let sum = |(a, b): (&u8, &u8)| {
            let q = ((of(*a, from[0]) + of(*b, from[1])) / to.scale).round_ties_even();
            (q + f32::from(to.zero)).clamp(0.0, 255.0) as u8
        };
        let want: Vec<u8> = a.iter().zip(&b).map(sum).collect();
        for isa in all_isas() {
            let mut y = vec![7; *count];
            QAdd { from, to }.run(isa, &a, &b, &mut y);
            assert_eq!(y, want, "{isa:?}");
        }
    }
}

#[test]
fn a_range_has_zero_in_it() {
    for isa in all_isas() {
        let of = |x: &[f32]| dynamic_scale(isa, x);
        assert_eq!(of(&[0.0; 20]), Scale { scale: 1.0, zero: 0 });
        assert_eq!(of(&[2.55; 17]), Scale { scale: 2.55 / 255.0, zero: 0 });
        assert_eq!(of(&[-2.55, f32::NAN]), Scale { scale: 2.55 / 255.0, zero: 255 });
        let wide = of(&[0.0, 2.0, -3.0, -2.5, 1.34, 0.5]);
        assert_eq!(wide, Scale { scale: 5.0 / 255.0, zero: 153 });
        assert_eq!(of(&[f32::INFINITY, -1.0]).zero, 0);
        let mut y = [9.0; 33];
        to_floats(isa, &[i32::MIN; 33], &mut y);
        assert_eq!(y, [-2147483648.0; 33]);
    }
}
