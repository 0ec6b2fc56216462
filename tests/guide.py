#!/usr/bin/env python3
"""Compiles and runs every block of code in README.md and examples-c/guide, as tests/guide.sh asks:

    tests/guide.py --prefix DIR --out DIR --models DIR --tool PROGRAM [--as-written]

What a block is stands in a comment before it:

    (none)                       a whole program in C or C++: compiled without a warning, run, its exit status 0
    <!-- code: in NAME -->       statements, compiled and run where tests/guide/NAME.c says `CODE`
    <!-- code: file NAME -->     a file of the reader's project, ~/app/NAME
    <!-- code: run -->           commands, run as they stand, with $HOME a fresh folder and `inferno` on the path
    <!-- code: from FILE -->     lines that stand so in FILE, which another test runs

A block of `text` after one that ran is what it prints; `…` stands for anything. With --as-written
`./install.sh` builds; otherwise it installs what is in --prefix already.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "examples-c" / "guide").glob("*.md"))]
MUST_RUN = {"c", "cpp", "cmake", "python", "lua", "csharp", "gdscript"}
STRICT = ["-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def blocks_of(page):
    """Line number, language, marker, code."""
    lines, marker, at = page.read_text().splitlines(), "", 0
    while at < len(lines):
        found = re.match(r"^<!-- code: (.*) -->$", lines[at])
        fence = re.match(r"^```(\w*)$", lines[at])
        if found:
            marker = found[1]
        elif fence:
            begin = at + 1
            at = lines.index("```", begin)
            yield begin, fence[1], marker, "\n".join(lines[begin:at]) + "\n"
            marker = ""
        at += 1


class Tests:
    def __init__(self, args):
        self.args = args
        self.passed = self.failed = 0
        self.printed = None
        self.pending = []
        self.work = args.out / "work"
        self.home = args.out / "home"
        for folder in (self.work, self.home):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        for model in ("policy_mlp", "slow", "silero_vad"):
            if (args.models / f"{model}.onnx").exists():
                shutil.copy(args.models / f"{model}.onnx", self.work)
        bin_folder = self.work / "bin"
        bin_folder.mkdir()
        (bin_folder / "inferno").symlink_to(args.tool)
        if not args.as_written:
            install = self.work / "install.sh"
            install.write_text(f'#!/bin/sh\nset -e\n[ "$1" = --prefix ]\nmkdir -p "$2"\ncp -a {args.prefix}/. "$2"\n')
            install.chmod(0o755)
        self.environment = {**os.environ, "HOME": str(self.home), "PATH": f"{bin_folder}:{os.environ['PATH']}"}
        if args.as_written:
            # The toolchain stays where it is.
            for name, folder in (("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")):
                self.environment.setdefault(name, str(pathlib.Path.home() / folder))

    def note(self, good, what, detail=""):
        self.passed += bool(good)
        self.failed += not good
        if not good:
            print(f"{what}: {detail}".rstrip())

    def command(self, what, *command, cwd=None, seconds=60):
        try:
            done = subprocess.run(command, cwd=cwd or self.work, env=self.environment, text=True, timeout=seconds,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        except subprocess.TimeoutExpired:
            self.note(False, what, f"not done after {seconds} s")
            return False
        self.printed = done.stdout
        self.note(done.returncode == 0, what, f"exit status {done.returncode}\n{done.stdout}")
        return done.returncode == 0

    def program(self, what, language, code):
        source = self.work / ("block.c" if language == "c" else "block.cpp")
        source.write_text(code)
        prefix = self.args.prefix
        compiler = ["cc", "-std=c11"] if language == "c" else ["c++", "-std=c++17"]
        if self.command(f"{what} (compile)", *compiler, *STRICT, f"-I{prefix}/include", source, "-o", "block",
                        f"-L{prefix}/lib", "-linferno", f"-Wl,-rpath,{prefix}/lib", "-lpthread"):
            self.command(what, "./block")

    def prints(self, what, text):
        parts = [re.escape(part) for part in text.strip().split("…")]
        given = (self.printed or "").strip()
        self.note(re.fullmatch(".*?".join(parts), given, re.S), what, f"expected\n{text}but it prints\n{given}")
        self.printed = None

    def commands(self, what, code):
        # README installs from where it lies; the guide's commands are for where the models are.
        cwd = ROOT if self.args.as_written and "./" in code else self.work
        self.write_files()
        self.command(what, "bash", "-euo", "pipefail", "-c", code, cwd=cwd, seconds=1200)

    def write_files(self):
        """The reader's files, once there is a folder for them."""
        app = self.home / "app"
        if app.is_dir():
            for name, text in self.pending:
                (app / name).write_text(text)
            self.pending = []

    def block(self, page, line, language, marker, code):
        what = f"{page.relative_to(ROOT)}:{line}"
        kind, _, argument = marker.partition(" ")
        if language == "text":
            if self.printed is not None and not marker:
                self.prints(what, code)
            return
        self.printed = None
        if kind == "file":
            self.pending.append((argument, code))
        elif kind == "run":
            self.commands(what, code)
        elif kind == "from":
            self.note(code.strip("\n") in (ROOT / argument).read_text(), what, f"does not stand so in {argument}")
        elif kind == "in":
            frame = (ROOT / "tests" / "guide" / f"{argument}.c").read_text()
            self.program(what, "c", frame.replace("CODE", code))
        elif language in ("c", "cpp"):
            self.program(what, language, code)
        elif language in MUST_RUN:
            self.note(False, what, "no comment says how this block is tested")
        if kind == "file" and language == "cpp":
            self.program(what, "cpp", code)  # it is a whole program, too


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--prefix", "--out", "--models", "--tool"):
        parser.add_argument(name, type=pathlib.Path, required=True)
    parser.add_argument("--as-written", action="store_true")
    tests = Tests(parser.parse_args())
    for page in PAGES:
        for block in blocks_of(page):
            tests.block(page, *block)
    tests.write_files()
    tests.note(not tests.pending, "files of the reader's project", "nobody made ~/app")
    print(f"{tests.passed} passed, {tests.failed} failed")
    sys.exit(tests.failed != 0)


main()
