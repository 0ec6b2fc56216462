"""Inferno for Python: ctypes over inferno.h, NumPy arrays over the library's own memory.

    import inferno

    model = inferno.Model.load("policy.onnx")
    session = model.session(symbols={"batch": 1})
    session.input("observation")[:] = 0     # a view: no copy
    session.run()
    action = session.output("action")       # a view, which the next run writes anew

A view keeps its session alive. One thread at a time may be inside a session, a second one gets Error with
status 3 (BUSY); ctypes releases the interpreter's lock during a run, so sessions run side by side.
"""

import ctypes
import os
import weakref

import numpy

from . import _native as native
from ._native import Error, check, text_of

__all__ = ["Error", "Model", "Session", "shutdown", "version"]

_DTYPES = {1: "f4", 2: "u1", 3: "i1", 4: "u2", 5: "i2", 6: "i4", 7: "i8", 9: "?", 10: "f2", 11: "f8",
           12: "u4", 13: "u8"}


def version():
    return native.library.inferno_version_string().decode()


def shutdown():
    """Ends all that the library holds. Sessions and models that are left raise INVALID_HANDLE, and their
    views must not be touched any more."""
    check(native.library.inferno_shutdown())


class _Handle:
    """Owns a handle, and ends it with `free` once nobody uses it."""

    def __init__(self, handle, free):
        self._as_parameter_ = handle
        self.close = weakref.finalize(self, free, handle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Model(_Handle):
    """A loaded model: any number of sessions and threads share it."""

    def __init__(self, handle):
        super().__init__(handle, native.library.inferno_model_free)
        self.inputs = self._infos(native.library.inferno_model_input_count, native.library.inferno_model_input)
        self.outputs = self._infos(native.library.inferno_model_output_count, native.library.inferno_model_output)

    def _infos(self, count_of, info_of):
        count = ctypes.c_size_t()
        check(count_of(self, ctypes.byref(count)))
        infos = []
        for index in range(count.value):
            info = native.TensorInfo()
            check(info_of(self, index, ctypes.byref(info)))
            dims = [info.dims[axis] if info.dims[axis] >= 0 else text_of(info.symbols[axis])
                    for axis in range(max(info.rank, 0))]
            infos.append((text_of(info.name), _DTYPES.get(info.dtype, "O"), dims))
        return infos

    @classmethod
    def load(cls, path):
        model = ctypes.c_void_p()
        check(native.library.inferno_model_load(os.fsencode(path), None, ctypes.byref(model)))
        return cls(model)

    @classmethod
    def load_bytes(cls, data):
        model = ctypes.c_void_p()
        check(native.library.inferno_model_load_memory(bytes(data), len(data), None, ctypes.byref(model)))
        return cls(model)

    @classmethod
    def load_default(cls):
        """The digits that are built in: "image" [batch, 64] to "probabilities" [batch, 10]."""
        model = ctypes.c_void_p()
        check(native.library.inferno_model_load_default(ctypes.byref(model)))
        return cls(model)

    def session(self, symbols=None, threads=0):
        return Session(self, symbols or {}, threads)


class Session(_Handle):
    """One context to run a model in."""

    def __init__(self, model, symbols, threads=0):
        options = native.SessionOptions()
        check(native.library.inferno_session_options_init(ctypes.byref(options), ctypes.sizeof(options)))
        values = (native.SymbolValue * len(symbols))(*[(name.encode(), value) for name, value in symbols.items()])
        options.symbols = values
        options.symbol_count = len(symbols)
        options.threads = threads
        session = ctypes.c_void_p()
        check(native.library.inferno_session_new(model, ctypes.byref(options), ctypes.byref(session)))
        super().__init__(session, native.library.inferno_session_free)
        self._inputs = {name: index for index, (name, _, _) in enumerate(model.inputs)}
        self._outputs = {name: index for index, (name, _, _) in enumerate(model.outputs)}
        self._bound = {}

    def input(self, name):
        """A writable array over the session's memory, until the input's shape changes or it is bound."""
        return self._view(native.library.inferno_session_input, self._inputs[name], writable=True)

    def output(self, name):
        """An array over what the last run gave; the next run writes it anew."""
        return self._view(native.library.inferno_session_output, self._outputs[name], writable=False)

    def _view(self, function, index, writable):
        tensor = native.Tensor()
        check(function(self, index, ctypes.byref(tensor)))
        if tensor.dtype not in _DTYPES:
            raise TypeError(f"NumPy has no view of dtype {tensor.dtype}")
        return numpy.asarray(_Memory(self, tensor, writable))

    def set_input(self, name, array):
        """Copies an array into an input, whose shape becomes the array's."""
        array = numpy.ascontiguousarray(array)
        check(native.library.inferno_session_set_input(self, self._inputs[name], _tensor_of(array)))

    def bind_input(self, name, array):
        """Makes every run read from a C-contiguous array, which the session keeps; None undoes it."""
        index = self._inputs[name]
        check(native.library.inferno_session_bind_input(self, index, None if array is None else _tensor_of(array)))
        self._bound[name] = array

    def run(self, timeout_ns=0):
        if not timeout_ns:
            check(native.library.inferno_session_run(self, None))
            return
        options = native.RunOptions()
        check(native.library.inferno_run_options_init(ctypes.byref(options), ctypes.sizeof(options)))
        options.timeout_ns = timeout_ns
        check(native.library.inferno_session_run(self, ctypes.byref(options)))


class _Memory:
    """What NumPy makes an array of without a copy. The array refers to it, and it to the session."""

    def __init__(self, session, tensor, writable):
        self._session = session
        self.__array_interface__ = {
            "version": 3,
            "shape": tuple(tensor.dims[:tensor.rank]),
            "typestr": numpy.dtype(_DTYPES[tensor.dtype]).str,
            "data": (tensor.data or 0, not writable),
        }


def _tensor_of(array):
    """A tensor over an array's memory: valid while the array is."""
    if not array.flags.c_contiguous:
        raise ValueError("the array is not C-contiguous")
    kinds = {numpy.dtype(name): dtype for dtype, name in _DTYPES.items()}
    if array.dtype not in kinds or array.ndim > 8:
        raise TypeError(f"no tensor has dtype {array.dtype} and rank {array.ndim}")
    tensor = native.Tensor(kinds[array.dtype], array.ndim)
    tensor.dims[:array.ndim] = array.shape
    tensor.data = array.ctypes.data
    tensor.size_bytes = array.nbytes
    return ctypes.byref(tensor)
