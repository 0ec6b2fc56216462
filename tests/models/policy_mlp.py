#!/usr/bin/env python3
"""Makes target/models/policy_mlp.onnx, the policy network of the benchmarks:
64 → 128 → 128 → 16, ReLU between, a batch dimension named `batch`, opset 17.

    python3 tests/models/policy_mlp.py [--dest FOLDER]

The weights come from a fixed seed; make.py makes this one too.
"""

import argparse
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIZES = (64, 128, 128, 16)


def uniform(random, *shape):
    """Weights that keep a signal's size through a layer."""
    fan = shape[0] if len(shape) > 1 else 64
    return ((random.random_sample(shape) * 2 - 1) * (6.0 / fan) ** 0.5).astype(np.float32)


def build(activation="Relu", sizes=SIZES, seed=64128, name="policy_mlp"):
    random = np.random.RandomState(seed)
    nodes, weights = [], []
    value = "observation"
    layers = len(sizes) - 1
    for i in range(layers):
        last = i == layers - 1
        weights.append(numpy_helper.from_array(uniform(random, sizes[i], sizes[i + 1]), f"w{i}"))
        weights.append(numpy_helper.from_array(uniform(random, sizes[i + 1]) * np.float32(0.1), f"b{i}"))
        out = "action" if last else f"sum{i}"
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [out], f"dense{i}"))
        if not last:
            nodes.append(helper.make_node(activation, [out], [f"out{i}"], f"activation{i}"))
            value = f"out{i}"
    graph = helper.make_graph(
        nodes, name,
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", sizes[0]])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", sizes[-1]])],
        weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
                              producer_name="inferno")
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dest", type=pathlib.Path, default=ROOT / "target" / "models")
    args = parser.parse_args()
    args.dest.mkdir(parents=True, exist_ok=True)
    path = args.dest / "policy_mlp.onnx"
    path.write_bytes(build().SerializeToString(deterministic=True))
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
