#!/usr/bin/env python3
"""Writes down what ONNX Runtime answers, for the tests to compare with.

    python3 tests/models/reference.py                   all models
    python3 tests/models/reference.py --only NAME       one (may be repeated)
    python3 tests/models/reference.py --steady          also say where ONNX Runtime
                                                        disagrees with itself

Needs fetch.py and make.py to have run; a model that is not there is an error.
Everything goes under target/reference, in a form C reads without a library;
README.md in this folder describes it. ONNX Runtime runs on one thread with its
default optimisations.
"""

import argparse
import pathlib
import shutil
import sys
import wave

import numpy as np
import onnx
import onnxruntime

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = ROOT / "target"
DATA = ROOT / "examples-c" / "data"
CASES = {}
RELATIVE, ABSOLUTE = 1e-3, 1e-4


def session(path, optimise=True):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def word(name):
    """A name as one word: what is not a visible ASCII letter, and %, as %XX."""
    return "".join(chr(b) if 0x21 <= b <= 0x7E and b != 0x25 else f"%{b:02X}" for b in name.encode())


class Model:
    """One model being written down: its folder, its session, its count of cases."""

    def __init__(self, name, steady):
        self.name = name
        self.file = f"models/{name}.onnx"
        self.folder = TARGET / "reference" / name
        self.count = 0
        self.index = []
        self.session = session(TARGET / self.file)
        self.plain = session(TARGET / self.file, optimise=False) if steady else None
        self.outputs = [o.name for o in self.session.get_outputs()]
        self.worst = 0.0
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def run(self, feeds):
        got = dict(zip(self.outputs, self.session.run(None, feeds)))
        if self.plain:
            for name, other in zip(self.outputs, self.plain.run(None, feeds)):
                mine = got[name]
                if mine.dtype.kind == "f" and mine.shape == other.shape and mine.size:
                    a, b = mine.astype(np.float64), other.astype(np.float64)
                    off = np.abs(a - b) / (ABSOLUTE + RELATIVE * np.abs(b))
                    self.worst = max(self.worst, float(np.where(a == b, 0, off).max()))
                elif not np.array_equal(mine, other):
                    self.worst = float("inf")
        return got

    def line(self, kind, name, array, folder, file):
        array = np.asarray(array)
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        (folder / file).write_bytes(little.tobytes())
        dtype = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        return " ".join([kind, word(name), str(dtype), str(array.ndim), *map(str, array.shape), file])

    def write(self, folder, lines):
        (folder / "case.txt").write_text("\n".join([f"model {self.file}", *lines]) + "\n")

    def case(self, feeds, constants=None):
        """Runs once and writes one case down; gives the outputs."""
        constants = constants or {}
        folder = self.folder / f"case{self.count}"
        folder.mkdir(parents=True)
        self.count += 1
        self.index.append(f"case {self.name}/{folder.name}")
        got = self.run({**feeds, **constants})
        lines = [self.line("constant", n, a, folder, f"constant{i}.bin") for i, (n, a) in enumerate(constants.items())]
        lines += [self.line("input", n, a, folder, f"input{i}.bin") for i, (n, a) in enumerate(feeds.items())]
        lines += [self.line("output", n, a, folder, f"output{i}.bin") for i, (n, a) in enumerate(got.items())]
        self.write(folder, lines)
        return got

    def stream(self, steps, states, start, constants=None):
        """Runs the steps one after another, states handed on from run to run.
        The first step's inputs include the states as they start."""
        constants = constants or {}
        top = self.folder / "stream"
        top.mkdir(parents=True)
        self.index.append(f"stream {self.name}/stream")
        lines = [self.line("constant", n, a, top, f"constant{i}.bin") for i, (n, a) in enumerate(constants.items())]
        lines += [f"state {word(i)} {word(o)}" for i, o in states.items()]
        self.write(top, lines + [f"steps {len(steps)}"])
        held = dict(start)
        for k, feeds in enumerate(steps):
            folder = top / f"step{k}"
            folder.mkdir()
            shown = {**feeds, **held} if k == 0 else feeds
            got = self.run({**feeds, **held, **constants})
            held = {i: got[o] for i, o in states.items()}
            lines = [self.line("input", n, a, folder, f"input{i}.bin") for i, (n, a) in enumerate(shown.items())]
            lines += [self.line("output", n, a, folder, f"output{i}.bin") for i, (n, a) in enumerate(got.items())]
            self.write(folder, lines)

    def handed_on(self, steps, states, start, constants=None):
        """The same, each step a case of its own with its states spelt out."""
        held = dict(start)
        for feeds in steps:
            got = self.case({**feeds, **held}, constants)
            held = {i: got[o] for i, o in states.items()}


