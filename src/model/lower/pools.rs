//! Sliding windows: `Col2Im` (18), `LpPool` (2 to 22), `MaxUnpool` (9 to 22).

use super::attrs;
use super::native::{Built, Facts, Kernel, Tensors, ints, native};
use super::values::{f64s, tensor_of};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ndarray::{ArrayD, Dimension, indices};

/// The largest value that an attribute of a window may have.
const LIMIT: i64 = 1 << 20;

/// Strides, dilations and pads, as many as there are spatial dims.
#[derive(Debug, Clone, Default)]
struct Spread {
    strides: Option<Vec<usize>>,
    dilations: Option<Vec<usize>>,
    pads: Option<Vec<usize>>,
}

fn list(node: &NodeProto, name: &str, least: i64) -> TractResult<Option<Vec<usize>>> {
    let Some(list) = attrs::ints(node, name)? else {
        return Ok(None);
    };
    ensure!(
        list.iter().all(|v| (least..LIMIT).contains(v)),
        "{}: {name} {list:?} is out of range",
        node.op_type
    );
    Ok(Some(list.into_iter().map(|v| v as usize).collect()))
}

impl Spread {
    fn of(node: &NodeProto) -> TractResult<Spread> {
        Ok(Spread {
            strides: list(node, "strides", 1)?,
            dilations: list(node, "dilations", 1)?,
            pads: list(node, "pads", 0)?,
        })
    }

