#!/usr/bin/env bash
# C tests against the library under AddressSanitizer: asan.sh [NAME ...]
#
# By default `memory`, which lets every request of a load, an import and a run fail, one at a time:
# some minutes, where valgrind takes an hour. The pool is off, so that every block is seen.
set -eu
cd "$(dirname "$0")/.."
. tests/deps.sh
need_cargo
need gcc gcc
triple=x86_64-unknown-linux-gnu
target=$(realpath -m "${CARGO_TARGET_DIR:-target}/asan")
# A flag of a nightly compiler, which RUSTC_BOOTSTRAP lets a stable one take; the runtime is gcc's.
CARGO_TARGET_DIR=$target RUSTC_BOOTSTRAP=1 \
    RUSTFLAGS="-Zsanitizer=address -Zexternal-clangrt -Cforce-frame-pointers=yes" \
    cargo rustc --quiet --locked --lib --crate-type cdylib --target $triple
printf '#!/bin/sh\nexec gcc -fsanitize=address "$@"\n' >"$target/cc"
chmod +x "$target/cc"
export INFERNO_POOL=0 CC=$target/cc
export ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}
for name in "${@:-memory}"; do
    CARGO_TARGET_DIR=$target tests/c.sh --lib-dir "$target/$triple/debug" --only "$name"
done
