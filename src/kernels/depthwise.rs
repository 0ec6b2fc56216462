//! Convolutions of each channel on its own, over images whose channels lie
//! together.

use super::each::each;
use super::isa::Isa;
use super::lanes::{Lanes, WIDTH, for_isa};
use super::window::{Axis, axes, floats};
use std::ops::Range;

/// A convolution of each channel with a kernel of its own. What lies before and
/// after the image is left out of the sums. Pairs are of rows and columns.
#[derive(Debug, Clone, Copy)]
pub struct Depthwise<'a> {
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
    /// Of each tap, row by row: one of each channel.
    pub weights: &'a [f32],
    /// What the sums of each channel begin with.
    pub bias: &'a [f32],
    /// What is added to the sums; as what is written.
    pub residual: Option<&'a [f32]>,
    /// Lowest and highest of what is written; NaN stays NaN.
    pub clamp: Option<[f32; 2]>,
}

impl Depthwise<'_> {
    /// Writes `y`: for each window and channel the bias, and the sum over the
    /// taps inside the image of weight · x, in their order, each product fused
    /// with its addition; then the residual is added, and the sum is clamped. All
    /// instruction sets give the same bits.
    ///
    /// # Panics
    ///
    /// When a slice has another length than it says, a stride or dilation is 0, or
    /// the processor has not `isa`.
    pub fn run(self, isa: Isa, y: &mut [f32]) {
        let Depthwise { x, from, to, channels, kernel, weights, bias, residual, .. } = self;
        let len = |name, got: usize, image, channels| {
            let want = floats(image, channels);
            assert!(got == want, "{name} of {got} floats, not {want}");
        };
        len("x", x.len(), from, channels);
        len("y", y.len(), to, channels);
        len("weights", weights.len(), kernel, channels);
        len("bias", bias.len(), [1, 1], channels);
        len("residual", residual.map_or(y.len(), <[f32]>::len), to, channels);
        let [rows, columns] = axes!(self);
        if !y.is_empty() {
            image(isa, self, rows, columns, y);
        }
    }
}

for_isa! { fn image(d: Depthwise<'_>, rows: Axis, columns: Axis, y: &mut [f32]) = kernel; }

#[inline(always)]
fn kernel<V: Lanes>(d: Depthwise<'_>, rows: Axis, columns: Axis, y: &mut [f32]) {
    let (channels, taps) = (d.channels, d.weights.len() / d.channels);
    // Of few channels, a vector has those of several columns.
    let group = if channels < WIDTH && d.stride[1] == 1 && taps <= MOST_TAPS {
        WIDTH / channels
    } else {
        1
    };
    let mut more = [0.0; (MOST_TAPS + 1) * WIDTH];
    let (bias, weights) = more.split_at_mut(WIDTH);
    let mut wide = Wide { weights: d.weights, bias: d.bias, step: channels, stride: d.stride[1] };
    if group > 1 && group * channels == WIDTH {
        for i in 0..WIDTH {
            bias[i] = d.bias[i % channels];
            for tap in 0..taps {
                weights[tap * WIDTH + i] = d.weights[tap * channels + i % channels];
            }
        }
        wide = Wide { weights, bias, step: WIDTH, stride: group };
    }
    let all = All { d, wide, rows, columns };
    if V::REGISTERS > 0 && d.dilation[1] == 1 && wide.step >= WIDTH {
        match (d.kernel[1], wide.stride) {
            (3, 1) => return all.write::<V, 3, 1>(y),
            (3, 2) => return all.write::<V, 3, 2>(y),
            (5, 1) => return all.write::<V, 5, 1>(y),
            (5, 2) => return all.write::<V, 5, 2>(y),
            _ => {}
        }
    }
    all.write::<V, 0, 0>(y);
}

/// Taps of the kernels whose weights are copied for vectors of several columns.
const MOST_TAPS: usize = 25;

/// Floats of an image's rows that stay in a first-level cache while windows slide
/// over them.
const NEAR: usize = 6144;

/// How columns are computed side by side, a vector of each.
#[derive(Clone, Copy)]
struct Wide<'a> {
    /// Of each tap, `step` of them.
    weights: &'a [f32],
    bias: &'a [f32],
    /// Floats that are written from one vector to the next one: the channels, or
    /// those of several columns that make a vector.
    step: usize,
    /// Columns that are read from one vector to the next one.
    stride: usize,
}

/// All windows.
#[derive(Clone, Copy)]
struct All<'a> {
    d: Depthwise<'a>,
    wide: Wide<'a>,
    rows: Axis,
    columns: Axis,
}

