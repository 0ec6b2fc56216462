//! tract's passes over a typed graph, each in its order, in a loop of ours.
//!
//! What a pass answers is put into the graph here, too: tract compares every new node
//! with all there are, weights by value, and makes nothing of the answer; and it
//! copies weights to find that a convolution does not let their axes be changed.

use crate::work;
use std::collections::{HashMap, HashSet};
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::change_axes::AxisChange;
use tract_onnx::tract_hir::tract_core::ops::cnn::Conv;
use tract_onnx::tract_hir::tract_core::ops::dummy::Dummy;
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_hir::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::tract_core::ops::source::TypedSource;
use tract_onnx::tract_hir::tract_core::optim::change_axes::{ChangeAxes, change_axes};
use tract_onnx::tract_hir::tract_core::optim::{Optimizer, OptimizerSession, TypedPass};

/// What `optimizer` does to `model`, in at most `steps` steps.
pub(super) fn optimize(
    optimizer: &Optimizer,
    model: &mut TypedModel,
    steps: usize,
) -> TractResult<()> {
    let _proofs = model.symbols.proof_cache_session();
    let session = optimizer.session();
    let mut run = Run { session, seen: HashSet::new(), left: steps, rewritten: 0 };
    let mut passes = optimizer.passes.clone();
    let axes = format!("{:?}", ChangeAxes::default());
    if let Some(at) = passes.iter().position(|pass| format!("{pass:?}") == axes) {
        passes[at] = Box::new(Axes::default());
        // What earlier passes made of weights is computed, not changed step by step.
        passes.splice(at..at, Optimizer::prop_consts().passes);
    }
    // What the graph was when a pass found nothing in it.
    let mut done = vec![None; passes.len()];
    model.compact()?;
    loop {
        let before = run.left;
        for (pass, done) in passes.iter_mut().zip(&mut done) {
            if *done != Some(run.version()) {
                run.until_done(pass.as_mut(), model)
                    .with_context(|| format!("running pass {pass:?}"))?;
                *done = Some(run.version());
            }
        }
        if run.left == before || run.left == 0 {
            return Ok(());
        }
    }
}

/// Simplifies those of the nodes that are `wanted`, each by itself; whether any of them
/// changed.
pub(super) fn simplify_some(model: &mut TypedModel, wanted: &[usize]) -> TractResult<bool> {
    let optimizer = Optimizer::declutter();
    let (mut session, mut any) = (optimizer.session(), false);
    for id in wanted {
        let node = &model.nodes[*id];
        let patch = node.op.declutter_with_session(&mut session, model, node)?;
        if let Some(patch) = patch {
            apply(patch, model)?;
            any = true;
        }
    }
    if any {
        model.compact()?;
    }
    Ok(any)
}

struct Run<'a> {
    /// For the bodies of loops.
    session: OptimizerSession<'a>,
    /// Patches that are not applied twice.
    seen: HashSet<String>,
    left: usize,
    /// How often a pass changed a graph without a patch.
    rewritten: usize,
}

impl Run<'_> {
    /// Another one for another graph.
    fn version(&self) -> (usize, usize) {
        (self.left, self.rewritten)
    }

    /// Until the pass changes nothing.
    fn until_done(&mut self, pass: &mut dyn TypedPass, model: &mut TypedModel) -> TractResult<()> {
        loop {
            let before = self.left;
            self.once(pass, model)?;
            model.compact()?;
            if self.left == before {
                return Ok(());
            }
        }
    }

    fn once(&mut self, pass: &mut dyn TypedPass, model: &mut TypedModel) -> TractResult<()> {
        pass.reset()?;
        if self.left == 0 {
            return Ok(());
        }
        while let Some(mut patch) = pass.next(&mut self.session, model)? {
            work::check()?;
            if let Some(label) = patch.dont_apply_twice.take()
                && !self.seen.insert(label)
            {
                continue;
            }
            let context = std::mem::take(&mut patch.context);
            apply(patch, model).with_context(|| format!("applying patch {context:?}"))?;
            self.left -= 1;
            if self.left == 0 {
                return Ok(());
            }
        }
        self.rewritten += usize::from(pass.run_direct(model)?);
        Ok(())
    }
}

