//! The loops of resampling: a block of columns at a time, row after row, in memory of the
//! stack.

use super::fit::Axis;
use super::image::{Filter, Image};
use super::sink::{Between, Sink};
use super::taps::{self, Pair};
use crate::kernels::{BLOCK, Isa, Pairs, Pixel, Plane, Rows, mix, sum_rows, sum_windows};

/// Blocks of `axis`: where each begins, and how many places it has.
fn blocks(axis: &Axis) -> impl Iterator<Item = (usize, usize)> {
    let count = axis.count;
    (0..count).step_by(BLOCK).map(move |begin| (begin, BLOCK.min(count - begin)))
}

/// A part of a row, resampled; which row that is.
struct Held {
    row: Option<usize>,
    planes: [Plane; 3],
}

impl Held {
    const NONE: Held = Held { row: None, planes: [[0.0; BLOCK]; 3] };
}

/// Resamples from two pixels each way.
pub(super) fn pairs(
    isa: Isa,
    image: &Image<'_>,
    pixel: Pixel,
    filter: Filter,
    [x, y]: &[Axis; 2],
    sink: &mut Sink<'_>,
) {
    let of = |axis: &Axis, i: usize| match filter {
        Filter::Nearest => taps::nearest(axis, i),
        _ => taps::linear(axis, i),
    };
    let mut columns = Pairs::default();
    let mut held = [Held::NONE; 2];
    for (begin, count) in blocks(x) {
        columns.set((begin..begin + count).map(|i| {
            let Pair { first, part } = of(x, i);
            (first * pixel.bytes(), part)
        }));
        held.iter_mut().for_each(|held| held.row = None);
        for i in 0..y.count {
            let Pair { first, part } = of(y, i);
            let [upper, lower] = two_rows(&mut held, first, part, |row, planes| {
                columns.read(image.row(row));
                mix(isa, pixel, &columns, planes);
            });
            let rows = Between { upper, lower, part };
            sink.put([x.begin + begin, y.begin + i], count, &rows);
        }
    }
}

/// Row `first` and the one below, of which `part` is wanted: those that are not held are
/// made. A row of which nothing is wanted may be any.
fn two_rows(
    held: &mut [Held; 2],
    first: usize,
    part: f32,
    mut make: impl FnMut(usize, &mut [Plane; 3]),
) -> [&[Plane; 3]; 2] {
    if held[1].row == Some(first) {
        held.swap(0, 1);
    }
    let [upper, lower] = held;
    let wants = [(upper, first, part < 1.0), (lower, first + 1, part > 0.0)];
    wants.map(|(held, row, is_wanted)| {
        if is_wanted && held.row != Some(row) {
            make(row, &mut held.planes);
            held.row = Some(row);
        }
        &held.planes
    })
}

/// Pixels that the places of a block are made of, at most.
const SPAN: usize = 1024;
/// Weights that a block has, at most.
const WEIGHTS: usize = 4096;
/// Floats that a kernel reads at once: windows are as wide as a number of them.
const WIDTH: usize = 16;

/// A block of columns, each of which is made of many pixels.
struct Windows {
    /// Of the row, the first pixel and past the last.
    span: (usize, usize),
    count: usize,
    /// Weights of a column; those past its pixels are 0.
    width: usize,
    weights: [f32; WEIGHTS],
    /// Where in the span each begins.
    begins: [usize; BLOCK],
}

impl Windows {
    /// From column `begin` on, as many as there is room for; one always has.
    fn set(&mut self, axis: &Axis, begin: usize) {
        let (first, end) = taps::span(axis, begin);
        let most = (2.0 * axis.step().max(1.0)) as usize + 2;
        self.span = (first, end);
        self.width = most.next_multiple_of(WIDTH);
        self.count = 0;
        self.weights.fill(0.0);
        let room = BLOCK.min(WEIGHTS / self.width).min(axis.count - begin);
        for i in 0..room {
            let (at, end) = taps::span(axis, begin + i);
            if end - first > SPAN {
                break;
            }
            self.begins[i] = at - first;
            let weights = &mut self.weights[i * self.width..][..end - at];
            taps::triangle(axis, begin + i, weights);
            self.span.1 = end.max(self.span.1);
            self.count += 1;
        }
    }
}

/// Resamples from all pixels under a triangle each way.
pub(super) fn smooth(
    isa: Isa,
    image: &Image<'_>,
    pixel: Pixel,
    [x, y]: &[Axis; 2],
    sink: &mut Sink<'_>,
) {
    let mut windows =
        Windows { span: (0, 0), count: 0, width: 0, weights: [0.0; WEIGHTS], begins: [0; BLOCK] };
    let mut column = [0.0; SPAN];
    let mut pixels = [0.0; 4 * SPAN];
    // A window that is wider than its pixels reads past the span.
    let mut planes = [[0.0; 2 * SPAN]; 3];
    let mut made = [[0.0; BLOCK]; 3];
    let mut begin = 0;
    let bytes = pixel.bytes();
    while begin < x.count {
        windows.set(x, begin);
        let Windows { span, count, width, .. } = windows;
        let pixels = &mut pixels[..(span.1 - span.0) * bytes];
        for i in 0..y.count {
            let (top, end) = taps::span(y, i);
            let weights = &mut column[..end - top];
            taps::triangle(y, i, weights);
            let first = image.begin(top) + span.0 * bytes;
            let rows = Rows { bytes: image.bytes, first, stride: image.stride, weights };
            sum_rows(isa, rows, pixels);
            split(pixel, pixels, &mut planes);
            for (made, plane) in made.iter_mut().zip(&planes).take(pixel.planes()) {
                let weights = &windows.weights[..count * width];
                let begins = &windows.begins[..count];
                sum_windows(isa, width, weights, begins, plane, &mut made[..count]);
            }
            let rows = Between { upper: &made, lower: &made, part: 0.0 };
            sink.put([x.begin + begin, y.begin + i], count, &rows);
        }
        begin += count;
    }
}

/// The planes of pixels.
fn split<const N: usize>(pixel: Pixel, pixels: &[f32], planes: &mut [[f32; N]; 3]) {
    let [first, second, third] = planes;
    match pixel {
        Pixel::Gray => first[..pixels.len()].copy_from_slice(pixels),
        Pixel::Colours(bytes) => {
            let all = pixels.chunks_exact(bytes).zip(first).zip(second).zip(third);
            for (((pixel, x), y), z) in all {
                (*x, *y, *z) = (pixel[0], pixel[1], pixel[2]);
            }
        }
        Pixel::Sum(bytes, [a, b, c]) => {
            for (pixel, to) in pixels.chunks_exact(bytes).zip(first) {
                *to = pixel[0] * a + pixel[1] * b + pixel[2] * c;
            }
        }
    }
}
