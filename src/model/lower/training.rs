//! What training leaves in a graph: `Adagrad`, `Adam`, `Momentum` (ai.onnx.preview.training 1),
//! and `BatchNormalization` in training mode (opsets 14, 15).

use super::attrs;
use super::native::{Built, Facts, Kernel, Tensors, native, tract_builder};
use super::values::{f64s, scalar, tensor_of};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::expandable::{Expansion, expand};
use tract_onnx::tract_hir::tract_core::ndarray::{ArrayD, Axis, Zip};

#[derive(Debug, Clone, Copy)]
enum Rule {
    Adagrad { decay: f64, epsilon: f64 },
    Adam { alpha: f64, beta: f64, epsilon: f64, norm_after: f64 },
    Momentum { alpha: f64, beta: f64, nesterov: bool },
}

/// One step of an optimizer over some tensors.
#[derive(Debug)]
struct Step {
    rule: Rule,
    norm: f64,
    /// How many tensors are trained.
    count: usize,
}

/// Builds `Adagrad`, `Adam` or `Momentum`.
pub(super) fn optimizer(_: &ParsingContext, node: &NodeProto) -> Built {
    let float =
        |name, default| -> TractResult<f64> { Ok(attrs::float(node, name, default)? as f64) };
    let rule = match &*node.op_type {
        "Adagrad" => {
            Rule::Adagrad { decay: float("decay_factor", 0.0)?, epsilon: float("epsilon", 1e-6)? }
        }
        "Adam" => Rule::Adam {
            alpha: float("alpha", 0.9)?,
            beta: float("beta", 0.999)?,
            epsilon: float("epsilon", 1e-6)?,
            norm_after: float("norm_coefficient_post", 0.0)?,
        },
        _ => Rule::Momentum {
            alpha: node.get_attr::<f32>("alpha")? as f64,
            beta: node.get_attr::<f32>("beta")? as f64,
            nesterov: match &*attrs::string(node, "mode", "standard")? {
                "standard" => false,
                "nesterov" => true,
                other => bail!("Momentum: unknown mode '{other}'"),
            },
        },
    };
    let each = if matches!(rule, Rule::Adam { .. }) { 4 } else { 3 };
    let tensors = node.input.len().saturating_sub(2);
    ensure!(
        tensors.is_multiple_of(each),
        "{}: {tensors} tensors are no groups of {each}",
        node.op_type
    );
    let norm = float("norm_coefficient", 0.0)?;
    native(node, Step { rule, norm, count: tensors / each })
}

impl Step {
    /// How many tensors each trained one has beside its value and gradient.
    fn states(&self) -> usize {
        if matches!(self.rule, Rule::Adam { .. }) { 2 } else { 1 }
    }

    /// The new value, and the new states, of one element.
    fn element(&self, rate: f64, turn: f64, x: f64, g: f64, v: f64, h: f64) -> [f64; 3] {
        let g = self.norm * x + g;
        match self.rule {
            Rule::Adagrad { decay, epsilon } => {
                let v = v + g * g;
                [x - rate / (1.0 + turn * decay) * g / (v.sqrt() + epsilon), v, 0.0]
            }
            Rule::Adam { alpha, beta, epsilon, norm_after } => {
                let v = alpha * v + (1.0 - alpha) * g;
                let h = beta * h + (1.0 - beta) * g * g;
                let rate = if turn > 0.0 {
                    rate * (1.0 - beta.powf(turn)).sqrt() / (1.0 - alpha.powf(turn))
                } else {
                    rate
                };
                let x = x - rate * v / (h.sqrt() + epsilon);
                [(1.0 - norm_after) * x, v, h]
            }
            Rule::Momentum { alpha, beta, nesterov } => {
                let v = alpha * v + if turn > 0.0 { beta } else { 1.0 } * g;
                [x - rate * if nesterov { g + alpha * v } else { v }, v, 0.0]
            }
        }
    }
}

