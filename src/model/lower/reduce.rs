//! `ReduceMax` and `ReduceMin` (opsets 1 to 20).
//!
//! tract's take neither booleans nor infinities: its maximum of nothing but −∞
//! is the smallest finite number. The other reductions are tract's.

use super::attrs;
use super::native::{Built, Facts, Kernel, Tensors, axis, ints, native};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ndarray::{ArrayD, Axis};

#[derive(Debug)]
struct Extreme {
    max: bool,
    keep_dims: bool,
    noop_when_empty: bool,
    /// Axes given as an attribute (before opset 18).
    axes: Option<Vec<i64>>,
}

/// Builds `ReduceMax` or `ReduceMin`.
pub(super) fn extreme(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let by_attribute = ctx.onnx_operator_set_version < 18;
    let op = Extreme {
        max: node.op_type == "ReduceMax",
        keep_dims: attrs::flag(node, "keepdims", true)?,
        noop_when_empty: !by_attribute && attrs::flag(node, "noop_with_empty_axes", false)?,
        axes: if by_attribute { attrs::ints(node, "axes")? } else { None },
    };
    native(node, op)
}

impl Extreme {
    /// Which axes go, in ascending order.
    fn axes(&self, given: Option<Vec<i64>>, rank: usize) -> TractResult<Vec<usize>> {
        let given = given.or_else(|| self.axes.clone()).unwrap_or_default();
        if given.is_empty() {
            return Ok(if self.noop_when_empty { vec![] } else { (0..rank).collect() });
        }
        let mut axes: Vec<usize> =
            given.iter().map(|a| axis(*a, rank)).collect::<TractResult<_>>()?;
        axes.sort_unstable();
        axes.dedup();
        Ok(axes)
    }
}

/// A dtype with a least and a greatest value; a NaN wins over all.
trait Extremes: Datum + Copy {
    const LEAST: Self;
    const GREATEST: Self;
    fn pick(self, other: Self, max: bool) -> Self;
}

macro_rules! extremes {
    ($($t:ty: $least:expr, $greatest:expr;)*) => {
        $(impl Extremes for $t {
            const LEAST: Self = $least;
            const GREATEST: Self = $greatest;
            #[allow(clippy::eq_op)] // a float that differs from itself is NaN
            fn pick(self, other: Self, max: bool) -> Self {
                if self != self || (self > other) == max && self != other { self } else { other }
            }
        })*
    };
}

extremes! {
    bool: false, true;
    u8: u8::MIN, u8::MAX; u16: u16::MIN, u16::MAX; u32: u32::MIN, u32::MAX;
    u64: u64::MIN, u64::MAX;
    i8: i8::MIN, i8::MAX; i16: i16::MIN, i16::MAX; i32: i32::MIN, i32::MAX;
    i64: i64::MIN, i64::MAX;
    f16: f16::NEG_INFINITY, f16::INFINITY;
    f32: f32::NEG_INFINITY, f32::INFINITY; f64: f64::NEG_INFINITY, f64::INFINITY;
}

fn reduce<T: Extremes>(x: &Tensor, axes: &[usize], op: &Extreme) -> TractResult<Tensor> {
    let mut x: ArrayD<T> = x.to_plain_array_view::<T>()?.to_owned();
    let start = if op.max { T::LEAST } else { T::GREATEST };
    for &ax in axes.iter().rev() {
        let mut dims = x.shape().to_vec();
        dims.remove(ax);
        let mut out = ArrayD::from_elem(dims, start);
        for slice in x.axis_iter(Axis(ax)) {
            out.zip_mut_with(&slice, |o, x| *o = o.pick(*x, op.max));
        }
        x = if op.keep_dims { out.insert_axis(Axis(ax)) } else { out };
    }
    Ok(x.into())
}

impl Kernel for Extreme {
    fn params(&self) -> &'static [(usize, &'static str)] {
        &[(1, "axes")]
    }

    fn extreme(&self, inputs: &Facts) -> Option<(bool, Vec<usize>)> {
        let given = inputs.konst(1, "axes").ok()?;
        Some((self.max, self.axes(given, inputs.shape(0).ok()?.len()).ok()?))
    }

    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let mut dims = inputs.shape(0)?;
        for &ax in self.axes(inputs.konst(1, "axes")?, dims.len())?.iter().rev() {
            if self.keep_dims {
                dims[ax] = 1.to_dim();
            } else {
                dims.remove(ax);
            }
        }
        Ok(vec![inputs.dt(0)?.fact(&*dims)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = inputs.need(0)?;
        let axes = self.axes(inputs.get(1).map(ints).transpose()?, x.rank())?;
        let out = match x.datum_type() {
            DatumType::Bool => reduce::<bool>(x, &axes, self),
            DatumType::U8 => reduce::<u8>(x, &axes, self),
            DatumType::U16 => reduce::<u16>(x, &axes, self),
            DatumType::U32 => reduce::<u32>(x, &axes, self),
            DatumType::U64 => reduce::<u64>(x, &axes, self),
            DatumType::I8 => reduce::<i8>(x, &axes, self),
            DatumType::I16 => reduce::<i16>(x, &axes, self),
            DatumType::I32 => reduce::<i32>(x, &axes, self),
            DatumType::I64 => reduce::<i64>(x, &axes, self),
            DatumType::F16 => reduce::<f16>(x, &axes, self),
            DatumType::F32 => reduce::<f32>(x, &axes, self),
            DatumType::F64 => reduce::<f64>(x, &axes, self),
            other => bail!("{other:?} has no order"),
        };
        Ok(vec![out?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_of_infinities_is_one_and_nan_wins() {
        let op = Extreme { max: true, keep_dims: false, noop_when_empty: false, axes: None };
        let x = tensor1(&[f32::NEG_INFINITY, f32::NEG_INFINITY]);
        assert_eq!(reduce::<f32>(&x, &[0], &op).unwrap(), tensor0(f32::NEG_INFINITY));
        assert!(2f32.pick(f32::NAN, true).is_nan() && f32::NAN.pick(2.0, true).is_nan());
        assert_eq!(1f32.pick(2.0, false), 1.0);
    }
}