/// Puts the nodes of a patch into a graph.
fn apply(patch: TypedModelPatch, graph: &mut TypedModel) -> TractResult<()> {
    let TypedModelPatch { model, taps, shunts, obliterate, inputs: sources, .. } = patch;
    let mut mapping = taps;
    let first = graph.nodes.len();
    let mut wires = Vec::new();
    for node in model.nodes {
        let is_source = node.op_is::<TypedSource>();
        if is_source && mapping.contains_key(&OutletId::new(node.id, 0)) {
            continue;
        }
        let count = node.outputs.len();
        let facts = node.outputs.into_iter().map(|output| output.fact).collect();
        let id = graph.add_node(node.name, node.op, facts)?;
        for slot in 0..count {
            mapping.insert(OutletId::new(node.id, slot), OutletId::new(id, slot));
        }
        wires.push((id, node.inputs));
        if is_source {
            let old = sources.get(&node.id).context("a source in the place of none")?;
            graph.inputs.iter_mut().filter(|i| i.node == *old).for_each(|i| i.node = id);
        }
    }
    let at = |mapping: &HashMap<OutletId, OutletId>, of: &OutletId| {
        mapping.get(of).copied().with_context(|| format!("{of:?} is nowhere in the graph"))
    };
    let mut shunts: Vec<_> = shunts.into_iter().collect();
    shunts.sort();
    for (old, by) in &shunts {
        let new = at(&mapping, by)?;
        for reader in graph.nodes[old.node].outputs[old.slot].successors.clone() {
            graph.add_edge(new, reader)?;
        }
        graph.outputs.iter_mut().filter(|o| *o == old).for_each(|o| *o = new);
        if let Some(label) = graph.outlet_labels.remove(old) {
            graph.set_outlet_label(new, label)?;
        }
    }
    for (id, inputs) in &wires {
        for (slot, input) in inputs.iter().enumerate() {
            graph.add_edge(at(&mapping, input)?, InletId::new(*id, slot))?;
        }
    }
    for id in obliterate {
        graph.nodes[id].op = Box::new(Dummy::new());
    }
    forget(graph, shunts.iter().map(|(old, _)| old.node).collect());
    (first..graph.nodes.len()).for_each(|id| name(graph, id));
    Ok(())
}

/// Empties those of the nodes that nobody reads, and those that only they read.
pub(super) fn forget(graph: &mut TypedModel, mut suspects: Vec<usize>) {
    while let Some(id) = suspects.pop() {
        let is_wanted = graph.outputs.iter().chain(&graph.inputs).any(|o| o.node == id)
            || graph.nodes[id].outputs.iter().any(|o| !o.successors.is_empty());
        if is_wanted {
            continue;
        }
        let node = &mut graph.nodes[id];
        node.op = Box::new(Dummy::new());
        node.name = format!("Dummy-node-{id}");
        node.outputs.clear();
        for input in std::mem::take(&mut node.inputs) {
            let output = &mut graph.nodes[input.node].outputs[input.slot];
            output.successors.retain(|reader| reader.node != id);
            suspects.push(input.node);
        }
    }
}

/// Gives a new node a name that no other has.
fn name(graph: &mut TypedModel, id: usize) {
    let own = &graph.nodes[id].name;
    let unique = match own.split_once('#') {
        Some((prefix, _)) => graph.unique_name(prefix).into_owned(),
        None if graph.nodes.iter().any(|n| n.id != id && n.name == *own) => {
            graph.unique_name(own).into_owned()
        }
        None => return,
    };
    graph.nodes[id].name = unique;
}

/// tract's pass of the same kind, that leaves weights alone, and does not look again at
/// what was found not to change before a turn of it is over.
#[derive(Clone, Default)]
struct Axes {
    tried: HashSet<AxisChange>,
    explored: HashSet<AxisChange>,
    at: usize,
}

impl Axes {
    fn patch(
        &mut self,
        model: &TypedModel,
        locked: &[OutletId],
        change: AxisChange,
    ) -> TractResult<Option<TypedModelPatch>> {
        if !self.tried.insert(change.clone()) || are_weights(model, change.outlet) {
            return Ok(None);
        }
        let patch = change_axes(model, &change, locked, &[], &mut self.explored)
            .with_context(|| format!("making a patch for {change:?}"))?;
        Ok(patch.map(|(patch, _)| patch))
    }
}

/// Whether an outlet is constant floats of convolutions and products alone, which copies
/// would be made of to no end: kernels have the axes they have, and axes of one element
/// are none to a product.
fn are_weights(model: &TypedModel, outlet: OutletId) -> bool {
    let (node, fact) = (&model.nodes[outlet.node], &model.nodes[outlet.node].outputs[outlet.slot]);
    let weighed = |reader: &InletId| {
        let op = &model.nodes[reader.node].op;
        op.is::<EinSum>() || op.is::<Conv>() && reader.slot == 1
    };
    node.op_is::<Const>()
        && fact.fact.datum_type == f32::datum_type()
        && !fact.successors.is_empty()
        && fact.successors.iter().all(weighed)
}

impl std::fmt::Debug for Axes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("axes")
    }
}

impl TypedPass for Axes {
    fn reset(&mut self) -> TractResult<()> {
        *self = Axes::default();
        Ok(())
    }

    fn next(
        &mut self,
        _: &mut OptimizerSession,
        model: &TypedModel,
    ) -> TractResult<Option<TypedModelPatch>> {
        let locked = [model.output_outlets()?, model.input_outlets()?].concat();
        for node in model.nodes.iter().skip(self.at).filter(|n| !n.op_is::<Dummy>()) {
            let suggested = node.op.suggested_axis_changes()?.into_iter();
            let suggested = suggested.map(|(at, op)| (at.as_outlet(node), op));
            let ones = node.outputs.iter().enumerate().flat_map(|(slot, output)| {
                let ones = output.fact.shape.iter().enumerate().filter(|(_, dim)| dim.is_one());
                let outlet = OutletId::new(node.id, slot);
                ones.map(move |(axis, _)| (outlet, AxisOp::Rm(axis))).collect::<Vec<_>>()
            });
            for (outlet, op) in suggested.chain(ones) {
                let change = AxisChange { outlet, op };
                let patch = self.patch(model, &locked, change)?;
                if patch.is_some() {
                    self.at = node.id;
                    return Ok(patch);
                }
            }
        }
        Ok(None)
    }
}
