//! Boxes against a box.

use super::isa::Isa;
use super::lanes::{Lanes, WIDTH, for_isa};

/// The most boxes that are kept.
pub const MOST_BOXES: usize = 1024;

const _: () = assert!(MOST_BOXES.is_multiple_of(WIDTH));

/// A box: left, top, right, bottom, finite; and its class, an integer up to 2²⁴.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rect {
    /// Left, top, right, bottom.
    pub edges: [f32; 4],
    /// Boxes of different classes do not overlap.
    pub class: f32,
}

impl Rect {
    /// The area; 0 when a side is negative.
    pub fn area(&self) -> f32 {
        let [left, top, right, bottom] = self.edges;
        (right - left).max(0.0) * (bottom - top).max(0.0)
    }
}

/// Boxes side by side.
#[derive(Debug, Clone)]
pub struct Boxes {
    len: usize,
    edges: [[f32; MOST_BOXES]; 4],
    area: [f32; MOST_BOXES],
    class: [f32; MOST_BOXES],
}

impl Default for Boxes {
    fn default() -> Boxes {
        let none = [0.0; MOST_BOXES];
        Boxes { len: 0, edges: [none; 4], area: none, class: none }
    }
}

impl Boxes {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds one.
    ///
    /// # Panics
    ///
    /// When there are `MOST_BOXES`.
    pub fn push(&mut self, rect: Rect) {
        for (edges, edge) in self.edges.iter_mut().zip(rect.edges) {
            edges[self.len] = edge;
        }
        self.area[self.len] = rect.area();
        self.class[self.len] = rect.class;
        self.len += 1;
    }

    /// Whether one of its class shares more than `iou` of the union with `rect`.
    ///
    /// # Panics
    ///
    /// When the processor has not `isa`.
    pub fn overlap(&self, isa: Isa, rect: Rect, iou: f32) -> bool {
        let mut any = false;
        overlap_any(isa, self, rect, iou, &mut any);
        any
    }
}

for_isa! { fn overlap_any(boxes: &Boxes, rect: Rect, iou: f32, any: &mut bool) = overlap_kernel; }

#[inline(always)]
fn overlap_kernel<V: Lanes>(boxes: &Boxes, rect: Rect, iou: f32, any: &mut bool) {
    let [left, top, right, bottom] = rect.edges;
    let (left, top, right, bottom) =
        (V::splat(left), V::splat(top), V::splat(right), V::splat(bottom));
    let (area, class, iou) = (V::splat(rect.area()), V::splat(rect.class), V::splat(iou));
    let (none, half, mut found) = (V::splat(0.0), V::splat(0.5), V::splat(0.0));
    let mut at = 0;
    while at < boxes.len {
        // SAFETY: `at` is a multiple of the width below the number of places, which is one,
        // too. Places that hold no box hold one without area, which overlaps nothing.
        unsafe {
            let edge = |side: usize| boxes.edges[side].as_ptr().wrapping_add(at);
            let width = V::load(edge(2)).min(right).sub(V::load(edge(0)).max(left));
            let height = V::load(edge(3)).min(bottom).sub(V::load(edge(1)).max(top));
            let both = width.max(none).mul(height.max(none));
            let either = V::load(boxes.area.as_ptr().add(at)).add(area).sub(both);
            let over = iou.mul(either).if_less(both, V::splat(1.0), none);
            let apart = V::load(boxes.class.as_ptr().add(at)).sub(class).abs();
            found = apart.if_less(half, over, none).max(found);
        }
        at += WIDTH;
    }
    *any = found.largest() > 0.0;
}

#[cfg(test)]
mod tests {
    use super::super::testing::{all_isas, numbers};
    use super::*;

    fn iou(a: Rect, b: Rect) -> f32 {
        let side = |low: usize| {
            (a.edges[low + 2].min(b.edges[low + 2]) - a.edges[low].max(b.edges[low])).max(0.0)
        };
        let both = side(0) * side(1);
        let either = a.area() + b.area() - both;
        if either > 0.0 { both / either } else { 0.0 }
    }

    #[test]
    fn a_box_overlaps_as_pairs_do() {
        let mut seen = [0; 2];
        for count in [0, 1, 15, 16, 17, 200, MOST_BOXES] {
            let x = numbers(5 * (count + 40), count as u64);
            let rect = |i: usize| {
                let x = &x[5 * i..];
                let class = if x[4] > 0.0 { 1.0 } else { 16_777_215.0 };
                Rect { edges: [x[0], x[1], x[0] + x[2].abs(), x[1] + x[3].abs()], class }
            };
            let mut boxes = Boxes::default();
            (0..count).for_each(|i| boxes.push(rect(i)));
            assert_eq!((boxes.len(), boxes.is_empty()), (count, count == 0));
            for other in (count..count + 40).map(rect) {
                let same = (0..count).map(rect).filter(|one| one.class == other.class);
                let most = same.map(|one| iou(one, other)).fold(0.0, f32::max);
                for threshold in [0.0, 0.05, 0.3, 0.9] {
                    if (most - threshold).abs() < 1e-5 && most > 0.0 {
                        continue;
                    }
                    seen[usize::from(most > threshold)] += 1;
                    for isa in all_isas() {
                        let got = boxes.overlap(isa, other, threshold);
                        assert_eq!(got, most > threshold, "{count} {other:?} {threshold}");
                    }
                }
            }
        }
        assert!(seen.iter().all(|n| *n > 50), "{seen:?}");
    }
}
