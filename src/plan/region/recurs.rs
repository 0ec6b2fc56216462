//! Recurrent layers.

use super::MOST_WRITES;
use super::lower::{Context, Lowered, Ref};
use super::memory::Mapped;
use super::ops::Op;
use crate::kernels::Isa;
use crate::model::{Operands, Recur};
use serde::{Deserialize, Serialize};

/// A layer over a sequence of so many steps and so large a batch.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Layer {
    layer: Recur,
    extent: [usize; 2],
    /// Which value written each of Y, Y_h and Y_c is; the last one is scratch.
    places: [Option<usize>; 3],
}

impl Layer {
    pub(super) fn run(&self, isa: Isa, reads: &Mapped, writes: &mut [&mut [f32]; MOST_WRITES]) {
        let initial = self.layer.initial().map(|at| at.map(|at| reads.get(at)));
        let scratch = self.places.iter().flatten().count();
        // Each is taken once.
        let mut take = |at: Option<usize>| -> &mut [f32] {
            at.and_then(|at| writes.get_mut(at)).map(std::mem::take).unwrap_or_default()
        };
        let [y, h, c] = self.places.map(&mut take);
        let scratch = take(Some(scratch));
        let operands = Operands { x: reads.get(0), initial, y, h, c, scratch };
        self.layer.run(isa, self.extent, operands);
    }
}

impl Layer {
    pub(super) fn flop(&self) -> u64 {
        self.layer.flop(self.extent)
    }
}

pub(super) fn lower(context: &Context) -> Option<Lowered> {
    let layer = context.node.op_as::<Recur>()?.clone();
    let extent = layer.extent(&context.input(0)?)?;
    let mut places = [None; 3];
    let mut writes = Vec::new();
    for (place, wanted) in places.iter_mut().zip(layer.wanted()) {
        if wanted {
            *place = Some(writes.len());
            writes.push(context.output(writes.len())?.iter().product());
        }
    }
    let count = writes.len();
    writes.push(layer.scratch(extent));
    let reads = (0..context.node.inputs.len()).map(Ref::Input).collect();
    let mut lowered = Lowered::default();
    lowered.step_of(Op::Recur(Layer { layer, extent, places }), reads, writes);
    lowered.outputs = (0..count).map(Ref::Written).collect();
    Some(lowered)
}
