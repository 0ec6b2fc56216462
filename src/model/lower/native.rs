//! A frame for operators that tract does not have: a plain function of whole tensors.
//!
//! A [`Kernel`] says what comes out (dtypes and shapes) and computes it; the
//! frame here makes of it an inference operator and a typed one, sorts out the
//! optional inputs and outputs, and refuses what must be constant and is not.

use std::fmt::Debug;
use std::sync::Arc;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// What an operator builder returns.
pub(super) type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// An operator computed by one function of whole tensors.
pub(super) trait Kernel: Debug + Send + Sync + 'static {
    /// Facts of all the outputs of this operator, in ONNX order; those that the
    /// node does not name are dropped by the frame.
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>>;

    /// Computes all the outputs, in the same order.
    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>>;

    /// ONNX positions of the inputs whose value the output shapes depend on.
    fn params(&self) -> &'static [(usize, &'static str)] {
        &[]
    }

    /// Where it is the largest or the least value along axes: which, and the axes.
    fn extreme(&self, _inputs: &Facts) -> Option<(bool, Vec<usize>)> {
        None
    }

    /// The symbol of an output dim that only a run can tell, if there is one.
    fn mints(&self) -> Option<&Symbol> {
        None
    }
}

/// The most elements that an output may have: what is larger is a broken model,
/// and to fail to allocate it would end the process.
const LARGEST: usize = u32::MAX as usize;

/// Inputs of a node by their ONNX position, absent ones known as absent.
pub(super) struct Inputs<'a, T> {
    op: &'a str,
    slots: &'a [Option<usize>],
    items: &'a [&'a T],
}

/// What is known of the inputs when the graph is built.
pub(super) type Facts<'a> = Inputs<'a, TypedFact>;
/// The inputs of one run.
pub(super) type Tensors<'a> = Inputs<'a, Tensor>;

impl<'a, T> Inputs<'a, T> {
    /// The input at ONNX position `ix`, if the node has it.
    pub fn get(&self, ix: usize) -> Option<&'a T> {
        let slot = (*self.slots.get(ix)?)?;
        self.items.get(slot).copied()
    }

    /// The input at ONNX position `ix`, which the operator must have.
    pub fn need(&self, ix: usize) -> TractResult<&'a T> {
        self.get(ix).with_context(|| format!("{} needs its input number {ix}", self.op))
    }
}

impl<'a> Facts<'a> {
    /// Dtype of a needed input.
    pub fn dt(&self, ix: usize) -> TractResult<DatumType> {
        Ok(self.need(ix)?.datum_type)
    }

    /// Dims of a needed input, symbolic or not.
    pub fn shape(&self, ix: usize) -> TractResult<TVec<TDim>> {
        Ok(self.need(ix)?.shape.to_tvec())
    }

    /// Dims of a needed input, which must all be known.
    pub fn dims(&self, ix: usize) -> TractResult<TVec<usize>> {
        self.need(ix)?
            .shape
            .as_concrete()
            .map(|s| s.into())
            .with_context(|| format!("{} needs all dims of its input number {ix}", self.op))
    }

    /// Values of an integer input that must be a constant; `None` when absent.
    pub fn konst(&self, ix: usize, name: &str) -> TractResult<Option<Vec<i64>>> {
        let Some(fact) = self.get(ix) else {
            return Ok(None);
        };
        let Some(value) = &fact.konst else {
            bail!(
                "input '{name}' of {} must be a constant: fix it when the session is made",
                self.op
            )
        };
        ints(value).map(Some)
    }
}

/// All elements of an integer tensor.
pub(super) fn ints(t: &Tensor) -> TractResult<Vec<i64>> {
    Ok(t.cast_to::<i64>()?.to_plain_array_view::<i64>()?.iter().copied().collect())
}

/// An axis made non-negative, or a refusal.
pub(super) fn axis(axis: i64, rank: usize) -> TractResult<usize> {
    let resolved = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    match resolved {
        Some(a) if a >= 0 && (a as usize) < rank => Ok(a as usize),
        _ => bail!("axis {axis} is out of range for rank {rank}"),
    }
}

