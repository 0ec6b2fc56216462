"""What the checks of a model cost, out of the time that loading it takes.

    tests/python.sh benches/vetting.py [LIB.so] [CASE ...]

A load here is everything until the first run: the model, and a session at the shapes of the case.
The library's own debug lines tell how much of it its checks took. Each is the least of ROUNDS; a
CASE is a folder of target/reference (tests/models/reference.py), by default one for each real
model. The last line is `vetting: models=N percent=P worst=CASE:P`, the first P over all of them.
"""

from __future__ import annotations

import ctypes as c
import re
import sys
import time
from pathlib import Path

from compare import ROOT, TARGET, capi, read_case

CASES = [
    "aecmos", "basic_pitch", "dnsmos_p808", "dnsmos_p835", "magika_standard_v3_3", "plcmos_v2",
    "ppocr_cls", "ppocrv4_det", "ppocrv4_rec", "ppocrv6_det", "ppocrv6_rec", "silero_vad",
    "silero_vad_v4", "wakeword_alexa", "wakeword_embedding", "wakeword_melspectrogram",
]
ROUNDS = 5
DEBUG = 4
CALLBACK = c.CFUNCTYPE(None, c.c_void_p, c.c_int32, c.c_char_p, c.c_char_p)
LINE = re.compile(rb"^(?:read|imported) .* in \d+ us, vetting (\d+) us of it$")


def main() -> None:
    arguments = sys.argv[1:]
    given = arguments and arguments[0].endswith(".so")
    path = Path(arguments.pop(0)) if given else ROOT / "target/release/libinferno.so"
    spent: list[int] = []

    @CALLBACK
    def line(_data, _level, _module, text) -> None:
        if found := LINE.match(text):
            spent.append(int(found[1]))

    api = capi.Api(path.resolve())
    library = c.CDLL(str(path.resolve()))
    library.inferno_log_set_callback.argtypes = [CALLBACK, c.c_void_p, c.c_int32]
    if library.inferno_log_set_callback(line, None, DEBUG):
        sys.exit("no log callback")

    print(f"{'':28s} {'load us':>10s} {'vetting us':>10s}  percent")
    loads, checks, worst = 0.0, 0.0, ("", 0.0)
    for name in arguments or CASES:
        model, inputs, constants = read_case(TARGET / "reference" / name / "case0")
        best_load = best_vetting = float("inf")
        for _ in range(ROUNDS):
            spent.clear()
            begun = time.perf_counter()
            with capi.Model(api, model) as loaded, capi.Session(loaded, inputs, constants) as made:
                made.prepare()
                took = (time.perf_counter() - begun) * 1e6
            if len(spent) < 2:
                sys.exit(f"{name}: {len(spent)} lines of the load and the import were seen")
            best_load, best_vetting = min(best_load, took), min(best_vetting, sum(spent))
        percent = 100 * best_vetting / best_load
        print(f"{name:28s} {best_load:10.0f} {best_vetting:10d}  {percent:.2f}", flush=True)
        loads, checks = loads + best_load, checks + best_vetting
        worst = max(worst, (name, percent), key=lambda w: w[1])
    print(f"vetting: models={len(arguments or CASES)} percent={100 * checks / loads:.2f} "
          f"worst={worst[0]}:{worst[1]:.2f}")


if __name__ == "__main__":
    main()
