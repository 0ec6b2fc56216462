#!/usr/bin/env bash
# Pre- and post-processing against NumPy, OpenCV and Pillow: tests/prep/check.py in a virtual
# environment of its own.
#
#   tests/prep.sh [--lib libinferno.so]     the library (target/release/libinferno.so)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
source "$root/tests/prep/venv.sh"
cd "$root"
exec "$venv/bin/python" tests/prep/check.py "$@"
