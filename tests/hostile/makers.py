"""Small models about one thing each, for bombs.py (wild values) and named.py (known ones).

Each gives a ModelProto, or bytes where protobuf's own writer would be too slow or refuse.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from build import (BOOL, F32, I64, const, field, graph, info, model, node, one_node, raw_model,
                   raw_node, weights)

Y = ("y", F32, None)


def _given(value, dtype: int, name: str):
    """A constant, or with a str an input of these dims: "2" is [2], "" a scalar."""
    if not isinstance(value, str):
        return np.array(value, np.float32) if dtype == F32 else np.array(value, np.int64)
    return (name, dtype, [int(d) for d in value.split()])


def resize(scales: Sequence[float] | str | None, sizes: Sequence[int] | str | None = None, mode: str = "nearest",
           dims: Sequence = (1, 1, 4, 4), **attributes) -> onnx.ModelProto:
    inputs = [("x", F32, list(dims)), None]
    inputs.append(None if scales is None else _given(scales, F32, "scales"))
    if sizes is not None:
        inputs.append(_given(sizes, I64, "sizes"))
    return one_node("Resize", inputs, [Y], mode=mode, **attributes)


def conv(kernel: Sequence[int] = (3, 3), dims: Sequence = ("n", 1, "height", "width"), op: str = "Conv",
         weight_dims: Sequence[int] | None = None, **attributes) -> onnx.ModelProto:
    weight = np.full(weight_dims or (2, 1, *kernel), 0.5, np.float32)
    return one_node(op, [("x", F32, list(dims)), weight], [Y], **attributes)


def pool(kernel: Sequence[int] = (3, 3), dims: Sequence = ("n", 1, "height", "width"), op: str = "MaxPool",
         **attributes) -> onnx.ModelProto:
    return one_node(op, [("x", F32, list(dims))], [Y], kernel_shape=list(kernel), **attributes)


def layernorm(axis: int) -> onnx.ModelProto:
    inputs = [("x", F32, ["n", 4]), np.ones(4, np.float32), np.zeros(4, np.float32)]
    return one_node("LayerNormalization", inputs, [Y], axis=axis)


def transpose(perm: Sequence[int], dims: Sequence = ("a", 3, "b")) -> onnx.ModelProto:
    return one_node("Transpose", [("x", F32, list(dims))], [Y], perm=list(perm))


def scan(num_scan_inputs: int, directions: Sequence[int] = (), axes: Sequence[int] = ()) -> onnx.ModelProto:
    body = graph("body", [node("Add", ["s", "r"], ["s_on"]), node("Identity", ["s_on"], ["r_on"])],
                 [info("s", F32, [3]), info("r", F32, [3])], [info("s_on", F32, [3]), info("r_on", F32, [3])])
    attributes = {"scan_input_directions": list(directions)} if directions else {}
    attributes |= {"scan_input_axes": list(axes)} if axes else {}
    nodes = [node("Scan", ["start", "x"], ["end", "y"], "scan", body=body, num_scan_inputs=num_scan_inputs,
                  **attributes)]
    return model("scan", nodes, [info("start", F32, [3]), info("x", F32, ["n", 3])],
                 [info("end", F32, [3]), info("y", F32, ["n", 3])])


def loop(times: int | None, condition: bool | None, keeps: bool = True, collects: bool = False,
         grows: bool = False) -> onnx.ModelProto:
    """`keeps`: the condition never falls. `collects`: each turn gives a row. `grows`: its value doubles."""
    work = node("Concat", ["v", "v"], ["v_on"], axis=0) if grows else node("Add", ["v", "v"], ["v_on"])
    last = [node("Identity", ["v_on"], ["row"])] if collects else []
    rows = [info("row", F32, None)] if collects else []
    going = node("Identity", ["go"], ["go_on"]) if keeps else node("Not", ["go"], ["go_on"])
    body = graph("body", [going, work, *last], [info("i", I64, []), info("go", BOOL, []), info("v", F32, None)],
                 [info("go_on", BOOL, []), info("v_on", F32, None), *rows])
    constants = [const("times", np.int64(times))] if times is not None else []
    constants += [const("yes", np.array(condition))] if condition is not None else []
    inputs = ["times" if times is not None else "", "yes" if condition is not None else "", "x"]
    outputs = ["y", "rows"] if collects else ["y"]
    return model("loop", [node("Loop", inputs, outputs, "loop", body=body)], [info("x", F32, ["n"])],
                 [info(o, F32, None) for o in outputs], constants)


def condition(dims: Sequence | None) -> onnx.ModelProto:
    """An If on a condition that need not be a scalar, nor have an element."""
    branches = [graph(n, [node(op, ["x"], [n])], [], [info(n, F32, ["n"])]) for n, op in (("a", "Neg"), ("b", "Abs"))]
    made = node("If", ["flag"], ["y"], "choose", then_branch=branches[0], else_branch=branches[1])
    return model("condition", [made], [info("x", F32, ["n"]), info("flag", BOOL, dims)], [info("y", F32, ["n"])])


def batch_norm(dims: Sequence, lengths: Sequence[int], dtype=np.float32) -> onnx.ModelProto:
    """Scale, bias, mean and variance of these lengths, over channels that may be others."""
    sides = [np.ones(length, dtype) for length in lengths]
    return one_node("BatchNormalization", [("x", F32, list(dims)), *sides], [Y])


def product(op: str, left: Sequence[int], right: Sequence[int], constant: bool = True, **attributes) -> onnx.ModelProto:
    """A product whose inner dims may differ; of constants it is folded, which reads them at once."""
    sides = [np.ones(dims, np.float32) if constant else (name, F32, list(dims))
             for name, dims in (("a", left), ("b", right))]
    return one_node(op, sides, [Y], **attributes)


def normal(op: str, dims: Sequence[int], second, outputs: int = 1, **attributes) -> onnx.ModelProto:
    """An operator whose rules count down from the rank of `x`, or of its second input."""
    given = _given(second, I64 if isinstance(second, int) else F32, "second")
    return one_node(op, [("x", F32, list(dims)), given], [Y, *[(f"y{at}", F32, None) for at in range(1, outputs)]],
                    **attributes)


def counts(op: str, values: Sequence[int] | str) -> onnx.ModelProto:
    """Tile, Expand, ConstantOfShape, Reshape: by a constant, or by an input."""
    given = _given(values, I64, "counts")
    if op == "ConstantOfShape":
        return one_node(op, [given], [Y])
    return one_node(op, [("x", F32, [1, 2] if op == "Tile" else [1, 1]), given], [Y])


def arange(start, limit, delta, dtype=np.int64) -> onnx.ModelProto:
    """A Range; "" as a bound makes it an input."""
    kind = I64 if dtype == np.int64 else F32
    inputs = [(n, kind, []) if isinstance(v, str) else np.array(v, dtype)
              for n, v in (("start", start), ("limit", limit), ("delta", delta))]
    return one_node("Range", inputs, [("y", kind, None)])


def gather(op: str = "Gather", **attributes) -> onnx.ModelProto:
    """Indices come from the host: out of range as a rule, sooner or later."""
    table = np.arange(20, dtype=np.float32).reshape(5, 4)
    dims = {"Gather": ["n"], "GatherElements": [2, 4], "GatherND": ["n", 2]}[op]
    return one_node(op, [table, ("at", I64, dims)], [Y], **attributes)


def scatter(op: str, **attributes) -> onnx.ModelProto:
    table = np.zeros((5, 4), np.float32)
    indices, updates = ([3, 2], [3]) if op == "ScatterND" else ([2, 4], [2, 4])
    return one_node(op, [table, ("at", I64, indices), ("new", F32, updates)], [Y], **attributes)


def one_hot(depth, axis: int = -1) -> onnx.ModelProto:
    inputs = [("at", I64, ["n"]), _given(depth, I64, "depth"), np.array([0, 1], np.float32)]
    return one_node("OneHot", inputs, [Y], axis=axis)


def division(op: str = "Div", dtype: int = I64, by: str = "input", **attributes) -> onnx.ModelProto:
    """`by` "input", "zero", "minus_one": the last overflows with the least integer."""
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    divisor = ("b", dtype, ["n"]) if by == "input" else np.array([0 if by == "zero" else -1], kind)
    return one_node(op, [("a", dtype, ["n"]), divisor], [("y", dtype, ["n"])], **attributes)


def pad(pads: Sequence[int] | str, mode: str = "constant", dims: Sequence = ("n", 4)) -> onnx.ModelProto:
    return one_node("Pad", [("x", F32, list(dims)), _given(pads, I64, "pads")], [Y], mode=mode)


def sliced(starts: Sequence[int], ends: Sequence[int], axes: Sequence[int], steps: Sequence[int]) -> onnx.ModelProto:
    inputs = [("x", F32, ["n", 4]), *(np.array(v, np.int64) for v in (starts, ends, axes, steps))]
    return one_node("Slice", inputs, [Y])


def topk(k, axis: int = -1) -> onnx.ModelProto:
    return one_node("TopK", [("x", F32, ["n", 6]), _given(k, I64, "k")], [Y, ("i", I64, None)], axis=axis)


def einsum(equation: str, dims: Sequence[Sequence]) -> onnx.ModelProto:
    return one_node("Einsum", [(f"x{k}", F32, list(d)) for k, d in enumerate(dims)], [Y], equation=equation)


def many_letters(letters: int) -> onnx.ModelProto:
    names = [chr(ord("A") + k) if k < 26 else chr(ord("a") + k - 26) for k in range(min(letters, 52))]
    parts = [names[k] + names[k + 1] for k in range(len(names) - 1)]
    return einsum(",".join(parts) + "->" + "".join(names), [[2, 2]] * len(parts))


def dim_param(text: str, inputs: int = 1) -> onnx.ModelProto:
    ports = [info(f"x{k}", F32, [text, 2]) for k in range(inputs)]
    nodes = [node("Concat", [p.name for p in ports], ["y"], axis=0)]
    return model("dim_param", nodes, ports, [info("y", F32, None)])


def long_chain(count: int, op: str = "Relu") -> bytes:
    twice = 2 if op in ("Add", "Mul", "Max") else 1
    nodes = (raw_node(op, [f"v{k}"] * twice, [f"v{k + 1}"]) for k in range(count))
    return raw_model(nodes, [info("v0", F32, ["n"])], [info(f"v{count}", F32, ["n"])])


def wide_fan_in(count: int, op: str = "Sum") -> bytes:
    """One node with many inputs. Half of them are the input, the rest are weights."""
    attributes = []
    if op == "Concat":
        attributes = [helper.make_attribute("axis", 0).SerializeToString()]
    if op == "Einsum":
        equation = ",".join("a" for _ in range(count)) + "->a"
        attributes = [helper.make_attribute("equation", equation).SerializeToString()]
    return raw_model([raw_node(op, ["x", "w"] * (count // 2), ["y"], *attributes)], [info("x", F32, [2])],
                     [info("y", F32, None)], [weights("w", 2)])


def wide_fan_out(count: int) -> bytes:
    """A Split into many, each an output of the model."""
    names = [f"y{k}" for k in range(count)]
    made = raw_node("Split", ["x"], names, helper.make_attribute("num_outputs", count).SerializeToString())
    return raw_model([made], [info("x", F32, [count])], [info(n, F32, None) for n in names[:2000]])


def deep_subgraphs(depth: int) -> bytes:
    """An If inside an If inside an If, by hand: protobuf's writer stops at 33."""
    def output(name):
        return field(12, info(name, F32, ["n"]).SerializeToString())

    inside = field(1, raw_node("Relu", ["x"], ["y0"])) + field(2, "g") + output("y0")
    for level in range(1, depth + 1):
        attribute = field(1, "then_branch") + field(6, inside) + b"\xa0\x01\x05"
        other = field(1, raw_node("Neg", ["x"], [f"e{level}"])) + field(2, "e") + output(f"e{level}")
        otherwise = field(1, "else_branch") + field(6, other) + b"\xa0\x01\x05"
        made = raw_node("If", ["flag"], [f"y{level}"], attribute, otherwise)
        inside = field(1, made) + field(2, "g") + output(f"y{level}")
    ports = [info("x", F32, ["n"]), info("flag", BOOL, [])]
    inside += b"".join(field(11, p.SerializeToString()) for p in ports)
    return b"\x08\x09" + field(7, inside) + field(8, helper.make_opsetid("", 18).SerializeToString())


