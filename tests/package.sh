#!/usr/bin/env bash
# The installed package works for hosts of each kind, outside the source tree:
# CMake, pkg-config and plain compilers, shared and static, from a moved prefix,
# and as a part of a host's own CMake build. Also checks what the shared object
# exports and how it is linked.
#
#   tests/package.sh                build, then check
#   tests/package.sh --from DIR     check the libraries in DIR; leaves out what
#                                   needs a build
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
source "$root/tests/deps.sh"
need cc gcc
need readelf binutils
need make make
need cmake cmake
need ninja ninja-build
need pkg-config pkg-config

from=
if [ "${1:-}" = --from ]; then
    from=$(realpath "${2:?--from needs a folder}")
fi
unset PKG_CONFIG_PATH PKG_CONFIG_LIBDIR CMAKE_PREFIX_PATH LD_LIBRARY_PATH DESTDIR

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
prefix=$work/prefix

fail() {
    echo "package: $*" >&2
    exit 1
}

"$root/install.sh" ${from:+--from "$from"} --prefix "$prefix" | tee installed.txt
static_line=$(sed -n 's/^static link: //p' installed.txt)
[ -n "$static_line" ] || fail "install.sh printed no static link line"

# ---- the shared object ----

shared=$prefix/lib/libinferno.so
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
soname=libinferno.so.${version%%.*}
[ -L "$shared" ] && [ -L "$prefix/lib/$soname" ] || fail "$shared or $soname is no link"
[ "$(readlink -f "$shared")" = "$prefix/lib/libinferno.so.$version" ] || fail "$shared leads elsewhere"
readelf -Wd "$shared" >dynamic.txt
grep -q "(SONAME).*\[$soname\]" dynamic.txt || fail "the soname is not $soname"
grep -q 'FLAGS_1.*NODELETE' dynamic.txt || fail "not linked with -z nodelete"

sed -e 's|/\*.*\*/||' -e '/\/\*/,/\*\//d' "$prefix/include/inferno.h" |
    grep -oE '\binferno_[a-z0-9_]+ *\(' | tr -d ' (' | sort -u >declared.txt
readelf -W --dyn-syms "$shared" |
    awk '$5 != "LOCAL" && $7 != "UND" && $8 != "" && $1 ~ /^[0-9]+:$/ { sub("@.*", "", $8); print $8 }' |
    sort -u >exported.txt
[ -s declared.txt ] || fail "the header declares nothing"
diff -u declared.txt exported.txt || fail "exports (+) and header (-) differ"
echo "ok: $(wc -l <exported.txt) exports, as declared; $soname; nodelete"

# ---- the archive ----

readelf -sW "$prefix/lib/libinferno.a" 2>/dev/null |
    awk '$1 ~ /^[0-9]+:$/ && $5 != "LOCAL" && $7 != "UND" { print $8 }' | sort -u >global.txt
diff -u declared.txt global.txt || fail "global symbols of the archive (+) and header (-) differ"
echo "ok: the archive has no other global symbols"

