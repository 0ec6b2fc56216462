//! Small models that load, each for one part of the library, and what the
//! targets have to know of them to make calls that succeed.

use crate::onnx::*;

/// An input or output: name, dtype, dims as `onnx::value_info` takes them.
pub type Port = (&'static str, i32, Option<&'static str>);

pub struct Known {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub inputs: &'static [Port],
    pub outputs: &'static [Port],
}

/// The file of external data that the model `external` asks for.
pub const WEIGHTS: &str = "weights.bin";

type Recipe = (&'static str, &'static [Port], &'static [Port], fn(Pb) -> Pb);

/// All of them; the same ones in the same order every time.
pub fn all() -> Vec<Known> {
    let known = |(name, inputs, outputs, body): &Recipe| Known {
        name,
        inputs,
        outputs,
        bytes: {
            let graph = inputs.iter().fold(Pb::default(), |g, p| g.message(11, port(p)));
            let graph = outputs.iter().fold(graph, |g, p| g.message(12, port(p)));
            let extra = Pb::default().message(14, entry("author", "inferno"));
            model(body(graph), name, 17, extra.message(14, entry("größe", "")))
        },
    };
    RECIPES.iter().map(known).collect()
}

const RECIPES: &[Recipe] = &[
    ("mlp", &[("x", F32, Some("batch,4"))], &[("y", F32, Some("batch,3"))], mlp),
    (
        "conv",
        &[("image", F32, Some("batch,2,height,width"))],
        &[("y", F32, Some("batch,3,?,?"))],
        conv,
    ),
    (
        "accumulator",
        &[("x", F32, Some("batch,3")), ("state", F32, Some("batch,3")), ("steps", I64, Some("1"))],
        &[("state_out", F32, Some("batch,3")), ("steps_out", I64, Some("1"))],
        accumulator,
    ),
    (
        "lookup",
        &[("index", I64, Some("1")), ("state", F32, Some("1,3"))],
        &[("y", F32, Some("1,3")), ("state_out", F32, Some("1,3"))],
        lookup,
    ),
    ("words", &[("x", STRING, Some("n"))], &[("y", STRING, Some("n"))], same),
    ("shapeless", &[("a", F32, None), ("b", F32, None)], &[("c", F32, None)], |g| {
        g.message(1, node("Add", "sum", "a,b", "c", &[]))
    }),
    (
        "reshape",
        &[("data", F32, Some("2,6")), ("shape", I64, Some("2"))],
        &[("y", F32, Some("?,?"))],
        |g| g.message(1, node("Reshape", "fold", "data,shape", "y", &[])),
    ),
    ("external", &[("x", F32, Some("4"))], &[("y", F32, Some("4"))], outside),
    ("choice", &[("yes", BOOL, Some("")), ("x", F32, Some("2,3"))], &[("y", F32, None)], choice),
    ("flags", &[("x", BOOL, Some("n,2"))], &[("y", BOOL, Some("n,2")), ("n", I64, None)], flags),
    ("halves", &[("x", F16, Some("n"))], &[("y", F64, Some("n"))], |g| {
        g.message(1, node("Cast", "widen", "x", "y", &[int_attribute("to", F64.into())]))
    }),
    ("pass", &[("x", F32, Some("n"))], &[("x", F32, Some("n")), ("w", F32, Some("2"))], |g| {
        g.message(5, weights("w", &[2]))
    }),
];

fn port((name, dtype, dims): &Port) -> Pb {
    value_info(name, *dtype, *dims)
}

fn weights(name: &str, dims: &[i64]) -> Pb {
    let count = dims.iter().product::<i64>();
    let data = (0..count).flat_map(|i| ((i * 37 % 64 - 32) as f32 / 32.0).to_le_bytes());
    tensor(name, F32, dims, &data.collect::<Vec<u8>>())
}

fn mlp(g: Pb) -> Pb {
    g.message(5, weights("w1", &[4, 8]))
        .message(5, weights("w2", &[8, 3]))
        .message(1, node("MatMul", "first", "x,w1", "a", &[]))
        .message(1, node("Relu", "bend", "a", "h", &[]))
        .message(1, node("MatMul", "second", "h,w2", "y", &[]))
}

fn conv(g: Pb) -> Pb {
    g.message(5, weights("w", &[3, 2, 3, 3]))
        .message(1, node("Conv", "edges", "image,w", "c", &[]))
        .message(1, node("Relu", "bend", "c", "y", &[]))
}

fn accumulator(g: Pb) -> Pb {
    g.message(5, tensor("one", I64, &[1], &1i64.to_le_bytes()))
        .message(1, node("Add", "step", "state,x", "state_out", &[]))
        .message(1, node("Add", "count", "steps,one", "steps_out", &[]))
}

/// An index past 3, or under -4, makes the run fail.
fn lookup(g: Pb) -> Pb {
    g.message(5, weights("table", &[4, 3]))
        .message(1, node("Gather", "lookup", "table,index", "y", &[]))
        .message(1, node("Add", "step", "state,y", "state_out", &[]))
}

fn same(g: Pb) -> Pb {
    g.message(1, node("Identity", "same", "x", "y", &[]))
}

fn outside(g: Pb) -> Pb {
    let place = [("location", WEIGHTS), ("offset", "4"), ("length", "16")];
    g.message(5, external("w", F32, &[4], &place)).message(1, node("Add", "sum", "x,w", "y", &[]))
}

/// y = x or 2 x, by a value that comes with the run.
fn choice(g: Pb) -> Pb {
    let branch = |op: &str, out: &str| {
        Pb::default()
            .message(1, node(op, op, "x,x", out, &[]))
            .message(12, value_info(out, F32, Some("2,3")))
    };
    let branches = [
        graph_attribute("then_branch", branch("Add", "then_y")),
        graph_attribute("else_branch", branch("Mul", "else_y")),
    ];
    g.message(1, node("If", "choice", "yes", "y", &branches))
}

/// The second output's size depends on the values.
fn flags(g: Pb) -> Pb {
    g.message(1, node("Not", "turn", "x", "y", &[]))
        .message(1, node("NonZero", "where", "x", "n", &[]))
}
