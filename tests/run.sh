#!/usr/bin/env bash
# Passes every test. On a fresh Debian machine with Rust it installs what it
# needs (as root), or says precisely what is missing.
#
#   tests/run.sh [--quick]     --quick leaves out valgrind, ThreadSanitizer and the package tests
#
# Ends with `N passed, M failed`: the checks of all programs together.
set -u
cd "$(dirname "$0")/.." || exit 2
source tests/deps.sh

quick=no
case ${1:-} in
    "") ;;
    --quick) quick=yes ;;
    *) echo "tests/run.sh: what is $1?" >&2; exit 2 ;;
esac

need_cargo
need cc gcc
need c++ g++
need python3 python3
need readelf binutils
need cmake cmake
need ninja ninja-build
need pkg-config pkg-config
need luajit luajit
need clang-14 clang-14
need valgrind valgrind
need strace strace
need_python ensurepip python3-venv

logs=target/test-logs
mkdir -p "$logs"
passed=0
failed=0

# Runs a step; its own closing counts are added, or one check for its exit status.
step() { # name, command...
    local name=$1 log status=0 before=$SECONDS p f
    shift
    log=$logs/$name.log
    "$@" >"$log" 2>&1 || status=$?
    p=$(grep -oE '^test result: .* ([0-9]+) passed|^([0-9]+) passed, [0-9]+ failed' "$log" |
        grep -oE '[0-9]+ passed' | awk '{n += $1} END {print n + 0}')
    f=$(grep -oE '^test result: .* [0-9]+ failed|^[0-9]+ passed, [0-9]+ failed' "$log" |
        grep -oE '[0-9]+ failed' | awk '{n += $1} END {print n + 0}')
    [ "$((p + f))" -gt 0 ] || p=$((status == 0))
    if [ $status -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    passed=$((passed + p))
    failed=$((failed + f))
    printf '%-14s %6d passed %4d failed %5d s   %s\n' "$name" "$p" "$f" $((SECONDS - before)) \
        "$(grep -E '^(conformance|size|hostile|hostile-named|soak|tsan|metrics|hosts|guide):' "$log" | tail -n 1)"
    if [ "$f" -gt 0 ]; then
        echo "--- the end of $log"
        tail -n 40 "$log"
        echo "---"
    fi
}

models() {
    tests/python.sh tests/models/fetch.py --dest target/models &&
        tests/python.sh tests/models/policy_mlp.py && tests/python.sh tests/models/make.py &&
        tests/python.sh tests/models/reference.py && tests/python.sh tests/models/digits.py --check
}

step format cargo fmt --check
step clippy cargo clippy --locked --all-targets -- -D warnings
step docs env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
step rust cargo test --locked --tests
step loom tests/loom.sh
step third-party tests/third_party.sh
step build ./install.sh --build-only
step build-debug cargo build --locked --lib
step models models
step main-job examples-c/run.sh
step examples examples-c/all.sh target/release
step c tests/c.sh --lib-dir target/release
step c-static tests/c.sh --lib-dir target/release --static
step header tests/header.sh
step abi tests/abi.sh --lib target/release/libinferno.so
step bindings tests/bindings.sh target/release
step prep tests/prep.sh
step cpp tests/cpp/run.sh
step size tests/size.sh --from target/release
step hostile-named tests/hostile.sh --named --lib target/release/libinferno.so
step hostile tests/hostile.sh --cases 400 --lib target/release/libinferno.so
step isolated tests/hostile.sh --cases 60 --isolation --lib target/release/libinferno.so
step silent tests/silent.sh
# (3 % is held by the benchmark itself, on a machine that does nothing else.)
step overhead benches/overhead.sh --most 10
step soak tests/soak.sh --runs 400000
step conformance tests/conformance.sh --lib target/release/libinferno.so --jobs 2 --min-passed 1770
if [ $quick = no ]; then
    step package tests/package.sh
    step unload tests/unload.sh
    step cli tests/cli.sh target/release
    step hosts tests/hosts.sh
    step guide tests/guide.sh
    step metrics tests/metrics.sh
    step tsan tests/tsan.sh 2
    # The debug library: tract fills fresh tensors there, so that what valgrind
    # finds is ours. (In a release build it compares padding it never wrote.)
    step c-valgrind tests/c.sh --lib-dir target/debug --valgrind --jobs 2
fi

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
