#!/usr/bin/env bash
# Everything that only a GPU can tell, in under six minutes: check.sh BINARIES [OPTIONS]; check.py says what there is.
# PYTHON names a Python with PyTorch, safetensors and numpy, where `python3` is none.
set -eu
python=$(command -v "${PYTHON:-python3}") || { echo "there is no ${PYTHON:-python3}" >&2; exit 2; }
exec "$python" -u "$(dirname "$0")/check.py" "$@"
