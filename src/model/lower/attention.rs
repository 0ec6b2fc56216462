//! `Attention` (opsets 23 to 25).
//!
//! tract's own operator is kept for what it does right and fast: no mask, no
//! cache, no window, no cap. The rest is [`AttentionKernel`].

use super::attrs;
use super::native::{Built, Facts, Kernel, Tensors, native, tract_builder};
use super::values::{f32s, tensor_of};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ndarray::{
    Array2, Array4, ArrayD, ArrayView2, Axis, Ix4, IxDyn, s,
};

/// What output number 3 shows.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scores {
    Raw,
    Capped,
    Biased,
    Softmaxed,
}

/// Which keys a query may see, before any mask.
#[derive(Debug, Clone, Copy)]
struct Window {
    causal: bool,
    left: Option<usize>,
    right: Option<usize>,
}

impl Window {
    /// Whether the query at absolute position `p` sees key `j`.
    fn sees(&self, p: i64, j: i64) -> bool {
        !(self.causal && j > p)
            && self.left.is_none_or(|w| j >= p - w as i64)
            && self.right.is_none_or(|w| j <= p + w as i64)
    }
}

#[derive(Debug)]
struct AttentionKernel {
    q_heads: Option<usize>,
    kv_heads: Option<usize>,
    scale: Option<f32>,
    softcap: f32,
    scores: Scores,
    window: Window,
    /// Softmax is computed in f64, not in f32.
    double: bool,
}

/// Builds the operator.
pub(super) fn attention(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let named = |list: &[String], ix: usize| list.get(ix).is_some_and(|n| !n.is_empty());
    let window = |name| -> TractResult<Option<usize>> {
        match attrs::int(node, name, -1)? {
            -1 => Ok(None),
            w if w >= 0 => Ok(Some(w.min(1 << 40) as usize)),
            other => bail!("Attention: {name} must be -1 or more, not {other}"),
        }
    };
    let heads = |name| -> TractResult<Option<usize>> {
        match node.get_attr_opt::<i64>(name)? {
            None => Ok(None),
            Some(h) if h > 0 => Ok(Some(h as usize)),
            Some(h) => bail!("Attention: {name} must be positive, not {h}"),
        }
    };
    let precision = node.get_attr_opt::<i64>("softmax_precision")?;
    ensure!(
        matches!(precision, None | Some(1) | Some(10) | Some(11)),
        "Attention: softmax_precision {precision:?} is not supported"
    );
    let kernel = AttentionKernel {
        q_heads: heads("q_num_heads")?,
        kv_heads: heads("kv_num_heads")?,
        scale: node.get_attr_opt("scale")?,
        softcap: attrs::float(node, "softcap", 0.0)?,
        double: precision == Some(11),
        scores: match attrs::int(node, "qk_matmul_output_mode", 0)? {
            0 => Scores::Raw,
            1 => Scores::Capped,
            2 => Scores::Biased,
            3 => Scores::Softmaxed,
            other => bail!("Attention: unknown qk_matmul_output_mode {other}"),
        },
        window: Window {
            causal: attrs::flag(node, "is_causal", false)?,
            left: window("left_window_size")?,
            right: window("right_window_size")?,
        },
    };
    ensure!(
        named(&node.input, 4) == named(&node.input, 5),
        "Attention: past_key and past_value go together"
    );
    ensure!(
        !(named(&node.input, 4) && named(&node.input, 6)),
        "Attention: nonpad_kv_seqlen excludes past_key"
    );
    let plain = (3..7).all(|ix| !named(&node.input, ix))
        && (1..4).all(|ix| !named(&node.output, ix))
        && kernel.softcap == 0.0
        && !kernel.double
        && kernel.window.left.is_none()
        && kernel.window.right.is_none();
    if plain { tract_builder("Attention")?(ctx, node) } else { native(node, kernel) }
}

/// `x` as [batch, heads, sequence, size].
fn to_4d(x: ArrayD<f32>, heads: Option<usize>) -> TractResult<Array4<f32>> {
    if x.ndim() == 4 {
        return Ok(x.into_dimensionality::<Ix4>()?);
    }
    let heads = heads.context("Attention with 3 dims needs q_num_heads and kv_num_heads")?;
    let dims = x.shape().to_vec();
    ensure!(dims.len() == 3 && dims[2].is_multiple_of(heads), "{dims:?} do not hold {heads} heads");
    let x = x.into_shape_with_order((dims[0], dims[1], heads, dims[2] / heads))?;
    Ok(x.permuted_axes([0, 2, 1, 3]).as_standard_layout().into_owned())
}

