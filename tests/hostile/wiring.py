"""Mutations of names, nodes, operators, domains and functions."""

from __future__ import annotations

from random import Random

import onnx
from onnx import AttributeProto, helper

from wild import a_graph, a_node, nodes, wild_int, wild_text

OPERATORS = (
    "Abs", "Add", "And", "ArgMax", "AveragePool", "BatchNormalization", "Cast", "Clip", "Compress", "Concat",
    "ConstantOfShape", "Conv", "ConvInteger", "ConvTranspose", "CumSum", "DFT", "DepthToSpace", "DequantizeLinear",
    "Det", "Div", "Dropout", "Einsum", "Equal", "Exp", "Expand", "EyeLike", "Flatten", "GRU", "Gather",
    "GatherElements", "GatherND", "Gemm", "GlobalAveragePool", "GridSample", "GroupNormalization", "Identity", "If",
    "InstanceNormalization", "IsNaN", "LRN", "LSTM", "LayerNormalization", "Loop", "LpNormalization", "LpPool",
    "MatMul", "MatMulInteger", "MaxPool", "MaxUnpool", "MelWeightMatrix", "Mod", "Mul", "NonMaxSuppression",
    "NonZero", "OneHot", "PRelu", "Pad", "Pow", "QLinearConv", "QLinearMatMul", "QuantizeLinear", "RandomNormal",
    "Range", "ReduceMax", "ReduceMean", "ReduceSum", "Reshape", "Resize", "ReverseSequence", "RoiAlign", "STFT",
    "Scan", "ScatterElements", "ScatterND", "SequenceAt", "SequenceConstruct", "Shape", "Size", "Slice", "Softmax",
    "SpaceToDepth", "Split", "SplitToSequence", "Squeeze", "StringNormalizer", "Sum", "TfIdfVectorizer", "Tile",
    "TopK", "Transpose", "Trilu", "Unique", "Unsqueeze", "Upsample", "Where", "Xor", "Mystery", "", "Constant",
)


def _names(model: onnx.ModelProto) -> list[str]:
    found = {v for n in nodes(model) for v in (*n.input, *n.output)}
    return sorted(found | {t.name for t in model.graph.initializer})


def _input_place(model: onnx.ModelProto, rng: Random):
    found = [(n, k) for n in nodes(model) for k in range(len(n.input))]
    return rng.choice(found) if found else None


def name_ghost(model: onnx.ModelProto, rng: Random):
    """A node reads a name that nobody makes."""
    place = _input_place(model, rng)
    if place is None:
        return False
    place[0].input[place[1]] = wild_text(rng)


def name_other(model: onnx.ModelProto, rng: Random):
    """A node reads another value of the model: may be a cycle, another dtype or shape."""
    place = _input_place(model, rng)
    if place is None:
        return False
    place[0].input[place[1]] = rng.choice(_names(model))


def name_duplicated(model: onnx.ModelProto, rng: Random):
    """A node makes a name that exists already: a value, an input, a weight."""
    node = a_node(model, rng)
    if node is None or not node.output:
        return False
    taken = _names(model) + [i.name for i in model.graph.input]
    node.output[rng.randrange(len(node.output))] = rng.choice(taken)


def node_names(model: onnx.ModelProto, rng: Random):
    """Names of nodes emptied, all the same, or odd."""
    text = wild_text(rng)
    found = nodes(model)
    for node in found if rng.random() < 0.5 else found[:1]:
        node.name = text


def names_swapped(model: onnx.ModelProto, rng: Random):
    """Two names change places everywhere."""
    found = [n for n in _names(model) if n]
    if len(found) < 2:
        return False
    one, other = rng.sample(found, 2)
    swap = {one: other, other: one}
    for node in nodes(model):
        node.input[:] = [swap.get(i, i) for i in node.input]
        if rng.random() < 0.5:
            node.output[:] = [swap.get(o, o) for o in node.output]


def cycle(model: onnx.ModelProto, rng: Random):
    """A node reads its own output, or that of a later one."""
    graph = a_graph(model, rng)
    found = [k for k, n in enumerate(graph.node) if n.input]
    if not found:
        return False
    k = rng.choice(found)
    later = rng.choice(graph.node[k:])
    if not later.output:
        return False
    graph.node[k].input[rng.randrange(len(graph.node[k].input))] = rng.choice(later.output)


def inputs_changed(model: onnx.ModelProto, rng: Random):
    """A node's inputs: one dropped, emptied, more, two swapped, none."""
    node = a_node(model, rng)
    if node is None:
        return False
    how = rng.randrange(5)
    if how == 0 and node.input:
        del node.input[rng.randrange(len(node.input))]
    elif how == 1 and node.input:
        node.input[rng.randrange(len(node.input))] = ""
    elif how == 2:
        node.input.extend(rng.choice(_names(model) or [""]) for _ in range(rng.choice((1, 1, 2, 50))))
    elif how == 3 and len(node.input) > 1:
        names = list(node.input)
        rng.shuffle(names)
        node.input[:] = names
    elif how == 4:
        del node.input[:]
    else:
        return False


def outputs_changed(model: onnx.ModelProto, rng: Random):
    node = a_node(model, rng)
    if node is None or not node.output:
        return False
    how = rng.randrange(4)
    k = rng.randrange(len(node.output))
    if how == 0:
        del node.output[k]
    elif how == 1:
        node.output[k] = wild_text(rng)
    elif how == 2:
        node.output.extend(f"more{i}" for i in range(rng.choice((1, 2, 100))))
    else:
        node.output.insert(0, "")


