#!/usr/bin/env bash
# The ABI as a promise: tests/abi.py with what it needs.
#
#   tests/abi.sh [--lib libinferno.so] [--update]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
source "$root/tests/deps.sh"
need cc gcc
need python3 python3
need readelf binutils
need abidiff abigail-tools
exec python3 "$root/tests/abi.py" "$@"
