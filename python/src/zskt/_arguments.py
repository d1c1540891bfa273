"""Python's values as the command line has them."""

from __future__ import annotations

import json
import numbers
import os
from collections.abc import Mapping, Sequence
from typing import Any

from zskt._program import PathLike

Overrides = Mapping[str, Any]


def ron(value: object) -> str:
    """Return a value as RON, as a pipeline has it."""
    if value is None or isinstance(value, bool):
        return {None: "None", True: "true", False: "false"}[value]
    if isinstance(value, numbers.Integral):
        return repr(int(value))
    # NumPy's numbers are Python's, but do not look so.
    if isinstance(value, numbers.Real):
        return repr(float(value))
    if isinstance(value, (str, os.PathLike)):
        return json.dumps(os.fspath(value), ensure_ascii=False)
    if isinstance(value, Sequence):
        return f"[{', '.join(map(ron, value))}]"
    raise TypeError(f"{value!r} is nothing that a pipeline has; give the text that a pipeline would have")


def override(key: str, value: object) -> str:
    """Return what `--set` takes; a text is taken as it is, for it may be a plugin: `WideResNet(depth: 16)`."""
    return f"{key}={os.fspath(value) if isinstance(value, (str, os.PathLike)) else ron(value)}"


def common(overrides: Overrides | None, plugins: Sequence[PathLike]) -> list[str]:
    """Return the arguments that most commands take."""
    arguments = [argument for plugin in plugins for argument in ("--plugin", os.fspath(plugin))]
    for key, value in (overrides or {}).items():
        arguments += ["--set", override(key, value)]
    return arguments


def path(value: PathLike) -> str:
    """Return a path that is no option, whatever it begins with."""
    text = os.fspath(value)
    return f"./{text}" if text.startswith("-") else text