def cases(*names):
    def register(function):
        for name in names:
            CASES[name] = function
        return function
    return register


# ---- what goes in ----------------------------------------------------------

def noise(seed, *shape):
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def speech():
    with wave.open(str(DATA / "speech.wav")) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def chunks(context, size=512, step=1, scale=32768.0):
    """Silero's way of feeding: each chunk with the end of the one before."""
    sound = speech()[::step].astype(np.float32) / scale
    before = np.zeros(context, np.float32)
    out = []
    for start in range(0, len(sound) - size + 1, size):
        chunk = sound[start:start + size]
        out.append(np.concatenate([before, chunk])[None])
        before = chunk[len(chunk) - context:]
    return out


FONT = {  # 5 × 7, a row a number
    "I": (31, 4, 4, 4, 4, 4, 31), "N": (17, 25, 21, 21, 19, 17, 17), "F": (31, 16, 16, 30, 16, 16, 16),
    "E": (31, 16, 16, 30, 16, 16, 31), "R": (30, 17, 17, 30, 20, 18, 17), "O": (14, 17, 17, 17, 17, 17, 14),
    "0": (14, 17, 19, 21, 25, 17, 14), "2": (14, 17, 1, 2, 4, 8, 31), "6": (14, 16, 16, 30, 17, 17, 14),
    " ": (0,) * 7,
}


def page(height, width, texts, size, seed):
    """Dark text on uneven, faintly noisy paper: 0 … 1, height × width × 3."""
    random = np.random.RandomState(seed)
    y, x = np.mgrid[0:height, 0:width]
    paper = 0.92 - 0.08 * (x / width) * (y / height)
    image = np.stack([paper, paper * 0.98, paper * 0.94], axis=2)
    for text, top, left in texts:
        for i, letter in enumerate(text):
            for row, bits in enumerate(FONT[letter]):
                for column in range(5):
                    if bits >> (4 - column) & 1:
                        t, l = top + row * size, left + (i * 6 + column) * size
                        image[t:t + size, l:l + size] = (0.12, 0.12, 0.2)
    return np.clip(image + random.standard_normal(image.shape) * 0.01, 0, 1)


def ocr(image, mean, deviation):
    return ((image - mean) / deviation).transpose(2, 0, 1)[None].astype(np.float32)


# ---- the models ------------------------------------------------------------

@cases("silero_vad", "silero_vad_16k_op15", "silero_vad_op18_ifless")
def silero(m):
    state = {"state": np.zeros((2, 1, 128), np.float32)}
    rate = {"sr": np.array(16000, np.int64)}
    near = [{"input": c} for c in chunks(64)[38:46]]  # the first sentence begins
    m.handed_on(near[:4], {"state": "stateN"}, state, rate)
    m.case({**near[5], **state, **rate})  # the rate as an ordinary input
    if m.name != "silero_vad_16k_op15":
        low = [{"input": c} for c in chunks(32, 256, 2)[44:46]]
        m.handed_on(low, {"state": "stateN"}, state, {"sr": np.array(8000, np.int64)})
    if m.name == "silero_vad":
        m.case({"input": near[6]["input"][:, 64:], **state}, rate)  # 512 samples, no context
        two = {"input": np.concatenate([near[3]["input"], near[7]["input"]]),
               "state": np.zeros((2, 2, 128), np.float32)}
        m.case(two, rate)
    m.stream([{"input": c} for c in chunks(64)[30:94]], {"state": "stateN"}, state, rate)
    probabilities(m, chunks(64), {"state": "stateN"}, state, rate)


@cases("silero_vad_half", "silero_vad_openvino_16k")
def silero_16k(m):
    state = {"state": np.zeros((2, 1, 128), np.float32)}
    steps = [{"input": c} for c in chunks(64)]
    m.handed_on(steps[38:42], {"state": "stateN"}, state)
    m.stream(steps[30:94], {"state": "stateN"}, state)
    probabilities(m, chunks(64), {"state": "stateN"}, state)


def probabilities(m, sound, states, start, constants=None):
    """speech.wav chunk by chunk: first sample, seconds, probability of speech."""
    folder = TARGET / "reference" / "speech"
    folder.mkdir(parents=True, exist_ok=True)
    held, lines = dict(start), []
    for k, chunk in enumerate(sound):
        got = m.run({"input": chunk, **held, **(constants or {})})
        held = {i: got[o] for i, o in states.items()}
        lines.append(f"{k * 512} {k * 512 / 16000:.3f} {float(got['output'].reshape(-1)[0]):.6f}")
    (folder / f"{m.name}.txt").write_text("\n".join(lines) + "\n")