impl AttentionKernel {
    /// Dims [batch, heads, sequence, size] of an input given in 3 or 4 dims.
    fn dims4(&self, dims: &[TDim], heads: Option<usize>) -> TractResult<TVec<TDim>> {
        if dims.len() == 4 {
            return Ok(dims.into());
        }
        ensure!(dims.len() == 3, "Attention takes 3 or 4 dims, not {}", dims.len());
        let heads = heads.context("Attention with 3 dims needs q_num_heads and kv_num_heads")?;
        Ok(tvec!(dims[0].clone(), heads.to_dim(), dims[1].clone(), dims[2].clone() / heads))
    }

    /// Joins a cache and what is new along the sequence.
    fn joined(past: Option<&Tensor>, new: Array4<f32>) -> TractResult<Array4<f32>> {
        let Some(past) = past else { return Ok(new) };
        let past = f32s(past)?.into_dimensionality::<Ix4>()?;
        Ok(tract_onnx::tract_hir::tract_core::ndarray::concatenate(
            Axis(2),
            &[past.view(), new.view()],
        )?)
    }
}

/// Softmax of each row, all zeros where `allowed` has nothing.
fn softmax_rows(scores: &mut Array2<f32>, masked: &[bool], double: bool) {
    for (mut row, masked) in scores.rows_mut().into_iter().zip(masked) {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if *masked || max == f32::NEG_INFINITY {
            row.fill(0.0);
            continue;
        }
        if double {
            let sum: f64 = row.iter().map(|x| (*x as f64 - max as f64).exp()).sum();
            row.mapv_inplace(|x| ((x as f64 - max as f64).exp() / sum) as f32);
            continue;
        }
        row.mapv_inplace(|x| (x - max).exp());
        let sum = row.sum();
        row.mapv_inplace(|x| x / sum);
    }
}

/// The additive bias of one (batch, head): window, padding and mask together.
fn bias(
    dims: (usize, usize),
    window: Window,
    offset: i64,
    valid: i64,
    mask: Option<ArrayView2<f32>>,
) -> Array2<f32> {
    Array2::from_shape_fn(dims, |(i, j)| {
        if !window.sees(i as i64 + offset, j as i64) || j as i64 >= valid {
            return f32::NEG_INFINITY;
        }
        mask.as_ref().map_or(0.0, |m| m.get((i, j)).copied().unwrap_or(f32::NEG_INFINITY))
    })
}

