#!/usr/bin/env bash
# Builds and runs the C tests of tests/c against the built library.
#
#   tests/c.sh [--lib-dir DIR] [--static] [--only NAME] [--valgrind] [--jobs N]
#
#   --lib-dir DIR  where libinferno.so and libinferno.a are (target/debug)
#   --static       links libinferno.a
#   --only NAME    one program, such as `model`; or `header`, the check that bad_args.c calls every
#                  function there is
#   --valgrind     runs the programs under valgrind
#   --jobs N       runs so many programs at a time (1)
#
# RUNNER is put before each program; CC is the compiler (cc). A folder with inferno.dll has the programs
# built for Windows. What compare.c compares with is in
# target/reference, when tests/models/reference.py has written it: every folder of its index.txt.
set -u
cd "$(dirname "$0")/.." || exit 2

target=${CARGO_TARGET_DIR:-target}
lib_dir=$target/debug
linkage=shared
only=
runner=${RUNNER:-}
jobs=1
while [ $# -gt 0 ]; do
    case $1 in
        --lib-dir) lib_dir=${2:?--lib-dir needs a folder}; shift ;;
        --static) linkage=static ;;
        --only) only=${2:?--only needs a name}; shift ;;
        --jobs) jobs=${2:?--jobs needs a number}; shift ;;
        --valgrind)
            # Every block on its own: what the pool cuts up, valgrind sees as one.
            export INFERNO_POOL=0
            runner="valgrind -q --fair-sched=try --error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite" ;;
        *) echo "tests/c.sh: unknown argument $1" >&2; exit 2 ;;
    esac
    shift
done

passed=0
failed=0
skipped=0
limit=300
suffix=
if [ -f "$lib_dir/inferno.dll" ]; then
    suffix=.exe
    # Not slow, as checkers and emulators of processors are.
    limit=1200
elif [ -n "$runner" ]; then
    limit=3000
    export CHECK_SLOW=1
fi

wanted() { [ -z "$only" ] || [ "$only" = "$1" ]; }

out=$target/c-tests${suffix:+/windows}/$linkage
mkdir -p "$out" || exit 2

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
case $linkage$suffix in
    shared.exe)
        cp "$lib_dir/inferno.dll" "$out/" || exit 2
        link=("$lib_dir/libinferno.dll.a" -static -lpthread) ;;
    static.exe)
        # What `--print native-static-libs` says.
        link=("$lib_dir/libinferno.a" -static -lpthread -lkernel32 -lntdll -luserenv -lws2_32 -ldbghelp) ;;
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

# Isolated loads look for their helper beside the library, or beside the program that has the
# library in it. install.sh builds it with a release; elsewhere it is built here.
helper=$lib_dir/inferno-check
archive=$lib_dir/libinferno.a
for input in "$archive" src/check/*; do
    if [ -z "$suffix" ] && [ -f "$archive" ] && [ "$input" -nt "$helper" ]; then
        "${CC:-cc}" -std=c11 -Wall -Wextra -Wpedantic -Werror -O2 -Iinclude src/check/inferno-check.c \
            -o "$helper" "$archive" -s -Wl,--gc-sections,-z,noexecstack \
            -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc || exit 2
        break
    fi
done
if [ -z "$suffix" ] && [ -f "$helper" ] && [ $linkage = static ]; then
    ln -sfn "$(realpath "$helper")" "$out/inferno-check"
fi

# Runs a program, with its output in $out/$label.log and its exit status in $out/$label.code.
execute() { # label, program, arguments
    local label=$1 program=$2
    shift 2
    # shellcheck disable=SC2086
    timeout -k 10 "$limit" $runner "$out/$program$suffix" "$@" >"$out/$label.log" 2>&1
    echo $? >"$out/$label.code"
    if [ -n "$suffix" ]; then sed -i 's/\r$//' "$out/$label.log"; fi
}

labels=()
start() { # as execute
    labels+=("$1")
    rm -f "$out/$1.code"
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
    execute "$@" &
}

# What the started programs came to, in their order.
collect() {
    local label code counts
    wait
    for label in "${labels[@]}"; do
        code=$(cat "$out/$label.code" 2>/dev/null || echo none)
        counts=$(sed -n 's/^checks: \([0-9]*\) failures: \([0-9]*\)$/\1 \2/p' "$out/$label.log" | tail -1)
        skipped=$((skipped + $(grep -c '^skipped: ' "$out/$label.log")))
        sed '/^checks: [0-9]* failures: [0-9]*$/d' "$out/$label.log"
        # shellcheck disable=SC2086
        tally "$label" ${counts:-0 0}
        if [ -z "$counts" ] || { [ "$code" != 0 ] && [ "${counts#* }" -eq 0 ]; }; then
            echo "$label: ended with exit status $code"
            failed=$((failed + 1))
        fi
    done
}

# Whether a program is about what only Linux has.
elsewhere() {
    [ -n "$suffix" ] && grep -q '^ \* System: Linux' "tests/c/$1.c"
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
    if elsewhere "$name"; then
        echo "skipped: $name: it is about what only Linux has"
        skipped=$((skipped + 1))
        continue
    fi
    if ! "${CC:-cc}" -std=c11 -Wall -Wextra -Wpedantic -Werror -g -Iinclude -Itests/c "$source" \
        -o "$out/$name$suffix" "${link[@]}"; then
        echo "$name: does not build"
        failed=$((failed + 1))
        continue
    fi
    if [ "$name" = compare ]; then
        mapfile -t found < <(cases)
        if [ ${#found[@]} -gt 0 ]; then
            start reference compare --refused tests/c/compare.refused "${found[@]}"
        fi
    fi
    start "$name" "$name"
done
collect

if [ $skipped -gt 0 ]; then echo "$skipped skipped"; fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
