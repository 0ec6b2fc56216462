//! What carries a state from call to call: `CausalConvWithState` (27),
//! `LinearAttention` (27), `TensorScatter` (24).

use super::attrs;
use super::native::{Built, Facts, Kernel, Tensors, axis, ints, native};
use super::values::{f32s, tensor_of};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ndarray::{
    Array2, Array3, Array4, ArrayD, ArrayView1, Axis, Ix3, Ix4, concatenate, s,
};

#[derive(Debug)]
struct LinearAttention {
    q_heads: usize,
    kv_heads: usize,
    scale: f32,
    /// The state decays by exp(decay) before each step.
    gated: bool,
    /// What is written is the correction of what the state says already.
    delta: bool,
}

/// `LinearAttention`, its recurrence run step by step.
pub(super) fn linear_attention(_: &ParsingContext, node: &NodeProto) -> Built {
    let (gated, delta) = match &*attrs::string(node, "update_rule", "gated_delta")? {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => bail!("LinearAttention: unknown update_rule '{other}'"),
    };
    let q_heads = node.get_attr::<i64>("q_num_heads")?;
    let kv_heads = node.get_attr::<i64>("kv_num_heads")?;
    ensure!(
        q_heads > 0 && kv_heads > 0 && q_heads % kv_heads == 0,
        "LinearAttention: q_num_heads {q_heads} must be a multiple of kv_num_heads {kv_heads}"
    );
    let scale = attrs::float(node, "scale", 0.0)?;
    let (q_heads, kv_heads) = (q_heads as usize, kv_heads as usize);
    native(node, LinearAttention { q_heads, kv_heads, scale, gated, delta })
}

impl LinearAttention {
    fn sizes(&self, query: usize, value: usize) -> TractResult<(usize, usize)> {
        ensure!(
            query.is_multiple_of(self.q_heads) && value.is_multiple_of(self.kv_heads),
            "LinearAttention: {query} and {value} do not hold {} and {} heads",
            self.q_heads,
            self.kv_heads
        );
        Ok((query / self.q_heads, value / self.kv_heads))
    }

    /// One head of one batch: `state` is [key size, value size].
    fn step(
        &self,
        state: &mut Array2<f32>,
        k: ArrayView1<f32>,
        v: ArrayView1<f32>,
        decay: Option<ArrayView1<f32>>,
        beta: f32,
    ) {
        if let Some(decay) = decay {
            for (ix, mut row) in state.rows_mut().into_iter().enumerate() {
                let by = decay[if decay.len() == 1 { 0 } else { ix }].exp();
                row.mapv_inplace(|x| x * by);
            }
        }
        let mut v = v.to_owned();
        if self.delta {
            v = (v - state.t().dot(&k)) * beta;
        }
        for (mut row, k) in state.rows_mut().into_iter().zip(k) {
            row.scaled_add(*k, &v);
        }
    }
}

