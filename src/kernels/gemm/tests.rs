//! Every way to a product gives the same bits.

use super::*;
use crate::kernels::{pack_into, packed_len};

/// Numbers with a long mantissa, of all sizes.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let one = |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let scale = [1.0, 1e-3, 37.5][(state >> 60) as usize % 3];
        ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
    };
    (0..count).map(one).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn product(isa: Isa, m: usize, a: &[f32], b: &Packed, bias: Option<&[f32]>) -> Vec<f32> {
    let mut c = vec![f32::NAN; m * b.n()];
    gemm(isa, m, a, b, bias, true, &mut c);
    let floored: Vec<f32> = c.clone();
    gemm(isa, m, a, b, bias, false, &mut c);
    let floor = c.iter().map(|v| within(*v, RELU)).collect::<Vec<_>>();
    assert_eq!(bits(&floored), bits(&floor), "with relu");
    c
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    let sizes: &[(usize, usize, usize)] = &[
        (1, 1, 1),
        (1, 64, 128),
        (3, 5, 7),
        (6, 17, 15),
        (7, 0, 4),
        (12, 9, 32),
        (13, 33, 33),
        (25, 2, 49),
        (2, 1030, 31),
        (0, 4, 4),
        (4, 4, 0),
    ];
    for &(m, k, n) in sizes {
        let (a, w) = (numbers(m * k, 1), numbers(k * n, 2));
        let bias = numbers(n, 3);
        let b = Packed::new(k, n, |p, j| w[p * n + j]).unwrap();
        for bias in [None, Some(&bias[..])] {
            let expected = product(Isa::Scalar, m, &a, &b, bias);
            for isa in isas() {
                let got = product(isa, m, &a, &b, bias);
                assert_eq!(bits(&got), bits(&expected), "{isa:?} {m}×{k}×{n}");
            }
        }
    }
}

#[test]
fn one_row_is_the_same_however_many_panels_there_are() {
    let (a, bias) = (numbers(600, 4), numbers(16 * 14, 5));
    for n in (1..=14).flat_map(|panels| [16 * panels - 5, 16 * panels]) {
        let k = if n % 3 == 0 { 600 } else { 21 };
        let w = numbers(k * n, 6);
        let b = Packed::new(k, n, |p, j| w[p * n + j]).unwrap();
        let expected = product(Isa::Scalar, 1, &a[..k], &b, Some(&bias[..n]));
        for isa in isas() {
            let got = product(isa, 1, &a[..k], &b, Some(&bias[..n]));
            assert_eq!(bits(&got), bits(&expected), "{isa:?} 1×{k}×{n}");
        }
    }
}

/// Rows of `len` in `from`, `stride` apart.
fn rows(from: &[f32], count: usize, stride: usize, len: usize) -> Vec<f32> {
    (0..count).flat_map(|i| from[i * stride..][..len].to_vec()).collect()
}

/// Each instruction set that is there.
fn isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_there())
}

/// Sizes about the edges of tiles and blocks.
const SIZES: [(usize, usize, usize); 12] = [
    (1, 3, 1),
    (1, 7, 150),
    (2, 40, 64),
    (4, 5, 70),
    (5, 8, 16),
    (7, 0, 20),
    (9, 33, 48),
    (11, 16, 64),
    (19, 513, 33),
    (20, 12, 17),
    (2, 600, 300),
    (200, 9, 18),
];