impl All<'_> {
    /// Writes them: of kernels of `K` columns `S` apart, or of others when `K` is 0.
    #[inline(always)]
    fn write<V: Lanes, const K: usize, const S: usize>(&self, y: &mut [f32]) {
        let All { d, wide, rows, columns } = *self;
        // So many channels at a time that the rows of a window stay near; but all of
        // them where that would be few, as far memory is best read in long pieces.
        let read = d.kernel[0].saturating_mul(columns.places()).saturating_mul(WIDTH);
        let vectors = NEAR / read.max(1);
        let strip = if vectors < 4 { d.channels } else { vectors * WIDTH };
        for channel in (0..d.channels).step_by(strip) {
            let channels = channel..d.channels.min(channel + strip);
            for row in 0..rows.windows() {
                let taps = rows.taps(row);
                let place = rows.place(row, taps.start);
                let channels = channels.clone();
                let row = Row { d, wide, columns, taps, place, row, channels };
                if V::REGISTERS >= 32 && K > 0 {
                    row.write::<V, 7, K, S>(y);
                } else if V::REGISTERS > 0 {
                    row.write::<V, 4, K, S>(y);
                } else {
                    row.write::<V, 1, 0, 0>(y);
                }
            }
        }
    }
}

/// A row of windows.
struct Row<'a> {
    d: Depthwise<'a>,
    wide: Wide<'a>,
    columns: Axis,
    /// The rows of the kernel that are inside the image.
    taps: Range<usize>,
    /// The first row of the image that they read.
    place: usize,
    /// The row that is written.
    row: usize,
    channels: Range<usize>,
}

