"""inferno.h in ctypes: as much of it as the package uses."""

import ctypes
import os
from ctypes import POINTER, c_char_p, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p


class Error(Exception):
    """A call that failed: `status` is an inferno_status, `name` its name, the text says what was wrong."""

    def __init__(self, status, text):
        self.status = status
        self.name = library.inferno_status_name(status).decode()
        super().__init__(f"{self.name}: {text}")


class Tensor(ctypes.Structure):
    _fields_ = [("dtype", c_int32), ("rank", c_int32), ("dims", c_int64 * 8), ("data", c_void_p),
                ("size_bytes", c_size_t)]


class TensorInfo(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("dtype", c_int32), ("rank", c_int32), ("dims", c_int64 * 8),
                ("symbols", c_char_p * 8)]


class SymbolValue(ctypes.Structure):
    _fields_ = [("symbol", c_char_p), ("value", c_int64)]


class SessionOptions(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("symbols", POINTER(SymbolValue)), ("symbol_count", c_size_t),
                ("shapes", c_void_p), ("shape_count", c_size_t), ("constants", c_void_p),
                ("constant_count", c_size_t), ("states", c_void_p), ("state_count", c_size_t),
                ("soft_budget_bytes", c_uint64), ("hard_budget_bytes", c_uint64), ("threads", c_uint32)]


class RunOptions(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("flags", c_uint64), ("timeout_ns", c_uint64)]


def _open():
    """The library in the wheel; INFERNO_LIBRARY names another."""
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libinferno.so")
    found = ctypes.CDLL(os.environ.get("INFERNO_LIBRARY", here))
    handle, out = c_void_p, POINTER(c_void_p)
    for name, arguments in {
        "init": [c_void_p],
        "shutdown": [],
        "model_load": [c_char_p, c_void_p, out],
        "model_load_memory": [c_char_p, c_size_t, c_void_p, out],
        "model_load_default": [out],
        "model_free": [handle],
        "model_input_count": [handle, POINTER(c_size_t)],
        "model_output_count": [handle, POINTER(c_size_t)],
        "model_input": [handle, c_size_t, POINTER(TensorInfo)],
        "model_output": [handle, c_size_t, POINTER(TensorInfo)],
        "session_options_init": [POINTER(SessionOptions), c_size_t],
        "session_new": [handle, POINTER(SessionOptions), out],
        "session_free": [handle],
        "session_input": [handle, c_size_t, POINTER(Tensor)],
        "session_output": [handle, c_size_t, POINTER(Tensor)],
        "session_set_input": [handle, c_size_t, POINTER(Tensor)],
        "session_bind_input": [handle, c_size_t, POINTER(Tensor)],
        "session_run": [handle, POINTER(RunOptions)],
        "run_options_init": [POINTER(RunOptions), c_size_t],
    }.items():
        function = getattr(found, "inferno_" + name)
        function.argtypes = arguments
        function.restype = c_int32
    found.inferno_status_name.argtypes = [c_int32]
    for name in ("status_name", "last_error", "version_string"):
        getattr(found, "inferno_" + name).restype = c_char_p
    return found


library = _open()


def text_of(text):
    return None if text is None else text.decode()


def check(status):
    """Raises what the library says of a call that failed."""
    if status:
        raise Error(status, library.inferno_last_error().decode())
