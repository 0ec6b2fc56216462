//! Pools of each channel on its own, over images whose channels lie together.

use super::isa::Isa;
use super::lanes::{Lanes, WIDTH, for_isa};
use super::window::{Axis, axes, floats};
use serde::{Deserialize, Serialize};

/// What is made of a window's taps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pooling {
    /// The largest of those inside the image that are not NaN; −∞ when there are
    /// none. Of two zeros it is the first one.
    Max,
    /// The sum of those inside the image; −0 when there are none.
    Sum,
    /// Their sum, times one over their number; NaN when there are none.
    Average,
    /// Their sum, times one over the number of those inside the image and its
    /// padding. A tap after the padding is not counted, as windows have them where
    /// their number is rounded up.
    AverageAll {
        /// Rows and columns of padding that follow the image. The taps of a window
        /// all count when this is large.
        after: [usize; 2],
    },
}

/// A pool of each channel of an image. Pairs are of rows and columns.
#[derive(Debug, Clone, Copy)]
pub struct Pool<'a> {
    /// What is made of the windows.
    pub op: Pooling,
    /// The image: rows of columns of channels.
    pub x: &'a [f32],
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

impl Pool<'_> {
    /// Writes `y`: for each window and channel what [`Pooling`] says, of the taps
    /// in their order. All instruction sets give the same bits.
    ///
    /// # Panics
    ///
    /// When a slice has another length than it says, a stride or dilation is 0, or
    /// the processor has not `isa`.
    pub fn run(self, isa: Isa, y: &mut [f32]) {
        let (reads, writes) = (floats(self.from, self.channels), floats(self.to, self.channels));
        assert!(self.x.len() == reads, "x of {} floats, not {reads}", self.x.len());
        assert!(y.len() == writes, "y of {} floats, not {writes}", y.len());
        let [rows, columns] = axes!(self);
        if !y.is_empty() {
            image(isa, self, rows, columns, y);
        }
    }
}

