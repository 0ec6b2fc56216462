//! How a convolution is cut, and whether it pays.

use super::{Filter, Tile};
use crate::kernels::lanes::WIDTH;

/// Floats of a block of tiles, before and after the products: half of a
/// second-level cache.
const BLOCK: usize = 128 * 1024;

/// Filters of a block, where the numbers of all would not stay in that cache.
const COLUMNS: usize = 64;

/// Tiles of a block at least: the matrices are read again for every one.
const LEAST: usize = 16;

/// How a convolution is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Matrix products.
    pub products: usize,
    /// Tiles of a block.
    pub tiles: usize,
    /// Floats from a tile to the next one, before the products.
    pub line: usize,
    /// Filters of a block, and floats from a tile to the next one after the
    /// products.
    pub columns: usize,
}

impl Plan {
    /// For what is `to` rows and columns.
    pub fn new(filter: &Filter, to: [usize; 2]) -> Plan {
        let Filter { tile, channels, filters, .. } = *filter;
        let products = tile.products();
        let (line, all) = (line(channels), tile.count(to));
        let columns = filters.next_multiple_of(WIDTH);
        let each = products.saturating_mul(line.saturating_add(columns)).max(1);
        let tiles = part(all, (BLOCK / each).max(LEAST));
        let columns = if tiles.saturating_mul(each) <= 2 * BLOCK {
            columns
        } else {
            part(columns, COLUMNS).next_multiple_of(WIDTH)
        };
        Plan { products, tiles, line, columns }
    }

    /// Floats from a product to the next one, before the products.
    pub fn before(&self) -> usize {
        odd(self.tiles, self.line)
    }

    /// The same after them.
    pub fn after(&self) -> usize {
        odd(self.tiles, self.columns)
    }

    /// Floats of all.
    ///
    /// # Panics
    ///
    /// When that is more than there can be.
    pub fn scratch(&self) -> usize {
        let all = self.before().checked_add(self.after());
        let all = all.and_then(|all| all.checked_mul(self.products));
        all.expect("a block of less than usize::MAX floats")
    }
}

/// As equal parts of `count` as can be, of `most` each.
fn part(count: usize, most: usize) -> usize {
    count.div_ceil(count.div_ceil(most).max(1))
}

/// Floats for `count` of a tile: whole vectors, but no multiple of 1024 bytes, or
/// the first-level cache would have all tiles at a few places.
fn line(count: usize) -> usize {
    let line = count.next_multiple_of(WIDTH);
    if line > 0 && line.is_multiple_of(16 * WIDTH) { line + WIDTH } else { line }
}

/// Floats for so many lines: an odd number of vectors, so that the places of a
/// tile are at different ones of the first-level cache.
fn odd(count: usize, line: usize) -> usize {
    let floats = count.checked_mul(line).expect("a block of less than usize::MAX floats");
    ((floats / WIDTH) | 1) * WIDTH
}

/// Cycles of a transform of sixteen channels or filters, before and after the
/// products.
fn transforms(tile: Tile) -> [f64; 2] {
    match tile {
        Tile::Two => [90.0, 60.0],
        Tile::Four => [320.0, 190.0],
    }
}

/// Cycles to fetch a line of a matrix that is in no cache nearby, beyond those that
/// are hidden by arithmetic.
const FETCH: f64 = 6.0;
/// Cycles to begin and to end sums, and to call for a product.
const BEGIN: f64 = 4.0;
const CALL: f64 = 150.0;
/// What must be won: the matrices are larger than the filters.
const MARGIN: f64 = 0.9;

/// Cycles of `count` products: `m` rows, `k` deep, and vectors of columns.
fn products(count: f64, m: f64, k: f64, vectors: f64) -> f64 {
    count * (vectors * (m * (k + BEGIN) + k * FETCH) + CALL)
}

impl Tile {
    /// The tile with which a convolution is fastest; none where a direct one is
    /// as fast. It is for a processor with one multiplication of 16 lanes a
    /// cycle, whose caches have none of the weights.
    pub fn of(channels: usize, filters: usize, to: [usize; 2]) -> Option<Tile> {
        let vectors = |count: usize| count.div_ceil(WIDTH) as f64;
        let (k, n) = (channels as f64, vectors(filters));
        let direct = products(1.0, to[0] as f64 * to[1] as f64, 9.0 * k, n);
        let cost = |tile: Tile| {
            let (count, [before, after]) = (tile.count(to) as f64, transforms(tile));
            let transforms = count * (vectors(channels) * before + n * after);
            transforms + products(tile.products() as f64, count, k, n)
        };
        let (two, four) = (cost(Tile::Two), cost(Tile::Four));
        let (tile, best) = if two <= four { (Tile::Two, two) } else { (Tile::Four, four) };
        (best < MARGIN * direct).then_some(tile)
    }
}
