//! `If`, folded where its condition is known.
//!
//! tract types both branches of an `If`, so a model fails when the branch that
//! can never be taken does not type-check: a voice detector's 8 kHz half at 16
//! kHz, a squeeze of an axis that is not 1. This one looks at a branch only
//! when it may be taken, and puts the chosen one in the place of the node when
//! the condition is a constant after shape inference.

use super::lower::scalar;
use std::collections::HashMap;
use tract_onnx::model::{OnnxOpRegister, ParseResult, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{IntoRunnable, TypedSimplePlan};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;
use tract_onnx::tract_hir::infer::{
    Factoid, InferenceFact, InferenceModel, InferenceModelExt, InferenceNode, InferenceOp,
};

pub(super) fn register(reg: &mut OnnxOpRegister) {
    reg.insert("If", parse);
}

fn parse(
    ctx: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let mut outer: Vec<String> = Vec::new();
    let mut arm = |name: &str| -> TractResult<Arm> {
        let attribute = node.attribute.iter().find(|a| a.name == name);
        let graph =
            attribute.and_then(|a| a.g.as_ref()).with_context(|| format!("If without {name}"))?;
        let ParseResult { model, unresolved_inputs, .. } = ctx.parse_graph(graph)?;
        let inputs = unresolved_inputs.iter().map(|name| {
            let at = outer.iter().position(|o| o == name).unwrap_or_else(|| {
                outer.push(name.clone());
                outer.len() - 1
            });
            // Input 0 is the condition.
            at + 1
        });
        let inputs = inputs.collect();
        Ok(Arm { body: model, inputs })
    };
    let then_arm = arm("then_branch")?;
    let else_arm = arm("else_branch")?;
    ensure!(
        then_arm.body.outputs.len() == else_arm.body.outputs.len(),
        "If: its branches have {} and {} outputs",
        then_arm.body.outputs.len(),
        else_arm.body.outputs.len()
    );
    Ok((Box::new(Branch { then_arm, else_arm }), outer))
}

/// One branch, and which input of the node feeds each input of its body.
#[derive(Debug, Clone)]
struct Arm {
    body: InferenceModel,
    inputs: Vec<usize>,
}

impl Arm {
    /// Takes over what is known of the inputs, infers, and tells what is known
    /// of the outputs.
    fn infer(&mut self, inputs: &[InferenceFact]) -> TractResult<TVec<InferenceFact>> {
        for (inner, outer) in self.inputs.iter().enumerate() {
            self.body.input_fact_mut(inner)?.unify_with(&inputs[*outer])?;
        }
        self.body.analyse(false)?;
        (0..self.body.outputs.len()).map(|ix| Ok(self.body.output_fact(ix)?.clone())).collect()
    }

    /// Puts the body into `target`, fed by `inputs`.
    fn splice(
        &self,
        prefix: &str,
        target: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let body = self.body.clone().into_typed()?;
        let mut wires: HashMap<OutletId, OutletId> = HashMap::new();
        for (inner, outer) in body.input_outlets()?.iter().zip(&self.inputs) {
            wires.insert(*inner, inputs[*outer]);
        }
        for id in body.eval_order()? {
            let node = body.node(id);
            if node.op_is::<TypedSource>() {
                continue;
            }
            let name = format!("{prefix}.{}", node.name);
            let outlets = if let Some(konst) = node.op_as::<Const>() {
                tvec!(target.add_const(name, konst.val().clone())?)
            } else {
                let from: TVec<OutletId> = node.inputs.iter().map(|i| wires[i]).collect();
                target.wire_node(name, node.op.clone(), &from)?
            };
            wires.extend(outlets.iter().enumerate().map(|(s, o)| (OutletId::new(id, s), *o)));
        }
        Ok(body.output_outlets()?.iter().map(|o| wires[o]).collect())
    }
}

#[derive(Debug, Clone)]
struct Branch {
    then_arm: Arm,
    else_arm: Arm,
}

impl PartialEq for Branch {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

impl Eq for Branch {}

impl Op for Branch {
    fn name(&self) -> StaticName {
        "If".into()
    }

    not_a_typed_op!();
}

impl EvalOp for Branch {
    not_out_of_plan!();
}

impl InferenceOp for Branch {
    fn infer_facts(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<(TVec<InferenceFact>, TVec<InferenceFact>, TVec<InferenceFact>)> {
        let inputs: TVec<InferenceFact> = inputs.into_iter().cloned().collect();
        let mut outputs: TVec<InferenceFact> = outputs.into_iter().cloned().collect();
        let observed = observed.into_iter().cloned().collect();
        let found = match inputs[0].value.concretize() {
            Some(condition) => {
                let taken = scalar::<bool>(&condition)?;
                let arm = if taken { &mut self.then_arm } else { &mut self.else_arm };
                arm.infer(&inputs)?
            }
            // Either may be taken: what both agree on holds. A branch that does
            // not infer says nothing yet; it is refused when it must be typed.
            None => {
                match (self.then_arm.clone().infer(&inputs), self.else_arm.clone().infer(&inputs)) {
                    (Ok(a), Ok(b)) => a.iter().zip(&b).map(|(a, b)| agreed(a, b)).collect(),
                    _ => tvec!(InferenceFact::default(); outputs.len()),
                }
            }
        };
        for (output, fact) in outputs.iter_mut().zip(&found) {
            output.unify_with(fact)?;
        }
        Ok((inputs, outputs, observed))
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.then_arm.body.outputs.len())
    }

    fn to_typed(
        &self,
        _source: &InferenceModel,
        node: &InferenceNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
    ) -> TractResult<TVec<OutletId>> {
        let inputs: TVec<OutletId> = node.inputs.iter().map(|o| mapping[o]).collect();
        if let Some(condition) = target.outlet_fact(inputs[0])?.konst.clone() {
            let taken = scalar::<bool>(&condition)?;
            let arm = if taken { &self.then_arm } else { &self.else_arm };
            return arm.splice(&node.name, target, &inputs);
        }
        let compiled =
            |arm: &Arm| Taken::compile(arm, target, &inputs).map_err(|e| format!("{e:#}"));
        let (then_arm, else_arm) = (compiled(&self.then_arm), compiled(&self.else_arm));
        let facts = match (&then_arm, &else_arm) {
            (Ok(a), Ok(b)) => either(&a.facts, &b.facts, &target.symbols)?,
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => one.facts.clone(),
            (Err(a), Err(b)) => bail!("neither branch can be compiled: {a}; {b}"),
        };
        target.wire_node(&node.name, RunTimeIf { then_arm, else_arm, facts }, &inputs)
    }

    as_op!();
}

/// What two facts have in common.
fn agreed(a: &InferenceFact, b: &InferenceFact) -> InferenceFact {
    let mut fact = InferenceFact::default();
    if a.datum_type == b.datum_type {
        fact.datum_type = a.datum_type;
    }
    if a.shape == b.shape {
        fact.shape = a.shape.clone();
    }
    fact
}

/// A branch ready to be taken at run time.
#[derive(Debug, Clone)]
struct Taken {
    plan: Arc<TypedSimplePlan>,
    inputs: Vec<usize>,
    facts: TVec<TypedFact>,
}

impl Taken {
    fn compile(arm: &Arm, around: &TypedModel, inputs: &[OutletId]) -> TractResult<Taken> {
        let mut body = arm.body.clone();
        for (inner, outer) in arm.inputs.iter().enumerate() {
            let fact = around.outlet_fact(inputs[*outer])?.without_value();
            body.set_input_fact(inner, InferenceFact::from(&fact))?;
        }
        let body = super::lower::optimize(body.into_typed()?)?;
        let outlets = body.output_outlets()?.iter();
        let facts = outlets.map(|o| Ok(body.outlet_fact(*o)?.without_value()));
        let facts = facts.collect::<TractResult<_>>()?;
        Ok(Taken { plan: body.into_runnable()?, inputs: arm.inputs.clone(), facts })
    }
}

/// What holds of an output whichever branch is taken: a dim that differs is a
/// symbol of its own.
fn either(a: &[TypedFact], b: &[TypedFact], symbols: &SymbolScope) -> TractResult<TVec<TypedFact>> {
    let both = a.iter().zip(b).enumerate().map(|(ix, (a, b))| {
        ensure!(
            a.datum_type == b.datum_type && a.rank() == b.rank(),
            "output {ix} of its branches differs in type or rank: {a:?}, {b:?}"
        );
        let dims = a.shape.iter().zip(b.shape.iter()).map(|(a, b)| match a == b {
            true => a.clone(),
            false => symbols.new_with_prefix("if").to_dim(),
        });
        Ok(a.datum_type.fact(dims.collect::<TVec<TDim>>()))
    });
    both.collect()
}

/// An `If` whose condition is known at run time only. A branch that could not
/// be compiled is an error when it is taken, not before.
#[derive(Debug, Clone)]
struct RunTimeIf {
    then_arm: Result<Taken, String>,
    else_arm: Result<Taken, String>,
    facts: TVec<TypedFact>,
}

impl PartialEq for RunTimeIf {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

impl Eq for RunTimeIf {}

impl Op for RunTimeIf {
    fn name(&self) -> StaticName {
        "If".into()
    }

    fn mints_runtime_symbols(&self) -> bool {
        true
    }

    op_as_typed_op!();
}

impl EvalOp for RunTimeIf {
    not_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let condition = scalar::<bool>(&inputs[0])?;
        let arm = if condition { &self.then_arm } else { &self.else_arm };
        let taken = arm.as_ref().map_err(|why| {
            format_err!("the condition is {condition}, and that branch cannot be compiled: {why}")
        })?;
        taken.plan.run(taken.inputs.iter().map(|ix| inputs[*ix].clone()).collect())
    }
}

impl TypedOp for RunTimeIf {
    as_op!();

    fn output_facts(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(self.facts.clone())
    }
}