def op_swapped(model: onnx.ModelProto, rng: Random):
    node = a_node(model, rng)
    if node is None:
        return False
    node.op_type = rng.choice(OPERATORS)


def domain_changed(model: onnx.ModelProto, rng: Random):
    node = a_node(model, rng)
    if node is None:
        return False
    node.domain = rng.choice(("ai.onnx", "ai.onnx.ml", "com.microsoft", "local", "ai.onnx.training", wild_text(rng)))


def opset_changed(model: onnx.ModelProto, rng: Random):
    how = rng.randrange(4)
    if how == 0 or not model.opset_import:
        model.ir_version = wild_int(rng, 9)
    elif how == 1:
        del model.opset_import[:]
    elif how == 2:
        model.opset_import.add(domain=rng.choice(("", "ai.onnx", "ai.onnx.ml", "x")), version=wild_int(rng))
    else:
        versions = (1, 5, 6, 7, 9, 10, 11, 12, 13, 16, 19, 21, 23, 24, 99, 0, -1, 1 << 62)
        model.opset_import[0].version = rng.choice(versions)


def node_gone(model: onnx.ModelProto, rng: Random):
    """A node dropped, there twice, or the order shuffled."""
    graph = a_graph(model, rng)
    if not graph.node:
        return False
    how = rng.randrange(3)
    k = rng.randrange(len(graph.node))
    if how == 0:
        del graph.node[k]
    elif how == 1:
        graph.node.append(graph.node[k])
        if rng.random() < 0.5:
            graph.node[-1].output[:] = [o + "_copy" for o in graph.node[-1].output]
    else:
        kept = list(graph.node)
        rng.shuffle(kept)
        copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in kept]
        del graph.node[:]
        graph.node.extend(copies)


def node_inserted(model: onnx.ModelProto, rng: Random):
    """Another operator between two nodes, on a value it was not made for."""
    graph = a_graph(model, rng)
    found = [(n, k) for n in graph.node for k in range(len(n.input)) if n.input[k]]
    if not found:
        return False
    node, k = rng.choice(found)
    made = helper.make_node(rng.choice(OPERATORS), [node.input[k]] * rng.choice((1, 1, 2, 3)), ["inserted"], "inserted")
    node.input[k] = "inserted"
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in graph.node]
    del graph.node[:]
    graph.node.extend([made, *copies] if rng.random() < 0.3 else [*copies, made])


def body_ports(model: onnx.ModelProto, rng: Random):
    """A sub-graph with an input or output less, more, or in another order."""
    bodies = [a.g for n in nodes(model) for a in n.attribute if a.type == AttributeProto.GRAPH]
    if not bodies:
        return False
    body = rng.choice(bodies)
    ports = rng.choice((body.input, body.output))
    how = rng.randrange(3)
    if how == 0 and ports:
        del ports[rng.randrange(len(ports))]
    elif how == 1 and ports:
        ports.append(rng.choice(ports))
    else:
        copies = [onnx.ValueInfoProto.FromString(p.SerializeToString()) for p in ports]
        rng.shuffle(copies)
        del ports[:]
        ports.extend(copies)


def body_deep(model: onnx.ModelProto, rng: Random):
    """A node put inside an If inside an If, as deep as protobuf's own writer allows."""
    graph = model.graph
    if not graph.node:
        return False
    k = rng.randrange(len(graph.node))
    node = graph.node[k]
    if not node.output:
        return False
    inner = onnx.NodeProto.FromString(node.SerializeToString())
    graph.initializer.append(helper.make_tensor("always", onnx.TensorProto.BOOL, [], [True]))
    for depth in range(rng.choice((1, 3, 8, 16, 28))):
        names = list(inner.output)
        inside = [f"{n}_{depth}" for n in names]
        inner.output[:] = inside
        body = helper.make_graph([inner], f"depth{depth}", [], [onnx.ValueInfoProto(name=n) for n in inside])
        inner = helper.make_node("If", ["always"], names, f"if{depth}", then_branch=body, else_branch=body) \
            if depth < 6 else helper.make_node("If", ["always"], names, f"if{depth}", then_branch=body)
    node.CopyFrom(inner)


def function_odd(model: onnx.ModelProto, rng: Random):
    """A function that calls itself, two that call each other, one twice, one that misses a value."""
    if not model.functions:
        return False
    function = rng.choice(model.functions)
    other = rng.choice(model.functions)
    how = rng.randrange(5)
    if how == 0:
        function.node.append(helper.make_node(other.name, list(function.input), ["again"], domain=other.domain))
    elif how == 1:
        model.functions.append(function)
    elif how == 2 and function.output:
        function.output[0] = wild_text(rng)
    elif how == 3 and function.input:
        del function.input[0]
    else:
        function.name = rng.choice(("Relu", "Add", "MatMul", wild_text(rng)))
        function.domain = rng.choice(("", "local", "ai.onnx"))


def metadata_odd(model: onnx.ModelProto, rng: Random):
    """Metadata entries and names: odd, equal, many, large."""
    for _ in range(rng.choice((1, 2, 2000))):
        model.metadata_props.add(key=wild_text(rng), value=wild_text(rng))
    model.graph.name = wild_text(rng)
    model.producer_name = wild_text(rng)


CLASSES = ((3, name_ghost), (4, name_other), (3, name_duplicated), (1, node_names), (2, names_swapped), (3, cycle),
           (4, inputs_changed), (2, outputs_changed), (6, op_swapped), (2, domain_changed), (2, opset_changed),
           (3, node_gone), (4, node_inserted), (6, body_ports), (2, body_deep), (8, function_odd), (1, metadata_odd))
