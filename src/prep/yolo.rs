//! What a detector of the YOLO kind says, as boxes.

use super::boxes::BoxFormat;
use super::fit::Map;
use super::scores;
use crate::error::{self, Result};
use crate::kernels::{BLOCK, Best, Isa, best_of_columns};

/// How a detector says what it sees: four numbers of a box, its objectness if there is one,
/// a score for each class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decode {
    /// Predictions, and numbers of each.
    pub shape: [usize; 2],
    /// The numbers of a prediction are in a column, each in a row of all predictions; else
    /// they are next to each other.
    pub is_by_column: bool,
    /// After the box comes a number that all its scores are multiplied by.
    pub has_objectness: bool,
    /// What the numbers of a box are.
    pub format: BoxFormat,
    /// Only predictions with more are given.
    pub score_threshold: f32,
    /// From the image to the tensor: boxes are given in the image's pixels.
    pub map: Map,
}

/// Where boxes go: room for all predictions.
#[derive(Debug)]
pub struct Detections<'a> {
    /// Left, top, right, bottom of each.
    pub boxes: &'a mut [f32],
    /// The score of its best class.
    pub scores: &'a mut [f32],
    /// Its best class.
    pub classes: &'a mut [i32],
}

/// Writes the predictions with a score that is enough, in their order, and counts them.
pub fn decode(isa: Isa, how: &Decode, x: &[f32], to: &mut Detections<'_>) -> Result<usize> {
    let [predictions, numbers] = how.shape;
    let head = if how.has_objectness { 5 } else { 4 };
    if numbers <= head || numbers > 1 << 24 {
        return Err(error::shape_mismatch(format!(
            "predictions of {numbers} numbers: expected {head} and a score for each class"
        )));
    }
    if predictions.checked_mul(numbers) != Some(x.len()) || !to.fit(predictions) {
        return Err(error::internal(format!("{} floats of {predictions} predictions", x.len())));
    }
    if how.score_threshold.is_nan() {
        return Err(error::invalid_argument("score_threshold is NaN: expected a number"));
    }
    let mut count = 0;
    let mut best = Best { value: [0.0; BLOCK], row: [0.0; BLOCK] };
    for begin in (0..predictions).step_by(BLOCK) {
        let some = BLOCK.min(predictions - begin);
        if how.is_by_column {
            let classes = &x[head * predictions + begin..];
            best_of_columns(isa, classes, predictions, numbers - head, some, &mut best);
        } else {
            best_of_rows(isa, &x[begin * numbers..], numbers, head, some, &mut best);
        }
        for i in 0..some {
            let number = |k: usize| x[how.place(begin + i, k)];
            let objectness = if how.has_objectness { number(4) } else { 1.0 };
            let score = best.value[i] * objectness;
            if score > how.score_threshold {
                let edges = how.format.edges(std::array::from_fn(number));
                to.write(count, how.map, edges, score, best.row[i] as i32);
                count += 1;
            }
        }
    }
    Ok(count)
}

impl Decode {
    /// Where number `k` of prediction `i` is.
    fn place(&self, i: usize, k: usize) -> usize {
        let [predictions, numbers] = self.shape;
        if self.is_by_column { k * predictions + i } else { i * numbers + k }
    }
}

impl Detections<'_> {
    fn fit(&self, count: usize) -> bool {
        self.boxes.len() / 4 >= count && self.scores.len() >= count && self.classes.len() >= count
    }

    fn write(&mut self, at: usize, map: Map, edges: [f32; 4], score: f32, class: i32) {
        let back = |side: usize| map.back(side % 2, edges[side]);
        self.boxes[4 * at..][..4].copy_from_slice(&std::array::from_fn::<f32, 4, _>(back));
        self.scores[at] = score;
        self.classes[at] = class;
    }
}

