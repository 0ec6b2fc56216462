//! Which nodes become a [`QLayer`]: products and convolutions of what is dequantized
//! (`Conv`, `Gemm`, `MatMul`), and those of integers (`ConvInteger`, `MatMulInteger`,
//! `QLinearConv`, `QLinearMatMul`), with constant weights and known dims. All others
//! stay what they were.

use super::native::{Built, expansion, slots};
use super::qlayer::{Given, Integers, QLayer, Windows};
use super::qscale::{Dequantize, Quantize, scale_of};
use super::qweights::{Constant, signed};
use super::wired::is_recipe;
use super::{attrs, mended};
use std::sync::Arc;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::cnn::{Conv, KernelFormat, PoolSpec};

/// What the node multiplies.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    /// Windows.
    Conv,
    /// Rows with columns; with rows, if B is transposed.
    Product { is_transposed: bool },
}

/// What its operands are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Operands {
    /// Floats, which may be dequantized.
    Floats,
    /// Integers with zero points.
    Integers,
    /// Integers with scales and zero points, which give such.
    Quantized,
}

/// A node, and what it is where it cannot be a [`QLayer`].
#[derive(Debug, Clone)]
struct Quantized {
    otherwise: Box<dyn Expansion>,
    form: Form,
    operands: Operands,
    /// tract's convolution of this node's attributes.
    conv: Option<Box<dyn Expansion>>,
    slots: Vec<Option<usize>>,
}

/// What is multiplied with them.
struct Input {
    outlet: OutletId,
    scale: f32,
    zero: Option<u8>,
    /// Where the zero point is not known.
    zero_outlet: Option<OutletId>,
}

/// Biases: as integers on the scale of the sums, or else as floats.
type Bias = (Vec<i32>, Option<Vec<f32>>);

/// Where the windows are, how many images and groups, and the dims of the result.
struct Extent {
    windows: Windows,
    batch: usize,
    group: usize,
    dims: Vec<usize>,
}

/// Whether an operator of this module is a recipe where it cannot be a [`QLayer`].
pub(super) fn is_layer_or_recipe(op: &dyn Expansion) -> bool {
    let op = op.as_any().downcast_ref::<Quantized>();
    op.is_some_and(|op| is_recipe(op.otherwise.as_ref()))
}

fn quantized(
    node: &NodeProto,
    otherwise: Box<dyn Expansion>,
    (form, operands): (Form, Operands),
    conv: Option<Box<dyn Expansion>>,
) -> Built {
    let slots = slots(node);
    Ok((expand(Quantized { otherwise, form, operands, conv, slots }), vec![]))
}

/// `Conv`, `ConvInteger` and `QLinearConv`.
pub(super) fn conv(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let operands = match &*node.op_type {
        "Conv" => Operands::Floats,
        "ConvInteger" => Operands::Integers,
        _ => Operands::Quantized,
    };
    let plain = NodeProto {
        op_type: "Conv".into(),
        input: vec!["x".into(), "w".into()],
        output: vec!["y".into()],
        ..node.clone()
    };
    let conv = mended::expansion(ctx, &plain)?;
    let otherwise = match operands {
        Operands::Floats => expansion(mended::widened(ctx, node))?,
        _ => mended::expansion(ctx, node)?,
    };
    quantized(node, otherwise, (Form::Conv, operands), Some(conv))
}

/// `Gemm`, `MatMul`, `MatMulInteger` and `QLinearMatMul`.
pub(super) fn product(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let plain = Form::Product { is_transposed: false };
    let (otherwise, form, operands) = match &*node.op_type {
        "MatMulInteger" => (mended::expansion(ctx, node)?, plain, Operands::Integers),
        "QLinearMatMul" => {
            let otherwise = expansion(super::quant::q_linear_mat_mul(ctx, node))?;
            (otherwise, plain, Operands::Quantized)
        }
        "MatMul" => (expansion(mended::mat_mul(ctx, node))?, plain, Operands::Floats),
        _ => {
            let built = super::classic::gemm(ctx, node);
            let (alpha, beta) =
                (attrs::float(node, "alpha", 1.0)?, attrs::float(node, "beta", 1.0)?);
            let has_c = node.input.get(2).is_some_and(|name| !name.is_empty());
            if alpha != 1.0 || has_c && beta != 1.0 || attrs::flag(node, "transA", false)? {
                return built;
            }
            let is_transposed = attrs::flag(node, "transB", false)?;
            (expansion(built)?, Form::Product { is_transposed }, Operands::Floats)
        }
    };
    quantized(node, otherwise, (form, operands), None)
}

