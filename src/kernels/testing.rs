//! What the kernels' tests have in common.

use super::isa::Isa;

/// Around the width of the lanes and of their unrolled loops.
pub(super) const SIZES: &[usize] = &[0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 130, 200];

/// Numbers of rows.
pub(super) const COUNTS: [usize; 3] = [0, 1, 6];

/// Those that the processor has.
pub(super) fn all_isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_there())
}

/// Numbers with a long mantissa, of all sizes.
pub(super) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2654435761).wrapping_add(99);
    let one = |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let scale = [1.0, 1e-2, 3.5][(state >> 60) as usize % 3];
        ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
    };
    (0..count).map(one).collect()
}

/// Numbers, and now and then one that is none.
pub(super) fn strange(count: usize, seed: u64) -> Vec<f32> {
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0, 1e-40];
    let mut x = numbers(count, seed);
    for (i, at) in (seed as usize % 5..count).step_by(11).enumerate() {
        x[at] = special[i % special.len()];
    }
    x
}

/// Asserts that the bits are the same, or both are NaN.
#[track_caller]
pub(super) fn same(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
        assert!(same, "{what}: {got:?} at {i}, expected {want:?}");
    }
}

/// What `f` gives, whatever the instruction set.
#[track_caller]
pub(super) fn same_all(f: impl Fn(Isa) -> Vec<f32>) -> Vec<f32> {
    let reference = f(Isa::Scalar);
    for isa in all_isas() {
        same(&f(isa), &reference, &format!("{isa:?}"));
    }
    reference
}

/// Asserts that each is near.
#[track_caller]
pub(super) fn near(got: &[f32], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let got = f64::from(*got);
        let near = got == *want || (got - want).abs() <= tolerance * want.abs().max(1.0);
        assert!(near || got.is_nan() && want.is_nan(), "{what}: {got} at {i}, expected {want}");
    }
}

/// What `apart` writes; `place` does the same in place, on every instruction set.
#[track_caller]
pub(super) fn place_too(
    x: &[f32],
    apart: impl Fn(Isa, &[f32], &mut [f32]),
    place: impl Fn(Isa, &mut [f32]),
) -> Vec<f32> {
    same_all(|isa| {
        let (mut y, mut z) = (vec![7.0; x.len() + 1], x.to_vec());
        apart(isa, x, &mut y[..x.len()]);
        assert_eq!(y.pop(), Some(7.0), "past the end");
        place(isa, &mut z);
        same(&y, &z, "in place");
        y
    })
}
