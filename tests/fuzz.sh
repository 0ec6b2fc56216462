#!/usr/bin/env bash
# Fuzzes the library under AddressSanitizer: fuzz.sh load|api [--minutes M] [--jobs J] [--seed S]
#
# Keeps its corpus in target/fuzz/corpus-<target> and what it finds in
# target/fuzz/findings. Goes on after a finding until the time is over; exits 1
# when there was one. tests/fuzz/README.md tells the rest.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/deps.sh"

usage() {
    sed -n '2s/.*: //p' "$0" >&2
    exit 2
}

case "${1:-}" in
    load | api) name=$1 && shift ;;
    *) usage ;;
esac
minutes=1 jobs=1 seed=0
while [ $# -gt 1 ]; do
    case "$1" in
        --minutes) minutes=$2 ;;
        --jobs) jobs=$2 ;;
        --seed) seed=$2 ;;
        *) usage ;;
    esac
    shift 2
done
[ $# = 0 ] || usage

need_cargo
need g++ g++

target=${CARGO_TARGET_DIR:-$root/target}/fuzz
triple=x86_64-unknown-linux-gnu
corpus=$target/corpus-$name seeds=$target/seeds-$name findings=$target/findings
log=$target/log-$name

# The sanitizer's runtime comes with the toolchain, as does the coverage pass;
# both are flags of a nightly compiler, which RUSTC_BOOTSTRAP lets a stable one
# take. The coverage flags are those of cargo-fuzz.
flags="-Zsanitizer=address -Cforce-frame-pointers=yes --cfg fuzzing -Cpasses=sancov-module"
for flag in level=4 inline-8bit-counters pc-table trace-compares; do
    flags="$flags -Cllvm-args=-sanitizer-coverage-$flag"
done
(cd "$root/tests/fuzz" && CARGO_TARGET_DIR=$target RUSTC_BOOTSTRAP=1 RUSTFLAGS=$flags \
    cargo build --release --target $triple --bin "$name") >&2
binary=$target/$triple/release/$name

mkdir -p "$corpus" "$findings" "$log"
rm -rf "$seeds" "$log"/* && mkdir "$seeds"
INFERNO_FUZZ_SEEDS=$seeds "$binary"

# As on a host: too large an allocation gives NULL, which is for the library to
# answer, and not for libFuzzer's own limit.
export ASAN_OPTIONS=allocator_may_return_null=1:max_allocation_size_mb=2048:detect_leaks=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}
export RUST_BACKTRACE=0
if command -v llvm-symbolizer >/dev/null 2>&1; then
    export ASAN_SYMBOLIZER_PATH=${ASAN_SYMBOLIZER_PATH:-$(command -v llvm-symbolizer)}
fi

# One job, without the entropic schedule, which takes longer than the calls do
# when one input reaches this much code. libFuzzer ends at each finding, and the
# targets when they are worn; both start anew while there is time.
job() {
    local end=$1 number=$2 round=0 left
    while left=$((end - $(date +%s))) && [ "$left" -gt 0 ]; do
        "$binary" -max_total_time="$left" -timeout=10 -rss_limit_mb=3072 -malloc_limit_mb=4194304 \
            -max_len=4096 -len_control=0 -entropic=0 -reload=5 -print_funcs=0 -print_final_stats=1 \
            -seed=$((seed == 0 ? 0 : seed + number * 1000 + round)) \
            -artifact_prefix="$findings/$name-" "$corpus" "$seeds" \
            >"$log/$number-$round" 2>&1 || true
        # What crashes would do so at every start from now on.
        for file in "$findings/$name"-*; do
            rm -f "$corpus/${file##*-}"
        done
        # A target that cannot run at all would be started for ever.
        if ! grep -q INITED "$log/$number-$round" && [ "$round" -gt 2 ]; then
            break
        fi
        round=$((round + 1))
    done
}

before=$(find "$findings" -name "$name-*" -type f | wc -l)
end=$(awk "BEGIN { print int($(date +%s) + $minutes * 60 + 1) }")
for number in $(seq "$jobs"); do
    job "$end" "$number" &
done
wait

# The sum of each log's last number after $1.
total() {
    awk -v key="$1" '
        FNR == 1 { sum += last; last = 0 }
        (at = index($0, key)) > 0 { last = substr($0, at + length(key)) + 0 }
        END { printf "%d", sum + last }' "$log"/*
}

ended=$(grep -LE '^(Done [0-9]+ runs|Renewed after)' "$log"/* | wc -l || true)
after=$(find "$findings" -name "$name-*" -type f | wc -l)
count=$((after - before))
# A run that ended otherwise is a finding even when it is one known by name.
[ "$count" -ge "$ended" ] || count=$ended
if [ "$count" -gt 0 ]; then
    # What they are, each kind once.
    grep -hE '^(SUMMARY|fuzz:|thread .* panicked|memory allocation of)' "$log"/* | sort | uniq -c |
        sort -rn | cut -c1-240
    echo "findings: $findings"
fi
tail -qn 400 "$log"/* | grep -E 'cov: [0-9]+' | tail -1 || true
runs=$(total stat::number_of_executed_units:) calls=$(total "fuzz-$name: calls=")
echo "fuzz-$name: calls=$calls"
echo "fuzz: target=$name minutes=$minutes runs=$runs calls=$calls findings=$count"
# A pass is a run that ran.
[ "$count" = 0 ] && [ "$runs" -gt 0 ]
