//! What resampled rows become: elements of a tensor.

use super::fit::Axis;
use super::image::{Layout, Target};
use crate::kernels::{BLOCK, Blend, Isa, Plane, Span, fill, fused, join, join_bytes};

/// From a byte's value to an element, by channel: value · factor + bias.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Norm {
    /// Which plane of the resampled rows.
    pub(super) planes: [usize; 3],
    pub(super) factor: [f32; 3],
    pub(super) bias: [f32; 3],
}

impl Norm {
    pub(super) const NONE: Norm = Norm { planes: [0; 3], factor: [1.0; 3], bias: [0.0; 3] };

    fn of(&self, channel: usize, value: f32) -> f32 {
        fused(value, self.factor[channel], self.bias[channel])
    }

    fn blend(&self, channel: usize, part: f32) -> Blend {
        let (plane, factor) = (self.planes[channel], self.factor[channel]);
        let bias = self.bias[channel];
        Blend { plane, upper: (1.0 - part) * factor, lower: part * factor, bias }
    }
}

/// A tensor that is written: as many elements as `size` has pixels of so many channels.
pub(super) struct Sink<'a> {
    pub(super) isa: Isa,
    pub(super) target: Target<'a>,
    pub(super) layout: Layout,
    pub(super) size: [usize; 2],
    pub(super) channels: usize,
    pub(super) norm: Norm,
}

/// Planes of parts of two rows, and how much of the lower one there is.
pub(super) struct Between<'a> {
    pub(super) upper: &'a [Plane; 3],
    pub(super) lower: &'a [Plane; 3],
    pub(super) part: f32,
}

impl Sink<'_> {
    /// Writes `count` pixels from the one at `x` and `y` on.
    pub(super) fn put(&mut self, [x, y]: [usize; 2], count: usize, rows: &Between<'_>) {
        let Between { upper, lower, part } = *rows;
        let [width, height] = self.size;
        let (pixel, channels) = (y * width + x, self.channels);
        let blends: [Blend; 3] = std::array::from_fn(|channel| self.norm.blend(channel, part));
        let blends = &blends[..channels];
        let planes = Span { begin: pixel, stride: width * height, count };
        let aside = Span { begin: 0, stride: BLOCK, count };
        match (&mut self.target, self.layout) {
            (Target::Floats(to), Layout::Chw) => join(self.isa, blends, upper, lower, planes, to),
            (Target::Bytes(to), Layout::Chw) => {
                join_bytes(self.isa, blends, upper, lower, planes, to);
            }
            (Target::Floats(to), Layout::Hwc) => {
                let mut some = [0.0; 3 * BLOCK];
                join(self.isa, blends, upper, lower, aside, &mut some);
                interleave(&some, &mut to[pixel * channels..][..count * channels], channels);
            }
            (Target::Bytes(to), Layout::Hwc) => {
                let mut some = [0; 3 * BLOCK];
                join_bytes(self.isa, blends, upper, lower, aside, &mut some);
                interleave(&some, &mut to[pixel * channels..][..count * channels], channels);
            }
        }
    }

    /// Writes a colour wherever no image goes.
    pub(super) fn pad_around(&mut self, [x, y]: &[Axis; 2], colour: [f32; 3]) {
        let [width, height] = self.size;
        let (right, below) = (x.begin + x.count, y.begin + y.count);
        self.fill(0..y.begin * width, colour);
        self.fill(below * width..height * width, colour);
        if x.count < width {
            for row in y.begin..below {
                self.fill(row * width..row * width + x.begin, colour);
                self.fill(row * width + right..(row + 1) * width, colour);
            }
        }
    }

    fn fill(&mut self, pixels: std::ops::Range<usize>, colour: [f32; 3]) {
        let (channels, area) = (self.channels, self.size[0] * self.size[1]);
        for (channel, value) in colour.into_iter().take(channels).enumerate() {
            let value = self.norm.of(channel, value);
            let (begin, step) = match self.layout {
                Layout::Chw => (channel * area + pixels.start, 1),
                Layout::Hwc => (pixels.start * channels + channel, channels),
            };
            match &mut self.target {
                Target::Floats(to) if step == 1 => {
                    fill(self.isa, value, &mut to[begin..][..pixels.len()]);
                }
                Target::Floats(to) => every(to, begin, step, pixels.len(), value),
                Target::Bytes(to) => {
                    every(to, begin, step, pixels.len(), value.round_ties_even() as u8);
                }
            }
        }
    }
}

/// Writes `count` elements that are `step` apart.
fn every<T: Copy>(to: &mut [T], begin: usize, step: usize, count: usize, value: T) {
    match step {
        1 => to[begin..][..count].fill(value),
        _ => to.iter_mut().skip(begin).step_by(step).take(count).for_each(|to| *to = value),
    }
}

/// Writes planes that are a block apart as pixels.
fn interleave<T: Copy>(from: &[T; 3 * BLOCK], to: &mut [T], channels: usize) {
    if channels == 1 {
        return to.copy_from_slice(&from[..to.len()]);
    }
    let (first, rest) = from.split_at(BLOCK);
    let (second, third) = rest.split_at(BLOCK);
    let pixels = to.as_chunks_mut::<3>().0;
    for (((to, x), y), z) in pixels.iter_mut().zip(first).zip(second).zip(third) {
        *to = [*x, *y, *z];
    }
}
