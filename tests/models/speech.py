#!/usr/bin/env python3
"""Makes examples-c/data/speech.wav, what the voice-activity example listens to.

    python3 tests/models/speech.py            writes the file
    python3 tests/models/speech.py --check    makes it again and compares

16 kHz, mono, 16 bits: two sentences with pauses before, between and after. The
sentences are from a LibriVox reading of "Sense and Sensibility" (Jane Austen),
which is in the public domain; they come as 16 kHz files in the source package
of pocketsphinx, whose own licence is BSD. The pauses are faint noise from a
fixed seed. Needs numpy and pip, downloads 34 MB and is run only to make the
file anew: the file itself is committed.
"""

import argparse
import hashlib
import io
import pathlib
import sys
import tarfile
import tempfile
import wave

import numpy as np

import fetch

OUT = fetch.ROOT / "examples-c" / "data" / "speech.wav"
PACKAGE = ("pocketsphinx", "5.1.1", "675778b309a22dfc9b7d37f7621976bba491d2a5f8c59696bd77fd6d07271355")
FOLDER = "pocketsphinx-5.1.1/test/data/librivox/sense_and_sensibility_01_austen_64kb-"
# The part's number in the package, then its text.
PARTS = [("0880", "He was not an ill-disposed young man,"), ("0930", "He might even have been made amiable himself.")]
RATE = 16000
PAUSES = (1.0, 1.5, 1.2)  # seconds


def samples(data):
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def build():
    with tempfile.TemporaryDirectory() as folder:
        archive = fetch.pip_download(*PACKAGE, pathlib.Path(folder), sdist=True)
        with tarfile.open(archive) as tar:
            parts = [samples(tar.extractfile(f"{FOLDER}{number}.wav").read()) for number, _ in PARTS]
    random = np.random.RandomState(16000)
    pieces = []
    for i, seconds in enumerate(PAUSES):
        pieces.append(random.randint(-3, 4, int(seconds * RATE)).astype("<i2"))
        pieces += parts[i:i + 1]
    sound = np.concatenate(pieces)
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(sound.tobytes())
    return out.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    try:
        data = build()
    except fetch.Failed as error:
        print(f"FAILED {error}", file=sys.stderr)
        return 1
    if args.check:
        same = OUT.is_file() and OUT.read_bytes() == data
        print(f"{'same' if same else 'DIFFERS'}  {OUT.name}")
        return 0 if same else 1
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_bytes(data)
    print(f"{hashlib.sha256(data).hexdigest()}  {OUT.name}  {len(data)} bytes  {(len(data) - 44) / 2 / RATE:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
