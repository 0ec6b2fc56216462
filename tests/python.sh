#!/usr/bin/env bash
# Runs a Python script with the packages of tests/requirements.txt, in a virtual
# environment under target/ that is made when it is missing or out of date.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
source "$root/tests/deps.sh"
venv=$root/target/venv
if ! cmp -s "$root/tests/requirements.txt" "$venv/requirements.txt"; then
    need_python ensurepip python3-venv
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$root/tests/requirements.txt"
    cp "$root/tests/requirements.txt" "$venv/requirements.txt"
fi
exec "$venv/bin/python" "$@"