impl Kernel for AttentionKernel {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let dt = inputs.dt(0)?;
        let (q, v) = (inputs.shape(0)?, inputs.shape(2)?);
        let q4 = self.dims4(&q, self.q_heads)?;
        let mut k4 = self.dims4(&inputs.shape(1)?, self.kv_heads)?;
        let mut v4 = self.dims4(&v, self.kv_heads)?;
        if inputs.get(4).is_some() {
            k4[2] = k4[2].clone() + inputs.shape(4)?.get(2).context("past_key has 4 dims")?;
            v4[2] = v4[2].clone() + inputs.shape(5)?.get(2).context("past_value has 4 dims")?;
        }
        let y = if q.len() == 4 {
            tvec!(q4[0].clone(), q4[1].clone(), q4[2].clone(), v4[3].clone())
        } else {
            tvec!(q[0].clone(), q[1].clone(), q4[1].clone() * &v4[3])
        };
        let scores = tvec!(q4[0].clone(), q4[1].clone(), q4[2].clone(), k4[2].clone());
        Ok(vec![dt.fact(&*y), dt.fact(&*k4), dt.fact(&*v4), dt.fact(&*scores)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let dt = inputs.need(0)?.datum_type();
        let rank = inputs.need(0)?.rank();
        let q = to_4d(f32s(inputs.need(0)?)?, self.q_heads)?;
        let k = Self::joined(inputs.get(4), to_4d(f32s(inputs.need(1)?)?, self.kv_heads)?)?;
        let v = Self::joined(inputs.get(5), to_4d(f32s(inputs.need(2)?)?, self.kv_heads)?)?;
        let (batch, heads, queries, size) = q.dim();
        let (keys, kv_heads) = (k.dim().2, k.dim().1);
        ensure!(
            kv_heads > 0 && heads % kv_heads == 0 && v.dim().1 == kv_heads,
            "Attention: {heads} query heads do not share {kv_heads} key and value heads"
        );
        ensure!(k.dim().0 == batch && v.dim().0 == batch, "Attention: batches differ");
        ensure!(
            k.dim().3 == size && v.dim().2 == keys,
            "Attention: sizes of query, key and value do not fit"
        );
        let valid = match inputs.get(6) {
            None => None,
            Some(t) => Some(super::native::ints(t)?),
        };
        if let Some(valid) = &valid {
            ensure!(valid.len() == batch, "Attention: nonpad_kv_seqlen needs one value a batch");
        }
        let past = inputs.get(4).map_or(0, |p| p.shape()[2]) as i64;
        let mask = inputs.get(3).map(|m| mask_4d(m, (batch, heads, queries))).transpose()?;
        let scale = self.scale.unwrap_or(1.0 / (size as f32).sqrt()).sqrt();
        let mut y = Array4::<f32>::zeros((batch, heads, queries, v.dim().3));
        let mut shown = Array4::<f32>::zeros((batch, heads, queries, keys));
        for b in 0..batch {
            let offset = valid.as_ref().map_or(past, |v| v[b] - queries as i64);
            let valid = valid.as_ref().map_or(keys as i64, |v| v[b]);
            for h in 0..heads {
                let g = h / (heads / kv_heads);
                let qs = q.slice(s![b, h, .., ..]).mapv(|x| x * scale);
                let ks = k.slice(s![b, g, .., ..]).mapv(|x| x * scale);
                let mut scores = qs.dot(&ks.t());
                let mut show = shown.slice_mut(s![b, h, .., ..]);
                if self.scores == Scores::Raw {
                    show.assign(&scores);
                }
                if self.softcap > 0.0 {
                    scores.mapv_inplace(|x| (x / self.softcap).tanh() * self.softcap);
                }
                if self.scores == Scores::Capped {
                    show.assign(&scores);
                }
                let mask = mask.as_ref().map(|m| m.slice(s![b, h, .., ..]));
                let bias = bias((queries, keys), self.window, offset, valid, mask);
                let masked: Vec<bool> = bias
                    .rows()
                    .into_iter()
                    .map(|r| r.iter().all(|x| *x == f32::NEG_INFINITY))
                    .collect();
                scores += &bias;
                if self.scores == Scores::Biased {
                    show.assign(&scores);
                }
                softmax_rows(&mut scores, &masked, self.double);
                if self.scores == Scores::Softmaxed {
                    show.assign(&scores);
                }
                y.slice_mut(s![b, h, .., ..]).assign(&scores.dot(&v.slice(s![b, g, .., ..])));
            }
        }
        let y = if rank == 3 {
            let dims = IxDyn(&[batch, queries, heads * v.dim().3]);
            let y = y.permuted_axes([0, 2, 1, 3]).as_standard_layout().into_owned();
            y.into_shape_with_order(dims)?
        } else {
            y.into_dyn()
        };
        [y, k.into_dyn(), v.into_dyn(), shown.into_dyn()]
            .into_iter()
            .map(|a| tensor_of(a, dt))
            .collect()
    }
}

/// A mask as an additive one of 4 dims; its last dim stays as it is (a shorter
/// one masks the keys that it lacks).
fn mask_4d(mask: &Tensor, dims: (usize, usize, usize)) -> TractResult<Array4<f32>> {
    let mut bias = if mask.datum_type() == bool::datum_type() {
        let allowed = mask.to_plain_array_view::<bool>()?;
        allowed.mapv(|on| if on { 0.0 } else { f32::NEG_INFINITY })
    } else {
        f32s(mask)?
    };
    ensure!((1..=4).contains(&bias.ndim()), "a mask has 1 to 4 dims, not {}", bias.ndim());
    while bias.ndim() < 4 {
        bias = bias.insert_axis(Axis(0));
    }
    let keys = bias.shape()[3];
    let to = (dims.0, dims.1, dims.2, keys);
    let found = bias.shape().to_vec();
    let bias = bias.broadcast(to).with_context(|| format!("mask {found:?} against {to:?}"))?;
    Ok(bias.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_relative_to_the_absolute_position() {
        let w = Window { causal: true, left: Some(1), right: Some(5) };
        let seen: Vec<i64> = (0..6).filter(|&j| w.sees(3, j)).collect();
        assert_eq!(seen, [2, 3]);
    }

    #[test]
    fn a_row_with_nothing_to_see_is_zero() {
        let mut m = Array2::from_elem((2, 2), f32::NEG_INFINITY);
        m[(1, 0)] = 3.0;
        softmax_rows(&mut m, &[true, false], false);
        assert_eq!(m.iter().copied().collect::<Vec<_>>(), [0.0, 0.0, 1.0, 0.0]);
    }
}