def function_doubling(levels: int) -> onnx.ModelProto:
    """Each function calls the one below twice: 2^levels nodes in a few hundred bytes."""
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    made = [helper.make_function("f", "F0", ["a"], ["c"], [node("Neg", ["a"], ["c"], "neg")], opsets)]
    for level in range(1, levels + 1):
        calls = [node(f"F{level - 1}", [a], [b], f"call{b}", domain="f") for a, b in (("a", "b"), ("b", "c"))]
        made.append(helper.make_function("f", f"F{level}", ["a"], ["c"], calls, opsets))
    call = node(f"F{levels}", ["x"], ["y"], "call", domain="f")
    return model("doubling", [call], [info("x", F32, [2])], [info("y", F32, [2])], domains=[("f", 1)], functions=made)


def function_cycle(length: int) -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    made = [helper.make_function("f", f"F{k}", ["a"], ["c"], [node(f"F{(k + 1) % length}", ["a"], ["c"], domain="f")],
                                 opsets) for k in range(length)]
    return model("cycle", [node("F0", ["x"], ["y"], domain="f")], [info("x", F32, [2])], [info("y", F32, [2])],
                 domains=[("f", 1)], functions=made)


def doubling_concat(levels: int) -> onnx.ModelProto:
    """Each Concat doubles its value: 2^levels elements."""
    nodes = [node("Concat", [f"v{k}"] * 2, [f"v{k + 1}"], axis=0) for k in range(levels)]
    nodes.append(node("ReduceSum", [f"v{levels}"], ["y"], keepdims=0))
    return model("doubling", nodes, [info("v0", F32, ["n"])], [info("y", F32, [])])


