#!/usr/bin/env bash
# The job of examples-c/hosts/ray on a real cluster: 20,000 rows, a worker killed amid them.
#
#   tests/ray.sh [--lib-dir DIR]
#
#   --lib-dir DIR  where libinferno.so and inferno-check are (target/release)
#
# Ray comes as a Python package of 600 MB, into a virtual environment under target/ray. Its nodes are processes
# on loopback addresses; nothing is reported to anybody. The last line is
# `ray: rows=20000 right=20000 killed=1 after_kill=N`, N being the rows that the others ran after the kill.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
source tests/deps.sh
take_lib_dir "$@"
if [ "$(uname -s)" != Linux ]; then
    echo "tests/ray.sh: made for Linux, where each node has an address of 127.0.0.0/8" >&2
    exit 1
fi
need_python ensurepip python3-venv

out=$target/ray
mkdir -p "$out"
out=$(cd "$out" && pwd)
venv=$out/venv
if ! cmp -s tests/ray/requirements.txt "$venv/requirements.txt"; then
    if [ "$(df -Pm "$out" | awk 'NR == 2 {print $4}')" -lt 2000 ]; then
        echo "tests/ray.sh: $out needs 2 GB of free disk" >&2
        exit 1
    fi
    echo "installing Ray into $venv" >&2
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r tests/ray/requirements.txt
    cp tests/ray/requirements.txt "$venv/requirements.txt"
fi

if ! ./install.sh --from "$lib_dir" --prefix "$out/prefix" >"$out/install.log" 2>&1; then
    cat "$out/install.log" >&2
    exit 1
fi
rm -rf "$out/package" "$out/wheel"
cp -r examples-c/hosts/python "$out/package"
INFERNO_PREFIX=$out/prefix "$venv/bin/pip" wheel -q --disable-pip-version-check --no-deps --no-build-isolation \
    -w "$out/wheel" "$out/package"
"$venv/bin/pip" install -q --disable-pip-version-check --no-deps --no-index --force-reinstall \
    "$out"/wheel/inferno_rt-*.whl

tests/python.sh tests/ray/reference.py "$out"

# Ray's sockets and logs; their paths have to be short.
RAY_TMPDIR=$(mktemp -d /tmp/ray-XXXXXX)
trap 'rm -rf "$RAY_TMPDIR"' EXIT
export RAY_TMPDIR PYTHONPATH=$root/examples-c/hosts/ray
export RAY_USAGE_STATS_ENABLED=0 RAY_enable_metrics_collection=0 RAY_DATA_DISABLE_PROGRESS_BARS=1
# Files are listed without a pool of actors, which are a process each.
export RAY_DATA_USE_DATASOURCE_V2=0
# Workers are no less important than what else runs here.
export RAY_worker_niceness=0
# A node that says nothing for three seconds is dead.
export RAY_health_check_period_ms=1000 RAY_health_check_failure_threshold=3
code=0
# A session of its own: what is in it is Ray's. What Ray says goes to the log alone.
setsid --wait "$venv/bin/python" tests/ray/check.py "$out" 2>&1 | tee "$out/ray.log" |
    grep --line-buffered -E '^(cluster|killed|workers|ray:) ' || code=$?
[ $code = 0 ] || { echo "--- the end of $out/ray.log"; tail -n 25 "$out/ray.log"; }
exit $code
