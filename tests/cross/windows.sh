# Sourced by tests/cross.sh: Windows on x86-64, as MinGW builds it and Wine runs it. Its steps:
#
#   header    inferno.h as C99, C11, C17 and C++17, also for Microsoft's compilers; inferno.hpp as C++17
#             and C++20, also after windows.h
#   layout    structs, constants and functions are those of tests/abi/lp64.txt
#   dll       what inferno.dll exports, and whose DLLs it needs
#   shared    the programs of tests/c on inferno.dll; `--only NAME` for one
#   static    the same on libinferno.a
#   msvc      a program of Microsoft's target, linked by an import library of their form
#   cpp       tests/cpp
#   cmake     a host that has Inferno in its CMake build, linked with each library
#   windows   what is different there: paths, isolation
#   files     long paths, locks, names of devices; files that are replaced while they are read
#   process   programs without a console, threads of any making, names of threads
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
need clang-14 clang-14
need llvm-dlltool-14 llvm-14
need lld-link-14 lld-14

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

# compiles COMPILER STANDARD SOURCE OPTIONS...: counts whether it does.
compiles() {
    local compiler=$1 standard=$2 source=$3
    shift 3
    # shellcheck disable=SC2086 # options are words
    if $compiler -std="$standard" $strict "$@" -c "$source" -o "$made/unit.o"; then
        compiled=$((compiled + 1))
    else
        refused=$((refused + 1))
    fi
}

# Microsoft's target by another compiler, with no headers but the standard's own.
microsofts=(--target=x86_64-pc-windows-msvc -fms-compatibility-version=19.30 -ffreestanding)

