//! What is done to tiles before and after the products.

use super::{Tile, is};
use crate::kernels::Isa;
use crate::kernels::each::each;
use crate::kernels::gemm::Panel;
use crate::kernels::lanes::{Lanes, WIDTH, for_isa};

/// The points of tiles of 6×6 are 0, ±A, ±B and infinity.
pub(super) const A: f32 = 0.625;
pub(super) const B: f32 = 1.5;

/// Tiles side by side, and how their numbers lie: those of a tile are at
/// `product` times its place, and `line` from those of the tile before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub tile: Tile,
    /// The first tile and how many there are.
    pub first: usize,
    pub count: usize,
    /// Tiles of a row of them.
    pub across: usize,
    pub line: usize,
    pub product: usize,
}

impl Block {
    /// Whether `len` floats have the numbers of all tiles, `each` of a place.
    fn fits(&self, len: usize, each: usize) -> bool {
        let line = self.line >= each.next_multiple_of(WIDTH);
        let all = self.product.checked_mul(self.tile.products());
        line && self.product / self.line.max(1) >= self.count && all.is_some_and(|all| all <= len)
    }
}

/// An image of which tiles are transformed.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    /// Rows of columns of channels.
    pub x: &'a [f32],
    /// Its rows and columns.
    pub from: [usize; 2],
    /// Rows and columns of zeros before it.
    pub pad: [usize; 2],
    pub channels: usize,
}

/// How the sums of tiles are written.
#[derive(Clone, Copy)]
pub(super) struct Output<'a> {
    /// Rows and columns of what is written.
    pub to: [usize; 2],
    pub filters: usize,
    /// The first filter that there are sums of, and the one after the last.
    pub part: (usize, usize),
    pub bias: Option<&'a [f32]>,
    pub residual: Option<&'a [f32]>,
    pub clamp: Option<[f32; 2]>,
}

impl Input<'_> {
    /// Transforms the tiles of a block. Past the last channel, up to whole
    /// vectors, is what there happens to be.
    pub(super) fn run(self, isa: Isa, block: Block, to: &mut [f32]) {
        let Input { x, from, channels, .. } = self;
        assert!(is(x.len(), from, channels), "{} of {from:?}", x.len());
        assert!(block.fits(to.len(), channels), "{block:?} of {channels} in {}", to.len());
        input(isa, self, block, to);
    }
}

impl Output<'_> {
    /// Transforms the sums `x` of a block and writes the outputs to `y`,
    /// of which it has those of its part.
    pub(super) fn run(self, isa: Isa, block: Block, x: &[f32], y: Panel<'_>) {
        let Output { to, filters, part, bias, residual, .. } = self;
        assert!(bias.is_none_or(|bias| bias.len() == filters), "a bias not of {filters}");
        assert!(residual.is_none_or(|r| is(r.len(), to, filters)), "a residual not of {to:?}");
        assert!(part.0 <= part.1 && part.1 <= filters, "{part:?} of {filters}");
        y.expect(to[0] * to[1], filters, part.1 - part.0);
        assert!(block.fits(x.len(), part.1 - part.0), "{block:?} of {part:?} in {}", x.len());
        let [rows, across] = to.map(|count| count.div_ceil(block.tile.outputs()));
        let fits = block.across == across && block.first + block.count <= rows * across;
        assert!(fits, "{block:?} of {to:?}");
        output(isa, self, block, x, y);
    }
}

