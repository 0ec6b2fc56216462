#!/usr/bin/env bash
# The library against other engines: peers.sh [--only NAMES] [--threads N | --load] [--rounds N] [--json]
#
# Against ONNX Runtime, OpenVINO, tract and rten. A row a model: its MFLOP, microseconds a run on
# each engine, ours over the best rival's. One thread, denormals flushed, the same inputs, answers
# compared with ONNX Runtime's: "!" marks one that differs, "-" one that failed; neither counts. The
# last line is
# peers: models=N geomean_vs_ort=… geomean_vs_best=… worst=MODEL:…
#   --only NAMES   models whose names begin with one of these, separated by commas
#   --threads N    with N threads, and how much faster than with one;
#                  the last line is threads: n=N slowest_speedup=… (ours)
#   --load         milliseconds to load, and by how many MiB resident memory grew at most;
#                  the last line is load: geomean_vs_ort=… cached_vs_ort=… peak_vs_ort=…
#   --rounds N     turns of each engine (15)
#   --json         one JSON object in place of the table; the last line goes to the standard error
# It ends with 1 when Inferno failed on a model or answered wrong. benches/peers/README.md tells more.
# target/release has to hold the library (./install.sh --build-only).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/deps.sh"
need_cargo

target=${CARGO_TARGET_DIR:-$root/target}
here=$root/benches/peers
out=$target/peers
library=$target/release/libinferno.so
if [ ! -f "$library" ]; then
    echo "peers.sh: no $library; make it: ./install.sh --build-only" >&2
    exit 1
fi
mkdir -p "$out"

venv=$out/venv
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    need_python ensurepip python3-venv
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt" >&2
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi

# What the scripts that make the models are, so that others make them again.
makers=("$here/models.py" "$root/tests/models/fetch.py" "$root/tests/models/make.py" "$root/tests/models/policy_mlp.py")
cat "${makers[@]}" "$here/requirements.txt" | sha256sum >"$out/makers"
if [ ! -f "$out/models/list.txt" ] || ! cmp -s "$out/makers" "$out/models/makers"; then
    for package in silero-vad magika rapidocr-onnxruntime; do
        "$venv/bin/python" "$root/tests/models/fetch.py" --dest "$target/models" --only "$package" >&2
    done
    "$venv/bin/python" "$here/models.py" "$target/models" "$out/models"
    cp "$out/makers" "$out/models/makers"
fi

(cd "$here" && cargo build --quiet --release --locked --target-dir "$out/build") >&2

the() { # PATTERN: the one file in the virtual environment that matches
    local found
    found=$(find "$venv" -name "$1" -print -quit)
    echo "${found:?peers.sh: no $1 in the wheels}"
}
PEERS_INFERNO=$library PEERS_MODELS=$out/models
PEERS_ORT=$(the 'libonnxruntime.so.*')
PEERS_OPENVINO=$(the 'libopenvino_c.so.*')
export PEERS_INFERNO PEERS_MODELS PEERS_ORT PEERS_OPENVINO
exec "$out/build/release/peers" "$@"
