#!/usr/bin/env bash
# A long day in small: soak.sh [--runs N]
#
# A million runs across eight sessions on two threads; sessions and models are loaded and freed
# throughout, with several shapes. What is resident is printed twenty times. The last line is
# soak: runs=… sessions=… loads=… resident_growth_percent=… trimmed_growth_percent=… leaked_bytes=…
# and the exit status 1 when the least that is resident after a trim in the last quarter is more than 5 %
# above that in the second, the median without one more than 25 %, or any byte is held after the shutdown
# that was not before.
# Needs target/release and target/models, as tests/run.sh makes them.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/deps.sh"
need cc gcc

runs=1000000
while [ $# -gt 0 ]; do
    case $1 in
        --runs) runs=${2:?--runs needs a number}; shift ;;
        *) sed -n '2s/.*: //p' "$0" >&2; exit 2 ;;
    esac
    shift
done
target=${CARGO_TARGET_DIR:-$root/target}
out=$target/soak
mkdir -p "$out"
"${CC:-cc}" -std=gnu11 -O2 -Wall -Wextra -Werror -pthread -I"$root/include" "$root/tests/memory/soak.c" \
    "$target/release/libinferno.so" "-Wl,-rpath,$target/release" -o "$out/soak"
exec "$out/soak" "$target/models" "$runs"
