//! tract's operators with one thing put right.
//!
//! `ConstantOfShape` (f32 by default), `Conv`, `Gemm`, `MatMul`, `Softmax` (f16 is summed in f32), `OneHot` (9, 11: an index
//! out of range is off), `PRelu` (6: one slope a channel),
//! `Resize` 10, `SpaceToDepth` (CRD), `Upsample` (9).

use super::attrs;
use super::native::{Built, Facts, Kernel, Tensors, axis, ints, native, tract_builder};
use super::wired::wired;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ndarray::{ArrayD, Dimension};
use tract_onnx::tract_hir::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;

/// tract's expansion of `node`.
pub(super) fn expansion(ctx: &ParsingContext, node: &NodeProto) -> TractResult<Box<dyn Expansion>> {
    let (op, closures) = tract_builder(&node.op_type)?(ctx, node)?;
    ensure!(closures.is_empty(), "{} closes over its graph", node.op_type);
    let op = op.as_op().downcast_ref::<Box<dyn Expansion>>();
    Ok(op.with_context(|| format!("tract's {} is no expansion", node.op_type))?.clone())
}

/// An expansion whose f16 operands are widened to f32, its outputs narrowed again.
#[derive(Debug, Clone)]
struct Widened(Box<dyn Expansion>);

/// `Conv`, `ConvTranspose`, `Gemm`, `MatMul`: sums of products.
pub(super) fn widened(ctx: &ParsingContext, node: &NodeProto) -> Built {
    Ok((expand(Widened(expansion(ctx, node)?)), vec![]))
}

/// `MatMul`, two vectors included.
pub(super) fn mat_mul(ctx: &ParsingContext, node: &NodeProto) -> Built {
    Ok((expand(Widened(Box::new(MatMul(expansion(ctx, node)?)))), vec![]))
}

/// tract's matrix product, and the dot product that it lacks.
#[derive(Debug, Clone)]
struct MatMul(Box<dyn Expansion>);

impl Expansion for MatMul {
    fn name(&self) -> StaticName {
        "MatMul".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.0.as_ref().rules(s, inputs, outputs)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let (a, b) = (model.outlet_fact(inputs[0])?, model.outlet_fact(inputs[1])?);
        if a.rank() == 1 && b.rank() == 1 {
            let dot = EinSum::new("k,k->".parse()?, a.datum_type);
            return model.wire_node(prefix, dot, inputs);
        }
        self.0.as_ref().wire(prefix, model, inputs)
    }
}

/// The outlet in f32; a constant stays one.
pub(super) fn widen(model: &mut TypedModel, name: String, x: OutletId) -> TractResult<OutletId> {
    let fact = model.outlet_fact(x)?;
    if fact.datum_type != f16::datum_type() {
        return Ok(x);
    }
    match fact.konst.clone() {
        Some(value) => model.add_const(name, value.cast_to::<f32>()?.into_owned()),
        None => Ok(model.wire_node(name, cast(f32::datum_type()), &[x])?[0]),
    }
}

impl Expansion for Widened {
    fn name(&self) -> StaticName {
        self.0.as_ref().name()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.0.as_ref().nboutputs()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.0.as_ref().rules(s, inputs, outputs)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        if model.outlet_fact(inputs[0])?.datum_type != f16::datum_type() {
            return self.0.as_ref().wire(prefix, model, inputs);
        }
        let wide: TVec<OutletId> = inputs
            .iter()
            .enumerate()
            .map(|(ix, i)| widen(model, format!("{prefix}.wide-{ix}"), *i))
            .collect::<TractResult<_>>()?;
        let outputs = self.0.as_ref().wire(&format!("{prefix}.wide"), model, &wide)?;
        outputs
            .iter()
            .enumerate()
            .map(|(ix, o)| {
                let name = if ix == 0 { prefix.to_string() } else { format!("{prefix}.{ix}") };
                Ok(model.wire_node(name, cast(f16::datum_type()), &[*o])?[0])
            })
            .collect()
    }
}

#[derive(Debug)]
struct OneHot {
    axis: i64,
}