for_isa! { fn input(job: Input<'_>, block: Block, to: &mut [f32]) = input_kernel; }
for_isa! { fn output(job: Output<'_>, block: Block, x: &[f32], y: Panel<'_>) = output_kernel; }

/// A tile of sixteen channels or filters, its places one after the other.
#[repr(align(64))]
struct Part([f32; 36 * WIDTH]);

#[inline(always)]
fn input_kernel<V: Lanes>(job: Input<'_>, block: Block, to: &mut [f32]) {
    match block.tile {
        Tile::Two => input_tiles::<V, 2, 4>(job, block, to),
        Tile::Four => input_tiles::<V, 4, 6>(job, block, to),
    }
}

#[inline(always)]
fn input_tiles<V: Lanes, const M: usize, const N: usize>(
    job: Input<'_>,
    block: Block,
    to: &mut [f32],
) {
    let Input { x, from, pad, channels } = job;
    let mut part = Part([0.0; 36 * WIDTH]);
    for index in 0..block.count {
        let tile = block.first + index;
        let (row, column) = (tile / block.across * M, tile % block.across * M);
        // The rows and columns of the tile that the image has.
        let there = |at: usize, pad: usize, from: usize| {
            (pad.saturating_sub(at), N.min(from.saturating_add(pad).saturating_sub(at)))
        };
        let (rows, columns) = (there(row, pad[0], from[0]), there(column, pad[1], from[1]));
        let at =
            |r: usize, c: usize| ((row + r - pad[0]) * from[1] + (column + c - pad[1])) * channels;
        // Whole vectors reach to channels of the next column: they are not
        // multiplied. After the last column of all is nothing.
        let whole = rows == (0, N)
            && columns == (0, N)
            && at(N - 1, N - 1) + channels.next_multiple_of(WIDTH) <= x.len();
        if !whole {
            part = Part([0.0; 36 * WIDTH]);
        }
        let mut channel = 0;
        while channel < channels {
            let to = to.as_mut_ptr().wrapping_add(index * block.line + channel);
            let (from, apart) = if whole {
                let first = x.as_ptr().wrapping_add(at(0, 0) + channel);
                (first, (from[1] * channels, channels))
            } else {
                for r in rows.0..rows.1 {
                    let mut from = at(r, columns.0) + channel;
                    for c in columns.0..columns.1 {
                        // SAFETY: channels of a pixel of the image, and a place of
                        // the tile.
                        unsafe {
                            let v: V = some(x.as_ptr(), from, channels - channel);
                            v.store(part.0.as_mut_ptr().add((r * N + c) * WIDTH));
                        }
                        from += channels;
                    }
                }
                (part.0.as_ptr(), (N * WIDTH, WIDTH))
            };
            // SAFETY: the tile is in the image, as was seen, or `part`; `to` was
            // measured by `run`.
            unsafe { before::<V, N>(from, apart, to, block.product) };
            channel += WIDTH;
        }
    }
}

/// As `each`, but a loop where there are no vectors.
macro_rules! each_of {
    ($v:ty, $i:ident < $count:expr, $body:block) => {
        if align_of::<$v>() > align_of::<f32>() {
            each!($i < $count, $body)
        } else {
            #[allow(clippy::needless_range_loop)]
            for $i in 0..$count $body
        }
    };
}

/// Transforms a tile: its rows and columns are `apart`, and the places of what it
/// becomes `product`.
///
/// # Safety
///
/// There are sixteen floats at each.
#[inline(always)]
unsafe fn before<V: Lanes, const N: usize>(
    from: *const f32,
    apart: (usize, usize),
    to: *mut f32,
    product: usize,
) {
    let mut t = [[V::splat(0.0); N]; N];
    each_of!(V, j < N, {
        let mut d = [V::splat(0.0); N];
        // SAFETY: by the contract.
        each!(i < N, { d[i] = unsafe { V::load(from.add(i * apart.0 + j * apart.1)) } });
        let d = values::<V, N>(d);
        each!(i < N, { t[i][j] = d[i] });
    });
    each_of!(V, i < N, {
        let mut d = [V::splat(0.0); N];
        each!(j < N, { d[j] = t[i][j] });
        let d = values::<V, N>(d);
        // SAFETY: by the contract.
        each!(j < N, { unsafe { d[j].store(to.add((i * N + j) * product)) } });
    });
}

/// A row or column of a tile at all points.
#[inline(always)]
fn values<V: Lanes, const N: usize>(d: [V; N]) -> [V; N] {
    let mut v = d;
    if N == 4 {
        v[0] = d[0].sub(d[2]);
        v[1] = d[1].add(d[2]);
        v[2] = d[2].sub(d[1]);
        v[3] = d[3].sub(d[1]);
        return v;
    }
    let with = |c: f32, x: V, y: V| V::splat(c).mul_add(x, y);
    let (a, b) = (A * A, B * B);
    let (even_a, odd_a) = (with(-b, d[2], d[4]), with(-b, d[1], d[3]));
    let (even_b, odd_b) = (with(-a, d[2], d[4]), with(-a, d[1], d[3]));
    v[0] = with(-a - b, d[2], with(a * b, d[0], d[4]));
    v[1] = with(A, odd_a, even_a);
    v[2] = with(-A, odd_a, even_a);
    v[3] = with(B, odd_b, even_b);
    v[4] = with(-B, odd_b, even_b);
    v[5] = with(-a - b, d[3], with(a * b, d[1], d[5]));
    v
}

#[inline(always)]
fn output_kernel<V: Lanes>(job: Output<'_>, block: Block, x: &[f32], y: Panel<'_>) {
    match block.tile {
        Tile::Two => output_tiles::<V, 2, 4>(job, block, x, y),
        Tile::Four => output_tiles::<V, 4, 6>(job, block, x, y),
    }
}

#[inline(always)]
fn output_tiles<V: Lanes, const M: usize, const N: usize>(
    job: Output<'_>,
    block: Block,
    x: &[f32],
    mut y: Panel<'_>,
) {
    let Output { to, filters, part: (first, end), bias, residual, clamp } = job;
    // Where the first filter of all would be.
    let y = y.as_mut_ptr().wrapping_sub(first);
    for index in 0..block.count {
        let tile = block.first + index;
        let (row, column) = (tile / block.across * M, tile % block.across * M);
        let (rows, columns) = (M.min(to[0] - row), M.min(to[1] - column));
        let mut filter = first;
        while filter < end {
            let left = end - filter;
            let from = x.as_ptr().wrapping_add(index * block.line + filter - first);
            let zero = V::splat(0.0);
            // SAFETY: `x` and the bias were measured by `run`.
            let (down, start) = unsafe {
                let start = bias.map_or(zero, |bias| some(bias.as_ptr(), filter, left));
                (after::<V, M, N>(from, block.product), Some(start))
            };
            let mut at = (row * to[1] + column) * filters + filter;
            for sums in &down[..rows] {
                let mut m = [zero; N];
                each!(j < N, { m[j] = sums[j] });
                let sums = outputs::<V, M, N>(m, start);
                each!(j < M, {
                    if j < columns {
                        let (mut sum, at) = (sums[j], at + j * filters);
                        // SAFETY: as many filters as are left, of a row and a
                        // column that there are; `run` has measured both.
                        unsafe {
                            if let Some(residual) = residual {
                                sum = sum.add(some(residual.as_ptr(), at, left));
                            }
                            if let Some([low, high]) = clamp {
                                sum = V::splat(high).min(V::splat(low).max(sum));
                            }
                            let to = y.wrapping_add(at);
                            if left >= WIDTH { sum.store(to) } else { sum.store_some(to, left) }
                        }
                    }
                });
                at += to[1] * filters;
            }
            filter += WIDTH;
        }
    }
}

/// Sixteen floats at `at`, or as many as are left.
///
/// # Safety
///
/// There are so many.
#[inline(always)]
unsafe fn some<V: Lanes>(from: *const f32, at: usize, left: usize) -> V {
    let from = from.wrapping_add(at);
    // SAFETY: by the contract.
    unsafe { if left >= WIDTH { V::load(from) } else { V::load_some(from, left, 0.0) } }
}

/// Transforms the columns of the sums of a tile, whose places are `product` apart.
///
/// # Safety
///
/// There are sixteen floats at each.
#[inline(always)]
unsafe fn after<V: Lanes, const M: usize, const N: usize>(
    from: *const f32,
    product: usize,
) -> [[V; N]; M] {
    let mut t = [[V::splat(0.0); N]; M];
    each_of!(V, j < N, {
        let mut m = [V::splat(0.0); N];
        // SAFETY: by the contract.
        each!(i < N, { m[i] = unsafe { V::load(from.add((i * N + j) * product)) } });
        let m = outputs::<V, M, N>(m, None);
        each!(i < M, { t[i][j] = m[i] });
    });
    t
}

/// The outputs of a row or column, from the sums at all points; `start` is added.
#[inline(always)]
fn outputs<V: Lanes, const M: usize, const N: usize>(m: [V; N], start: Option<V>) -> [V; M] {
    let plus = |x: V| start.map_or(x, |start| x.add(start));
    let with = |c: f32, x: V, y: V| V::splat(c).mul_add(x, y);
    let times = |c: f32, x: V| start.map_or(V::splat(c).mul(x), |start| with(c, x, start));
    let (even_a, odd_a) = (m[1].add(m[2]), m[1].sub(m[2]));
    let mut y = [m[0]; M];
    if M == 2 {
        y[0] = plus(m[0]).add(even_a);
        y[1] = plus(m[3]).add(odd_a);
        return y;
    }
    let (even_b, odd_b) = (m[3].add(m[4]), m[3].sub(m[4]));
    y[0] = plus(m[0]).add(even_a).add(even_b);
    y[1] = with(B, odd_b, times(A, odd_a));
    y[2] = with(B * B, even_b, times(A * A, even_a));
    y[3] = with(B * B * B, odd_b, with(A * A * A, odd_a, plus(m[5])));
    y
}
