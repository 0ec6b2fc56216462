# Sourced: $venv is a virtual environment with what tests/prep/requirements.txt names, made when
# it is missing or out of date. Needs $root.
source "$root/tests/deps.sh"
venv=$root/target/venv-prep
if ! cmp -s "$root/tests/prep/requirements.txt" "$venv/requirements.txt"; then
    need_python ensurepip python3-venv
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$root/tests/prep/requirements.txt"
    cp "$root/tests/prep/requirements.txt" "$venv/requirements.txt"
fi
