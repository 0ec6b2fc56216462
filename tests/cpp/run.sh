#!/usr/bin/env bash
# Builds and runs the tests of inferno.hpp against a shared library.
#
#   tests/cpp/run.sh [DIR]     DIR holds libinferno.so (default target/release;
#                              target/debug if only that is there)
#
# RUNNER runs each program, such as RUNNER="valgrind -q --error-exitcode=9".
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
source "$root/tests/deps.sh"

target=${CARGO_TARGET_DIR:-$root/target}
libs=${1:-$target/release}
if [ $# = 0 ] && [ ! -f "$libs/libinferno.so" ]; then
    libs=$target/debug
fi
if [ ! -f "$libs/libinferno.so" ]; then
    echo "run.sh: no libinferno.so in $libs; build it: ./install.sh --build-only" >&2
    exit 1
fi
libs=$(cd "$libs" && pwd)

need g++ g++
need clang++-14 clang-14

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# The program asks for the library by its soname.
soname=$(readelf -d "$libs/libinferno.so" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
cp "$libs/libinferno.so" "$out/${soname:-libinferno.so}"

for compiler in g++ clang++-14; do
    for standard in c++17 c++20; do
        for rules in "" "-fno-exceptions -fno-rtti"; do
            # shellcheck disable=SC2086 # the rules are words
            "$compiler" -std=$standard -O1 -g -Wall -Wextra -Wpedantic -Wshadow -Wconversion \
                -Wsign-conversion -Werror $rules -I"$root/include" \
                "$root/tests/cpp/results.cpp" "$root/tests/cpp/throwing.cpp" \
                "$libs/libinferno.so" -Wl,-rpath,"$out" -o "$out/test"
            printf '%s %s %s: ' "$compiler" $standard "${rules:-(exceptions, rtti)}"
            # shellcheck disable=SC2086
            ${RUNNER:-} "$out/test"
        done
    done
done
