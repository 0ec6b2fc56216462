#!/usr/bin/env bash
# Builds Inferno and installs it: libraries, headers, pkg-config and CMake files,
# and inferno-check, the helper of isolated loads.
#
#   ./install.sh [--prefix DIR]     build, then install under DIR (/usr/local)
#   ./install.sh --build-only       build; print where the libraries are
#
#   --no-build    install what the last build left
#   --from DIR    take the libraries from DIR, which another build filled
#                 (implies --no-build)
#
# DESTDIR is honoured. What is installed may be moved: nothing in it names the
# prefix.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
source "$here/tests/deps.sh"

prefix=/usr/local
build=yes
install=yes
from=

usage() {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
}

while [ $# -gt 0 ]; do
    case $1 in
        --prefix) prefix=${2:?--prefix needs a folder}; shift ;;
        --prefix=*) prefix=${1#*=} ;;
        --from) from=${2:?--from needs a folder}; build=no; shift ;;
        --no-build) build=no ;;
        --build-only) install=no ;;
        -h | --help) usage; exit 0 ;;
        *) echo "install.sh: what is $1? See --help" >&2; exit 2 ;;
    esac
    shift
done

if [ "$(uname -s)" != Linux ]; then
    echo "install.sh: made for Linux; elsewhere use CMakeLists.txt" >&2
    exit 1
fi

version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/Cargo.toml" | head -n 1)
soname=libinferno.so.${version%%.*}
target=${CARGO_TARGET_DIR:-$here/target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
libs=${from:-$target/release}

# Link-time optimisation happens only when no rlib is asked for: one command
# for both artefacts. rustc writes what a static link needs to a file.
if [ $build = yes ]; then
    need_cargo
    need cc gcc
    (cd "$here" && CARGO_TARGET_DIR=$target cargo rustc --release --locked --lib \
        --crate-type cdylib,staticlib -- \
        --print "native-static-libs=$libs/libinferno.libs")
    ln -sf libinferno.so "$libs/$soname"
fi

# The compiler driver adds libgcc and libc itself, and knows which libgcc a
# fully static program needs; -lgcc_s would break such a link. Some objects do
# not say that they need no executable stack: none does.
static_libs() {
    local words
    words=$(tr ' ' '\n' <"$libs/libinferno.libs" | grep -vxE -e '-lgcc_s|-lc|' | tr '\n' ' ')
    echo "-Wl,-z,noexecstack ${words% }"
}

# Isolated loads find it beside the libraries.
if [ $build = yes ]; then
    # shellcheck disable=SC2046 # the flags are words
    "${CC:-cc}" -std=c11 -Wall -Wextra -O2 -fPIE -pie -fstack-protector-strong \
        -I"$here/include" "$here/src/check/inferno-check.c" "$libs/libinferno.a" $(static_libs) \
        -s -Wl,--gc-sections,-z,relro,-z,now -o "$libs/inferno-check"
fi

# localise FROM TO: an archive of one object whose only global symbols are those that the
# header declares, so that it can be linked beside other Rust libraries, which have a standard
# library of their own. Groups of sections are dissolved: a linker would take those of one
# library for those of the other.
localise() {
    local work
    need ld binutils
    need objcopy binutils
    need gcc-ar gcc
    work=$(mktemp -d)
    sed -e 's|/\*.*\*/||' -e '/\/\*/,/\*\//d' "$here/include/inferno.h" |
        grep -oE '\binferno_[a-z0-9_]+ *\(' | tr -d ' (' | sort -u >"$work/symbols"
    # Some objects do not say that they need no executable stack: the flags of a link do.
    if ! ld -r --force-group-allocation --whole-archive "$1" -o "$work/all.o" 2>"$work/log"; then
        cat "$work/log" >&2
        echo "install.sh: ld cannot join the objects of $1" >&2
        exit 1
    fi
    objcopy --strip-debug --keep-global-symbols="$work/symbols" "$work/all.o" "$work/inferno.o"
    rm -f "$2"
    gcc-ar rcs "$2" "$work/inferno.o"
    chmod 644 "$2"
    rm -rf "$work"
}

for file in libinferno.so libinferno.a libinferno.libs inferno-check; do
    if [ ! -f "$libs/$file" ]; then
        echo "install.sh: $libs/$file is missing; build first (without --no-build)" >&2
        exit 1
    fi
done

if [ $install = no ]; then
    echo "$libs"
    exit 0
fi

static_libs=$(static_libs)

fill() {
    sed -e "s|@VERSION@|$version|g" \
        -e "s|@MINOR_VERSION@|${version%.*}|g" \
        -e "s|@SONAME@|$soname|g" \
        -e "s|@STATIC_LIBS@|$static_libs|g" \
        -e "s|@STATIC_LIBS_CMAKE@|${static_libs// /;}|g" \
        "$here/include/$1.in" >"$2/$1"
    chmod 644 "$2/$1"
}

case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
to=${DESTDIR:-}$prefix
mkdir -p "$to/lib/pkgconfig" "$to/lib/cmake/inferno" "$to/libexec/inferno" "$to/include" \
    "$to/share/doc/inferno"
install -m 755 "$libs/libinferno.so" "$to/lib/libinferno.so.$version"
ln -sf "libinferno.so.$version" "$to/lib/$soname"
ln -sf "$soname" "$to/lib/libinferno.so"
localise "$libs/libinferno.a" "$to/lib/libinferno.a"
install -m 755 "$libs/inferno-check" "$to/libexec/inferno/inferno-check"
install -m 644 "$here/include/inferno.h" "$here/include/inferno.hpp" "$here/include/inferno.json" \
    "$to/include"
install -m 644 "$here/LICENSE-MIT" "$here/LICENSE-APACHE" "$here/THIRD-PARTY.txt" \
    "$to/share/doc/inferno"
fill inferno.pc "$to/lib/pkgconfig"
fill inferno-config.cmake "$to/lib/cmake/inferno"
fill inferno-config-version.cmake "$to/lib/cmake/inferno"

cat <<END
installed Inferno $version under $to
shared link: cc main.c -I$prefix/include -L$prefix/lib -linferno -Wl,-rpath,$prefix/lib
static link: cc main.c -I$prefix/include $prefix/lib/libinferno.a $static_libs
END
