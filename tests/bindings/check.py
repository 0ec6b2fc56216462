"""The generated bindings of Python and C# against the layout that a C compiler has.

    check.py LIBRARY LAYOUT_OF_CSHARP RUN_OF_CSHARP

Ends with `N passed, M failed`.
"""

import ctypes as c
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "include/bindings/python"))
from inferno import _abi  # noqa: E402

counts = {True: 0, False: 0}


def check(held, what):
    counts[bool(held)] += 1
    if not held:
        print("failed:", what)


def kept():
    """Sizes of structs, offsets of fields, and numbers, by name."""
    sizes, offsets, numbers = {}, {}, {}
    for line in (ROOT / "tests/abi/lp64.txt").read_text().splitlines():
        words = line.split()
        if words[0] == "struct":
            sizes[words[1]] = int(words[3])
        elif words[0] == "field":
            offsets[words[1]] = int(words[3])
        elif words[0] in ("constant", "value"):
            numbers[words[1]] = int(words[2])
    return sizes, offsets, numbers


def python(sizes, offsets, numbers):
    check(set(_abi.STRUCTS) == set(sizes), "the structs of Python")
    for name, struct in _abi.STRUCTS.items():
        check(c.sizeof(struct) == sizes[name], f"{name} in Python has {c.sizeof(struct)} bytes")
        for field, _ in struct._fields_:
            check(getattr(struct, field).offset == offsets[f"{name}.{field}"], f"{name}.{field} in Python")
    for name, value in numbers.items():
        check(getattr(_abi, name) == value, f"{name} in Python")


def run(path):
    """The built-in model over a blank image, by declared functions alone."""
    lib = _abi.load(path)
    model, session = c.POINTER(_abi.inferno_model)(), c.POINTER(_abi.inferno_session)()
    image, scores, best = _abi.inferno_tensor(), _abi.inferno_tensor(), c.c_size_t()
    calls = [
        lambda: lib.inferno_model_load_default(c.byref(model)),
        lambda: lib.inferno_session_new(model, None, c.byref(session)),
        lambda: lib.inferno_session_set_shape(session, 0, 2, (c.c_int64 * 2)(1, 64)),
        lambda: lib.inferno_session_input(session, 0, c.byref(image)),
        lambda: c.memset(image.data, 0, image.size_bytes) and 0,
        lambda: lib.inferno_session_run(session, None),
        lambda: lib.inferno_session_output(session, 0, c.byref(scores)),
        lambda: lib.inferno_argmax(c.cast(scores.data, c.POINTER(c.c_float)), 1, scores.dims[1], c.byref(best)),
        lambda: lib.inferno_session_free(session),
        lambda: lib.inferno_model_free(model),
    ]
    for call in calls:
        check(call() == _abi.INFERNO_STATUS_OK, f"Python: {lib.inferno_last_error().decode()}")
    check(lib.inferno_status_name(7) == b"UNSUPPORTED", "a text in Python")
    return f"run {lib.inferno_version()} {scores.dims[1]} {best.value}"


def sharp(text, sizes, offsets):
    found = {}
    for kind, name, at in re.findall(r"^(struct|field) (\S+) \w+ (\d+)$", text, re.M):
        found[name] = int(at)
        if kind == "struct":
            check(sizes.get(name) == int(at), f"{name} in C# has {at} bytes")
    for name, offset in offsets.items():
        # An array of pointers is so many fields.
        check(found.get(name, found.get(name + "_0")) == offset, f"{name} in C#")


def main():
    library, layout, ran = sys.argv[1], Path(sys.argv[2]).read_text(), Path(sys.argv[3]).read_text()
    sizes, offsets, numbers = kept()
    python(sizes, offsets, numbers)
    said = run(library)
    sharp(layout, sizes, offsets)
    check(ran.strip() == said, f"C# says {ran.strip()!r}, Python {said!r}")
    print(f"{counts[True]} passed, {counts[False]} failed")
    return counts[False] > 0


if __name__ == "__main__":
    raise SystemExit(main())
