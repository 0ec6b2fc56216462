#!/usr/bin/env bash
# Builds and runs every example, so that none goes stale.
#
#   examples-c/all.sh [DIR]     DIR holds the libraries (default: builds them)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
source "$root/tests/deps.sh"
need cc gcc
need c++ g++

libs=${1:-$("$root/install.sh" --build-only)}
libs=$(cd "$libs" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# The programs ask for the library by its soname.
for name in libinferno.so libinferno.so.0; do
    ln -s "$libs/libinferno.so" "$out/$name"
done

strict=(-O2 -Wall -Wextra -Wpedantic -Werror "-I$root/include")
link=("-L$out" -linferno "-Wl,-rpath,$out")

for name in hello zero_copy classify vad; do
    cc -std=c99 "${strict[@]}" "$here/$name.c" "${link[@]}" -o "$out/$name"
done
cc -std=c11 "${strict[@]}" "$here/top.c" "${link[@]}" -lpthread -o "$out/top"
cc -std=c11 "${strict[@]}" "$here/jobs.c" "${link[@]}" -lpthread -o "$out/jobs"
cc -std=c11 "${strict[@]}" "$here/frame.c" "${link[@]}" -lm -o "$out/frame"
c++ -std=c++17 "${strict[@]}" "$here/raii.cpp" "${link[@]}" -o "$out/raii"
# What rustc says a static link needs, without what the compiler adds itself.
cc -std=c99 "${strict[@]}" "$here/static_link.c" "$libs/libinferno.a" \
    -Wl,-z,noexecstack -lutil -lrt -lpthread -lm -ldl -o "$out/static_link"

run() {
    echo "== $1"
    "$out/$@"
}
run hello
run zero_copy
run raii
run static_link
run classify "$here/data/digits-heldout.bin" "$here"/data/digit-*.pgm
run top --plain --seconds 0.3 --interval-ms 100
models=$root/target/models
if [ -f "$models/ppocr_cls.onnx" ] && [ -f "$models/policy_mlp.onnx" ]; then
    run jobs "$models/ppocr_cls.onnx@1,3,48,192" 2 3
    run frame --seconds 1 --budget-ms 0.5 "$models/policy_mlp.onnx" \
        "$models/ppocr_cls.onnx@1,3,48,192"
else
    echo "== jobs, frame: left out; get their models: python3 tests/models/fetch.py"
fi
model=$models/silero_vad.onnx
if [ -f "$model" ]; then
    run vad "$model" "$here/data/speech.wav"
else
    echo "== vad: left out; get its model: python3 tests/models/fetch.py --only silero-vad"
fi
