#!/usr/bin/env python3
"""Makes the model of tests/ray.sh, its 20,000 rows, and what ONNX Runtime answers to them:

    tests/python.sh tests/ray/reference.py FOLDER
"""

import pathlib
import sys

import numpy as np
import onnxruntime

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "models"))
import make  # noqa: E402

ROWS = 20_000


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    model = make.MODELS["policy_mlp"]().SerializeToString(deterministic=True)
    (folder / "policy.onnx").write_bytes(model)
    seen = np.random.default_rng(2000).standard_normal((ROWS, 64), dtype=np.float32)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    np.savez(folder / "reference.npz", seen=seen, actions=session.run(None, {"observation": seen})[0])


main()
