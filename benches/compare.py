"""Two builds of the library on the same models, run in turn in one process.

    tests/python.sh benches/compare.py A.so B.so [CASE ...]

Prints the median time of a run under each and their ratio, A over B; the last line is
`compare: cases=N geomean=R worst=CASE:R`. A CASE is a folder of target/reference
(tests/models/reference.py), by default one for each kind of model.
"""

from __future__ import annotations

import sys
import time
import urllib.parse
from pathlib import Path

import numpy as np
import onnx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "conformance"))

import capi  # noqa: E402

TARGET = ROOT / "target"
CASES = [
    "policy_mlp/case0", "digits/case0", "silero_vad/case0", "gru_sequence/case0",
    "lstm_sequence/case0", "transformer/case0", "magika_standard_v3_3/case0",
    "ppocr_cls/case0", "ppocrv4_rec/case0", "ppocrv4_det/case0", "convnet_dynamic/case0",
    "wakeword_embedding/case0", "dnsmos_p808/case0", "basic_pitch/case0",
]
ROUNDS, SLICE_S = 40, 0.02


def read_case(folder: Path):
    """The model of a case, and its inputs and constants: name → (element type, array)."""
    model, inputs, constants = None, {}, {}
    for line in (folder / "case.txt").read_text().splitlines():
        kind, *words = line.split()
        if kind == "model":
            model = (TARGET / words[0]).read_bytes()
        elif kind in ("input", "constant"):
            element, rank = int(words[1]), int(words[2])
            dtype = onnx.helper.tensor_dtype_to_np_dtype(element)
            dims = [int(d) for d in words[3 : 3 + rank]]
            array = np.fromfile(folder / words[3 + rank], dtype=dtype).reshape(dims)
            into = inputs if kind == "input" else constants
            into[urllib.parse.unquote(words[0])] = (element, array)
    return model, inputs, constants


def session(library: Path, case: tuple):
    model, inputs, constants = case
    made = capi.Session(capi.Model(capi.Api(library), model), inputs, constants)
    for name, (element, array) in inputs.items():
        made.set_input(name, element, array)
    return made


def timed(made, runs: int) -> float:
    start = time.perf_counter()
    for _ in range(runs):
        made.run()
    return (time.perf_counter() - start) / runs


def compare(name: str, libraries: list[Path]) -> float:
    case = read_case(TARGET / "reference" / name)
    pair = [session(library, case) for library in libraries]
    runs = max(1, int(SLICE_S / max(timed(one, 3) for one in pair)))
    times = [[timed(one, runs) for one in pair] for _ in range(ROUNDS)]
    a, b = np.median(times, axis=0)
    print(f"{name:32s} {a * 1e6:10.1f} us {b * 1e6:10.1f} us  {a / b:.3f}", flush=True)
    return float(a / b)


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    libraries = [Path(p).resolve() for p in sys.argv[1:3]]
    ratios = {name: compare(name, libraries) for name in sys.argv[3:] or CASES}
    worst = max(ratios, key=ratios.get)
    geomean = np.exp(np.mean(np.log(list(ratios.values()))))
    print(f"compare: cases={len(ratios)} geomean={geomean:.3f} worst={worst}:{ratios[worst]:.3f}")


if __name__ == "__main__":
    main()