impl Row<'_> {
    /// Writes all columns, in tiles of `T` vectors or four or one.
    #[inline(always)]
    fn write<V: Lanes, const T: usize, const K: usize, const S: usize>(&self, y: &mut [f32]) {
        // Several columns in a vector have to be inside the image.
        let group = self.wide.step / self.d.channels;
        let all = 0..self.columns.windows();
        let range = if group > 1 { self.columns.all_inside() } else { all.clone() };
        let mut at = 0;
        while at < all.end {
            let there = if range.contains(&at) { range.len() / group } else { 0 };
            let left = range.end.saturating_sub(at);
            // The last ones may be some of those before them again.
            if T > 4 && there >= T && left > 4 * group {
                let from = at.min(range.end - T * group);
                self.tiles::<V, T, K, S>(from, y);
                at = from + T * group;
            } else if T >= 4 && there >= 4 {
                let from = at.min(range.end - 4 * group);
                self.tiles::<V, 4, K, S>(from, y);
                at = from + 4 * group;
            } else {
                self.tiles::<V, 1, 0, 0>(at, y);
                at += 1;
            }
        }
    }

    /// Writes the `T` vectors from column `at` on, of all channels; the last ones
    /// may be some of those before them again.
    #[inline(always)]
    fn tiles<V: Lanes, const T: usize, const K: usize, const S: usize>(
        &self,
        at: usize,
        y: &mut [f32],
    ) {
        let channels = self.d.channels;
        let easy = self.wide.step >= WIDTH && self.columns.inside(at, T);
        for channel in self.channels.clone().step_by(WIDTH) {
            let channel = channel.min(channels.saturating_sub(WIDTH));
            // SAFETY: these columns are there, and sixteen channels or all. Vectors
            // of several columns are inside the image.
            unsafe {
                if T == 1 || K == 0 && self.wide.step < WIDTH {
                    self.tile::<V, T, 0, 0, true, true>(at, channel, y);
                } else if easy {
                    self.tile::<V, T, K, S, false, false>(at, channel, y);
                } else {
                    self.tile::<V, T, K, S, true, false>(at, channel, y);
                }
            }
        }
    }

    /// Writes the `T` vectors from column `at` on, of the sixteen channels from
    /// `channel` on.
    ///
    /// # Safety
    ///
    /// There are so many columns to write, and channels; fewer channels only with
    /// `SOME`, windows that are not all inside the image only with `EDGE`.
    #[inline(always)]
    unsafe fn tile<
        V: Lanes,
        const T: usize,
        const K: usize,
        const S: usize,
        const EDGE: bool,
        const SOME: bool,
    >(
        &self,
        at: usize,
        channel: usize,
        y: &mut [f32],
    ) {
        let Row { d, columns, taps, place, row, .. } = self;
        let channels = d.channels;
        let one = Wide { weights: d.weights, bias: d.bias, step: channels, stride: 1 };
        let Wide { weights, bias, step, stride } = if T == 1 { one } else { self.wide };
        let count = if SOME { (channels - channel).min(WIDTH) } else { WIDTH };
        let width = columns.places();
        let first = columns.place(at, 0);
        let begin = place.wrapping_mul(width).wrapping_add(first).wrapping_mul(channels);
        let mut from = d.x.as_ptr().wrapping_add(begin).wrapping_add(channel);
        let mut weights = weights.as_ptr().wrapping_add(taps.start * d.kernel[1] * step);
        weights = weights.wrapping_add(channel);
        let down = d.dilation[0].wrapping_mul(width).wrapping_mul(channels);
        // SAFETY: `run` has measured the slices, and what is read is inside: a place
        // of the image with its channels, a tap's weights, and the columns of `y`.
        unsafe {
            let bias = some::<V, SOME>(bias.as_ptr().add(channel), count);
            let mut sums = [V::splat(0.0); T];
            each!(t < T, { sums[t] = bias });
            for _ in taps.clone() {
                if K > 0 {
                    let mut w = [V::splat(0.0); K];
                    each!(k < K, { w[k] = some::<V, SOME>(weights.add(k * step), count) });
                    each!(j < (T - 1) * S + K, 17, {
                        if !EDGE || first.wrapping_add(j) < width {
                            let x = some::<V, SOME>(from.wrapping_add(j * channels), count);
                            each!(k < K, {
                                if let Some(t) = window(T, S, j, k) {
                                    sums[t] = w[k].mul_add(x, sums[t]);
                                }
                            });
                        }
                    });
                } else {
                    for k in 0..d.kernel[1] {
                        let w = some::<V, SOME>(weights.add(k * step), count);
                        let place = first.wrapping_add(k * d.dilation[1]);
                        let x = from.wrapping_add((k * d.dilation[1]).wrapping_mul(channels));
                        each!(t < T, {
                            let on = t * stride;
                            if !EDGE || place.wrapping_add(on) < width {
                                let x = x.wrapping_add(on.wrapping_mul(channels));
                                sums[t] = w.mul_add(some::<V, SOME>(x, count), sums[t]);
                            }
                        });
                    }
                }
                from = from.wrapping_add(down);
                weights = weights.wrapping_add(d.kernel[1] * step);
            }
            let to = (row * columns.windows() + at) * channels + channel;
            if let Some(residual) = d.residual {
                let residual = residual.as_ptr().add(to);
                each!(t < T, {
                    sums[t] = sums[t].add(some::<V, SOME>(residual.add(t * step), count));
                });
            }
            if let Some([low, high]) = d.clamp {
                let (low, high) = (V::splat(low), V::splat(high));
                each!(t < T, { sums[t] = high.min(low.max(sums[t])) });
            }
            let to = y.as_mut_ptr().add(to);
            each!(t < T, {
                let to = to.add(t * step);
                if !SOME || count == WIDTH {
                    sums[t].store(to);
                } else {
                    sums[t].store_some(to, count);
                }
            });
        }
    }
}

/// Which of `t` windows, `s` apart, has its tap `k` on place `j`.
#[inline(always)]
const fn window(t: usize, s: usize, j: usize, k: usize) -> Option<usize> {
    if s == 0 || j < k || !(j - k).is_multiple_of(s) || (j - k) / s >= t {
        return None;
    }
    Some((j - k) / s)
}

/// Sixteen floats, or with `SOME` the first `count`.
///
/// # Safety
///
/// There are so many.
#[inline(always)]
unsafe fn some<V: Lanes, const SOME: bool>(from: *const f32, count: usize) -> V {
    // SAFETY: the contract.
    unsafe { if SOME { V::load_some(from, count, 0.0) } else { V::load(from) } }
}

#[cfg(test)]
mod tests;
