//! A convolution on several threads: by rows of the image, or by filters where
//! these have many more floats than the image, or there are few rows.

use super::{Conv2d, Geometry, Mapped, Packed, Weights};
use crate::error::Result;
use crate::kernels::{self, Isa, Panel, Pieces, Winograd};
use crate::plan::region::split::Team;

/// Filters that a part has a multiple of.
const FILTERS: usize = 32;

/// Pixels that a part of rows has at least, where there are as many.
const PIXELS: usize = 48;

/// An image on its way through a convolution.
#[derive(Clone, Copy)]
struct Image<'a> {
    x: &'a [f32],
    residual: Option<&'a [f32]>,
}

impl Conv2d {
    /// As [`Conv2d::run`], on the threads of a team.
    pub(in crate::plan::region) fn split(
        &self,
        isa: Isa,
        reads: &Mapped,
        y: &mut [f32],
        cost: u64,
        team: &mut Team,
    ) -> Result<bool> {
        let Geometry { filters, to, .. } = self.geometry;
        let residual = self.tail.residual.map(|at| reads.get(at));
        let (len, cost) = (self.geometry.outputs(), cost / self.batch.max(1) as u64);
        for (at, (x, y)) in self.geometry.images(self.batch, reads.get(0), y).enumerate() {
            let image = Image { x, residual: residual.map(|all| &all[at * len..(at + 1) * len]) };
            let matrix = [to[0] * to[1], filters, filters];
            let done = match &self.weights {
                Weights::Winograd(filter) if self.by_rows(filter.bytes() / 4, team) => {
                    let row = [to[1] * filters, filter.tile().outputs()];
                    team.rows(cost, y, row, |scratch, first, y| {
                        self.winograd_rows(isa, image, first, scratch, y);
                    })?
                }
                Weights::Winograd(_) => {
                    team.columns(cost, y, matrix, 2 * FILTERS, |scratch, part, y| {
                        self.winograd_filters(isa, image, part, scratch, y);
                    })?
                }
                Weights::Windows(groups) => {
                    // Enough pixels that the weights are not read too often.
                    let least = PIXELS.div_ceil(to[1].max(1)).min(to[0].div_ceil(team.threads()));
                    let floats = groups.iter().map(Packed::bytes).sum::<usize>() / 4;
                    match &groups[..] {
                        [weights] if !self.by_rows(floats, team) => {
                            team.columns(cost, y, matrix, FILTERS, |scratch, part, y| {
                                self.window_filters(isa, weights, image, part, scratch, y);
                            })?
                        }
                        _ => {
                            team.rows(cost, y, [to[1] * filters, least], |scratch, first, y| {
                                self.window_rows(isa, groups, image, first, scratch, y);
                            })?
                        }
                    }
                }
            };
            if !done {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether parts are of rows, with so many floats of weights, which every part
    /// then reads; those of filters read all of the image.
    fn by_rows(&self, weights: usize, team: &Team) -> bool {
        let Geometry { filters, to, .. } = self.geometry;
        let rows = match &self.weights {
            Weights::Winograd(filter) => to[0].div_ceil(filter.tile().outputs()),
            Weights::Windows(_) => to[0],
        };
        let few = filters < 2 * FILTERS * team.threads();
        // (What another thread has just written comes slower than what nobody writes.)
        let image = self.geometry.inputs() + self.geometry.outputs();
        rows >= team.threads() && (few || weights < 2 * image)
    }

    /// Floats of scratch that a part needs at the most, where the whole needs so many.
    pub(in crate::plan::region) fn part_scratch(&self, whole: usize) -> usize {
        let Weights::Winograd(filter) = &self.weights else { return whole };
        let [rows, columns] = self.geometry.to;
        let heights = (1..=rows).filter(|h| h % filter.tile().outputs() == 0 || *h == rows);
        let most = heights.map(|height| Winograd::scratch(filter, [height, columns])).max();
        most.unwrap_or(0).max(whole)
    }

    /// The rows `y`, from the `first`th on, which begins a tile.
    fn winograd_rows(
        &self,
        isa: Isa,
        image: Image<'_>,
        first: usize,
        scratch: &mut [f32],
        y: &mut [f32],
    ) {
        let Weights::Winograd(filter) = &self.weights else { return };
        let Geometry { to, filters, .. } = self.geometry;
        let row = to[1] * filters;
        let (begin, from, pad) = self.geometry.below(first);
        let own = Winograd {
            x: &image.x[begin..],
            from,
            to: [y.len() / row, to[1]],
            pad,
            filter,
            bias: Some(&self.bias),
            residual: image.residual.map(|all| &all[first * row..first * row + y.len()]),
            clamp: self.tail.clamp,
            y: (&mut *y).into(),
        };
        own.run(isa, scratch);
        self.tail.finish(isa, y);
    }

    /// The filters of a part.
    fn winograd_filters(
        &self,
        isa: Isa,
        Image { x, residual }: Image<'_>,
        part: (usize, usize),
        scratch: &mut [f32],
        mut y: Panel<'_>,
    ) {
        let Weights::Winograd(filter) = &self.weights else { return };
        let Geometry { from, to, pad, .. } = self.geometry;
        let (bias, clamp, columns) = (Some(&*self.bias), self.tail.clamp, y.reborrow());
        Winograd { x, from, to, pad, filter, bias, residual, clamp, y: columns }
            .run_part(part, isa, scratch);
        self.finish(isa, part, &mut y);
    }

    /// The rows `y`, from the `first`th on.
    fn window_rows(
        &self,
        isa: Isa,
        groups: &[Packed],
        image: Image<'_>,
        first: usize,
        scratch: &mut [f32],
        y: &mut [f32],
    ) {
        let row = self.geometry.to[1] * self.geometry.filters;
        let (x, width) = self.geometry.padded(image.x, [first, y.len() / row], scratch);
        self.image(isa, groups, x, width, image.residual.map(|all| &all[first * row..]), y);
    }

    /// The filters of a part.
    fn window_filters(
        &self,
        isa: Isa,
        weights: &Packed,
        image: Image<'_>,
        part: (usize, usize),
        scratch: &mut [f32],
        mut y: Panel<'_>,
    ) {
        let Geometry { channels, filters, to, kernel, stride, dilation, .. } = self.geometry;
        let (x, width) = self.geometry.padded(image.x, [0, to[0]], scratch);
        let line = width * channels;
        let windows = kernels::Windows {
            x,
            to,
            steps: [stride[0] * line, stride[1] * channels],
            pieces: Pieces {
                count: kernel,
                steps: [dilation[0] * line, dilation[1] * channels],
                len: channels,
            },
            b: weights.as_packed().columns(part.0, part.1),
            bias: Some(&self.bias[part.0..part.1]),
            residual: image.residual.map(|all| (&all[part.0..], filters)),
            clamp: self.tail.clamp,
            c: y.reborrow(),
            ldc: filters,
        };
        windows.run(isa);
        self.finish(isa, part, &mut y);
    }

    /// Does the functions to the columns of a part.
    fn finish(&self, isa: Isa, part: (usize, usize), y: &mut Panel<'_>) {
        if !self.tail.then.is_empty() {
            let Geometry { filters, to, .. } = self.geometry;
            for pixel in 0..to[0] * to[1] {
                self.tail.finish(isa, y.row(pixel, filters, part.1 - part.0));
            }
        }
    }
}