/// The integers of a constant of 8 or 32 bits.
fn integers(tensor: &Tensor) -> TractResult<Vec<i32>> {
    let known = [DatumType::U8, DatumType::I8, DatumType::I32].contains(&tensor.datum_type());
    ensure!(known, "{:?} for a zero point", tensor.datum_type());
    Ok(tensor.cast_to::<i32>()?.try_as_plain_ram()?.as_slice::<i32>()?.to_vec())
}

fn is_byte(dt: DatumType) -> bool {
    [DatumType::U8, DatumType::I8].contains(&dt)
}

impl Quantized {
    fn at(&self, inputs: &[OutletId], at: usize) -> Option<OutletId> {
        inputs.get(self.slots.get(at).copied().flatten()?).copied()
    }

    /// The input: that at ONNX position 0.
    fn input(&self, model: &TypedModel, inputs: &[OutletId]) -> TractResult<Option<Input>> {
        let Some(x) = self.at(inputs, 0) else { return Ok(None) };
        if self.operands == Operands::Floats {
            let node = model.node(x.node);
            let Some(op) = node.op_as::<Dequantize>() else { return Ok(None) };
            let (outlet, dt) = (node.inputs[0], model.outlet_fact(node.inputs[0])?.datum_type);
            let input = |of: crate::kernels::Scale| Input {
                outlet,
                scale: of.scale,
                zero: Some(of.zero),
                zero_outlet: None,
            };
            return Ok(op.scale(dt).map(input));
        }
        let dt = model.outlet_fact(x)?.datum_type;
        let mut input = Input { outlet: x, scale: 1.0, zero: None, zero_outlet: None };
        if self.operands == Operands::Quantized {
            let Some([scale]) = self
                .floats(model, inputs, 1)?
                .as_deref()
                .map(<[f32]>::to_vec)
                .and_then(|all| <[f32; 1]>::try_from(all).ok())
            else {
                return Ok(None);
            };
            input.scale = scale;
        }
        let Some(zero) = self.at(inputs, 2) else {
            input.zero = scale_of(1.0, 0, dt).map(|of| of.zero);
            return Ok(input.zero.map(|_| input));
        };
        let fact = model.outlet_fact(zero)?;
        if let Some(zero) = &fact.konst {
            let [zero] = integers(zero)?[..] else { return Ok(None) };
            input.zero = scale_of(1.0, zero, dt).map(|of| of.zero);
            return Ok(input.zero.map(|_| input));
        }
        let one = fact.shape.as_concrete().is_some_and(|dims| dims.iter().product::<usize>() == 1);
        input.zero_outlet = Some(zero);
        Ok((one && is_byte(dt) && fact.datum_type == dt).then_some(input))
    }

    fn floats(
        &self,
        model: &TypedModel,
        inputs: &[OutletId],
        at: usize,
    ) -> TractResult<Option<Vec<f32>>> {
        let Some(outlet) = self.at(inputs, at) else { return Ok(None) };
        let Some(value) = &model.outlet_fact(outlet)?.konst else { return Ok(None) };
        if !value.datum_type().is_float() {
            return Ok(None);
        }
        Ok(Some(value.cast_to::<f32>()?.try_as_plain_ram()?.as_slice::<f32>()?.to_vec()))
    }

    fn weights(&self, model: &TypedModel, inputs: &[OutletId]) -> TractResult<Option<Constant>> {
        let at = |position: usize| self.at(inputs, position);
        let konst = |outlet: OutletId| -> TractResult<Option<Arc<Tensor>>> {
            let konst = model.outlet_fact(outlet)?.konst.clone();
            Ok(konst.filter(|value| is_byte(value.datum_type())))
        };
        if self.operands == Operands::Floats {
            let Some(w) = at(1) else { return Ok(None) };
            let node = model.node(w.node);
            let Some(op) = node.op_as::<Dequantize>() else { return Ok(None) };
            let mut values = konst(node.inputs[0])?;
            let from = model.node(node.inputs[0].node);
            if let (None, Some(op)) = (&values, from.op_as::<Quantize>())
                && let Some(floats) = &model.outlet_fact(from.inputs[0])?.konst
            {
                // Floats that are quantized in the graph.
                values = Some(op.values(floats)?.into_arc_tensor());
            }
            let Some(values) = values else { return Ok(None) };
            let (scale, zero) = (op.scale.clone(), op.zero.clone());
            return Ok(Some(Constant { values, scale, zero, axis: op.axis }));
        }
        let (w, zero) = if self.operands == Operands::Integers { (1, 3) } else { (3, 5) };
        let Some(w) = at(w) else { return Ok(None) };
        let Some(values) = konst(w)? else { return Ok(None) };
        let zero = match at(zero) {
            None => vec![0],
            Some(zero) => match &model.outlet_fact(zero)?.konst {
                Some(zero) => integers(zero)?,
                None => return Ok(None),
            },
        };
        let scale = match self.operands {
            Operands::Quantized => match self.floats(model, inputs, 4)? {
                Some(scale) => scale,
                None => return Ok(None),
            },
            _ => vec![1.0],
        };
        let axis = if self.form == Form::Conv { 0 } else { 1 };
        Ok(Some(Constant { values, scale, zero, axis }))
    }

