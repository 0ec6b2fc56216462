#!/usr/bin/env bash
# What a queue gives 32 producers of single observations: queue.sh [--window N] [--workers N] [--concurrency N] [--batch N] [--rounds N]
#
# The policy MLP. Each producer is a thread with so many observations under way (16: 500 agents by 32
# threads), waiting for the oldest, which without workers (the default) is when the batches run, at most so
# many at once (4): through a queue that batches (32), through one that does not, and, run by the threads
# themselves, on ONNX Runtime; spells of
# 0.3 s in turn, medians of 9, with the processor time that each took. Then each producer submits one
# observation in 4 ms to a queue with a worker whose batches wait for company, 200 µs or, where the delay is
# learned, less, and the time to each answer is taken; the bound is that delay and one full batch, submitted
# and answered alone. Then nothing is asked for 5 s, of four queues with two workers: `idle_cpu_percent=…` of a
# core. Ends in `queue: vs_unbatched=… vs_ort_threads=… p99_over_bound=…`, the last of the learned delay, which
# is the default. Needs target/release and target/models.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/deps.sh"
need_cargo

while [ $# -gt 0 ]; do
    case $1 in
        --window) export QUEUE_WINDOW=${2:?--window needs a number}; shift ;;
        --workers) export QUEUE_WORKERS=${2:?--workers needs a number}; shift ;;
        --concurrency) export QUEUE_CONCURRENCY=${2:?--concurrency needs a number}; shift ;;
        --batch) export QUEUE_BATCH=${2:?--batch needs a number}; shift ;;
        --rounds) export QUEUE_ROUNDS=${2:?--rounds needs a number}; shift ;;
        *) echo "queue.sh [--window N] [--workers N] [--concurrency N] [--batch N] [--rounds N]" >&2; exit 2 ;;
    esac
    shift
done
target=${CARGO_TARGET_DIR:-$root/target}
library=$target/release/libinferno.so
if [ ! -f "$library" ]; then
    echo "queue.sh: no $library; make it: ./install.sh --build-only" >&2
    exit 1
fi
# ONNX Runtime's library, from the wheel that benches/peers.sh has too.
venv=$target/peers/venv
if ! cmp -s "$root/benches/peers/requirements.txt" "$venv/requirements.txt"; then
    need_python ensurepip python3-venv
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$root/benches/peers/requirements.txt" >&2
    cp "$root/benches/peers/requirements.txt" "$venv/requirements.txt"
fi
ort=$(find "$venv" -name 'libonnxruntime.so.*' -print -quit)
(cd "$root/benches/queue" && cargo build --quiet --release --locked --target-dir "$target/peers/queue") >&2
exec "$target/peers/queue/release/queue" "$library" "${ort:?queue.sh: no ONNX Runtime in the wheels}" \
    "$target/models/policy_mlp.onnx"
