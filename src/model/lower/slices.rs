//! `Slice` (opsets 10, 11, 13): tract's when its bounds are constants, else a
//! copy whose dims the run tells. `Pad` (25) in mode `wrap`.

use super::attrs;
use super::native::{Built, Facts, Kernel, Tensors, axis, ints, native, tract_builder, typed};
use super::values::select;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::StridedSlice;

/// Builds `Slice`.
pub(super) fn slice(ctx: &ParsingContext, node: &NodeProto) -> Built {
    if ctx.onnx_operator_set_version < 10 {
        return tract_builder("Slice")?(ctx, node);
    }
    let (op, _) = tract_builder("Slice")?(ctx, node)?;
    let plain = op.as_op().downcast_ref::<StridedSlice>();
    let plain = plain.context("tract's Slice is another one")?.clone();
    Ok((expand(Slice { plain, node: Arc::new(node.clone()) }), vec![]))
}

#[derive(Debug, Clone)]
struct Slice {
    plain: StridedSlice,
    node: Arc<NodeProto>,
}

impl Expansion for Slice {
    fn name(&self) -> StaticName {
        "Slice".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        InferenceRulesOp::rules(&self.plain, s, inputs, outputs)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let konst = |slot: usize| model.outlet_fact(inputs[slot]).map(|f| f.konst.clone());
        let bounds_known = konst(1)?.is_some() && konst(2)?.is_some();
        if bounds_known {
            return model.wire_node(prefix, self.plain.clone(), inputs);
        }
        let list = |slot: Option<usize>, name: &str| -> TractResult<Option<Vec<i64>>> {
            let Some(slot) = slot else { return Ok(None) };
            let value = konst(slot)?;
            let value = value.with_context(|| {
                format!("input '{name}' of Slice node '{prefix}' must be a constant: fix it when the session is made")
            })?;
            Ok(Some(ints(&value)?))
        };
        let axes = list(self.plain.optional_axes_input, "axes")?;
        let steps = list(self.plain.optional_steps_input, "steps")?;
        let count = model.outlet_fact(inputs[1])?.shape.volume().to_usize()?;
        let rank = model.outlet_fact(inputs[0])?.rank();
        let axes = axes.unwrap_or_else(|| (0..count as i64).collect());
        let axes = axes.iter().map(|a| axis(*a, rank)).collect::<TractResult<Vec<_>>>()?;
        let steps = steps.unwrap_or_else(|| vec![1; count]);
        ensure!(
            axes.len() == count && steps.len() == count && !steps.contains(&0),
            "Slice: {count} bounds for axes {axes:?} and steps {steps:?}"
        );
        let lens = (0..count).map(|_| model.symbols.new_with_prefix("slice")).collect();
        let op = typed(&self.node, DynamicSlice { axes, steps, lens });
        model.wire_node(prefix, op, inputs)
    }
}

/// A slice by bounds of the run.
#[derive(Debug)]
struct DynamicSlice {
    axes: Vec<usize>,
    steps: Vec<i64>,
    lens: Vec<Symbol>,
}

/// The indices that a slice of one axis picks.
fn picks(len: usize, start: i64, end: i64, step: i64) -> Vec<usize> {
    let len = len as i64;
    let from_start = |at: i64| if at < 0 { at.saturating_add(len) } else { at };
    let (start, end) = (from_start(start), from_start(end));
    let mut picks = vec![];
    if step > 0 {
        let (mut at, end) = (start.clamp(0, len), end.clamp(0, len));
        while at < end {
            picks.push(at as usize);
            at = at.saturating_add(step);
        }
    } else {
        let (mut at, end) = (start.clamp(-1, len - 1), end.clamp(-1, len - 1));
        while at > end {
            picks.push(at as usize);
            at = at.saturating_add(step);
        }
    }
    picks
}

fn picked<T: Datum + Default>(x: &Tensor, all: &[(usize, Vec<usize>)]) -> TractResult<Tensor> {
    let mut x = x.to_plain_array_view::<T>()?.to_owned();
    for (ax, picks) in all {
        x = select(x.view(), *ax, picks)?;
    }
    Ok(x.into())
}

