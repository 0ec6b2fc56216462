#!/usr/bin/env bash
# The command-line tool of examples-c/cli: what it answers, its exit statuses, and that no model makes it
# crash or command the terminal.
#
#   tests/cli.sh [DIR]     DIR holds libinferno.so, libinferno.a and inferno-check (target/release)
set -u
cd "$(dirname "$0")/.." || exit 2
root=$PWD
source tests/deps.sh
need cc gcc
need make make
need pkg-config pkg-config
need python3 python3
need valgrind valgrind

target=${CARGO_TARGET_DIR:-$root/target}
libs=$(cd "${1:-$target/release}" && pwd) || exit 2
out=$target/cli
rm -rf "$out"
mkdir -p "$out" || exit 2
./install.sh --from "$libs" --prefix "$out/prefix" >"$out/install.log" || exit 1
cp -r examples-c/cli "$out/build"
PKG_CONFIG_PATH=$out/prefix/lib/pkgconfig \
    CFLAGS="-std=c11 -O2 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror" make -s -C "$out/build" || exit 1
tool=$out/build/inferno
models=$target/models
[ -f "$models/policy_mlp.onnx" ] || tests/python.sh tests/models/policy_mlp.py --dest "$models" || exit 1
policy=$models/policy_mlp.onnx

passed=0
failed=0
# check NAME STATUS PATTERN ARGUMENTS...: the exit status, and a line that matches on either stream.
check() {
    local name=$1 status=$2 pattern=$3 code=0
    shift 3
    timeout 120 "$tool" "$@" >"$out/log" 2>&1 || code=$?
    if [ $code = "$status" ] && grep -qE -- "$pattern" "$out/log"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "$name: exit status $code, expected $status, and a line like \`$pattern\` in:"
        head -n 12 "$out/log"
    fi
}

# What it answers.
check help 0 '^usage: inferno COMMAND' --help
check version 0 '^Inferno 0\.' --version
check inspect 0 'observation  f32 \[batch, 64\]' inspect "$policy"
check steps 0 "step +3  product .*kernel of Inferno's" inspect "$policy" --dim batch=32
check memory 0 '^memory +weights .*; a session: arena .*, scratch' inspect "$policy"
check run 0 'action  f32 \[2, 16\]  min' run "$policy" --dim batch=2 --output action="$out/action.npy"
check verify 0 '^same +action  0 of 32 elements differ' verify "$policy" --dim batch=2 --expect action="$out/action.npy"
check differs 1 '^differs +action  [0-9]+ of 32' verify "$policy" --dim batch=2 --input observation=0.5 \
    --expect action="$out/action.npy"
check dims-differ 1 'dims are not those expected' verify "$policy" --expect action="$out/action.npy"
check bench 0 '^bench: runs=200 p50_us=[0-9.]+ .* max_us=' bench "$policy" --runs 200
check profile 0 'product EinSum "dense0' profile "$policy" --runs 20
check json 0 '"is_native":true' profile "$policy" --runs 20 --json
check isolated 0 '^bench: runs=3 ' bench "$policy" --runs 3 --isolated --threads 2

# A run on numbers from NumPy, compared with NumPy's own: three layers are enough to get wrong.
tests/python.sh - "$policy" "$out" <<'PY' || failed=$((failed + 1))
import sys
import numpy
import onnx
from onnx import numpy_helper
weights = {w.name: numpy_helper.to_array(w) for w in onnx.load(sys.argv[1]).graph.initializer}
seen = value = numpy.random.default_rng(3).standard_normal((5, 64), dtype=numpy.float32)
for layer in range(3):
    value = value @ weights[f"w{layer}"] + weights[f"b{layer}"]
    value = numpy.maximum(value, 0) if layer < 2 else value
