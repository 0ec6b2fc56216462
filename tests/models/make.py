#!/usr/bin/env python3
"""Makes the small models the tests run on, into target/models.

    python3 tests/models/make.py [--dest FOLDER] [--list]

Each is one function below, named as its file, and says in its first line what
it is for. Weights come from fixed seeds, so the bytes are the same each time.
Some of these models are not meant to load: `REFUSED` names them and why.
"""

import argparse
import hashlib
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import policy_mlp as policy

ROOT = pathlib.Path(__file__).resolve().parents[2]
F32, F16, F64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE
I64, I32, I8, U8, BOOL = (TensorProto.INT64, TensorProto.INT32, TensorProto.INT8,
                          TensorProto.UINT8, TensorProto.BOOL)
MODELS = {}
REFUSED = {
    "external_missing": "its weights' file is not there",
    "external_escape": "its weights' file lies outside the model's folder",
    "unsupported_domain": "a node of a domain nobody knows",
    "unsupported_ops": "three nodes of operators few implement; all should be named at once",
}

FOLDERS = {"external_escape": "inside"}

node = helper.make_node
info = helper.make_tensor_value_info
uniform = policy.uniform


def made(function):
    MODELS[function.__name__] = function
    return function


def const(array, name):
    return numpy_helper.from_array(np.asarray(array), name)


def finish(name, nodes, inputs, outputs, weights=(), opset=17, domains=()):
    graph = helper.make_graph(nodes, name, inputs, outputs, list(weights))
    imports = [helper.make_opsetid("", opset)] + [helper.make_opsetid(d, 1) for d in domains]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8, producer_name="inferno")
    onnx.checker.check_model(model, full_check=True)
    return model


@made
def policy_mlp():
    """A policy network, 64 → 128 → 128 → 16, ReLU, symbolic batch."""
    return policy.build()


@made
def tanh_mlp():
    """The same with tanh."""
    return policy.build("Tanh", seed=64129, name="tanh_mlp")


@made
def mlp_512():
    """A larger one, 256 → 512 → 512 → 64."""
    return policy.build(sizes=(256, 512, 512, 64), seed=256512, name="mlp_512")


def recurrent(name, kind, gates, steps, batch, states, seed):
    random = np.random.RandomState(seed)
    wide = 128
    weights = [const((random.random_sample((1, gates * wide, n)) * 0.3 - 0.15).astype(np.float32), w)
               for n, w in ((40, "w"), (wide, "r"))]
    weights.append(const((random.random_sample((1, gates * wide * 2)) * 0.2 - 0.1).astype(np.float32), "b"))
    weights.append(const(uniform(random, wide, 8), "head"))
    weights.append(const(np.array([1], np.int64), "axis"))
    extra = {"linear_before_reset": 1} if kind == "GRU" else {}
    nodes = [
        node(kind, ["x", "w", "r", "b", ""] + states, ["all"] + [s + "_out" for s in states], kind.lower(),
             hidden_size=wide, **extra),
        node("Squeeze", ["all", "axis"], ["flat"], "one_direction"),
        node("MatMul", ["flat", "head"], ["y"], "head_product"),
    ]
    return finish(name, nodes,
                  [info("x", F32, [steps, batch, 40])] + [info(s, F32, [1, batch, wide]) for s in states],
                  [info("y", F32, [steps, batch, 8])] + [info(s + "_out", F32, [1, batch, wide]) for s in states],
                  weights)


@made
def gru_stream():
    """One GRU step a run, the state `h` coming in and going out as `h_out`."""
    return recurrent("gru_stream", "GRU", 3, 1, 1, ["h"], 40)


@made
def lstm_stream():
    """One LSTM step a run, two states."""
    return recurrent("lstm_stream", "LSTM", 4, 1, 1, ["h", "c"], 41)


@made
def gru_sequence():
    """A GRU with steps and batch both symbolic."""
    return recurrent("gru_sequence", "GRU", 3, "steps", "batch", ["h"], 42)


@made
def lstm_sequence():
    """An LSTM with steps and batch both symbolic."""
    return recurrent("lstm_sequence", "LSTM", 4, "steps", "batch", ["h", "c"], 43)


