//! A model file as it comes: its structure is decoded, large payloads go straight
//! to where they stay.
//!
//! A file of ONNX is a protobuf message whose bytes are nearly all the `raw_data`
//! of tensors. Read whole and decoded whole it is in memory three times: as the
//! file, as fields, as tensors. So it is read once, from its beginning to its end,
//! and hashed on the way: the payload of an initializer or of a `Constant` node is
//! read into the tensor that it is, all else is decoded as always. What does not
//! come in the order that every writer has (dims and type before the payload) or
//! does not agree with itself is left to be decoded, and refused, as before.
//! (The encoding: protobuf.dev, "Encoding"; the fields: `onnx.proto`.)

use super::weights::{dtype_of, zeros};
use crate::error::{self, Result};
use crate::host::Open;
use crate::pool;
use crate::tensor::{DType, Shape};
use crate::work;
use prost::Message;
use std::collections::HashMap;
use tract_onnx::pb::{self, TensorProto, tensor_proto::DataLocation};
use tract_onnx::prelude::Tensor;

/// Payloads from so many bytes on are read to their place.
const LARGE: u64 = 4 << 10;

/// Bytes of a payload that are read and hashed at a time: they stay in the
/// second-level cache.
const PIECE: usize = 256 << 10;

/// Bytes that are read ahead where there is no payload.
const WINDOW: u64 = 16 << 10;

/// A `Constant` node has no more before its value.
const SHORT: usize = 4 << 10;

/// A model's fields, and the payloads that are none of them.
pub(super) struct Streamed {
    pub(super) proto: pb::ModelProto,
    /// By the name of the initializer, or of the `Constant` node's output.
    pub(super) payloads: HashMap<String, Tensor>,
    /// BLAKE3 of the file.
    pub(super) hash: [u8; 32],
}

/// Reads a model from its first byte to its last; payloads come to `most` bytes at
/// the most, the others are fields.
pub(super) fn read(file: &mut dyn Open, most: u64) -> Result<Streamed> {
    let size = file.size();
    let mut scanner = Scanner {
        file,
        left: size,
        offset: 0,
        window: Vec::new(),
        at: 0,
        hash: blake3::Hasher::new(),
        payloads: HashMap::new(),
        room: most,
    };
    let (mut model, mut graph) = (Vec::new(), Graph::default());
    let told = scanner.model(&mut model, &mut graph).and_then(|()| {
        let mut proto = pb::ModelProto::decode(model.as_slice()).map_err(Stop::from)?;
        proto.graph = graph.decoded()?;
        Ok(proto)
    });
    let proto = match told {
        Ok(proto) => proto,
        Err(Stop::Failed(e)) => return Err(e),
        Err(Stop::Damaged(why)) => {
            return Err(error::invalid_model(format!(
                "not an ONNX model, or a damaged one ({size} bytes): {why}"
            )));
        }
    };
    if proto.graph.is_none() {
        return Err(error::invalid_model(format!(
            "not an ONNX model, or a truncated one ({size} bytes): no graph in it"
        )));
    }
    Ok(Streamed { proto, payloads: scanner.payloads, hash: *scanner.hash.finalize().as_bytes() })
}

/// Why a file was not read to its end.
enum Stop {
    /// It is no protobuf.
    Damaged(String),
    /// It could not be read, or not be held.
    Failed(error::Error),
}

impl From<error::Error> for Stop {
    fn from(e: error::Error) -> Stop {
        Stop::Failed(e)
    }
}

impl From<prost::DecodeError> for Stop {
    fn from(e: prost::DecodeError) -> Stop {
        Stop::Damaged(e.to_string())
    }
}

type Told<T> = std::result::Result<T, Stop>;

/// A field's number and wire type, as they are encoded.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key(u64);

impl Key {
    /// Bytes, text or a message.
    const fn of(field: u64) -> Key {
        Key(field << 3 | 2)
    }
}

const MODEL_GRAPH: Key = Key::of(7);
const GRAPH_NODE: Key = Key::of(1);
const GRAPH_INITIALIZER: Key = Key::of(5);
const NODE_ATTRIBUTE: Key = Key::of(5);
const ATTRIBUTE_TENSOR: Key = Key::of(5);
const TENSOR_RAW_DATA: Key = Key::of(9);

/// The fields of a graph, its initializers and nodes apart from the rest.
#[derive(Default)]
struct Graph {
    is_there: bool,
    rest: Vec<u8>,
    initializers: Vec<TensorProto>,
    nodes: Vec<pb::NodeProto>,
}

impl Graph {
    fn decoded(self) -> Told<Option<pb::GraphProto>> {
        if !self.is_there {
            return Ok(None);
        }
        let mut graph = pb::GraphProto::decode(self.rest.as_slice())?;
        (graph.initializer, graph.node) = (self.initializers, self.nodes);
        Ok(Some(graph))
    }
}

