# Sourced by tests/cross.sh: Windows on x86-64, as MinGW builds it and Wine runs it. Its steps:
#
#   header    inferno.h as C99, C11, C17 and C++17, inferno.hpp as C++17 and C++20
#   layout    structs, constants and functions are those of tests/abi/lp64.txt
#   shared    the programs of tests/c on inferno.dll; `--only NAME` for one
#   static    the same on libinferno.a
#   cpp       tests/cpp
#   windows   what is different there: paths, isolation
#   unload    inferno.dll loaded and freed by a program that is not linked with it
#   exit      processes that end amid runs
# shellcheck shell=bash

triple=x86_64-pc-windows-gnu
# (The flavour whose C library has POSIX threads, which the tests use.)
cc=x86_64-w64-mingw32-gcc-posix
cxx=x86_64-w64-mingw32-g++-posix
wine=/usr/lib/wine/wine64
strict="-Wall -Wextra -Wpedantic -Werror -Iinclude"

need_rust_sources
need $cc gcc-mingw-w64-x86-64-posix
need $cxx g++-mingw-w64-x86-64-posix
need $wine wine64
need python3 python3

export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=$cc CC_x86_64_pc_windows_gnu=$cc
export CXX_x86_64_pc_windows_gnu=$cxx AR_x86_64_pc_windows_gnu=x86_64-w64-mingw32-ar
export WINEPREFIX=$out/wine WINEDEBUG=-all

# (Nobody measures here: the importer is quicker built than run.)
plain=()
for crate in core hir nnef nnef-resources onnx onnx-opl extra transformers; do
    plain+=(--config "profile.dev.package.tract-$crate.opt-level=0")
done
cross_cargo $triple build --lib "${plain[@]}" || exit 1
libs=$out/$triple/debug
made=$out/programs
mkdir -p "$WINEPREFIX" "$made" || exit 1
$wine wineboot -i >/dev/null 2>&1
# Programs find the library beside themselves, and what this Wine lacks in its own folder.
# shellcheck disable=SC2086 # options are words
$cc -std=c11 $strict -O2 -s -shared tests/cross/bcryptprimitives.c -ladvapi32 \
    -o "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" || exit 1
cp "$libs/inferno.dll" "$made/" || exit 1

# program NAME SOURCE OPTIONS...: builds $made/NAME.exe.
program() {
    local name=$1 source=$2
    shift 2
    # shellcheck disable=SC2086 # options are words
    $cc -std=c11 $strict -g -Itests/c "$source" "$@" -static -lpthread -o "$made/$name.exe"
}

# counted STEP COMMAND...: runs a program that tells its checks and failures.
counted() {
    local step=$1 code=0 counts
    shift
    timeout -k 10 1200 "$@" >"$made/$step.log" 2>&1 || code=$?
    counts=$(tr -d '\r' <"$made/$step.log" | sed -n 's/^checks: \([0-9]*\) failures: \([0-9]*\)$/\1 \2/p' | tail -n 1)
    grep -v '^checks: ' "$made/$step.log"
    # shellcheck disable=SC2086 # two numbers
    set -- ${counts:-0 0}
    if [ $code != 0 ] && [ "$2" = 0 ]; then
        echo "$step: exit status $code"
        set -- "$1" 1
    fi
    tally "$step" $(($1 > $2 ? $1 - $2 : 0)) "$2"
}

header_step() {
    local ok=0 bad=0 standard
    printf '#include <inferno.h>\ninferno_tensor t;\n' >"$made/unit.c"
    printf '#include <inferno.hpp>\ninferno::model m();\n' >"$made/unit.cpp"
    cp "$made/unit.c" "$made/unit_c.cpp"
    # shellcheck disable=SC2086 # options are words
    {
        for standard in c99 c11 c17; do
            if $cc -std=$standard $strict -c "$made/unit.c" -o "$made/unit.o"; then ok=$((ok + 1)); else bad=$((bad + 1)); fi
        done
        for standard in c++17 c++20; do
            if $cxx -std=$standard $strict -c "$made/unit_c.cpp" -o "$made/unit.o"; then ok=$((ok + 1)); else bad=$((bad + 1)); fi
            if $cxx -std=$standard $strict -c "$made/unit.cpp" -o "$made/unit.o"; then ok=$((ok + 1)); else bad=$((bad + 1)); fi
        done
    }
    tally header $ok $bad
}

# Each line is a struct, field, constant, value or function; the program names every function.
layout_step() {
    local wrong all
    python3 include/bindings/generate.py --layout >"$made/layout.c" &&
        program layout "$made/layout.c" "$libs/libinferno.dll.a" || { tally layout 0 1; return; }
    grep -v '^#' tests/abi/lp64.txt | LC_ALL=C sort >"$made/layout.kept"
    $wine "$made/layout.exe" | tr -d '\r' | LC_ALL=C sort >"$made/layout.now"
    wrong=$(LC_ALL=C comm -23 "$made/layout.kept" "$made/layout.now")
    if [ -n "$wrong" ]; then echo "$wrong"; fi
    wrong=$(printf '%s' "$wrong" | grep -c .)
    all=$(wc -l <"$made/layout.kept")
    tally layout $((all - wrong)) "$wrong"
}

# The programs of tests/c, as tests/c.sh counts them.
c_step() { # shared, or static
    local linkage=$1 options=() counts
    if [ "$linkage" = static ]; then options+=(--static); fi
    if [ -n "$only" ] && [ "$only" != "$linkage" ]; then options+=(--only "$only"); fi
    CC=$cc RUNNER=$wine tests/c.sh --lib-dir "$libs" "${options[@]}" | tee "$out/$linkage.log"
    counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$out/$linkage.log")
    # shellcheck disable=SC2086 # two numbers
    tally "$linkage" ${counts:-0 1}
}

# (It tells no counts: one check, that it ends well.)
cpp_step() {
    # shellcheck disable=SC2086 # options are words
    if $cxx -std=c++17 -O1 -g $strict tests/cpp/results.cpp tests/cpp/throwing.cpp "$libs/libinferno.dll.a" \
        -static -o "$made/cpp.exe" && $wine "$made/cpp.exe"; then
        tally cpp 1 0
    else
        tally cpp 0 1
    fi
}

windows_step() {
    program windows tests/cross/windows.c "$libs/libinferno.dll.a" || { tally windows 0 1; return; }
    counted windows $wine "$made/windows.exe"
}

unload_step() {
    program unload tests/cross/unload.c || { tally unload 0 1; return; }
    counted unload $wine "$made/unload.exe" inferno.dll
}

exit_step() {
    local ok=0 bad=0 way code
    program exit tests/unload/exit.c "$libs/libinferno.dll.a" || { tally exit 0 1; return; }
    for way in return exit _exit shutdown thread; do
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            code=0
            timeout -k 5 60 $wine "$made/exit.exe" $way >"$made/exit.log" 2>&1 || code=$?
            if [ $code = 0 ]; then ok=$((ok + 1)); continue; fi
            bad=$((bad + 1))
            echo "exit $way: exit status $code"
            tail -n 5 "$made/exit.log"
        done
    done
    tally exit $ok $bad
}

steps="header layout cpp windows unload exit shared static"
case " $steps " in
    *" ${only:-none} "*) run=$only ;;
    *) if [ -z "$only" ]; then run=$steps; else run="shared static"; fi ;;
esac
for step in $run; do
    case $step in
        shared | static) c_step "$step" ;;
        *) "${step}_step" ;;
    esac
done
/usr/lib/wine/wineserver64 -k 2>/dev/null
