//! Convolutions of 3×3 by Winograd's minimal filtering.
//!
//! Tiles of the image and the filters become sums of their points, of which there
//! are as many as a tile has: for each place of a tile there is one product of
//! matrices, tiles · channels times channels · filters, and the sums of places
//! are the outputs. A tile of 6×6 gives 4×4 outputs with 36 products for each
//! channel and filter, not 144; one of 4×4 gives 2×2 with 16, not 36. See Lavin
//! and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015).
//!
//! What is rounded depends on the points at which polynomials are evaluated:
//! Barabasz, Anderson, Soodhalter and Gregg, "Error Analysis and Improving the
//! Accuracy of Winograd Convolution for Deep Neural Networks" (ACM TOMS 46,
//! 2020). Here they are 0, ±5/8, ±3/2 and infinity for tiles of 6×6, and 0, ±1
//! and infinity for those of 4×4. All constants are exact.
//!
//! For normal numbers the root of the errors' mean square, of that of the outputs,
//! is less than 2⁻²³ · √channels with tiles of 6×6, and than half of it with those
//! of 4×4. That is at most twice the error of a sum of products in their order, and
//! less than it.

use super::aligned::Aligned;
use super::deferred::Deferred;
use super::gemm::{Gemm, Panel};
use super::isa::Isa;
use super::lanes::WIDTH;
use super::pack::{PackedRef, packed_len};
use crate::error::{self, Result};
use plan::Plan;
use serde::{Deserialize, Serialize};
use transform::{Block, Input, Output};

mod filters;
mod plan;
#[cfg(test)]
mod tests;
mod transform;

/// Outputs of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tile {
    /// 2×2 of 4×4: 16 floats for the 9 of a filter.
    Two,
    /// 4×4 of 6×6: 36 floats for the 9 of a filter.
    Four,
}

impl Tile {
    /// Outputs of a row.
    pub fn outputs(self) -> usize {
        match self {
            Tile::Two => 2,
            Tile::Four => 4,
        }
    }

    /// Matrix products.
    fn products(self) -> usize {
        (self.outputs() + 2).pow(2)
    }

    /// Tiles of so many rows and columns.
    fn count(self, to: [usize; 2]) -> usize {
        let [rows, across] = to.map(|count| count.div_ceil(self.outputs()));
        rows.saturating_mul(across)
    }
}

/// The filters of a convolution, transformed and packed. They do not depend on
/// the instruction set.
#[derive(Debug, Serialize, Deserialize)]
pub struct Filter {
    tile: Tile,
    channels: usize,
    filters: usize,
    /// A packed matrix for each place of a tile, one after the other.
    matrices: Deferred,
}

impl Filter {
    /// Transforms filters of 3×3, whose weights are one channel after the other, and one
    /// filter after the other.
    ///
    /// Fails when there is no memory.
    ///
    /// # Panics
    ///
    /// When there are not as many weights.
    pub fn new(tile: Tile, channels: usize, filters: usize, weights: &[f32]) -> Result<Filter> {
        Self::new_as(Isa::best(), tile, channels, filters, weights)
    }

    fn new_as(
        isa: Isa,
        tile: Tile,
        channels: usize,
        filters: usize,
        weights: &[f32],
    ) -> Result<Filter> {
        let [len, all] = Self::floats_of(tile, channels, filters)?;
        let mut matrices = Aligned::zeros(all)?;
        filters::transform(isa, tile, [filters, channels], weights, len, matrices.floats_mut());
        Ok(Filter { tile, channels, filters, matrices: matrices.into() })
    }

    /// The same when it is [packed](Filter::pack): until then it cannot be read.
    ///
    /// Fails when there is no such filter; to pack it panics when there are not as many
    /// weights.
    pub fn later<W: AsRef<[f32]> + Send + Sync + 'static>(
        tile: Tile,
        channels: usize,
        filters: usize,
        weights: W,
    ) -> Result<Filter> {
        let [len, all] = Self::floats_of(tile, channels, filters)?;
        let matrices = Deferred::later(all, move |to| {
            filters::transform(Isa::best(), tile, [filters, channels], weights.as_ref(), len, to);
        });
        Ok(Filter { tile, channels, filters, matrices })
    }

    /// Transforms the weights, unless they are.
    ///
    /// Fails when there is no memory.
    pub fn pack(&mut self) -> Result<()> {
        self.matrices.make()
    }

    /// Floats of one matrix, and of all.
    fn floats_of(tile: Tile, channels: usize, filters: usize) -> Result<[usize; 2]> {
        let len = filters.checked_next_multiple_of(WIDTH).and_then(|n| n.checked_mul(channels));
        let all = len.and_then(|len| len.checked_mul(tile.products()));
        len.zip(all).map(|(len, all)| [len, all]).ok_or_else(|| {
            error::limit_exceeded(format!("{filters} filters of {channels} channels"))
        })
    }

    /// Multiplies each filter with one of `by`.
    ///
    /// # Panics
    ///
    /// When there are not as many.
    pub fn scale(&mut self, by: &[f32]) {
        assert!(by.len() == self.filters, "{} factors for {} filters", by.len(), self.filters);
        let (by, of_panel) = (by.to_vec(), (self.channels * WIDTH).max(1));
        self.matrices.change(move |floats| {
            let all = floats.chunks_exact_mut(of_panel);
            for (panel, by) in all.zip(by.chunks(WIDTH).cycle()) {
                for line in panel.chunks_exact_mut(WIDTH) {
                    line.iter_mut().zip(by).for_each(|(v, by)| *v *= by);
                }
            }
        });
    }

    /// Channels of what is convolved.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Channels of what comes out.
    pub fn filters(&self) -> usize {
        self.filters
    }

    /// What it was made for.
    pub fn tile(&self) -> Tile {
        self.tile
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        self.matrices.len() * size_of::<f32>()
    }

    /// The matrix of a place.
    fn matrix(&self, product: usize) -> PackedRef<'_> {
        let len = packed_len(self.channels, self.filters);
        PackedRef::new(self.channels, self.filters, &self.matrices[product * len..])
    }
}

