#!/usr/bin/env bash
# The examples of examples-c/hosts, in the hosts they are for: engines, scripts, build systems.
#
#   tests/hosts.sh [--lib-dir DIR] [--only NAME]
#
#   --lib-dir DIR  where libinferno.so, libinferno.a, libinferno.libs and inferno-check are
#                  (target/release)
#   --only NAME    one host, such as `godot`
#
# Each loads a model, runs it, handles an error, reloads, shuts down and starts again, and must give the
# answer that the C host gives. What draws does so under Xvfb; its picture goes to target/shots. A line a
# host: its version, its answer, the result. A host whose packages are missing and cannot be installed
# counts as skipped, which is no success. The last line is `hosts: ran=N failed=F skipped=S`.
set -u
cd "$(dirname "$0")/.." || exit 2
root=$PWD
source tests/deps.sh

target=${CARGO_TARGET_DIR:-$root/target}
lib_dir=$target/release
only=
while [ $# -gt 0 ]; do
    case $1 in
        --lib-dir) lib_dir=${2:?--lib-dir needs a folder}; shift ;;
        --only) only=${2:?--only needs a name}; shift ;;
        *) echo "tests/hosts.sh: unknown argument $1" >&2; exit 2 ;;
    esac
    shift
done
unset PKG_CONFIG_PATH CMAKE_PREFIX_PATH LD_LIBRARY_PATH DESTDIR

hosts=$root/examples-c/hosts
out=$target/hosts
shots=$target/shots
prefix=$out/prefix
mkdir -p "$out" "$shots" || exit 2
out=$(cd "$out" && pwd)
shots=$(cd "$shots" && pwd)
prefix=$out/prefix
need cc gcc
need c++ g++
need python3 python3
if ! ./install.sh --from "$lib_dir" --prefix "$prefix" >"$out/install.log" 2>&1; then
    cat "$out/install.log" >&2
    exit 1
fi
policy=$target/models/policy_mlp.onnx
[ -f "$policy" ] || tests/python.sh tests/models/policy_mlp.py --dest "$target/models" || exit 1
digits=$root/src/model/default.onnx
strict=(-Wall -Wextra -Wpedantic -Werror)

ran=0
failed=0
skipped=0
expected=

# host NAME: runs host_NAME, which prints `version:`, and the lines that every host must print.
host() {
    local name=$1 log=$out/$1.log before=$SECONDS code=0 result=ok line
    if [ -n "$only" ] && [ "$only" != "$name" ] && [ "$name" != c ]; then return; fi
    # What it needs may exit: a process of its own. 77 says that something is missing.
    # (Nothing may follow with `||`: that would undo `set -e` inside.)
    (set -eu; "needs_$name") >"$log" 2>&1
    [ $? = 0 ] || code=77
    if [ $code = 0 ]; then
        (set -eu; "host_$name") >>"$log" 2>&1
        code=$?
    fi
    if [ $code = 77 ]; then
        skipped=$((skipped + 1))
        printf '%-8s skipped: %s\n' "$name" "$(grep -v '^installing ' "$log" | tail -n 1)"
        return
    fi
    ran=$((ran + 1))
    [ $code = 0 ] || result="FAILED: exit status $code"
    [ "$result" != ok ] || result=$(lines_are_right "$log")
    [ "$result" = ok ] || failed=$((failed + 1))
    line=$(sed -n 's/^version: //p' "$log" | head -n 1)
    printf '%-8s %-36s %-38s %3d s  %s\n' "$name" "$line" \
        "$(sed -n 's/^answer: //p' "$log" | head -n 1)" $((SECONDS - before)) "$result"
    if [ "$result" != ok ]; then
        echo "--- the end of $log"
        tail -n 25 "$log"
        echo "---"
    fi
}

# Every answer in a log is the C host's; an error was told; reload and restart answered the same.
lines_are_right() { # log
    local line
    for line in answer refused reloaded restarted; do
        grep -q "^$line: " "$1" || { echo "FAILED: no line \`$line:\`"; return; }
    done
    if grep -q 'SCRIPT ERROR' "$1"; then # which Godot goes on after
        echo "FAILED: an error in a script"
        return
    fi
    if [ -n "$expected" ] && grep '^answer: ' "$1" | grep -qvxF "answer: $expected"; then
        echo "FAILED: the answer is not \`$expected\`"
        return
    fi
    echo ok
}

