//! Programs without their weights: in a model's cache, and with the weights of others.
//! Those that are one region are kept; what else there is would be tract's.

use super::Program;
use super::program::{Direct, Kind};
use crate::kernels::{collected, known, placed};
use crate::model::{Model, Shelf};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A program, without its floats.
#[derive(Serialize, Deserialize)]
struct Kept<D> {
    direct: D,
    inputs: Vec<usize>,
}

impl Kept<Direct> {
    fn program(self, memory_bytes: u64) -> Program {
        let Kept { direct, inputs } = self;
        let outputs = direct.region.outputs().copied().map(Some).collect();
        let arena_bytes = Some(direct.arena_bytes());
        let kind = Kind::Direct(Arc::new(direct));
        Program { kind, memory_bytes, inputs, outputs, arena_bytes }
    }
}

/// Keeps a program of `model` on its shelf, and gives it over the weights that others
/// have already; as far as there is a shelf, and are others.
pub(super) fn keep(program: Program, shelf: Option<&Shelf>, model: &Model) -> Program {
    let shared = model.shared();
    let Kind::Direct(direct) = &program.kind else { return program };
    if shelf.is_none() && shared.is_none() {
        return program;
    }
    let kept = Kept { direct: &**direct, inputs: program.inputs.clone() };
    let (meta, floats) = collected(|| postcard::to_allocvec(&kept));
    let meta = match meta {
        Ok(meta) => meta,
        Err(e) => {
            shelf.inspect(|shelf| shelf.refuse(e));
            return program;
        }
    };
    if let Some(shelf) = shelf {
        shelf.keep(&meta, &floats);
    }
    let Some(shared) = shared else { return program };
    let floats = shared.lock().with(floats);
    match known(floats, || postcard::from_bytes::<Kept<Direct>>(&meta)) {
        Ok(kept) => kept.program(program.memory_bytes),
        // (It is as good with its own.)
        Err(_) => program,
    }
}

/// The program that is kept there, if one is.
pub(super) fn restored(shelf: &Shelf, memory_bytes: u64) -> Option<Program> {
    let entry = shelf.read()?;
    match placed(entry.blob()?, || postcard::from_bytes::<Kept<Direct>>(entry.meta())) {
        Ok(kept) if kept.direct.is_sound(kept.inputs.len()) => Some(kept.program(memory_bytes)),
        Ok(_) => {
            shelf.refuse("it does not agree with itself");
            None
        }
        Err(e) => {
            shelf.refuse(e);
            None
        }
    }
}
