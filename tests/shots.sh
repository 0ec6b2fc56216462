#!/usr/bin/env bash
# A trace in a trace viewer, and the terminal view, as pictures to be looked at: shots.sh [DIR]
#
# DIR holds libinferno.so (target/release). The trace is opened by Speedscope (from npm) in a headless
# Chromium, which must show the names of its steps' process; the terminal view is drawn there from its
# own escape sequences. Both are in target/shots; ends in `shots: trace_spans=… pictures=2`.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/deps.sh"
need cc gcc
need python3 python3
need npm npm
need chromium chromium

libs=$(cd "${1:-${CARGO_TARGET_DIR:-$root/target}/release}" && pwd)
out=${CARGO_TARGET_DIR:-$root/target}/shots
mkdir -p "$out"
out=$(cd "$out" && pwd)
soname=$(readelf -d "$libs/libinferno.so" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
ln -sf "$libs/libinferno.so" "$out/${soname:-libinferno.so}"
flags=(-O1 -Wall -Wextra -Wpedantic -Werror -I"$root/include")
cc -std=gnu11 "${flags[@]}" "$root/tests/metrics/trace.c" "$libs/libinferno.so" -Wl,-rpath,"$out" -lpthread -o "$out/trace"
cc -std=c11 "${flags[@]}" "$root/examples-c/top.c" "$libs/libinferno.so" -Wl,-rpath,"$out" -lpthread -o "$out/top"
model=$root/target/models/policy_mlp.onnx
[ -f "$model" ] || model=
# shellcheck disable=SC2086 # none, or one
"$out/trace" $model >"$out/trace.json"
# shellcheck disable=SC2086
"$out/top" --plain --seconds 8 --interval-ms 250 $model >"$out/top.txt"

[ -d "$out/node_modules/speedscope" ] || npm install --silent --no-audit --no-fund --prefix "$out" speedscope >&2
cp -r "$out"/node_modules/speedscope/dist/release/. "$out/"
python3 - "$out" <<'PY'
# The last screen of the terminal view as a page.
import html, re, sys
out = sys.argv[1]
screens = open(f"{out}/top.txt", encoding="utf-8").read().split("\033[7m Inferno")
text = "\033[7m Inferno" + screens[-1]
styles = {"1": "font-weight:bold", "4": "text-decoration:underline", "7": "background:#ddd;color:#111",
          "31": "color:#f66", "32": "color:#6d6", "33": "color:#dc6", "36": "color:#6cd"}
page, is_open = [], False
for part in re.split(r"(\033\[[0-9;]*[A-Za-z])", text):
    if not part.startswith("\033"):
        page.append(html.escape(part))
    elif part.endswith("m"):
        page.append("</span>" if is_open else "")
        is_open = part[2:-1] in styles
        page.append(f'<span style="{styles[part[2:-1]]}">' if is_open else "")
open(f"{out}/top.html", "w", encoding="utf-8").write(
    "<meta charset=utf-8><body style='background:#111;color:#ddd'>"
    "<pre style='font:15px/1.25 \"DejaVu Sans Mono\",monospace'>" + "".join(page) + "</pre>")
PY

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
python3 -m http.server --bind 127.0.0.1 --directory "$out" "$port" >/dev/null 2>&1 &
server=$!
trap 'kill $server' EXIT
sleep 1
browse() { # URL WORDS...
    local url=$1
    shift
    timeout 120 chromium --headless --no-sandbox --disable-gpu --use-gl=angle --use-angle=swiftshader \
        --enable-unsafe-swiftshader --hide-scrollbars --window-size=1500,800 --virtual-time-budget=15000 \
        --user-data-dir="$out/profile" "$@" "$url" 2>"$out/chromium.log"
}
viewer="http://127.0.0.1:$port/index.html#profileURL=http://127.0.0.1:$port/trace.json"
browse "$viewer" --dump-dom >"$out/dom.html"
grep -q "inferno" "$out/dom.html" || { echo "shots.sh: the viewer does not show the trace" >&2; exit 1; }
browse "$viewer" --screenshot="$out/trace.png"
browse "http://127.0.0.1:$port/top.html" --screenshot="$out/top.png"
spans=$(grep -c '"ph":"X"' "$out/trace.json")
[ -s "$out/trace.png" ] && [ -s "$out/top.png" ]
echo "shots: trace_spans=$spans pictures=2 ($out)"
