#!/usr/bin/env python3
"""Trains the default model: handwritten digits, 8×8 grey, 64 → 128 → 10.

    python3 tests/models/digits.py            writes the files below
    python3 tests/models/digits.py --check    trains again and compares, byte for byte

Writes src/model/default.onnx, which the library embeds, and for the examples
in C examples-c/data/digits-heldout.bin and examples-c/data/digit-<label>.pgm.

The data are scikit-learn's copy of the test part of "Optical Recognition of
Handwritten Digits" (UCI): 1,797 images of 64 pixels from 0 to 16. A quarter,
449, is held out by a fixed permutation and touches neither the training nor
the choice of any setting.

The bytes must come out the same on every machine, whatever its BLAS and its
vector units. So the training avoids all that differs between them: every
operand of a matrix product lies on a grid (a multiple of some 2^-k, bounded)
such that all products and sums are exact in f64 and their order cannot
matter; exp is our own polynomial; random numbers are integers and uniforms of
the frozen RandomState; the rest is single IEEE operations.
"""

import argparse
import hashlib
import pathlib
import struct
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEED = 2026
HIDDEN = 128
EPOCHS = 100
BATCH = 32
RATE = 0.006
DECAY = 0.3


def grid(x, bits):
    return np.round(x * 2.0**bits) * 2.0**-bits


def exp(x):
    """e^x for x ≤ 0 from additions and multiplications alone."""
    x = np.maximum(x, -40.0)
    k = np.floor(x * 1.4426950408889634)
    r = x - k * 0.6931471805599453
    p = np.ones_like(r)
    for n in range(14, 0, -1):
        p = p * r / n + 1.0
    return np.ldexp(p, k.astype(np.int32))


def split():
    digits = load_digits()
    pixels, labels = digits.data, digits.target
    assert pixels.shape == (1797, 64) and pixels.min() == 0 and pixels.max() == 16
    order = np.random.RandomState(SEED).permutation(len(pixels))
    held, rest = order[: len(pixels) // 4], order[len(pixels) // 4:]
    return pixels[rest], labels[rest], pixels[held], labels[held]


def weights(params):
    """The weights on their grid; bounded, so that they are exact in f32 too."""
    w1, b1, w2, b2 = (grid(np.clip(p, -4, 4), 20) for p in params)
    return w1, b1, w2, b2


def forward(x, params):
    w1, b1, w2, b2 = weights(params)
    hidden = grid(np.maximum(x @ w1 + b1, 0.0), 12)
    return hidden, hidden @ w2 + b2


def train(x, y):
    """Adam with decoupled decay, the rate falling to nothing in a line."""
    x = x / 16.0
    random = np.random.RandomState(SEED + 1)

    def uniform(rows, cols):
        return (random.random_sample((rows, cols)) * 2 - 1) * (6.0 / (rows + cols)) ** 0.5

    params = [uniform(64, HIDDEN), np.zeros(HIDDEN), uniform(HIDDEN, 10), np.zeros(10)]
    mean = [np.zeros_like(p) for p in params]
    square = [np.zeros_like(p) for p in params]
    wanted = np.eye(10)
    steps = EPOCHS * (len(x) // BATCH)
    fall1 = fall2 = 1.0
    step = 0
    for _ in range(EPOCHS):
        order = random.permutation(len(x))
        for start in range(0, len(x) - BATCH + 1, BATCH):
            batch = order[start:start + BATCH]
            hidden, logits = forward(x[batch], params)
            e = grid(exp(logits - logits.max(axis=1, keepdims=True)), 40)
            d2 = grid(e / e.sum(axis=1, keepdims=True), 20) - wanted[y[batch]]
            _, _, w2, _ = weights(params)
            d1 = grid(d2 @ w2.T, 24) * (hidden > 0)
            gradients = [x[batch].T @ d1, d1.sum(axis=0), hidden.T @ d2, d2.sum(axis=0)]
            rate = RATE * (1.0 - step / steps)
            step += 1
            fall1 *= 0.9
            fall2 *= 0.999
            for i, g in enumerate(gradients):
                g = g / BATCH
                mean[i] = mean[i] * 0.9 + g * 0.1
                square[i] = square[i] * 0.999 + g * g * 0.001
                move = mean[i] / (1 - fall1) / (np.sqrt(square[i] / (1 - fall2)) + 1e-8)
                if params[i].ndim == 2:
                    move = move + DECAY * params[i]
                params[i] = params[i] - move * rate
    return params


def right(x, y, params):
    return int((forward(x / 16.0, params)[1].argmax(axis=1) == y).sum())


def model(params, correct, count):
    w1, b1, w2, b2 = (p.astype(np.float32) for p in weights(params))
    w1 = w1 / np.float32(16)  # pixels come as 0 … 16; a power of two, so exact
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["image", "hidden.weight", "hidden.bias"], ["hidden.sum"], "hidden"),
            helper.make_node("Relu", ["hidden.sum"], ["hidden.out"], "hidden.relu"),
            helper.make_node("Gemm", ["hidden.out", "digit.weight", "digit.bias"], ["logits"], "digit"),
            helper.make_node("Softmax", ["logits"], ["probabilities"], "softmax", axis=1),
        ],
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 64],
                                       "eight rows of eight pixels, 0 (paper) to 16 (ink)")],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10],
                                       "one for each digit, adding up to 1")],
        [numpy_helper.from_array(a, n) for a, n in
         ((w1, "hidden.weight"), (b1, "hidden.bias"), (w2, "digit.weight"), (b2, "digit.bias"))],
        "Tells which digit an 8×8 image shows.",
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
                             producer_name="inferno", producer_version="digits.py", model_version=1)
    helper.set_model_props(made, {
        "task": "image-classification",
        "labels": "0,1,2,3,4,5,6,7,8,9",
        "dataset": "Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak; UCI), "
                   "test part as in scikit-learn load_digits",
        "dataset_licence": "CC BY 4.0",
        "trained_on": "1348",
        "heldout": str(count),
        "heldout_correct": str(correct),
        "heldout_accuracy": f"{correct / count:.4f}",
    })
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString(deterministic=True)