#[test]
fn strides_and_a_residual_change_nothing_else() {
    for (m, k, n) in SIZES {
        let (lda, ldc, ldr) = (k + 3, n + 5, n + 2);
        let (a, w, bias) = (numbers(m * lda, 8), numbers(k * n, 9), numbers(n, 10));
        let residual = numbers(m * ldr, 11);
        let b = Packed::from_strided(k, n, &w, n, 1).unwrap();
        let plain = product(Isa::Scalar, m, &rows(&a, m, lda, k), &b, Some(&bias));
        let added = rows(&residual, m, ldr, n);
        let sums = plain.iter().zip(&added).map(|(x, y)| x + y).collect::<Vec<_>>();
        for isa in isas() {
            for (residual, relu) in [(false, false), (true, false), (true, true)] {
                let mut expected = if residual { sums.clone() } else { plain.clone() };
                if relu {
                    expected.iter_mut().for_each(|v| *v = within(*v, RELU));
                }
                let from = self::rows(&added, m, n, n);
                let residual = residual.then_some((&from[..], n));
                let mut c = vec![7.0; m * ldc];
                let (b, bias, c_) = (b.as_packed(), Some(&bias[..]), &mut c[..]);
                let c_ = c_.into();
                Gemm { m, a: &a, lda, b, bias, residual, clamp: relu.then_some(RELU), c: c_, ldc }
                    .run(isa);
                assert_eq!(bits(&rows(&c, m, ldc, n)), bits(&expected), "{isa:?} {m}×{k}×{n}");
                let between = c.chunks(ldc).flat_map(|row| &row[n..]);
                assert!(between.copied().all(|v| v == 7.0), "written beside C");
            }
            // The residual with a stride of its own.
            let mut c = vec![7.0; m * ldc];
            let of = Some((&residual[..], ldr));
            let (b, bias) = (b.as_packed(), Some(&bias[..]));
            Gemm { m, a: &a, lda, b, bias, residual: of, clamp: None, c: (&mut c).into(), ldc }
                .run(isa);
            assert_eq!(bits(&rows(&c, m, ldc, n)), bits(&sums), "{isa:?} {m}×{k}×{n}");
        }
    }
}

#[test]
fn slices_end_where_the_last_row_does() {
    let (m, k, n) = (10, 6, 21);
    let (lda, ldc) = (8, 30);
    let a = numbers((m - 1) * lda + k, 12);
    let w = numbers(k * n, 13);
    let b = Packed::from_strided(k, n, &w, 1, k).unwrap();
    let mut c = vec![0.0; (m - 1) * ldc + n];
    for isa in isas() {
        let (b, c) = (b.as_packed(), (&mut c).into());
        Gemm { m, a: &a, lda, b, bias: None, residual: None, clamp: None, c, ldc }.run(isa);
    }
    let fails = |a: usize, c: usize, ldc: usize, bias: usize, residual: usize| {
        let (a, bias, residual) = (vec![0.0; a], vec![0.0; bias], vec![0.0; residual]);
        let (mut c, b) = (vec![0.0; c], b.as_packed());
        let (bias, residual) = (Some(&bias[..]), Some((&residual[..], n)));
        let gemm = Gemm { m, a: &a, lda, b, bias, residual, clamp: None, c: (&mut c).into(), ldc };
        let run = std::panic::AssertUnwindSafe(|| gemm.run(Isa::best()));
        std::panic::catch_unwind(run).is_err()
    };
    let (a, c) = (a.len(), c.len());
    assert!(!fails(a, c, ldc, n, m * n));
    assert!(fails(a - 1, c, ldc, n, m * n), "A");
    assert!(fails(a, c - 1, ldc, n, m * n), "C");
    assert!(fails(a, c, n - 1, n, m * n), "rows of C overlap");
    assert!(fails(a, c, usize::MAX / 2, n, m * n), "an overflow");
    assert!(fails(a, c, ldc, n - 1, m * n), "bias");
    assert!(fails(a, c, ldc, n, m * n - 1), "residual");
}

#[test]
fn every_way_to_pack_gives_the_same_panels() {
    for (_, k, n) in SIZES {
        let (more, w) = (3, numbers((k + 3) * (n + 3), 14));
        for (row, col) in [(n, 1), (n + more, 1), (1, k), (1, k + more), (n * 2, 2)] {
            let w = if row == n * 2 { numbers(k * n * 2, 15) } else { w.clone() };
            let expected = Packed::new(k, n, |p, j| w[p * row + j * col]).unwrap();
            let expected = bits(expected.as_packed().panels());
            // The least that there must be.
            let reach = if k * n == 0 { 0 } else { (k - 1) * row + (n - 1) * col + 1 };
            let got = Packed::from_strided(k, n, &w[..reach], row, col).unwrap();
            assert_eq!(bits(got.as_packed().panels()), expected);
            for isa in isas() {
                let mut to = vec![f32::NAN; packed_len(k, n) + 1];
                pack_into(isa, k, n, &w[..reach], row, col, &mut to);
                assert_eq!(bits(&to[..packed_len(k, n)]), expected, "{isa:?} {k}×{n} {row} {col}");
                assert!(to[packed_len(k, n)].is_nan());
            }
        }
    }
}

