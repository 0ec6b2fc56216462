//! ONNX written by hand: protobuf fields, and the pieces of a model. The same
//! as `tests/c/onnx_writer.h`.

pub const F32: i32 = 1;
pub const I64: i32 = 7;
pub const STRING: i32 = 8;
pub const BOOL: i32 = 9;
pub const F16: i32 = 10;
pub const F64: i32 = 11;

/// A protobuf message under construction.
#[derive(Default, Clone)]
pub struct Pb(pub Vec<u8>);

impl Pb {
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub fn int(mut self, field: u32, value: i64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(value as u64);
        self
    }

    pub fn float(mut self, field: u32, value: f32) -> Self {
        self.varint(u64::from(field) << 3 | 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    pub fn text(self, field: u32, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    pub fn message(self, field: u32, part: Pb) -> Self {
        self.bytes(field, &part.0)
    }

    pub fn append(mut self, other: Pb) -> Self {
        self.0.extend(other.0);
        self
    }
}

/// ValueInfoProto. `dims` is a comma-separated list of numbers, symbols, and
/// "?"; `None` leaves even the rank open.
pub fn value_info(name: &str, dtype: i32, dims: Option<&str>) -> Pb {
    let mut tensor = Pb::default().int(1, dtype.into());
    if let Some(dims) = dims {
        let shape = split(dims).fold(Pb::default(), |shape, dim| {
            shape.message(
                1,
                match dim.parse() {
                    Ok(fixed) => Pb::default().int(1, fixed),
                    Err(_) if dim == "?" => Pb::default(),
                    Err(_) => Pb::default().text(2, dim),
                },
            )
        });
        tensor = tensor.message(2, shape);
    }
    Pb::default().text(1, name).message(2, Pb::default().message(1, tensor))
}

/// TensorProto with raw data.
pub fn tensor(name: &str, dtype: i32, dims: &[i64], data: &[u8]) -> Pb {
    let head = dims.iter().fold(Pb::default(), |t, d| t.int(1, *d));
    head.int(2, dtype.into()).text(8, name).bytes(9, data)
}

/// TensorProto whose data lies in another file.
pub fn external(name: &str, dtype: i32, dims: &[i64], entries: &[(&str, &str)]) -> Pb {
    let head = dims.iter().fold(Pb::default(), |t, d| t.int(1, *d));
    let head = head.int(2, dtype.into()).text(8, name).int(14, 1);
    entries.iter().fold(head, |t, (key, value)| t.message(13, entry(key, value)))
}

/// StringStringEntryProto.
pub fn entry(key: &str, value: &str) -> Pb {
    Pb::default().text(1, key).text(2, value)
}

/// AttributeProto: `value` holds the field for its `kind`.
pub fn attribute(name: &str, kind: i64, value: Pb) -> Pb {
    Pb::default().text(1, name).append(value).int(20, kind)
}

pub fn int_attribute(name: &str, value: i64) -> Pb {
    attribute(name, 2, Pb::default().int(3, value))
}

pub fn graph_attribute(name: &str, graph: Pb) -> Pb {
    attribute(name, 5, Pb::default().message(6, graph.text(2, name)))
}

/// NodeProto; names are comma-separated.
pub fn node(op: &str, name: &str, inputs: &str, outputs: &str, attributes: &[Pb]) -> Pb {
    let node = split(inputs).fold(Pb::default(), |n, i| n.text(1, i));
    let node = split(outputs).fold(node, |n, o| n.text(2, o));
    let node = node.text(3, name).text(4, op);
    attributes.iter().fold(node, |n, a| n.message(5, a.clone()))
}

/// ModelProto, IR version 8.
pub fn model(graph: Pb, name: &str, opset: i64, extra: Pb) -> Vec<u8> {
    let import = Pb::default().text(1, "").int(2, opset);
    let head = Pb::default().int(1, 8).text(2, "inferno-fuzz").message(8, import);
    head.append(extra).message(7, graph.text(2, name)).0
}

/// The parts of a comma-separated list; none of an empty one.
pub fn split(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').take(if list.is_empty() { 0 } else { usize::MAX })
}
