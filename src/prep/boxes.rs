//! The best of boxes that overlap.

use super::scores;
use crate::error::{self, Result};
use crate::kernels::{Boxes, Isa, MOST_BOXES, Rect};

/// What the four numbers of a box are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoxFormat {
    /// Left, top, right, bottom.
    Xyxy,
    /// The middle, width, height.
    Cxcywh,
    /// Left, top, width, height.
    Xywh,
}

impl BoxFormat {
    /// Left, top, right, bottom.
    pub(super) fn edges(self, [a, b, c, d]: [f32; 4]) -> [f32; 4] {
        match self {
            BoxFormat::Xyxy => [a, b, c, d],
            BoxFormat::Cxcywh => [a - c / 2.0, b - d / 2.0, a + c / 2.0, b + d / 2.0],
            BoxFormat::Xywh => [a, b, a + c, b + d],
        }
    }
}

/// What is chosen from.
#[derive(Debug, Clone, Copy)]
pub struct Candidates<'a> {
    /// Four numbers a box.
    pub boxes: &'a [f32],
    /// One a box.
    pub scores: &'a [f32],
    /// One a box, from 0 to 2²⁴; none when boxes of all classes overlap.
    pub classes: Option<&'a [i32]>,
}

/// How to choose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nms {
    /// What the numbers of a box are.
    pub format: BoxFormat,
    /// Only boxes with more are kept.
    pub score_threshold: f32,
    /// Boxes that share more of their union overlap: from 0 to 1.
    pub iou_threshold: f32,
    /// So many are kept at most, up to `MOST_BOXES`.
    pub max_boxes: usize,
}

impl Nms {
    fn check(&self) -> Result<()> {
        if self.max_boxes == 0 || self.max_boxes > MOST_BOXES {
            return Err(error::invalid_argument(format!(
                "max_boxes is {}: expected 1 to {MOST_BOXES}",
                self.max_boxes
            )));
        }
        if !(0.0..=1.0).contains(&self.iou_threshold) {
            return Err(error::invalid_argument(format!(
                "iou_threshold is {}: expected 0 to 1",
                self.iou_threshold
            )));
        }
        if self.score_threshold.is_nan() {
            return Err(error::invalid_argument("score_threshold is NaN: expected a number"));
        }
        Ok(())
    }
}

/// Goes through boxes from the best score on, keeps each that overlaps none that was kept,
/// and writes the places of those, which it counts. `places` has room for all boxes: more
/// than the kept ones is written.
pub fn nms(isa: Isa, how: &Nms, of: Candidates<'_>, places: &mut [usize]) -> Result<usize> {
    how.check()?;
    let count = of.scores.len();
    let boxes = of.boxes.as_chunks::<4>().0;
    let fits = boxes.len() == count && of.classes.is_none_or(|c| c.len() == count);
    if !fits || places.len() != count {
        return Err(error::internal(format!("{count} scores of {} boxes", boxes.len())));
    }
    if let Some((at, class)) = of.classes.and_then(wrong_class) {
        return Err(error::invalid_argument(format!(
            "classes[{at}] is {class}: expected 0 to 16,777,216"
        )));
    }
    let mut kept = Boxes::default();
    let wanted = choose(how, of.scores, boxes, places);
    for at in 0..wanted {
        let place = places[at];
        let class = of.classes.map_or(0.0, |classes| classes[place] as f32);
        let rect = Rect { edges: how.format.edges(boxes[place]), class };
        if !kept.overlap(isa, rect, how.iou_threshold) {
            places[kept.len()] = place;
            kept.push(rect);
            if kept.len() == how.max_boxes {
                break;
            }
        }
    }
    Ok(kept.len())
}

fn wrong_class(classes: &[i32]) -> Option<(usize, i32)> {
    let is_wrong = |(_, class): &(usize, &i32)| !(0..=1 << 24).contains(*class);
    classes.iter().enumerate().find(is_wrong).map(|(at, class)| (at, *class))
}