/// A convolution of one image by filters of 3×3, its channels last: stride 1, no
/// dilation, all channels for each filter.
#[derive(Debug)]
pub struct Winograd<'a> {
    /// The image: rows of columns of channels.
    pub x: &'a [f32],
    /// Its rows and columns.
    pub from: [usize; 2],
    /// Rows and columns of what comes out. What is read past the image is zero.
    pub to: [usize; 2],
    /// Rows and columns of zeros before the image.
    pub pad: [usize; 2],
    /// The filters.
    pub filter: &'a Filter,
    /// One value a filter, or nothing for zero.
    pub bias: Option<&'a [f32]>,
    /// What is added to the sums, as `y`.
    pub residual: Option<&'a [f32]>,
    /// The least and the largest value that is written; NaN stays NaN, and a zero
    /// its sign.
    pub clamp: Option<[f32; 2]>,
    /// What comes out: rows of columns of filters.
    pub y: Panel<'a>,
}

impl Winograd<'_> {
    /// Floats of scratch that such a convolution needs.
    ///
    /// # Panics
    ///
    /// When that is more than there can be.
    pub fn scratch(filter: &Filter, to: [usize; 2]) -> usize {
        Plan::new(filter, to).scratch()
    }

    /// Writes `y`. All instruction sets give the same bits. An infinity or a NaN
    /// in `x` makes NaN of all outputs of the tiles that read it. The contents of
    /// `scratch` matter neither before nor after; it is fastest where it begins
    /// with a cache line.
    ///
    /// # Panics
    ///
    /// When `x`, `y`, the bias or the residual has another length than it should,
    /// `scratch` is shorter than [`Winograd::scratch`] says, or the processor has
    /// not `isa`.
    pub fn run(self, isa: Isa, scratch: &mut [f32]) {
        let plan = Plan::new(self.filter, self.to);
        self.run_as(plan, isa, scratch);
    }

    /// As [`run`](Winograd::run), but only of the filters from `part.0`, a multiple of
    /// 16, up to `part.1`: `y` has their columns alone.
    ///
    /// # Panics
    ///
    /// As it, and when there are no such filters.
    pub fn run_part(self, part: (usize, usize), isa: Isa, scratch: &mut [f32]) {
        let plan = Plan::new(self.filter, self.to);
        self.part_as(plan, part, isa, scratch);
    }

    fn run_as(self, plan: Plan, isa: Isa, scratch: &mut [f32]) {
        let all = (0, self.filter.filters);
        self.part_as(plan, all, isa, scratch);
    }

    fn part_as(self, plan: Plan, all: (usize, usize), isa: Isa, scratch: &mut [f32]) {
        let Winograd { x, from, to, pad, filter, bias, residual, clamp, mut y } = self;
        let Filter { tile, channels, filters, .. } = *filter;
        assert!(is(x.len(), from, channels), "{} floats of {from:?} by {channels}", x.len());
        assert!(all.0 <= all.1 && all.1 <= filters, "{all:?} of {filters} filters");
        y.expect(to[0].checked_mul(to[1]).expect("pixels"), filters, all.1 - all.0);
        let fits = bias.is_none_or(|bias| bias.len() == filters);
        assert!(fits, "a bias of another length than {filters}");
        let fits = residual.is_none_or(|residual| is(residual.len(), to, filters));
        assert!(fits, "a residual of another length than {to:?} by {filters}");
        if to.contains(&0) || all.0 == all.1 {
            return;
        }
        let (before, after) =
            scratch[..plan.scratch()].split_at_mut(tile.products() * plan.before());
        let across = to[1].div_ceil(tile.outputs());
        let input = Input { x, from, pad, channels };
        let tiles = tile.count(to);
        for first in (0..tiles).step_by(plan.tiles) {
            let count = plan.tiles.min(tiles - first);
            let (line, product) = (plan.line, plan.before());
            let block = Block { tile, first, count, across, line, product };
            input.run(isa, block, before);
            let (ldc, apart) = (plan.columns, plan.after());
            for from in (all.0..all.1).step_by(plan.columns) {
                let part = (from, all.1.min(from + plan.columns));
                for place in 0..tile.products() {
                    let (a, c) = (&before[place * product..], (&mut after[place * apart..]).into());
                    let b = filter.matrix(place).columns(part.0, part.1);
                    let (bias, residual, clamp) = (None, None, None);
                    Gemm { m: count, a, lda: line, b, bias, residual, clamp, c, ldc }.run(isa);
                }
                let block = Block { line: ldc, product: apart, ..block };
                // The columns of these filters.
                let own = [to[0] * to[1], filters, all.1 - all.0];
                let (_, y) = y.reborrow().split_columns(own, from - all.0);
                Output { to, filters, part, bias, residual, clamp }.run(isa, block, after, y);
            }
        }
    }
}

/// Whether `len` is that of so many rows and columns of `each`.
fn is(len: usize, of: [usize; 2], each: usize) -> bool {
    of[0].checked_mul(of[1]).and_then(|pixels| pixels.checked_mul(each)) == Some(len)
}
