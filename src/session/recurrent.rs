//! Recurrent state: pairs of an output and the input it becomes; saved and
//! restored as bytes.

use super::inner::{Inner, check};
use crate::error::{self, Result};
use crate::model::Model;
use crate::plan::{Program, Value};
use crate::tensor::{DType, MAX_RANK, Shape};

/// An output that becomes an input of the next run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub(super) input: usize,
    pub(super) output: usize,
}

impl Pair {
    /// Whether the two may be one.
    pub(super) fn check(&self, model: &Model) -> Result<()> {
        let (to, from) = (&model.inputs()[self.input], &model.outputs()[self.output]);
        if to.dtype != from.dtype {
            return Err(error::dtype_mismatch(format!(
                "state pair: input {:?} is {}, output {:?} is {}",
                to.name, to.dtype, from.name, from.dtype
            )));
        }
        if to.dtype == DType::String {
            return Err(error::unsupported(format!("state pair: input {:?} is strings", to.name)));
        }
        Ok(())
    }

    /// Whether they have the same shape, as far as it is known before a run.
    pub(super) fn check_shapes(
        &self,
        model: &Model,
        input: Option<Shape>,
        program: &Program,
    ) -> Result<()> {
        match (input, program.output_shape(self.output)) {
            (Some(to), Some(from)) if to != from => Err(self.mismatch(model, &to, &from)),
            _ => Ok(()),
        }
    }

    /// Whether a run's output may become the input.
    pub(super) fn accepts(&self, model: &Model, input: Option<Shape>, value: &Value) -> Result<()> {
        match input {
            Some(to) if to != *value.shape() => Err(self.mismatch(model, &to, value.shape())),
            _ => Ok(()),
        }
    }

    fn mismatch(&self, model: &Model, to: &Shape, from: &Shape) -> error::Error {
        error::shape_mismatch(format!(
            "state pair: input {:?} has dims {to}, output {:?} gives {from}",
            model.inputs()[self.input].name,
            model.outputs()[self.output].name
        ))
    }
}

/// Of a saved state: what it is, which layout, which model.
const MAGIC: [u8; 8] = *b"INFSTAT1";

// Layout, little-endian: magic, the model's hash (32), number of pairs (u32);
// for each pair input index, output index, dtype, rank (u32 each), dims (u64
// each of the rank), and the elements; at the end a BLAKE3 hash of all before.

impl Inner {
    /// The recurrent state as bytes.
    pub fn save_state(&mut self) -> Result<Vec<u8>> {
        if self.pairs.is_empty() {
            return Ok(Vec::new());
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.model.about().hash);
        bytes.extend((self.pairs.len() as u32).to_le_bytes());
        for pair in self.pairs.clone() {
            let value = self.value(pair.input)?;
            let shape = *value.shape();
            let head = [pair.input as u32, pair.output as u32, value.dtype().onnx() as u32];
            head.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
            bytes.extend((shape.len() as u32).to_le_bytes());
            shape.iter().for_each(|d| bytes.extend((*d as u64).to_le_bytes()));
            bytes.extend(value.bytes());
        }
        bytes.extend(blake3::hash(&bytes).as_bytes());
        Ok(bytes)
    }

    /// Takes a saved state back, whole or not at all.
    pub fn restore_state(&mut self, bytes: &[u8]) -> Result<()> {
        self.at_rest()?;
        if self.pairs.is_empty() && bytes.is_empty() {
            return Ok(());
        }
        let refused =
            |why: &str| error::invalid_argument(format!("the saved state is refused: {why}"));
        let (body, hash) = bytes
            .split_last_chunk::<32>()
            .ok_or_else(|| refused("too short, expected what inferno_session_copy_state wrote"))?;
        if blake3::hash(body) != *hash {
            return Err(refused("damaged, its checksum does not match"));
        }
        let mut rest = Cursor(body);
        if rest.take(8) != Some(&MAGIC) {
            return Err(refused("not a state of this version"));
        }
        if rest.take(32) != Some(&self.model.about().hash) {
            return Err(refused("it belongs to another model"));
        }
        if rest.u32() != Some(self.pairs.len() as u32) {
            return Err(refused("it has another number of state pairs than the session"));
        }
        let mut values = Vec::with_capacity(self.pairs.len());
        for pair in &self.pairs {
            let value = rest.value(pair).ok_or_else(|| refused("it has other state pairs"))??;
            check(&self.model.inputs()[pair.input], value.dtype(), value.shape())?;
            values.push(value);
        }
        for (pair, value) in self.pairs.clone().iter().zip(values) {
            self.set_shape(pair.input, &value.shape().clone())?;
            self.inputs[pair.input].value = Some(value);
        }
        Ok(())
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    /// The next value, when it is the one of `pair`.
    fn value(&mut self, pair: &Pair) -> Option<Result<Value>> {
        let same = self.u32()? == pair.input as u32 && self.u32()? == pair.output as u32;
        let dtype = DType::from_onnx(self.u32()? as i32).filter(|d| *d != DType::String)?;
        let rank = self.u32()? as usize;
        if !same || rank > MAX_RANK {
            return None;
        }
        let mut dims = [0usize; MAX_RANK];
        for dim in &mut dims[..rank] {
            *dim = usize::try_from(u64::from_le_bytes(self.take(8)?.try_into().ok()?)).ok()?;
        }
        let shape = Shape::new(&dims[..rank]).ok()?;
        let bytes = self.take(shape.size_bytes(dtype))?;
        Some(Value::from_bytes(dtype, shape, bytes))
    }
}