# ---- C and C++, each build system ----

# Valgrind on a host of C: what it reads and loses is the host's fault, or the library's. The release
# library compares padding that it never wrote, which is not looked at here.
checked() { # program, arguments
    INFERNO_POOL=0 valgrind -q --undef-value-errors=no --error-exitcode=9 --leak-check=full \
        --show-leak-kinds=definite --errors-for-leak-kinds=definite "$@" >/dev/null
}

needs_c() { need make make; need pkg-config pkg-config; need valgrind valgrind; }
host_c() {
    rm -rf "$out/c"
    cp -r "$hosts/c" "$out/c"
    PKG_CONFIG_PATH=$prefix/lib/pkgconfig CFLAGS="-std=c99 -O2 ${strict[*]}" make -s -C "$out/c"
    echo "version: $(cc -dumpfullversion | sed 's/^/gcc /'), pkg-config $(pkg-config --version)"
    "$out/c/policy" "$policy"
    checked "$out/c/policy" "$policy"
}

needs_meson() { need meson meson; need ninja ninja-build; need pkg-config pkg-config; }
host_meson() {
    rm -rf "$out/meson"
    cp -r "$hosts/c" "$out/meson"
    cd "$out/meson"
    echo "version: Meson $(meson --version)"
    meson setup build --pkg-config-path "$prefix/lib/pkgconfig"
    meson compile -C build
    build/policy "$policy"
}

needs_cmake() { need cmake cmake; need ninja ninja-build; need valgrind valgrind; }
host_cmake() {
    rm -rf "$out/cmake"
    cp -r "$hosts/cpp" "$out/cmake"
    cd "$out/cmake"
    echo "version: CMake $(cmake --version | sed -n '1s/.* //p'), g++ $(c++ -dumpfullversion)"
    for static in OFF ON; do
        cmake -S . -B "static-$static" -GNinja -DCMAKE_PREFIX_PATH="$prefix" -DSTATIC=$static
        cmake --build "static-$static"
        "static-$static/policy" "$policy"
    done
    checked static-OFF/policy "$policy"
}

# ---- Engines and scripts ----

# A screen of its own: `screen COMMAND...`.
needs_screen() { need xvfb-run xvfb; need xauth xauth; }
screen() {
    xvfb-run -a -s "-screen 0 1280x800x24" timeout 300 "$@"
}

needs_sdl2() { needs_screen; need valgrind valgrind; need pkg-config pkg-config; need sdl2-config libsdl2-dev; }
host_sdl2() {
    export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
    # shellcheck disable=SC2046 # flags are words
    cc -std=c11 -O2 "${strict[@]}" "$hosts/sdl2/swarm.c" -o "$out/swarm" \
        $(pkg-config --cflags --libs inferno sdl2) -lm -Wl,-rpath,"$prefix/lib"
    echo "version: SDL $(sdl2-config --version)"
    screen "$out/swarm" "$policy" --frames 400 --shot "$out/swarm.bmp"
    python3 tests/hosts/png.py "$out/swarm.bmp" "$shots/sdl2.png"
    SDL_VIDEODRIVER=dummy checked "$out/swarm" "$policy" --frames 4
}

# Godot's headers for C come in a crate.
godot_headers() { # prints their folder
    mkdir -p "$out/godot-headers/src"
    touch "$out/godot-headers/src/lib.rs"
    printf '[package]\nname = "headers"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n[dependencies]\ngdnative-sys = "=0.9.3"\n' \
        >"$out/godot-headers/Cargo.toml"
    (cd "$out/godot-headers" && cargo metadata --format-version 1 -q) |
        python3 -c 'import json, os, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == "gdnative-sys":
        print(os.path.join(os.path.dirname(package["manifest_path"]), "godot_headers"))'
}

