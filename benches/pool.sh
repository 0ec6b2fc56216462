#!/usr/bin/env bash
# The pool against the system's allocator, mimalloc and jemalloc: pool.sh [--rounds N]
#
# Replays the tensors that runs of real models take and give back, operator by operator without
# regions (which take next to none), and a load of threads that give
# back each other's blocks, on each allocator in turn, in processes of their own. The last line is
# pool: traces_vs_best=… threads_vs_best=… waste_percent=… peak_vs_best=…
# where time (the geometric mean over the traces) and peak (the worst trace that holds 256 KiB or
# more at once) are the pool's over the best rival's of that trace.
# target/release has to hold the library (./install.sh --build-only), target/models the models
# (tests/run.sh puts them there).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/deps.sh"
need_cargo
need cc gcc
need make make

rounds=5 time=400
while [ $# -gt 0 ]; do
    case $1 in
        --rounds) rounds=${2:?--rounds needs a number}; shift ;;
        *) sed -n '2s/.*: //p' "$0" >&2; exit 2 ;;
    esac
    shift
done

target=${CARGO_TARGET_DIR:-$root/target}
out=$target/pool
mkdir -p "$out"
"${CC:-cc}" -std=gnu11 -O2 -Wall -Wextra -I"$root/include" "$root/benches/pool/record.c" \
    "$target/release/libinferno.so" "-Wl,-rpath,$target/release" -o "$out/record"
build() { # NAME FEATURE
    (cd "$root/benches/pool" && cargo build --quiet --release --locked --target-dir "$out/build" \
        --features "$2") >&2
    cp "$out/build/release/replay" "$out/$1"
}
build pool capi
build mimalloc mimalloc
build jemalloc jemalloc
build system ''

trace() { # NAME [INPUT=DIMS ...]
    local name=$1
    shift
    if [ -f "$target/models/$name.onnx" ]; then
        INFERNO_POOL=0 INFERNO_REGIONS=0 "$out/record" "$target/models/$name.onnx" "$out/$name.trace" "$@"
        traces+=("$name")
    else
        echo "pool.sh: no $name.onnx in target/models" >&2
    fi
}
traces=()
trace policy_mlp observation=1,64
trace wakeword_embedding input_1=1,76,32,1
trace ppocr_cls x=1,3,48,192
trace ppocrv4_rec x=1,3,48,320
trace ppocrv4_det x=1,3,480,640

rm -f "$out/results"
for round in $(seq "$rounds"); do
    for allocator in pool mimalloc jemalloc system; do
        for name in "${traces[@]}"; do
            echo "$name $allocator $("$out/$allocator" trace "$out/$name.trace" $time)" >>"$out/results"
        done
        echo "threads $allocator $("$out/$allocator" threads 4 $time)" >>"$out/results"
    done
done
awk '
    function value(key,   at) {
        for (at = 3; at <= NF; at++) if (index($at, key "=") == 1) return substr($at, length(key) + 2) + 0
        return 0
    }
    function least(table, key, now) { if (!(key in table) || now < table[key]) table[key] = now }
    {
        if (!($1 in seen)) { seen[$1] = 1; names[++count] = $1 }
        least(ns, $1 " " $2, value("ns")); least(peak, $1 " " $2, value("resident_kib"))
        blocks[$1] = value("blocks"); live[$1] = value("live_kib")
        if ($2 == "pool") waste[$1] = value("waste_percent")
    }
    END {
        split("mimalloc jemalloc system", rivals, " ")
        printf "%-22s %9s %9s %9s %9s %9s | %8s %8s %8s %8s %8s\n", "", "blocks", "pool ns", "mimalloc", "jemalloc",
            "system", "live KiB", "pool", "mimalloc", "jemalloc", "system"
        for (n = 1; n <= count; n++) {
            name = names[n]; best = 0; low = 0
            for (r = 1; r <= 3; r++) {
                t = ns[name " " rivals[r]]; p = peak[name " " rivals[r]]
                if (!best || t < best) best = t
                if (!low || p < low) low = p
            }
            ratio = ns[name " pool"] / best
            if (name == "threads") { threads = ratio }
            else {
                logs += log(ratio); traces++
                waste_most = waste[name] > waste_most ? waste[name] : waste_most
                # What holds less says more of the program than of its allocator.
                over = live[name] < 256 ? 0 : peak[name " pool"] / low
                peak_most = over > peak_most ? over : peak_most
            }
            printf "%-22s %9d %9d %9d %9d %9d | %8d %8d %8d %8d %8d  %.3f\n", name, blocks[name], ns[name " pool"],
                ns[name " mimalloc"], ns[name " jemalloc"], ns[name " system"], live[name], peak[name " pool"],
                peak[name " mimalloc"], peak[name " jemalloc"], peak[name " system"], ratio
        }
        printf "pool: traces_vs_best=%.3f threads_vs_best=%.3f waste_percent=%.1f peak_vs_best=%.3f\n",
            exp(logs / traces), threads, waste_most, peak_most
    }' "$out/results"