@made
def convnet_dynamic():
    """A convolutional network with batch, height and width dynamic."""
    random = np.random.RandomState(3)
    shapes = {"w0": (16, 3, 3, 3), "w1": (16, 1, 3, 3), "w2": (24, 16, 1, 1), "w3": (24, 24, 3, 3)}
    weights = [const((random.random_sample(s) * 2 - 1).astype(np.float32) * (2.0 / np.prod(s[1:])) ** 0.5, n)
               for n, s in shapes.items()]
    weights = [const(numpy_helper.to_array(w).astype(np.float32), w.name) for w in weights]
    weights += [const(uniform(random, s[0]) * np.float32(0.1), n.replace("w", "b")) for n, s in shapes.items()]
    weights += [const(uniform(random, 24, 10), "head"), const(np.float32(0), "low"), const(np.float32(6), "high")]
    nodes = [
        node("Conv", ["image", "w0", "b0"], ["c0"], "stem", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["c0"], ["a0"]),
        node("Conv", ["a0", "w1", "b1"], ["c1"], "depthwise", group=16, pads=[1, 1, 1, 1]),
        node("Clip", ["c1", "low", "high"], ["a1"]),
        node("Conv", ["a1", "w2", "b2"], ["c2"], "pointwise"),
        node("Conv", ["c2", "w3", "b3"], ["c3"], "residual", pads=[1, 1, 1, 1]),
        node("Add", ["c2", "c3"], ["s3"]),
        node("MaxPool", ["s3"], ["p3"], kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["p3"], ["mean"]),
        node("Flatten", ["mean"], ["flat"]),
        node("MatMul", ["flat", "head"], ["logits"]),
        node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    return finish("convnet_dynamic", nodes, [info("image", F32, ["batch", 3, "height", "width"])],
                  [info("probabilities", F32, ["batch", 10])], weights)


@made
def transformer():
    """A small text encoder: token ids and a mask, batch and length dynamic."""
    random = np.random.RandomState(4)
    wide, heads, layers, words = 64, 4, 2, 100
    weights = [const(uniform(random, words, wide), "words"), const(np.float32(-10000), "far"),
               const(np.float32(1), "one"), const(np.array([1, 2], np.int64), "mask_axes"),
               const(np.array([0, 0, heads, wide // heads], np.int64), "split"),
               const(np.array([0, 0, wide], np.int64), "join"),
               const(np.float32((wide // heads) ** -0.5), "scale"),
               const(np.float32(2 ** -0.5), "root"), const(np.float32(0.5), "half")]
    nodes = [
        node("Gather", ["words", "ids"], ["v0"]),
        node("Cast", ["mask"], ["mask_f"], to=F32),
        node("Sub", ["one", "mask_f"], ["mask_n"]),
        node("Mul", ["mask_n", "far"], ["mask_far"]),
        node("Unsqueeze", ["mask_far", "mask_axes"], ["mask_4"]),
    ]

    def dense(value, out, rows, columns):
        weights.append(const(uniform(random, rows, columns), out + ".w"))
        weights.append(const(uniform(random, columns) * np.float32(0.1), out + ".b"))
        nodes.append(node("MatMul", [value, out + ".w"], [out + ".product"]))
        nodes.append(node("Add", [out + ".product", out + ".b"], [out]))
        return out

    def norm(value, out):
        weights.append(const(np.ones(wide, np.float32), out + ".scale"))
        weights.append(const(uniform(random, wide) * np.float32(0.1), out + ".bias"))
        nodes.append(node("LayerNormalization", [value, out + ".scale", out + ".bias"], [out], axis=-1))
        return out

    value = "v0"
    for i in range(layers):
        p = f"layer{i}."
        parts = []
        for part, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
            nodes.append(node("Reshape", [dense(value, p + part, wide, wide), "split"], [p + part + "4"]))
            nodes.append(node("Transpose", [p + part + "4"], [p + part + "t"], perm=order))
            parts.append(p + part + "t")
        nodes += [
            node("MatMul", parts[:2], [p + "scores"]),
            node("Mul", [p + "scores", "scale"], [p + "scaled"]),
            node("Add", [p + "scaled", "mask_4"], [p + "masked"]),
            node("Softmax", [p + "masked"], [p + "weights"], axis=-1),
            node("MatMul", [p + "weights", parts[2]], [p + "mixed"]),
            node("Transpose", [p + "mixed"], [p + "back"], perm=[0, 2, 1, 3]),
            node("Reshape", [p + "back", "join"], [p + "joined"]),
        ]
        nodes.append(node("Add", [value, dense(p + "joined", p + "out", wide, wide)], [p + "sum1"]))
        value = norm(p + "sum1", p + "norm1")
        wider = dense(value, p + "up", wide, 4 * wide)
        nodes += [  # GELU as exporters write it
            node("Mul", [wider, "root"], [p + "g1"]), node("Erf", [p + "g1"], [p + "g2"]),
            node("Add", [p + "g2", "one"], [p + "g3"]), node("Mul", [wider, p + "g3"], [p + "g4"]),
            node("Mul", [p + "g4", "half"], [p + "gelu"]),
        ]
        nodes.append(node("Add", [value, dense(p + "gelu", p + "down", 4 * wide, wide)], [p + "sum2"]))
        value = norm(p + "sum2", p + "norm2")
    nodes.append(node("Identity", [value], ["hidden"]))
    return finish("transformer", nodes, [info("ids", I64, ["batch", "length"]), info("mask", I64, ["batch", "length"])],
                  [info("hidden", F32, ["batch", "length", wide])], weights)


def external(name, location):
    model = policy.build(seed=777, name=name)
    data = b""
    for weight in model.graph.initializer:
        raw = numpy_helper.to_array(weight).tobytes()
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", len(data)), ("length", len(raw))):
            entry = weight.external_data.add()
            entry.key, entry.value = key, str(value)
        data += raw + b"\0" * (-len(raw) % 64)
    return model, data


@made
def external_mlp(dest):
    """The policy network with its weights in external_mlp.bin beside it."""
    model, data = external("external_mlp", "external_mlp.bin")
    (dest / "external_mlp.bin").write_bytes(data)
    return model


@made
def external_missing():
    """Refused: weights in a file that is not there."""
    return external("external_missing", "not_there.bin")[0]


@made
def external_escape(dest):
    """Refused (in `inside/`): weights one folder up, though the file is there and right."""
    model, data = external("external_escape", "../external_escape.bin")
    (dest / "external_escape.bin").write_bytes(data)
    return model


@made
def unsupported_domain():
    """Refused: a node of a domain nobody knows."""
    return finish("unsupported_domain",
                  [node("Relu", ["x"], ["a"]), node("Mystery", ["a"], ["y"], "riddle", domain="com.example")],
                  [info("x", F32, [4])], [info("y", F32, [4])], domains=["com.example"])


@made
def unsupported_ops():
    """Refused: MaxRoiPool and com.microsoft's FusedMatMul, both named."""
    nodes = [
        node("MaxRoiPool", ["x", "rois"], ["a"], "pool", pooled_shape=[2, 2]),
        node("FusedMatMul", ["a", "a"], ["y"], "fused", domain="com.microsoft"),
    ]
    return finish("unsupported_ops", nodes, [info("x", F32, [1, 2, 8, 8])], [info("y", F32, [1, 2, 2, 2])],
                  [const(np.array([[0, 0, 0, 5, 5]], np.float32), "rois")], domains=["com.microsoft"])


@made
def vision_ops():
    """RoiAlign, DeformConv and Col2Im, which tract lacks."""
    weights = [const(np.ones((2, 2, 3, 3), np.float32), "w"), const(np.zeros((1, 18, 6, 6), np.float32), "offset"),
               const(np.array([[0, 0, 5, 5]], np.float32), "rois"), const(np.array([0], np.int64), "which"),
               const(np.array([6, 6], np.int64), "size"), const(np.array([1, 1], np.int64), "block")]
    nodes = [
        node("DeformConv", ["x", "w", "offset"], ["a"], "deform", pads=[0, 0, 0, 0]),
        node("RoiAlign", ["x", "rois", "which"], ["b"], "roi", output_height=6, output_width=6),
        node("Col2Im", ["columns", "size", "block"], ["c"], "fold"),
        node("Add", ["a", "b"], ["ab"]),
        node("Add", ["ab", "c"], ["y"]),
    ]
    return finish("vision_ops", nodes, [info("x", F32, [1, 2, 8, 8]), info("columns", F32, [1, 2, 36])],
                  [info("y", F32, [1, 2, 6, 6])], weights, opset=19)


def branch(name, op, other):
    return helper.make_graph([node(op, ["x", other], [name + "_out"])], name, [],
                             [info(name + "_out", F32, [2, 3])])


@made
def if_runtime():
    """An `If` on a condition that is an input."""
    return finish("if_runtime",
                  [node("If", ["cond"], ["y"], "choose", then_branch=branch("then", "Add", "k"),
                        else_branch=branch("else", "Mul", "k"))],
                  [info("cond", BOOL, []), info("x", F32, [2, 3])], [info("y", F32, [2, 3])],
                  [const(np.float32(3), "k")])


@made
def if_constant():
    """An `If` on a constant, whose other branch gives another rank."""
    bad = helper.make_graph([node("ReduceSum", ["x"], ["bad_out"], keepdims=0)], "bad", [],
                            [info("bad_out", F32, [])])
    return finish("if_constant",
                  [node("If", ["yes"], ["y"], "choose", then_branch=branch("then", "Add", "k"), else_branch=bad)],
                  [info("x", F32, [2, 3])], [info("y", F32, [2, 3])],
                  [const(np.float32(3), "k"), const(np.array(True), "yes")])


@made
def loop():
    """A `Loop` that doubles its input as often as `times` says."""
    body = helper.make_graph(
        [node("Identity", ["go_in"], ["go_out"]), node("Add", ["v", "v"], ["v_out"])], "body",
        [info("i", I64, []), info("go_in", BOOL, []), info("v", F32, [4])],
        [info("go_out", BOOL, []), info("v_out", F32, [4])])
    return finish("loop", [node("Loop", ["times", "yes", "x"], ["y"], "repeat", body=body)],
                  [info("times", I64, []), info("x", F32, [4])], [info("y", F32, [4])],
                  [const(np.array(True), "yes")])


@made
def scan():
    """A `Scan`: a running sum over a dynamic number of rows."""
    body = helper.make_graph([node("Add", ["sum", "row"], ["sum_out"]), node("Identity", ["sum_out"], ["row_out"])],
                             "body", [info("sum", F32, [3]), info("row", F32, [3])],
                             [info("sum_out", F32, [3]), info("row_out", F32, [3])])
    return finish("scan", [node("Scan", ["start", "rows"], ["total", "sums"], body=body, num_scan_inputs=1)],
                  [info("start", F32, [3]), info("rows", F32, ["rows", 3])],
                  [info("total", F32, [3]), info("sums", F32, ["rows", 3])])


@made
def dtypes():
    """One input and one output of every number type, passed through."""
    types = {"f32": F32, "f64": F64, "f16": F16, "i8": I8, "i16": TensorProto.INT16, "i32": I32, "i64": I64,
             "u8": U8, "u16": TensorProto.UINT16, "u32": TensorProto.UINT32, "u64": TensorProto.UINT64, "bool": BOOL}
    return finish("dtypes", [node("Identity", [n], [n + "_out"]) for n in types],
                  [info(n, t, [2, 3]) for n, t in types.items()],
                  [info(n + "_out", t, [2, 3]) for n, t in types.items()])


@made
def scalar():
    """Rank 0 in, rank 0 out."""
    return finish("scalar", [node("Mul", ["x", "x"], ["y"])], [info("x", F32, [])], [info("y", F32, [])])


@made
def multi_io():
    """Two inputs, three outputs of three types."""
    return finish("multi_io",
                  [node("Add", ["a", "b"], ["sum"]), node("ArgMax", ["a"], ["best"], axis=1, keepdims=0),
                   node("Greater", ["a", "b"], ["more"])],
                  [info("a", F32, ["batch", 5]), info("b", F32, ["batch", 5])],
                  [info("sum", F32, ["batch", 5]), info("best", I64, ["batch"]), info("more", BOOL, ["batch", 5])])


@made
def gather_rows():
    """Rows by index: an index out of range must be a status, not a crash."""
    return finish("gather_rows", [node("Gather", ["table", "index"], ["rows"], axis=0)],
                  [info("index", I64, ["count"])], [info("rows", F32, ["count", 4])],
                  [const(np.arange(40, dtype=np.float32).reshape(10, 4), "table")])


@made
def nonzero():
    """An output whose shape depends on the values."""
    return finish("nonzero", [node("NonZero", ["x"], ["where"])], [info("x", F32, ["n", 4])],
                  [info("where", I64, [2, "found"])])


@made
def half_mlp():
    """The policy network in f16."""
    model = policy.build(seed=161616, name="half_mlp")
    for i, weight in enumerate(model.graph.initializer):
        model.graph.initializer[i].CopyFrom(const(numpy_helper.to_array(weight).astype(np.float16), weight.name))
    for value in list(model.graph.input) + list(model.graph.output):
        value.type.tensor_type.elem_type = F16
    onnx.checker.check_model(model, full_check=True)
    return model


@made
def qdq_mlp():
    """Two layers quantised to int8 in the QDQ way."""
    random = np.random.RandomState(8)
    weights, nodes = [const(np.float32(0.05), "xs"), const(np.float32(0.04), "hs"), const(np.int8(0), "z")], []
    nodes += [node("QuantizeLinear", ["x", "xs", "z"], ["xq"]), node("DequantizeLinear", ["xq", "xs", "z"], ["v0"])]
    for i, (rows, columns) in enumerate(((32, 64), (64, 8))):
        weights += [const(random.randint(-127, 128, (rows, columns)).astype(np.int8), f"w{i}"),
                    const(np.float32(0.003), f"ws{i}"), const(uniform(random, columns) * np.float32(0.1), f"b{i}")]
        nodes += [node("DequantizeLinear", [f"w{i}", f"ws{i}", "z"], [f"wf{i}"]),
                  node("MatMul", [f"v{i}", f"wf{i}"], [f"m{i}"]), node("Add", [f"m{i}", f"b{i}"], [f"s{i}"])]
        if i == 0:
            nodes += [node("Relu", ["s0"], ["r0"]), node("QuantizeLinear", ["r0", "hs", "z"], ["q0"]),
                      node("DequantizeLinear", ["q0", "hs", "z"], ["v1"])]
    nodes.append(node("Identity", ["s1"], ["y"]))
    return finish("qdq_mlp", nodes, [info("x", F32, ["batch", 32])], [info("y", F32, ["batch", 8])], weights)


@made
def hungry():
    """4 bytes in, 4 bytes out, 64 MiB tensors between: for memory budgets."""
    return finish("hungry",
                  [node("Expand", ["x", "shape"], ["wide"], "expand"), node("Mul", ["wide", "ramp"], ["ramped"]),
                   node("Sin", ["ramped"], ["sines"]), node("ReduceMean", ["sines"], ["y"], keepdims=0)],
                  [info("x", F32, [1, 1])], [info("y", F32, [])],
                  [const(np.array([4096, 4096], np.int64), "shape"),
                   const(np.linspace(0, 1, 4096, dtype=np.float32), "ramp")])


@made
def slow():
    """48 products of 256 × 256 in a chain, one weight: for cancelling and time slices."""
    random = np.random.RandomState(9)
    nodes, value = [], "x"
    for i in range(48):
        nodes += [node("MatMul", [value, "w"], [f"m{i}"], f"product{i}"), node("Tanh", [f"m{i}"], [f"t{i}"])]
        value = f"t{i}"
    nodes.append(node("Identity", [value], ["y"]))
    return finish("slow", nodes, [info("x", F32, ["rows", 256])], [info("y", F32, ["rows", 256])],
                  [const(uniform(random, 256, 256) * np.float32(0.72), "w")])


@made
def long_names():
    """Names with spaces, slashes, colons and other alphabets, and metadata to match."""
    model = finish("long_names", [node("Neg", ["eingang: größe/x 0"], ["出力 % y"])],
                   [info("eingang: größe/x 0", F32, ["n", 2])], [info("出力 % y", F32, ["n", 2])])
    helper.set_model_props(model, {"beschreibung": "größer, 大きい", "leer": "", "zeilen": "one\ntwo\n"})
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dest", type=pathlib.Path, default=ROOT / "target" / "models")
    parser.add_argument("--list", action="store_true", help="print names and purposes only")
    args = parser.parse_args()
    if args.list:
        for name, function in MODELS.items():
            print(f"| `{name}` | {function.__doc__.strip()} |")
        return
    args.dest.mkdir(parents=True, exist_ok=True)
    for name, function in MODELS.items():
        model = function(args.dest) if function.__code__.co_argcount else function()
        data = model.SerializeToString(deterministic=True)
        path = args.dest / FOLDERS.get(name, "") / f"{name}.onnx"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        print(f"{hashlib.sha256(data).hexdigest()[:16]}  {path.relative_to(args.dest)}  {len(data)} bytes")


if __name__ == "__main__":
    main()
