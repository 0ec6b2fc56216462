//! Against sums of products in double precision.

use super::*;
use crate::kernels::testing::{all_isas, near, numbers, same, same_all};

/// A convolution and its numbers.
struct Case {
    from: [usize; 2],
    to: [usize; 2],
    pad: [usize; 2],
    channels: usize,
    filters: usize,
    x: Vec<f32>,
    w: Vec<f32>,
    bias: Option<Vec<f32>>,
    residual: Option<Vec<f32>>,
    clamp: Option<[f32; 2]>,
}

impl Case {
    /// Padding before is `pad`, and the one after is up to `to`.
    fn new(
        from: [usize; 2],
        to: [usize; 2],
        pad: [usize; 2],
        channels: usize,
        filters: usize,
    ) -> Case {
        let x = numbers(from[0] * from[1] * channels, 1);
        let w = numbers(filters * channels * 9, 2);
        let (bias, residual, clamp) = (None, None, None);
        Case { from, to, pad, channels, filters, x, w, bias, residual, clamp }
    }

    fn filter(&self, tile: Tile) -> Filter {
        Filter::new(tile, self.channels, self.filters, &self.w).unwrap()
    }

    fn run_as(&self, filter: &Filter, plan: Plan, isa: Isa) -> Vec<f32> {
        let Case { from, to, pad, clamp, .. } = *self;
        let mut y = vec![7.0; to[0] * to[1] * self.filters];
        let mut scratch = vec![f32::NAN; plan.scratch()];
        let (x, bias, residual) = (&self.x[..], self.bias.as_deref(), self.residual.as_deref());
        Winograd { x, from, to, pad, filter, bias, residual, clamp, y: (&mut y).into() }.run_as(
            plan,
            isa,
            &mut scratch,
        );
        y
    }

    fn run(&self, filter: &Filter, isa: Isa) -> Vec<f32> {
        self.run_as(filter, Plan::new(filter, self.to), isa)
    }

    /// Each sum, added by `add`.
    fn sums<S: Copy>(&self, start: impl Fn(f32) -> S, add: impl Fn(S, f32, f32) -> S) -> Vec<S> {
        let Case { from, to, pad, channels, filters, .. } = *self;
        let mut sums = Vec::new();
        for at in 0..to[0] * to[1] * filters {
            let (pixel, filter) = (at / filters, at % filters);
            let mut sum = start(self.bias.as_ref().map_or(0.0, |bias| bias[filter]));
            for tap in 0..9 {
                let row = (pixel / to[1] + tap / 3).wrapping_sub(pad[0]);
                let column = (pixel % to[1] + tap % 3).wrapping_sub(pad[1]);
                if row < from[0] && column < from[1] {
                    for channel in 0..channels {
                        let x = self.x[(row * from[1] + column) * channels + channel];
                        sum = add(sum, x, self.w[(filter * channels + channel) * 9 + tap]);
                    }
                }
            }
            sums.push(sum);
        }
        sums
    }

    fn expected(&self) -> Vec<f64> {
        let add = |sum: f64, x: f32, w: f32| sum + f64::from(x) * f64::from(w);
        let mut y = self.sums(f64::from, add);
        for (y, more) in y.iter_mut().zip(self.residual.iter().flatten()) {
            *y += f64::from(*more);
        }
        if let Some([low, high]) = self.clamp {
            y.iter_mut().for_each(|y| *y = y.clamp(low.into(), high.into()));
        }
        y
    }
}

#[test]
fn every_output_is_the_sum_of_its_products() {
    let cases = [
        ([1, 1], [1, 1], [1, 1], 1, 1),
        ([3, 3], [1, 1], [0, 0], 3, 5),
        ([4, 6], [4, 6], [1, 1], 16, 16),
        ([7, 5], [5, 3], [0, 0], 17, 33),
        ([5, 7], [7, 9], [2, 2], 24, 24),
        ([9, 10], [9, 10], [1, 1], 5, 48),
        ([10, 13], [9, 13], [0, 2], 40, 7),
        ([13, 9], [14, 8], [2, 0], 32, 17),
        ([2, 11], [9, 30], [7, 9], 18, 16),
        ([6, 6], [0, 6], [1, 1], 4, 4),
        ([0, 0], [3, 3], [2, 2], 4, 4),
        ([3, 4], [3, 4], [1, 1], 0, 20),
        ([3, 4], [3, 4], [1, 1], 20, 0),
    ];
    for (index, (from, to, pad, channels, filters)) in cases.into_iter().enumerate() {
        let mut case = Case::new(from, to, pad, channels, filters);
        for options in 0..8 {
            if index > 4 && options % 7 != 0 {
                continue;
            }
            case.bias = (options & 1 != 0).then(|| numbers(filters, 3));
            case.residual = (options & 2 != 0).then(|| numbers(to[0] * to[1] * filters, 4));
            case.clamp = (options & 4 != 0).then_some([-2.0, 3.5]);
            let expected = case.expected();
            for tile in [Tile::Two, Tile::Four] {
                let filter = case.filter(tile);
                let got = same_all(|isa| case.run(&filter, isa));
                near(&got, &expected, 1e-4, &format!("{tile:?} {from:?} {channels} {filters}"));
            }
        }
    }
}

