#!/usr/bin/env bash
# Builds the library for another machine and runs its tests there, or in an emulator of it:
#
#   tests/cross.sh TARGET [--only NAME]
#
#   TARGET       aarch64   Linux on 64-bit ARM, under QEMU
#                windows   Windows on x86-64, under Wine
#                check     type-checks the targets that nothing here can run
#   --only NAME  one step or one C program; the head of tests/cross/TARGET.sh lists them
#
# Built in target/cross/TARGET of the sources of Debian's Rust, the standard library included, with the
# packages that it asks for; they are installed when it may. Ends in `cross: target=… passed=N failed=F`.
# A command of its own, for it takes long: no step of tests/run.sh.
set -u
cd "$(dirname "$0")/.." || exit 2
source tests/deps.sh

name=${1:-}
only=
if [ ! -f "tests/cross/${name:-none}.sh" ]; then
    echo "tests/cross.sh: expected a target, one of: $(basename -s .sh tests/cross/*.sh | xargs)" >&2
    exit 2
fi
shift
while [ $# -gt 0 ]; do
    case $1 in
        --only) only=${2:?--only needs a name}; shift ;;
        *) echo "tests/cross.sh: unknown argument $1" >&2; exit 2 ;;
    esac
    shift
done

out=$(realpath -m "${CARGO_TARGET_DIR:-target}")/cross/$name
mkdir -p "$out" || exit 2
passed=0
failed=0

# tally NAME PASSED FAILED: counts what a step came to, and tells it.
tally() {
    passed=$((passed + $2))
    failed=$((failed + $3))
    printf '%-12s %6d passed, %d failed\n' "$1" "$2" "$3"
}

# Whether a step is asked for.
wanted() { [ -z "$only" ] || [ "$only" = "$1" ]; }

# Debian's compiler with the library's sources: 1.91 or later.
need_rust_sources() {
    local packages="rustc-web cargo-web libstd-rust-web-dev rust-web-src" package
    if ! new_enough && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "installing $packages" >&2
        apt-get update -qq >&2 || true
        for package in $packages; do apt_install "$package" || true; done
    fi
    if ! new_enough; then
        echo "tests/cross.sh: no Rust 1.91 or later with its sources; install it: apt-get install $packages" >&2
        exit 1
    fi
}

new_enough() {
    [ -d /usr/lib/rustlib/src/rust/library ] && /usr/bin/rustc --version 2>/dev/null |
        awk '{ split($2, v, "."); exit !(v[1] > 1 || v[2] >= 91) }'
}

# Not optimised at link time: that takes long and changes no result.
cross_environment=(RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1 "CARGO_TARGET_DIR=$out"
    CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16)

# cross_cargo TRIPLE WORDS...: Debian's cargo for a target, the standard library built with it. The rest
# of what the target needs (linker, C compiler, runner) is in the environment.
cross_cargo() {
    local triple=$1 command=$2
    shift 2
    env "${cross_environment[@]}" /usr/bin/cargo "$command" --quiet --locked -Zbuild-std=std,panic_unwind --target "$triple" "$@"
}

# shellcheck source=/dev/null
source "tests/cross/$name.sh"

echo "cross: target=$name passed=$passed failed=$failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
