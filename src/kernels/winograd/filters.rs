//! What is done to filters: once, when a model is compiled. In double precision, as
//! nothing that is done here is done again for every image.

use super::Tile;
use super::transform::{A, B};
use crate::kernels::Isa;
use crate::kernels::lanes::WIDTH;

/// Numbers at a time.
const FOUR: usize = 4;

/// Four numbers in double precision.
trait Wide: Copy {
    fn new(v: [f32; FOUR]) -> Self;
    fn add(self, y: Self) -> Self;
    fn sub(self, y: Self) -> Self;
    fn mul(self, y: f64) -> Self;
    /// Each rounded once.
    fn floats(self) -> [f32; FOUR];
}

impl Wide for [f64; FOUR] {
    fn new(v: [f32; FOUR]) -> Self {
        v.map(f64::from)
    }

    fn add(self, y: Self) -> Self {
        std::array::from_fn(|i| self[i] + y[i])
    }

    fn sub(self, y: Self) -> Self {
        std::array::from_fn(|i| self[i] - y[i])
    }

    fn mul(self, y: f64) -> Self {
        self.map(|v| v * y)
    }

    fn floats(self) -> [f32; FOUR] {
        self.map(|v| v as f32)
    }
}

/// Transforms `filters` of `channels` of 3×3, one after the other in `weights`, to a
/// packed matrix for each place of a tile, each of `len` floats.
///
/// # Panics
///
/// When `weights` or `to` has another length than that.
pub(super) fn transform(
    isa: Isa,
    tile: Tile,
    [filters, channels]: [usize; 2],
    weights: &[f32],
    len: usize,
    to: &mut [f32],
) {
    assert!(isa.is_there(), "{isa:?} is not there");
    assert!(weights.len() == filters * channels * 9, "{} weights", weights.len());
    match isa {
        // SAFETY: the processor has it.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => unsafe { x86::all(tile, channels, weights, len, to) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => unsafe { neon::all(tile, channels, weights, len, to) },
        _ => all::<[f64; FOUR]>(tile, channels, weights, len, to),
    }
}

// What follows is inlined whole into code for one instruction set, so that it is compiled
// for that: no closures, which would not be.

#[inline(always)]
fn all<V: Wide>(tile: Tile, channels: usize, weights: &[f32], len: usize, to: &mut [f32]) {
    let weights = weights.as_chunks::<9>().0;
    for (panel, filters) in weights.chunks(channels.max(1) * WIDTH).enumerate() {
        for channel in 0..channels {
            for first in (0..WIDTH).step_by(FOUR) {
                let mut of = [&[0.0; 9]; FOUR];
                for (i, of) in of.iter_mut().enumerate() {
                    if let Some(filter) = filters.get((first + i) * channels + channel) {
                        *of = filter;
                    }
                }
                let at = (panel * channels + channel) * WIDTH + first;
                match tile {
                    Tile::Two => four::<V, TwoByTwo, 4>(of, len, &mut to[at..]),
                    Tile::Four => four::<V, FourByFour, 6>(of, len, &mut to[at..]),
                }
            }
        }
    }
}

/// How a line of three becomes one of `N`.
trait Form<const N: usize> {
    fn line<V: Wide>(g: [V; 3]) -> [V; N];
}

/// Transforms four filters, their columns and then their rows.
#[inline(always)]
fn four<V: Wide, F: Form<N>, const N: usize>(of: [&[f32; 9]; FOUR], len: usize, to: &mut [f32]) {
    let [first, second, third] =
        [row::<V, F, N>(of, 0), row::<V, F, N>(of, 3), row::<V, F, N>(of, 6)];
    for column in 0..N {
        let down = F::line([first[column], second[column], third[column]]);
        for (row, v) in down.iter().enumerate() {
            let place = to[(row * N + column) * len..].first_chunk_mut();
            *place.expect("room for a line") = v.floats();
        }
    }
}

/// A row of four filters that begins at `tap`.
#[inline(always)]
fn row<V: Wide, F: Form<N>, const N: usize>(of: [&[f32; 9]; FOUR], tap: usize) -> [V; N] {
    F::line([taps(of, tap), taps(of, tap + 1), taps(of, tap + 2)])
}

#[inline(always)]
fn taps<V: Wide>(of: [&[f32; 9]; FOUR], at: usize) -> V {
    V::new([of[0][at], of[1][at], of[2][at], of[3][at]])
}

/// The values of a polynomial at ±p, times `by`.
#[inline(always)]
fn pair<V: Wide>(g: [V; 3], p: f64, by: f64) -> [V; 2] {
    let (even, odd) = (g[0].mul(by).add(g[2].mul(p * p * by)), g[1].mul(p * by));
    [even.add(odd), even.sub(odd)]
}

// Values are divided by the product of the differences to the other points, which is the
// same for both of a pair.