def broadcast_product(dims: int, size: int) -> onnx.ModelProto:
    """Vectors along different axes added: size^dims elements of a few kilobytes."""
    shapes = [[size if a == k else 1 for a in range(dims)] for k in range(dims)]
    ports = [info(f"x{k}", F32, s) for k, s in enumerate(shapes)]
    nodes = [node("Sum", [p.name for p in ports], ["s"]), node("ReduceMean", ["s"], ["y"], keepdims=0)]
    return model("broadcast", nodes, ports, [info("y", F32, [])])


def recurrent(op: str, hidden: int, gates: int, **attributes) -> onnx.ModelProto:
    w, r = np.zeros((1, gates * 2, 3), np.float32), np.zeros((1, gates * 2, 2), np.float32)
    return one_node(op, [("x", F32, ["steps", "n", 3]), w, r], [Y], hidden_size=hidden, **attributes)


def signal(op: str, frame: int, step: int = 1) -> onnx.ModelProto:
    """STFT, DFT, a window or a mel matrix of a wild length."""
    if op == "STFT":
        return one_node(op, [("x", F32, [1, "n", 1]), np.int64(step), None, np.int64(frame)], [Y], onesided=1)
    if op == "DFT":
        return one_node(op, [("x", F32, [1, "n", 1]), np.int64(frame)], [Y], axis=1)
    if op == "MelWeightMatrix":
        inputs = [np.int64(frame), np.int64(step), np.int64(8000), np.float32(0), np.float32(4000)]
        return one_node(op, inputs, [Y])
    return one_node(op, [np.int64(frame)], [Y])


def tree(nodes_count: int, true_ids: Sequence[int], targets: int, feature: int) -> onnx.ModelProto:
    ids = list(range(nodes_count))
    return one_node(
        "TreeEnsembleRegressor", [("x", F32, ["n", 2])], [Y], domain="ai.onnx.ml", nodes_treeids=[0] * nodes_count,
        nodes_nodeids=ids, nodes_featureids=[feature] * nodes_count, nodes_values=[0.0] * nodes_count,
        nodes_modes=["BRANCH_LEQ"] * (nodes_count - 1) + ["LEAF"], nodes_truenodeids=list(true_ids),
        nodes_falsenodeids=[nodes_count - 1] * nodes_count, n_targets=targets, target_treeids=[0],
        target_nodeids=[nodes_count - 1], target_ids=[targets - 1 if targets > 0 else 0], target_weights=[1.0])


def initializer(dims: Sequence[int], dtype: int = TensorProto.FLOAT, payload: bytes = b"\0" * 8) -> onnx.ModelProto:
    made = model("initializer", [node("Add", ["x", "w"], ["y"])], [info("x", F32, ["n"])], [info("y", F32, None)])
    made.graph.initializer.add(name="w", data_type=dtype, dims=list(dims), raw_data=payload)
    return made
