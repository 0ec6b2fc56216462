//! Element-wise operators: `BitShift` (11), `BitCast` (26), `Celu` (12, 28),
//! `Swish` (24), `SwiGLU` (28).

use super::attrs;
use super::native::{Built, Facts, Kernel, Tensors, native};
use super::values::{broadcast, known};
use super::wired::wired;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ndarray::{ArrayD, Zip};
use tract_onnx::tract_hir::tract_core::ops::{math, nn};

#[derive(Debug)]
struct BitShift {
    left: bool,
}

/// `BitShift`: a shift by the width or more, or by less than nothing, empties the word.
pub(super) fn bit_shift(_: &ParsingContext, node: &NodeProto) -> Built {
    let left = match &*attrs::string(node, "direction", "")? {
        "LEFT" => true,
        "RIGHT" => false,
        other => bail!("BitShift: direction must be LEFT or RIGHT, not '{other}'"),
    };
    native(node, BitShift { left })
}

/// Shifts `x`, held in `bits` bits.
fn shift(x: i64, by: i64, bits: i64, left: bool) -> i64 {
    match (left, (0..bits).contains(&by)) {
        (true, true) => x.wrapping_shl(by as u32),
        (true, false) => 0,
        (false, true) => x >> by,
        (false, false) => {
            if x < 0 {
                -1
            } else {
                0
            }
        }
    }
}

impl BitShift {
    fn signed(&self, a: &Tensor, b: &Tensor, shape: &[usize]) -> TractResult<ArrayD<i64>> {
        let bits = a.datum_type().size_of() as i64 * 8;
        let (dt, left) = (a.datum_type(), self.left);
        let (a, b) = (a.cast_to::<i64>()?, b.cast_to::<i64>()?);
        let (a, b) = (a.to_plain_array_view::<i64>()?, b.to_plain_array_view::<i64>()?);
        let (a, b) = (a.broadcast(shape), b.broadcast(shape));
        let (a, b) = a.zip(b).context("BitShift: dims do not broadcast")?;
        let wrap = |x: i64| match dt {
            DatumType::I8 => x as i8 as i64,
            DatumType::I16 => x as i16 as i64,
            DatumType::I32 => x as i32 as i64,
            DatumType::U8 => x as u8 as i64,
            DatumType::U16 => x as u16 as i64,
            DatumType::U32 => x as u32 as i64,
            _ => x,
        };
        Ok(Zip::from(&a).and(&b).map_collect(|&a, &b| wrap(shift(a, b, bits, left))))
    }

    fn unsigned(&self, a: &Tensor, b: &Tensor, shape: &[usize]) -> TractResult<Tensor> {
        let (a, b) = (a.to_plain_array_view::<u64>()?, b.to_plain_array_view::<u64>()?);
        let (a, b) = (a.broadcast(shape), b.broadcast(shape));
        let (a, b) = a.zip(b).context("BitShift: dims do not broadcast")?;
        let left = self.left;
        let out = Zip::from(&a).and(&b).map_collect(|&a, &b| match (u32::try_from(b), left) {
            (Ok(b), true) => a.checked_shl(b).unwrap_or(0),
            (Ok(b), false) => a.checked_shr(b).unwrap_or(0),
            (Err(_), _) => 0,
        });
        Ok(out.into())
    }
}

