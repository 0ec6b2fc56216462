"""Whether outputs are the expected ones: ONNX's own comparison, its verdict in one line."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from onnx.backend.test.runner import Runner

# ONNX fixes no generator, and the expected values of these are draws from numpy's: a right
# implementation differs too. They are compared like all others; this only explains it.
RANDOM = {
    f"test_{name}"
    for name in (
        "bernoulli",
        "bernoulli_expanded",
        "bernoulli_double",
        "bernoulli_double_expanded",
        "bernoulli_seed",
        "bernoulli_seed_expanded",
        "training_dropout",
        "training_dropout_mask",
        "training_dropout_default",
        "training_dropout_default_mask",
    )
}

REASON = 400  # characters of a reason: numpy goes on to print both arrays


def difference(
    expected: Sequence[np.ndarray], outputs: Sequence[np.ndarray], rtol: float, atol: float
) -> str | None:
    """What is wrong with `outputs`, or None. NaN equals NaN; strings are compared exactly."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            Runner.assert_similar_outputs(expected, outputs, rtol, atol)
    except (AssertionError, TypeError, ValueError) as error:
        return " ".join(str(error).split())[:REASON] or type(error).__name__
    return None