header_step() {
    local standard
    compiled=0
    refused=0
    printf '#include <inferno.h>\ninferno_tensor t;\n' >"$made/unit.c"
    printf '#include <inferno.hpp>\ninferno::model m();\n' >"$made/unit.cpp"
    cp "$made/unit.c" "$made/unit_c.cpp"
    # What windows.h defines in C++ too when Microsoft's compiler reads it, unless it is told not to.
    {
        sed -n '/^#include <[a-z_]*>$/p' include/inferno.hpp
        printf '#include <%s>\n' windows.h inferno.h
        printf '#define %s(a, b) (((a) %s (b)) ? (a) : (b))\n' min '<' max '>'
        printf '#include <inferno.hpp>\ninferno::model m();\n'
    } >"$made/unit_windows.cpp"
    for standard in c99 c11 c17; do
        compiles $cc $standard "$made/unit.c"
        compiles clang-14 $standard "$made/unit.c" "${microsofts[@]}"
    done
    for standard in c++17 c++20; do
        compiles $cxx $standard "$made/unit_c.cpp"
        compiles $cxx $standard "$made/unit.cpp"
        compiles clang-14 $standard "$made/unit_c.cpp" "${microsofts[@]}"
    done
    # (Before C++20 there is no <span> to include.)
    compiles $cxx c++20 "$made/unit_windows.cpp"
    tally header $compiled $refused
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

# What a host has to ship with it, and what it may clash with: nothing.
dll_step() {
    local ok=0 wrong
    x86_64-w64-mingw32-objdump -p "$libs/inferno.dll" >"$made/dll.txt" || { tally dll 0 1; return; }
    sed -n 's/^\t*\[ *[0-9]*\] \(inferno_[a-z0-9_]*\)$/\1/p' "$made/dll.txt" | LC_ALL=C sort >"$made/dll.exported"
    declared | LC_ALL=C sort >"$made/dll.declared"
    wrong=$(
        LC_ALL=C comm -3 "$made/dll.exported" "$made/dll.declared"
        sed -n '/Name Pointer\] Table/,/^$/s/^\t*\[ *[0-9]*\] /exported: /p' "$made/dll.txt" | grep -v ': inferno_'
        sed -n 's/^\tDLL Name: /needed: /p' "$made/dll.txt" | sort -u | grep -viE \
            ': (kernel32|ntdll|msvcrt|advapi32|userenv|ws2_32|bcryptprimitives|dbghelp|api-ms-win-[a-z0-9-]*)\.dll$'
    )
    if [ -n "$wrong" ]; then echo "$wrong"; fi
    ok=$(wc -l <"$made/dll.exported")
    tally dll "$ok" "$(printf '%s' "$wrong" | grep -c .)"
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

# The functions of the library.
declared() { sed -n 's/^function [^(]*[ *]\(inferno_[a-z0-9_]*\)(.*/\1/p' tests/abi/lp64.txt; }

msvc_step() {
    local object=$made/msvc.obj imports=$made/inferno.lib code=0
    {
        printf 'LIBRARY inferno.dll\nEXPORTS\n'
        declared
    } >"$made/inferno.def"
    # shellcheck disable=SC2086 # options are words
    clang-14 "${microsofts[@]}" -std=c11 $strict -O1 -c tests/cross/msvc.c -o "$object" &&
        llvm-dlltool-14 -m i386:x86-64 -d "$made/inferno.def" -l "$imports" &&
        lld-link-14 /nologo /nodefaultlib /subsystem:console "/out:$made/msvc.exe" "$object" "$imports" \
            "$($cc -print-file-name=libkernel32.a)" || { tally msvc 0 1; return; }
    timeout 60 $wine "$made/msvc.exe" || code=$?
    if [ $code != 0 ]; then echo "msvc: check $code does not hold"; fi
    tally msvc $((code == 0)) $((code != 0))
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

# CMake's own cargo would be the machine's: this one is that of the build above, and its folder.
cmake_step() {
    local folder=$made/cmake linkage ok=0
    need cmake cmake
    need ninja ninja-build
    mkdir -p "$folder"
    {
        printf '#!/usr/bin/env bash\n'
        declare -p cross_environment plain
        # shellcheck disable=SC2016 # for the script to expand
        printf 'exec env "${cross_environment[@]}" /usr/bin/cargo "$1" -Zbuild-std=std,panic_unwind "${plain[@]}" "${@:2}"\n'
    } >"$folder/cargo"
    chmod +x "$folder/cargo"
    cat >"$folder/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.21)
project(host LANGUAGES C)
add_subdirectory("$PWD" inferno)
foreach(linkage inferno static)
  add_executable(host_\${linkage} "$PWD/tests/c/version.c")
  target_include_directories(host_\${linkage} PRIVATE "$PWD/tests/c")
  target_link_libraries(host_\${linkage} PRIVATE inferno::\${linkage})
endforeach()
add_custom_command(TARGET host_inferno POST_BUILD COMMAND_EXPAND_LISTS
  COMMAND "\${CMAKE_COMMAND}" -E copy "\$<TARGET_RUNTIME_DLLS:host_inferno>" "\$<TARGET_FILE_DIR:host_inferno>")
END
    if ! {
        cmake -GNinja -S "$folder" -B "$folder/build" -DCMAKE_SYSTEM_NAME=Windows "-DCMAKE_C_COMPILER=$cc" \
            "-DINFERNO_CARGO=$folder/cargo" "-DINFERNO_CARGO_TARGET_DIR=$out" -DINFERNO_CARGO_PROFILE=dev \
            "-DINFERNO_CARGO_TARGET=$triple" && cmake --build "$folder/build"
    } >"$folder/log" 2>&1; then
        tail -n 20 "$folder/log"
    else
        for linkage in inferno static; do
            if $wine "$folder/build/host_$linkage.exe" >"$folder/$linkage.log" 2>&1; then ok=$((ok + 1)); fi
        done
    fi
    tally cmake $ok $((2 - ok))
}

# A program of tests/cross, that is linked with the library.
host_step() { # name
    program "$1" "tests/cross/$1.c" "$libs/libinferno.dll.a" || { tally "$1" 0 1; return; }
    counted "$1" $wine "$made/$1.exe"
}

unload_step() {
    program unload tests/cross/unload.c -municode || { tally unload 0 1; return; }
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

steps="header layout dll msvc cpp windows files process unload exit shared static cmake"
case " $steps " in
    *" ${only:-none} "*) run=$only ;;
    *) if [ -z "$only" ]; then run=$steps; else run="shared static"; fi ;;
esac
for step in $run; do
    case $step in
        shared | static) c_step "$step" ;;
        windows | files | process) host_step "$step" ;;
        *) "${step}_step" ;;
    esac
done
/usr/lib/wine/wineserver64 -k 2>/dev/null
