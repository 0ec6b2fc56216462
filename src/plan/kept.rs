//! Programs in a model's cache. Those that are one region are kept; what else there is
//! would be tract's.

use super::Program;
use super::program::Kind;
use super::region::Region;
use crate::kernels::{collected, placed};
use crate::model::Shelf;
use crate::tensor::Shape;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A program, without its floats.
#[derive(Serialize, Deserialize)]
struct Kept<R> {
    region: R,
    inputs: Vec<usize>,
    outputs: Vec<Option<Shape>>,
}

/// Keeps a program, if it can be.
pub(super) fn keep(shelf: &Shelf, program: &Program) {
    let Kind::Direct(region) = &program.kind else { return };
    let Program { inputs, outputs, .. } = program;
    let kept = Kept { region: &**region, inputs: inputs.clone(), outputs: outputs.clone() };
    let (meta, floats) = collected(|| postcard::to_allocvec(&kept));
    match meta {
        Ok(meta) => shelf.keep(&meta, &floats),
        Err(e) => shelf.refuse(e),
    }
}

/// The program that is kept there, if one is.
pub(super) fn restored(shelf: &Shelf, memory_bytes: u64) -> Option<Program> {
    let entry = shelf.read()?;
    let kept = placed(entry.blob()?, || postcard::from_bytes::<Kept<Region>>(entry.meta()));
    let Kept { region, inputs, outputs } = match kept {
        Ok(kept) => kept,
        Err(e) => {
            shelf.refuse(e);
            return None;
        }
    };
    let sizes = region.outputs().zip(&outputs).all(|(a, b)| b.as_ref().is_none_or(|b| a == b));
    if !region.is_sound() || inputs.len() != region.inputs().len() || !sizes {
        shelf.refuse("it does not agree with itself");
        return None;
    }
    let arena_bytes = Some(region.arena_bytes());
    Some(Program {
        kind: Kind::Direct(Arc::new(region)),
        memory_bytes,
        inputs,
        outputs,
        arena_bytes,
    })
}
