# Sourced by tests/cross.sh: type-checks the library where nothing here can run it; `--only TRIPLE` for
# one. What is checked is Rust: what dependencies have in C and assembly is neither compiled nor linked.
# shellcheck shell=bash

need_rust_sources

# Stands for compilers and archivers: makes what it is asked for, empty.
export CC=$out/cc AR=$out/ar
cat >"$CC" <<'EOF' || exit 1
#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in
        -o) : >"$2" ;;
        *.a) : >"$1" ;;
    esac
    shift
done
EOF
cp "$CC" "$AR" && chmod +x "$CC" "$AR" || exit 1
# (Apple's is asked for otherwise.)
mkdir -p "$out/sdk" || exit 1
export SDKROOT=$out/sdk

for triple in i686-unknown-linux-gnu armv7-unknown-linux-gnueabihf aarch64-unknown-linux-gnu \
    x86_64-apple-darwin aarch64-apple-darwin aarch64-apple-ios aarch64-linux-android \
    x86_64-pc-windows-gnu aarch64-pc-windows-gnullvm; do
    wanted "$triple" || continue
    echo "check $triple"
    if cross_cargo "$triple" check --lib >"$out/$triple.log" 2>&1; then
        tally "$triple" 1 0
    else
        grep -E '^(error|warning: unused)' -A 6 "$out/$triple.log" | head -n 30
        tally "$triple" 0 1
    fi
done
