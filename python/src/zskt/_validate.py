"""Proving pipelines sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zskt._arguments import Overrides, common, path
from zskt._program import PathLike, ask


@dataclass(frozen=True)
class Validation:
    """A sound pipeline."""

    summary: str
    """What it is made of, in a line."""
    warnings: str
    """What is doubtful about it, as the program shows it; empty where nothing is."""


def validate(
    pipeline: PathLike,
    *,
    set: Overrides | None = None,  # noqa: A002
    plugins: Sequence[PathLike] = (),
    skip_files: bool = False,
    deny_warnings: bool = False,
    program: PathLike | None = None,
) -> Validation:
    """Prove a pipeline sound without running it.

    With `skip_files`, whether the files are there that it names is left out; with `deny_warnings`, warnings are errors.
    Raises `RefusedError`, whose text shows each problem at its place, where it is not sound.
    """
    arguments = ["validate", path(pipeline), *common(set, plugins)]
    arguments += ["--skip-files"] * skip_files + ["--deny-warnings"] * deny_warnings
    said = ask(arguments, program)
    return Validation(said.stdout.strip(), said.stderr.strip())