struct TwoByTwo;

impl Form<4> for TwoByTwo {
    #[inline(always)]
    fn line<V: Wide>(g: [V; 3]) -> [V; 4] {
        let [plus, minus] = pair(g, 1.0, 0.5);
        [g[0], plus, minus, g[2]]
    }
}

struct FourByFour;

impl Form<6> for FourByFour {
    #[inline(always)]
    fn line<V: Wide>(g: [V; 3]) -> [V; 6] {
        const SQUARES: [f64; 2] = [A as f64 * A as f64, B as f64 * B as f64];
        const BY_ZERO: f64 = 1.0 / (SQUARES[0] * SQUARES[1]);
        const BY_A: f64 = 1.0 / (2.0 * SQUARES[0] * (SQUARES[0] - SQUARES[1]));
        const BY_B: f64 = 1.0 / (2.0 * SQUARES[1] * (SQUARES[1] - SQUARES[0]));
        let [plus_a, minus_a] = pair(g, A as f64, BY_A);
        let [plus_b, minus_b] = pair(g, B as f64, BY_B);
        [g[0].mul(BY_ZERO), plus_a, minus_a, plus_b, minus_b, g[2]]
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{FOUR, Tile, Wide};
    use std::arch::x86_64::*;

    /// Only in code for processors that have AVX2.
    #[derive(Clone, Copy)]
    struct Avx2(__m256d);

    impl Wide for Avx2 {
        #[inline(always)]
        fn new(v: [f32; FOUR]) -> Self {
            // SAFETY: the processor has it; four floats are read.
            Avx2(unsafe { _mm256_cvtps_pd(_mm_loadu_ps(v.as_ptr())) })
        }

        #[inline(always)]
        fn add(self, y: Self) -> Self {
            // SAFETY: the processor has it.
            Avx2(unsafe { _mm256_add_pd(self.0, y.0) })
        }

        #[inline(always)]
        fn sub(self, y: Self) -> Self {
            // SAFETY: the processor has it.
            Avx2(unsafe { _mm256_sub_pd(self.0, y.0) })
        }

        #[inline(always)]
        fn mul(self, y: f64) -> Self {
            // SAFETY: the processor has it.
            Avx2(unsafe { _mm256_mul_pd(self.0, _mm256_set1_pd(y)) })
        }

        #[inline(always)]
        fn floats(self) -> [f32; FOUR] {
            let mut floats = [0.0; FOUR];
            // SAFETY: the processor has it; four floats are written.
            unsafe { _mm_storeu_ps(floats.as_mut_ptr(), _mm256_cvtpd_ps(self.0)) };
            floats
        }
    }

    /// SAFETY: the processor has AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn all(
        tile: Tile,
        channels: usize,
        weights: &[f32],
        len: usize,
        to: &mut [f32],
    ) {
        super::all::<Avx2>(tile, channels, weights, len, to);
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use super::{FOUR, Tile, Wide};
    use std::arch::aarch64::*;

    /// Only in code for processors that have NEON.
    #[derive(Clone, Copy)]
    struct Neon(float64x2_t, float64x2_t);

    impl Wide for Neon {
        #[inline(always)]
        fn new(v: [f32; FOUR]) -> Self {
            // SAFETY: the processor has it; four floats are read.
            unsafe {
                let v = vld1q_f32(v.as_ptr());
                Neon(vcvt_f64_f32(vget_low_f32(v)), vcvt_high_f64_f32(v))
            }
        }

        #[inline(always)]
        fn add(self, y: Self) -> Self {
            // SAFETY: the processor has it.
            unsafe { Neon(vaddq_f64(self.0, y.0), vaddq_f64(self.1, y.1)) }
        }

        #[inline(always)]
        fn sub(self, y: Self) -> Self {
            // SAFETY: the processor has it.
            unsafe { Neon(vsubq_f64(self.0, y.0), vsubq_f64(self.1, y.1)) }
        }

        #[inline(always)]
        fn mul(self, y: f64) -> Self {
            // SAFETY: the processor has it.
            unsafe { Neon(vmulq_n_f64(self.0, y), vmulq_n_f64(self.1, y)) }
        }

        #[inline(always)]
        fn floats(self) -> [f32; FOUR] {
            let mut floats = [0.0; FOUR];
            // SAFETY: the processor has it; four floats are written.
            unsafe {
                let v = vcvt_high_f32_f64(vcvt_f32_f64(self.0), self.1);
                vst1q_f32(floats.as_mut_ptr(), v);
            }
            floats
        }
    }

    /// SAFETY: the processor has NEON.
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn all(
        tile: Tile,
        channels: usize,
        weights: &[f32],
        len: usize,
        to: &mut [f32],
    ) {
        super::all::<Neon>(tile, channels, weights, len, to);
    }
}