    /// The biases of so many filters: those that are a multiple of the scale of the sums
    /// as integers, others as floats; none when they cannot be told.
    fn bias(
        &self,
        model: &TypedModel,
        inputs: &[OutletId],
        scale: &[f32],
        filters: usize,
    ) -> TractResult<Option<Bias>> {
        let at = match self.operands {
            Operands::Floats => 2,
            Operands::Integers => return Ok(Some((vec![0; filters], None))),
            Operands::Quantized => 8,
        };
        let Some(bias) = self.at(inputs, at) else {
            return Ok(Some((vec![0; filters], None)));
        };
        let whole = |all: Vec<i32>| (all.len() == filters).then_some((all, None));
        if self.operands == Operands::Quantized {
            let value = model.outlet_fact(bias)?.konst.clone();
            return Ok(value.map(|value| integers(&value)).transpose()?.and_then(whole));
        }
        let node = model.node(bias.node);
        let Some(op) = node.op_as::<Dequantize>() else {
            let value = self.floats(model, inputs, at)?.filter(|all| all.len() == filters);
            return Ok(value.map(|all| (vec![0; filters], Some(all))));
        };
        let Some(value) = model.outlet_fact(node.inputs[0])?.konst.clone() else {
            return Ok(None);
        };
        let of = |all: &[f32], i: usize| if all.len() == 1 { all[0] } else { all[i] };
        let same = (0..filters).all(|i| {
            let (own, sum) = (of(&op.scale, i.min(op.scale.len() - 1)), of(scale, i));
            (own / sum - 1.0).abs() < 1e-5
        });
        if same && op.zero.iter().all(|zero| *zero == 0) {
            return Ok(whole(integers(&value)?));
        }
        let values = op.values(&value)?;
        let values = values.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
        Ok((values.len() == filters).then_some((vec![0; filters], Some(values))))
    }

    /// Where the windows are, how many images, groups, and the dims of the result.
    fn windows(&self, x: &[usize], w: &[usize]) -> TractResult<Option<Extent>> {
        if let Form::Product { is_transposed } = self.form {
            let (&[a, b], &[.., depth]) = (w, x) else { return Ok(None) };
            let [k, n] = if is_transposed { [b, a] } else { [a, b] };
            if x.len() < 2 || depth != k {
                return Ok(None);
            }
            let rows: usize = x[..x.len() - 1].iter().product();
            let (from, pad) = ([rows, 1], [0; 2]);
            let (kernel, stride, dilation) = ([1; 2], [1; 2], [1; 2]);
            let (channels, filters, to) = (k, n, from);
            let windows = Windows { channels, filters, from, to, kernel, stride, dilation, pad };
            let dims = [&x[..x.len() - 1], &[n]].concat();
            return Ok(Some(Extent { windows, batch: 1, group: 1, dims }));
        }
        let &[batch, channels, height, width] = x else { return Ok(None) };
        let Some((spec, group)) = self.spec(x, w)? else { return Ok(None) };
        let computed = spec.computed_padding(&[height, width]);
        let windows = Windows {
            channels,
            filters: w[0],
            from: [height, width],
            to: [0, 1].map(|axis: usize| computed[axis].convoluted),
            kernel: [0, 1].map(|axis: usize| spec.kernel_shape[axis]),
            stride: [0, 1].map(|axis: usize| spec.stride(axis)),
            dilation: [0, 1].map(|axis: usize| spec.dilation(axis)),
            pad: [0, 1].map(|axis: usize| computed[axis].pad_before),
        };
        let dims = vec![batch, w[0], windows.to[0], windows.to[1]];
        Ok(Some(Extent { windows, batch, group, dims }))
    }