    /// Strides, dilations, left pads and right pads for `n` dims.
    fn resolve(&self, n: usize) -> TractResult<[Vec<usize>; 4]> {
        let or = |list: &Option<Vec<usize>>, v, n| list.clone().unwrap_or_else(|| vec![v; n]);
        let pads = or(&self.pads, 0, 2 * n);
        ensure!(pads.len() == 2 * n, "{} pads for {n} dims", pads.len());
        let (strides, dilations) = (or(&self.strides, 1, n), or(&self.dilations, 1, n));
        ensure!(strides.len() == n && dilations.len() == n, "strides or dilations lack a dim");
        Ok([strides, dilations, pads[..n].to_vec(), pads[n..].to_vec()])
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Auto {
    Explicit,
    Valid,
    SameUpper,
    SameLower,
}

#[derive(Debug)]
struct LpPool {
    p: i32,
    kernel: Vec<usize>,
    spread: Spread,
    auto: Auto,
    ceil: bool,
}

/// `LpPool`: the p-norm of each window.
pub(super) fn lp_pool(_: &ParsingContext, node: &NodeProto) -> Built {
    let p = attrs::int(node, "p", 2)?;
    ensure!((1..=64).contains(&p), "LpPool: p {p} is not supported");
    let auto = match &*attrs::string(node, "auto_pad", "NOTSET")? {
        "NOTSET" => Auto::Explicit,
        "VALID" => Auto::Valid,
        "SAME_UPPER" => Auto::SameUpper,
        "SAME_LOWER" => Auto::SameLower,
        other => bail!("LpPool: unknown auto_pad '{other}'"),
    };
    let kernel = list(node, "kernel_shape", 1)?.context("LpPool needs kernel_shape")?;
    let ceil = attrs::flag(node, "ceil_mode", false)?;
    native(node, LpPool { p: p as i32, kernel, spread: Spread::of(node)?, auto, ceil })
}

impl LpPool {
    /// For each spatial dim: output length, stride, dilation, left pad.
    fn plan(&self, dims: &[usize]) -> TractResult<Vec<(usize, usize, usize, usize)>> {
        let n = self.kernel.len();
        ensure!(dims.len() == n + 2, "LpPool: {} dims for a kernel of {n}", dims.len());
        let [strides, dilations, left, right] = self.spread.resolve(n)?;
        (0..n)
            .map(|ax| {
                let (len, stride) = (dims[ax + 2], strides[ax]);
                let reach = (self.kernel[ax] - 1) * dilations[ax] + 1;
                if let Auto::SameUpper | Auto::SameLower = self.auto {
                    let out = len.div_ceil(stride);
                    let pad = ((out.max(1) - 1) * stride + reach).saturating_sub(len);
                    let left = if self.auto == Auto::SameUpper { pad / 2 } else { pad.div_ceil(2) };
                    return Ok((out, stride, dilations[ax], left));
                }
                let explicit = self.auto == Auto::Explicit;
                let (left, right) = if explicit { (left[ax], right[ax]) } else { (0, 0) };
                let padded = len + left + right;
                ensure!(padded >= reach, "LpPool: a window of {reach} in {padded} steps");
                let exact = (padded - reach).is_multiple_of(stride);
                ensure!(exact || !self.ceil, "LpPool: ceil_mode is not supported here");
                Ok(((padded - reach) / stride + 1, stride, dilations[ax], left))
            })
            .collect()
    }
}

impl Kernel for LpPool {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let mut dims = inputs.dims(0)?;
        for (ax, (out, ..)) in self.plan(&dims)?.into_iter().enumerate() {
            dims[ax + 2] = out;
        }
        Ok(vec![inputs.dt(0)?.fact(&*dims)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = f64s(inputs.need(0)?)?;
        let plan = self.plan(x.shape())?;
        let mut dims = x.shape().to_vec();
        plan.iter().enumerate().for_each(|(ax, p)| dims[ax + 2] = p.0);
        let mut at = vec![0; dims.len()];
        let out = ArrayD::from_shape_fn(dims, |o| {
            at[..2].copy_from_slice(&o.slice()[..2]);
            let mut sum = 0.0;
            'taps: for tap in indices(&*self.kernel) {
                for (ax, &(_, stride, dilation, left)) in plan.iter().enumerate() {
                    let place = (o[ax + 2] * stride + tap[ax] * dilation).wrapping_sub(left);
                    if place >= x.shape()[ax + 2] {
                        continue 'taps;
                    }
                    at[ax + 2] = place;
                }
                sum += x[&*at].abs().powi(self.p);
            }
            sum.powf(1.0 / self.p as f64)
        });
        Ok(vec![tensor_of(out, inputs.need(0)?.datum_type())?])
    }
}

#[derive(Debug)]
struct Col2Im {
    spread: Spread,
}

/// `Col2Im`: sums the columns of sliding blocks back into a picture.
pub(super) fn col2im(_: &ParsingContext, node: &NodeProto) -> Built {
    native(node, Col2Im { spread: Spread::of(node)? })
}

/// Two lists of sizes that go together, from the constants of the node.
fn sizes(image: &[i64], block: &[i64]) -> TractResult<(Vec<usize>, Vec<usize>)> {
    ensure!(
        image.len() == block.len() && image.iter().chain(block).all(|v| (1..LIMIT).contains(v)),
        "Col2Im: image_shape {image:?} and block_shape {block:?} do not go together"
    );
    let to = |list: &[i64]| list.iter().map(|v| *v as usize).collect::<Vec<_>>();
    Ok((to(image), to(block)))
}

impl Col2Im {
    /// How many blocks there are along each dim.
    fn blocks(&self, image: &[usize], block: &[usize]) -> TractResult<Vec<usize>> {
        let [strides, dilations, left, right] = self.spread.resolve(image.len())?;
        (0..image.len())
            .map(|ax| {
                let reach = (block[ax] - 1) * dilations[ax] + 1;
                let padded = image[ax] + left[ax] + right[ax];
                ensure!(padded >= reach, "Col2Im: a block of {reach} in {padded} pixels");
                Ok((padded - reach) / strides[ax] + 1)
            })
            .collect()
    }
}

impl Kernel for Col2Im {
    fn params(&self) -> &'static [(usize, &'static str)] {
        &[(1, "image_shape"), (2, "block_shape")]
    }

    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let image = inputs.konst(1, "image_shape")?.context("Col2Im needs image_shape")?;
        let block = inputs.konst(2, "block_shape")?.context("Col2Im needs block_shape")?;
        let (image, block) = sizes(&image, &block)?;
        let x = inputs.dims(0)?;
        let volume: usize = block.iter().product();
        let count: usize = self.blocks(&image, &block)?.iter().product();
        ensure!(
            x.len() == 3 && x[1] % volume == 0 && x[2] == count,
            "Col2Im: input dims {x:?} do not fit {volume} values in each of {count} blocks"
        );
        let mut dims = vec![x[0], x[1] / volume];
        dims.extend(image);
        Ok(vec![inputs.dt(0)?.fact(&*dims)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = f64s(inputs.need(0)?)?;
        let (image, block) = sizes(&ints(inputs.need(1)?)?, &ints(inputs.need(2)?)?)?;
        let blocks = self.blocks(&image, &block)?;
        let [strides, dilations, left, _] = self.spread.resolve(image.len())?;
        let volume: usize = block.iter().product();
        let mut dims = vec![x.shape()[0], x.shape()[1] / volume];
        dims.extend(&image);
        let mut out = ArrayD::<f64>::zeros(dims.clone());
        let mut at = vec![0; dims.len()];
        for n in 0..dims[0] {
            for c in 0..dims[1] {
                (at[0], at[1]) = (n, c);
                for (k, tap) in indices(&*block).into_iter().enumerate() {
                    'blocks: for (l, place) in indices(&*blocks).into_iter().enumerate() {
                        for ax in 0..image.len() {
                            let on = place[ax] * strides[ax] + tap[ax] * dilations[ax];
                            let on = on.wrapping_sub(left[ax]);
                            if on >= image[ax] {
                                continue 'blocks;
                            }
                            at[ax + 2] = on;
                        }
                        out[&*at] += x[[n, c * volume + k, l]];
                    }
                }
            }
        }
        Ok(vec![tensor_of(out, inputs.need(0)?.datum_type())?])
    }
}

