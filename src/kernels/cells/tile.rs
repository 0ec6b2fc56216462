//! Products of the state with panels of weights, for some rows at once.

use crate::kernels::each::each;
use crate::kernels::lanes::{Lanes, Scalar};
use crate::kernels::pack::{PANEL, Packed};
use std::mem::MaybeUninit;

/// What is summed for a panel of `G` gates, and what becomes of the sums. Rows
/// and panels are those of the step; the methods are for code of [`for_isa`].
pub(super) trait Part<const G: usize> {
    /// The sums before the first product.
    ///
    /// # Safety
    ///
    /// The step has the row and the panel.
    unsafe fn start<V: Lanes>(&self, row: usize, panel: usize) -> [V; G];
    /// Takes the sums.
    ///
    /// # Safety
    ///
    /// As for `start`.
    unsafe fn finish<V: Lanes>(&self, row: usize, panel: usize, sums: [V; G]);
}

/// What is multiplied.
#[derive(Clone, Copy)]
pub(super) struct State {
    pub rows: *const f32,
    pub batch: usize,
    /// Floats of a row.
    pub hidden: usize,
    /// Floats from row to row.
    pub padded: usize,
    /// The panels are gone through from the last to the first.
    pub backwards: bool,
}

/// How much of the registers there is to use.
pub(super) trait Registers: Lanes {
    /// There are 32 of them, each with sixteen floats.
    const MANY: bool = false;
}
impl Registers for Scalar {}
#[cfg(target_arch = "aarch64")]
impl Registers for crate::kernels::lanes::Neon {}
#[cfg(target_arch = "x86_64")]
impl Registers for crate::kernels::lanes::Avx2 {}
#[cfg(target_arch = "x86_64")]
impl Registers for crate::kernels::lanes::Avx512 {
    const MANY: bool = true;
}

/// `part` for all rows and panels, with the products of `state` and `weights`, in
/// which each row of a panel has a line for each of the `G` gates.
///
/// So many panels at once that there are about eight sums, which hides the
/// latency: `WIDE` for one row and many registers, else `FEW`. Where there are
/// many, up to four rows use the weights that were loaded; where not, a panel is
/// in the first-level cache for the rows after the first.
///
/// SAFETY: the step's pointers are what it says; `state` has its rows; `weights`
/// has `G` rows for each hidden unit, which are its columns.
#[inline(always)]
pub(super) unsafe fn pass<V: Registers, const G: usize, const WIDE: usize, const FEW: usize>(
    part: &impl Part<G>,
    weights: &Packed,
    state: State,
) {
    let State { batch, hidden, padded, backwards, rows: state } = state;
    let (panels, lines) = (padded / PANEL, weights.as_packed().panels());
    assert!(lines.len() == panels * hidden * G * PANEL);
    let groups = panels.div_ceil(WIDE);
    for i in 0..groups {
        let group = if backwards { groups - 1 - i } else { i };
        let first = group * WIDE;
        let end = panels.min(first + WIDE);
        let mut row = 0;
        while row < batch {
            let rows = if V::MANY { (batch - row).min(4) } else { 1 };
            let mut panel = first;
            while panel < end {
                let tile = Tile {
                    lines: lines[panel * hidden * G * PANEL..].as_ptr(),
                    depth: hidden,
                    state,
                    padded,
                    row,
                    panel,
                };
                let left = end - panel;
                // SAFETY: by this function's contract; there are so many rows and
                // panels from here on.
                unsafe {
                    panel += match rows {
                        1 if V::MANY && left >= WIDE => tile.run::<V, G, WIDE, 1>(part),
                        1 if left >= FEW => tile.run::<V, G, FEW, 1>(part),
                        1 => tile.run::<V, G, 1, 1>(part),
                        2 if V::MANY && left >= FEW => tile.run::<V, G, FEW, 2>(part),
                        2 if V::MANY => tile.run::<V, G, 1, 2>(part),
                        3 if V::MANY && left >= FEW => tile.run::<V, G, FEW, 3>(part),
                        3 if V::MANY => tile.run::<V, G, 1, 3>(part),
                        _ if V::MANY && left >= FEW => tile.run::<V, G, FEW, 4>(part),
                        _ if V::MANY => tile.run::<V, G, 1, 4>(part),
                        _ => unreachable!(),
                    };
                }
            }
            row += rows;
        }
    }
}

/// Some panels of some rows, from `panel` and `row` on.
struct Tile {
    /// Of the first panel; the others follow.
    lines: *const f32,
    depth: usize,
    state: *const f32,
    padded: usize,
    row: usize,
    panel: usize,
}

impl Tile {
    /// `P` panels of `G` gates, `R` rows; says how many panels.
    ///
    /// SAFETY: they are there.
    #[inline(always)]
    unsafe fn run<V: Lanes, const G: usize, const P: usize, const R: usize>(
        &self,
        part: &impl Part<G>,
    ) -> usize {
        let Tile { depth, state, padded, row, panel, .. } = *self;
        // Not filled first: that would be a loop, and the sums in memory.
        let mut sums = MaybeUninit::<[[[V; G]; P]; R]>::uninit();
        // SAFETY: by this function's contract; every sum is written before all
        // are taken.
        unsafe {
            each!(i < R, {
                each!(p < P, {
                    let to = &raw mut (*sums.as_mut_ptr())[i][p];
                    to.write(part.start(row + i, panel + p));
                })
            });
            let mut sums = sums.assume_init();
            let state = state.add(row * padded);
            let mut k = 0;
            while k + 4 <= depth {
                self.add(state, k, &mut sums);
                self.add(state, k + 1, &mut sums);
                self.add(state, k + 2, &mut sums);
                self.add(state, k + 3, &mut sums);
                k += 4;
            }
            while k < depth {
                self.add(state, k, &mut sums);
                k += 1;
            }
            each!(i < R, { each!(p < P, { part.finish(row + i, panel + p, sums[i][p]) }) });
        }
        P
    }

    /// Adds the products of row `k` of the weights.
    ///
    /// SAFETY: as for `run`; `state` is the first row.
    #[inline(always)]
    unsafe fn add<V: Lanes, const G: usize, const P: usize, const R: usize>(
        &self,
        state: *const f32,
        k: usize,
        sums: &mut [[[V; G]; P]; R],
    ) {
        let mut x = [V::splat(0.0); R];
        // SAFETY: by this function's contract.
        unsafe {
            each!(i < R, { x[i] = V::splat(*state.add(i * self.padded + k)) });
            each!(q < P * G, {
                let (p, g) = (q / G, q % G);
                let line = V::load(self.lines.add(((p * self.depth + k) * G + g) * PANEL));
                each!(i < R, { sums[i][p][g] = x[i].mul_add(line, sums[i][p][g]) })
            });
        }
    }
}