impl Kernel for LinearAttention {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let (q, k, v) = (inputs.dims(0)?, inputs.dims(1)?, inputs.dims(2)?);
        ensure!(
            q.len() == 3 && k.len() == 3 && v.len() == 3 && q[..2] == k[..2] && q[..2] == v[..2],
            "LinearAttention takes query, key and value of 3 dims, the first two alike"
        );
        let (size, value) = self.sizes(q[2], v[2])?;
        ensure!(k[2] == size * self.kv_heads, "LinearAttention: key and query differ in size");
        ensure!(
            inputs.get(4).is_some() == self.gated && inputs.get(5).is_some() == self.delta,
            "LinearAttention: decay and beta go with the update_rule that uses them"
        );
        let state = [q[0], self.kv_heads, size, value];
        let dt = inputs.dt(0)?;
        let state_dt = inputs.get(3).map_or(dt, |f| f.datum_type);
        Ok(vec![dt.fact([q[0], q[1], self.q_heads * value]), state_dt.fact(state)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let dt = inputs.need(0)?.datum_type();
        let three = |ix| -> TractResult<Array3<f32>> {
            Ok(f32s(inputs.need(ix)?)?.into_dimensionality::<Ix3>()?)
        };
        let (q, k, v) = (three(0)?, three(1)?, three(2)?);
        let (batch, steps, _) = q.dim();
        let (size, value) = self.sizes(q.dim().2, v.dim().2)?;
        let dims = (batch, self.kv_heads, size, value);
        let mut states = match inputs.get(3) {
            Some(past) => f32s(past)?.into_dimensionality::<Ix4>()?,
            None => Array4::zeros(dims),
        };
        ensure!(states.dim() == dims, "past_state has dims {:?}, not {dims:?}", states.dim());
        let decay = if self.gated { Some(three(4)?) } else { None };
        let beta = if self.delta { Some(three(5)?) } else { None };
        let per_head = decay.as_ref().map_or(1, |d| d.dim().2 / self.kv_heads);
        for (name, extra) in [("decay", &decay), ("beta", &beta)] {
            let Some(extra) = extra else { continue };
            let width = extra.dim().2;
            let fits = match name {
                "decay" => width == self.kv_heads || width == self.kv_heads * size,
                _ => width == self.kv_heads || width == 1,
            };
            let fits = fits && extra.dim().0 == batch && extra.dim().1 == steps;
            ensure!(fits, "{name} has dims {:?}", extra.dim());
        }
        let scale = if self.scale == 0.0 { 1.0 / (size as f32).sqrt() } else { self.scale };
        let group = self.q_heads / self.kv_heads;
        let mut out = Array3::<f32>::zeros((batch, steps, self.q_heads * value));
        for b in 0..batch {
            for h in 0..self.kv_heads {
                let mut state = states.slice(s![b, h, .., ..]).to_owned();
                for t in 0..steps {
                    let k = k.slice(s![b, t, h * size..(h + 1) * size]);
                    let v = v.slice(s![b, t, h * value..(h + 1) * value]);
                    let from = h * per_head;
                    let decay = decay.as_ref().map(|d| d.slice(s![b, t, from..from + per_head]));
                    let beta = beta.as_ref().map_or(1.0, |x| x[(b, t, h.min(x.dim().2 - 1))]);
                    self.step(&mut state, k, v, decay, beta);
                    for g in h * group..(h + 1) * group {
                        let q = q.slice(s![b, t, g * size..(g + 1) * size]);
                        let read = state.t().dot(&q) * scale;
                        out.slice_mut(s![b, t, g * value..(g + 1) * value]).assign(&read);
                    }
                }
                states.slice_mut(s![b, h, .., ..]).assign(&state);
            }
        }
        let state_dt = inputs.get(3).map_or(dt, |t| t.datum_type());
        Ok(vec![tensor_of(out.into_dyn(), dt)?, tensor_of(states.into_dyn(), state_dt)?])
    }
}

#[derive(Debug)]
struct CausalConv {
    silu: bool,
}

/// `CausalConvWithState`: a depthwise convolution over what was and what is.
pub(super) fn causal_conv(_: &ParsingContext, node: &NodeProto) -> Built {
    let silu = match &*attrs::string(node, "activation", "none")? {
        "none" => false,
        "silu" | "swish" => true,
        other => bail!("CausalConvWithState: unknown activation '{other}'"),
    };
    native(node, CausalConv { silu })
}

impl Kernel for CausalConv {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let (x, w) = (inputs.shape(0)?, inputs.dims(1)?);
        ensure!(
            x.len() == 3 && w.len() == 3 && w[1] == 1 && w[2] > 0 && x[1] == w[0].to_dim(),
            "CausalConvWithState takes [batch, channels, length] and [channels, 1, k]"
        );
        let dt = inputs.dt(0)?;
        let state = [x[0].clone(), x[1].clone(), (w[2] - 1).to_dim()];
        Ok(vec![dt.fact(&*x), dt.fact(state)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let dt = inputs.need(0)?.datum_type();
        let x = f32s(inputs.need(0)?)?;
        let w = f32s(inputs.need(1)?)?;
        let bias = inputs.get(2).map(f32s).transpose()?;
        let (batch, channels, len) = (x.shape()[0], x.shape()[1], x.shape()[2]);
        let bias_fits = bias.as_ref().is_none_or(|b| b.shape() == [channels]);
        ensure!(bias_fits, "CausalConvWithState: one bias for each channel");
        let taps = w.shape()[2];
        let past = match inputs.get(3) {
            Some(past) => f32s(past)?,
            None => ArrayD::zeros(vec![batch, channels, taps - 1]),
        };
        ensure!(
            past.shape() == [batch, channels, taps - 1],
            "past_state has dims {:?}, not {:?}",
            past.shape(),
            [batch, channels, taps - 1]
        );
        let all = concatenate(Axis(2), &[past.view(), x.view()])?;
        let y = Array3::from_shape_fn((batch, channels, len), |(b, c, t)| {
            let sum: f32 = (0..taps).map(|k| all[[b, c, t + k]] * w[[c, 0, k]]).sum();
            let y = sum + bias.as_ref().map_or(0.0, |bias| bias[[c]]);
            if self.silu { y / (1.0 + (-y).exp()) } else { y }
        });
        let state = all.slice_axis(Axis(2), (len..).into()).to_owned();
        Ok(vec![tensor_of(y.into_dyn(), dt)?, tensor_of(state, dt)?])
    }
}

#[derive(Debug)]
struct TensorScatter {
    axis: i64,
    circular: bool,
}

/// `TensorScatter`: writes an update into a cache, at a place of its own for each of a batch.
pub(super) fn tensor_scatter(_: &ParsingContext, node: &NodeProto) -> Built {
    let circular = match &*attrs::string(node, "mode", "linear")? {
        "linear" => false,
        "circular" => true,
        other => bail!("TensorScatter: unknown mode '{other}'"),
    };
    native(node, TensorScatter { axis: attrs::int(node, "axis", -2)?, circular })
}

fn scattered<T: Datum>(
    cache: &Tensor,
    update: &Tensor,
    ax: usize,
    starts: &[usize],
) -> TractResult<Tensor> {
    let mut cache = cache.to_plain_array_view::<T>()?.to_owned();
    let update = update.to_plain_array_view::<T>()?;
    for (b, start) in starts.iter().enumerate() {
        let mut cache = cache.index_axis_mut(Axis(0), b);
        let update = update.index_axis(Axis(0), b);
        let len = cache.shape()[ax - 1];
        for at in 0..update.shape()[ax - 1] {
            let mut to = cache.index_axis_mut(Axis(ax - 1), (start + at) % len);
            to.assign(&update.index_axis(Axis(ax - 1), at));
        }
    }
    Ok(cache.into())
}

impl Kernel for TensorScatter {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let (cache, update) = (inputs.shape(0)?, inputs.shape(1)?);
        let ax = axis(self.axis, cache.len())?;
        ensure!(ax > 0, "TensorScatter: the batch cannot be the axis");
        ensure!(
            cache.len() == update.len()
                && cache.iter().zip(&update).enumerate().all(|(ix, (a, b))| ix == ax || a == b),
            "TensorScatter: cache and update may differ along the axis only"
        );
        Ok(vec![inputs.dt(0)?.fact(&*cache)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let (cache, update) = (inputs.need(0)?, inputs.need(1)?);
        let ax = axis(self.axis, cache.rank())?;
        let (len, new) = (cache.shape()[ax], update.shape()[ax]);
        let batch = cache.shape()[0];
        let starts = inputs.get(2).map(ints).transpose()?.unwrap_or_else(|| vec![0; batch]);
        ensure!(starts.len() == batch, "{} write_indices for a batch of {batch}", starts.len());
        let last = if self.circular { i64::MAX } else { len as i64 - new as i64 };
        ensure!(
            new <= len && starts.iter().all(|s| (0..=last).contains(s)),
            "write_indices {starts:?} put {new} steps outside a cache of {len}"
        );
        let starts: Vec<usize> = starts.iter().map(|s| *s as usize % len.max(1)).collect();
        Ok(vec![dispatch_datum!(scattered(cache.datum_type())(cache, update, ax, &starts))?])
    }
}
