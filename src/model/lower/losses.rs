//! `NegativeLogLikelihoodLoss` (opsets 12, 13, 22) and `SoftmaxCrossEntropyLoss` (12, 13).

use super::attrs;
use super::native::{Built, Facts, Kernel, Tensors, native};
use super::values::{f64s, tensor_of};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ndarray::{ArrayD, ArrayViewD, Axis, Dimension, IxDyn};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Reduction {
    None,
    Sum,
    Mean,
}

#[derive(Debug)]
struct Loss {
    /// Scores are log-softmaxed first (cross entropy) or are log-probabilities already.
    softmax: bool,
    reduction: Reduction,
    ignore: Option<i64>,
}

fn build(node: &NodeProto, softmax: bool) -> Built {
    let reduction = match &*attrs::string(node, "reduction", "mean")? {
        "none" => Reduction::None,
        "sum" => Reduction::Sum,
        "mean" => Reduction::Mean,
        other => bail!("{}: unknown reduction '{other}'", node.op_type),
    };
    native(node, Loss { softmax, reduction, ignore: node.get_attr_opt("ignore_index")? })
}

pub(super) fn negative_log_likelihood(_: &ParsingContext, node: &NodeProto) -> Built {
    build(node, false)
}

pub(super) fn softmax_cross_entropy(_: &ParsingContext, node: &NodeProto) -> Built {
    build(node, true)
}

impl Kernel for Loss {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let (dt, scores) = (inputs.dt(0)?, inputs.shape(0)?);
        ensure!(scores.len() >= 2, "scores must have at least 2 dims, found {}", scores.len());
        let target = inputs.shape(1)?;
        let same_rank = target.len() + 1 == scores.len();
        ensure!(same_rank, "labels must have one dim less than scores");
        let loss = if self.reduction == Reduction::None { target } else { tvec!() };
        Ok(vec![dt.fact(&*loss), dt.fact(&*scores)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let dt = inputs.need(0)?.datum_type();
        let mut scores = f64s(inputs.need(0)?)?;
        if self.softmax {
            log_softmax(&mut scores);
        }
        let target = inputs.need(1)?.cast_to::<i64>()?;
        let weight = inputs.get(2).map(f64s).transpose()?;
        let weight = weight.as_ref().map(|w| w.iter().copied().collect::<Vec<_>>());
        let target = target.to_plain_array_view::<i64>()?;
        let (loss, total) = losses(&scores, target, weight.as_deref(), self.ignore)?;
        let loss = match self.reduction {
            Reduction::None => loss,
            Reduction::Sum => ArrayD::from_elem(IxDyn(&[]), loss.sum()),
            Reduction::Mean => ArrayD::from_elem(IxDyn(&[]), loss.sum() / total),
        };
        Ok(vec![tensor_of(loss, dt)?, tensor_of(scores, dt)?])
    }
}

/// Log-softmax over axis 1, in place.
fn log_softmax(scores: &mut ArrayD<f64>) {
    for mut lane in scores.lanes_mut(Axis(1)) {
        let max = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = lane.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
        lane.mapv_inplace(|x| x - max - log_sum);
    }
}

/// The loss of each sample, and the sum of the weights that applied.
fn losses(
    logs: &ArrayD<f64>,
    target: ArrayViewD<i64>,
    weight: Option<&[f64]>,
    ignore: Option<i64>,
) -> TractResult<(ArrayD<f64>, f64)> {
    let classes = logs.shape()[1];
    let mut expected = logs.shape().to_vec();
    expected.remove(1);
    ensure!(target.shape() == expected, "labels have dims {:?}, not {expected:?}", target.shape());
    if let Some(w) = weight {
        ensure!(w.len() == classes, "{} weights for {classes} classes", w.len());
    }
    let mut total = 0.0;
    let mut loss = ArrayD::zeros(target.raw_dim());
    for (at, &class) in target.indexed_iter() {
        if Some(class) == ignore {
            continue;
        }
        ensure!(
            (0..classes as i64).contains(&class),
            "label {class} is not in 0..{classes} and is not ignore_index"
        );
        let weight = weight.map_or(1.0, |w| w[class as usize]);
        let mut coords = at.slice().to_vec();
        coords.insert(1, class as usize);
        loss[&at] = -logs[&*coords] * weight;
        total += weight;
    }
    Ok((loss, total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::tract_hir::tract_core::ndarray::arr1;

    #[test]
    fn an_ignored_label_costs_nothing_and_weighs_nothing() {
        let logs = ArrayD::from_shape_vec(IxDyn(&[2, 2]), vec![-1.0, -2.0, -3.0, -4.0]).unwrap();
        let target = arr1(&[1i64, -7]).into_dyn();
        let (loss, total) = losses(&logs, target.view(), Some(&[0.5, 2.0]), Some(-7)).unwrap();
        assert_eq!(loss.iter().copied().collect::<Vec<_>>(), [4.0, 0.0]);
        assert_eq!(total, 2.0);
        assert!(losses(&logs, target.view(), None, None).is_err());
    }
}
