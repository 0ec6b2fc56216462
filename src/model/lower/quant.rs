//! `QuantizeLinear` and `DequantizeLinear` (opsets 10 to 28), `QLinearMatMul` (21: f16 scales).
//!
//! 8 bits with constant parameters are operators of their own; 16 bits, blocks,
//! parameters of a run and other output dtypes are wired here.

use super::attrs;
use super::mended::{expansion, widen};
use super::native::{Built, axis};
use super::qscale::{Dequantize, DynamicQuantize, Quantize};
use super::wired::{Wiring, wired};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::Gather;
use tract_onnx::tract_hir::tract_core::ops::math;

tract_onnx::tract_hir::tract_core::bin_to_super_type!(exact_div, ExactDiv,
    [f32] => |c, a, b| *c = *a / *b
);

/// Where the parameters of a node apply.
#[derive(Debug, Clone, Copy)]
struct Spread {
    axis: i64,
    block: usize,
    out: Option<DatumType>,
}

impl Spread {
    fn of(node: &NodeProto) -> TractResult<Spread> {
        let dtype = |name| -> TractResult<Option<DatumType>> {
            match attrs::int(node, name, 0)? {
                0 => Ok(None),
                code => Ok(Some(DataType::try_from(code as i32)?.try_into()?)),
            }
        };
        let precision = dtype("precision")?;
        ensure!(
            precision.is_none_or(|p| p == f32::datum_type()),
            "{}: precision {precision:?} is not supported",
            node.op_type
        );
        let block = attrs::int(node, "block_size", 0)?;
        ensure!((0..1 << 31).contains(&block), "{}: block_size {block}", node.op_type);
        let (axis, out) = (attrs::int(node, "axis", 1)?, dtype("output_dtype")?);
        Ok(Spread { axis, block: block as usize, out })
    }

    /// The scales and zero points of an operator of ours that quantizes to, or
    /// dequantizes from, `dt`: where they are constants and not of blocks.
    fn constants(&self, w: &Wiring, x: OutletId, dt: DatumType) -> TractResult<Option<Dequantize>> {
        let scale = w.fact(w.need(1)?)?;
        let zero = w.inputs.get(2).copied().flatten();
        let known = [DatumType::U8, DatumType::I8, DatumType::I32].contains(&dt);
        let Some(scale) = scale.konst.as_ref().filter(|_| known && self.block == 0) else {
            return Ok(None);
        };
        if scale.datum_type() != f32::datum_type() {
            return Ok(None);
        }
        let zero = match zero {
            None => vec![0],
            Some(zero) => match &w.fact(zero)?.konst {
                Some(zero) => {
                    zero.cast_to::<i32>()?.try_as_plain_ram()?.as_slice::<i32>()?.to_vec()
                }
                None => return Ok(None),
            },
        };
        let scale = scale.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
        ensure!(!scale.is_empty() && !zero.is_empty(), "no scale, or no zero point");
        let (dims, mut along) = (&w.fact(x)?.shape, 0);
        if scale.len() != 1 || zero.len() != 1 {
            along = axis(self.axis, dims.rank())?;
            for len in [scale.len(), zero.len()] {
                let fits = len == 1 || dims[along] == len.to_dim();
                ensure!(fits, "{len} parameters for {} slices", dims[along]);
            }
        }
        Ok(Some(Dequantize { scale, zero, axis: along }))
    }

    /// A scale or zero point, made to broadcast against `x`.
    fn apply(&self, w: &mut Wiring, param: OutletId, x: OutletId) -> TractResult<OutletId> {
        let (dims, param_dims) = (w.fact(x)?.shape.to_tvec(), w.fact(param)?.shape.to_tvec());
        if param_dims.is_empty() || param_dims.len() == 1 && param_dims[0].is_one() {
            return if param_dims.is_empty() { Ok(param) } else { w.op(AxisOp::Rm(0), &[param]) };
        }
        let ax = super::native::axis(self.axis, dims.len())?;
        if param_dims.len() == 1 {
            ensure!(
                param_dims[0] == dims[ax],
                "{} parameters for {} slices",
                param_dims[0],
                dims[ax]
            );
            let mut param = param;
            for _ in ax + 1..dims.len() {
                let at = w.fact(param)?.rank();
                param = w.op(AxisOp::Add(at), &[param])?;
            }
            return Ok(param);
        }
        ensure!(
            self.block > 0 && param_dims.len() == dims.len(),
            "parameters {param_dims:?} for {dims:?}"
        );
        let len = dims[ax].to_usize()?;
        ensure!(
            param_dims[ax] == len.div_ceil(self.block).to_dim(),
            "{} blocks of {} for {len} elements",
            param_dims[ax],
            self.block
        );
        let blocks: Vec<i64> = (0..len).map(|ix| (ix / self.block) as i64).collect();
        let blocks = w.konst(tensor1(&blocks))?;
        w.op(Gather::new(ax), &[param, blocks])
    }
}