struct Scanner<'a> {
    file: &'a mut dyn Open,
    /// Bytes that were not read yet, and where they begin.
    left: u64,
    offset: u64,
    /// What was read ahead, and how far it is used.
    window: Vec<u8>,
    at: usize,
    hash: blake3::Hasher,
    payloads: HashMap<String, Tensor>,
    /// Bytes that payloads may still come to.
    room: u64,
}

impl Scanner<'_> {
    /// Reads the next bytes of the file.
    fn fill(
        file: &mut dyn Open,
        hash: &mut blake3::Hasher,
        at: &mut u64,
        to: &mut [u8],
    ) -> Told<()> {
        for piece in to.chunks_mut(PIECE) {
            work::check()?;
            file.read(*at, piece)?;
            hash.update(piece);
            *at += piece.len() as u64;
        }
        Ok(())
    }

    /// Bytes from here to the end.
    fn remaining(&self) -> u64 {
        (self.window.len() - self.at) as u64 + self.left
    }

    /// Reads ahead, when all that was is used.
    fn advance(&mut self) -> Told<()> {
        if self.at < self.window.len() {
            return Ok(());
        }
        let count = self.left.min(WINDOW) as usize;
        if count == 0 {
            return Err(Stop::Damaged("it ends in the middle of a field".into()));
        }
        self.window.resize(count, 0);
        Self::fill(self.file, &mut self.hash, &mut self.offset, &mut self.window)?;
        (self.at, self.left) = (0, self.left - count as u64);
        Ok(())
    }

    /// The next number, copied to `copy` as it is encoded.
    fn varint(&mut self, copy: Option<&mut Vec<u8>>) -> Told<u64> {
        let (mut value, mut encoded, mut count) = (0u64, [0u8; 10], 0);
        loop {
            self.advance()?;
            let byte = self.window[self.at];
            self.at += 1;
            let shift = 7 * count as u32;
            if count == 10 || (count == 9 && byte > 1) {
                return Err(Stop::Damaged("invalid varint".into()));
            }
            encoded[count] = byte;
            count += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        if let Some(copy) = copy {
            copy.extend_from_slice(&encoded[..count]);
        }
        Ok(value)
    }

    /// The next `count` bytes, added to `copy`.
    fn copy(&mut self, mut count: u64, copy: &mut Vec<u8>) -> Told<()> {
        if count > self.remaining() {
            return Err(Stop::Damaged("a field is longer than the file".into()));
        }
        let fits = usize::try_from(count).is_ok_and(|n| copy.try_reserve(n).is_ok());
        if !fits {
            return Err(
                error::out_of_memory(format!("no memory for a field of {count} bytes")).into()
            );
        }
        while count > 0 {
            self.advance()?;
            let some = count.min((self.window.len() - self.at) as u64) as usize;
            copy.extend_from_slice(&self.window[self.at..self.at + some]);
            self.at += some;
            count -= some as u64;
        }
        Ok(())
    }

    /// The next `to.len()` bytes.
    fn take(&mut self, to: &mut [u8]) -> Told<()> {
        let ahead = to.len().min(self.window.len() - self.at);
        let (first, rest) = to.split_at_mut(ahead);
        first.copy_from_slice(&self.window[self.at..self.at + ahead]);
        self.at += ahead;
        self.left -= rest.len() as u64;
        Self::fill(self.file, &mut self.hash, &mut self.offset, rest)
    }

    /// Copies a field whose key was read, as it is.
    fn field(&mut self, key: Key, copy: &mut Vec<u8>) -> Told<()> {
        prost::encoding::encode_varint(key.0, copy);
        match key.0 & 7 {
            0 => self.varint(Some(copy)).map(drop),
            1 => self.copy(8, copy),
            2 => {
                let length = self.varint(Some(copy))?;
                self.copy(length, copy)
            }
            5 => self.copy(4, copy),
            other => Err(Stop::Damaged(format!("wire type {other}"))),
        }
    }

    /// Calls `field` with each key of a message of so many bytes; it reads the
    /// field.
    fn message(
        &mut self,
        length: u64,
        mut field: impl FnMut(&mut Self, Key) -> Told<()>,
    ) -> Told<()> {
        let end = self.remaining().checked_sub(length);
        let end = end.ok_or_else(|| Stop::Damaged("a message is longer than the file".into()))?;
        while self.remaining() > end {
            let key = Key(self.varint(None)?);
            field(self, key)?;
        }
        if self.remaining() < end {
            return Err(Stop::Damaged("a field is longer than its message".into()));
        }
        Ok(())
    }

    /// As [`Scanner::message`], for one that its length comes before.
    fn nested(&mut self, field: impl FnMut(&mut Self, Key) -> Told<()>) -> Told<()> {
        let length = self.varint(None)?;
        self.message(length, field)
    }

    fn model(&mut self, rest: &mut Vec<u8>, graph: &mut Graph) -> Told<()> {
        self.message(self.remaining(), |it, key| match key {
            MODEL_GRAPH => {
                graph.is_there = true;
                it.nested(|it, key| it.in_graph(key, graph))
            }
            _ => it.field(key, rest),
        })
    }

    fn in_graph(&mut self, key: Key, graph: &mut Graph) -> Told<()> {
        match key {
            GRAPH_INITIALIZER => {
                graph.initializers.push(self.tensor(|proto| Some(proto.name.clone()))?);
                Ok(())
            }
            GRAPH_NODE => {
                graph.nodes.push(self.node()?);
                Ok(())
            }
            _ => self.field(key, &mut graph.rest),
        }
    }

    fn node(&mut self) -> Told<pb::NodeProto> {
        let (mut rest, mut attributes) = (Vec::new(), Vec::new());
        self.nested(|it, key| match key {
            NODE_ATTRIBUTE => {
                attributes.push(it.attribute(&rest)?);
                Ok(())
            }
            _ => it.field(key, &mut rest),
        })?;
        let mut node = pb::NodeProto::decode(rest.as_slice())?;
        node.attribute = attributes;
        Ok(node)
    }

    /// An attribute of the node whose other fields so far are `node`.
    fn attribute(&mut self, node: &[u8]) -> Told<pb::AttributeProto> {
        let (mut rest, mut tensor) = (Vec::new(), None);
        self.nested(|it, key| {
            if key != ATTRIBUTE_TENSOR || tensor.is_some() {
                return it.field(key, &mut rest);
            }
            tensor = Some(it.tensor(|_| constant(node))?);
            Ok(())
        })?;
        let mut attribute = pb::AttributeProto::decode(rest.as_slice())?;
        attribute.t = tensor.or(attribute.t);
        Ok(attribute)
    }

    /// A tensor; `name` says what its payload is called.
    fn tensor(&mut self, name: impl Fn(&TensorProto) -> Option<String>) -> Told<TensorProto> {
        let mut rest = Vec::new();
        self.nested(|it, key| {
            if key != TENSOR_RAW_DATA {
                return it.field(key, &mut rest);
            }
            let length = it.varint(None)?;
            if length >= LARGE && it.payload(length, &rest, &name)? {
                return Ok(());
            }
            prost::encoding::encode_varint(key.0, &mut rest);
            prost::encoding::encode_varint(length, &mut rest);
            it.copy(length, &mut rest)
        })?;
        Ok(TensorProto::decode(rest.as_slice())?)
    }

    /// Reads a payload to its place; false when what is known of its tensor does
    /// not say where that is.
    fn payload(
        &mut self,
        length: u64,
        before: &[u8],
        name: impl Fn(&TensorProto) -> Option<String>,
    ) -> Told<bool> {
        if before.len() > SHORT || length > self.room.min(self.remaining()) {
            return Ok(false);
        }
        let proto = TensorProto::decode(before)?;
        let (Some(name), Some((dtype, shape))) = (name(&proto), placed(&proto, length)) else {
            return Ok(false);
        };
        if self.payloads.contains_key(&name) {
            return Ok(false);
        }
        pool::expect(length)?;
        let mut tensor = zeros(dtype, &shape)?;
        self.take(tensor.as_bytes_mut())?;
        self.room -= length;
        self.payloads.insert(name, tensor);
        Ok(true)
    }
}

/// The output of a `Constant` node, of which these fields are known.
fn constant(node: &[u8]) -> Option<String> {
    let node = (node.len() <= SHORT).then(|| pb::NodeProto::decode(node).ok())??;
    let [output] = node.output.as_slice() else { return None };
    (node.op_type == "Constant").then(|| output.clone())
}

/// What a payload of so many bytes is, when the tensor's other fields agree on it.
fn placed(proto: &TensorProto, length: u64) -> Option<(DType, Shape)> {
    let dtype = dtype_of(proto.data_type).ok()?;
    let plain = !matches!(dtype, DType::String | DType::Bool)
        && proto.segment.is_none()
        && proto.raw_data.is_empty()
        && proto.data_location != Some(DataLocation::External as i32);
    let dims = proto.dims.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<Vec<_>>>()?;
    let shape = Shape::new(&dims).ok()?;
    (plain && shape.size_bytes(dtype) as u64 == length).then_some((dtype, shape))
}

#[cfg(test)]
mod tests;
