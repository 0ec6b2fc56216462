//! Operators with graphs inside: `Scan` (9 to 25) and `FlexAttention` (preview 1).

use super::attrs;
use super::native::{Built, tract_builder};
use super::wired::wired;
use tract_onnx::model::{ParseResult, ParsingContext};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TypeProto, type_proto};
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::scan::InferenceScan;
use tract_onnx::tract_hir::tract_core::ops::array::Gather;
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_hir::tract_core::ops::math;
use tract_onnx::tract_hir::tract_core::ops::nn::{Softmax, SoftmaxKind};

/// Gives the untyped inputs of a body some dtype, without which tract does not
/// read it, and tells which inputs those are.
fn with_types(graph: &mut GraphProto) -> Vec<String> {
    let mut untyped = vec![];
    for input in &mut graph.input {
        if input.r#type.as_ref().is_none_or(|t| t.value.is_none()) {
            let elem_type = DataType::Float as i32;
            let tensor = type_proto::Tensor { elem_type, shape: None };
            let value = Some(type_proto::Value::TensorType(tensor));
            input.r#type = Some(TypeProto { value, ..Default::default() });
            untyped.push(input.name.clone());
        }
    }
    untyped
}

/// A body as tract reads it, and what it takes from outside.
pub(super) fn parse(
    ctx: &ParsingContext,
    graph: &GraphProto,
) -> TractResult<(InferenceModel, Vec<String>)> {
    let mut graph = graph.clone();
    let untyped = with_types(&mut graph);
    let ParseResult { mut model, unresolved_inputs, .. } = ctx.parse_graph(&graph)?;
    forget(&mut model, &untyped)?;
    Ok((model, unresolved_inputs))
}

/// Forgets the dtypes that [`with_types`] gave.
fn forget(body: &mut InferenceModel, untyped: &[String]) -> TractResult<()> {
    for outlet in body.input_outlets()?.to_vec() {
        if !untyped.contains(&body.node(outlet.node).name) {
            continue;
        }
        body.set_outlet_fact(outlet, InferenceFact::default())?;
        // A scanned input reaches the body through a node that drops its axis.
        for successor in body.outlet_successors(outlet).to_vec() {
            if body.node(successor.node).name.ends_with(".adjust-dim") {
                body.set_outlet_fact(successor.node.into(), InferenceFact::default())?;
            }
        }
    }
    Ok(())
}

/// `Scan` (9 to 25): tract's, for a body with untyped inputs too.
pub(super) fn scan(ctx: &ParsingContext, node: &NodeProto) -> Built {
    ensure!(ctx.onnx_operator_set_version >= 9, "Scan of opset 8 is not supported");
    let mut node = node.clone();
    let body = node.attribute.iter_mut().find(|a| a.name == "body").and_then(|a| a.g.as_mut());
    let untyped = with_types(body.context("Scan needs a body")?);
    let (mut op, closures) = tract_builder("Scan")?(ctx, &node)?;
    let scan = op.as_op_mut().downcast_mut::<InferenceScan>();
    forget(&mut scan.context("tract's Scan is another one")?.body, &untyped)?;
    Ok((op, closures))
}

/// A body, typed for what is known of its inputs.
pub(super) fn typed(body: &InferenceModel, facts: &[TypedFact]) -> TractResult<TypedModel> {
    let mut body = body.clone();
    ensure!(
        body.input_outlets()?.len() == facts.len(),
        "a body of {} inputs gets {}",
        body.input_outlets()?.len(),
        facts.len()
    );
    for (ix, fact) in facts.iter().enumerate() {
        body.set_input_fact(ix, InferenceFact::dt_shape(fact.datum_type, fact.shape.to_tvec()))?;
    }
    body.analyse(true)?;
    body.into_typed()
}