#[test]
fn how_it_is_cut_does_not_matter() {
    let mut case = Case::new([11, 14], [11, 14], [1, 1], 20, 40);
    case.bias = Some(numbers(40, 3));
    for tile in [Tile::Two, Tile::Four] {
        let filter = case.filter(tile);
        let plan = Plan::new(&filter, case.to);
        for isa in all_isas() {
            let whole = case.run(&filter, isa);
            for (tiles, columns, line) in [(1, 16, 32), (5, 32, 48), (100, 48, 32)] {
                let cut = case.run_as(&filter, Plan { tiles, columns, line, ..plan }, isa);
                same(&cut, &whole, &format!("{tile:?} {isa:?} in {tiles} by {columns}"));
            }
        }
    }
}

/// Normal numbers.
fn normal(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    let one = |_| {
        let (radius, angle) = ((-2.0 * uniform().ln()).sqrt(), uniform());
        (radius * (std::f64::consts::TAU * angle).cos()) as f32
    };
    (0..count).map(one).collect()
}

/// The root of the mean square of the errors and the largest one, of the root of
/// the mean square of what is expected.
fn errors(got: &[f32], expected: &[f64]) -> (f64, f64) {
    let mean = expected.iter().map(|v| v * v).sum::<f64>() / expected.len() as f64;
    let error = got.iter().zip(expected).map(|(got, v)| (f64::from(*got) - v).abs());
    let square = error.clone().map(|e| e * e).sum::<f64>() / expected.len() as f64;
    (square.sqrt() / mean.sqrt(), error.fold(0.0, f64::max) / mean.sqrt())
}

#[test]
fn errors_are_as_small_as_the_docs_say() {
    for channels in [64, 128, 256, 512] {
        let mut case = Case::new([12, 12], [12, 12], [1, 1], channels, 16);
        case.x = normal(case.x.len(), 5);
        case.w = normal(case.w.len(), 6);
        let expected = case.expected();
        let direct = case.sums(|bias| bias, |sum: f32, x, w| x.mul_add(w, sum));
        let direct = errors(&direct, &expected);
        let unit = 0.5f64.powi(23) * (channels as f64).sqrt();
        for (tile, bound, times) in [(Tile::Two, 0.5, 1.0), (Tile::Four, 1.0, 2.0)] {
            let got = errors(&case.run(&case.filter(tile), Isa::best()), &expected);
            let what = format!("{channels} {tile:?}: {got:?} where a sum has {direct:?}");
            assert!(got.0 <= bound * unit && got.0 <= times * direct.0, "{what}");
            assert!(got.1 <= 1.5 * times * direct.1, "{what}");
        }
    }
}

#[test]
fn numbers_that_are_none_stay_in_their_tiles() {
    let mut case = Case::new([8, 12], [8, 12], [1, 1], 3, 4);
    case.x[0] = f32::NAN;
    case.clamp = Some([0.0, 6.0]);
    for tile in [Tile::Two, Tile::Four] {
        let got = same_all(|isa| case.run(&case.filter(tile), isa));
        let m = tile.outputs();
        for (at, y) in got.iter().enumerate() {
            let inside = at / 4 / 12 < m && at / 4 % 12 < m;
            assert!(y.is_nan() == inside && (inside || (0.0..=6.0).contains(y)), "{y} at {at}");
        }
    }
}

#[test]
fn what_does_not_fit_in_memory_is_refused() {
    assert!(Filter::new(Tile::Four, usize::MAX, 16, &[]).is_err());
    assert!(Filter::new(Tile::Two, 1 << 30, 1 << 29, &[]).is_err());
    let filter = Filter::new(Tile::Two, 3, 17, &[0.0; 3 * 17 * 9]).unwrap();
    assert_eq!((filter.channels(), filter.filters(), filter.bytes()), (3, 17, 16 * 96 * 4));
}

#[test]
fn it_wins_where_there_is_much_to_multiply() {
    let wins = |channels, filters, to| Tile::of(channels, filters, to).is_some();
    let layers = [(64, 56), (128, 28), (256, 14)];
    for (channels, side) in layers {
        assert_eq!(Tile::of(channels, channels, [side, side]), Some(Tile::Four), "{channels}");
    }
    assert_eq!(Tile::of(512, 512, [7, 7]), Some(Tile::Two));
    assert!(wins(24, 24, [240, 320]) && wins(96, 24, [120, 160]) && wins(96, 96, [60, 80]));
    for (channels, filters, to) in [(3, 64, [56, 56]), (256, 256, [2, 2]), (64, 64, [1, 40])] {
        assert!(!wins(channels, filters, to), "{channels} {filters} {to:?}");
    }
    assert!(!wins(0, 0, [0, 0]) && !wins(1, 1, [1, 1]));
}

#[test]
#[should_panic(expected = "a residual of another length")]
fn a_residual_of_another_length_is_refused() {
    let mut case = Case::new([4, 4], [4, 4], [1, 1], 3, 4);
    case.residual = Some(vec![0.0; 63]);
    case.run(&case.filter(Tile::Two), Isa::Scalar);
}

#[test]
#[should_panic(expected = "floats of")]
fn an_image_of_another_length_is_refused() {
    let mut case = Case::new([4, 4], [4, 4], [1, 1], 3, 4);
    case.x.pop();
    case.run(&case.filter(Tile::Two), Isa::Scalar);
}

#[test]
fn filters_are_the_same_for_all_instruction_sets() {
    for (channels, filters) in [(1, 1), (3, 17), (5, 16), (2, 35)] {
        let w = numbers(filters * channels * 9, 2);
        for tile in [Tile::Two, Tile::Four] {
            let of = |isa| Filter::new_as(isa, tile, channels, filters, &w).unwrap();
            let right = of(Isa::Scalar);
            for isa in all_isas() {
                let what = format!("{tile:?} of {filters} by {channels}");
                same(&of(isa).matrices, &right.matrices, &what);
            }
        }
    }
}