/// `OneHot`.
pub(super) fn one_hot(_: &ParsingContext, node: &NodeProto) -> Built {
    native(node, OneHot { axis: attrs::int(node, "axis", -1)? })
}

fn hot<T: Datum>(
    indices: &[i64],
    depth: usize,
    ax: usize,
    values: &Tensor,
    dims: &[usize],
) -> TractResult<Tensor> {
    let values: Vec<T> = values.to_plain_array_view::<T>()?.iter().cloned().collect();
    ensure!(values.len() == 2, "OneHot takes 2 values, not {}", values.len());
    let out = ArrayD::from_shape_fn(dims, |at| {
        let coords = at.slice();
        let flat = coords.iter().zip(dims).enumerate().filter(|(ix, _)| *ix != ax);
        let flat = flat.fold(0, |flat, (_, (at, dim))| flat * dim + at);
        let index = indices[flat];
        let index = if index < 0 { index + depth as i64 } else { index };
        values[(index == coords[ax] as i64) as usize].clone()
    });
    Ok(out.into())
}

impl OneHot {
    fn depth(depth: &[i64]) -> TractResult<usize> {
        ensure!(
            depth.len() == 1 && (0..1 << 31).contains(&depth[0]),
            "OneHot: depth {depth:?} is not a size"
        );
        Ok(depth[0] as usize)
    }
}

impl Kernel for OneHot {
    fn params(&self) -> &'static [(usize, &'static str)] {
        &[(1, "depth")]
    }

    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let mut dims = inputs.shape(0)?;
        let depth = inputs.konst(1, "depth")?.context("OneHot needs its input 'depth'")?;
        dims.insert(axis(self.axis, dims.len() + 1)?, Self::depth(&depth)?.to_dim());
        Ok(vec![inputs.dt(2)?.fact(&*dims)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let (x, values) = (inputs.need(0)?, inputs.need(2)?);
        let depth = Self::depth(&ints(inputs.need(1)?)?)?;
        let ax = axis(self.axis, x.rank() + 1)?;
        let mut dims: TVec<usize> = x.shape().into();
        dims.insert(ax, depth);
        let indices = ints(x)?;
        let dt = values.datum_type();
        Ok(vec![dispatch_datum!(hot(dt)(&indices, depth, ax, values, &dims))?])
    }
}

/// `ConstantOfShape`: zeros are f32 when the node does not say.
pub(super) fn constant_of_shape(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let mut node = node.clone();
    if !node.attribute.iter().any(|a| a.name == "value") {
        let zero = TensorProto {
            dims: vec![1],
            data_type: DataType::Float as i32,
            float_data: vec![0.0],
            ..Default::default()
        };
        node.attribute.push(AttributeProto {
            name: "value".into(),
            t: Some(zero),
            r#type: AttributeType::Tensor as i32,
            ..Default::default()
        });
    }
    tract_builder("ConstantOfShape")?(ctx, &node)
}

/// `PRelu`: before opset 7 a slope of one dim is one a channel.
pub(super) fn prelu(ctx: &ParsingContext, node: &NodeProto) -> Built {
    if ctx.onnx_operator_set_version >= 7 {
        return tract_builder("PRelu")?(ctx, node);
    }
    let inner = expansion(ctx, node)?;
    wired(node, move |w| {
        let (x, mut slope) = (w.need(0)?, w.need(1)?);
        let rank = w.fact(x)?.rank();
        if w.fact(slope)?.rank() == 1 && w.fact(slope)?.shape[0] != 1.to_dim() {
            for _ in 2..rank {
                let at = w.fact(slope)?.rank();
                slope = w.op(AxisOp::Add(at), &[slope])?;
            }
        }
        w.expand(&*inner, &[x, slope])
    })
}

