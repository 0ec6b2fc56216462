//! Scores of classes. They are in this order: the larger first; of equal ones the one that
//! is earlier; NaN after all others, −∞ among them.

use crate::error::{self, Result};
use crate::kernels::{self, Isa};
use std::cmp::Ordering;

/// Scores that are looked at together.
const CHUNK: usize = 128;

/// Softmax of each row of `count`, of `x` into `y`.
pub fn softmax(isa: Isa, count: usize, x: &[f32], y: &mut [f32]) -> Result<()> {
    check_rows(count, x.len())?;
    kernels::softmax(isa, count, x, y);
    Ok(())
}

/// As [`softmax`], of `y` itself.
pub fn softmax_in_place(isa: Isa, count: usize, y: &mut [f32]) -> Result<()> {
    check_rows(count, y.len())?;
    kernels::softmax_in_place(isa, count, y);
    Ok(())
}

fn check_rows(count: usize, len: usize) -> Result<()> {
    if count == 0 || !len.is_multiple_of(count) {
        return Err(error::invalid_argument(format!(
            "{len} scores in rows of {count}: expected 1 at least in a row"
        )));
    }
    Ok(())
}

/// Writes the place of the best score of each row of `count`.
pub fn argmax(isa: Isa, count: usize, x: &[f32], places: &mut [usize]) -> Result<()> {
    check_rows(count, x.len())?;
    for (row, place) in x.chunks_exact(count).zip(places) {
        *place = first_of_largest(isa, row);
    }
    Ok(())
}

/// The place of the best of a row, which is not empty.
pub(super) fn first_of_largest(isa: Isa, row: &[f32]) -> usize {
    let (mut most, mut best) = (f32::NEG_INFINITY, None);
    for (i, chunk) in row.chunks(CHUNK).enumerate() {
        let largest = kernels::largest(isa, chunk);
        if largest > most {
            (most, best) = (largest, Some(i * CHUNK));
        }
    }
    let from = best.unwrap_or(0);
    row[from..].iter().position(|v| *v == most).map_or(0, |at| from + at)
}

/// Whether score `a` comes before score `b`: each with its place.
fn order(a: (f32, usize), b: (f32, usize)) -> Ordering {
    let by_value = match (a.0.is_nan(), b.0.is_nan()) {
        (false, false) => b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal),
        (a, b) => a.cmp(&b),
    };
    by_value.then(a.1.cmp(&b.1))
}

/// The places of `scores` in the order of their scores: all of them in `places`.
pub(super) fn sort(scores: &[f32], places: &mut [usize]) {
    places.sort_unstable_by(|a, b| order((scores[*a], *a), (scores[*b], *b)));
}

/// Writes the places of the best scores, the best first: as many as there is room for, or as
/// there are scores. Gives how many.
pub fn top_k(isa: Isa, scores: &[f32], places: &mut [usize]) -> usize {
    let count = places.len().min(scores.len());
    let places = &mut places[..count];
    if count == 0 {
        return 0;
    }
    // The best so far, as a heap whose top is the last of them.
    places.iter_mut().enumerate().for_each(|(i, place)| *place = i);
    (0..count / 2).rev().for_each(|at| sift(scores, places, at));
    let mut begin = count;
    for chunk in scores[count..].chunks(CHUNK) {
        let least = scores[places[0]];
        // A score that is equal comes later.
        if least.is_nan() || kernels::largest(isa, chunk) > least {
            for (i, score) in chunk.iter().enumerate() {
                let top = places[0];
                if order((*score, begin + i), (scores[top], top)).is_lt() {
                    places[0] = begin + i;
                    sift(scores, places, 0);
                }
            }
        }
        begin += chunk.len();
    }
    sort(scores, places);
    count
}

/// Moves the place at `at` of a heap down to where it belongs.
fn sift(scores: &[f32], heap: &mut [usize], mut at: usize) {
    let comes_after = |a: usize, b: usize| order((scores[a], a), (scores[b], b)).is_gt();
    loop {
        let left = 2 * at + 1;
        if left >= heap.len() {
            return;
        }
        let right = left + 1;
        let child =
            if right < heap.len() && comes_after(heap[right], heap[left]) { right } else { left };
        if !comes_after(heap[child], heap[at]) {
            return;
        }
        heap.swap(at, child);
        at = child;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(77).wrapping_add(1);
        let one = |_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            match state >> 58 {
                0 => f32::NAN,
                1 => f32::NEG_INFINITY,
                2 => f32::INFINITY,
                // Few values: many are equal.
                _ => (state >> 40) as f32 / 4096.0 % 50.0,
            }
        };
        (0..count).map(one).collect()
    }

    fn sorted(scores: &[f32]) -> Vec<usize> {
        let mut places: Vec<usize> = (0..scores.len()).collect();
        places.sort_by(|a, b| {
            let key = |i: usize| if scores[i].is_nan() { (1, 0.0) } else { (0, -scores[i]) };
            key(*a).partial_cmp(&key(*b)).unwrap()
        });
        places
    }

    #[test]
    fn the_best_are_those_of_a_sort() {
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_there()) {
            for n in [0, 1, 2, 17, 128, 129, 500, 1000] {
                let scores = numbers(n, n as u64);
                let want = sorted(&scores);
                for k in [0, 1, 2, 5, 100, 1000, 2000] {
                    let mut places = vec![usize::MAX; k];
                    let count = top_k(isa, &scores, &mut places);
                    assert_eq!(count, k.min(n));
                    assert_eq!(places[..count], want[..count], "{n} {k}");
                    assert!(places[count..].iter().all(|p| *p == usize::MAX));
                }
                if n > 0 {
                    let mut place = [0];
                    argmax(isa, n, &scores, &mut place).unwrap();
                    assert_eq!(place[0], want[0], "{n}");
                }
            }
        }
    }

    #[test]
    fn the_best_of_none_but_nan_is_the_first() {
        let isa = Isa::best();
        let mut places = [9; 3];
        argmax(isa, 200, &[f32::NAN; 600], &mut places).unwrap();
        assert_eq!(places, [0; 3]);
        let mut low = [f32::NAN; 200];
        low[150] = f32::NEG_INFINITY;
        argmax(isa, 200, &low, &mut places[..1]).unwrap();
        assert_eq!(places[0], 150);
        assert_eq!(top_k(isa, &low, &mut places), 3);
        assert_eq!(places, [150, 0, 1]);
    }

    #[test]
    fn rows_of_nothing_are_refused() {
        let e = argmax(Isa::best(), 0, &[], &mut []).unwrap_err();
        assert!(e.detail().contains("rows of 0"), "{e}");
        assert!(softmax(Isa::best(), 0, &[], &mut []).is_err());
        assert!(softmax_in_place(Isa::best(), 3, &mut [0.0; 4]).is_err());
    }
}