def heldout(x, y):
    out = [b"DIGITS01", struct.pack("<I", len(x))]
    for pixels, label in zip(x.astype(np.uint8), y):
        out.append(bytes([int(label)]) + pixels.tobytes())
    return b"".join(out)


def pgm(pixels, label, index):
    rows = "\n".join(" ".join(f"{int(p):2d}" for p in row) for row in pixels.reshape(8, 8))
    return f"P2\n# a {label}, number {index} of digits-heldout.bin\n8 8\n16\n{rows}\n".encode()


def ort_agrees(data, x, y, correct):
    """ONNX Runtime must see the same accuracy as the exact arithmetic."""
    import onnxruntime
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    got = session.run(None, {"image": x.astype(np.float32)})[0]
    assert np.abs(got.sum(axis=1) - 1).max() < 1e-5
    assert int((got.argmax(axis=1) == y).sum()) == correct


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    args = parser.parse_args()
    x, y, held_x, held_y = split()
    params = train(x, y)
    correct = right(held_x, held_y, params)
    files = {
        "src/model/default.onnx": model(params, correct, len(held_x)),
        "examples-c/data/digits-heldout.bin": heldout(held_x, held_y),
    }
    for label in range(10):
        index = int(np.flatnonzero(held_y == label)[0])
        files[f"examples-c/data/digit-{label}.pgm"] = pgm(held_x[index], label, index)
    ort_agrees(files["src/model/default.onnx"], held_x, held_y, correct)
    print(f"training {right(x, y, params)} of {len(x)}, held out {correct} of {len(held_x)} "
          f"({100 * correct / len(held_x):.2f} %)")
    bad = 0
    for name, data in files.items():
        path = ROOT / name
        if args.check:
            same = path.is_file() and path.read_bytes() == data
            bad += not same
            print(f"{'same' if same else 'DIFFERS'}  {name}")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            print(f"{hashlib.sha256(data).hexdigest()}  {name}  {len(data)} bytes")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
