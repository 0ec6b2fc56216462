//! `Loop` (opsets 1 to 25): a plan that is run until its condition falls.

use super::bodies::{parse, typed};
use super::native::Built;
use super::values::scalar;
use std::sync::Arc;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{GraphProto, NodeProto};
use tract_onnx::tract_hir::internal::*;

/// No loop runs longer: a condition that never falls must not hang its host.
const MOST_TURNS: i64 = 1 << 24;

/// `Loop`, as an expansion: its body is typed when its inputs are.
#[derive(Debug, Clone)]
struct Loop {
    body: InferenceModel,
    has_count: bool,
    has_condition: bool,
    carried: usize,
    scanned: usize,
    /// ONNX positions of the outputs that the node names.
    wanted: Vec<usize>,
    turns: Symbol,
}

/// Builds `Loop`.
pub(super) fn onnx_loop(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let graph = node.get_attr::<&GraphProto>("body")?;
    let (body, unresolved_inputs) = parse(ctx, graph)?;
    let named = |ix: usize| node.input.get(ix).is_some_and(|n| !n.is_empty());
    let carried = node.input.len().saturating_sub(2);
    ensure!((2..2 + carried).all(named), "Loop: a carried value has no beginning");
    let outputs = body.output_outlets()?.len();
    ensure!(
        graph.input.len() == 2 + carried && outputs > carried,
        "Loop: a body of {} inputs and {outputs} outputs for {carried} carried values",
        graph.input.len()
    );
    let op = Loop {
        has_count: named(0),
        has_condition: named(1),
        carried,
        scanned: outputs - 1 - carried,
        wanted: (0..node.output.len()).filter(|ix| !node.output[*ix].is_empty()).collect(),
        turns: ctx.template.symbols.new_with_prefix("turns"),
        body,
    };
    ensure!(op.wanted.iter().all(|ix| *ix < outputs - 1), "Loop: the body lacks an output");
    Ok((expand(op), unresolved_inputs))
}

/// i64 for what tract computes as a dimension.
fn plain(dt: DatumType) -> DatumType {
    if dt == DatumType::TDim { DatumType::I64 } else { dt }
}

impl Loop {
    fn heads(&self) -> usize {
        self.has_count as usize + self.has_condition as usize
    }

    /// The body typed for the facts of the node's inputs.
    fn typed(&self, inputs: &[TypedFact]) -> TractResult<TypedModel> {
        let mut facts =
            vec![TypedFact::dt_scalar(i64::datum_type()), TypedFact::dt_scalar(bool::datum_type())];
        facts.extend(
            inputs[self.heads()..]
                .iter()
                .map(|fact| plain(fact.datum_type).fact(&*fact.shape.to_tvec())),
        );
        let body = typed(&self.body, &facts)?;
        for ix in 0..self.carried {
            let (before, after) = (&facts[2 + ix], body.output_fact(1 + ix)?);
            // What the body cannot tell yet is checked at each turn.
            let may_fit = before.rank() == after.rank()
                && before
                    .shape
                    .iter()
                    .zip(after.shape.iter())
                    .all(|(a, b)| a == b || a.to_i64().is_err() || b.to_i64().is_err());
            ensure!(
                may_fit && before.datum_type == plain(after.datum_type),
                "Loop: carried value {ix} goes from {before:?} to {after:?}"
            );
        }
        Ok(body)
    }

    /// Facts of the outputs: what is carried, then what is collected.
    fn outputs(
        &self,
        body: &TypedModel,
        turns: &TDim,
        symbols: &SymbolScope,
    ) -> TractResult<Vec<TypedFact>> {
        let carried = (0..self.carried).map(|ix| body.input_fact(2 + ix).cloned());
        let collected = (0..self.scanned).map(|ix| {
            let fact = body.output_fact(1 + self.carried + ix)?;
            let mut dims = fact.shape.to_tvec();
            // A symbol of the body means nothing outside it.
            for dim in dims.iter_mut().filter(|dim| dim.to_i64().is_err()) {
                *dim = symbols.new_with_prefix("collected").into();
            }
            dims.insert(0, turns.clone());
            Ok(plain(fact.datum_type).fact(&*dims))
        });
        carried.chain(collected).collect()
    }

    /// How often the loop turns, when that is certain.
    fn count(
        &self,
        model: &TypedModel,
        inputs: &[OutletId],
        body: &TypedModel,
    ) -> TractResult<Option<i64>> {
        let konst = |ix: usize| -> TractResult<Option<Arc<Tensor>>> {
            Ok(model.outlet_fact(inputs[ix])?.konst.clone())
        };
        if !self.has_count {
            return Ok(None);
        }
        let Some(count) = konst(0)? else {
            return Ok(None);
        };
        let begins = match self.has_condition {
            false => true,
            true => match konst(1)? {
                Some(on) => scalar::<bool>(&on)?,
                None => return Ok(None),
            },
        };
        let condition = body.output_outlets()?[0];
        let passed_on = condition == body.input_outlets()?[1]
            || body
                .node(condition.node)
                .op_is::<tract_onnx::tract_hir::tract_core::ops::identity::Identity>()
                && body.node(condition.node).inputs[0] == body.input_outlets()?[1];
        let always = match &body.outlet_fact(condition)?.konst {
            Some(on) => scalar::<bool>(on)?,
            None => passed_on,
        };
        let count = scalar::<i64>(&count)?.max(0);
        Ok(if !begins {
            Some(0)
        } else if always {
            Some(count)
        } else {
            None
        })
    }
}

