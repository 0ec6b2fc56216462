//! `DFT` (opsets 17, 20), in f64: what cancels out is zero. The inverse of the
//! whole length is tract's.

use super::attrs;
use super::native::{Built, Facts, Kernel, Tensors, axis, ints, native, tract_builder};
use super::values::{f64s, tensor_of};
use std::f64::consts::TAU;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ndarray::{ArrayD, Axis, Dimension};

/// A complex number.
type C = (f64, f64);

/// The longest transform with a large prime factor, which takes its square in time.
const LONGEST_PRIME: usize = 1 << 13;

#[derive(Debug)]
struct Dft {
    /// Opset 17 has the axis as an attribute, later ones as an input.
    axis: Option<i64>,
    inverse: bool,
    onesided: bool,
}

/// Builds the operator.
pub(super) fn dft(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let inverse = attrs::flag(node, "inverse", false)?;
    let has_length = node.input.get(1).is_some_and(|name| !name.is_empty());
    if inverse && !has_length {
        return tract_builder("DFT")?(ctx, node);
    }
    ensure!(
        !inverse || !attrs::flag(node, "onesided", false)?,
        "DFT: a onesided inverse with a length is not supported"
    );
    let by_attribute = ctx.onnx_operator_set_version < 20;
    let axis = if by_attribute { Some(attrs::int(node, "axis", 1)?) } else { None };
    native(node, Dft { axis, inverse, onesided: attrs::flag(node, "onesided", false)? })
}

fn times(a: C, b: C) -> C {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

/// exp(sign · 2πi · k / n), exact at the quarters.
fn root(k: usize, n: usize, sign: f64) -> C {
    let k = k % n;
    match 4 * k {
        0 => (1.0, 0.0),
        q if q == n => (0.0, sign),
        q if q == 2 * n => (-1.0, 0.0),
        q if q == 3 * n => (0.0, -sign),
        _ => {
            let (sin, cos) = (TAU * k as f64 / n as f64).sin_cos();
            (cos, sign * sin)
        }
    }
}

/// The transform of `x`: halved while even, summed as written once odd.
fn transform(x: &[C], sign: f64) -> Vec<C> {
    let n = x.len();
    if n > 1 && n.is_multiple_of(2) {
        let part = |odd| x.iter().skip(odd).step_by(2).copied().collect::<Vec<_>>();
        let (even, odd) = (transform(&part(0), sign), transform(&part(1), sign));
        return (0..n)
            .map(|k| {
                let (a, b) = (even[k % (n / 2)], times(root(k, n, sign), odd[k % (n / 2)]));
                (a.0 + b.0, a.1 + b.1)
            })
            .collect();
    }
    let roots: Vec<C> = (0..n).map(|k| root(k, n, sign)).collect();
    (0..n)
        .map(|k| {
            x.iter().enumerate().fold((0.0, 0.0), |sum, (j, x)| {
                let y = times(*x, roots[j * k % n]);
                (sum.0 + y.0, sum.1 + y.1)
            })
        })
        .collect()
}

impl Dft {
    fn axis(&self, given: Option<Vec<i64>>, rank: usize) -> TractResult<usize> {
        let given = match (given.as_deref(), self.axis) {
            (Some([axis]), _) => *axis,
            (Some(other), _) => bail!("DFT takes one axis, not {other:?}"),
            (None, axis) => axis.unwrap_or(-2),
        };
        let resolved = axis(given, rank)?;
        ensure!(resolved + 1 < rank, "DFT: the last axis holds the parts of a number");
        Ok(resolved)
    }

    /// Length of the transform and of the output, for an input of length `len`.
    fn lengths(&self, len: usize, given: Option<Vec<i64>>) -> TractResult<(usize, usize)> {
        let n = match given.as_deref() {
            Some([n]) if (1..1 << 31).contains(n) => *n as usize,
            Some(other) => bail!("DFT: dft_length {other:?} is not a length"),
            None => len,
        };
        ensure!(n > 0, "DFT of nothing");
        let odd = n >> n.trailing_zeros();
        ensure!(odd <= LONGEST_PRIME, "DFT: length {n} has too large an odd factor");
        Ok((n, if self.onesided { n / 2 + 1 } else { n }))
    }
}

impl Kernel for Dft {
    fn params(&self) -> &'static [(usize, &'static str)] {
        &[(1, "dft_length"), (2, "axis")]
    }

    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let mut dims = inputs.dims(0)?;
        let rank = dims.len();
        ensure!(
            rank >= 2 && matches!(dims[rank - 1], 1 | 2),
            "DFT takes [.., 1 or 2], not {dims:?}"
        );
        let ax = self.axis(inputs.konst(2, "axis")?, rank)?;
        dims[ax] = self.lengths(dims[ax], inputs.konst(1, "dft_length")?)?.1;
        dims[rank - 1] = 2;
        Ok(vec![inputs.dt(0)?.fact(&*dims)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = f64s(inputs.need(0)?)?;
        let rank = x.ndim();
        let ax = self.axis(inputs.get(2).map(ints).transpose()?, rank)?;
        let given = inputs.get(1).map(ints).transpose()?;
        let (n, out_len) = self.lengths(x.shape()[ax], given)?;
        let mut dims = x.shape().to_vec();
        dims[ax] = out_len;
        dims[rank - 1] = 2;
        let mut out = ArrayD::<f64>::zeros(dims);
        let re = x.index_axis(Axis(rank - 1), 0);
        let im = (x.shape()[rank - 1] == 2).then(|| x.index_axis(Axis(rank - 1), 1));
        let starts = re.index_axis(Axis(ax), 0).raw_dim();
        for at in tract_onnx::tract_hir::tract_core::ndarray::indices(starts) {
            let mut at = at.slice().to_vec();
            at.insert(ax, 0);
            let mut lane: Vec<C> = (0..re.shape()[ax])
                .map(|ix| {
                    at[ax] = ix;
                    (re[&*at], im.as_ref().map_or(0.0, |im| im[&*at]))
                })
                .collect();
            lane.resize(n, (0.0, 0.0));
            let (sign, scale) = if self.inverse { (1.0, 1.0 / n as f64) } else { (-1.0, 1.0) };
            let lane = transform(&lane, sign);
            at.push(0);
            for (ix, value) in lane.iter().take(out_len).enumerate() {
                at[ax] = ix;
                at[rank - 1] = 0;
                out[&*at] = value.0 * scale;
                at[rank - 1] = 1;
                out[&*at] = value.1 * scale;
            }
        }
        Ok(vec![tensor_of(out, inputs.need(0)?.datum_type())?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_is_the_same() {
        let x: Vec<C> = (0..12).map(|v| (v as f64, 0.5 * v as f64)).collect();
        let y = transform(&transform(&x, -1.0), 1.0);
        for (a, b) in x.iter().zip(&y) {
            assert!((a.0 - b.0 / 12.0).abs() < 1e-12 && (a.1 - b.1 / 12.0).abs() < 1e-12);
        }
    }
}
