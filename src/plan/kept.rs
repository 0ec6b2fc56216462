//! Programs without their weights: in a model's cache, and with the weights of others.
//! Those that are one region are kept; what else there is would be tract's.

use super::Program;
use super::program::{Direct, Kind};
use crate::kernels::{Shared, collected, known, placed};
use crate::model::Shelf;
use crate::tensor::Shape;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A program, without its floats.
#[derive(Serialize, Deserialize)]
struct Kept<D> {
    direct: D,
    inputs: Vec<usize>,
    outputs: Vec<Option<Shape>>,
}

/// Keeps a program, if it can be.
pub(super) fn keep(shelf: &Shelf, program: &Program) {
    let Kind::Direct(direct) = &program.kind else { return };
    let Program { inputs, outputs, .. } = program;
    let kept = Kept { direct: &**direct, inputs: inputs.clone(), outputs: outputs.clone() };
    let (meta, floats) = collected(|| postcard::to_allocvec(&kept));
    match meta {
        Ok(meta) => shelf.keep(&meta, &floats),
        Err(e) => shelf.refuse(e),
    }
}

/// A program over the weights that others have already.
pub(super) fn shared(with: &mut Shared, program: Program) -> Program {
    let Kind::Direct(direct) = &program.kind else { return program };
    let (meta, floats) = collected(|| postcard::to_allocvec(&**direct));
    let read = |meta: Vec<u8>| known(with.with(floats), || postcard::from_bytes::<Direct>(&meta));
    match meta.and_then(read) {
        Ok(direct) => Program { kind: Kind::Direct(Arc::new(direct)), ..program },
        // (It is as good with its own.)
        Err(_) => program,
    }
}

/// The program that is kept there, if one is.
pub(super) fn restored(shelf: &Shelf, memory_bytes: u64) -> Option<Program> {
    let entry = shelf.read()?;
    let kept = placed(entry.blob()?, || postcard::from_bytes::<Kept<Direct>>(entry.meta()));
    let Kept { direct, inputs, outputs } = match kept {
        Ok(kept) => kept,
        Err(e) => {
            shelf.refuse(e);
            return None;
        }
    };
    let sizes =
        direct.region.outputs().zip(&outputs).all(|(a, b)| b.as_ref().is_none_or(|b| a == b));
    if !direct.is_sound(inputs.len()) || !sizes {
        shelf.refuse("it does not agree with itself");
        return None;
    }
    let arena_bytes = Some(direct.arena_bytes());
    let kind = Kind::Direct(Arc::new(direct));
    Some(Program { kind, memory_bytes, inputs, outputs, arena_bytes })
}