for_isa! { fn image(p: Pool<'_>, rows: Axis, columns: Axis, y: &mut [f32]) = kernel; }

#[inline(always)]
fn kernel<V: Lanes>(p: Pool<'_>, rows: Axis, columns: Axis, y: &mut [f32]) {
    if p.op == Pooling::Max {
        all::<V, true>(p, rows, columns, y);
    } else {
        all::<V, false>(p, rows, columns, y);
    }
}

/// All windows: their largest, or their sums.
#[inline(always)]
fn all<V: Lanes, const MAX: bool>(p: Pool<'_>, rows: Axis, columns: Axis, y: &mut [f32]) {
    let channels = p.channels;
    let mut windows = y.chunks_exact_mut(channels);
    for row in 0..rows.windows() {
        let down = rows.taps(row);
        for (column, y) in windows.by_ref().take(columns.windows()).enumerate() {
            let across = columns.taps(column);
            let count = match p.op {
                Pooling::Max | Pooling::Sum => 1,
                Pooling::Average => down.len() * across.len(),
                Pooling::AverageAll { after } => {
                    rows.padded(row, after[0]) * columns.padded(column, after[1])
                }
            };
            let place = rows.place(row, down.start).wrapping_mul(columns.places());
            let place = place.wrapping_add(columns.place(column, across.start));
            let window = Window {
                x: p.x.as_ptr().wrapping_add(place.wrapping_mul(channels)),
                taps: [down.len(), across.len()],
                steps: [
                    p.dilation[0].wrapping_mul(columns.places()).wrapping_mul(channels),
                    p.dilation[1].wrapping_mul(channels),
                ],
                scale: 1.0 / count as f32,
            };
            // SAFETY: the taps are inside the image, and the channels are there.
            unsafe { window.write::<V, MAX>(y) };
        }
    }
}

/// What a window reads.
struct Window {
    /// Its first tap's first channel.
    x: *const f32,
    /// How many.
    taps: [usize; 2],
    /// Floats from one to the next one.
    steps: [usize; 2],
    scale: f32,
}

impl Window {
    /// Writes all channels.
    ///
    /// # Safety
    ///
    /// Every tap has as many as `y`.
    #[inline(always)]
    unsafe fn write<V: Lanes, const MAX: bool>(&self, y: &mut [f32]) {
        let channels = y.len();
        let mut at = 0;
        // SAFETY: there are so many channels from `at` on.
        unsafe {
            while at + 4 * WIDTH <= channels {
                self.four::<V, MAX>(at, y.as_mut_ptr().add(at));
                at += 4 * WIDTH;
            }
            while at < channels {
                let count = channels.min(WIDTH);
                // The last ones end with the last channel.
                let from = at.min(channels - count);
                self.one::<V, MAX>(from, count, y.as_mut_ptr().add(from));
                at += WIDTH;
            }
        }
    }

    /// The 64 channels from `at` on.
    ///
    /// # Safety
    ///
    /// They are there.
    #[inline(always)]
    unsafe fn four<V: Lanes, const MAX: bool>(&self, at: usize, y: *mut f32) {
        let none = none::<V, MAX>();
        let (mut a, mut b, mut c, mut d) = (none, none, none, none);
        // SAFETY: the contract.
        unsafe {
            self.each(at, |x| {
                a = step::<V, MAX>(a, V::load(x));
                b = step::<V, MAX>(b, V::load(x.add(WIDTH)));
                c = step::<V, MAX>(c, V::load(x.add(2 * WIDTH)));
                d = step::<V, MAX>(d, V::load(x.add(3 * WIDTH)));
            });
            self.end::<V, MAX>(a).store(y);
            self.end::<V, MAX>(b).store(y.add(WIDTH));
            self.end::<V, MAX>(c).store(y.add(2 * WIDTH));
            self.end::<V, MAX>(d).store(y.add(3 * WIDTH));
        }
    }

    /// The `count` channels from `at` on, sixteen at most.
    ///
    /// # Safety
    ///
    /// They are there.
    #[inline(always)]
    unsafe fn one<V: Lanes, const MAX: bool>(&self, at: usize, count: usize, y: *mut f32) {
        let mut sum = none::<V, MAX>();
        // SAFETY: the contract.
        unsafe {
            if count == WIDTH {
                self.each(at, |x| sum = step::<V, MAX>(sum, V::load(x)));
                self.end::<V, MAX>(sum).store(y);
            } else {
                self.each(at, |x| sum = step::<V, MAX>(sum, V::load_some(x, count, 0.0)));
                self.end::<V, MAX>(sum).store_some(y, count);
            }
        }
    }

    /// Calls `f` with where each tap has its channel `at`.
    #[inline(always)]
    fn each(&self, at: usize, mut f: impl FnMut(*const f32)) {
        let mut row = self.x.wrapping_add(at);
        for _ in 0..self.taps[0] {
            let mut x = row;
            for _ in 0..self.taps[1] {
                f(x);
                x = x.wrapping_add(self.steps[1]);
            }
            row = row.wrapping_add(self.steps[0]);
        }
    }

    #[inline(always)]
    fn end<V: Lanes, const MAX: bool>(&self, sum: V) -> V {
        if MAX { sum } else { sum.mul(V::splat(self.scale)) }
    }
}

/// What is made of no tap.
#[inline(always)]
fn none<V: Lanes, const MAX: bool>() -> V {
    V::splat(if MAX { f32::NEG_INFINITY } else { -0.0 })
}

/// What is made of taps and one more.
#[inline(always)]
fn step<V: Lanes, const MAX: bool>(sum: V, x: V) -> V {
    if MAX { x.max(sum) } else { sum.add(x) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{same, same_all, strange};
    use super::*;

    fn reference(p: Pool<'_>) -> Vec<f32> {
        let mut y = Vec::new();
        for at in 0..floats(p.to, p.channels) {
            let (place, channel) = (at / p.channels, at % p.channels);
            let window = [place / p.to[1], place % p.to[1]];
            let (mut max, mut sum, mut inside, mut padded) = (f32::NEG_INFINITY, -0.0, 0, 0);
            for tap in 0..p.kernel[0] * p.kernel[1] {
                let tap = [tap / p.kernel[1], tap % p.kernel[1]];
                let place: [usize; 2] =
                    std::array::from_fn(|i| window[i] * p.stride[i] + tap[i] * p.dilation[i]);
                if let Pooling::AverageAll { after } = p.op {
                    let end = |i: usize| (p.pad[i] + p.from[i]).saturating_add(after[i]);
                    padded += usize::from(place[0] < end(0) && place[1] < end(1));
                }
                let [row, column] = std::array::from_fn(|i| place[i].wrapping_sub(p.pad[i]));
                if row < p.from[0] && column < p.from[1] {
                    let x = p.x[(row * p.from[1] + column) * p.channels + channel];
                    max = if x > max { x } else { max };
                    (sum, inside) = (sum + x, inside + 1);
                }
            }
            y.push(match p.op {
                Pooling::Max => max,
                Pooling::Sum => sum,
                Pooling::Average => sum * (1.0 / inside as f32),
                Pooling::AverageAll { .. } => sum * (1.0 / padded as f32),
            });
        }
        y
    }

    fn check(p: Pool<'_>) {
        let x = &strange(floats(p.from, p.channels), 5)[..];
        let (far, near) = ([usize::MAX; 2], [1, 0]);
        for op in [
            Pooling::Max,
            Pooling::Sum,
            Pooling::Average,
            Pooling::AverageAll { after: far },
            Pooling::AverageAll { after: near },
        ] {
            let p = Pool { op, x, ..p };
            let got = same_all(|isa| {
                let mut y = vec![7.0; floats(p.to, p.channels) + 1];
                p.run(isa, &mut y[..floats(p.to, p.channels)]);
                assert_eq!(y.pop(), Some(7.0), "past the end");
                y
            });
            same(&got, &reference(p), &format!("{op:?} of {:?}, {}", p.from, p.channels));
        }
    }

    const POOL: Pool<'_> = Pool {
        op: Pooling::Max,
        x: &[],
        from: [5, 7],
        to: [5, 7],
        channels: 3,
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        pad: [1, 1],
    };

    #[test]
    fn every_number_of_channels_will_do() {
        for channels in (1..41).chain([64, 70, 130]) {
            check(Pool { channels, ..POOL });
            check(Pool { channels, to: [3, 4], stride: [2, 2], kernel: [2, 3], ..POOL });
        }
    }

    #[test]
    fn strides_dilations_and_padding_may_be_odd() {
        for channels in [1, 16, 37] {
            let pool = Pool { channels, ..POOL };
            check(Pool { to: [2, 4], kernel: [3, 2], stride: [3, 2], ..pool });
            check(Pool { to: [5, 6], dilation: [2, 3], pad: [2, 3], ..pool });
            check(Pool { to: [14, 16], pad: [6, 5], ..pool });
            check(Pool { to: [1, 1], kernel: [5, 7], pad: [0, 0], ..pool });
            check(Pool { to: [4, 4], kernel: [2, 2], stride: [2, 2], pad: [0, 0], ..pool });
            check(Pool { from: [0, 3], to: [2, 2], ..pool });
        }
    }

    #[test]
    fn not_a_number_is_no_maximum() {
        let x = &[f32::NAN, 1.0, f32::NAN, f32::NAN, f32::NAN][..];
        let pool = Pool { x, from: [1, 5], to: [1, 4], channels: 1, kernel: [1, 2], ..POOL };
        let mut y = [0.0; 4];
        Pool { pad: [0, 0], ..pool }.run(Isa::Scalar, &mut y);
        assert_eq!(y, [1.0, 1.0, f32::NEG_INFINITY, f32::NEG_INFINITY]);
    }

    #[test]
    #[should_panic(expected = "x of 3 floats, not 105")]
    fn another_image_is_refused() {
        Pool { x: &[0.0; 3], ..POOL }.run(Isa::Scalar, &mut [0.0; 105]);
    }

    #[test]
    #[should_panic(expected = "dilation 0")]
    fn no_dilation_is_refused() {
        Pool { x: &[0.0; 105], dilation: [1, 0], ..POOL }.run(Isa::Scalar, &mut [0.0; 105]);
    }
}
