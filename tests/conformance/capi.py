"""The part of inferno.h that the conformance tests use, through ctypes.

Creating an `Api` loads the library and calls none of its functions, so it is safe before
a fork.
"""

from __future__ import annotations

import ctypes as c
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

MAX_RANK = 8
_STRING = onnx.TensorProto.STRING
_Dims = c.c_int64 * MAX_RANK


class Tensor(c.Structure):
    """inferno_tensor."""

    _fields_ = [
        ("dtype", c.c_int32),
        ("rank", c.c_int32),
        ("dims", _Dims),
        ("data", c.c_void_p),
        ("size_bytes", c.c_size_t),
    ]


class InputShape(c.Structure):
    """inferno_input_shape."""

    _fields_ = [("input", c.c_char_p), ("rank", c.c_int32), ("dims", _Dims)]


class InputConstant(c.Structure):
    """inferno_input_constant."""

    _fields_ = [("input", c.c_char_p), ("value", Tensor)]


class SessionOptions(c.Structure):
    """inferno_session_options."""

    _fields_ = [
        ("struct_size", c.c_size_t),
        ("symbols", c.c_void_p),
        ("symbol_count", c.c_size_t),
        ("shapes", c.POINTER(InputShape)),
        ("shape_count", c.c_size_t),
        ("constants", c.POINTER(InputConstant)),
        ("constant_count", c.c_size_t),
        ("states", c.c_void_p),
        ("state_count", c.c_size_t),
        ("soft_budget_bytes", c.c_uint64),
        ("hard_budget_bytes", c.c_uint64),
        ("threads", c.c_uint32),
    ]


class Refused(Exception):
    """A call answered a status other than OK."""

    def __init__(self, call: str, status: str, text: str) -> None:
        super().__init__(f"{call}: {status}: {text}")
        self.call, self.status, self.text = call, status, text


class BadView(Exception):
    """The library gave a tensor that contradicts itself."""


# Every function that answers a status, without its prefix, and what it takes.
_CALLS = {
    "shutdown": [],
    "model_load_memory": [c.c_char_p, c.c_size_t, c.c_void_p, c.POINTER(c.c_void_p)],
    "model_free": [c.c_void_p],
    "model_output_count": [c.c_void_p, c.POINTER(c.c_size_t)],
    "model_input_index": [c.c_void_p, c.c_char_p, c.POINTER(c.c_size_t)],
    "model_output_index": [c.c_void_p, c.c_char_p, c.POINTER(c.c_size_t)],
    "session_options_init": [c.POINTER(SessionOptions), c.c_size_t],
    "session_new": [c.c_void_p, c.POINTER(SessionOptions), c.POINTER(c.c_void_p)],
    "session_free": [c.c_void_p],
    "session_prepare": [c.c_void_p],
    "session_set_input": [c.c_void_p, c.c_size_t, c.POINTER(Tensor)],
    "session_run": [c.c_void_p, c.c_void_p],
    "session_output": [c.c_void_p, c.c_size_t, c.POINTER(Tensor)],
}


class Api:
    """The library."""

    def __init__(self, path: Path) -> None:
        library = c.CDLL(str(path))
        self._calls = {}
        for name, takes in _CALLS.items():
            function = getattr(library, f"inferno_{name}")
            function.argtypes, function.restype = takes, c.c_int32
            self._calls[name] = function
        self._status_name = library.inferno_status_name
        self._status_name.argtypes, self._status_name.restype = [c.c_int32], c.c_char_p
        self._last_error = library.inferno_last_error
        self._last_error.argtypes, self._last_error.restype = [], c.c_char_p

    def call(self, name: str, *arguments: object) -> None:
        """Calls `inferno_<name>`; a status other than OK is raised as `Refused`."""
        status = self._calls[name](*arguments)
        if status:
            text = (self._last_error() or b"").decode("utf-8", "replace")
            raise Refused(name, (self._status_name(status) or b"NULL").decode(), text)

    def get(self, name: str, kind: type, *arguments: object):
        """Calls a function whose last argument is an output, and returns that."""
        value = kind()
        self.call(name, *arguments, c.byref(value))
        return value