@cases("silero_vad_16k_sequence")
def silero_sequence(m):
    sound = np.concatenate(chunks(64))
    state = {n: np.zeros((1, 1, 128), np.float32) for n in "hc"}
    m.handed_on([{"input": sound[30:62]}, {"input": sound[62:80]}], {"h": "hn", "c": "cn"}, state)


@cases("silero_vad_v4")
def silero_v4(m):
    state = {n: np.zeros((2, 1, 64), np.float32) for n in "hc"}
    rate = {"sr": np.array(16000, np.int64)}
    steps = [{"input": c} for c in chunks(0)]
    m.handed_on(steps[38:42], {"h": "hn", "c": "cn"}, state, rate)
    m.stream(steps[36:68], {"h": "hn", "c": "cn"}, state, rate)


MAGIKA = {
    "c": b"#include <stdio.h>\n#include \"inferno.h\"\n\nint main(int argc, char **argv)\n{\n"
         b"    inferno_model *model;\n    if (inferno_model_load(argv[1], NULL, &model)) {\n"
         b"        fprintf(stderr, \"%s\\n\", inferno_last_error());\n        return 1;\n    }\n"
         b"    for (int i = 0; i < argc; i++)\n        printf(\"%d %s\\n\", i, argv[i]);\n    return 0;\n}\n",
    "json": b'{"model": "policy.onnx", "threads": 1, "budget": {"bytes": 1048576, "ns": 2000000},\n'
            b' "inputs": [{"name": "observation", "dims": [1, 64]}], "warm": true, "note": null}\n',
    "python": b"import sys\n\n\ndef main(args):\n    for line in open(args[0]):\n        print(line.strip())\n"
              b"    return 0\n\n\nif __name__ == '__main__':\n    sys.exit(main(sys.argv[1:]))\n",
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x01\0\0\0\x01\0\x08\2\0\0\0" + bytes(range(256)) * 12,
}


def magika_tokens(data):
    """As Magika does: 1,024 bytes from each end, blanks stripped, 256 for none."""
    first, last = data[:4096], data[-4096:]
    first, last = (first.strip(), last.strip()) if len(data) <= 4096 else (first.lstrip(), last.rstrip())
    first, last = first[:1024], last[-1024:]
    return np.array([*first, *[256] * (1024 - len(first)), *[256] * (1024 - len(last)), *last], np.int32)


@cases("magika_standard_v3_3")
def magika(m):
    tokens = {n: magika_tokens(d) for n, d in MAGIKA.items()}
    for name in ("c", "json", "png"):
        m.case({"bytes": tokens[name][None]})
    m.case({"bytes": np.stack(list(tokens.values()))})


@cases("ppocrv4_det", "ppocrv6_det")
def detector(m):
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    large = page(480, 640, [("INFERNO", 60, 40), ("2026", 200, 300), ("FIRE 6", 340, 90)], 6, 1)
    small = page(96, 160, [("INFER", 30, 14)], 4, 2)
    m.case({"x": ocr(large, mean, deviation)})
    m.case({"x": ocr(small, mean, deviation)})


@cases("ppocrv4_rec", "ppocrv6_rec")
def recogniser(m):
    m.case({"x": ocr(page(48, 320, [("INFERNO 2026", 10, 12)], 4, 3), 0.5, 0.5)})
    m.case({"x": ocr(page(48, 160, [("FIRE", 10, 12)], 4, 4), 0.5, 0.5)})


@cases("ppocr_cls")
def angle(m):
    image = page(48, 192, [("INFERNO", 10, 8)], 4, 5)
    m.case({"x": ocr(image, 0.5, 0.5)})
    m.case({"x": ocr(image[::-1, ::-1], 0.5, 0.5)})
    m.case({"x": np.concatenate([ocr(image, 0.5, 0.5), ocr(image[::-1, ::-1], 0.5, 0.5)])})


def mel(samples):
    """The first stage, scaled as openWakeWord does: frames × 32."""
    run = session(TARGET / "models/wakeword_melspectrogram.onnx")
    return run.run(None, {"input": samples.astype(np.float32)[None]})[0].reshape(-1, 32) / 10 + 2