/// Writes the places of boxes with a score that is enough, the best first, and counts them.
fn choose(how: &Nms, scores: &[f32], boxes: &[[f32; 4]], places: &mut [usize]) -> usize {
    let mut count = 0;
    for (place, (score, numbers)) in scores.iter().zip(boxes).enumerate() {
        // (NaN is not more than anything.)
        if *score > how.score_threshold
            && how.format.edges(*numbers).iter().all(|edge| edge.is_finite())
        {
            places[count] = place;
            count += 1;
        }
    }
    scores::sort(scores, &mut places[..count]);
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOW: Nms =
        Nms { format: BoxFormat::Xyxy, score_threshold: 0.1, iou_threshold: 0.5, max_boxes: 300 };

    fn run(how: &Nms, boxes: &[f32], scores: &[f32], classes: Option<&[i32]>) -> Vec<usize> {
        let mut places = vec![0; scores.len()];
        let of = Candidates { boxes, scores, classes };
        let count = nms(Isa::best(), how, of, &mut places).unwrap();
        places.truncate(count);
        places
    }

    #[test]
    fn the_best_of_each_heap_is_kept() {
        let boxes = [
            0.0, 0.0, 10.0, 10.0, // the first heap
            1.0, 0.0, 11.0, 10.0, // the first heap, better
            50.0, 50.0, 60.0, 60.0, // alone
            0.0, 0.0, 10.0, 4.0, // shares 0.4 of the first
            70.0, 70.0, 80.0, 80.0, // too low a score
        ];
        let scores = [0.8, 0.9, 0.3, 0.5, 0.1];
        assert_eq!(run(&HOW, &boxes, &scores, None), [1, 3, 2]);
        assert_eq!(run(&HOW, &boxes, &scores, Some(&[0, 1, 0, 0, 0])), [1, 0, 3, 2]);
        assert_eq!(run(&Nms { max_boxes: 2, ..HOW }, &boxes, &scores, None), [1, 3]);
        assert_eq!(run(&Nms { iou_threshold: 1.0, ..HOW }, &boxes, &scores, None), [1, 0, 3, 2]);
        assert_eq!(run(&HOW, &[], &[], None), [0usize; 0]);
    }

    #[test]
    fn formats_say_the_same() {
        let scores = [0.5, 0.6];
        for (format, boxes) in [
            (BoxFormat::Xyxy, [0.0, 0.0, 4.0, 8.0, 0.0, 1.0, 4.0, 9.0]),
            (BoxFormat::Cxcywh, [2.0, 4.0, 4.0, 8.0, 2.0, 5.0, 4.0, 8.0]),
            (BoxFormat::Xywh, [0.0, 0.0, 4.0, 8.0, 0.0, 1.0, 4.0, 8.0]),
        ] {
            assert_eq!(run(&Nms { format, ..HOW }, &boxes, &scores, None), [1], "{format:?}");
            let how = Nms { format, iou_threshold: 0.8, ..HOW };
            assert_eq!(run(&how, &boxes, &scores, None), [1, 0], "{format:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        let nan = f32::NAN;
        let boxes = [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, f32::INFINITY, 1.0], [nan, 0.0, 1.0, 1.0]];
        assert_eq!(run(&HOW, boxes.as_flattened(), &[nan, 0.5, 0.5], None), [0usize; 0]);
        let how = Nms { score_threshold: f32::NEG_INFINITY, ..HOW };
        assert_eq!(run(&how, boxes.as_flattened(), &[0.5, 0.5, 0.5], None), [0]);
        // A box that is inside out has no area.
        let turned = [[5.0, 5.0, 0.0, 0.0], [0.0, 0.0, 5.0, 5.0], [5.0, 5.0, 0.0, 0.0]];
        assert_eq!(run(&HOW, turned.as_flattened(), &[0.5; 3], None), [0, 1, 2]);
    }

    #[test]
    fn options_are_checked() {
        let of = Candidates { boxes: &[0.0; 4], scores: &[1.0], classes: Some(&[-1]) };
        let refused = |how: Nms| nms(Isa::best(), &how, of, &mut [7]).unwrap_err().to_string();
        assert!(refused(HOW).contains("classes[0] is -1"));
        assert!(refused(Nms { max_boxes: 0, ..HOW }).contains("max_boxes is 0"));
        assert!(refused(Nms { max_boxes: 1025, ..HOW }).contains("1 to 1024"));
        assert!(refused(Nms { iou_threshold: 1.1, ..HOW }).contains("iou_threshold is 1.1"));
        assert!(refused(Nms { iou_threshold: f32::NAN, ..HOW }).contains("iou_threshold"));
        assert!(refused(Nms { score_threshold: f32::NAN, ..HOW }).contains("score_threshold"));
    }
}
