"""What the mutations share: extreme values, and picking parts of a model.

A mutation is a function of a ModelProto and a random.Random that changes the model in place. It
returns False when the model has nothing for it to change.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random

import onnx
from onnx import AttributeProto

INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
EXTREMES = (0, -1, 1 << 31, (1 << 31) - 1, -(1 << 31), 1 << 32, 1 << 33, 1 << 40, 1 << 62, -(1 << 62),
            INT64_MIN, INT64_MIN + 1, INT64_MAX)
NEARBY = (-9, -5, -3, -2, -1, 0, 1, 2, 3, 4, 5, 7, 8, 16, 33, 64, 100, 255, 256, 1000, 65536, 1 << 20)
FLOATS = (math.nan, math.inf, -math.inf, 0.0, -1.0, 1e-45, 3e38, -3e38, float(1 << 62), 1e10)
ODD_NAMES = ("", " ", "ghost", "a/b", "a\nb", "%s%n", "\u202e\U0001f4a3", "x" * 5000, "..", "-1", "0")


def wild_int(rng: Random, near: int | None = None) -> int:
    """Often an extreme, else something small; with `near`, also one off it."""
    lot = rng.random()
    if near is not None and lot < 0.3:
        return max(INT64_MIN, min(INT64_MAX, near + rng.choice((-2, -1, 1, 2))))
    return rng.choice(EXTREMES) if lot < 0.7 else rng.choice(NEARBY)


def wild_float(rng: Random) -> float:
    return rng.choice(FLOATS) if rng.random() < 0.8 else rng.uniform(-10, 10)


def wild_text(rng: Random) -> str:
    return rng.choice(ODD_NAMES)


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all those inside it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from graphs(attribute.g)


def nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """All nodes, those of sub-graphs and functions too."""
    found = [n for g in graphs(model.graph) for n in g.node]
    return found + [n for f in model.functions for n in f.node]


def a_node(model: onnx.ModelProto, rng: Random) -> onnx.NodeProto | None:
    found = nodes(model)
    return rng.choice(found) if found else None


def an_attribute(model: onnx.ModelProto, rng: Random, *kinds: int) -> AttributeProto | None:
    found = [a for n in nodes(model) for a in n.attribute if not kinds or a.type in kinds]
    return rng.choice(found) if found else None


def a_graph(model: onnx.ModelProto, rng: Random) -> onnx.GraphProto:
    """Mostly the outer one."""
    inner = list(graphs(model.graph))
    return inner[0] if rng.random() < 0.6 else rng.choice(inner)


def an_initializer(model: onnx.ModelProto, rng: Random) -> onnx.TensorProto | None:
    """Small ones more often: they are mostly shapes, axes and the like."""
    found = [t for g in graphs(model.graph) for t in g.initializer]
    found += [a.t for n in nodes(model) for a in n.attribute if a.type == AttributeProto.TENSOR]
    small = [t for t in found if len(t.raw_data) <= 64]
    if small and rng.random() < 0.6:
        return rng.choice(small)
    return rng.choice(found) if found else None


def a_port(model: onnx.ModelProto, rng: Random, values: bool = True) -> onnx.ValueInfoProto | None:
    """An input, an output, or with `values` any other value with a type."""
    graph = a_graph(model, rng)
    found = list(graph.input) + list(graph.output) + (list(graph.value_info) if values else [])
    tensors = [v for v in found if v.type.HasField("tensor_type")]
    return rng.choice(tensors) if tensors else None
