//! Data movement: `CenterCropPad` (18), `Compress` (9, 11), `CumProd` (26),
//! `ReverseSequence` (10).

use super::attrs;
use super::native::{Built, Facts, Kernel, Tensors, axis, ints, native};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ndarray::{ArrayD, Axis, Slice};

#[derive(Debug)]
struct CenterCropPad {
    axes: Option<Vec<i64>>,
}

/// `CenterCropPad`: crops or zero-pads around the middle.
pub(super) fn center_crop_pad(_: &ParsingContext, node: &NodeProto) -> Built {
    native(node, CenterCropPad { axes: attrs::ints(node, "axes")? })
}

impl CenterCropPad {
    /// The wanted dims, one an axis of the input.
    fn target(&self, dims: &[TDim], sizes: &[i64]) -> TractResult<TVec<TDim>> {
        let rank = dims.len();
        let axes = match &self.axes {
            Some(axes) => axes.iter().map(|a| axis(*a, rank)).collect::<TractResult<Vec<_>>>()?,
            None => (0..rank).collect(),
        };
        ensure!(axes.len() == sizes.len(), "{} sizes for {} axes", sizes.len(), axes.len());
        ensure!(sizes.iter().all(|s| *s >= 0), "sizes must not be negative: {sizes:?}");
        let mut target: TVec<TDim> = dims.into();
        for (axis, size) in axes.iter().zip(sizes) {
            target[*axis] = size.to_dim();
        }
        Ok(target)
    }
}

/// Copies the middle of `x` into the middle of an array of dims `to`.
fn crop_pad<T: Datum + Default>(x: &Tensor, to: &[usize]) -> TractResult<Tensor> {
    let mut x = x.to_plain_array_view::<T>()?;
    let mut out = ArrayD::from_shape_fn(to, |_| T::default());
    let mut hole = out.view_mut();
    for (ax, &to) in to.iter().enumerate() {
        let from = x.shape()[ax];
        let (big, small) = (from.max(to), from.min(to));
        let start = (big - small) / 2;
        let middle = Slice::from(start..start + small);
        if from > to {
            x.slice_axis_inplace(Axis(ax), middle);
        } else {
            hole.slice_axis_inplace(Axis(ax), middle);
        }
    }
    hole.assign(&x);
    Ok(out.into())
}

impl Kernel for CenterCropPad {
    fn params(&self) -> &'static [(usize, &'static str)] {
        &[(1, "shape")]
    }

    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let sizes = inputs.konst(1, "shape")?.context("CenterCropPad needs its input 'shape'")?;
        Ok(vec![inputs.dt(0)?.fact(&*self.target(&inputs.shape(0)?, &sizes)?)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = inputs.need(0)?;
        let dims: TVec<TDim> = x.shape().iter().map(|d| d.to_dim()).collect();
        let to = self.target(&dims, &ints(inputs.need(1)?)?)?;
        let to = super::values::known(&to)?;
        Ok(vec![dispatch_datum!(crop_pad(x.datum_type())(x, &to))?])
    }
}

#[derive(Debug)]
struct Compress {
    axis: Option<i64>,
    count: Symbol,
}

/// `Compress`: keeps the slices whose condition holds.
pub(super) fn compress(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let count = ctx.template.symbols.new_with_prefix("kept");
    native(node, Compress { axis: node.get_attr_opt("axis")?, count })
}

fn keep<T: Datum>(x: &Tensor, ax: Option<usize>, kept: &[usize]) -> TractResult<Tensor> {
    let x = x.to_plain_array_view::<T>()?;
    let Some(ax) = ax else {
        let flat: Vec<T> = x.iter().cloned().collect();
        let kept: Vec<T> = kept.iter().map(|ix| flat[*ix].clone()).collect();
        return Ok(ArrayD::from_shape_vec(vec![kept.len()], kept)?.into());
    };
    Ok(super::values::select(x, ax, kept)?.into())
}

