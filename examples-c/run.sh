#!/usr/bin/env bash
# The main job: builds the library, compiles classify.c against its header, and
# classifies pictures of digits. Prints label, confidence and latency for each,
# and the accuracy on the held-out images.
#
#   examples-c/run.sh [IMAGE.pgm ...]     default: the pictures in data/
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
source "$root/tests/deps.sh"
need cc gcc

images=("$@")
if [ $# = 0 ]; then
    images=("$here"/data/digit-*.pgm)
fi
for file in "$here/data/digits-heldout.bin" "${images[@]}"; do
    if [ ! -f "$file" ]; then
        echo "run.sh: $file is missing" >&2
        exit 1
    fi
done

libs=$("$root/install.sh" --build-only)

program=$libs/classify
cc -std=c99 -O2 -Wall -Wextra -Wpedantic -Werror -I"$root/include" "$here/classify.c" \
    -L"$libs" -linferno -Wl,-rpath,"$libs" -o "$program"
"$program" "$here/data/digits-heldout.bin" "${images[@]}"
