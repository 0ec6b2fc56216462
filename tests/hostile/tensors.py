"""Mutations of initializers, and of the types and dims of values."""

from __future__ import annotations

from random import Random

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from wild import EXTREMES, FLOATS, NEARBY, a_port, an_initializer, graphs, wild_int, wild_text

DTYPES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 21, 22, 0, 99, -1)
PARAMS = ("batch", "n", "a+b", "2*n", "n/0", "n-n", "-n", "n%2", "max(a,b)", "1", "-1", "9" * 20, "a b", "",
          "\u00e9", "N\0", "(", ")", "((n)", "n**n", "n+", "f(n)", "0x10", "n//2", "n^2", "\U0001f642", "_", "a.b::c")


def init_dims_changed(model: onnx.ModelProto, rng: Random):
    """Dims that the payload does not follow: one off, one more, one less, swapped, extreme."""
    tensor = an_initializer(model, rng)
    if tensor is None:
        return False
    dims = list(tensor.dims)
    how = rng.randrange(5)
    if how == 0 or not dims:
        dims.insert(rng.randrange(len(dims) + 1), rng.choice((1, 1, 2, 0, 1 << 40)))
    elif how == 1:
        del dims[rng.randrange(len(dims))]
    elif how == 2:
        dims.reverse()
    else:
        k = rng.randrange(len(dims))
        dims[k] = wild_int(rng, dims[k])
    tensor.dims[:] = dims


def init_dims_overflow(model: onnx.ModelProto, rng: Random):
    """Dims whose product wraps to something small, or to the payload's size."""
    tensor = an_initializer(model, rng)
    if tensor is None:
        return False
    tensor.dims[:] = rng.choice(([1 << 32, 1 << 32], [1 << 62, 4], [1 << 61, 8, 1], [3, -1, -1], [1 << 16] * 4,
                                 [0, 1 << 62, 1 << 62], [-(1 << 63), 2], [1] * 100, [1] * 9))


def init_payload(model: onnx.ModelProto, rng: Random):
    """The payload truncated, extended, absent, or there twice."""
    tensor = an_initializer(model, rng)
    if tensor is None:
        return False
    raw = tensor.raw_data
    how = rng.randrange(5)
    if how == 0:
        tensor.raw_data = raw[: rng.randrange(len(raw) + 1)]
    elif how == 1:
        tensor.raw_data = raw + bytes(rng.choice((1, 3, 4, 8, 4096)))
    elif how == 2:
        tensor.ClearField("raw_data")
    elif how == 3:
        tensor.float_data.extend([1.0] * rng.choice((1, 4, 100)))
    else:
        tensor.ClearField("raw_data")
        tensor.int64_data.extend([wild_int(rng) for _ in range(rng.choice((1, 2, 8)))])


def init_dtype(model: onnx.ModelProto, rng: Random):
    """Another dtype over the same bytes, or with the bytes made anew."""
    tensor = an_initializer(model, rng)
    if tensor is None:
        return False
    if rng.random() < 0.5:
        tensor.data_type = rng.choice(DTYPES)
        return None
    kind = rng.choice((np.float32, np.float64, np.float16, np.int64, np.int32, np.int8, np.uint8, np.bool_))
    values = np.zeros([min(max(d, 0), 64) for d in tensor.dims][:4], kind)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def init_values(model: onnx.ModelProto, rng: Random):
    """Other values: a shape, an axis, a count, a scale becomes extreme."""
    tensor = an_initializer(model, rng)
    if tensor is None or not tensor.raw_data:
        return False
    try:
        values = numpy_helper.to_array(tensor).copy()
    except (ValueError, TypeError, KeyError, onnx.checker.ValidationError):
        return False
    if values.size == 0 or values.dtype.kind not in "iufb":
        return False
    flat = values.reshape(-1)
    count = flat.size if rng.random() < 0.2 and flat.size < 64 else 1
    for k in rng.sample(range(flat.size), count):
        if values.dtype.kind == "f":
            with np.errstate(over="ignore"):
                flat[k] = rng.choice(FLOATS)
        else:
            limits = (0, 1) if values.dtype.kind == "b" else (np.iinfo(values.dtype).min, np.iinfo(values.dtype).max)
            pick = rng.choice(EXTREMES if rng.random() < 0.5 else NEARBY)
            flat[k] = max(limits[0], min(limits[1], pick))
    tensor.raw_data = values.tobytes()


def init_gone(model: onnx.ModelProto, rng: Random):
    """An initializer dropped, there twice, turned into an input, or also an input."""
    graph = rng.choice([g for g in graphs(model.graph) if g.initializer] or [None])
    if graph is None:
        return False
    k = rng.randrange(len(graph.initializer))
    tensor = graph.initializer[k]
    port = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)[:4])
    how = rng.randrange(4)
    if how in (1, 3):
        graph.input.append(port)
    if how == 2:
        graph.initializer.append(tensor)
        return
    if how in (0, 1):
        del graph.initializer[k]