/// `SpaceToDepth`: the other order of CRD is a matter of axes.
pub(super) fn space_to_depth(ctx: &ParsingContext, node: &NodeProto) -> Built {
    match &*attrs::string(node, "mode", "DCR")? {
        "DCR" => return tract_builder("SpaceToDepth")?(ctx, node),
        "CRD" => {}
        other => bail!("SpaceToDepth: unknown mode '{other}'"),
    }
    let block = node.get_attr::<i64>("blocksize")?;
    ensure!((1..1 << 16).contains(&block), "SpaceToDepth: blocksize {block} is out of range");
    let block = block as usize;
    wired(node, move |w| {
        let x = w.need(0)?;
        let dims = w.fact(x)?.shape.to_tvec();
        ensure!(dims.len() == 4, "SpaceToDepth takes 4 dims, not {dims:?}");
        let (rows, cols) = (dims[2].to_usize()?, dims[3].to_usize()?);
        let fits = rows % block == 0 && cols % block == 0;
        ensure!(fits, "SpaceToDepth: {rows}×{cols} is no multiple of {block}");
        let cut =
            tvec!((rows / block).to_dim(), block.to_dim(), (cols / block).to_dim(), block.to_dim());
        // N C H W, N C h b w b', N C b h w b', N C b b' h w, N C·b·b' h w.
        let x = w.op(AxisOp::Reshape(2, dims[2..].into(), cut), &[x])?;
        let x = w.op(AxisOp::Move(3, 2), &[x])?;
        let x = w.op(AxisOp::Move(5, 3), &[x])?;
        let depth = tvec!(dims[1].clone(), block.to_dim(), block.to_dim());
        let joined = tvec!(dims[1].clone() * block * block);
        Ok(vec![w.op(AxisOp::Reshape(1, depth, joined), &[x])?])
    })
}

fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        s: value.as_bytes().to_vec(),
        r#type: AttributeType::String as i32,
        ..Default::default()
    }
}

/// A `Resize` from before opset 11: by input coordinates, the nearest pixel being
/// the one below when it enlarges and the one above when it shrinks.
#[derive(Debug, Clone)]
struct OldResize {
    nearest: bool,
    below: Box<dyn Expansion>,
    above: Box<dyn Expansion>,
}

impl Expansion for OldResize {
    fn name(&self) -> StaticName {
        "Resize10".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.below.as_ref().rules(s, inputs, outputs)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let scales = model.outlet_fact(inputs[1])?.konst.clone();
        let scales = scales.context("the scales of a Resize must be constants")?;
        let scales = super::values::f64s(&scales)?;
        let (grows, shrinks) = (scales.iter().any(|s| *s > 1.0), scales.iter().any(|s| *s < 1.0));
        ensure!(
            !(self.nearest && grows && shrinks),
            "a nearest Resize of opset 10 that enlarges and shrinks is not supported"
        );
        let inner = if shrinks { &self.above } else { &self.below };
        inner.as_ref().wire(prefix, model, inputs)
    }
}

fn old_resize(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let mode = attrs::string(node, "mode", "nearest")?;
    ensure!(mode == "nearest" || mode == "linear", "{}: unknown mode '{mode}'", node.op_type);
    ensure!(node.input.len() == 2, "{} takes scales as an input", node.op_type);
    let mut ctx = ctx.clone();
    ctx.onnx_operator_set_version = 13;
    let rounding = |nearest_mode| {
        let mut node = node.clone();
        node.op_type = "Resize".into();
        node.attribute = vec![
            text("mode", &mode),
            text("coordinate_transformation_mode", "asymmetric"),
            text("nearest_mode", nearest_mode),
        ];
        node.input.insert(1, String::new());
        expansion(&ctx, &node)
    };
    let (below, above) = (rounding("floor")?, rounding("ceil")?);
    Ok((expand(OldResize { nearest: mode == "nearest", below, above }), vec![]))
}

/// `Upsample` (opset 9).
pub(super) fn upsample(ctx: &ParsingContext, node: &NodeProto) -> Built {
    old_resize(ctx, node)
}

/// `Resize`: that of opset 10 has a coordinate system of its own.
pub(super) fn resize(ctx: &ParsingContext, node: &NodeProto) -> Built {
    if ctx.onnx_operator_set_version == 10 {
        old_resize(ctx, node)
    } else {
        tract_builder("Resize")?(ctx, node)
    }
}
