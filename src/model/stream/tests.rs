//! Files as they come, and as one decoder alone reads them.

use super::*;
use crate::host::Slice;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto};

fn tensor(name: &str, dims: &[i64], fill: u8) -> TensorProto {
    let count = dims.iter().product::<i64>() as usize * 4;
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: 1,
        raw_data: (0..count).map(|i| (i as u8).wrapping_mul(fill)).collect(),
        ..Default::default()
    }
}

fn constant(name: &str, value: TensorProto) -> NodeProto {
    NodeProto {
        op_type: "Constant".into(),
        output: vec![name.into()],
        attribute: vec![AttributeProto {
            name: "value".into(),
            t: Some(value),
            r#type: 4,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn model() -> ModelProto {
    let neg = NodeProto {
        op_type: "Neg".into(),
        input: vec!["x".into()],
        output: vec!["y".into()],
        ..Default::default()
    };
    ModelProto {
        ir_version: 8,
        producer_name: "a test".into(),
        graph: Some(GraphProto {
            name: "graph".into(),
            node: vec![
                constant("c", tensor("", &[33, 32], 3)),
                neg,
                constant("d", tensor("", &[2], 5)),
            ],
            initializer: vec![
                tensor("w", &[64, 100], 7),
                tensor("b", &[9], 11),
                tensor("v", &[1025], 13),
            ],
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The message as one decoder alone reads it.
fn whole(streamed: Streamed) -> ModelProto {
    let Streamed { mut proto, mut payloads, .. } = streamed;
    let graph = proto.graph.as_mut().unwrap();
    let mut put = |name: &str, to: &mut TensorProto| {
        if let Some(payload) = payloads.remove(name) {
            to.raw_data = payload.as_bytes().to_vec();
        }
    };
    for weight in &mut graph.initializer {
        let name = weight.name.clone();
        put(&name, weight);
    }
    for node in &mut graph.node {
        if let (Some(name), [AttributeProto { t: Some(t), .. }]) =
            (node.output.first(), node.attribute.as_mut_slice())
        {
            put(name, t);
        }
    }
    assert!(payloads.is_empty(), "{:?}", payloads.keys());
    proto
}

#[test]
fn payloads_are_apart_and_all_else_is_as_decoded() {
    let bytes = model().encode_to_vec();
    let streamed = read(&mut Slice(&bytes), u64::MAX).unwrap();
    let mut names: Vec<&String> = streamed.payloads.keys().collect();
    names.sort();
    assert_eq!(names, ["c", "v", "w"]);
    assert_eq!(streamed.payloads["w"].shape(), [64, 100]);
    assert_eq!(streamed.hash, *blake3::hash(&bytes).as_bytes());
    assert_eq!(whole(streamed), model());
    // Past the limit they are fields, for others to refuse.
    assert!(read(&mut Slice(&bytes), 5000).unwrap().payloads.len() < 2);
}

#[test]
fn what_is_damaged_is_refused_as_one_decoder_alone_does() {
    let bytes = model().encode_to_vec();
    let mut state = 1u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let mut agreed = 0;
    for turn in 0..4000 {
        let mut bytes = bytes.clone();
        match turn % 3 {
            0 => bytes.truncate(next(bytes.len())),
            // Where the structure is, for the most part.
            1 => {
                let at = [next(300), next(bytes.len())][turn % 2];
                bytes[at] ^= 1 << next(8);
            }
            _ => drop(bytes.drain(..next(200))),
        }
        let plain = ModelProto::decode(bytes.as_slice()).ok().filter(|m| m.graph.is_some());
        let read = read(&mut Slice(&bytes), u64::MAX).ok();
        assert_eq!(plain.is_some(), read.is_some(), "turn {turn}");
        if let (Some(plain), Some(read)) = (plain, read) {
            assert_eq!(whole(read), plain, "turn {turn}");
            agreed += 1;
        }
    }
    assert!(agreed > 100, "{agreed}");
}
