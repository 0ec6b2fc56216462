#!/usr/bin/env bash
# Mutated models, each loaded and run in a child process under limits. `--help` lists the options;
# the last line is: hostile: cases=N ok=… refused=… panicked_inside=… crashed=… hung=… out_of_memory=…
#
# --lib names the library (target/release/libinferno.so), --include the folder of its header
# (include). INFERNO_PYTHON names a ready interpreter; without it tests/python.sh makes one.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/tests/deps.sh"
need cc gcc

target=${CARGO_TARGET_DIR:-$root/target}
lib=$target/release/libinferno.so
include=$root/include
isolation=no
rest=()
while [ $# -gt 0 ]; do
    case $1 in
        --lib) lib=${2:?--lib needs a file}; shift ;;
        --include) include=${2:?--include needs a folder}; shift ;;
        --isolation) isolation=yes; rest+=("$1") ;;
        *) rest+=("$1") ;;
    esac
    shift
done
if [ ! -f "$lib" ]; then echo "hostile.sh: no $lib" >&2; exit 2; fi

has() { grep -q "\b$1\b" "$include/inferno.h"; }

defines=()
if has inferno_model_limits_init; then defines+=(-DHAVE_LIMITS); fi
if has timeout_ns; then defines+=(-DHAVE_TIMEOUT); fi
if has INFERNO_ISOLATION_PROCESS; then
    defines+=(-DHAVE_ISOLATION)
elif [ $isolation = yes ]; then
    echo "hostile.sh: --isolation: $include/inferno.h has no INFERNO_ISOLATION_PROCESS" >&2
    exit 2
fi

# The library is copied, and what isolated loads find beside it: a build may replace it while the children run.
out=$target/hostile
bin=$(mkdir -p "$out" && mktemp -d "$out/bin.XXXXXX")
trap 'rm -rf "$bin"' EXIT
cp "$lib" "$bin/libinferno.so"
ln -s libinferno.so "$bin/libinferno.so.0"
helper=$(dirname "$lib")/inferno-check
if [ -f "$helper" ]; then
    cp "$helper" "$bin/"
elif [ $isolation = yes ]; then
    echo "hostile.sh: --isolation: no $helper; ./install.sh --build-only makes it" >&2
    exit 2
fi
flags=(-std=c11 -O2 -Wall -Wextra -Wpedantic -Werror -I"$include")
"${CC:-cc}" "${flags[@]}" "$root/tests/hostile/driver.c" -o "$bin/driver"
"${CC:-cc}" "${flags[@]}" "${defines[@]}" "$root/tests/hostile/child.c" -o "$bin/child" \
    "$bin/libinferno.so" '-Wl,-rpath,$ORIGIN' -lm

python=${INFERNO_PYTHON:-$root/tests/python.sh}
export PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1
if [ ! -d "$root/target/models" ]; then
    "$python" "$root/tests/models/fetch.py" --dest "$root/target/models" ||
        echo "hostile.sh: no real models: target/models is missing, and fetching them failed" >&2
fi
"$python" "$root/tests/hostile/run.py" --bin "$bin" --folder "$out" "${rest[@]}"
