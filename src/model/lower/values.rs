//! Small helpers over tract tensors, shared by the kernels.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ndarray::{ArrayD, ArrayViewD, Axis};

/// A tensor's numbers as f64, whatever its dtype.
pub(super) fn f64s(t: &Tensor) -> TractResult<ArrayD<f64>> {
    t.cast_to::<f64>()?.into_owned().into_plain_array::<f64>()
}

/// A tensor's numbers as f32, whatever its dtype.
pub(super) fn f32s(t: &Tensor) -> TractResult<ArrayD<f32>> {
    t.cast_to::<f32>()?.into_owned().into_plain_array::<f32>()
}

/// An array as a tensor of dtype `dt`.
pub(super) fn tensor_of<T: Datum>(a: ArrayD<T>, dt: DatumType) -> TractResult<Tensor> {
    let t: Tensor = a.into();
    if t.datum_type() == dt { Ok(t) } else { Ok(t.cast_to_dt(dt)?.into_owned()) }
}

/// A tensor's strings.
pub(super) fn strings(t: &Tensor) -> TractResult<ArrayD<String>> {
    Ok(t.to_plain_array_view::<String>()?.to_owned())
}

/// `shape` with the dims of `b`, by ONNX broadcasting.
pub(super) fn broadcast(a: &[TDim], b: &[TDim]) -> TractResult<TVec<TDim>> {
    let rank = a.len().max(b.len());
    let at = |s: &[TDim], ix: usize| {
        (ix + s.len()).checked_sub(rank).map(|ix| s[ix].clone()).unwrap_or_else(|| 1.to_dim())
    };
    (0..rank)
        .map(|ix| match (at(a, ix), at(b, ix)) {
            (x, y) if x == y => Ok(x),
            (x, y) if x.is_one() => Ok(y),
            (x, y) if y.is_one() => Ok(x),
            (x, y) => bail!("dims {x} and {y} do not broadcast"),
        })
        .collect()
}

/// The slices `picks` of `x` along axis `ax`, in that order.
pub(super) fn select<T: Clone + Default>(
    x: ArrayViewD<T>,
    ax: usize,
    picks: &[usize],
) -> TractResult<ArrayD<T>> {
    let mut dims = x.shape().to_vec();
    dims[ax] = picks.len();
    let mut out = ArrayD::from_shape_fn(dims, |_| T::default());
    for (to, &from) in picks.iter().enumerate() {
        out.index_axis_mut(Axis(ax), to).assign(&x.index_axis(Axis(ax), from));
    }
    Ok(out)
}

/// Dims that must all be known.
pub(super) fn known(dims: &[TDim]) -> TractResult<TVec<usize>> {
    dims.iter().map(|d| Ok(d.to_usize()?)).collect()
}

/// The one number of a tensor, cast. (tract's own reads past an empty tensor.)
pub(in crate::model) fn scalar<D: Datum + Copy>(t: &Tensor) -> TractResult<D> {
    ensure!(t.len() == 1, "{} elements where one is expected", t.len());
    t.cast_to_scalar::<D>()
}