numpy.save(f"{sys.argv[2]}/seen.npy", seen)
numpy.save(f"{sys.argv[2]}/wanted.npy", value)
numpy.save(f"{sys.argv[2]}/doubles.npy", seen.astype(numpy.float64))
numpy.save(f"{sys.argv[2]}/fortran.npy", numpy.asfortranarray(seen))
PY
check numpy 0 '^same +action  0 of 80' verify "$policy" --input observation="$out/seen.npy" --expect action="$out/wanted.npy"
check dtype 1 'DTYPE_MISMATCH' run "$policy" --input observation="$out/doubles.npy"
check fortran 1 'in C order' run "$policy" --input observation="$out/fortran.npy"
head -c 300 "$out/seen.npy" >"$out/short.npy"
check short 1 'is no .npy file' run "$policy" --input observation="$out/short.npy"
if [ -f "$models/silero_vad.onnx" ]; then
    check silero 0 '^bench: runs=50 ' bench "$models/silero_vad.onnx" --shape input=1,576 --shape state=2,1,128 \
        --const sr=16000 --state state=stateN --runs 50
fi

# What it refuses.
check no-command 2 'no such command' frobnicate
check no-model 2 'missing' run
check no-option 2 'no such option' run "$policy" --frobnicate 1
check no-value 2 'value is missing' run "$policy" --runs
check bad-number 2 'no such value' bench "$policy" --runs 0
check no-equals 2 'NAME=VALUE' run "$policy" --dim batch
check no-expect 2 'nothing to compare' verify "$policy"
check no-file 1 'NOT_FOUND' inspect "$out/no-such.onnx"
check no-input 1 'NOT_FOUND' run "$policy" --input nothing=1
check no-npy 1 'No such file' run "$policy" --input observation="$out/no-such.npy"
check bad-dim 1 'expected a number' run "$policy" --dim batch=-3
check too-large 1 'LIMIT_EXCEEDED|OUT_OF_MEMORY|OUT_OF_BUDGET' run "$policy" --dim batch=99999999999

# Hostile models: a name that commands the terminal; models cut, and with bytes changed.
python3 - "$policy" "$out" <<'PY'
import random, sys
model = open(sys.argv[1], "rb").read()
random.seed(7)
open(f"{sys.argv[2]}/escape.onnx", "wb").write(model.replace(b"observation", b"obs\x1b[31mxyz"))
for case in range(60):
    data = bytearray(model)
    for _ in range(random.randint(1, 12)):
        data[random.choice([random.randrange(400), random.randrange(len(data)), len(data) - 1 - random.randrange(300)])] = random.randrange(256)
    if case % 3 == 0:
        del data[random.randrange(len(data)):]
    open(f"{sys.argv[2]}/mutant-{case}.onnx", "wb").write(data)
array = open(f"{sys.argv[2]}/seen.npy", "rb").read()
for case in range(40):
    data = bytearray(array)
    for _ in range(random.randint(1, 4)):
        data[random.randrange(128)] = random.choice(b"0123456789,(){}' \0\xff")
    if case % 4 == 0:
        del data[random.randrange(len(data)):]
    open(f"{sys.argv[2]}/mutant-{case}.npy", "wb").write(data)
PY
check escape 0 'obs\\x1b\[31mxyz' inspect "$out/escape.onnx"
if grep -q $'\x1b' "$out/log"; then
    echo "escape: a control character reached the terminal"
    failed=$((failed + 1))
fi
survives() { # arguments: taken or refused
    local code=0
    timeout 120 "$tool" "$@" >"$out/log" 2>&1 || code=$?
    if [ $code -le 1 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "$*: exit status $code"
        tail -n 3 "$out/log"
    fi
}
for model in "$out"/mutant-*.onnx "$models"/*.onnx; do survives inspect "$model"; done
for array in "$out"/mutant-*.npy; do survives run "$policy" --input observation="$array"; done

# Valgrind, on what the tool itself does.
export INFERNO_POOL=0
for command in "inspect $policy" "run $policy --output action=$out/again.npy" "bench $policy --runs 5" \
    "profile $policy --runs 5" "verify $policy --input observation=$out/seen.npy --expect action=$out/wanted.npy" \
    "run $policy --input observation=$out/short.npy" "inspect $out/escape.onnx"; do
    code=0
    # shellcheck disable=SC2086 # words
    valgrind -q --undef-value-errors=no --error-exitcode=9 --leak-check=full --show-leak-kinds=definite \
        --errors-for-leak-kinds=definite "$tool" $command >"$out/log" 2>&1 || code=$?
    if [ $code -le 1 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "valgrind $command: exit status $code"
        grep -v '^[a-z]' "$out/log" | head -n 20
    fi
done

echo "$passed passed, $failed failed"
[ $failed = 0 ]
