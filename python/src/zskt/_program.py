"""Where the program is, and what it says when it is asked something."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zskt.errors import ProgramNotFoundError, RunError

NAME = "zskt-run"
VARIABLE = "ZSKT_RUN"

PathLike = str | os.PathLike[str]


def find_program(program: PathLike | None = None) -> Path:
    """Return where `zskt-run` is: `program`, or what the variable `ZSKT_RUN` says, or what is found in `PATH`."""
    for said_by, place in (("program", program), (VARIABLE, os.environ.get(VARIABLE))):
        if place:
            path = Path(place).expanduser()
            if not (path.is_file() and os.access(path, os.X_OK)):
                raise ProgramNotFoundError(f"`{said_by}` says that {NAME} is {path}, but there is no such program")
            return path.resolve()
    found = shutil.which(NAME)
    if found is None:
        raise ProgramNotFoundError(
            f"there is no {NAME} in PATH: put the folder of zskt's programs into PATH, set {VARIABLE} to the program, "
            f"or name it as `program=`"
        )
    return Path(found)


def ask(arguments: Sequence[str], program: PathLike | None) -> subprocess.CompletedProcess[str]:
    """Run the program to its end, and return what it said; an exit code other than 0 is an error."""
    command = [str(find_program(program)), *arguments]
    said = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8", check=False
    )
    if said.returncode != 0:
        raise RunError.of(said.returncode, said.stderr)
    return said


def ask_json(arguments: Sequence[str], program: PathLike | None) -> Any:
    """Return the JSON that the program says."""
    return json.loads(ask([*arguments, "--json"], program).stdout)