/// Builds the operator of `node` from its kernel.
pub(super) fn native(node: &NodeProto, kernel: impl Kernel) -> Built {
    Ok((expand(bind(node, kernel)), vec![]))
}

/// The typed operator of `node` from its kernel.
pub(super) fn typed(node: &NodeProto, kernel: impl Kernel) -> Box<dyn TypedOp> {
    Box::new(bind(node, kernel))
}

/// Whether an operator gives the largest (or the least) value along axes, and along which;
/// a NaN is larger and less than all.
pub(crate) fn extreme(op: &dyn TypedOp, inputs: &[&TypedFact]) -> Option<(bool, Vec<usize>)> {
    let native = op.downcast_ref::<Native>()?;
    native.kernel.extreme(&native.bound(inputs).ok()?)
}

/// The operator of `node` from its kernel, for who wraps it.
pub(super) fn frame(node: &NodeProto, kernel: impl Kernel) -> impl Expansion + Clone {
    bind(node, kernel)
}

/// The expansion that was built.
pub(super) fn expansion(built: Built) -> TractResult<Box<dyn Expansion>> {
    let (op, _) = built?;
    let op = op.as_op().downcast_ref::<Box<dyn Expansion>>();
    Ok(op.context("an operator that is no expansion")?.clone())
}

/// For each ONNX position of an input: its place among those that the node has.
pub(super) fn slots(node: &NodeProto) -> Vec<Option<usize>> {
    let mut count = 0;
    let slot = |name: &String| {
        (!name.is_empty()).then(|| {
            count += 1;
            count - 1
        })
    };
    node.input.iter().map(slot).collect()
}

fn bind(node: &NodeProto, kernel: impl Kernel) -> Native {
    let wanted = (0..node.output.len()).filter(|&ix| !node.output[ix].is_empty()).collect();
    Native {
        label: format!("{} node '{}'", node.op_type, node.name).into(),
        op: node.op_type.as_str().into(),
        slots: slots(node),
        wanted,
        kernel: Arc::new(kernel),
    }
}

/// A kernel bound to the inputs and outputs of one node.
#[derive(Debug, Clone)]
struct Native {
    label: Arc<str>,
    op: Arc<str>,
    /// ONNX input position to tract's, which has no holes.
    slots: Vec<Option<usize>>,
    /// ONNX positions of the outputs that the node names.
    wanted: Vec<usize>,
    kernel: Arc<dyn Kernel>,
}

impl PartialEq for Native {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kernel, &other.kernel)
            && self.slots == other.slots
            && self.wanted == other.wanted
    }
}

impl Eq for Native {}

impl Native {
    fn arity(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    fn bound<'a, T>(&'a self, items: &'a [&'a T]) -> TractResult<Inputs<'a, T>> {
        ensure!(
            items.len() == self.arity(),
            "{} has {} inputs, expected {}",
            self.label,
            items.len(),
            self.arity()
        );
        Ok(Inputs { op: &self.label, slots: &self.slots, items })
    }

    fn pick<T: Clone>(&self, all: Vec<T>) -> TractResult<TVec<T>> {
        self.wanted
            .iter()
            .map(|&ix| {
                all.get(ix).cloned().with_context(|| {
                    format!("{} names output {ix} and has only {}", self.label, all.len())
                })
            })
            .collect()
    }

    fn facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let facts = self.kernel.outputs(&self.bound(inputs)?)?;
        for fact in &facts {
            let volume = fact.shape.iter().try_fold(1usize, |v, dim| match dim.to_usize() {
                Ok(dim) => v.checked_mul(dim).filter(|v| *v <= LARGEST),
                Err(_) => Some(v),
            });
            let label = &self.label;
            ensure!(volume.is_some(), "{label} has an output of dims {:?}, too large", fact.shape);
        }
        self.pick(facts)
    }

    /// The tract positions of the inputs whose value is needed.
    fn needed_values(&self) -> Vec<usize> {
        let params = self.kernel.params().iter();
        params.filter_map(|&(ix, _)| self.slots.get(ix).copied().flatten()).collect()
    }
}

