#!/usr/bin/env bash
# THIRD-PARTY.txt lists what the libraries hold of others: crate, licence, source.
#
#   tests/third_party.sh            it is current
#   tests/third_party.sh --update   write it anew
set -euo pipefail
cd "$(dirname "$0")/.."

list() {
    echo "Inferno's libraries hold these Rust crates, and Rust's own standard library"
    echo "(MIT OR Apache-2.0, https://github.com/rust-lang/rust):"
    echo
    # (Windows needs a few more than Linux.)
    cargo tree --locked --target x86_64-unknown-linux-gnu --target x86_64-pc-windows-gnu \
        -e normal,no-proc-macro --prefix none -f '{p} | {l} | {r}' |
        sed -e 's/ (\*)$//' | grep -v '^inferno-rt ' | grep . | LC_ALL=C sort -u
}

if [ "${1:-}" = --update ]; then
    list >THIRD-PARTY.txt
elif ! diff -u THIRD-PARTY.txt <(list); then
    echo "THIRD-PARTY.txt is out of date: run tests/third_party.sh --update" >&2
    exit 1
fi
