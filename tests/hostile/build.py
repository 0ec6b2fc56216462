"""Short forms of onnx.helper, and models too large or too deep for protobuf's own writer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

F32, F64, F16 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16
I64, I32, I8, U8 = TensorProto.INT64, TensorProto.INT32, TensorProto.INT8, TensorProto.UINT8
BOOL, STRING = TensorProto.BOOL, TensorProto.STRING

node = helper.make_node
info = helper.make_tensor_value_info


def const(name: str, array) -> TensorProto:
    """An initializer; whole numbers become int64."""
    values = np.asarray(array)
    if values.dtype.kind == "f":
        values = values.astype(np.float32) if values.dtype == np.float64 else values
    return numpy_helper.from_array(values, name)


def weights(name: str, *dims: int, scale: float = 0.5) -> TensorProto:
    """Floats that depend on the name alone."""
    random = np.random.RandomState(sum(name.encode()) % 1000)
    return const(name, ((random.random_sample(dims) - 0.5) * 2 * scale).astype(np.float32))


def graph(name: str, nodes: list, inputs: list, outputs: list, initializers: Iterable = ()):
    return helper.make_graph(nodes, name, inputs, outputs, list(initializers))


def model(
    name: str,
    nodes: list,
    inputs: list,
    outputs: list,
    initializers: Iterable = (),
    opset: int = 18,
    domains: Sequence[tuple[str, int]] = (),
    functions: Sequence = (),
) -> onnx.ModelProto:
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(*d) for d in domains)]
    return helper.make_model(
        graph(name, nodes, inputs, outputs, initializers),
        opset_imports=imports,
        ir_version=9,
        producer_name="hostile",
        functions=list(functions),
    )


def one_node(
    op: str,
    inputs: Sequence[tuple],
    outputs: Sequence[tuple],
    opset: int = 18,
    domain: str = "",
    **attributes,
) -> onnx.ModelProto:
    """A model of one node. An input is (name, dtype, dims), an array for a constant, or None."""
    ports, constants, names = [], [], []
    for k, given in enumerate(inputs):
        if given is None:
            names.append("")
        elif isinstance(given, tuple):
            ports.append(info(*given))
            names.append(given[0])
        else:
            names.append(f"c{k}")
            constants.append(const(f"c{k}", given))
    made = node(op, names, [o[0] for o in outputs], "n", domain=domain, **attributes)
    domains = [(domain, 3)] if domain else []
    return model(op, [made], ports, [info(*o) for o in outputs], constants, opset, domains)


# ---- Protobuf by hand ------------------------------------------------------------------------


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, payload: bytes | str) -> bytes:
    """A length-delimited field."""
    data = payload.encode() if isinstance(payload, str) else payload
    return varint(number << 3 | 2) + varint(len(data)) + data


def raw_node(op: str, inputs: Iterable[str], outputs: Iterable[str], *attributes: bytes) -> bytes:
    parts = [field(1, i) for i in inputs] + [field(2, o) for o in outputs] + [field(4, op)]
    return b"".join(parts) + b"".join(field(5, a) for a in attributes)


def raw_model(
    nodes: Iterable[bytes], inputs: list, outputs: list, initializers: Iterable = ()
) -> bytes:
    """The bytes of a model whose nodes are bytes already."""
    parts = [field(1, n) for n in nodes] + [field(2, "raw")]
    parts += [field(5, i.SerializeToString()) for i in initializers]
    parts += [field(11, i.SerializeToString()) for i in inputs]
    parts += [field(12, o.SerializeToString()) for o in outputs]
    opset = helper.make_opsetid("", 18).SerializeToString()
    return b"\x08\x09" + field(7, b"".join(parts)) + field(8, opset)