impl Kernel for Step {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let place = |ix: usize| 2 + ix % self.count + if ix < self.count { 0 } else { self.count };
        let groups = 1 + self.states();
        (0..groups * self.count)
            .map(|ix| Ok(inputs.dt(place(ix))?.fact(&*inputs.shape(2 + ix % self.count)?)))
            .collect()
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let number = |ix| -> TractResult<f64> { scalar(inputs.need(ix)?) };
        let (rate, turn) = (number(0)?, number(1)?);
        let mut outputs: Vec<Vec<Tensor>> = vec![vec![]; 1 + self.states()];
        for ix in 0..self.count {
            let part = |group: usize| f64s(inputs.need(2 + group * self.count + ix)?);
            let dt = inputs.need(2 + ix)?.datum_type();
            let (x, g, v) = (part(0)?, part(1)?, part(2)?);
            let h = if self.states() == 2 { part(3)? } else { ArrayD::zeros(x.raw_dim()) };
            ensure!(
                x.shape() == g.shape() && x.shape() == v.shape() && x.shape() == h.shape(),
                "a tensor, its gradient and its states differ in dims"
            );
            let new = Zip::from(&x)
                .and(&g)
                .and(&v)
                .and(&h)
                .map_collect(|x, g, v, h| self.element(rate, turn, *x, *g, *v, *h));
            for (group, list) in outputs.iter_mut().enumerate() {
                list.push(tensor_of(new.mapv(|n| n[group]), dt)?);
            }
        }
        Ok(outputs.concat())
    }
}

#[derive(Debug)]
struct BatchNorm {
    epsilon: f64,
    momentum: f64,
}

/// `BatchNormalization`: tract's, except when it measures its own batch.
pub(super) fn batch_norm(ctx: &ParsingContext, node: &NodeProto) -> Built {
    if !attrs::flag(node, "training_mode", false)? {
        let (op, closures) = tract_builder("BatchNormalization")?(ctx, node)?;
        let expansion = op.as_op().downcast_ref::<Box<dyn Expansion>>();
        let inner = expansion.context("BatchNormalization is no expansion")?.clone();
        return Ok((expand(WithChannels(inner)), closures));
    }
    let epsilon = attrs::float(node, "epsilon", 1e-5)? as f64;
    native(node, BatchNorm { epsilon, momentum: attrs::float(node, "momentum", 0.9)? as f64 })
}

/// tract's normalisation, once there is an axis of channels: it reads the dim of
/// that axis unchecked.
#[derive(Debug, Clone)]
struct WithChannels(Box<dyn Expansion>);

impl Expansion for WithChannels {
    fn name(&self) -> StaticName {
        self.0.name()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        ensure!(!inputs.is_empty(), "BatchNormalization needs its input number 0");
        s.given(&inputs[0].rank, move |s, rank| {
            ensure!(rank >= 2, "BatchNormalization: rank {rank}: expected 2 or more");
            self.0.rules(s, inputs, outputs)
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let rank = model.outlet_fact(inputs[0])?.rank();
        ensure!(rank >= 2, "BatchNormalization: rank {rank}: expected 2 or more");
        self.0.wire(prefix, model, inputs)
    }
}

impl Kernel for BatchNorm {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let x = inputs.shape(0)?;
        ensure!(x.len() >= 2, "BatchNormalization takes 2 dims or more");
        let stats = |ix| -> TractResult<TypedFact> { Ok(inputs.dt(ix)?.fact([x[1].clone()])) };
        Ok(vec![inputs.dt(0)?.fact(&*x), stats(3)?, stats(4)?])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let mut x = f64s(inputs.need(0)?)?;
        let list =
            |ix| -> TractResult<Vec<f64>> { Ok(f64s(inputs.need(ix)?)?.into_iter().collect()) };
        let (scale, bias, mut mean, mut var) = (list(1)?, list(2)?, list(3)?, list(4)?);
        let channels = x.shape()[1];
        let fits = [&scale, &bias, &mean, &var].iter().all(|l| l.len() == channels);
        ensure!(fits, "BatchNormalization: parameters for other than {channels} channels");
        for c in 0..channels {
            let mut channel = x.index_axis_mut(Axis(1), c);
            let count = channel.len() as f64;
            let here = channel.sum() / count;
            let spread = channel.iter().map(|v| (v - here).powi(2)).sum::<f64>() / count;
            let by = scale[c] / (spread + self.epsilon).sqrt();
            channel.mapv_inplace(|v| (v - here) * by + bias[c]);
            mean[c] = mean[c] * self.momentum + here * (1.0 - self.momentum);
            var[c] = var[c] * self.momentum + spread * (1.0 - self.momentum);
        }
        let list = |values: Vec<f64>, ix| -> TractResult<Tensor> {
            tensor_of(
                ArrayD::from_shape_vec(vec![channels], values)?,
                inputs.need(ix)?.datum_type(),
            )
        };
        Ok(vec![tensor_of(x, inputs.need(0)?.datum_type())?, list(mean, 3)?, list(var, 4)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_momentum_is_the_gradient() {
        let rule = Rule::Momentum { alpha: 0.9, beta: 0.1, nesterov: false };
        let step = Step { rule, norm: 0.0, count: 1 };
        assert_eq!(step.element(0.5, 0.0, 1.0, 2.0, 0.0, 0.0), [0.0, 2.0, 0.0]);
    }
}
