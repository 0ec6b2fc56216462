"""Runs the ONNX backend tests through the C ABI of libinferno.

Each test has a process of its own. It passes when its outputs are the expected ones, by
ONNX's own comparison and tolerances; it is wrong when they are not, refused when the
library answers a status, crashed when the process dies or does not end in time. A test
that is refused is tried once more with its parameter inputs (parameters.py) as constants
of the session. report.json and report.txt have the reason of each.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import gc
import os
import re
import sys
import warnings
from pathlib import Path

import report
from capi import Api
from cases import Case, load
from isolate import run_all
from trial import CRASHED, PASSED, WRONG, Outcome, attempt

ROOT = Path(__file__).resolve().parents[2]
ADDRESS_SPACE = 4 << 30


def main() -> int:
    options = _options()
    try:
        api = Api(options.lib.resolve())
    except (OSError, AttributeError) as error:
        print(f"conformance: cannot use {options.lib}: {error}", file=sys.stderr)
        return 2
    with warnings.catch_warnings():  # ONNX computes expected values that overflow
        warnings.simplefilter("ignore")
        cases = load(options.filter)
    outcomes = _outcomes(api, cases, options)
    report.write(options.report, outcomes)
    for status in options.list:
        _print(report.listing(outcomes, status))
    if options.summary:
        _print(report.summary(outcomes))
    _print(report.last_lines(outcomes))
    return int(options.min_passed is not None and not _enough(outcomes, options.min_passed))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="conformance.sh", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    library = ROOT / "target/release/libinferno.so"
    add("--lib", type=Path, default=library, metavar="PATH", help="the library")
    add("--filter", type=_regex, default="", metavar="REGEX", help="only tests with such a name")
    add("--jobs", type=int, default=os.cpu_count(), metavar="N", help="processes at a time")
    add("--timeout", type=float, default=20, metavar="SECONDS", help="time of a test")
    folder = ROOT / "target/conformance"
    add("--report", type=Path, default=folder, metavar="FOLDER", help="where the reports go")
    add("--summary", action="store_true", help="print a table by operator")
    statuses = (*report.RESULTS, *report.MARKS)
    add("--list", action="append", default=[], choices=statuses, help="print these tests")
    add(
        "--min-passed",
        type=int,
        metavar="N",
        help="exit 1 when fewer pass, or any is wrong or crashed",
    )
    return parser.parse_args()


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    return text


def _outcomes(api: Api, cases: list[Case], options: argparse.Namespace) -> report.Outcomes:
    work = functools.partial(_work, api)
    gc.freeze()  # the children share the parent's pages
    found = {}
    for case, ending in run_all(cases, work, options.jobs, options.timeout, ADDRESS_SPACE):
        answer = ending.answer
        found[case.name] = Outcome(**answer) if answer else Outcome(CRASHED, ending.reason)
        if sys.stderr.isatty():
            print(f"\r{len(found)}/{len(cases)}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r", end="", file=sys.stderr)
    return [(case, found[case.name]) for case in cases]


def _work(api: Api, case: Case) -> dict:
    return dataclasses.asdict(attempt(api, case))


def _enough(outcomes: report.Outcomes, least: int) -> bool:
    count = report.totals(outcomes)
    return count[PASSED] >= least and not count[WRONG] and not count[CRASHED]


def _print(lines) -> None:
    for line in lines:
        print(line)


if __name__ == "__main__":
    sys.exit(main())
