"""One test through the C ABI, and what came of it. Runs in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass

from capi import Api, BadView, Model, Refused, Session
from cases import Case
from compare import RANDOM, difference

PASSED, WRONG, REFUSED, CRASHED = "passed", "wrong", "refused", "crashed"


@dataclass
class Outcome:
    """What came of a test."""

    result: str
    reason: str = ""
    """Why it did not pass."""
    status: str = ""
    """The status of the refusal."""
    constants: bool = False
    """Whether this is with the parameters as constants, after a refusal without."""
    first_reason: str = ""
    """That refusal."""
    internal: bool = False
    """Whether any call answered INTERNAL, be it one that a later attempt made up for."""


def attempt(api: Api, case: Case) -> Outcome:
    """Loads, runs and judges; on a refusal once more with the parameters as constants."""
    outcome = _attempt(api, case)
    try:
        api.call("shutdown")
    except Refused as refused:
        return _refusal(refused)
    return outcome


def _attempt(api: Api, case: Case) -> Outcome:
    try:
        with Model(api, case.model_bytes()) as model:
            if case.foreign:
                what = ", ".join(case.foreign)
                return Outcome(WRONG, f"loaded, though the C ABI has no form for {what}")
            first = _run(model, case, set())
            if first.result != REFUSED or not case.parameters:
                return first
            second = _run(model, case, case.parameters)
    except Refused as refused:
        return _refusal(refused)
    second.constants, second.first_reason = True, first.reason
    second.internal |= first.internal
    return second


def _run(model: Model, case: Case, fixed: set[str]) -> Outcome:
    """All data sets, the inputs named in `fixed` as constants."""
    try:
        for inputs, expected in case.data_sets():
            wrong = _compare(model, case, fixed, inputs, expected)
            if wrong:
                note = " (random by definition)" if case.name in RANDOM else ""
                return Outcome(WRONG, wrong + note)
    except Refused as refused:
        return _refusal(refused)
    except BadView as bad:
        return Outcome(WRONG, f"an output contradicts itself: {bad}")
    return Outcome(PASSED)


def _compare(model: Model, case: Case, fixed: set[str], inputs: list, expected: list) -> str | None:
    named = {
        value.name: (value.type.tensor_type.elem_type, array)
        for value, array in zip(case.inputs, inputs, strict=True)
    }
    constants = {name: value for name, value in named.items() if name in fixed}
    variable = {name: value for name, value in named.items() if name not in fixed}
    with Session(model, variable, constants) as session:
        session.prepare()
        for name, value in variable.items():
            session.set_input(name, *value)
        session.run()
        count = model.output_count()
        if count != len(case.outputs):
            return f"{count} outputs, expected {len(case.outputs)}"
        outputs = [session.output(value.name) for value in case.outputs]
    return difference(expected, outputs, case.test.rtol, case.test.atol)


def _refusal(refused: Refused) -> Outcome:
    internal = refused.status == "INTERNAL"
    return Outcome(REFUSED, str(refused), refused.status, internal=internal)
