# Sourced by the scripts: what a script needs beyond the toolchain.
#
#   need <command> <debian-package>
#
# Does nothing when the command is there. Otherwise installs the package when
# it may (root, with apt-get), or says what to install and exits 1.

need() {
    if command -v "$1" >/dev/null 2>&1; then
        return 0
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "installing $2 (for $1)" >&2
        if ! apt_install "$2"; then
            # A fresh image has no package lists, or old ones.
            apt-get update -qq >&2 || true
            apt_install "$2" || true
        fi
        hash -r
        if command -v "$1" >/dev/null 2>&1; then
            return 0
        fi
    fi
    echo "$(basename "$0"): $1 is missing; install it: apt-get install $2" >&2
    exit 1
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null
}

# need_python <module> <debian-package>: the same for a module of python3.
need_python() {
    need python3 python3
    if python3 -c "import $1" 2>/dev/null; then
        return 0
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        apt_install "$2" || { apt-get update -qq >&2 && apt_install "$2"; } || true
        if python3 -c "import $1" 2>/dev/null; then
            return 0
        fi
    fi
    echo "$(basename "$0"): Python's $1 is missing; install it: apt-get install $2" >&2
    exit 1
}

# need_header <header> <debian-package>: the same for a header of C++.
need_header() {
    need c++ g++
    if has_header "$1"; then
        return 0
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "installing $2 (for $1)" >&2
        apt_install "$2" || { apt-get update -qq >&2 && apt_install "$2"; } || true
        if has_header "$1"; then
            return 0
        fi
    fi
    echo "$(basename "$0"): the header $1 is missing; install it: apt-get install $2" >&2
    exit 1
}

has_header() {
    echo "#include <$1>" | c++ -std=c++17 -fsyntax-only -x c++ - 2>/dev/null
}

# Cargo comes with Rust, whose Debian package is too old.
need_cargo() {
    if ! command -v cargo >/dev/null 2>&1; then
        echo "$(basename "$0"): cargo is missing; install Rust 1.91 or later: https://rustup.rs" >&2
        exit 1
    fi
}
