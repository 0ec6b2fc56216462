"""What is written and printed of the outcomes."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from cases import Case
from trial import CRASHED, PASSED, REFUSED, WRONG, Outcome

RESULTS = (PASSED, WRONG, REFUSED, CRASHED)
MARKS = ("internal", "constants")
Outcomes = list[tuple[Case, Outcome]]


def write(folder: Path, outcomes: Outcomes) -> None:
    """Writes report.json and report.txt, both one test an entry."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = [
        {
            "name": case.name,
            "kind": case.test.kind,
            "operators": case.operators,
            "subject": case.subject,
            **dataclasses.asdict(outcome),
        }
        for case, outcome in outcomes
    ]
    document = {"totals": totals(outcomes), "tests": entries}
    (folder / "report.json").write_text(json.dumps(document, indent=1) + "\n")
    (folder / "report.txt").write_text("".join(f"{line}\n" for line in map(_line, outcomes)))


def totals(outcomes: Outcomes) -> dict[str, int]:
    """How many tests had each result, and each mark."""
    results = Counter(outcome.result for _, outcome in outcomes)
    marked = {mark: len(select(outcomes, mark)) for mark in MARKS}
    return {"of": len(outcomes), **{name: results[name] for name in RESULTS}, **marked}


def select(outcomes: Outcomes, status: str) -> Outcomes:
    """Those with a result, or with a mark: `constants` are those that passed with them."""
    if status == "constants":
        return [(c, o) for c, o in outcomes if o.constants and o.result == PASSED]
    if status == "internal":
        return [(c, o) for c, o in outcomes if o.internal]
    return [(c, o) for c, o in outcomes if o.result == status]


def listing(outcomes: Outcomes, status: str) -> Iterable[str]:
    """The lines of report.txt of those with a status."""
    return map(_line, select(outcomes, status))


def summary(outcomes: Outcomes) -> Iterable[str]:
    """A table by operator, those with most tests not passed first."""
    by_operator: dict[str, Outcomes] = {}
    for case, outcome in outcomes:
        for operator in case.subject:
            by_operator.setdefault(operator, []).append((case, outcome))
    rows = [(operator, totals(mine)) for operator, mine in by_operator.items()]
    rows.sort(key=lambda row: (row[1][PASSED] - row[1]["of"], row[0]))
    columns = ("of", *RESULTS, *MARKS)
    yield f"{'operator':44}" + "".join(f"{column:>10}" for column in columns)
    for operator, row in rows:
        yield f"{operator:44}" + "".join(f"{row[column] or '.':>10}" for column in columns)


def last_lines(outcomes: Outcomes) -> Iterable[str]:
    """The totals: what is wrong with the library first, the verdict last."""
    count = totals(outcomes)
    for case, outcome in select(outcomes, "internal"):
        yield f"INTERNAL: {case.name}: {_reasons(outcome)}"
    yield f"constants={count['constants']}"
    yield f"internal={count['internal']}"
    verdict = " ".join(f"{name}={count[name]}" for name in (PASSED, "of", *RESULTS[1:]))
    yield f"conformance: {verdict}"


def _line(entry: tuple[Case, Outcome]) -> str:
    """name, operators, result, constants, reason; between tabs."""
    case, outcome = entry
    constants = "constants" if outcome.constants else "-"
    fields = (case.name, ",".join(case.operators), outcome.result, constants, _reasons(outcome))
    return "\t".join(fields)


def _reasons(outcome: Outcome) -> str:
    first = f"without constants: {outcome.first_reason}" if outcome.first_reason else ""
    reasons = " | ".join(reason for reason in (outcome.reason, first) if reason)
    return " ".join(reasons.split()) or "-"
