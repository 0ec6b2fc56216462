#!/usr/bin/env bash
# Model-checks the handle table with loom. Ends with cargo's own result lines.
set -eu
cd "$(dirname "$0")/loom"
target=${CARGO_TARGET_DIR:-../../target}
CARGO_TARGET_DIR=$target/loom RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=${LOOM_MAX_PREEMPTIONS:-3} \
    cargo test --release --lib
