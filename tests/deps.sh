# Sourced by the scripts: what a script needs beyond the toolchain.
#
#   need <command> <debian-package>
#
# Does nothing when the command is there. Otherwise installs the package when
# it may (root, with apt-get), or says what to install and exits 1.

need() {
    has_or_install "$2" "$1" command -v "$1"
}

# has_or_install <debian-package> <what it is for> <command...>: until the command succeeds.
has_or_install() {
    local package=$1 what=$2
    shift 2
    if "$@" >/dev/null 2>&1; then
        return 0
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "installing $package (for $what)" >&2
        if ! apt_install "$package"; then
            # A fresh image has no package lists, or old ones.
            apt-get update -qq >&2 || true
            apt_install "$package" || true
        fi
        hash -r
        if "$@" >/dev/null 2>&1; then
            return 0
        fi
    fi
    echo "$(basename "$0"): $what is missing; install it: apt-get install $package" >&2
    exit 1
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null
}

# need_python <module> <debian-package>: the same for a module of python3.
need_python() {
    need python3 python3
    has_or_install "$2" "Python's $1" python3 -c "import $1"
}

# need_header <header> <debian-package>: the same for a header of C++.
need_header() {
    need c++ g++
    has_or_install "$2" "the header $1" has_header "$1"
}

has_header() {
    echo "#include <$1>" | c++ -std=c++17 -fsyntax-only -x c++ -
}

# take_lib_dir "$@": sets target, and lib_dir as --lib-dir says, the one option of the script.
take_lib_dir() {
    target=${CARGO_TARGET_DIR:-$PWD/target}
    lib_dir=$target/release
    while [ $# -gt 0 ]; do
        case $1 in
            --lib-dir) lib_dir=${2:?--lib-dir needs a folder}; shift ;;
            *) echo "$(basename "$0"): unknown argument $1" >&2; exit 2 ;;
        esac
        shift
    done
}

# Cargo comes with Rust, whose Debian package is too old.
need_cargo() {
    if ! command -v cargo >/dev/null 2>&1; then
        echo "$(basename "$0"): cargo is missing; install Rust 1.91 or later: https://rustup.rs" >&2
        exit 1
    fi
}