#[test]
fn columns_are_the_same_alone() {
    let (m, k, n) = (5, 30, 75);
    let (a, w) = (numbers(m * k, 16), numbers(k * n, 17));
    let b = Packed::from_strided(k, n, &w, n, 1).unwrap();
    for isa in isas() {
        let all = product(isa, m, &a, &b, None);
        for (from, to) in [(0, 75), (0, 16), (16, 64), (48, 75), (64, 70), (32, 32)] {
            let mut c = vec![7.0; m * n];
            let (b, bias, residual, clamp) = (b.as_packed().columns(from, to), None, None, None);
            let (ldc, part) = (n, (&mut c[from..]).into());
            Gemm { m, a: &a, lda: k, b, bias, residual, clamp, c: part, ldc }.run(isa);
            for (got, all) in c.chunks(n).zip(all.chunks(n)) {
                assert_eq!(bits(&got[from..to]), bits(&all[from..to]));
                assert!(got[..from].iter().chain(&got[to..]).all(|v| *v == 7.0));
            }
        }
    }
}

#[test]
fn a_product_of_two_is_the_same_however_b_is_stored() {
    for (m, k, n) in SIZES {
        let (lda, ldc) = (k + 1, n + 2);
        let (a, w) = (numbers(m * lda, 18), numbers(k * n, 19));
        let transposed = (0..k * n).map(|at| w[at % k.max(1) * n + at / k.max(1)]);
        let transposed = transposed.collect::<Vec<_>>();
        let mut apart = vec![f32::NAN; (k * n * 2).max(1)];
        w.iter().enumerate().for_each(|(at, v)| apart[at * 2] = *v);
        let b = Packed::from_strided(k, n, &w, n, 1).unwrap();
        let expected = bits(&product(Isa::Scalar, m, &rows(&a, m, lda, k), &b, None));
        let ways = [(&w, n, 1), (&transposed, 1, k), (&apart, n * 2, 2)];
        for (isa, (b, row, col)) in isas().flat_map(|isa| ways.map(|way| (isa, way))) {
            // Nothing but what was asked for may be used, nor trusted.
            let mut scratch = vec![f32::NAN; Matmul::scratch(m, k, n, col)];
            let mut c = vec![7.0; m * ldc];
            let (b_row_stride, b_col_stride, a, c_) = (row, col, &a, (&mut c).into());
            let matmul = Matmul { m, k, n, a, lda, b, b_row_stride, b_col_stride, c: c_, ldc };
            matmul.run(isa, &mut scratch);
            assert_eq!(bits(&rows(&c, m, ldc, n)), expected, "{isa:?} {m}×{k}×{n} {row} {col}");
        }
    }
}

#[test]
fn it_is_the_product() {
    let (m, k, n) = (5, 700, 21);
    let (a, w) = (numbers(m * k, 4), numbers(k * n, 5));
    let b = Packed::new(k, n, |p, j| w[p * n + j]).unwrap();
    let got = product(Isa::best(), m, &a, &b, None);
    for i in 0..m {
        for j in 0..n {
            let terms = (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(w[p * n + j]));
            let (sum, size) = terms.fold((0.0, 0.0), |(s, t), x| (s + x, t + x.abs()));
            let error = (f64::from(got[i * n + j]) - sum).abs();
            assert!(error <= size * k as f64 * f64::from(f32::EPSILON), "{i} {j}: {error}");
        }
    }
}

#[test]
fn a_row_is_the_same_alone_and_among_others() {
    let (m, k, n) = (29, 600, 40);
    let (a, w) = (numbers(m * k, 6), numbers(k * n, 7));
    let b = Packed::new(k, n, |p, j| w[p * n + j]).unwrap();
    let all = product(Isa::best(), m, &a, &b, None);
    for i in 0..m {
        let alone = product(Isa::best(), 1, &a[i * k..(i + 1) * k], &b, None);
        assert_eq!(bits(&alone), bits(&all[i * n..(i + 1) * n]));
    }
}