# Another Rust library in the same program, with a standard library of its own.
cat >foreign.rs <<'END'
#[unsafe(no_mangle)]
pub extern "C" fn foreign_sum(count: u64) -> u64 {
    let of = move || (0..count).collect::<Vec<u64>>().into_iter().sum();
    std::panic::catch_unwind(|| std::thread::spawn(of).join().unwrap_or(0)).unwrap_or(0)
}
#[unsafe(no_mangle)]
pub extern "C" fn foreign_panics() -> i32 {
    i32::from(std::panic::catch_unwind(|| panic!("this one is caught")).is_err())
}
END
cat >foreign.c <<'END'
#include <inferno.h>
#include <stdio.h>
uint64_t foreign_sum(uint64_t count);
int foreign_panics(void);
int main(void) {
    const int64_t dims[2] = {1, 64};
    inferno_model *model = NULL;
    inferno_session *session = NULL;
    int bad = foreign_sum(1000) != 499500 || !foreign_panics();
    bad |= inferno_model_load_default(&model) || inferno_session_new(model, NULL, &session) ||
           inferno_session_set_shape(session, 0, 2, dims) || inferno_session_run(session, NULL);
    bad |= inferno_model_load_memory("noise", 5, NULL, &model) != INFERNO_STATUS_INVALID_MODEL;
    bad |= foreign_sum(10) != 45 || !foreign_panics();
    return bad || inferno_shutdown();
}
END
rustc --edition 2024 -O --crate-type staticlib foreign.rs -o libforeign.a
for way in "" "-Wl,--whole-archive" "-Wl,--gc-sections"; do
    for order in "$prefix/lib/libinferno.a libforeign.a" "libforeign.a $prefix/lib/libinferno.a"; do
        # shellcheck disable=SC2086 # words
        cc foreign.c "-I$prefix/include" $way $order -Wl,--no-whole-archive \
            ${static_line##*libinferno.a } -o with_foreign || fail "beside another Rust archive: no link"
        ./with_foreign 2>foreign.log || fail "beside another Rust archive: wrong answers"
    done
done
echo "ok: the archive beside another Rust archive"

if grep -rl --include='*.pc' --include='*.cmake' "$work" "$prefix"; then
    fail "an installed file names the prefix"
fi

# ---- a host ----

mkdir host
cat >host/main.c <<'END'
#include <inferno.h>
#include <stdio.h>
#include <stdlib.h>
/* An isolated load of a file that is no model: the helper says so, nobody else. */
static int isolated(const char *helper) {
    inferno_runtime_options runtime;
    inferno_model_options options;
    inferno_model *model = NULL;
    inferno_runtime_options_init(&runtime, sizeof runtime);
    runtime.helper_path = helper;
    inferno_model_options_init(&options, sizeof options);
    options.isolation = INFERNO_ISOLATION_PROCESS;
    int status = inferno_init(&runtime);
    if (status == INFERNO_STATUS_OK) {
        status = inferno_model_load_memory("noise", 5, &options, &model);
    }
    printf("%s: %s\n", inferno_status_name(status), inferno_last_error());
    return status != INFERNO_STATUS_INVALID_MODEL;
}
int main(int argc, char **argv) {
    if (argc > 1) {
        return isolated(argc > 2 ? argv[2] : NULL);
    }
    const int64_t dims[2] = {1, 64};
    inferno_model *model = NULL;
    inferno_session *session = NULL;
    int bad = inferno_model_load_default(&model) || inferno_session_new(model, NULL, &session) ||
              inferno_session_set_shape(session, 0, 2, dims) || inferno_session_run(session, NULL);
    printf("%s %s\n", inferno_version_string(), bad ? inferno_last_error() : "ran");
    return bad || inferno_version() != INFERNO_VERSION;
}
END
cat >host/CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.20)
project(host LANGUAGES C)
if(SOURCE)
  add_subdirectory(${SOURCE} inferno)
else()
  find_package(inferno 0.1 REQUIRED)
endif()
add_executable(with_shared main.c)
target_link_libraries(with_shared PRIVATE inferno::inferno)
add_executable(with_static main.c)
target_link_libraries(with_static PRIVATE inferno::static)
END

# needs <program>: whether it asks for the shared object at run time.
needs() {
    [[ $(readelf -Wd "$1") == *"(NEEDED)"*"[$soname]"* ]]
}

# ran_shared, ran_static <what> <program>
ran_shared() {
    needs "$2" || fail "$1: $2 does not use the shared object"
    "$2" || fail "$1: $2 failed"
    echo "ok: $1, shared"
}

# isolates <what> <program> [helper]: its isolated load works, with this helper.
isolates() {
    "$2" isolated ${3:+"$3"} || fail "$1: $2 isolated ${3:-} failed"
    echo "ok: $1, isolated load${3:+, helper given}"
}

ran_static() {
    ! needs "$2" || fail "$1: $2 uses the shared object"
    if readelf -Wl "$2" | awk '$1 == "GNU_STACK" && / RWE / { found = 1 } END { exit !found }'; then
        fail "$1: $2 has an executable stack"
    fi
    "$2" || fail "$1: $2 failed"
    echo "ok: $1, static"
}

# with_cmake <what> <build folder> [option ...]
with_cmake() {
    local what=$1 build=$2
    shift 2
    cmake -S host -B "$build" "$@" >"$build.log" 2>&1 && cmake --build "$build" >>"$build.log" 2>&1 || {
        cat "$build.log" >&2
        fail "$what: does not build"
    }
    ran_shared "$what" "$build/with_shared"
    isolates "$what, shared" "$build/with_shared"
    ran_static "$what" "$build/with_static"
}