needs_godot() {
    need_cargo
    need godot3-server godot3-server
    need godot3-runner godot3-runner
    needs_screen
}
host_godot() {
    local project=$out/godot headers
    headers=$(godot_headers)
    rm -rf "$project"
    cp -r "$hosts/godot" "$project"
    mkdir "$project/bin" "$project/models"
    cp "$policy" "$project/models/policy.onnx"
    cp "$(readlink -f "$prefix/lib/libinferno.so")" "$project/bin/libinferno.so.0"
    cc -std=c11 -O2 -shared -fPIC "${strict[@]}" -isystem "$headers" -I"$prefix/include" "$project/inferno_godot.c" \
        "$project/bin/libinferno.so.0" -Wl,-rpath,'$ORIGIN' -o "$project/bin/libinferno_godot.so"
    mkdir -p "$out/godot-data"
    export LANG=en_US.UTF-8 XDG_DATA_HOME=$out/godot-data XDG_CONFIG_HOME=$out/godot-data XDG_CACHE_HOME=$out/godot-data
    timeout 200 godot3-server --path "$project" -s res://check.gd
    timeout 200 godot3-server --path "$project" --frames=30
    LIBGL_ALWAYS_SOFTWARE=1 screen godot3-runner --path "$project" --audio-driver Dummy --frames=200 \
        --shot="$shots/godot.png"
    [ -s "$shots/godot.png" ]
}

# A .love as a game ships it: one archive with the code, the header and the models.
needs_love() { needs_screen; need love love; need luajit luajit; }
host_love() {
    rm -rf "$out/love" "$out/digits.love" "$shots/love.png"
    cp -r "$hosts/love" "$out/love"
    cp "$root/include/inferno.h" "$out/love"
    cp "$digits" "$out/love/digits.onnx"
    cp "$policy" "$out/love/policy.onnx"
    (cd "$out/love" && python3 -m zipfile -c ../digits.love ./*)
    echo "version: $(love --version | sed 's/ (.*//'), $(luajit -v | sed 's/ --.*//')"
    export INFERNO_LIBRARY=$prefix/lib/libinferno.so LIBGL_ALWAYS_SOFTWARE=1
    screen love "$out/digits.love" --shot="$shots/love.png"
    [ -s "$shots/love.png" ]
}

needs_csharp() { need mcs mono-mcs; need mono mono-runtime; }
host_csharp() {
    echo "version: $(mono --version | sed -n '1s/.*version \([0-9.]*\).*/Mono \1/p')"
    mcs -unsafe -warnaserror -warn:4 "$hosts/csharp/Inferno.cs" "$hosts/csharp/Program.cs" -out:"$out/policy.exe"
    LD_LIBRARY_PATH=$prefix/lib timeout 300 mono "$out/policy.exe" "$policy"
}

# The wheel is built, installed where nothing else is, and tried from there.
needs_python() {
    need_python ensurepip python3-venv
    if [ ! -x "$out/venv/bin/pip" ]; then python3 -m venv "$out/venv"; fi
    "$out/venv/bin/python" -c 'import numpy, setuptools, wheel' 2>/dev/null ||
        "$out/venv/bin/pip" install -q --disable-pip-version-check setuptools wheel numpy ||
        { echo "pip cannot install setuptools, wheel and numpy"; return 1; }
}
host_python() {
    rm -rf "$out/python" "$out/wheel"
    cp -r "$hosts/python" "$out/python"
    INFERNO_PREFIX=$prefix "$out/venv/bin/pip" wheel -q --disable-pip-version-check --no-deps --no-build-isolation \
        -w "$out/wheel" "$out/python"
    "$out/venv/bin/pip" install -q --disable-pip-version-check --no-deps --force-reinstall "$out"/wheel/inferno_rt-*.whl
    cd "$out"
    "$out/venv/bin/python" -I "$hosts/python/check.py" "$policy"
    ls wheel
}

host c
expected=$(sed -n 's/^answer: //p' "$out/c.log" | head -n 1)
host cmake
host meson
host sdl2
host python
host csharp
host love
host godot

if [ -n "$only" ] && ! declare -F "host_$only" >/dev/null; then
    echo "tests/hosts.sh: no host is called $only" >&2
    failed=$((failed + 1))
fi
echo "hosts: ran=$ran failed=$failed skipped=$skipped"
[ "$failed" = 0 ] && [ "$skipped" = 0 ] && [ "$ran" -gt 0 ]
