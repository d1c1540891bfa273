#!/usr/bin/env bash
# Builds the programs that check.sh runs, into a folder: build.sh BINARIES. Needs a CUDA toolkit with cuDNN, but no GPU.
set -euo pipefail
test $# = 1 || { echo "usage: $0 BINARIES" >&2; exit 2; }
mkdir -p "$1"
binaries=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."

# Of cargo's messages, the path of the one test executable that it has built.
executable='
import json, sys
found = [m["executable"] for m in map(json.loads, sys.stdin) if m.get("profile", {}).get("test") and m.get("executable")]
sys.exit(f"one test executable expected, not {found}") if len(found) != 1 else print(found[0])
'

# NAME ARGUMENTS: builds a test executable, and copies it under that name.
test_executable() {
    local name=$1 built
    shift
    built=$(cargo test --release --no-run --message-format=json-render-diagnostics "$@" | python3 -c "$executable")
    install -m 755 "$built" "$binaries/$name"
}

# Without the default features the program is one file, which needs none of its libraries beside it.
cargo build --release -p zskt-runtime --bin zskt-run --no-default-features --features cuda
install -m 755 "${CARGO_TARGET_DIR:-target}/release/zskt-run" "$binaries/zskt-run"
test_executable operations -p zskt-api --features zskt-api/cuda --lib
test_executable parity -p zskt-tests --features zskt-tests/cuda --test parity
ls -l "$binaries"