impl Kernel for BitShift {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let dt = inputs.dt(0)?;
        ensure!(dt.is_integer() && inputs.dt(1)? == dt, "BitShift takes two integers of one dtype");
        Ok(vec![dt.fact(&*broadcast(&inputs.shape(0)?, &inputs.shape(1)?)?)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let (a, b) = (inputs.need(0)?, inputs.need(1)?);
        let dims = |t: &Tensor| t.shape().iter().map(|d| d.to_dim()).collect::<Vec<_>>();
        let shape = known(&broadcast(&dims(a), &dims(b))?)?;
        if a.datum_type() == u64::datum_type() {
            return Ok(vec![self.unsigned(a, b, &shape)?]);
        }
        let out: Tensor = self.signed(a, b, &shape)?.into();
        Ok(vec![out.cast_to_dt(a.datum_type())?.into_owned()])
    }
}

#[derive(Debug)]
struct BitCast {
    to: DatumType,
}

/// `BitCast`: the same bits under another dtype of the same width.
pub(super) fn bit_cast(_: &ParsingContext, node: &NodeProto) -> Built {
    let to: DatumType = DataType::try_from(node.get_attr::<i64>("to")? as i32)
        .map_err(|e| format_err!("BitCast: unknown dtype: {e}"))?
        .try_into()?;
    ensure!(to != DatumType::String, "BitCast: strings have no bits to cast");
    native(node, BitCast { to })
}

/// The bytes of a tensor of numbers, in native order.
fn bytes_of(t: &Tensor) -> TractResult<Vec<u8>> {
    fn of<T: Datum + Copy, const N: usize>(
        t: &Tensor,
        to: impl Fn(T) -> [u8; N],
    ) -> TractResult<Vec<u8>> {
        Ok(t.to_plain_array_view::<T>()?.iter().flat_map(|x| to(*x)).collect())
    }
    match t.datum_type() {
        DatumType::Bool => of::<bool, 1>(t, |x| [x as u8]),
        DatumType::U8 => of::<u8, 1>(t, |x| [x]),
        DatumType::I8 => of::<i8, 1>(t, i8::to_ne_bytes),
        DatumType::U16 => of::<u16, 2>(t, u16::to_ne_bytes),
        DatumType::I16 => of::<i16, 2>(t, i16::to_ne_bytes),
        DatumType::F16 => of::<f16, 2>(t, |x| x.to_bits().to_ne_bytes()),
        DatumType::U32 => of::<u32, 4>(t, u32::to_ne_bytes),
        DatumType::I32 => of::<i32, 4>(t, i32::to_ne_bytes),
        DatumType::F32 => of::<f32, 4>(t, f32::to_ne_bytes),
        DatumType::U64 => of::<u64, 8>(t, u64::to_ne_bytes),
        DatumType::I64 => of::<i64, 8>(t, i64::to_ne_bytes),
        DatumType::F64 => of::<f64, 8>(t, f64::to_ne_bytes),
        other => bail!("BitCast: {other:?} is not supported"),
    }
}

/// A tensor of numbers from its bytes.
fn from_bytes(dt: DatumType, shape: &[usize], bytes: &[u8]) -> TractResult<Tensor> {
    fn to<T: Datum + Copy, const N: usize>(
        shape: &[usize],
        bytes: &[u8],
        from: impl Fn([u8; N]) -> T,
    ) -> TractResult<Tensor> {
        let (words, _) = bytes.as_chunks::<N>();
        let values: Vec<T> = words.iter().map(|w| from(*w)).collect();
        Tensor::from_shape(shape, &values)
    }
    match dt {
        DatumType::Bool => to::<bool, 1>(shape, bytes, |b| b[0] != 0),
        DatumType::U8 => to::<u8, 1>(shape, bytes, u8::from_ne_bytes),
        DatumType::I8 => to::<i8, 1>(shape, bytes, i8::from_ne_bytes),
        DatumType::U16 => to::<u16, 2>(shape, bytes, u16::from_ne_bytes),
        DatumType::I16 => to::<i16, 2>(shape, bytes, i16::from_ne_bytes),
        DatumType::F16 => to::<f16, 2>(shape, bytes, |b| f16::from_bits(u16::from_ne_bytes(b))),
        DatumType::U32 => to::<u32, 4>(shape, bytes, u32::from_ne_bytes),
        DatumType::I32 => to::<i32, 4>(shape, bytes, i32::from_ne_bytes),
        DatumType::F32 => to::<f32, 4>(shape, bytes, f32::from_ne_bytes),
        DatumType::U64 => to::<u64, 8>(shape, bytes, u64::from_ne_bytes),
        DatumType::I64 => to::<i64, 8>(shape, bytes, i64::from_ne_bytes),
        DatumType::F64 => to::<f64, 8>(shape, bytes, f64::from_ne_bytes),
        other => bail!("BitCast: {other:?} is not supported"),
    }
}

impl Kernel for BitCast {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let from = inputs.dt(0)?;
        ensure!(
            from.size_of() == self.to.size_of() && from != DatumType::String,
            "BitCast: {from:?} and {:?} differ in width",
            self.to
        );
        Ok(vec![self.to.fact(&*inputs.shape(0)?)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = inputs.need(0)?;
        Ok(vec![from_bytes(self.to, x.shape(), &bytes_of(x)?)?])
    }
}

/// `Celu`: max(0, x) + min(0, alpha · (exp(x / alpha) − 1)).
pub(super) fn celu(_: &ParsingContext, node: &NodeProto) -> Built {
    let alpha = attrs::float(node, "alpha", 1.0)?;
    wired(node, move |w| {
        let dt = w.fact(w.need(0)?)?.datum_type;
        let x = w.need(0)?;
        let x = w.cast(x, f32::datum_type())?;
        let e = w.bin_scalar(math::div(), x, alpha)?;
        let e = w.op(math::exp(), &[e])?;
        let e = w.bin_scalar(math::sub(), e, 1.0)?;
        let e = w.bin_scalar(math::mul(), e, alpha)?;
        let e = w.bin_scalar(math::min(), e, 0.0)?;
        let x = w.bin_scalar(math::max(), x, 0.0)?;
        let y = w.bin(math::add(), x, e)?;
        Ok(vec![w.cast(y, dt)?])
    })
}

/// `Swish`: x · sigmoid(alpha · x).
pub(super) fn swish(_: &ParsingContext, node: &NodeProto) -> Built {
    let alpha = attrs::float(node, "alpha", 1.0)?;
    wired(node, move |w| {
        let x = w.need(0)?;
        if alpha == 1.0 {
            return Ok(vec![w.op(nn::silu::silu(), &[x])?]);
        }
        let gate = w.bin_scalar(math::mul(), x, alpha)?;
        let gate = w.op(nn::sigmoid(), &[gate])?;
        Ok(vec![w.bin(math::mul(), x, gate)?])
    })
}

/// `SwiGLU`: a · sigmoid(alpha · a) · b.
pub(super) fn swiglu(_: &ParsingContext, node: &NodeProto) -> Built {
    let alpha = attrs::float(node, "alpha", 1.0)?;
    wired(node, move |w| {
        let (a, b) = (w.need(0)?, w.need(1)?);
        ensure!(w.fact(a)?.shape == w.fact(b)?.shape, "SwiGLU does not broadcast");
        let gate = w.bin_scalar(math::mul(), a, alpha)?;
        let gate = w.op(nn::sigmoid(), &[gate])?;
        let gate = w.bin(math::mul(), a, gate)?;
        Ok(vec![w.bin(math::mul(), gate, b)?])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_out_of_range_empties_the_word() {
        assert_eq!(shift(5, 1, 8, true), 10);
        assert_eq!(shift(5, 8, 8, true), 0);
        assert_eq!(shift(-5, 9, 8, false), -1);
        assert_eq!(shift(5, -1, 8, false), 0);
    }

    #[test]
    fn bits_survive_a_cast_and_back() {
        let t = tensor1(&[1.5f32, -0.0, f32::INFINITY]);
        let i = from_bytes(DatumType::I32, &[3], &bytes_of(&t).unwrap()).unwrap();
        assert_eq!(from_bytes(DatumType::F32, &[3], &bytes_of(&i).unwrap()).unwrap(), t);
    }
}
