#!/usr/bin/env bash
# The guide: every block of code in README.md and examples-c/guide is compiled and run, and the site is made
# of them and of the header, without a warning.
#
#   tests/guide.sh [--lib-dir DIR] [--as-written]
#
#   --lib-dir DIR  where the libraries are (target/release)
#   --as-written   README's commands with nothing put in their place: builds and installs
#
# The site is target/guide/html.
set -u
cd "$(dirname "$0")/.." || exit 2
source tests/deps.sh
need cc gcc
need c++ g++
need cmake cmake
need make make
need pkg-config pkg-config
need python3 python3
need doxygen doxygen

target=${CARGO_TARGET_DIR:-$PWD/target}
libs=$target/release
as_written=()
while [ $# -gt 0 ]; do
    case $1 in
        --lib-dir) libs=${2:?--lib-dir needs a folder}; shift ;;
        --as-written) as_written=(--as-written) ;;
        *) echo "tests/guide.sh: unknown argument $1" >&2; exit 2 ;;
    esac
    shift
done
if [ ${#as_written[@]} -gt 0 ] && [ ! -d "$libs" ]; then ./install.sh --build-only || exit 1; fi
out=$target/guide
mkdir -p "$out" || exit 2
out=$(cd "$out" && pwd)
rm -rf "$out/prefix" "$out/cli" "$out/html"
./install.sh --from "$libs" --prefix "$out/prefix" >"$out/install.log" || exit 1
cp -r examples-c/cli "$out/cli"
PKG_CONFIG_PATH=$out/prefix/lib/pkgconfig make -s -C "$out/cli" || exit 1
for model in policy_mlp slow; do
    [ -f "$target/models/$model.onnx" ] || tests/python.sh tests/models/make.py --dest "$target/models" || exit 1
done

failed=0
python3 tests/guide.py --prefix "$out/prefix" --out "$out" --models "$target/models" --tool "$out/cli/inferno" \
    "${as_written[@]}" || failed=1

# The site. Doxygen reads the header's comments and the pages.
if ! (cat examples-c/guide/Doxyfile && echo "OUTPUT_DIRECTORY = $out") | doxygen - >"$out/doxygen.log" 2>"$out/warnings.log" ||
    [ -s "$out/warnings.log" ]; then
    echo "doxygen warns:"
    head -n 20 "$out/warnings.log"
    failed=1
fi
pages=0
for function in $(sed -e '/\/\*/,/\*\//d' include/inferno.h | grep -oE '\binferno_[a-z0-9_]+ *\(' | tr -d ' (' | sort -u); do
    if grep -q "\b$function\b" "$out/html/inferno_8h.html" 2>/dev/null; then
        pages=$((pages + 1))
    else
        echo "the site does not have $function"
        failed=1
    fi
done
echo "guide: functions=$pages pages=$(find examples-c/guide -name '*.md' | wc -l) site=$out/html/index.html"
exit $failed
