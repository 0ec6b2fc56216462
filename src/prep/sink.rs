//! What resampled rows become: elements of a tensor.

use super::fit::Axis;
use super::image::{Layout, Target};
use crate::kernels::{BLOCK, Blend, Isa, Plane, join, join_bytes};

/// From a byte's value to an element, by plane: value · factor + bias.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Norm {
    pub(super) factor: [f32; 3],
    pub(super) bias: [f32; 3],
}

impl Norm {
    pub(super) const NONE: Norm = Norm { factor: [1.0; 3], bias: [0.0; 3] };

    fn of(&self, plane: usize, value: f32) -> f32 {
        value.mul_add(self.factor[plane], self.bias[plane])
    }

    fn blend(&self, plane: usize, part: f32) -> Blend {
        let (factor, bias) = (self.factor[plane], self.bias[plane]);
        Blend { upper: (1.0 - part) * factor, lower: part * factor, bias }
    }
}

/// A tensor that is written.
pub(super) struct Sink<'a> {
    isa: Isa,
    target: Target<'a>,
    layout: Layout,
    size: [usize; 2],
    planes: usize,
    norm: Norm,
}

/// Planes of parts of two rows, and how much of the lower one there is.
pub(super) struct Between<'a> {
    pub(super) upper: &'a [Plane; 3],
    pub(super) lower: &'a [Plane; 3],
    pub(super) part: f32,
}

impl<'a> Sink<'a> {
    /// Over as many elements as `size` has pixels of `planes`.
    pub(super) fn new(
        isa: Isa,
        target: Target<'a>,
        layout: Layout,
        size: [usize; 2],
        planes: usize,
        norm: Norm,
    ) -> Sink<'a> {
        Sink { isa, target, layout, size, planes, norm }
    }

    /// Writes `count` pixels from the one at `x` and `y` on.
    pub(super) fn put(&mut self, [x, y]: [usize; 2], count: usize, rows: &Between<'_>) {
        let [width, height] = self.size;
        let pixel = y * width + x;
        for plane in 0..self.planes {
            let blend = self.norm.blend(plane, rows.part);
            let (upper, lower) = (&rows.upper[plane], &rows.lower[plane]);
            let begin = plane * width * height + pixel;
            match (&mut self.target, self.layout) {
                (Target::Floats(to), Layout::Chw) => {
                    join(self.isa, blend, upper, lower, &mut to[begin..][..count]);
                }
                (Target::Bytes(to), Layout::Chw) => {
                    join_bytes(self.isa, blend, upper, lower, &mut to[begin..][..count]);
                }
                (Target::Floats(to), Layout::Hwc) => {
                    let mut some = [0.0; BLOCK];
                    join(self.isa, blend, upper, lower, &mut some[..count]);
                    scatter(&some[..count], plane, self.planes, &mut to[pixel * self.planes..]);
                }
                (Target::Bytes(to), Layout::Hwc) => {
                    let mut some = [0; BLOCK];
                    join_bytes(self.isa, blend, upper, lower, &mut some[..count]);
                    scatter(&some[..count], plane, self.planes, &mut to[pixel * self.planes..]);
                }
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
        let (planes, area) = (self.planes, self.size[0] * self.size[1]);
        for (plane, value) in colour.into_iter().take(planes).enumerate() {
            let value = self.norm.of(plane, value);
            let (begin, step) = match self.layout {
                Layout::Chw => (plane * area + pixels.start, 1),
                Layout::Hwc => (pixels.start * planes + plane, planes),
            };
            match &mut self.target {
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

/// Writes one channel of pixels of `planes`.
fn scatter<T: Copy>(from: &[T], plane: usize, planes: usize, to: &mut [T]) {
    for (to, from) in to.chunks_exact_mut(planes).zip(from) {
        to[plane] = *from;
    }
}
