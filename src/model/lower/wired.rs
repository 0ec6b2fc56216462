//! A frame for operators that are a composition of tract's own.
//!
//! A recipe wires typed operators onto typed inputs; what its outputs look like
//! is found by wiring it once onto bare sources during analysis.

use super::native::{Built, slots};
use std::sync::Arc;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::tract_core::ops::change_axes::wire_with_rank_broadcast;

/// A model under construction, seen by a recipe.
pub(super) struct Wiring<'a> {
    prefix: &'a str,
    pub model: &'a mut TypedModel,
    pub inputs: Vec<Option<OutletId>>,
    count: usize,
}

impl Wiring<'_> {
    /// A fresh name for a node.
    pub fn name(&mut self) -> String {
        self.count += 1;
        format!("{}.{}", self.prefix, self.count)
    }

    /// The input at ONNX position `ix`, which must be there.
    pub fn need(&self, ix: usize) -> TractResult<OutletId> {
        self.inputs
            .get(ix)
            .copied()
            .flatten()
            .with_context(|| format!("{} needs its input number {ix}", self.prefix))
    }

    /// What is known of an outlet.
    pub fn fact(&self, outlet: OutletId) -> TractResult<&TypedFact> {
        self.model.outlet_fact(outlet)
    }

    /// One operator with one output.
    pub fn op(
        &mut self,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let name = self.name();
        Ok(self.model.wire_node(name, op, inputs)?[0])
    }

    /// A binary operator, its operands broadcast the ONNX way.
    pub fn bin(
        &mut self,
        op: impl Into<Box<dyn TypedOp>>,
        a: OutletId,
        b: OutletId,
    ) -> TractResult<OutletId> {
        let name = self.name();
        Ok(wire_with_rank_broadcast(&name, self.model, op, &[a, b])?[0])
    }

    /// A binary operator against a scalar, in the dtype of `a`.
    pub fn bin_scalar(
        &mut self,
        op: impl Into<Box<dyn TypedOp>>,
        a: OutletId,
        scalar: f32,
    ) -> TractResult<OutletId> {
        let scalar = tensor0(scalar).cast_to_dt(self.fact(a)?.datum_type)?.into_owned();
        let scalar = self.konst(scalar)?;
        self.bin(op, a, scalar)
    }

    /// A constant.
    pub fn konst(&mut self, value: Tensor) -> TractResult<OutletId> {
        let name = self.name();
        self.model.add_const(name, value)
    }

    /// All the outputs of an expansion of tract's.
    pub fn expand(&mut self, e: &dyn Expansion, inputs: &[OutletId]) -> TractResult<Vec<OutletId>> {
        let name = self.name();
        Ok(e.wire(&name, self.model, inputs)?.to_vec())
    }

    /// A cast; nothing when the dtype is `to` already.
    pub fn cast(&mut self, a: OutletId, to: DatumType) -> TractResult<OutletId> {
        if self.fact(a)?.datum_type == to { Ok(a) } else { self.op(cast(to), &[a]) }
    }
}

type Recipe = dyn Fn(&mut Wiring) -> TractResult<Vec<OutletId>> + Send + Sync;

/// Builds the operator of `node` from its recipe.
pub(super) fn wired(
    node: &NodeProto,
    recipe: impl Fn(&mut Wiring) -> TractResult<Vec<OutletId>> + Send + Sync + 'static,
) -> Built {
    let slots = slots(node);
    let wanted = (0..node.output.len()).filter(|&ix| !node.output[ix].is_empty()).collect();
    let op = node.op_type.as_str().into();
    Ok((expand(Wired { op, slots, wanted, recipe: Arc::new(recipe) }), vec![]))
}

#[derive(Clone)]
struct Wired {
    op: Arc<str>,
    slots: Vec<Option<usize>>,
    wanted: Vec<usize>,
    recipe: Arc<Recipe>,
}

/// Whether an operator is a recipe, which says what comes of typed inputs.
pub(super) fn is_recipe(op: &dyn Expansion) -> bool {
    op.as_any().is::<Wired>()
}

impl std::fmt::Debug for Wired {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Wired {}", self.op)
    }
}

impl Wired {
    fn probe(&self, facts: &[TypedFact]) -> TractResult<Vec<TypedFact>> {
        let mut model = TypedModel::default();
        let inputs: TVec<OutletId> = facts
            .iter()
            .enumerate()
            .map(|(ix, fact)| model.add_source(format!("source-{ix}"), fact.clone()))
            .collect::<TractResult<_>>()?;
        let outlets = self.wire("probe", &mut model, &inputs)?;
        outlets.iter().map(|o| model.outlet_fact(*o).cloned()).collect()
    }
}

impl Expansion for Wired {
    fn name(&self) -> StaticName {
        self.op.to_string().into()
    }

    fn runs_out_of_plan(&self) -> bool {
        // Weights stay integers until it is known who reads them.
        &*self.op != "DequantizeLinear"
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.wanted.len())
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, self.slots.iter().flatten().count())?;
        check_output_arity(outputs, self.wanted.len())?;
        s.given_all(inputs.iter().map(|i| &i.datum_type), move |s, dts| {
            s.given_all(inputs.iter().map(|i| &i.shape), move |s, shapes| {
                let facts: Vec<TypedFact> =
                    dts.iter().zip(&shapes).map(|(dt, shape)| dt.fact(&**shape)).collect();
                for (proxy, fact) in outputs.iter().zip(self.probe(&facts)?) {
                    s.equals(&proxy.datum_type, fact.datum_type)?;
                    s.equals(&proxy.shape, fact.shape.to_tvec())?;
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
        let at = |slot: &Option<usize>| slot.and_then(|ix| inputs.get(ix).copied());
        let inputs = self.slots.iter().map(at).collect();
        let mut wiring = Wiring { prefix, model, inputs, count: 0 };
        let all = (self.recipe)(&mut wiring)?;
        self.wanted
            .iter()
            .map(|&ix| {
                all.get(ix)
                    .copied()
                    .with_context(|| format!("{prefix} names output {ix} and has {}", all.len()))
            })
            .collect()
    }
}
