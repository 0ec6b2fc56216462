#!/usr/bin/env bash
# The generated bindings: that they are current, agree with the C compiler on every struct, and
# run the built-in model.
#
#   tests/bindings.sh [DIR]     DIR holds libinferno.so (target/release)
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
source "$root/tests/deps.sh"
need python3 python3
need mcs mono-mcs
need mono mono-runtime

libs=$(cd "${1:-${CARGO_TARGET_DIR:-$root/target}/release}" && pwd)
python3 "$root/include/bindings/generate.py" --check

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
mcs -nologo -warnaserror -unsafe "$root/include/bindings/csharp/Inferno.cs" "$root/tests/bindings/Check.cs" \
    -out:"$out/Check.exe"
mono "$out/Check.exe" layout >"$out/layout"
LD_LIBRARY_PATH=$libs mono "$out/Check.exe" run >"$out/run"
python3 "$root/tests/bindings/check.py" "$libs/libinferno.so" "$out/layout" "$out/run"
