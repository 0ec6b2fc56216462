#!/usr/bin/env bash
# The backend of examples-c/hosts/triton in a real Triton Inference Server, asked by its own clients.
#
#   tests/triton.sh [--lib-dir DIR]
#
#   --lib-dir DIR  where libinferno.so, libinferno.a, libinferno.libs and inferno-check are
#                  (target/release)
#
# The server and its clients come as Python packages, into a virtual environment under target/triton. All
# of it is on loopback and on the CPU. A line a test; the last line is `triton: passed=N failed=F`.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
source tests/deps.sh
take_lib_dir "$@"
if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
    echo "tests/triton.sh: the package with the server is for Linux on x86-64 only" >&2
    exit 1
fi
need c++ g++
need cmake cmake
need make make
need_python ensurepip python3-venv
need_header nlohmann/json.hpp nlohmann-json3-dev

out=$target/triton
mkdir -p "$out"
out=$(cd "$out" && pwd)
venv=$out/venv
wanted=$(cat tests/triton/requirements.txt tests/triton/server.txt)
if [ "$(cat "$venv/wanted" 2>/dev/null)" != "$wanted" ]; then
    echo "installing the server and its clients into $venv" >&2
    rm -rf "$venv"
    python3 -m venv "$venv"
    pip=("$venv/bin/pip" install -q --disable-pip-version-check)
    "${pip[@]}" -r tests/triton/requirements.txt
    "${pip[@]}" --no-deps -r tests/triton/server.txt
    echo "$wanted" >"$venv/wanted"
fi
server=$(echo "$venv"/lib/python3*/site-packages/pytriton/tritonserver/bin/tritonserver)

quietly() { # log, command: what it says is shown only when it fails
    local log=$1
    shift
    "$@" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
}
quietly "$out/install.log" ./install.sh --from "$lib_dir" --prefix "$out/prefix"
quietly "$out/cmake.log" cmake -S examples-c/hosts/triton -B "$out/build" -DCMAKE_PREFIX_PATH="$out/prefix"
quietly "$out/build.log" cmake --build "$out/build"
shown=$(nm -D --defined-only "$out/build/inferno/libtriton_inferno.so" |
    awk '$3 !~ /^TRITONBACKEND_/ {print $3}')
[ -z "$shown" ] || { echo "the backend shows more than Triton's functions: $shown" >&2; exit 1; }

tests/python.sh tests/triton/repository.py "$out/repository"
exec "$venv/bin/python" tests/triton/check.py --server "$server" --backends "$out/build" \
    --repository "$out/repository/models" --log "$out/server.log"