/// Least and greatest value of an integer dtype that f32 can hold.
fn range(dt: DatumType) -> TractResult<(f32, f32)> {
    Ok(match dt {
        DatumType::U8 => (u8::MIN as f32, u8::MAX as f32),
        DatumType::I8 => (i8::MIN as f32, i8::MAX as f32),
        DatumType::U16 => (u16::MIN as f32, u16::MAX as f32),
        DatumType::I16 => (i16::MIN as f32, i16::MAX as f32),
        other => bail!("quantization to {other:?} is not supported"),
    })
}

/// `QuantizeLinear`.
pub(super) fn quantize(_: &ParsingContext, node: &NodeProto) -> Built {
    let spread = Spread::of(node)?;
    wired(node, move |w| {
        let (x, scale) = (w.need(0)?, w.need(1)?);
        let zero = w.inputs.get(2).copied().flatten();
        let dt = match zero {
            Some(zero) => w.fact(zero)?.datum_type,
            None => spread.out.unwrap_or(u8::datum_type()),
        };
        ensure!(spread.out.is_none_or(|out| out == dt), "output_dtype is not the zero point's");
        let f32_in = w.fact(x)?.datum_type == f32::datum_type();
        if f32_in
            && let Some(of) = spread.constants(w, x, dt)?
            && let ([scale], [zero]) = (&of.scale[..], &of.zero[..])
            && let Some(op) = Quantize::new(*scale, *zero, dt)
        {
            return Ok(vec![w.op(op, &[x])?]);
        }
        let (least, most) = range(dt)?;
        let scale = spread.apply(w, scale, x)?;
        let scale = w.cast(scale, f32::datum_type())?;
        let y = w.cast(x, f32::datum_type())?;
        let y = w.bin(exact_div(), y, scale)?;
        let mut y = w.op(math::round_half_to_even(), &[y])?;
        if let Some(zero) = zero {
            let zero = spread.apply(w, zero, x)?;
            let zero = w.cast(zero, f32::datum_type())?;
            y = w.bin(math::add(), y, zero)?;
        }
        let y = w.bin_scalar(math::max(), y, least)?;
        let y = w.bin_scalar(math::min(), y, most)?;
        Ok(vec![w.cast(y, dt)?])
    })
}

/// `DequantizeLinear`.
pub(super) fn dequantize(_: &ParsingContext, node: &NodeProto) -> Built {
    let spread = Spread::of(node)?;
    wired(node, move |w| {
        let (x, scale) = (w.need(0)?, w.need(1)?);
        let zero = w.inputs.get(2).copied().flatten();
        let (from, scale_dt) = (w.fact(x)?.datum_type, w.fact(scale)?.datum_type);
        let out = spread.out.unwrap_or(scale_dt);
        if out == f32::datum_type()
            && let Some(op) = spread.constants(w, x, from)?
        {
            return Ok(vec![w.op(op, &[x])?]);
        }
        let whole = from.is_integer() && from.size_of() <= 4;
        ensure!(whole && from != u32::datum_type(), "dequantization of {from:?} is not supported");
        let mut y = w.cast(x, i32::datum_type())?;
        if let Some(zero) = zero {
            let zero = spread.apply(w, zero, x)?;
            let zero = w.cast(zero, i32::datum_type())?;
            y = w.bin(math::sub(), y, zero)?;
        }
        let y = w.cast(y, f32::datum_type())?;
        let scale = spread.apply(w, scale, x)?;
        let scale = w.cast(scale, f32::datum_type())?;
        let y = w.bin(math::mul(), y, scale)?;
        Ok(vec![w.cast(y, out)?])
    })
}

/// `DynamicQuantizeLinear`.
pub(super) fn dynamic_quantize(_: &ParsingContext, node: &NodeProto) -> Built {
    wired(node, |w| {
        let x = w.need(0)?;
        let name = w.name();
        Ok(w.model.wire_node(name, DynamicQuantize, &[x])?.to_vec())
    })
}

/// `QLinearMatMul`: tract's, its scales widened to f32.
pub(super) fn q_linear_mat_mul(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let inner = expansion(ctx, node)?;
    wired(node, move |w| {
        let mut inputs: Vec<OutletId> = w.inputs.iter().copied().flatten().collect();
        ensure!(inputs.len() == 8, "QLinearMatMul takes 8 inputs, not {}", inputs.len());
        for ix in [1, 4, 6] {
            let name = w.name();
            inputs[ix] = widen(w.model, name, inputs[ix])?;
        }
        w.expand(&*inner, &inputs)
    })
}
