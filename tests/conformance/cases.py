"""The tests: ONNX's own, as its package gives them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests

from parameters import nodes, parameters

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
DataSet = tuple[list[np.ndarray], list[np.ndarray]]


@dataclass
class Case:
    """One test."""

    test: TestCase
    model: onnx.ModelProto
    operators: list[str]
    """The distinct operators of the model, in order."""
    subject: list[str]
    """What the test is about: `operators`, but the function a test of a function's body is of."""
    parameters: set[str]
    """Graph inputs that are parameters of the subject."""

    @property
    def name(self) -> str:
        return self.test.name

    @property
    def inputs(self) -> list[onnx.ValueInfoProto]:
        """The graph's inputs; an initializer that is listed among them is none."""
        weights = {weight.name for weight in self.model.graph.initializer}
        return [value for value in self.model.graph.input if value.name not in weights]

    @property
    def outputs(self) -> list[onnx.ValueInfoProto]:
        return list(self.model.graph.output)

    @property
    def foreign(self) -> list[str]:
        """Inputs and outputs that are no tensors, which the C ABI has no form for."""
        return [
            f"{value.name} ({value.type.WhichOneof('value')})"
            for value in (*self.inputs, *self.outputs)
            if not value.type.HasField("tensor_type")
        ]

    def model_bytes(self) -> bytes:
        if self.test.model_dir is None:
            return self.model.SerializeToString()
        return Path(self.test.model_dir, "model.onnx").read_bytes()

    def data_sets(self) -> Sequence[DataSet]:
        """Inputs and expected outputs, in the graph's order. Only of tensors."""
        if self.test.model_dir is None:
            return [
                ([_array(value) for value in inputs], [_array(value) for value in outputs])
                for inputs, outputs in self.test.data_sets
            ]
        folders = sorted(Path(self.test.model_dir).glob("test_data_set*"))
        return [(_read(folder, "input"), _read(folder, "output")) for folder in folders]


def load(pattern: str) -> list[Case]:
    """The tests whose name `pattern` is found in, in a fixed order."""
    tests = {test.name: test for kind in KINDS for test in load_model_tests(kind=kind)}
    wanted = re.compile(pattern)
    return [_case(test, tests) for name, test in sorted(tests.items()) if wanted.search(name)]


def _case(test: TestCase, tests: dict[str, TestCase]) -> Case:
    model = _model(test)
    # `test_x_expanded…` is the body of the function that `test_x` calls, with its inputs.
    caller = tests.get(re.sub(r"_expanded(_ver\d+)?$", "", test.name), test)
    about = _model(caller)
    body = "" if caller is test else " (expanded)"
    subject = [operator + body for operator in _operators(about)]
    return Case(test, model, _operators(model), subject, parameters(about))


def _model(test: TestCase) -> onnx.ModelProto:
    return test.model or onnx.load(Path(test.model_dir, "model.onnx"))


def _operators(model: onnx.ModelProto) -> list[str]:
    named = (
        f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        for node in nodes(model.graph)
    )
    return list(dict.fromkeys(named))


def _read(folder: Path, what: str) -> list[np.ndarray]:
    count = len(list(folder.glob(f"{what}_*.pb")))
    return [_array(onnx.load_tensor(folder / f"{what}_{k}.pb")) for k in range(count)]


def _array(value: np.ndarray | np.generic | onnx.TensorProto) -> np.ndarray:
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return np.asarray(value)
