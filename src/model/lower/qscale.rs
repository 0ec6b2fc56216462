//! Floats to 8-bit numbers and back, with constant parameters: as operators of our
//! own, for products of integers are made of what is between them.

use crate::kernels::{self, Isa, Scale, as_floats, as_floats_mut};
use tract_onnx::tract_hir::internal::*;

/// What is added to a signed byte to make an unsigned one.
const BIAS: i32 = 128;

/// The scale of unsigned bytes, for a zero point of such a dtype.
pub(super) fn scale_of(scale: f32, zero: i32, dt: DatumType) -> Option<Scale> {
    let bias = match dt {
        DatumType::U8 => 0,
        DatumType::I8 => BIAS,
        _ => return None,
    };
    Some(Scale { scale, zero: u8::try_from(zero.checked_add(bias)?).ok()? })
}

/// Bytes of one of the 8-bit dtypes as unsigned ones, or back.
pub(super) fn turned(bytes: &[u8], is_signed: bool) -> Vec<u8> {
    let by = if is_signed { 0x80 } else { 0 };
    bytes.iter().map(|b| b ^ by).collect()
}

/// `DequantizeLinear`: (x - zero) · scale, one of each for all or along an axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dequantize {
    pub(super) scale: Vec<f32>,
    pub(super) zero: Vec<i32>,
    pub(super) axis: usize,
}

impl Eq for Dequantize {}

impl Dequantize {
    /// What bytes of `dt` stand for, where that is the same for all of them.
    pub(crate) fn scale(&self, dt: DatumType) -> Option<Scale> {
        match (&self.scale[..], &self.zero[..]) {
            ([scale], [zero]) => scale_of(*scale, *zero, dt),
            _ => None,
        }
    }

    pub(super) fn values(&self, x: &Tensor) -> TractResult<Tensor> {
        let inner: usize = x.shape().iter().skip(self.axis + 1).product();
        let x = x.cast_to::<i32>()?;
        let mut y = Tensor::zero::<f32>(x.shape())?;
        let to = as_floats_mut(y.as_bytes_mut()).context("no floats")?;
        for (i, (x, y)) in x.try_as_plain_ram()?.as_slice::<i32>()?.iter().zip(to).enumerate() {
            let of = |count: usize| if count == 1 { 0 } else { i / inner % count };
            let zero = self.zero[of(self.zero.len())];
            *y = x.wrapping_sub(zero) as f32 * self.scale[of(self.scale.len())];
        }
        Ok(y)
    }
}

impl Op for Dequantize {
    fn name(&self) -> StaticName {
        "Dequantize".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Dequantize {
    // Of constants, [`fold`] makes constants.
    not_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Ok(tvec!(self.values(&inputs[0])?.into_tvalue()))
    }
}

impl TypedOp for Dequantize {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(inputs[0].shape.clone())))
    }

    as_op!();
}

/// `QuantizeLinear` to 8 bits, with one scale and zero point for all.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Quantize {
    scale: Scale,
    is_signed: bool,
}

impl Eq for Quantize {}

impl Quantize {
    /// None for a dtype that is not of 8 bits.
    pub(super) fn new(scale: f32, zero: i32, dt: DatumType) -> Option<Quantize> {
        let is_signed = dt == DatumType::I8;
        Some(Quantize { scale: scale_of(scale, zero, dt)?, is_signed })
    }

    /// The bytes of floats.
    pub(super) fn values(&self, x: &Tensor) -> TractResult<Tensor> {
        ensure!(x.datum_type() == DatumType::F32, "{:?} for floats", x.datum_type());
        let floats = as_floats(x.as_bytes()).context("floats that lie as such")?;
        let dt = if self.is_signed { DatumType::I8 } else { DatumType::U8 };
        let mut y = Tensor::zero_dt(dt, x.shape())?;
        kernels::quantize(Isa::best(), floats, self.scale, y.as_bytes_mut());
        if self.is_signed {
            y.as_bytes_mut().iter_mut().for_each(|b| *b ^= 0x80);
        }
        Ok(y)
    }

    /// Of bytes, unsigned.
    pub(crate) fn scale(&self) -> Scale {
        self.scale
    }
}

impl Op for Quantize {
    fn name(&self) -> StaticName {
        "Quantize".into()
    }

    op_as_typed_op!();
}

/// The floats of a value.
fn floats(value: &TValue) -> TractResult<&[f32]> {
    ensure!(value.datum_type() == DatumType::F32, "{:?} for floats", value.datum_type());
    as_floats(value.as_bytes()).context("floats that lie as such")
}

impl EvalOp for Quantize {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Ok(tvec!(self.values(&inputs[0])?.into_tvalue()))
    }
}

impl TypedOp for Quantize {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs[0].datum_type == DatumType::F32, "only f32 is quantized here");
        let shape = inputs[0].shape.clone();
        Ok(tvec!(if self.is_signed { i8::fact(shape) } else { u8::fact(shape) }))
    }

    as_op!();
}

/// `DynamicQuantizeLinear`: bytes, their scale and their zero point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DynamicQuantize;

impl Op for DynamicQuantize {
    fn name(&self) -> StaticName {
        "DynamicQuantize".into()
    }

    op_as_typed_op!();
}

impl EvalOp for DynamicQuantize {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (x, mut y) = (floats(&inputs[0])?, Tensor::zero::<u8>(inputs[0].shape())?);
        let of = kernels::dynamic_scale(Isa::best(), x);
        kernels::quantize(Isa::best(), x, of, y.as_bytes_mut());
        Ok(tvec!(y.into_tvalue(), tensor0(of.scale).into_tvalue(), tensor0(of.zero).into_tvalue()))
    }
}

impl TypedOp for DynamicQuantize {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs[0].datum_type == DatumType::F32, "only f32 is quantized");
        let none: &[usize] = &[];
        Ok(tvec!(u8::fact(inputs[0].shape.clone()), f32::fact(none), u8::fact(none)))
    }

    as_op!();
}

/// Makes constants of what is still dequantized of a constant; says whether there was
/// any.
pub(crate) fn fold(graph: &mut TypedModel) -> TractResult<bool> {
    let mut any = false;
    for id in 0..graph.nodes.len() {
        let node = &graph.nodes[id];
        let Some(op) = node.op_as::<Dequantize>() else { continue };
        let Some(value) = &graph.outlet_fact(node.inputs[0])?.konst else { continue };
        let (value, mut patch) = (op.values(value)?, TypedModelPatch::new("dequantized weights"));
        let wire = patch.add_const(format!("{}.values", node.name), value)?;
        patch.shunt_outside(graph, id.into(), wire)?;
        patch.apply(graph)?;
        any = true;
    }
    if any {
        graph.compact()?;
    }
    Ok(any)
}