#[test]
fn special_values_go_where_they_belong() {
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::MIN_POSITIVE / 2.0];
    for value in special {
        for isa in isas() {
            // Row 1 has it, and column 2; nothing else may see it.
            let mut a = vec![1.0f32; 3 * 4];
            a[4] = value;
            let b = Packed::new(4, 18, |_, j| if j == 2 { value } else { 1.0 }).unwrap();
            let c = product(isa, 3, &a, &b, None);
            for (i, row) in c.chunks(18).enumerate() {
                for (j, got) in row.iter().enumerate() {
                    let terms = (0..4).map(|p| (a[i * 4 + p], if j == 2 { value } else { 1.0 }));
                    let sum = terms.fold(0f32, |sum, (x, y)| x.mul_add(y, sum));
                    let same = got.to_bits() == sum.to_bits() || (got.is_nan() && sum.is_nan());
                    assert!(same, "{isa:?} {value} at {i}, {j}: {got}, expected {sum}");
                }
            }
        }
    }
}

#[test]
fn windows_are_rows_in_pieces() {
    // Channels of the image and of a group, rows and columns, kernel, stride, dilation.
    for (all, own, from, kernel, stride, dilation) in [
        (1, 1, [5, 6], [3, 3], [1, 1], [1, 1]),
        (3, 3, [9, 11], [3, 2], [2, 2], [1, 1]),
        (8, 4, [6, 9], [2, 3], [1, 2], [2, 2]),
        (5, 5, [4, 4], [1, 1], [1, 1], [1, 1]),
        (5, 5, [4, 7], [1, 1], [3, 2], [1, 1]),
        (2, 2, [3, 8], [3, 8], [1, 1], [1, 1]),
        (70, 70, [5, 4], [3, 3], [1, 1], [1, 1]),
        (4, 3, [12, 40], [9, 7], [1, 1], [1, 2]),
    ] {
        let to =
            [0, 1].map(|i: usize| (from[i] - (kernel[i] - 1) * dilation[i] - 1) / stride[i] + 1);
        let (n, k) = (19, kernel[0] * kernel[1] * own);
        let (x, w, bias) = (numbers(from[0] * from[1] * all, 1), numbers(k * n, 2), numbers(n, 3));
        let residual = numbers(to[0] * to[1] * n, 4);
        let b = Packed::from_strided(k, n, &w, n, 1).unwrap();
        let mut expected = Vec::new();
        for at in 0..to[0] * to[1] {
            let (row, column) = (at / to[1] * stride[0], at % to[1] * stride[1]);
            for j in 0..n {
                let mut sum = bias[j];
                for p in 0..k {
                    let (tap, channel) = (p / own, p % own);
                    let row = row + tap / kernel[1] * dilation[0];
                    let column = column + tap % kernel[1] * dilation[1];
                    let v = x[(row * from[1] + column) * all + channel];
                    sum = v.mul_add(w[p * n + j], sum);
                }
                expected.push(within(sum + residual[at * n + j], [-0.5, 2.0]));
            }
        }
        for isa in isas() {
            let ldc = n + 2;
            let mut c = vec![7.0; to[0] * to[1] * ldc];
            let windows = Windows {
                x: &x,
                to,
                steps: [stride[0] * from[1] * all, stride[1] * all],
                pieces: Pieces {
                    count: kernel,
                    steps: [dilation[0] * from[1] * all, dilation[1] * all],
                    len: own,
                },
                b: b.as_packed(),
                bias: Some(&bias),
                residual: Some((&residual, n)),
                clamp: Some([-0.5, 2.0]),
                c: (&mut c).into(),
                ldc,
            };
            windows.run(isa);
            let got = rows(&c, to[0] * to[1], ldc, n);
            assert_eq!(bits(&got), bits(&expected), "{isa:?} {from:?} {kernel:?}");
            assert!(c.chunks(ldc).all(|row| row[n..] == [7.0; 2]), "written beside C");
        }
    }
}
