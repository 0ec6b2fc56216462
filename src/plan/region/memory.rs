//! Where values are: a place for each while it is needed, and slices of the
//! arena for a step.

use super::{Inputs, MOST_WRITES, Place, Region, Step};

/// Floats that a value's place is a multiple of: a cache line.
const ALIGNMENT: usize = 16;

/// What is between and around the values that a step writes.
pub(super) enum Gaps<'a> {
    /// One value: what is before it, and where that begins which is after it.
    Two(&'a [f32], usize, &'a [f32]),
    /// Where each begins, and the floats.
    Many([(usize, &'a [f32]); MOST_WRITES + 1]),
}

impl<'a> Gaps<'a> {
    /// What lies from `from` on, if it is in one of them.
    #[inline]
    fn get(&self, from: usize, len: usize) -> Option<&'a [f32]> {
        let within = |start: usize, floats: &'a [f32]| {
            let at = from.checked_sub(start)?;
            floats.get(at..at + len)
        };
        match self {
            Gaps::Two(before, start, after) => within(0, before).or_else(|| within(*start, after)),
            Gaps::Many(gaps) => gaps.iter().find_map(|(start, floats)| within(*start, floats)),
        }
    }
}

/// Calls `step` with the values that it writes, apart from the rest of the arena,
/// which it may read. They do not overlap: each begins where the one before ends,
/// or later.
#[inline]
pub(super) fn split<T>(
    arena: &mut [f32],
    writes: &[(usize, usize)],
    step: impl FnOnce(&mut [&mut [f32]; MOST_WRITES], Gaps<'_>) -> T,
) -> T {
    if let [(start, len)] = *writes {
        let (before, from) = arena.split_at_mut(start);
        let (value, after) = from.split_at_mut(len);
        let gaps = Gaps::Two(before, start + len, after);
        return step(&mut [value, &mut [], &mut [], &mut []], gaps);
    }
    let mut taken: [&mut [f32]; MOST_WRITES] = Default::default();
    let mut gaps: [(usize, &[f32]); MOST_WRITES + 1] = [(0, &[]); MOST_WRITES + 1];
    let (mut rest, mut at) = (arena, 0);
    // In the order of their places; there are four at most.
    let mut next = None;
    for gap in gaps.iter_mut().take(writes.len()) {
        let left = writes
            .iter()
            .enumerate()
            .filter(|(i, (start, _))| next.is_none_or(|last: (usize, usize)| (*start, *i) > last));
        let Some((index, (start, len))) = left.min_by_key(|(i, (start, _))| (*start, *i)) else {
            break;
        };
        next = Some((*start, index));
        let (before, from) = rest.split_at_mut(start - at);
        let (value, after) = from.split_at_mut(*len);
        *gap = (at, before);
        taken[index] = value;
        (rest, at) = (after, start + len);
    }
    gaps[MOST_WRITES] = (at, rest);
    step(&mut taken, Gaps::Many(gaps))
}

/// What a step reads.
pub(super) struct Mapped<'r> {
    pub(super) region: &'r Region,
    pub(super) step: &'r Step,
    pub(super) inputs: &'r dyn Inputs,
    pub(super) gaps: Gaps<'r>,
}

impl<'r> Mapped<'r> {
    /// Value `index` of those it reads.
    ///
    /// # Panics
    ///
    /// When it is written by the same step.
    #[inline]
    pub(super) fn get(&self, index: usize) -> &'r [f32] {
        let spot = &self.step.reads[index];
        match spot.place {
            Place::Arena(from) => {
                self.gaps.get(from, spot.len).expect("a value that is not written as well")
            }
            Place::Constant(at) => &self.region.constants[at][..spot.len],
            Place::Input(at) => {
                let floats = self.inputs.floats(at);
                assert_eq!(floats.len(), spot.len, "an input of another size");
                floats
            }
        }
    }
}

/// A value while it is needed: from step `first` to step `last`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    pub(super) len: usize,
    pub(super) first: usize,
    pub(super) last: usize,
}

/// A place in the arena for each value, and the floats of the arena: no two
/// values that are needed at the same time overlap. The largest are placed
/// first, each as low as it can be.
pub(super) fn places(lives: &[Life]) -> Option<(Vec<usize>, usize)> {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|v| (std::cmp::Reverse(lives[*v].len), lives[*v].first));
    let mut placed: Vec<usize> = Vec::with_capacity(lives.len());
    let (mut at, mut size) = (vec![0; lives.len()], 0usize);
    for value in order {
        let life = lives[value];
        if life.len == 0 {
            continue;
        }
        let len = life.len.checked_next_multiple_of(ALIGNMENT)?;
        let mut from = 0;
        // In the order of their places.
        for other in &placed {
            let o = lives[*other];
            let together = o.first <= life.last && life.first <= o.last;
            let end = at[*other] + o.len.next_multiple_of(ALIGNMENT);
            if together && at[*other] < from + len && from < end {
                from = end;
            }
        }
        at[value] = from;
        size = size.max(from.checked_add(len)?);
        let index = placed.partition_point(|p| at[*p] <= from);
        placed.insert(index, value);
    }
    Some((at, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_together_does_not_overlap() {
        let mut seed = 7u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((seed >> 33) % below) as usize
        };
        for _ in 0..200 {
            let count = 1 + random(40);
            let lives: Vec<Life> = (0..count)
                .map(|_| {
                    let first = random(30);
                    Life { len: random(500), first, last: first + random(8) }
                })
                .collect();
            let (at, size) = places(&lives).unwrap();
            for (i, a) in lives.iter().enumerate() {
                assert!(at[i] % ALIGNMENT == 0 && at[i] + a.len <= size);
                for (j, b) in lives.iter().enumerate().skip(i + 1) {
                    let together = a.first <= b.last && b.first <= a.last;
                    let apart = at[i] + a.len <= at[j] || at[j] + b.len <= at[i];
                    assert!(!together || apart || a.len == 0 || b.len == 0, "{a:?} and {b:?}");
                }
            }
        }
    }

    #[test]
    fn a_chain_of_equal_values_needs_two() {
        let lives: Vec<Life> = (0..10).map(|i| Life { len: 64, first: i, last: i + 1 }).collect();
        assert_eq!(places(&lives).unwrap().1, 128);
    }

    #[test]
    fn a_split_gives_all_of_the_arena_once() {
        let mut arena: Vec<f32> = (0..100).map(|i| i as f32).collect();
        split(&mut arena, &[(50, 10), (0, 5), (20, 20)], |writes, gaps| {
            assert_eq!(writes.each_ref().map(|w| w.len()), [10, 5, 20, 0]);
            assert_eq!([writes[0][0], writes[1][0], writes[2][0]], [50.0, 0.0, 20.0]);
            let first = |from, len| gaps.get(from, len).map(|floats| floats[0]);
            assert_eq!([first(5, 15), first(40, 10), first(60, 40)], [5.0, 40.0, 60.0].map(Some));
            assert_eq!([first(4, 2), first(19, 2), first(55, 1), first(60, 41)], [None; 4]);
        });
        split(&mut arena, &[(50, 10)], |writes, gaps| {
            assert_eq!((writes.each_ref().map(|w| w.len()), writes[0][0]), ([10, 0, 0, 0], 50.0));
            let first = |from, len| gaps.get(from, len).map(|floats| floats[0]);
            assert_eq!([first(0, 50), first(60, 40)], [0.0, 60.0].map(Some));
            assert_eq!([first(49, 2), first(55, 1), first(59, 2), first(99, 2)], [None; 4]);
        });
    }
}