# with_prefix <what> <name for its builds> <prefix>
with_prefix() {
    local flags
    with_cmake "find_package, $1" "$2-cmake" -GNinja "-DCMAKE_PREFIX_PATH=$3"

    export PKG_CONFIG_PATH=$3/lib/pkgconfig
    flags=$(pkg-config --cflags --libs inferno)
    # shellcheck disable=SC2086 # flags are words
    cc host/main.c $flags "-Wl,-rpath,$3/lib" -o "$2-pc-shared"
    ran_shared "pkg-config, $1" "./$2-pc-shared"
    isolates "pkg-config, $1, shared" "./$2-pc-shared"

    # -static takes the archive, and libc's; what it says of getaddrinfo and
    # the like is libc's own warning.
    flags=$(pkg-config --static --cflags --libs inferno)
    # shellcheck disable=SC2086
    cc host/main.c -static $flags -o "$2-pc-static" 2>"$2-pc-static.log" || {
        cat "$2-pc-static.log" >&2
        fail "pkg-config --static, $1: does not link"
    }
    ran_static "pkg-config --static, $1" "./$2-pc-static"
    isolates "pkg-config --static, $1" "./$2-pc-static" "$(pkg-config --variable=helper inferno)"
    unset PKG_CONFIG_PATH
}

with_prefix "installed" first "$prefix"

[ "$(PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config --modversion inferno)" = "$version" ] ||
    fail "pkg-config knows another version"

# The lines as printed, as a reader would paste them.
(cd host && eval "$static_line -o ../printed-static")
ran_static "printed line" ./printed-static
(cd host && eval "$(sed -n 's/^shared link: //p' ../installed.txt) -o ../printed-shared")
ran_shared "printed line" ./printed-shared

# A version that does not fit is refused.
sed 's/inferno 0\.1 /inferno 99.0 /' host/CMakeLists.txt >later.txt
mkdir later && cp later.txt later/CMakeLists.txt && cp host/main.c later
if cmake -S later -B later/build -GNinja "-DCMAKE_PREFIX_PATH=$prefix" >/dev/null 2>&1; then
    fail "find_package(inferno 99.0) was content"
fi
echo "ok: find_package refuses another version"

# ---- the same tree elsewhere ----

mkdir elsewhere
mv "$prefix" elsewhere/moved
with_prefix "moved" second "$work/elsewhere/moved"

# ---- a part of the host's build ----

if [ -z "$from" ]; then
    # The build above is fresh: Cargo has nothing to do, and must know it.
    target=${CARGO_TARGET_DIR:-$root/target}
    for generator in Ninja "Unix Makefiles"; do
        build=sub-${generator%% *}
        with_cmake "add_subdirectory, $generator" "$build" "-G$generator" "-DSOURCE=$root" \
            "-DINFERNO_CARGO_TARGET_DIR=$(realpath "$target")"
        before=$(stat -c %y "$build/with_shared" "$build/with_static")
        cmake --build "$build" >>"$build.log" 2>&1
        [ "$before" = "$(stat -c %y "$build/with_shared" "$build/with_static")" ] ||
            fail "$generator: a build with no change links again"
    done
    echo "ok: a second build does nothing"

    cmake -S "$root" -B own -GNinja "-DINFERNO_CARGO_TARGET_DIR=$(realpath "$target")" >own.log 2>&1
    cmake --build own >>own.log 2>&1
    cmake --install own --prefix "$work/own-prefix" >>own.log 2>&1 || {
        cat own.log >&2
        fail "cmake --install failed"
    }
    diff <(cd elsewhere/moved && find . | sort) <(cd own-prefix && find . | sort) ||
        fail "cmake --install and install.sh put different files"
    echo "ok: cmake --install"
fi

# ---- what the README says ----

said=$(sed -n '/<!-- static-link -->/,/<!-- \/\{0,1\}static-link -->/p' "$root/README.md" |
    grep -E '^ *(\$ )?cc .*libinferno\.a' | sed 's/^ *\(\$ \)\{0,1\}//' | head -n 1 || true)
# The README names a prefix of its own.
named=$(sed -n 's|.* -I\([^ ]*\)/include .*|\1|p' <<<"$said")
wanted=${static_line//"$prefix"/"${named:-PREFIX}"}
if [ "$said" != "$wanted" ]; then
    echo "package: README.md, between <!-- static-link --> markers" >&2
    echo "  says:  ${said:-nothing}" >&2
    echo "  wants: $wanted" >&2
    exit 1
fi
echo "ok: README's static link line"
echo "package: ok"