#[derive(Debug)]
struct MaxUnpool {
    kernel: Vec<usize>,
    spread: Spread,
}

/// `MaxUnpool`: puts maxima back where they came from.
pub(super) fn max_unpool(_: &ParsingContext, node: &NodeProto) -> Built {
    let kernel = list(node, "kernel_shape", 1)?.context("MaxUnpool needs kernel_shape")?;
    native(node, MaxUnpool { kernel, spread: Spread::of(node)? })
}

impl MaxUnpool {
    /// The dims that the pooling had, by the attributes.
    fn inferred(&self, dims: &[usize]) -> TractResult<Vec<usize>> {
        let n = self.kernel.len();
        ensure!(dims.len() == n + 2, "MaxUnpool: {} dims for a kernel of {n}", dims.len());
        let [strides, _, left, right] = self.spread.resolve(n)?;
        let mut out = dims.to_vec();
        for ax in 0..n {
            let full = (dims[ax + 2].max(1) - 1) * strides[ax] + self.kernel[ax];
            let pads = left[ax] + right[ax];
            out[ax + 2] = full.checked_sub(pads).context("MaxUnpool: pads exceed the output")?;
        }
        Ok(out)
    }

    fn dims(&self, dims: &[usize], given: Option<Vec<i64>>) -> TractResult<Vec<usize>> {
        let inferred = self.inferred(dims)?;
        let Some(given) = given else {
            return Ok(inferred);
        };
        let fits = given.len() == dims.len()
            && given.iter().zip(&inferred).all(|(g, i)| (*i as i64..LIMIT).contains(g));
        ensure!(fits, "MaxUnpool: output_shape {given:?} is smaller than {inferred:?}");
        Ok(given.into_iter().map(|d| d as usize).collect())
    }
}

fn unpool<T: Datum + Default>(
    x: &Tensor,
    places: &[i64],
    from: &[usize],
    to: &[usize],
) -> TractResult<Tensor> {
    let x = x.to_plain_array_view::<T>()?;
    let volume: usize = from.iter().product();
    ensure!(x.len() == places.len(), "MaxUnpool: one index for each value");
    let mut flat = vec![T::default(); volume];
    for (value, &place) in x.iter().zip(places) {
        let place = usize::try_from(place).ok().filter(|p| *p < volume);
        flat[place.context("MaxUnpool: an index is out of range")?] = value.clone();
    }
    let small = ArrayD::from_shape_vec(from, flat)?;
    let mut out = ArrayD::from_shape_fn(to, |_| T::default());
    for (at, value) in small.indexed_iter() {
        out[&at] = value.clone();
    }
    Ok(out.into())
}

impl Kernel for MaxUnpool {
    fn params(&self) -> &'static [(usize, &'static str)] {
        &[(2, "output_shape")]
    }

    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let dims = self.dims(&inputs.dims(0)?, inputs.konst(2, "output_shape")?)?;
        Ok(vec![inputs.dt(0)?.fact(&*dims)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = inputs.need(0)?;
        let places = ints(inputs.need(1)?)?;
        let to = self.dims(x.shape(), inputs.get(2).map(ints).transpose()?)?;
        let from = self.inferred(x.shape())?;
        Ok(vec![dispatch_datum!(unpool(x.datum_type())(x, &places, &from, &to))?])
    }
}
