#!/usr/bin/env bash
# The headers compile clean, under every standard they promise, from two
# translation units of one program; and LuaJIT reads inferno.h.
#
#   tests/header.sh [LIBRARY]     LIBRARY: the libinferno.so LuaJIT calls
#                                 (default: one in target/, if there)
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
source "$root/tests/deps.sh"
need gcc gcc
need g++ g++
need clang-14 clang-14
need luajit luajit

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# A newer clang is asked too where there is one.
c_compilers=(gcc clang-14)
cxx_compilers=(g++ clang++-14)
if command -v clang-22 >/dev/null && command -v clang++-22 >/dev/null; then
    c_compilers+=(clang-22)
    cxx_compilers+=(clang++-22)
fi

library=${1:-}
for folder in release debug; do
    candidate=${CARGO_TARGET_DIR:-$root/target}/$folder/libinferno.so
    if [ -z "$library" ] && [ -f "$candidate" ]; then
        library=$candidate
    fi
done
library=${library:+$(realpath "$library")}
cd "$out"

strict=(-Wall -Wextra -Wpedantic -Werror "-I$root/include")

# Two units that use the header, linked into one program: a definition in a
# header would be there twice. The calls are left to be found at run time.
cat >one.c <<'END'
#include <inferno.h>
#include <inferno.h>
const char *text(enum inferno_status status);
const char *text(enum inferno_status status) {
    return status == INFERNO_STATUS_OK ? "" : inferno_last_error();
}
END
cat >two.c <<'END'
#include <inferno.h>
inferno_tensor tensor;
int main(void) {
    inferno_model *model = 0;
    if (INFERNO_VERSION != INFERNO_VERSION_MAJOR * 1000000 + INFERNO_VERSION_MINOR * 1000 + INFERNO_VERSION_PATCH) {
        return 1;
    }
    return inferno_model_load("model.onnx", 0, &model) == INFERNO_STATUS_OK && tensor.rank == INFERNO_MAX_RANK;
}
END
cat >one.cpp <<'END'
#include <inferno.hpp>
#include <inferno.hpp>
inferno::returns<inferno::view<float>> input(inferno::session& session);
inferno::returns<inferno::view<float>> input(inferno::session& session) { return session.input<float>(0); }
END
cat >two.cpp <<'END'
#include <inferno.hpp>
inferno::session_options options() {
    return inferno::session_options().with_symbol("batch", 1).with_constant("sr", std::int64_t{16000});
}
int main() {
    auto model = inferno::model::load_default();
    return static_cast<int>(inferno::dtype_of<float>) != INFERNO_DTYPE_F32;
}
END

# compiles <compiler> <standard> <unit> <unit> [option ...]
compiles() {
    local compiler=$1 standard=$2 one=$3 two=$4
    shift 4
    "$compiler" "-std=$standard" "${strict[@]}" "$@" -c "$one" -o one.o
    "$compiler" "-std=$standard" "${strict[@]}" "$@" -c "$two" -o two.o
    "$compiler" one.o two.o -Wl,--unresolved-symbols=ignore-all -o program
    echo "ok: $compiler -std=$standard $one $two $*"
}

for compiler in "${c_compilers[@]}"; do
    for standard in c99 c11 c17 c2x; do
        compiles "$compiler" $standard one.c two.c
    done
done

cp one.c c_one.cpp
cp two.c c_two.cpp
for compiler in "${cxx_compilers[@]}"; do
    for standard in c++11 c++14 c++17 c++20; do
        compiles "$compiler" $standard c_one.cpp c_two.cpp
    done
    for standard in c++17 c++20; do
        for rules in "" "-fno-exceptions -fno-rtti" "-DINFERNO_EXCEPTIONS=1"; do
            # shellcheck disable=SC2086 # the rules are words
            compiles "$compiler" $standard one.cpp two.cpp -Wshadow -Wconversion -Wsign-conversion $rules
        done
    done
done

# What a LuaJIT program does: ffi.cdef knows comments but no preprocessor, so
# drop its lines and what is for C++ only, and put in the numbers of macros.
cat >cdef.lua <<'END'
local ffi = require("ffi")
local macros, lines, cplusplus = {}, {}, false
for line in io.lines(arg[1]) do
    local name, number = line:match("^#define ([%w_]+) (%d+)$")
    if name then macros[name] = number end
    if line:match("^#ifdef __cplusplus") then cplusplus = true end
    if not cplusplus and not line:match("^#") then lines[#lines + 1] = line end
    if cplusplus and line:match("^#endif") then cplusplus = false end
end
local text = table.concat(lines, "\n"):gsub("%[([%w_]+)%]", function(name)
    return "[" .. (macros[name] or name) .. "]"
end)
ffi.cdef(text)
assert(ffi.sizeof("inferno_tensor") == 8 + 8 * 8 + 2 * ffi.sizeof("size_t"))
assert(tonumber(ffi.cast("int", ffi.new("inferno_status", "INFERNO_STATUS_NOT_FOUND"))) == 4)
if not arg[2] then
    print("ok: LuaJIT ffi.cdef (no library to call)")
    return
end
local inferno = ffi.load(arg[2])
local version = ffi.string(inferno.inferno_version_string())
assert(inferno.inferno_version() == tonumber(macros.INFERNO_VERSION), version)
local model = ffi.new("inferno_model *[1]")
assert(inferno.inferno_model_load("no such file", nil, model) == "INFERNO_STATUS_NOT_FOUND")
assert(#ffi.string(inferno.inferno_last_error()) > 0)
print("ok: LuaJIT ffi.cdef, and calls into " .. version)
END

luajit cdef.lua "$root/include/inferno.h" ${library:+"$library"}
echo "header: ok"
