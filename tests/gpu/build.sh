#!/usr/bin/env bash
# Builds the programs that check.sh runs, into a folder: build.sh BINARIES. Needs a CUDA toolkit with cuDNN, but no GPU.
set -euo pipefail
test $# = 1 || { echo "usage: $0 BINARIES" >&2; exit 2; }
mkdir -p "$1"
binaries=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."

# The same packages with the same features, tests' dependencies included, in both commands: cargo would build candle and all
# its kernels once more for others. Without the default features the program is one file, which needs no library beside it.
selection=(--release --message-format=json-render-diagnostics --no-default-features)
for package in zskt-runtime zskt-tensor zskt-tests; do
    selection+=(--package "$package" --features "$package/cuda")
done
selection+=(--package zskt-stages)

# From cargo's messages: each executable under the name that check.sh knows.
copy='
import json, shutil, sys
wanted = {("bin", "zskt-run"): "zskt-run", ("lib", "zskt_tensor"): "operations", ("test", "parity"): "parity"}
wanted["lib", "zskt_stages"] = "methods"
for message in map(json.loads, sys.stdin):
    if message.get("executable"):
        target = message["target"]
        name = wanted.pop((target["kind"][0], target["name"]), None)
        if name:
            shutil.copy(message["executable"], f"{sys.argv[1]}/{name}")
sys.exit(f"cargo has built no {list(wanted.values())}" if wanted else 0)
'
{
    cargo build "${selection[@]}" --bin zskt-run --test parity
    cargo test "${selection[@]}" --no-run --lib
} | python3 -c "$copy" "$binaries"
git describe --always --dirty > "$binaries/commit.txt" 2> /dev/null || rm -f "$binaries/commit.txt"
ls -l "$binaries"
