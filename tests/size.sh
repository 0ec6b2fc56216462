#!/usr/bin/env bash
# What the libraries weigh. The last line is
#
#   size: shared_mib=… static_mib=…
#
# and the exit status 1 when the shared object is over its limit of 16 MiB.
#
#   tests/size.sh               build, then print the sections
#   tests/size.sh --detail      print the code by crate, too: builds once more,
#                               with symbols, which takes as long again
#   tests/size.sh --from DIR    the libraries in DIR, as they are
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
source "$root/tests/deps.sh"
need readelf binutils

limit_mib=16
detail=no
libs=
while [ $# -gt 0 ]; do
    case $1 in
        --detail) detail=yes ;;
        --from) libs=${2:?--from needs a folder}; shift ;;
        *) echo "size.sh: what is $1?" >&2; exit 2 ;;
    esac
    shift
done

libs=${libs:-$("$root/install.sh" --build-only)}

echo "sections of libinferno.so over 10 KiB:"
readelf -SW "$libs/libinferno.so" | sed 's/^ *\[ *[0-9]*\] *//' |
    while read -r name type _ _ size _; do
        bytes=0
        # What is nowhere in the file, and the table's own head, do not count.
        if [[ $size =~ ^[0-9a-f]{6,}$ && $type != NOBITS ]]; then
            bytes=$((16#$size))
        fi
        if [ "$bytes" -gt 10240 ]; then
            echo "$bytes $name"
        fi
    done | sort -rn | awk '{ printf "  %8.2f MiB  %s\n", $1 / 1048576, $2 }'

# The symbol table knows sizes and mangled names. Generic code of the standard
# library counts for the first crate that its types name.
by_crate() {
    readelf -sWC --sym-base=10 "$1" | awk '
        $4 == "FUNC" && $7 != "UND" {
            size = $3 + 0
            text = $0
            crate = ""
            # A crate begins a path: no colon stands before it.
            while (match(text, /[^A-Za-z0-9_:][A-Za-z_][A-Za-z0-9_]*::/)) {
                found = substr(text, RSTART + 1, RLENGTH - 3)
                text = substr(text, RSTART + RLENGTH)
                if (crate == "" || found !~ /^(core|alloc|std)$/) crate = found
                if (found !~ /^(core|alloc|std)$/) break
            }
            if (crate == "") crate = "(no Rust name)"
            total[crate] += size
            count[crate]++
        }
        END { for (crate in total) print total[crate], count[crate], crate }' |
        sort -rn | awk 'NR <= 30 { printf "  %8.2f MiB  %6d functions  %s\n", $1 / 1048576, $2, substr($0, index($0, $3)) }'
}

if [ $detail = yes ]; then
    need_cargo
    target=${CARGO_TARGET_DIR:-$root/target}/size
    (cd "$root" && CARGO_TARGET_DIR=$target cargo rustc --release --locked --lib --crate-type cdylib \
        --config 'profile.release.strip="none"')
    echo "code by crate:"
    by_crate "$target/release/libinferno.so"
fi

shared=$(stat -L -c %s "$libs/libinferno.so")
static=$(stat -L -c %s "$libs/libinferno.a")
awk -v shared="$shared" -v static="$static" -v limit=$limit_mib 'BEGIN {
    shared /= 1048576
    static /= 1048576
    if (shared > limit) printf "the shared object is over %d MiB\n", limit
    printf "size: shared_mib=%.2f static_mib=%.2f\n", shared, static
    exit shared > limit
}'
