//! Resized images, channels last: an axis after the other, as tract has them.

use super::lower::{Context, Lowered, Ref, floats};
use super::memory::Mapped;
use super::ops::Op;
use super::split::Team;
use crate::error::Result;
use crate::kernels::{self, Isa, Taps};
use serde::{Deserialize, Serialize};
use tract_onnx::tract_core::ops::nn::Resize as Given;

/// What each place along an axis is made of.
#[derive(Debug, Serialize, Deserialize)]
struct Axis {
    window: usize,
    indices: Vec<usize>,
    weights: Vec<f32>,
}

impl Axis {
    fn len(&self) -> usize {
        self.indices.len() / self.window
    }

    /// The taps of so many places from `first` on.
    fn taps(&self, first: usize, count: usize) -> Taps<'_> {
        let taps = first * self.window..(first + count) * self.window;
        let (indices, weights) = (&self.indices[taps.clone()], &self.weights[taps]);
        Taps { window: self.window, indices, weights }
    }
}

/// Images at another size.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Resize {
    batch: usize,
    channels: usize,
    from: [usize; 2],
    rows: Axis,
    columns: Axis,
}

impl Resize {
    /// Floats of a row of what is given, and of the result.
    fn lines(&self) -> [usize; 2] {
        [self.from[1] * self.channels, self.columns.len() * self.channels]
    }

    /// Each image, and its rows in the result.
    fn images<'a>(
        &self,
        x: &'a [f32],
        y: &'a mut [f32],
    ) -> impl Iterator<Item = (&'a [f32], &'a mut [f32])> + use<'a> {
        let [line, to] = self.lines();
        let images = x.chunks_exact(self.from[0] * line).take(self.batch);
        images.zip(y.chunks_exact_mut(self.rows.len() * to))
    }

    /// `row` is memory for one row of an image.
    pub(super) fn run(&self, isa: Isa, reads: &Mapped, y: &mut [f32], row: &mut [f32]) {
        for (x, y) in self.images(reads.get(0), y) {
            self.some(isa, x, 0, y, row);
        }
    }

    /// As [`Resize::run`], rows of the result side by side.
    pub(super) fn split(
        &self,
        isa: Isa,
        reads: &Mapped,
        y: &mut [f32],
        cost: u64,
        team: &mut Team,
    ) -> Result<bool> {
        let ([_, to], images) = (self.lines(), self.images(reads.get(0), y));
        team.images(cost, (self.batch, images), [to, 1], |row, (_, x), first, y| {
            self.some(isa, x, first, y, row);
        })
    }

    /// Rows of an image's result, from the `first`th on.
    fn some(&self, isa: Isa, x: &[f32], first: usize, y: &mut [f32], row: &mut [f32]) {
        let ([line, to], columns) = (self.lines(), self.columns.taps(0, self.columns.len()));
        let row = &mut row[..line];
        for (at, y) in (first..).zip(y.chunks_exact_mut(to)) {
            kernels::blend(isa, self.rows.taps(at, 1), line, x, row);
            kernels::blend(isa, columns, self.channels, row, y);
        }
    }
}

pub(super) fn lower(context: &Context) -> Option<Lowered> {
    let op = context.node.op_as::<Given>()?;
    let ([batch, channels, height, width], to) = (context.image(0)?, context.output(0)?);
    let [_, rows, columns, _] = to[..] else { return None };
    let scales = op.optional_scales_input.and_then(|index| context.constant(index));
    let scales = scales.and_then(floats).filter(|scales| scales.len() == to.len());
    let ratio = |to: usize, from: usize| to as f32 / from as f32;
    let scales = match scales {
        Some([n, c, h, w]) => ([*n, *c] == [1.0, 1.0]).then_some([*h, *w])?,
        _ => [ratio(rows, height), ratio(columns, width)],
    };
    if to != [batch, rows, columns, channels] {
        return None;
    }
    let axis = |scale: f32, from: usize, to: usize| {
        let plan = op.plan_axis(scale, from, to);
        let within = !plan.extrapolated.contains(&true) && plan.window > 0;
        let (window, indices, weights) = (plan.window, plan.indices, plan.weights);
        within.then_some(Axis { window, indices, weights })
    };
    let (rows, columns) = (axis(scales[0], height, rows)?, axis(scales[1], width, columns)?);
    let resize = Resize { batch, channels, from: [height, width], rows, columns };
    let writes = vec![to.iter().product(), width * channels];
    let mut lowered = Lowered::default();
    let value = lowered.step_of(Op::Resize(resize), vec![Ref::Input(0)], writes);
    lowered.outputs.push(value);
    Some(lowered)
}
