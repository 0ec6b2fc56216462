#!/usr/bin/env bash
# The ONNX backend tests, run through the C ABI of libinferno. `--help` lists the options;
# the last line is: conformance: passed=P of=N wrong=W refused=R crashed=C
#
# INFERNO_PYTHON names a ready interpreter; without it tests/python.sh makes one.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# The tests fork: numpy must not have started threads of its own before.
export OPENBLAS_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
exec "${INFERNO_PYTHON:-$root/tests/python.sh}" "$root/tests/conformance/run.py" "$@"