def embeddings(samples):
    frames = mel(samples)
    run = session(TARGET / "models/wakeword_embedding.onnx")
    windows = [frames[i:i + 76] for i in range(0, len(frames) - 75, 8)]
    return run.run(None, {"input_1": np.stack(windows)[..., None].astype(np.float32)})[0].reshape(-1, 96)


@cases("wakeword_melspectrogram")
def melspectrogram(m):
    m.case({"input": speech()[20000:20000 + 1280 + 480].astype(np.float32)[None]})
    m.case({"input": speech()[20000:36000].astype(np.float32)[None]})


@cases("wakeword_embedding")
def embedding(m):
    frames = mel(speech()[16000:64000])
    m.case({"input_1": frames[None, :76, :, None].astype(np.float32)})
    m.case({"input_1": np.stack([frames[i:i + 76] for i in range(0, 32, 8)])[..., None].astype(np.float32)})


@cases("wakeword_alexa", "wakeword_hey_jarvis", "wakeword_hey_mycroft", "wakeword_timer")
def wakeword(m):
    given = m.session.get_inputs()[0]
    found = embeddings(speech()[16000:112000])
    for start in (0, 12):
        m.case({given.name: found[None, start:start + given.shape[1]]})
    # Nobody says the word there, so those answers are near nothing, which a
    # wrong answer could be too. One more, that the model is in two minds about.
    random = np.random.RandomState(30)
    best, far = found[None, :given.shape[1]], np.inf
    for _ in range(3000):
        tried = best + (random.standard_normal(best.shape) * 4).astype(np.float32)
        logit = np.log(np.maximum(m.session.run(None, {given.name: tried})[0][0, 0], 1e-30))
        if abs(logit - np.log(0.5)) <= far:
            best, far = tried, abs(logit - np.log(0.5))
        if far < 0.3:
            break
    m.case({given.name: best})


@cases("basic_pitch")
def pitch(m):
    t = np.arange(43844) / 22050
    sound = sum(np.sin(2 * np.pi * f * t) * np.exp(-t) * 0.2 for f in (261.63, 329.63, 392.0))
    m.case({m.session.get_inputs()[0].name: (sound + noise(6, 43844) * 0.002).astype(np.float32)[None, :, None]})


@cases("dnsmos_p835")
def dnsmos(m):
    m.case({"input_1": speech()[:144160].astype(np.float32)[None] / 32768})


@cases("dnsmos_p808")
def dnsmos_mel(m):
    m.case({"input_1": np.clip(noise(7, 1, 900, 120) * 0.3 - 0.2, -1, 1)})


@cases("plcmos_v2")
def plcmos(m):
    m.case({"degraded_audio": noise(8, 1, 1, 200, 257) - 2, "rater_embed": noise(9, 1, 64)})


@cases("aecmos")
def aecmos(m):
    m.case({"input": noise(10, 1, 3, 120, 160) * 0.5, "h0": np.zeros((4, 1, 64), np.float32)})


@cases("features_nemo80", "features_whisper80", "features_kaldi", "features_wespeaker")
def features(m):
    sound = speech().astype(np.float32)[None] / 32768
    for start, count in ((20000, 16000), (24000, 12000)):
        m.case({"waveforms": sound[:, start:start + count], "waveforms_lens": np.array([count], np.int64)})


@cases("resample_48_16")
def resample(m):
    sound = np.repeat(speech().astype(np.float32)[None, 20000:24000] / 32768, 3, axis=1)
    m.case({"waveforms": sound, "waveforms_lens": np.array([sound.shape[1]], np.int64)})


@cases("digits")
def digits(m):
    raw = (DATA / "digits-heldout.bin").read_bytes()
    assert raw[:8] == b"DIGITS01"
    rows = np.frombuffer(raw[12:], np.uint8).reshape(-1, 65)[:, 1:].astype(np.float32)
    for count in (1, 7, len(rows)):
        m.case({"image": rows[:count]})


@cases("policy_mlp", "tanh_mlp", "mlp_512", "external_mlp")
def mlp(m):
    wide = m.session.get_inputs()[0].shape[1]
    for batch in (1, 3, 32):
        m.case({"observation": noise(11 + batch, batch, wide)})


@cases("half_mlp")
def half(m):
    for batch in (1, 5):
        m.case({"observation": noise(12, batch, 64).astype(np.float16)})


@cases("qdq_mlp")
def qdq(m):
    for batch in (1, 9):
        m.case({"x": noise(13, batch, 32)})


