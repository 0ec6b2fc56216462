# Sourced by tests/cross.sh. Linux on 64-bit ARM, under QEMU. Steps:
#
#   kernels   the unit tests of src/kernels: NEON against the scalar reference
#   words     those of the integer products on a processor without dot products
#   helper    the helper of isolated loads compiles; see below
#   and the programs of tests/c, each by its name, with `header`
#
# QEMU's user mode lets no program filter its system calls (seccomp), which is what isolated loads
# are: isolation.c and sandbox.c are built, and not run.
triple=aarch64-unknown-linux-gnu
root=/usr/aarch64-linux-gnu
not_here="isolation sandbox"

need_rust_sources
need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
need qemu-aarch64 qemu-user
need readelf binutils
if [ ! -f "$root/lib/libc.so.6" ]; then
    echo "tests/cross.sh: no C library for $triple in $root; install it: apt-get install libc6-dev-arm64-cross" >&2
    exit 1
fi
emulator="qemu-aarch64 -L $root"
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc

# What imports models is most of the build, and little of the tests' time.
quick=()
for crate in core nnef onnx onnx-opl extra transformers hir; do
    quick+=(--config "profile.dev.package.tract-$crate.opt-level=1")
done

# unit NAME RUNNER FILTER: what the unit tests of that name come to.
unit() {
    local counts
    counts=$(CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=$2 cross_cargo "$triple" test --lib "${quick[@]}" "$3" 2>&1 |
        tee "$out/$1.log" | sed -n 's/^test result: [a-zA-Z]*\. \([0-9]*\) passed; \([0-9]*\) failed.*/\1 \2/p')
    if [ -z "$counts" ] || [ "${counts#* }" != 0 ] || [ "${counts% *}" = 0 ]; then cat "$out/$1.log"; fi
    # shellcheck disable=SC2086
    tally "$1" ${counts:-0 1}
}

# program NAME: what the program of tests/c, or its check of the header, comes to.
program() {
    local counts
    counts=$(CARGO_TARGET_DIR=$out CC=aarch64-linux-gnu-gcc RUNNER=$emulator CHECK_EMULATED=1 \
        tests/c.sh --lib-dir "$out/$triple/debug" --only "$1" 2>&1 | tee "$out/$1.log" |
        sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p')
    if [ -z "$counts" ] || [ "${counts#* }" != 0 ] || [ "${counts% *}" = 0 ]; then cat "$out/$1.log"; fi
    # shellcheck disable=SC2086
    tally "$1" ${counts:-0 1}
}

# built COMMAND...: one check, that the command ends well.
built() {
    if "$@"; then tally "$step" 1 0; else tally "$step" 0 1; fi
}

if wanted kernels; then unit kernels "$emulator" kernels::; fi
if wanted words; then unit words "$emulator -cpu cortex-a53" kernels::quant::; fi
if [ "$only" = kernels ] || [ "$only" = words ]; then return; fi

cross_cargo "$triple" build --lib "${quick[@]}" || exit 1
strict="aarch64-linux-gnu-gcc -std=c11 -Wall -Wextra -Wpedantic -Werror -Iinclude -Itests/c"
for source in src/check/inferno-check.c tests/c/*.c; do
    step=$(basename "$source" .c)
    if [ "$source" = src/check/inferno-check.c ]; then step=helper; fi
    wanted "$step" || continue
    case " helper $not_here " in
        # shellcheck disable=SC2086
        *" $step "*) built $strict -c "$source" -o "$out/$step.o" ;;
        *) program "$step" ;;
    esac
done
if wanted header; then program header; fi