class Model:
    """A loaded model, freed at the end of a `with`."""

    def __init__(self, api: Api, data: bytes) -> None:
        self.api = api
        self.handle = api.get("model_load_memory", c.c_void_p, data, len(data), None)

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.api.call("model_free", self.handle)

    def output_count(self) -> int:
        return self.api.get("model_output_count", c.c_size_t, self.handle).value

    def input_index(self, name: str) -> int:
        return self.api.get("model_input_index", c.c_size_t, self.handle, name.encode()).value

    def output_index(self, name: str) -> int:
        return self.api.get("model_output_index", c.c_size_t, self.handle, name.encode()).value


class Session:
    """A session over a model, freed at the end of a `with`.

    The values of `inputs` give the shapes; `constants` are fixed. Both are (element type,
    array) by name.
    """

    def __init__(self, model: Model, inputs: Mapping, constants: Mapping) -> None:
        self.api, self.model = model.api, model
        self._kept: list[object] = []
        shapes = [
            InputShape(name.encode(), array.ndim, dims(array.shape))
            for name, (_, array) in inputs.items()
        ]
        fixed = [
            InputConstant(name.encode(), self._tensor(*value)) for name, value in constants.items()
        ]
        options = SessionOptions()
        self.api.call("session_options_init", c.byref(options), c.sizeof(options))
        options.shapes, options.shape_count = (InputShape * len(shapes))(*shapes), len(shapes)
        options.constants = (InputConstant * len(fixed))(*fixed)
        options.constant_count = len(fixed)
        self.handle = self.api.get("session_new", c.c_void_p, model.handle, c.byref(options))

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.api.call("session_free", self.handle)

    def prepare(self) -> None:
        self.api.call("session_prepare", self.handle)

    def set_input(self, name: str, element: int, array: np.ndarray) -> None:
        tensor = self._tensor(element, array)
        index = self.model.input_index(name)
        self.api.call("session_set_input", self.handle, index, c.byref(tensor))

    def run(self) -> None:
        self.api.call("session_run", self.handle, None)

    def output(self, name: str) -> np.ndarray:
        """A copy of an output."""
        index = self.model.output_index(name)
        return read(self.api.get("session_output", Tensor, self.handle, index))

    def _tensor(self, element: int, array: np.ndarray) -> Tensor:
        """A tensor over memory that lives as long as the session."""
        if element == _STRING:
            texts = [str(text).encode() for text in array.flat]
            memory = (c.c_char_p * len(texts))(*texts)
            address, size = c.addressof(memory), c.sizeof(memory)
        else:
            memory = np.array(array, order="C")
            address, size = memory.ctypes.data, memory.nbytes
        self._kept.append(memory)
        return Tensor(element, array.ndim, dims(array.shape), address if size else None, size)


def dims(shape: tuple[int, ...]) -> c.Array:
    if len(shape) > MAX_RANK:
        raise Refused("(no call)", "LIMIT_EXCEEDED", f"rank {len(shape)} has no form at the C ABI")
    return _Dims(*shape)


def read(tensor: Tensor) -> np.ndarray:
    """Copies what a tensor points to, once it is checked against itself."""
    said = f"dtype {tensor.dtype}, rank {tensor.rank}, size_bytes {tensor.size_bytes}"
    if not 0 <= tensor.rank <= MAX_RANK:
        raise BadView(said)
    shape = tuple(tensor.dims[: tensor.rank])
    said += f", dims {shape}"
    if min(shape, default=0) < 0 or any(tensor.dims[tensor.rank :]):
        raise BadView(said)
    count = int(np.prod(shape, dtype=object))
    if tensor.dtype == _STRING:
        size = c.sizeof(c.c_char_p)
    else:
        try:
            dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.dtype))
        except KeyError:
            raise BadView(said) from None
        size = dtype.itemsize
    if tensor.size_bytes != count * size or (count and not tensor.data):
        raise BadView(said)
    if tensor.dtype == _STRING:
        texts = (c.c_char_p * count).from_address(tensor.data) if count else ()
        if any(text is None for text in texts):
            raise BadView(f"{said}, a NULL string")
        decoded = [text.decode("utf-8", "replace") for text in texts]
        return np.array(decoded, dtype=object).reshape(shape)
    data = c.string_at(tensor.data, tensor.size_bytes) if count else b""
    return np.frombuffer(data, dtype=dtype).reshape(shape)
