#!/usr/bin/env bash
# The pool, metrics, queues and the threads of a run under ThreadSanitizer: tsan.sh [SECONDS]
#
# Threads take blocks and give back each other's, for so many seconds (5), on the pool's own sources
# (benches/pool); then for as long within budgets, of accounts that come and go. Then the tests of
# metrics, of queues and of parts on helpers and a host's threads (tests/metrics_threads.rs, queue_threads.rs,
# crew_threads.rs), built of their own sources, too. The standard library is instrumented, too: without that
# its locks are not seen, and the reports are false. Ends in
# `tsan: threads=… accounts=… metrics=… queue=… crew=… reports=0`, blocks taken, tests passed; a report
# ends it with 66.
set -eu
cd "$(dirname "$0")/.."
. tests/deps.sh
seconds=${1:-5}
# Debian's compiler that comes with the library's sources; an old package list has one too old.
new_enough() {
    [ -d /usr/lib/rustlib/src/rust/library ] && /usr/bin/rustc --version 2>/dev/null |
        awk '{ split($2, v, "."); exit !(v[1] > 1 || v[2] >= 91) }'
}
packages="rustc-web cargo-web rust-web-src"
if ! new_enough && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing $packages" >&2
    apt-get update -qq >&2 || true
    for package in $packages; do apt_install "$package" || true; done
fi
if ! new_enough; then
    echo "tsan.sh: no Rust 1.91 or newer with its sources; install it: apt-get install $packages" >&2
    exit 1
fi
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/tsan
triple=x86_64-unknown-linux-gnu
# Debian leaves the sanitizer's runtime out; the toolchain's own has it.
runtime=$(rustc --print sysroot)/lib/rustlib/$triple/lib/librustc-stable_rt.tsan.a
link="-Clink-arg=-Wl,--whole-archive,$runtime,--no-whole-archive,-lm,-lpthread,-lc,--unresolved-symbols=ignore-all"
instrumented() { # FOLDER CARGO'S WORDS...
    local folder=$1
    shift
    (cd "$folder" && RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1 \
        RUSTFLAGS="-Zsanitizer=thread -Zexternal-clangrt $link" CARGO_PROFILE_RELEASE_LTO=off \
        CARGO_TARGET_DIR=$target TSAN_OPTIONS="halt_on_error=1 exitcode=66" \
        /usr/bin/cargo "$@" --quiet --release --locked -Zbuild-std --target $triple)
}
instrumented benches/pool build --features capi >&2
blocks=
for load in threads accounts; do
    out=$(TSAN_OPTIONS="halt_on_error=1 exitcode=66" \
        "$target/$triple/release/replay" $load 4 $((seconds * 1000)))
    blocks="$blocks $load=$(echo "$out" | grep -o 'blocks=[0-9]*' | cut -d= -f2)"
done
passed() { # TEST
    instrumented tests/threads test --test "$1" | sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p'
}
metrics=$(passed metrics)
queue=$(QUEUE_STORM_MS=$((seconds * 200)) passed queue)
crew=$(passed crew)
echo "tsan:$blocks metrics=${metrics:?no tests of metrics ran} queue=${queue:?no tests of queues ran} crew=${crew:?no tests of parts ran} reports=0"
