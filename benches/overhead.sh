#!/usr/bin/env bash
# What counting costs a run of the policy MLP, batch 1: overhead.sh [--pairs N] [--most PERCENT]
#
# N pairs (4000) of spells of 100 runs, counted and not, in one process (benches/overhead.c). Ends in
# `metrics: overhead_percent=… counted_ns=… plain_ns=… difference_ns=… allocations=0`; 1 when that is
# more than PERCENT (3) of the median, or anything was allocated. Needs target/release and target/models.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/deps.sh"
need cc gcc

pairs=4000
most=3
while [ $# -gt 0 ]; do
    case $1 in
        --pairs) pairs=${2:?--pairs needs a number}; shift ;;
        --most) most=${2:?--most needs a number}; shift ;;
        *) echo "overhead.sh [--pairs N] [--most PERCENT]" >&2; exit 2 ;;
    esac
    shift
done
target=${CARGO_TARGET_DIR:-$root/target}
out=$target/overhead
mkdir -p "$out"
"${CC:-cc}" -std=gnu11 -O2 -Wall -Wextra -Werror -I"$root/include" -I"$root/tests/memory" \
    "$root/benches/overhead.c" "$target/release/libinferno.so" "-Wl,-rpath,$target/release" -lpthread \
    -o "$out/overhead"
OVERHEAD_MOST=$most "$out/overhead" "$target/models/policy_mlp.onnx" "$pairs" observation=1,64
