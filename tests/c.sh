#!/usr/bin/env bash
# Builds and runs the C tests of tests/c against the built library.
#
#   tests/c.sh [--lib-dir DIR] [--static] [--only NAME] [--valgrind]
#
#   --lib-dir DIR  where libinferno.so and libinferno.a are (target/debug)
#   --static       links libinferno.a
#   --only NAME    one program, such as `model`; or `header`, the check that bad_args.c calls every
#                  function there is
#   --valgrind     runs the programs under valgrind
#
# RUNNER is put before each program; CC is the compiler (cc). What compare.c compares with is in
# target/reference, when tests/models/reference.py has written it: every folder of its index.txt.
set -u
cd "$(dirname "$0")/.." || exit 2

target=${CARGO_TARGET_DIR:-target}
lib_dir=$target/debug
linkage=shared
only=
runner=${RUNNER:-}
while [ $# -gt 0 ]; do
    case $1 in
        --lib-dir) lib_dir=${2:?--lib-dir needs a folder}; shift ;;
        --static) linkage=static ;;
        --only) only=${2:?--only needs a name}; shift ;;
        --valgrind)
            runner="valgrind -q --fair-sched=try --error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite" ;;
        *) echo "tests/c.sh: unknown argument $1" >&2; exit 2 ;;
    esac
    shift
done

out=$target/c-tests/$linkage
mkdir -p "$out" || exit 2
passed=0
failed=0
limit=300
if [ -n "$runner" ]; then
    limit=3000
    export CHECK_SLOW=1
fi

wanted() { [ -z "$only" ] || [ "$only" = "$1" ]; }

# Every function that the header declares must be called in bad_args.c; comments do not count.
check_header() {
    local calls function missing=0 count=0
    calls=$("${CC:-cc}" -w -fpreprocessed -dD -E -P tests/c/bad_args.c)
    for function in $(functions); do
        count=$((count + 1))
        if ! grep -q "\b$function\b" <<<"$calls"; then
            echo "tests/c/bad_args.c does not call $function"
            missing=$((missing + 1))
        fi
    done
    if [ "$count" -lt 10 ]; then
        echo "include/inferno.h: only $count functions found"
        missing=$((missing + 1))
    fi
    tally header "$count" "$missing"
}

functions() {
    "${CC:-cc}" -w -fpreprocessed -dD -E -P include/inferno.h | tr '\n' ' ' |
        grep -oE '\binferno_[a-z0-9_]+ *\(' | tr -d ' (' | sort -u
}

tally() { # name, checks, failures
    passed=$((passed + $2 - $3))
    failed=$((failed + $3))
    printf '%-10s %6d checks, %d failed\n' "$1" "$2" "$3"
}

# What to link: the library itself, and for the shared one a link under its soname to find it by.
case $linkage in
    shared)
        library=$lib_dir/libinferno.so
        if [ ! -f "$library" ]; then echo "tests/c.sh: no $library" >&2; exit 2; fi
        soname=$(readelf -d "$library" | sed -n 's/.*(SONAME).*\[\(.*\)\].*/\1/p')
        mkdir -p "$out/lib"
        ln -sfn "$(realpath "$library")" "$out/lib/${soname:-libinferno.so}"
        link=("$library" '-Wl,-rpath,$ORIGIN/lib' -lm -lpthread) ;;
    static)
        library=$lib_dir/libinferno.a
        if [ ! -f "$library" ]; then echo "tests/c.sh: no $library" >&2; exit 2; fi
        # Without -z noexecstack an assembly object in the archive makes the stack executable.
        link=("$library" -Wl,-z,noexecstack -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc) ;;
esac

run() { # name, arguments
    local name=$1 log code counts
    shift
    log=$out/$name.log
    # shellcheck disable=SC2086
    timeout -k 10 "$limit" $runner "$out/$name" "$@" >"$log" 2>&1
    code=$?
    counts=$(sed -n 's/^checks: \([0-9]*\) failures: \([0-9]*\)$/\1 \2/p' "$log" | tail -1)
    sed '/^checks: [0-9]* failures: [0-9]*$/d' "$log"
    # shellcheck disable=SC2086
    tally "$name" ${counts:-0 0}
    if [ -z "$counts" ] || { [ "$code" -ne 0 ] && [ "${counts#* }" -eq 0 ]; }; then
        echo "$name: ended with exit status $code"
        failed=$((failed + 1))
    fi
}

cases() {
    if [ -f "$target/reference/index.txt" ]; then
        sed -n "s|^[a-z]* |$target/reference/|p" "$target/reference/index.txt"
    fi
}

if wanted header; then check_header; fi
for source in tests/c/*.c; do
    name=$(basename "$source" .c)
    wanted "$name" || continue
    if ! "${CC:-cc}" -std=c11 -Wall -Wextra -Wpedantic -Werror -g -Iinclude -Itests/c "$source" \
        -o "$out/$name" "${link[@]}"; then
        echo "$name: does not build"
        failed=$((failed + 1))
        continue
    fi
    run "$name"
    if [ "$name" = compare ]; then
        mapfile -t found < <(cases)
        if [ ${#found[@]} -gt 0 ]; then
            run compare --refused tests/c/compare.refused "${found[@]}"
        fi
    fi
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