@cases("gru_stream", "lstm_stream", "gru_sequence", "lstm_sequence")
def recurrent(m):
    names = ["h"] if m.name.startswith("gru") else ["h", "c"]
    states = {n: n + "_out" for n in names}
    if m.name.endswith("sequence"):
        for steps, batch in ((1, 1), (16, 1), (5, 3)):
            m.case({"x": noise(14, steps, batch, 40), **{n: noise(15, 1, batch, 128) * 0.3 for n in names}})
        return
    start = {n: np.zeros((1, 1, 128), np.float32) for n in names}
    steps = [{"x": noise(100 + k, 1, 1, 40)} for k in range(32)]
    m.handed_on(steps[:3], states, start)
    m.stream(steps, states, start)


@cases("convnet_dynamic")
def convnet(m):
    for batch, height, width in ((1, 32, 32), (1, 48, 64), (2, 17, 23)):
        m.case({"image": noise(16, batch, 3, height, width)})


@cases("transformer")
def transformer(m):
    random = np.random.RandomState(17)
    for batch, length, kept in ((1, 16, 16), (1, 33, 20), (3, 8, 5)):
        mask = np.zeros((batch, length), np.int64)
        mask[:, :kept] = 1
        m.case({"ids": random.randint(0, 100, (batch, length)), "mask": mask})


@cases("vision_ops")
def vision_ops(m):
    m.case({"x": noise(18, 1, 2, 8, 8), "columns": noise(19, 1, 2, 36)})


@cases("if_runtime")
def if_runtime(m):
    for cond in (True, False):
        m.case({"cond": np.array(cond), "x": noise(20, 2, 3)})
    m.case({"x": noise(20, 2, 3)}, {"cond": np.array(False)})


@cases("if_constant")
def if_constant(m):
    m.case({"x": noise(21, 2, 3)})


@cases("loop")
def loop(m):
    for times in (0, 5):
        m.case({"times": np.array(times, np.int64), "x": noise(22, 4)})


@cases("scan")
def scan(m):
    for rows in (1, 6):
        m.case({"start": noise(23, 3), "rows": noise(24, rows, 3)})


@cases("dtypes")
def dtypes(m):
    types = {"f32": "f4", "f64": "f8", "f16": "f2", "i8": "i1", "i16": "i2", "i32": "i4", "i64": "i8",
             "u8": "u1", "u16": "u2", "u32": "u4", "u64": "u8"}
    feeds = {n: (np.arange(6).reshape(2, 3) * (-7 if t[0] != "u" else 9)).astype(t) for n, t in types.items()}
    m.case({**feeds, "bool": np.array([[True, False, True], [False, False, True]])})


@cases("scalar")
def scalar(m):
    m.case({"x": np.array(1.5, np.float32)})


@cases("multi_io")
def multi_io(m):
    for batch in (1, 4):
        m.case({"a": noise(25, batch, 5), "b": noise(26, batch, 5)})


@cases("gather_rows")
def gather_rows(m):
    m.case({"index": np.array([3, 0, 9, -1], np.int64)})


@cases("nonzero")
def nonzero(m):
    m.case({"x": np.maximum(noise(27, 3, 4), 0)})


@cases("slow")
def slow(m):
    m.case({"x": noise(28, 64, 256)})


@cases("long_names")
def long_names(m):
    m.case({m.session.get_inputs()[0].name: noise(29, 2, 2)})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="NAME")
    parser.add_argument("--steady", action="store_true",
                        help="run each case without optimisations too, and print the largest difference "
                             "as a multiple of the tolerance")
    args = parser.parse_args()
    unknown = [n for n in args.only or [] if n not in CASES]
    if unknown:
        parser.error(f"no model {', '.join(unknown)}")
    shutil.copyfile(ROOT / "src/model/default.onnx", TARGET / "models/digits.onnx")
    failed = 0
    for name, function in CASES.items():
        if args.only and name not in args.only:
            continue
        try:
            model = Model(name, args.steady)
            function(model)
        except Exception as error:  # said for each model, the others go on
            failed += 1
            print(f"FAILED {name}: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        print(f"{name}: {len(model.index)}" + (f"   {model.worst:.3g} of the tolerance" if args.steady else ""))
    # All there is, one a line, so that a program need not read folders.
    top = TARGET / "reference"
    index = [f"case {p.parent.relative_to(top)}" for p in sorted(top.glob("*/case*/case.txt"))]
    index += [f"stream {p.parent.relative_to(top)}" for p in sorted(top.glob("*/stream/case.txt"))]
    (top / "index.txt").write_text("\n".join(index) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
