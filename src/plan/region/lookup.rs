//! One-hot products as lookups.
//!
//! An index that is compared with 0, 1, 2, … to make a row of zeros with one 1,
//! and that row times a matrix of weights, are a row of the weights, or zeros
//! for an index out of range.

use super::einsum;
use super::lower::{Context, Raw};
use crate::kernels::as_floats_mut;
use crate::model::zeros;
use crate::tensor::{DType, Shape};
use std::sync::Arc;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::logic::CompEq;

/// Rows of weights by index.
#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    table: Arc<Table>,
    shape: Shape,
}

struct Table {
    rows: Raw,
    /// Floats of a row.
    width: usize,
    /// The index of the first row.
    first: i64,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} floats in rows of {}", self.rows.as_ref().len(), self.width)
    }
}

impl PartialEq for Lookup {
    fn eq(&self, other: &Lookup) -> bool {
        Arc::ptr_eq(&self.table, &other.table) && self.shape == other.shape
    }
}

impl Eq for Lookup {}

impl Lookup {
    /// The rows, the floats of one, and the index of the first.
    pub(in crate::plan) fn rows(&self) -> (&Raw, usize, i64) {
        let Table { rows, width, first } = &*self.table;
        (rows, *width, *first)
    }
}

impl Op for Lookup {
    fn name(&self) -> StaticName {
        "Lookup".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Lookup {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let indices = inputs[0].cast_to::<i64>()?;
        let indices = indices.try_as_plain_ram()?.as_slice::<i64>()?;
        let Table { rows, width, first } = &*self.table;
        let mut tensor = zeros(DType::F32, &self.shape)?;
        let to = as_floats_mut(tensor.as_bytes_mut()).context("no floats")?;
        ensure!(to.len() == indices.len() * width, "{} indices", indices.len());
        for (index, to) in indices.iter().zip(to.chunks_exact_mut(*width)) {
            let at = index.checked_sub(*first).and_then(|at| usize::try_from(at).ok());
            let row = at.and_then(|at| rows.as_ref().get(at.checked_mul(*width)?..)?.get(..*width));
            // (The tensor may have held anything.)
            match row {
                Some(row) => to.copy_from_slice(row),
                None => to.fill(0.0),
            }
        }
        Ok(tvec!(tensor.into_tvalue()))
    }
}

impl TypedOp for Lookup {
    fn output_facts(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(&*self.shape)))
    }

    as_op!();
}

/// The one node that `outlet` comes from, when nobody else reads it.
fn alone(graph: &TypedModel, outlet: OutletId) -> Option<&TypedNode> {
    let node = graph.nodes.get(outlet.node)?;
    (node.outputs.len() == 1 && node.outputs[0].successors.len() == 1).then_some(node)
}

/// Whether a tensor is 0, 1, 2, … or another such row along its last axis: the first.
fn counts(tensor: &Tensor) -> Option<i64> {
    let integer = tensor.datum_type().is_integer() && tensor.shape().last() == Some(&tensor.len());
    let values = integer.then(|| tensor.cast_to::<i64>().ok()).flatten()?;
    let values = values.try_as_plain_ram().ok()?.as_slice::<i64>().ok()?;
    let first = *values.first()?;
    let follows = values.iter().enumerate().all(|(i, v)| first.checked_add(i as i64) == Some(*v));
    follows.then_some(first)
}

/// The lookup that a product is, and where its indices come from.
fn found(graph: &TypedModel, node: &TypedNode) -> Option<(Lookup, OutletId)> {
    let context = Context { graph, node, channels_last: false };
    let (hot, weights) = einsum::plain(&context)?;
    let cast = alone(graph, *node.inputs.get(hot)?)?;
    cast.op_as::<Cast>().filter(|cast| cast.to == f32::datum_type())?;
    let equal = alone(graph, *cast.inputs.first()?)?;
    equal.op_as::<TypedBinOp>().filter(|op| op.0.is::<CompEq>())?;
    let [a, b] = equal.inputs[..] else { return None };
    for (range, indices) in [(a, b), (b, a)] {
        let range = graph.outlet_fact(range).ok()?.konst.as_deref();
        let Some((first, range)) = range.and_then(|r| Some((counts(r)?, r))) else { continue };
        let fact = graph.outlet_fact(indices).ok()?;
        let dims = fact.shape.as_concrete()?;
        let [depth, width] = weights;
        let fits = fact.datum_type.is_integer() && dims.last() == Some(&1) && range.len() == depth;
        let shape = Shape::new(&context.output(0)?).ok()?;
        let count: usize = dims.iter().product();
        if !fits || shape.iter().product::<usize>() != count * width {
            continue;
        }
        let rows = context.raw(1 - hot)?;
        let table = Arc::new(Table { rows, width, first });
        return Some((Lookup { table, shape }, indices));
    }
    None
}

/// Makes lookups of all one-hot products.
pub(in crate::plan) fn replace(graph: &mut TypedModel) -> TractResult<()> {
    for id in graph.eval_order()? {
        let Some((lookup, indices)) = found(graph, &graph.nodes[id]) else { continue };
        let mut patch = TypedModelPatch::new("lookup");
        let tap = patch.tap_model(graph, indices)?;
        let name = format!("lookup of {}", graph.nodes[id].name);
        let rows = patch.wire_node(name, lookup, &[tap])?[0];
        patch.shunt_outside(graph, OutletId::new(id, 0), rows)?;
        patch.apply(graph)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::lower::floats;
    use super::*;
    use tract_onnx::tract_core::ops::cast::cast;
    use tract_onnx::tract_core::ops::einsum::EinSum;
    use tract_onnx::tract_core::ops::logic::comp_eq;

    #[test]
    fn an_index_finds_its_row_or_nothing() {
        let mut model = TypedModel::default();
        let x = model.add_source("x", i32::fact([4, 1])).unwrap();
        let range = model.add_const("range", tensor2(&[[2i32, 3, 4]])).unwrap();
        let hot = model.wire_node("hot", TypedBinOp(comp_eq(), None), &[x, range]).unwrap();
        let hot = model.wire_node("cast", cast(f32::datum_type()), &hot).unwrap()[0];
        let table = tensor2(&[[1f32, 2.0], [3.0, 4.0], [5.0, 6.0]]);
        let table = model.add_const("table", table).unwrap();
        let op = EinSum::new("mk,kn->mn".parse().unwrap(), f32::datum_type());
        let y = model.wire_node("y", op, &[hot, table]).unwrap();
        model.select_output_outlets(&y).unwrap();
        let indices = tensor2(&[[4i32], [2], [1], [i32::MAX]]).into_tvalue();
        let run = |model: &TypedModel| {
            let plan = model.clone().into_runnable().unwrap();
            plan.run(tvec!(indices.clone())).unwrap().remove(0)
        };
        let wanted = run(&model);
        replace(&mut model).unwrap();
        model.compact().unwrap();
        assert!(model.nodes.iter().any(|n| n.op_is::<Lookup>()), "{model:?}");
        assert!(!model.nodes.iter().any(|n| n.op_is::<EinSum>()));
        let got = run(&model);
        assert_eq!(floats(&got), floats(&wanted));
        assert_eq!(floats(&got).unwrap(), [5.0, 6.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