impl Kernel for DynamicSlice {
    fn mints(&self) -> Option<&Symbol> {
        self.lens.first()
    }

    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let mut dims = inputs.shape(0)?;
        for (ax, len) in self.axes.iter().zip(&self.lens) {
            dims[*ax] = len.clone().into();
        }
        Ok(vec![inputs.dt(0)?.fact(&*dims)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = inputs.need(0)?;
        let (starts, ends) = (ints(inputs.need(1)?)?, ints(inputs.need(2)?)?);
        ensure!(
            starts.len() == self.axes.len() && ends.len() == self.axes.len(),
            "{} starts and {} ends for {} axes",
            starts.len(),
            ends.len(),
            self.axes.len()
        );
        let all: Vec<(usize, Vec<usize>)> = (0..self.axes.len())
            .map(|ix| {
                let ax = self.axes[ix];
                (ax, picks(x.shape()[ax], starts[ix], ends[ix], self.steps[ix]))
            })
            .collect();
        Ok(vec![dispatch_datum!(picked(x.datum_type())(x, &all))?])
    }
}

#[derive(Debug)]
struct WrapPad;

/// `Pad`: the mode that tract lacks is `wrap`.
pub(super) fn pad(ctx: &ParsingContext, node: &NodeProto) -> Built {
    match &*attrs::string(node, "mode", "constant")? {
        "wrap" => native(node, WrapPad),
        _ => tract_builder("Pad")?(ctx, node),
    }
}

impl WrapPad {
    /// Pads before and after each axis.
    fn pads(pads: &[i64], axes: Option<&[i64]>, rank: usize) -> TractResult<Vec<(i64, i64)>> {
        let axes = match axes {
            Some(axes) => axes.iter().map(|a| axis(*a, rank)).collect::<TractResult<Vec<_>>>()?,
            None => (0..rank).collect(),
        };
        let count = axes.len();
        let fits = pads.len() == 2 * count && pads.iter().all(|p| p.abs() < 1 << 31);
        ensure!(fits, "Pad: pads {pads:?} for {count} axes");
        let mut all = vec![(0, 0); rank];
        for (ix, ax) in axes.into_iter().enumerate() {
            all[ax] = (pads[ix], pads[count + ix]);
        }
        Ok(all)
    }
}

impl Kernel for WrapPad {
    fn params(&self) -> &'static [(usize, &'static str)] {
        &[(1, "pads"), (3, "axes")]
    }

    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let mut dims = inputs.dims(0)?;
        let pads = inputs.konst(1, "pads")?.context("Pad needs its input 'pads'")?;
        let axes = inputs.konst(3, "axes")?;
        for (ax, (before, after)) in
            Self::pads(&pads, axes.as_deref(), dims.len())?.into_iter().enumerate()
        {
            let len = dims[ax] as i64 + before + after;
            ensure!(len >= 0 && (dims[ax] > 0 || len == 0), "Pad: no values to wrap");
            dims[ax] = len as usize;
        }
        Ok(vec![inputs.dt(0)?.fact(&*dims)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = inputs.need(0)?;
        let axes = inputs.get(3).map(ints).transpose()?;
        let pads = Self::pads(&ints(inputs.need(1)?)?, axes.as_deref(), x.rank())?;
        let all: Vec<(usize, Vec<usize>)> = pads
            .into_iter()
            .enumerate()
            .map(|(ax, (before, after))| {
                let len = x.shape()[ax] as i64;
                let places = -before..len + after;
                (ax, places.map(|at| at.rem_euclid(len.max(1)) as usize).collect())
            })
            .collect();
        Ok(vec![dispatch_datum!(picked(x.datum_type())(x, &all))?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_clamped_as_numpy_does() {
        assert_eq!(picks(5, 1, 100, 2), [1, 3]);
        assert_eq!(picks(5, -1, i64::MIN, -2), [4, 2, 0]);
        assert_eq!(picks(5, -100, 2, 1), [0, 1]);
        assert!(picks(0, 0, 10, 1).is_empty() && picks(5, 3, 3, 1).is_empty());
    }
}