impl Expansion for Loop {
    fn name(&self) -> StaticName {
        "Loop".into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.wanted.len())
    }

    fn runs_out_of_plan(&self) -> bool {
        false
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        s.given_all(inputs.iter().map(|i| &i.datum_type), move |s, dts| {
            s.given_all(inputs.iter().map(|i| &i.shape), move |s, shapes| {
                let facts: Vec<TypedFact> =
                    dts.iter().zip(&shapes).map(|(dt, shape)| dt.fact(&**shape)).collect();
                let all = self.outputs(&self.typed(&facts)?, &0.to_dim(), &self.body.symbols)?;
                for (proxy, ix) in outputs.iter().zip(&self.wanted) {
                    s.equals(&proxy.datum_type, all[*ix].datum_type)?;
                    s.equals(&proxy.rank, all[*ix].rank() as i64)?;
                    let collected = (*ix >= self.carried) as usize;
                    for (axis, dim) in all[*ix].shape.iter().enumerate().skip(collected) {
                        if dim.to_i64().is_ok() {
                            s.equals(&proxy.shape[axis], dim.clone())?;
                        }
                    }
                }
                Ok(())
            })
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let facts: Vec<TypedFact> = inputs
            .iter()
            .map(|i| Ok(model.outlet_fact(*i)?.without_value()))
            .collect::<TractResult<_>>()?;
        let body = self.typed(&facts)?;
        let turns = match self.count(model, inputs, &body)? {
            Some(count) => count.to_dim(),
            None => self.turns.clone().into(),
        };
        let all = self.outputs(&body, &turns, &self.body.symbols)?;
        let op = LoopOp {
            facts: all.into(),
            has_count: self.has_count,
            has_condition: self.has_condition,
            carried: self.carried,
            body: super::optimize(body)?.into_runnable()?,
        };
        let outputs = model.wire_node(prefix, op, inputs)?;
        Ok(self.wanted.iter().map(|ix| outputs[*ix]).collect())
    }
}

/// A loop that is run: a plan, and how to feed it.
#[derive(Debug, Clone)]
struct LoopOp {
    facts: Arc<[TypedFact]>,
    has_count: bool,
    has_condition: bool,
    carried: usize,
    body: Arc<TypedRunnableModel>,
}

impl PartialEq for LoopOp {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.body, &other.body) && Arc::ptr_eq(&self.facts, &other.facts)
    }
}

impl Eq for LoopOp {}

impl Op for LoopOp {
    fn name(&self) -> StaticName {
        "Loop".into()
    }

    fn mints_runtime_symbols(&self) -> bool {
        true
    }

    op_as_typed_op!();
}

/// A value as ONNX has it: dimensions are i64.
fn as_onnx(value: TValue) -> TractResult<TValue> {
    if value.datum_type() != DatumType::TDim {
        return Ok(value);
    }
    Ok(value.cast_to::<i64>()?.into_owned().into_tvalue())
}

impl LoopOp {
    /// What was collected over the turns, stacked.
    fn stacked(&self, ix: usize, turns: Vec<TValue>) -> TractResult<TValue> {
        let fact = &self.facts[self.carried + ix];
        if turns.is_empty() {
            let mut dims = super::values::known(&fact.shape.to_tvec()[1..])?;
            dims.insert(0, 0);
            return Ok(Tensor::zero_dt(fact.datum_type, &dims)?.into_tvalue());
        }
        let slices: Vec<Tensor> = turns
            .into_iter()
            .map(|t| {
                let mut t = t.into_tensor();
                t.insert_axis(0)?;
                Ok(t)
            })
            .collect::<TractResult<_>>()?;
        Ok(Tensor::stack_tensors(0, &slices)?.into_tvalue())
    }
}

impl EvalOp for LoopOp {
    not_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let heads = self.has_count as usize + self.has_condition as usize;
        let count = match self.has_count {
            true => scalar::<i64>(&inputs[0])?,
            false => i64::MAX,
        };
        let mut on = match self.has_condition {
            true => scalar::<bool>(&inputs[heads - 1])?,
            false => true,
        };
        let mut carried: TVec<TValue> = inputs[heads..heads + self.carried]
            .iter()
            .map(|t| as_onnx(t.clone()))
            .collect::<TractResult<_>>()?;
        let closures: TVec<TValue> = inputs[heads + self.carried..]
            .iter()
            .map(|t| as_onnx(t.clone()))
            .collect::<TractResult<_>>()?;
        let mut collected: Vec<Vec<TValue>> = vec![vec![]; self.facts.len() - self.carried];
        let mut turn = 0;
        while on && turn < count {
            ensure!(turn < MOST_TURNS, "Loop: still going after {MOST_TURNS} turns");
            crate::work::check()?;
            let mut feed = tvec!(tensor0(turn).into_tvalue(), tensor0(on).into_tvalue());
            feed.extend(carried.iter().cloned());
            feed.extend(closures.iter().cloned());
            let outputs = self.body.run(feed)?.into_iter().map(as_onnx);
            let mut outputs = outputs.collect::<TractResult<Vec<TValue>>>()?.into_iter();
            let condition = outputs.next().context("a loop body has a condition")?;
            on = scalar::<bool>(&condition)?;
            let before = std::mem::take(&mut carried);
            carried = outputs.by_ref().take(self.carried).collect();
            for (before, after) in before.iter().zip(&carried) {
                ensure!(
                    before.shape() == after.shape(),
                    "Loop: a carried value goes from dims {:?} to {:?}",
                    before.shape(),
                    after.shape()
                );
            }
            outputs.zip(&mut collected).for_each(|(value, list)| list.push(value));
            turn += 1;
        }
        for (ix, list) in collected.into_iter().enumerate() {
            carried.push(self.stacked(ix, list)?);
        }
        Ok(carried)
    }
}

impl TypedOp for LoopOp {
    fn output_facts(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(self.facts.iter().cloned().collect())
    }

    as_op!();
}
