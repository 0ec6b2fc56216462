"""The models that are mutated: small ones made here, and real ones from target/models.

`python seeds.py` checks those made here with ONNX's checker.
"""

from __future__ import annotations

import functools
import pathlib

import numpy as np
import onnx
from onnx import helper

from build import BOOL, F32, I8, I64, STRING, U8, const, graph, info, model, node, weights

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXTERNAL_FILE = "weights.bin"
EXTERNAL_BYTES = weights("external", 4096).raw_data
# Dims that make a model run, where small ones do not.
REAL = {
    "silero_vad_openvino_16k": {},
    "ppocr_cls": {},
    "wakeword_alexa": {},
    "wakeword_hey_jarvis": {},
    "wakeword_melspectrogram": {"input": [1, 4000]},
    "resample_48_16": {"waveforms": [1, 960], "waveforms_lens": [1]},
}


def mlp():
    nodes = [
        node("Gemm", ["x", "w1", "b1"], ["h1"], "first", transB=0, alpha=1.0),
        node("Relu", ["h1"], ["a1"]),
        node("Gemm", ["a1", "w2", "b2"], ["h2"], "second", transB=1),
        node("Clip", ["h2", "low", "high"], ["c"]),
        node("Softmax", ["c"], ["y"], axis=-1),
        node("ArgMax", ["c"], ["best"], axis=1, keepdims=0),
    ]
    constants = [weights("w1", 6, 10), weights("b1", 10), weights("w2", 4, 10), weights("b2", 4)]
    constants += [const("low", np.float32(-6)), const("high", np.float32(6))]
    outputs = [info("y", F32, ["batch", 4]), info("best", I64, ["batch"])]
    return model("mlp", nodes, [info("x", F32, ["batch", 6])], outputs, constants)


