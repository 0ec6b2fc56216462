#!/usr/bin/env bash
# Unloading, fork and exit, as README.md describes them: plug-ins that come and go, two that share the
# library, two with one each, a copy of it, children of fork, processes that end amid runs.
#
#   tests/unload.sh [--lib-dir DIR] [--times N]     DIR holds libinferno.so and libinferno.a (target/release);
#                                                   N processes end in each way (20)
set -u
cd "$(dirname "$0")/.." || exit 2
source tests/deps.sh
need cc gcc
need readelf binutils

target=${CARGO_TARGET_DIR:-$PWD/target}
libs=$target/release
times=20
while [ $# -gt 0 ]; do
    case $1 in
        --lib-dir) libs=${2:?--lib-dir needs a folder}; shift ;;
        --times) times=${2:?--times needs a number}; shift ;;
        *) echo "tests/unload.sh: unknown argument $1" >&2; exit 2 ;;
    esac
    shift
done
libs=$(cd "$libs" && pwd) || exit 2
out=$target/unload
rm -rf "$out"
mkdir -p "$out/copy" || exit 2
out=$(cd "$out" && pwd)

soname=$(readelf -d "$libs/libinferno.so" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
ln -s "$libs/libinferno.so" "$out/${soname:=libinferno.so}"
# Another file is another library, even under the same name.
cp "$libs/libinferno.so" "$out/copy/libinferno_copy.so"
strict=(-std=c11 -O1 -g -Wall -Wextra -Wpedantic -Werror -Iinclude)
static=(-Wl,-z,noexecstack -lutil -lrt -lpthread -lm -ldl)

set -e
for name in shared_a shared_b; do
    cc "${strict[@]}" -shared -fPIC tests/unload/plugin.c "$libs/libinferno.so" -Wl,-rpath,"$out" -o "$out/$name.so"
done
# As README.md says it: the archive's symbols hidden, the plug-in never unmapped.
for name in static_a static_b; do
    cc "${strict[@]}" -shared -fPIC tests/unload/plugin.c "$libs/libinferno.a" -Wl,--exclude-libs,ALL -Wl,-z,nodelete \
        -Wl,--gc-sections "${static[@]}" -o "$out/$name.so"
done
cc "${strict[@]}" tests/unload/unload.c -ldl -lpthread -o "$out/unload"
for name in fork exit; do
    cc "${strict[@]}" "tests/unload/$name.c" "$libs/libinferno.so" -Wl,-rpath,"$out" -lpthread -o "$out/$name"
done
# A plug-in that was linked to the copy asks for it by its path.
cc "${strict[@]}" -shared -fPIC -DCOPY="\"$out/copy/libinferno_copy.so\"" tests/unload/plugin_copy.c -ldl -o "$out/copied.so"
set +e

passed=0
failed=0
counted() { # name, command...: adds its checks
    local name=$1 code=0 counts
    shift
    timeout 300 "$@" >"$out/$name.log" 2>&1 || code=$?
    counts=$(sed -n 's/^checks: \([0-9]*\) failures: \([0-9]*\)$/\1 \2/p' "$out/$name.log" | tail -n 1)
    # shellcheck disable=SC2086 # two numbers
    set -- ${counts:-0 1}
    [ $code = 0 ] || [ "$2" -gt 0 ] || set -- "$1" 1
    passed=$((passed + $1 - ($1 > 0 ? $2 : 0)))
    failed=$((failed + $2))
    if [ "$2" -gt 0 ]; then
        echo "$name: exit status $code"
        tail -n 20 "$out/$name.log"
    fi
}
counted unload "$out/unload" "$out/shared_a.so" "$out/shared_b.so" "$out/static_a.so" "$out/static_b.so" "$out/copied.so"
counted fork "$out/fork" "$(type -P true)"
for way in return exit quick_exit _exit shutdown thread; do
    for ((i = 0; i < times; i++)); do
        code=0
        timeout 20 "$out/exit" $way >"$out/exit.log" 2>&1 || code=$?
        if [ $code = 0 ]; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
            echo "exit $way: exit status $code"
            tail -n 5 "$out/exit.log"
        fi
    done
done

echo "$passed passed, $failed failed"
[ $failed = 0 ]
