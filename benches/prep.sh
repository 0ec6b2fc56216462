#!/usr/bin/env bash
# Images to tensors against OpenCV, one thread each, in turn: benches/prep.py.
#
#   benches/prep.sh [--lib libinferno.so] [--rounds N]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
source "$root/tests/prep/venv.sh"
cd "$root"
exec "$venv/bin/python" benches/prep.py "$@"