/// Wires the nodes of `body` into `model`, its inputs being `inputs`.
fn inline(
    prefix: &str,
    model: &mut TypedModel,
    body: &TypedModel,
    inputs: &[OutletId],
) -> TractResult<TVec<OutletId>> {
    let mut map: HashMap<OutletId, OutletId> = HashMap::new();
    for (from, to) in body.input_outlets()?.iter().zip(inputs) {
        map.insert(*from, *to);
    }
    for id in body.eval_order()? {
        let node = body.node(id);
        if map.contains_key(&OutletId::new(id, 0)) {
            continue;
        }
        let inputs: TVec<OutletId> = node.inputs.iter().map(|i| map[i]).collect();
        let outputs =
            model.wire_node(format!("{prefix}.{}", node.name), node.op.clone(), &inputs)?;
        for (ix, outlet) in outputs.into_iter().enumerate() {
            map.insert(OutletId::new(id, ix), outlet);
        }
    }
    Ok(body.output_outlets()?.iter().map(|o| map[o]).collect())
}

/// `FlexAttention`: attention whose scores and probabilities pass through graphs.
pub(super) fn flex_attention(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let modifier = |name: &str| -> TractResult<Option<InferenceModel>> {
        let Some(graph) = node.get_attr_opt::<&GraphProto>(name)? else {
            return Ok(None);
        };
        let (model, unresolved_inputs) = parse(ctx, graph)?;
        ensure!(unresolved_inputs.is_empty(), "FlexAttention: {name} uses values from outside");
        Ok(Some(model))
    };
    let (score_mod, prob_mod) = (modifier("score_mod")?, modifier("prob_mod")?);
    let scale = node.get_attr_opt::<f32>("scale")?;
    let precision = match attrs::int(node, "softmax_precision", 0)? {
        0 => None,
        1 => Some(f32::datum_type()),
        11 => Some(f64::datum_type()),
        other => bail!("FlexAttention: softmax_precision {other} is not supported"),
    };
    wired(node, move |w| {
        let (q, mut k, mut v) = (w.need(0)?, w.need(1)?, w.need(2)?);
        let dt = w.fact(q)?.datum_type;
        let wide = dt == f64::datum_type();
        let dims = w.fact(q)?.shape.to_tvec();
        ensure!(dims.len() == 4, "FlexAttention takes 4 dims, not {dims:?}");
        let precision = precision.unwrap_or(if wide { dt } else { f32::datum_type() });
        let scale = scale.unwrap_or(1.0 / (dims[3].to_usize()? as f32).sqrt());
        let (heads, kv_heads) = (dims[1].to_usize()?, w.fact(k)?.shape[1].to_usize()?);
        ensure!(
            kv_heads > 0 && heads % kv_heads == 0,
            "FlexAttention: {heads} query heads do not share {kv_heads} key and value heads"
        );
        if heads != kv_heads {
            let shared: Vec<i64> = (0..heads).map(|h| (h / (heads / kv_heads)) as i64).collect();
            let shared = w.konst(tensor1(&shared))?;
            k = w.op(Gather::new(1), &[k, shared])?;
            v = w.op(Gather::new(1), &[v, shared])?;
        }
        let (q, k) = (w.cast(q, precision)?, w.cast(k, precision)?);
        let v = w.cast(v, precision)?;
        let scores = w.op(EinSum::new("bhld,bhsd->bhls".parse()?, precision), &[q, k])?;
        let mut scores = w.bin_scalar(math::mul(), scores, scale)?;
        let pass = |w: &mut super::wired::Wiring, body: &Option<InferenceModel>, x| {
            let Some(body) = body else { return Ok(x) };
            let fact = w.fact(x)?.without_value();
            let body = typed(body, std::slice::from_ref(&fact))?;
            let name = w.name();
            let out = inline(&name, w.model, &body, &[x])?;
            ensure!(out.len() == 1, "FlexAttention: a modifier has one output");
            let found = w.fact(out[0])?;
            ensure!(
                found.shape == fact.shape && found.datum_type == fact.datum_type,
                "FlexAttention: a modifier changes the dims or the dtype"
            );
            TractResult::Ok(out[0])
        };
        scores = pass(w, &score_mod, scores)?;
        let softmax =
            Softmax { axes: tvec!(3), quant_output_dt: None, kind: SoftmaxKind::default() };
        let probabilities = w.op(softmax, &[scores])?;
        let probabilities = pass(w, &prob_mod, probabilities)?;
        let y = w.op(EinSum::new("bhls,bhsv->bhlv".parse()?, precision), &[probabilities, v])?;
        Ok(vec![w.cast(y, dt)?])
    })
}