    /// Where tract has the windows of floats of such dims, and the groups.
    fn spec(&self, x: &[usize], w: &[usize]) -> TractResult<Option<(PoolSpec, usize)>> {
        let Some(conv) = &self.conv else { return Ok(None) };
        let mut model = TypedModel::default();
        let x = model.add_source("x", f32::fact(x))?;
        let w = model.add_source("w", f32::fact(w))?;
        let y = conv.as_ref().wire("y", &mut model, &[x, w])?[0];
        let Some(conv) = model.node(y.node).op_as::<Conv>() else { return Ok(None) };
        let plain = conv.kernel_fmt == KernelFormat::OIHW
            && !conv.pool_spec.data_format.c_is_last()
            && conv.pool_spec.data_format.has_n();
        Ok(plain.then(|| (conv.pool_spec.clone(), conv.group)))
    }

    fn layer(
        &self,
        model: &TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<Option<(QLayer, TVec<OutletId>)>> {
        let Some(w) = self.weights(model, inputs)? else { return Ok(None) };
        let Some(x) = self.input(model, inputs)? else { return Ok(None) };
        let fact = model.outlet_fact(x.outlet)?;
        let Some(dims) = fact.shape.as_concrete() else { return Ok(None) };
        if dims.iter().chain(w.values.shape()).any(|dim| *dim == 0) || !is_byte(fact.datum_type) {
            return Ok(None);
        }
        let Some(Extent { windows, batch, group, dims: to }) =
            self.windows(dims, w.values.shape())?
        else {
            return Ok(None);
        };
        let filters = windows.filters;
        let own_axis = match self.form {
            Form::Conv => 0,
            Form::Product { is_transposed } => usize::from(!is_transposed),
        };
        let fits = |len: usize| len == 1 || len == filters && w.axis == own_axis;
        if !fits(w.scale.len()) || !fits(w.zero.len()) || to.contains(&0) {
            return Ok(None);
        }
        let scale: Vec<f32> = w.scale.iter().map(|scale| scale * x.scale).collect();
        let Some((bias, float_bias)) = self.bias(model, inputs, &scale, filters)? else {
            return Ok(None);
        };
        let is_transposed = self.form == (Form::Product { is_transposed: true });
        let is_filter_first = self.form == Form::Conv || is_transposed;
        let Some((weights, zeros)) = signed(&w, &windows, group, is_filter_first)? else {
            return Ok(None);
        };
        let given = match self.operands {
            Operands::Integers => Given::Sums,
            _ => Given::Floats { scale: scale.into(), bias: float_bias.map(Vec::into) },
        };
        let integers = Arc::new(Integers { windows, weights, zeros, bias: bias.into() });
        let layer = QLayer {
            integers,
            given,
            zero: x.zero,
            is_signed: fact.datum_type == DatumType::I8,
            has_images: self.form == Form::Conv,
            batch,
            dims: to,
        };
        Ok(Some((layer, [x.outlet].into_iter().chain(x.zero_outlet).collect())))
    }

    /// What a quantized result is quantized with.
    fn result(&self, model: &TypedModel, inputs: &[OutletId]) -> TractResult<Option<Quantize>> {
        let Some([scale]) = self
            .floats(model, inputs, 6)?
            .map(<[f32; 1]>::try_from)
            .and_then(std::result::Result::ok)
        else {
            return Ok(None);
        };
        let Some(zero) = self.at(inputs, 7) else { return Ok(None) };
        let Some(zero) = &model.outlet_fact(zero)?.konst else { return Ok(None) };
        let dt = zero.datum_type();
        let [zero] = integers(zero)?[..] else { return Ok(None) };
        Ok(Quantize::new(scale, zero, dt))
    }
}

impl Expansion for Quantized {
    fn name(&self) -> StaticName {
        self.otherwise.as_ref().name()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.otherwise.as_ref().nboutputs()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.otherwise.as_ref().rules(s, inputs, outputs)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let Some((layer, reads)) = self.layer(model, inputs)? else {
            return self.otherwise.as_ref().wire(prefix, model, inputs);
        };
        if self.operands != Operands::Quantized {
            return model.wire_node(prefix, layer, &reads);
        }
        let Some(quantize) = self.result(model, inputs)? else {
            return self.otherwise.as_ref().wire(prefix, model, inputs);
        };
        let y = model.wire_node(format!("{prefix}.sums"), layer, &reads)?;
        model.wire_node(prefix, quantize, &y)
    }
}
