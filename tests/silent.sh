#!/usr/bin/env bash
# A warm run asks the system for nothing: silent.sh [--runs N]
#
# 10,000 runs of an MLP, of Silero VAD with its state, and of a convolutional network, under strace:
# every system call between the first and the last run counts, as do the library's own counters of
# pool misses and requests of the source, and live bytes that were not there before. A line a model,
# `silent: MODEL runs=… system_calls=0 misses=0 source_calls=0 refused=0 live_growth=0 …`; 1 when any
# of them is not 0. Needs target/release and target/models, as tests/run.sh makes them.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/deps.sh"
need cc gcc
need strace strace

runs=10000
while [ $# -gt 0 ]; do
    case $1 in
        --runs) runs=${2:?--runs needs a number}; shift ;;
        *) sed -n '2s/.*: //p' "$0" >&2; exit 2 ;;
    esac
    shift
done
target=${CARGO_TARGET_DIR:-$root/target}
out=$target/silent
mkdir -p "$out"
"${CC:-cc}" -std=gnu11 -O2 -Wall -Wextra -Werror -I"$root/include" "$root/tests/memory/silent.c" \
    "$target/release/libinferno.so" "-Wl,-rpath,$target/release" -o "$out/silent"

failed=0
silent() { # MODEL WORDS...
    local name=$1 counts calls
    shift
    counts=$(strace -f -o "$out/$name.strace" "$out/silent" "$target/models/$name.onnx" "$runs" "$@")
    calls=$(awk '/silent: begin/ { on = 1; next } /silent: end/ { print n + 0; exit } on { n++ }' \
        "$out/$name.strace")
    echo "silent: $name system_calls=$calls $counts"
    case " system_calls=$calls $counts " in
        *" system_calls=0 "*" misses=0 source_calls=0 refused=0 live_growth=0 "*) ;;
        *) failed=1 ;;
    esac
}
silent policy_mlp observation=1,64
silent silero_vad input=1,576 state=2,1,128 state:stateN sr@16000
silent convnet_dynamic image=1,3,32,32
exit $failed
