"""Weights as tensors of PyTorch."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

from zskt._program import PathLike
from zskt.errors import ZsktError

if TYPE_CHECKING:
    import torch

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def read_safetensors(path: PathLike, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Return the tensors of a file, by name, as `load_state_dict` takes them.

    The package `safetensors` reads it where there is one.
    """
    if importlib.util.find_spec("torch") is None:
        raise ImportError("state dicts need torch: pip install 'zskt[torch]'")
    try:
        from safetensors.torch import load_file
    except ImportError:
        return {name: tensor.to(device) for name, tensor in _read(Path(path)).items()}
    return dict(load_file(path, device=device))


def _read(path: Path) -> dict[str, torch.Tensor]:
    """Read a file: eight bytes with the length of a header, the header, which is JSON, and the numbers."""
    import torch

    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    if len(data) < 8 or start > len(data):
        raise ZsktError(f"{path} is not a file of safetensors")
    header = json.loads(data[8:start])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        dtype = getattr(torch, _DTYPES[entry["dtype"]])
        # A copy: tensors of bytes that cannot be changed are refused, and those of an odd place are not aligned.
        numbers = bytearray(data[start + begin : start + end])
        flat = torch.frombuffer(numbers, dtype=dtype) if numbers else torch.empty(0, dtype=dtype)
        tensors[name] = flat.reshape(entry["shape"])
    return tensors