impl Kernel for Compress {
    fn mints(&self) -> Option<&Symbol> {
        Some(&self.count)
    }

    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        ensure!(inputs.dt(1)? == bool::datum_type(), "Compress takes a boolean condition");
        let mut dims = inputs.shape(0)?;
        match self.axis {
            Some(ax) => {
                let ax = axis(ax, dims.len())?;
                dims[ax] = self.count.clone().into();
            }
            None => dims = tvec!(self.count.clone().into()),
        }
        Ok(vec![inputs.dt(0)?.fact(&*dims)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = inputs.need(0)?;
        let ax = self.axis.map(|ax| axis(ax, x.rank())).transpose()?;
        let kept: Vec<usize> = inputs
            .need(1)?
            .to_plain_array_view::<bool>()?
            .iter()
            .enumerate()
            .filter_map(|(ix, on)| on.then_some(ix))
            .collect();
        let len = ax.map_or(x.len(), |ax| x.shape()[ax]);
        ensure!(kept.last().is_none_or(|ix| *ix < len), "the condition is longer than the input");
        Ok(vec![dispatch_datum!(keep(x.datum_type())(x, ax, &kept))?])
    }
}

#[derive(Debug)]
struct CumProd {
    exclusive: bool,
    reverse: bool,
}

/// `CumProd`: running product along an axis.
pub(super) fn cum_prod(_: &ParsingContext, node: &NodeProto) -> Built {
    let exclusive = attrs::flag(node, "exclusive", false)?;
    native(node, CumProd { exclusive, reverse: attrs::flag(node, "reverse", false)? })
}

/// Multiplication as ONNX has it: floats as they are, integers wrapping.
trait WrapMul {
    const ONE: Self;
    fn times(self, other: Self) -> Self;
}

macro_rules! wrap_mul {
    ($($int:ty),*; $($float:ty),*) => {
        $(impl WrapMul for $int {
            const ONE: Self = 1;
            fn times(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
        })*
        $(impl WrapMul for $float {
            const ONE: Self = 1.0;
            fn times(self, other: Self) -> Self {
                self * other
            }
        })*
    };
}
wrap_mul!(i32, i64, u32, u64; f32, f64);

impl WrapMul for f16 {
    const ONE: Self = f16::ONE;
    fn times(self, other: Self) -> Self {
        self * other
    }
}

/// Replaces a lane by its running products.
fn running<'a, T: Copy + WrapMul + 'a>(lane: impl Iterator<Item = &'a mut T>, exclusive: bool) {
    let mut product = T::ONE;
    for x in lane {
        let before = product;
        product = product.times(*x);
        *x = if exclusive { before } else { product };
    }
}

fn products<T>(x: &Tensor, ax: usize, op: &CumProd) -> TractResult<Tensor>
where
    T: Datum + Copy + WrapMul,
{
    let mut x = x.to_plain_array_view::<T>()?.to_owned();
    for mut lane in x.lanes_mut(Axis(ax)) {
        if op.reverse {
            running(lane.iter_mut().rev(), op.exclusive);
        } else {
            running(lane.iter_mut(), op.exclusive);
        }
    }
    Ok(x.into())
}

impl Kernel for CumProd {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        Ok(vec![inputs.dt(0)?.fact(&*inputs.shape(0)?)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = inputs.need(0)?;
        let ax = ints(inputs.need(1)?)?;
        ensure!(ax.len() == 1, "CumProd takes one axis, not {}", ax.len());
        let ax = axis(ax[0], x.rank())?;
        let out = match x.datum_type() {
            DatumType::F16 => products::<f16>(x, ax, self),
            DatumType::F32 => products::<f32>(x, ax, self),
            DatumType::F64 => products::<f64>(x, ax, self),
            DatumType::I32 => products::<i32>(x, ax, self),
            DatumType::I64 => products::<i64>(x, ax, self),
            DatumType::U32 => products::<u32>(x, ax, self),
            DatumType::U64 => products::<u64>(x, ax, self),
            other => bail!("CumProd of {other:?} is not supported"),
        };
        Ok(vec![out?])
    }
}

#[derive(Debug)]
struct ReverseSequence {
    batch: usize,
    time: usize,
}

/// `ReverseSequence`: reverses the beginning of each sequence of a batch.
pub(super) fn reverse_sequence(_: &ParsingContext, node: &NodeProto) -> Built {
    let (batch, time) = (attrs::int(node, "batch_axis", 1)?, attrs::int(node, "time_axis", 0)?);
    ensure!(
        (batch, time) == (1, 0) || (batch, time) == (0, 1),
        "ReverseSequence: batch_axis and time_axis must be 0 and 1, not {batch} and {time}"
    );
    native(node, ReverseSequence { batch: batch as usize, time: time as usize })
}

fn reversed<T: Datum>(x: &Tensor, op: &ReverseSequence, lens: &[i64]) -> TractResult<Tensor> {
    let x = x.to_plain_array_view::<T>()?;
    let mut out = x.to_owned();
    for (ix, &len) in lens.iter().enumerate() {
        let time = op.time - (op.batch < op.time) as usize;
        let from = x.index_axis(Axis(op.batch), ix);
        let mut to = out.index_axis_mut(Axis(op.batch), ix);
        for at in 0..len as usize {
            to.index_axis_mut(Axis(time), at)
                .assign(&from.index_axis(Axis(time), len as usize - 1 - at));
        }
    }
    Ok(out.into())
}

impl Kernel for ReverseSequence {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let dims = inputs.shape(0)?;
        ensure!(dims.len() >= 2, "ReverseSequence takes 2 dims or more");
        Ok(vec![inputs.dt(0)?.fact(&*dims)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = inputs.need(0)?;
        let lens = ints(inputs.need(1)?)?;
        let (batch, time) = (x.shape()[self.batch], x.shape()[self.time]);
        ensure!(lens.len() == batch, "{} sequence_lens for a batch of {batch}", lens.len());
        ensure!(
            lens.iter().all(|l| (0..=time as i64).contains(l)),
            "sequence_lens {lens:?} must be in 0..={time}"
        );
        Ok(vec![dispatch_datum!(reversed(x.datum_type())(x, self, &lens))?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_run_in_the_asked_direction() {
        let x = tensor1(&[1f32, 2., 3., 4.]);
        let run =
            |exclusive, reverse| products::<f32>(&x, 0, &CumProd { exclusive, reverse }).unwrap();
        assert_eq!(run(false, false), tensor1(&[1f32, 2., 6., 24.]));
        assert_eq!(run(true, true), tensor1(&[24f32, 12., 4., 1.]));
    }

    #[test]
    fn an_odd_difference_leaves_the_extra_at_the_end() {
        let x = tensor1(&[1i64, 2, 3, 4]);
        assert_eq!(crop_pad::<i64>(&x, &[3]).unwrap(), tensor1(&[1i64, 2, 3]));
        assert_eq!(crop_pad::<i64>(&x, &[7]).unwrap(), tensor1(&[0i64, 1, 2, 3, 4, 0, 0]));
    }
}
