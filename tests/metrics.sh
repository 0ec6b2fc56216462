#!/usr/bin/env bash
# A real Prometheus scrapes the library: metrics.sh [DIR]      DIR holds libinferno.so (target/release)
#
# A host serves its metrics on the loopback (tests/metrics/serve.c). `promtool check metrics` has
# nothing to say of the text for file collectors; Prometheus itself takes the OpenMetrics text, counts
# what the host counted, and the percentiles that it computes are those of the host's snapshot, to the
# quarter that the buckets are wide. Ends in `metrics: scraped_runs=… p50_ratio=… p99_ratio=…`.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/deps.sh"
need cc gcc
need curl curl
need prometheus prometheus
need promtool prometheus
need python3 python3

libs=$(cd "${1:-${CARGO_TARGET_DIR:-$root/target}/release}" && pwd)
out=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$out"
}
trap finish EXIT
soname=$(readelf -d "$libs/libinferno.so" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
ln -s "$libs/libinferno.so" "$out/${soname:-libinferno.so}"
for program in serve text; do
    cc -std=gnu11 -O1 -Wall -Wextra -Wpedantic -Werror -I"$root/include" \
        "$root/tests/metrics/$program.c" "$libs/libinferno.so" -Wl,-rpath,"$out" -o "$out/$program"
done

"$out/text" >"$out/text.prom"
promtool check metrics <"$out/text.prom" >"$out/promtool" 2>&1 || { cat "$out/promtool"; exit 1; }
if [ -s "$out/promtool" ]; then
    echo "metrics.sh: promtool has something to say:"
    cat "$out/promtool"
    exit 1
fi

seconds=12
"$out/serve" $seconds >"$out/served" &
serve=$!
pids+=("$serve")
for _ in $(seq 200); do grep -q ready "$out/served" && break; sleep 0.1; done
port=$(sed -n 's/^ready //p' "$out/served")
: "${port:?the host does not serve}"
web=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$out/prometheus.yml" <<YML
global: {scrape_interval: 500ms, scrape_timeout: 400ms}
scrape_configs:
  - job_name: inferno
    static_configs: [{targets: ["127.0.0.1:$port"]}]
YML
promtool check config "$out/prometheus.yml" >/dev/null
prometheus --config.file="$out/prometheus.yml" --storage.tsdb.path="$out/data" \
    --web.listen-address="127.0.0.1:$web" --log.level=warn >"$out/prometheus.log" 2>&1 &
pids+=("$!")

# The value of a query; nothing while there is none.
ask() {
    curl -sG "http://127.0.0.1:$web/api/v1/query" --data-urlencode "query=$1" |
        python3 -c 'import json, sys
r = json.load(sys.stdin)["data"]["result"]
print(r[0]["value"][1] if r else "")' 2>/dev/null || true
}
for _ in $(seq 100); do
    runs=$(ask 'inferno_runs_total')
    [ -n "$runs" ] && break
    sleep 0.1
done
p50=$(ask 'histogram_quantile(0.5, inferno_run_duration_seconds_bucket{model="digits"})')
p90=$(ask 'histogram_quantile(0.9, inferno_run_duration_seconds_bucket{model="digits"})')
p99=$(ask 'histogram_quantile(0.99, inferno_run_duration_seconds_bucket{model="digits"})')
failures=$(ask 'inferno_run_failures_total{model="digits",status="11"}')
loads=$(ask 'inferno_load_failures_total{status="6"}')
health=$(ask 'up{job="inferno"}')
type=$(curl -s "http://127.0.0.1:$web/api/v1/metadata?metric=inferno_run_duration_seconds" | grep -o '"type":"histogram"' || true)
wait "$serve"
python3 - "$runs" "$p50" "$p90" "$p99" "$failures" "$loads" "$health" "$type" "$(tail -n 1 "$out/served")" <<'PY'
import sys
runs, p50, p90, p99, failures, loads, health, kind, own = sys.argv[1:]
own = {k: int(v) for k, v in (word.split("=") for word in own.split())}
assert health == "1", f"the scrape failed: up is {health!r}"
assert kind == '"type":"histogram"', "Prometheus does not know the histogram"
assert float(runs) == own["runs"] == 20000, (runs, own)
assert float(failures) == own["failures"] == 1, (failures, own)
assert float(loads) == 1, loads
ratio = {n: float(v) * 1e9 / own[n] for n, v in (("p50", p50), ("p90", p90), ("p99", p99))}
for name, r in ratio.items():
    assert 0.75 < r < 1.26, f"{name}: Prometheus says {r:.3f} of the snapshot's"
print("metrics: scraped_runs=%d p50_ratio=%.3f p90_ratio=%.3f p99_ratio=%.3f promtool=clean"
      % (own["runs"], ratio["p50"], ratio["p90"], ratio["p99"]))
PY
