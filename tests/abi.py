"""The ABI as a promise: what is in tests/abi/lp64.txt stays as it is.

    tests/abi.py [--lib libinferno.so]    compares the header, and the exports of the library
    tests/abi.py --update                 adds what is new; refuses what would break a caller

A C program, made from include/inferno.json and compiled with the header, prints every symbol,
struct, offset and constant; that it compiles says that header and description agree. Structs
that begin with struct_size may grow at their end. abidiff then compares all types that functions
lead to with tests/abi/inferno.abi, as the debug information of a C library with the same
declarations has them. Ends with `N passed, M failed`.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "tests/abi/lp64.txt"
TYPES = ROOT / "tests/abi/inferno.abi"


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def compile_c(what, folder, *flags):
    """Compiles what the generator prints, and a library that it may call."""
    source, made = folder / f"{what}.c", folder / what
    source.write_text(run(sys.executable, ROOT / "include/bindings/generate.py", f"--{what}"))
    subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-Wall", "-Wextra", "-Werror", "-g",
                    f"-I{ROOT / 'include'}", source, *flags, "-o", made], check=True)
    return made


def types_changed(stub, update):
    """What abidiff says of the types that functions lead to; added functions are no news."""
    if update or not TYPES.is_file():
        run("abidw", "--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", "--out-file", TYPES, stub)
    told = subprocess.run(["abidiff", "--no-added-syms", TYPES, stub], capture_output=True, text=True)
    return told.stdout + told.stderr if told.returncode != 0 else None


def keyed(lines):
    """What each line is about, and what it says of it, in order."""
    made = {}
    for line in lines:
        if line.startswith("#") or not line.strip():
            continue
        kind, rest = line.split(" ", 1)
        if kind == "function":
            key = re.search(r"\binferno_\w+(?=\()", rest).group()
        else:
            key = rest.split(" ", 1)[0].rstrip(":")
        made[(kind, key)] = line
    return made


def number(line, word):
    return int(re.search(rf"\b{word} (\d+)", line).group(1))


def compare(old, new):
    """What breaks callers that were built against `old`, and what is added."""
    broken, added = [], []
    for key, line in old.items():
        now = new.get(key)
        if now is None:
            broken.append(f"gone: {line}")
        elif now != line:
            if may_grow(key, line, now, old):
                added.append(now)
            else:
                broken.append(f"changed: {line}\n      to: {now}")
    for key, line in new.items():
        if key in old:
            continue
        added.append(line)
        if key[0] == "field":
            owner = old.get(("struct", key[1].split(".")[0]))
            if owner and number(line, "offset") < number(owner, "size"):
                broken.append(f"inside of what callers have: {line}")
    return broken, added


def may_grow(key, line, now, old):
    is_sized = ("field", f"{key[1]}.struct_size") in old
    return (key[0] == "struct" and is_sized and number(now, "size") > number(line, "size")
            and number(now, "align") == number(line, "align"))


def sees_what_breaks():
    """The comparison itself: what it must refuse, and what it must let through."""
    sized = ["struct s size 16 align 8", "field s.struct_size offset 0 size 8", "field s.a offset 8 size 4",
             "struct frozen size 8 align 8", "field frozen.a offset 0 size 8", "constant C 4", "value V 1",
             "function enum inferno_status inferno_f(int32_t)"]

    def after(*pairs, more=()):
        lines = sized
        for a, b in pairs:
            lines = [line.replace(a, b) for line in lines]
        return compare(keyed(sized), keyed(lines + list(more)))

    return [
        (after() == ([], []), "nothing changed"),
        (after(("constant C 4", "constant C 5"))[0], "a constant"),
        (after(("value V 1", "value W 1"))[0], "a value that is renamed"),
        (after(("(int32_t)", "(int64_t)"))[0], "a parameter"),
        (after(("s.a offset 8", "s.a offset 12"))[0], "an offset"),
        (after(("frozen size 8", "frozen size 16"))[0], "a frozen struct that grows"),
        (after(("s size 16", "s size 8"))[0], "a struct that shrinks"),
        (after(more=["field s.b offset 12 size 4"])[0], "a field in the padding"),
        (after(("s size 16", "s size 24"), more=["field s.b offset 16 size 8"])
         == ([], ["struct s size 24 align 8", "field s.b offset 16 size 8"]), "a struct that grows"),
        (after(more=["value W 2"]) == ([], ["value W 2"]), "a value that is added"),
    ]


def exports(lib):
    text = subprocess.run(["readelf", "-W", "--dyn-syms", lib], check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in text.splitlines()]
    return {row[7].split("@")[0] for row in rows
            if len(row) > 7 and row[0][:-1].isdigit() and row[4] != "LOCAL" and row[6] != "UND"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lib")
    parser.add_argument("--update", action="store_true")
    given = parser.parse_args()
    results = [(bool(held), f"the comparison: {what}") for held, what in sees_what_breaks()]
    with tempfile.TemporaryDirectory() as folder:
        stub = compile_c("stub", Path(folder), "-shared", "-fPIC", "-Wl,-soname,libinferno.so")
        # The program names functions that nobody calls.
        program = compile_c("layout", Path(folder), stub, f"-Wl,-rpath,{folder}")
        (Path(folder) / "libinferno.so").symlink_to(stub)
        now = keyed(run(program).splitlines())
        results += abi_of(now, stub, given)
    for held, what in results:
        if not held:
            print(what)
    failed = sum(not held for held, _ in results)
    print(f"{len(results) - failed} passed, {failed} failed")
    return failed > 0


def abi_of(now, stub, given):
    """What holds and what does not."""
    old = keyed(KEPT.read_text().splitlines()) if KEPT.is_file() else {}
    broken, added = compare(old, now)
    results = [(False, what) for what in broken]
    if given.update and not broken:
        head = "# What callers are built against, on 64-bit systems. tests/abi.py --update adds to it."
        KEPT.write_text("\n".join([head, *now.values()]) + "\n")
        print(f"{len(added)} lines added")
        old = now
    else:
        results += [(False, f"new; run tests/abi.py --update: {line}") for line in added]
    results += [(True, line) for line in old.values() if line in now.values()]
    if given.lib:
        declared = {name for kind, name in now if kind == "function"}
        there = exports(given.lib)
        results += [(name in there, f"{name} is not exported") for name in sorted(declared)]
        results += [(False, f"{name} is exported and not declared") for name in sorted(there - declared)]
    told = types_changed(stub, given.update and not broken)
    return results + [(told is None, told)]


if __name__ == "__main__":
    raise SystemExit(main())