def convnet():
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], "stem", pads=[1, 1, 1, 1], strides=[2, 2],
             kernel_shape=[3, 3]),
        node("BatchNormalization", ["c1", "g", "b", "m", "v"], ["n1"], epsilon=1e-5),
        node("HardSwish", ["n1"], ["a1"]),
        node("Conv", ["a1", "w2"], ["c2"], "wide", dilations=[2, 2], pads=[2, 2, 2, 2], group=4),
        node("MaxPool", ["c2"], ["p1"], kernel_shape=[2, 2], strides=[1, 1], pads=[0, 0, 1, 1]),
        node("Resize", ["p1", "", "scales"], ["r1"], "up", mode="nearest",
             coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        node("AveragePool", ["r1"], ["p2"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        node("GlobalAveragePool", ["p2"], ["mean"]),
        node("Flatten", ["mean"], ["y"], axis=1),
    ]
    constants = [weights("w1", 8, 3, 3, 3), weights("b1", 8), weights("w2", 8, 2, 3, 3)]
    constants += [const(n, np.full(8, 0.5, np.float32)) for n in "gbmv"]
    constants.append(const("scales", np.array([1, 1, 2, 2], np.float32)))
    shape = ["batch", 3, "height", "width"]
    return model("convnet", nodes, [info("x", F32, shape)], [info("y", F32, ["batch", 8])], constants)


def encoder():
    nodes = [
        node("Gather", ["words", "ids"], ["v"], "embed", axis=0),
        node("LayerNormalization", ["v", "g", "b"], ["n"], "norm", axis=-1, epsilon=1e-5),
        node("MatMul", ["n", "w"], ["qkv"]),
        node("Split", ["qkv", "thirds"], ["q", "k", "u"], axis=2),
        node("Reshape", ["q", "heads"], ["q4"]),
        node("Transpose", ["q4"], ["qt"], perm=[0, 2, 1, 3]),
        node("Reshape", ["k", "heads"], ["k4"]),
        node("Transpose", ["k4"], ["kt"], perm=[0, 2, 3, 1]),
        node("MatMul", ["qt", "kt"], ["scores"]),
        node("Softmax", ["scores"], ["p"], axis=-1),
        node("Reshape", ["u", "heads"], ["u4"]),
        node("Transpose", ["u4"], ["ut"], perm=[0, 2, 1, 3]),
        node("MatMul", ["p", "ut"], ["mixed"]),
        node("Transpose", ["mixed"], ["back"], perm=[0, 2, 1, 3]),
        node("Reshape", ["back", "join"], ["o"]),
        node("Attention", ["q", "k", "u"], ["o2"], "fused", q_num_heads=2, kv_num_heads=2),
        node("Concat", ["o", "o2", "v"], ["y"], axis=-1),
    ]
    constants = [weights("words", 20, 8), weights("g", 8), weights("b", 8), weights("w", 8, 24),
                 const("thirds", [8, 8, 8]), const("heads", [0, 0, 2, 4]), const("join", [0, 0, 8])]
    return model("encoder", nodes, [info("ids", I64, ["batch", "length"])],
                 [info("y", F32, ["batch", "length", 24])], constants, opset=23)


def recurrent():
    nodes = [
        node("GRU", ["x", "gw", "gr", "gb", "", "h"], ["g", "h_out"], hidden_size=4,
             linear_before_reset=1),
        node("Squeeze", ["g", "one"], ["g3"]),
        node("LSTM", ["g3", "lw", "lr", "lb"], ["l", "lh", "lc"], hidden_size=4,
             direction="bidirectional"),
        node("RNN", ["x", "rw", "rr", "rb"], ["r", "rh"], hidden_size=4, activations=["Tanh"]),
    ]
    constants = [weights("gw", 1, 12, 3), weights("gr", 1, 12, 4), weights("gb", 1, 24),
                 weights("lw", 2, 16, 4), weights("lr", 2, 16, 4), weights("lb", 2, 32),
                 weights("rw", 1, 4, 3), weights("rr", 1, 4, 4), weights("rb", 1, 8),
                 const("one", [1])]
    inputs = [info("x", F32, ["steps", "batch", 3]), info("h", F32, [1, "batch", 4])]
    outputs = [info("h_out", F32, [1, "batch", 4]), info("l", F32, ["steps", 2, "batch", 4]),
               info("rh", F32, [1, "batch", 4])]
    return model("recurrent", nodes, inputs, outputs, constants)


def control():
    def branch(name, op):
        return graph(name, [node(op, ["x", "two"], [name + "_y"])], [], [info(name + "_y", F32, ["n", 3])])

    turn = graph(
        "turn",
        [node("Identity", ["go"], ["go_on"]), node("Add", ["v", "chosen"], ["v_on"]),
         node("ReduceSum", ["v_on"], ["sum"], keepdims=0)],
        [info("i", I64, []), info("go", BOOL, []), info("v", F32, ["n", 3])],
        [info("go_on", BOOL, []), info("v_on", F32, ["n", 3]), info("sum", F32, [])])
    row = graph(
        "row", [node("Add", ["s", "r"], ["s_on"]), node("Mul", ["s_on", "two"], ["r_on"])],
        [info("s", F32, [3]), info("r", F32, [3])], [info("s_on", F32, [3]), info("r_on", F32, [3])])
    nodes = [
        node("If", ["flag"], ["chosen"], "choose", then_branch=branch("a", "Add"),
             else_branch=branch("b", "Mul")),
        node("Loop", ["times", "yes", "x"], ["v_end", "sums"], "repeat", body=turn),
        node("Scan", ["start", "v_end"], ["total", "rows"], "scan", body=row, num_scan_inputs=1),
    ]
    constants = [const("two", np.float32(2)), const("yes", np.array(True)), const("times", np.int64(3)),
                 const("start", np.zeros(3, np.float32))]
    inputs = [info("x", F32, ["n", 3]), info("flag", BOOL, [])]
    outputs = [info("sums", F32, ["turns"]), info("total", F32, [3]), info("rows", F32, ["n", 3])]
    return model("control", nodes, inputs, outputs, constants)


def quantised():
    nodes = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        node("QLinearMatMul", ["xq", "xs", "xz", "w", "ws", "wz", "ys", "xz"], ["yq"]),
        node("DequantizeLinear", ["yq", "ys", "xz"], ["y"]),
        node("DynamicQuantizeLinear", ["x"], ["dq", "ds", "dz"]),
        node("MatMulInteger", ["dq", "w", "dz", "wz"], ["whole"]),
        node("Cast", ["whole"], ["f"], to=F32),
        node("Mul", ["f", "ds"], ["z"]),
        node("DequantizeLinear", ["w", "rows", "row_zeros"], ["wd"], axis=1),
        node("MatMul", ["x", "wd"], ["u"]),
    ]
    constants = [const("xs", np.float32(0.05)), const("xz", np.uint8(128)), const("ws", np.float32(0.02)),
                 const("wz", np.int8(0)), const("ys", np.float32(0.1)),
                 const("w", np.arange(-12, 12, dtype=np.int8).reshape(6, 4)),
                 const("rows", np.full(4, 0.1, np.float32)), const("row_zeros", np.zeros(4, np.int8))]
    outputs = [info(n, F32, ["batch", 4]) for n in "yzu"]
    return model("quantised", nodes, [info("x", F32, ["batch", 6])], outputs, constants)


def indices():
    nodes = [
        node("Gather", ["table", "at"], ["g"], axis=1),
        node("GatherElements", ["table", "spots"], ["ge"], axis=1),
        node("GatherND", ["table", "pairs"], ["gn"]),
        node("ScatterND", ["table", "pairs", "gn"], ["sn"]),
        node("OneHot", ["at", "depth", "pair"], ["oh"], axis=-1),
        node("TopK", ["table", "k"], ["top", "where"], axis=1, largest=1),
        node("NonZero", ["x"], ["nz"]),
        node("Slice", ["x", "from", "to", "axes", "steps"], ["s"]),
        node("Expand", ["x1", "wide"], ["e"]),
        node("Tile", ["x", "counts"], ["t"]),
        node("Range", ["zero", "limit", "step"], ["r"]),
        node("ConstantOfShape", ["wide"], ["c"], value=const("v", np.array([2], np.int64))),
    ]
    constants = [weights("table", 5, 7), const("spots", [[0, 1], [2, 3], [4, 5], [6, 0], [-1, -2]]),
                 const("pairs", [[0, 1], [4, 6], [2, 0]]), const("depth", np.int64(6)),
                 const("pair", np.array([0, 1], np.float32)), const("k", [3]), const("axes", [1]),
                 const("steps", [1]), weights("x1", 1, 1), const("counts", [2, 1]), const("wide", [3, 2]),
                 const("zero", np.int64(0)), const("step", np.int64(1))]
    inputs = [info("x", F32, ["n", 4]), info("at", I64, ["m"]), info("from", I64, [1]),
              info("to", I64, [1]), info("limit", I64, [])]
    floats = {"g": [5, "m"], "ge": [5, 2], "sn": [5, 7], "oh": ["m", 6], "top": [5, 3],
              "s": ["n", "cut"], "e": ["rows", "columns"], "t": ["tiled", 4]}
    integers = {"where": [5, 3], "nz": [2, "found"], "r": ["range"], "c": ["rows", "columns"]}
    outputs = [info(n, F32, d) for n, d in floats.items()]
    outputs += [info(n, I64, d) for n, d in integers.items()]
    return model("indices", nodes, inputs, outputs, constants)


def shapes():
    nodes = [
        node("Pad", ["x", "pads"], ["p"], mode="reflect"),
        node("ConvTranspose", ["p", "w"], ["ct"], strides=[2, 2], pads=[1, 1, 1, 1],
             output_padding=[1, 1]),
        node("DepthToSpace", ["ct"], ["d"], blocksize=2, mode="DCR"),
        node("CumSum", ["d", "axis"], ["cs"], exclusive=0),
        node("Reshape", ["cs", "flat"], ["f"], allowzero=0),
        node("Einsum", ["cs", "cs"], ["e"], equation="bchw,bdhw->bhc"),
        node("ReduceMax", ["e", "last"], ["m"], keepdims=1),
        node("Squeeze", ["m", "last"], ["y"]),
        node("Shape", ["x"], ["dims"], start=1),
        node("Slice", ["dims", "a", "b"], ["hw"]),
        node("Concat", ["hw", "last"], ["z"], axis=0),
        node("SpaceToDepth", ["both"], ["sd"], blocksize=2),
        node("Trilu", ["x", "k"], ["u"], upper=0),
    ]
    constants = [const("pads", [0, 0, 1, 1, 0, 0, 1, 1]), weights("w", 2, 4, 3, 3), const("axis", np.int64(2)),
                 const("flat", [0, -1]), const("last", [2]), const("a", [1]), const("b", [3]),
                 const("k", np.int64(-1))]
    inputs = [info("x", F32, ["batch", 2, "height", "width"]),
              info("both", F32, ["batch", 1, "2*height", "2*width"])]
    outputs = [info("y", F32, ["batch", "rows"]), info("f", F32, ["batch", "all"]), info("z", I64, [3]),
               info("sd", F32, ["batch", 4, "height", "width"]), info("u", F32, ["batch", 2, "height", "width"])]
    return model("shapes", nodes, inputs, outputs, constants)


def words():
    tree = dict(
        nodes_treeids=[0] * 5, nodes_nodeids=[0, 1, 2, 3, 4], nodes_featureids=[0, 1, 0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "BRANCH_LT", "LEAF", "LEAF", "LEAF"],
        nodes_values=[0.5, 0.1, 0.0, 0.0, 0.0], nodes_truenodeids=[1, 2, 0, 0, 0],
        nodes_falsenodeids=[4, 3, 0, 0, 0], target_treeids=[0] * 3, target_nodeids=[2, 3, 4],
        target_ids=[0, 1, 0], target_weights=[1.0, 2.0, 3.0], n_targets=2)
    nodes = [
        node("StringNormalizer", ["text"], ["lower"], case_change_action="LOWER", stopwords=["the"]),
        node("LabelEncoder", ["lower"], ["ids"], domain="ai.onnx.ml", keys_strings=["a", "b", "monday"],
             values_int64s=[1, 2, 3], default_int64=0),
        node("TfIdfVectorizer", ["ids"], ["tf"], mode="TF", min_gram_length=1, max_gram_length=2,
             max_skip_count=1, ngram_counts=[0, 2], ngram_indexes=[0, 1, 2], pool_int64s=[1, 2, 1, 2]),
        node("TreeEnsembleRegressor", ["x"], ["trees"], domain="ai.onnx.ml", **tree),
    ]
    inputs = [info("text", STRING, ["n"]), info("x", F32, ["batch", 2])]
    outputs = [info("ids", I64, ["words"]), info("tf", F32, [3]), info("trees", F32, ["batch", 2])]
    return model("words", nodes, inputs, outputs, domains=[("ai.onnx.ml", 3)])


def functions():
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    twice = helper.make_function("local", "Twice", ["a"], ["b"],
                                 [node("Add", ["a", "a"], ["b"], "sum")], opsets)
    leaky = node("LeakyRelu", ["c"], ["d"], "bend")
    leaky.attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    block = helper.make_function(
        "local", "Block", ["a", "w"], ["d"],
        [node("MatMul", ["a", "w"], ["m"], "product"), node("Twice", ["m"], ["c"], "twice", domain="local"),
         leaky],
        opsets, ["slope"])
    nodes = [node("Block", ["x", "w"], ["h"], "one", domain="local", slope=0.1),
             node("Block", ["h", "w"], ["y"], "two", domain="local", slope=0.2)]
    return model("functions", nodes, [info("x", F32, ["n", 4])], [info("y", F32, ["n", 4])],
                 [weights("w", 4, 4)], domains=[("local", 1)], functions=[twice, block])


def external():
    made = mlp()
    at = 0
    for weight in made.graph.initializer:
        size = len(weight.raw_data)
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", EXTERNAL_FILE), ("offset", at), ("length", size)):
            weight.external_data.add(key=key, value=str(value))
        at += (size + 63) // 64 * 64
    return made


MADE = (mlp, convnet, encoder, recurrent, control, quantised, indices, shapes, words, functions, external)


@functools.cache
def seed(name: str) -> bytes | None:
    """A seed's bytes; None for a real one that is not there."""
    if name not in REAL:
        return next(m for m in MADE if m.__name__ == name)().SerializeToString()
    path = ROOT / "target/models" / f"{name}.onnx"
    if not path.is_file():
        return None
    real = onnx.load(path)
    for port in real.graph.input:
        for dim, value in zip(port.type.tensor_type.shape.dim, REAL[name].get(port.name, []), strict=False):
            dim.dim_value = value
    return real.SerializeToString()


def names() -> list[str]:
    return [m.__name__ for m in MADE] + list(REAL)


if __name__ == "__main__":
    for maker in MADE:
        made = maker()
        if made.graph.initializer and made.graph.initializer[0].data_location:
            continue  # its file is not here
        onnx.checker.check_model(made, full_check=True)
        print(maker.__name__, "is valid,", made.ByteSize(), "bytes")