impl Expansion for Native {
    fn name(&self) -> StaticName {
        self.op.to_string().into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.wanted.len())
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, self.arity())?;
        check_output_arity(outputs, self.wanted.len())?;
        let needed: Arc<[usize]> = self.needed_values().into();
        let tell = move |s: &mut Solver<'r>, facts: &[TypedFact]| -> InferenceResult {
            let facts: TVec<&TypedFact> = facts.iter().collect();
            for (proxy, fact) in outputs.iter().zip(self.facts(&facts)?) {
                s.equals(&proxy.datum_type, fact.datum_type)?;
                let Some(minted) = self.kernel.mints() else {
                    s.equals(&proxy.shape, fact.shape.to_tvec())?;
                    continue;
                };
                // A constant input may later tell what the symbol stands for.
                s.equals(&proxy.rank, fact.rank() as i64)?;
                for (ix, dim) in fact.shape.iter().enumerate() {
                    if !dim.symbols().contains(minted) {
                        s.equals(&proxy.shape[ix], dim.clone())?;
                    }
                }
            }
            Ok(())
        };
        s.given_all(inputs.iter().map(|i| &i.datum_type), move |s, dts| {
            let shapes = inputs.iter().map(|i| &i.shape);
            let needed = needed.clone();
            s.given_all(shapes, move |s, shapes| {
                let facts: Vec<TypedFact> =
                    dts.iter().zip(&shapes).map(|(dt, shape)| dt.fact(&**shape)).collect();
                if needed.is_empty() {
                    return tell(s, &facts);
                }
                let values: Vec<_> = needed.iter().map(|&ix| &inputs[ix].value).collect();
                let needed = needed.clone();
                s.given_all(values, move |s, values| {
                    let mut facts = facts.clone();
                    for (&ix, value) in needed.iter().zip(values) {
                        facts[ix] = TypedFact::try_from(value)?;
                    }
                    tell(s, &facts)
                })
            })
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        for &(ix, name) in self.kernel.params() {
            if let Some(slot) = self.slots.get(ix).copied().flatten()
                && model.outlet_fact(inputs[slot])?.konst.is_none()
            {
                bail!(
                    "input '{name}' of {} must be a constant: fix it when the session is made",
                    self.label
                )
            }
        }
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl Op for Native {
    fn name(&self) -> StaticName {
        self.op.to_string().into()
    }

    fn mints_runtime_symbols(&self) -> bool {
        self.kernel.mints().is_some()
    }

    op_as_typed_op!();
}

impl EvalOp for Native {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let plain: Vec<std::borrow::Cow<Tensor>> = inputs
            .iter()
            .map(|t| {
                if t.datum_type() == DatumType::TDim {
                    t.cast_to::<i64>()
                } else {
                    Ok(std::borrow::Cow::Borrowed(&**t))
                }
            })
            .collect::<TractResult<_>>()?;
        let refs: Vec<&Tensor> = plain.iter().map(|t| &**t).collect();
        let all = self.kernel.eval(&self.bound(&refs)?).with_context(|| self.label.to_string())?;
        Ok(self.pick(all)?.into_iter().map(|t| t.into_tvalue()).collect())
    }
}

impl TypedOp for Native {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.facts(inputs)
    }

    as_op!();
}

/// tract's own builder of operator `name`, for the cases that it does right.
pub(super) fn tract_builder(
    name: &str,
) -> TractResult<fn(&tract_onnx::model::ParsingContext, &NodeProto) -> Built> {
    static OWN: std::sync::OnceLock<tract_onnx::model::OnnxOpRegister> = std::sync::OnceLock::new();
    let register = OWN.get_or_init(|| {
        let mut register = tract_onnx::model::OnnxOpRegister::default();
        tract_onnx::ops::register_all_ops(&mut register);
        register
    });
    register.0.get(name).copied().with_context(|| format!("tract has no operator {name}"))
}