/// As [`best_of_columns`], of predictions whose numbers are next to each other.
fn best_of_rows(isa: Isa, x: &[f32], numbers: usize, head: usize, count: usize, best: &mut Best) {
    for (i, prediction) in x.chunks_exact(numbers).take(count).enumerate() {
        let classes = &prediction[head..];
        let at = scores::first_of_largest(isa, classes);
        let value = if classes[at].is_nan() { f32::NEG_INFINITY } else { classes[at] };
        (best.value[i], best.row[i]) = (value, at as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(how: &Decode, x: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<i32>) {
        let n = how.shape[0];
        let (mut boxes, mut scores, mut classes) = (vec![7.0; 4 * n], vec![7.0; n], vec![7; n]);
        let mut to = Detections { boxes: &mut boxes, scores: &mut scores, classes: &mut classes };
        let count = decode(Isa::best(), how, x, &mut to).unwrap();
        assert!(scores[count..].iter().all(|s| *s == 7.0), "more is written than is told");
        boxes.truncate(4 * count);
        scores.truncate(count);
        classes.truncate(count);
        (boxes, scores, classes)
    }

    const HOW: Decode = Decode {
        shape: [3, 6],
        is_by_column: false,
        has_objectness: false,
        format: BoxFormat::Cxcywh,
        score_threshold: 0.25,
        map: Map::SAME,
    };

    #[test]
    fn rows_and_columns_say_the_same() {
        let rows = [
            [10.0, 20.0, 4.0, 8.0, 0.1, 0.9],
            [30.0, 40.0, 2.0, 2.0, 0.2, 0.25],
            [50.0, 60.0, 6.0, 4.0, f32::NAN, 0.5],
        ];
        let columns: Vec<f32> = (0..18).map(|i| rows[i % 3][i / 3]).collect();
        let want =
            (vec![8.0, 16.0, 12.0, 24.0, 47.0, 58.0, 53.0, 62.0], vec![0.9, 0.5], vec![1, 1]);
        assert_eq!(run(&HOW, rows.as_flattened()), want);
        assert_eq!(run(&Decode { is_by_column: true, ..HOW }, &columns), want);
    }

    #[test]
    fn objectness_counts_and_boxes_go_back() {
        let x = [20.0, 30.0, 8.0, 4.0, 0.5, 0.8, 0.9, 20.0, 30.0, 8.0, 4.0, 0.2, 0.8, 0.9];
        let map = Map { scale: [0.5, 2.0], offset: [10.0, 20.0] };
        let how = Decode { shape: [2, 7], has_objectness: true, map, ..HOW };
        assert_eq!(run(&how, &x), (vec![12.0, 4.0, 28.0, 6.0], vec![0.45], vec![1]));
    }

    #[test]
    fn many_predictions_are_told_in_their_order() {
        let n = 1000;
        let number = |i: usize, k: usize| match k {
            0..4 => (i * 7 + k) as f32,
            _ => ((i * 31 + k * 17) % 97) as f32 / 97.0,
        };
        let rows: Vec<f32> = (0..n * 9).map(|at| number(at / 9, at % 9)).collect();
        let columns: Vec<f32> = (0..n * 9).map(|at| number(at % n, at / n)).collect();
        let how = Decode { shape: [n, 9], score_threshold: 0.7, ..HOW };
        let (boxes, scores, classes) = run(&how, &rows);
        assert_eq!(
            run(&Decode { is_by_column: true, ..how }, &columns),
            (boxes, scores.clone(), classes)
        );
        let best = |i: usize| (4..9).map(|k| number(i, k)).fold(0.0, f32::max);
        assert_eq!(scores, (0..n).map(best).filter(|s| *s > 0.7).collect::<Vec<_>>());
    }

    #[test]
    fn predictions_without_classes_are_refused() {
        let mut to = Detections { boxes: &mut [], scores: &mut [], classes: &mut [] };
        let how = Decode { shape: [0, 5], has_objectness: true, ..HOW };
        assert!(
            decode(Isa::best(), &how, &[], &mut to).unwrap_err().detail().contains("5 numbers")
        );
    }
}
