#!/usr/bin/env bash
# The library against other engines: peers.sh [--only NAMES] [--threads N | --load] [--rounds N] [--json] | --profile MODEL
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
#   --profile MODEL  ours alone: time by step, with GFLOP/s, percent of the core's peak and GB/s;
#                  the last line is profile: us=… native_percent=… peak_gflops=… steps=…
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

if [ "${1:-}" = --profile ]; then
    name=${2:?--profile needs the name of a model}
    inputs=$(awk -v name="$name" '$1 == name { for (i = 3; i < NF; i++) if ($i == "in") print $(i + 1) }' "$out/models/list.txt")
    if [ -z "$inputs" ]; then
        echo "peers.sh: no model is called $name; there are:" $(awk '{ print $1 }' "$out/models/list.txt") >&2
        exit 2
    fi
    (cd "$root/benches/profile" && cargo build --quiet --release --locked --target-dir "$out/profile") >&2
    # shellcheck disable=SC2086 # a word an input
    exec taskset -c "$(($(nproc) - 1))" "$out/profile/release/profile" "$out/models/$name.onnx" $inputs
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