def init_external(model: onnx.ModelProto, rng: Random):
    """A place in a file that is not there, not a file, or does not reach so far."""
    tensor = an_initializer(model, rng)
    if tensor is None:
        return False
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    location = rng.choice(("weights.bin", "weights.bin", "weights.bin", "none.bin", "../weights.bin", "/etc/passwd",
                           ".", "", "/dev/zero", "weights.bin\0x", "a/" * 900 + "b", "WEIGHTS.BIN"))
    pairs = [("location", location)]
    for key in ("offset", "length"):
        if rng.random() < 0.7:
            pairs.append((key, rng.choice((str(wild_int(rng, 64)), "0", "64", "", "x", "1e9", " 8", "9" * 40))))
    rng.shuffle(pairs)
    for key, value in pairs:
        tensor.external_data.add(key=key, value=value)


def init_sparse(model: onnx.ModelProto, rng: Random):
    """A sparse initializer, with indices that do not fit."""
    tensor = an_initializer(model, rng)
    if tensor is None:
        return False
    values = numpy_helper.from_array(np.ones(3, np.float32), rng.choice((tensor.name, "sparse")))
    where = numpy_helper.from_array(np.array([wild_int(rng) for _ in range(3)], np.int64))
    sparse = model.graph.sparse_initializer.add(dims=[rng.choice((8, 1 << 40, -1))])
    sparse.values.CopyFrom(values)
    sparse.indices.CopyFrom(where)


def port_dims(model: onnx.ModelProto, rng: Random):
    """Dims of an input, an output or a value: one changed, dropped, more, or no shape at all."""
    port = a_port(model, rng)
    if port is None:
        return False
    shape = port.type.tensor_type.shape
    how = rng.randrange(6)
    if how == 0:
        port.type.tensor_type.ClearField("shape")
    elif how == 1:
        for _ in range(rng.choice((1, 1, 2, 8, 60))):
            shape.dim.add().dim_value = rng.choice((1, 2, 0, 1 << 40))
    elif how == 2 and shape.dim:
        del shape.dim[rng.randrange(len(shape.dim))]
    elif shape.dim:
        dim = rng.choice(shape.dim)
        dim.dim_value = wild_int(rng, dim.dim_value)


def port_opened(model: onnx.ModelProto, rng: Random):
    """Fixed dims left open: all, or one."""
    port = a_port(model, rng, values=False)
    if port is None or not port.type.tensor_type.shape.dim:
        return False
    dims = list(port.type.tensor_type.shape.dim)
    for k, dim in enumerate(dims if rng.random() < 0.5 else [rng.choice(dims)]):
        dim.Clear()
        if rng.random() < 0.7:
            dim.dim_param = rng.choice((f"open{k}", "batch", "n"))


def dim_param_odd(model: onnx.ModelProto, rng: Random):
    port = a_port(model, rng)
    if port is None or not port.type.tensor_type.shape.dim:
        return False
    rng.choice(port.type.tensor_type.shape.dim).dim_param = odd_param(rng)


def odd_param(rng: Random) -> str:
    """Odd characters, or an expression nested deep."""
    if rng.random() < 0.6:
        return rng.choice(PARAMS)
    deep = rng.choice((10, 100, 1000, 5000, 20000))
    return rng.choice(("(" * deep + "a+b" + ")*2" * deep, "(" * deep + "n" + ")" * deep, "-" * deep + "n",
                       "+".join(f"a{k}" for k in range(deep)), "n*" * deep + "n", "(" * deep,
                       "(".join(f"(a{k}+b{k})*" for k in range(30)) + "1" + ")" * 29))


def port_dtype(model: onnx.ModelProto, rng: Random):
    port = a_port(model, rng)
    if port is None:
        return False
    port.type.tensor_type.elem_type = rng.choice(DTYPES)


def port_kind(model: onnx.ModelProto, rng: Random):
    """No tensor any more: a sequence, an optional, a map, or without a type."""
    port = a_port(model, rng)
    if port is None:
        return False
    how = rng.randrange(4)
    kept = onnx.TypeProto()
    kept.CopyFrom(port.type)
    port.ClearField("type")
    if how == 0:
        port.type.sequence_type.elem_type.CopyFrom(kept)
    elif how == 1:
        port.type.optional_type.elem_type.CopyFrom(kept)
    elif how == 2:
        port.type.map_type.key_type = 7
        port.type.map_type.value_type.CopyFrom(kept)


def port_gone(model: onnx.ModelProto, rng: Random):
    """An input or output dropped, there twice, or new."""
    ports = rng.choice((model.graph.input, model.graph.output))
    how = rng.randrange(3)
    if how == 2 or not ports:
        ports.append(onnx.helper.make_tensor_value_info(wild_text(rng), 1, [2, "n"]))
    elif how == 1:
        ports.append(ports[rng.randrange(len(ports))])
    else:
        del ports[rng.randrange(len(ports))]


CLASSES = ((5, init_dims_changed), (3, init_dims_overflow), (3, init_payload), (3, init_dtype), (12, init_values),
           (3, init_gone), (2, init_external), (1, init_sparse), (5, port_dims), (3, port_opened), (3, dim_param_odd),
           (2, port_dtype), (1, port_kind), (2, port_gone))
