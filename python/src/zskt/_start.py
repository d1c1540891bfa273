"""Starting runs and sweeps."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zskt._arguments import Overrides, common, override, path, ron
from zskt._process import Process
from zskt._program import PathLike
from zskt._run import Run
from zskt._sweep import Sweep
from zskt.errors import ZsktError
from zskt.events import Event

OnEvent = Callable[[Event], object]


class RunProcess(Process[Run]):
    """A run that is going on."""

    def _note(self, event: Event) -> None:
        super()._note(event)
        if event.kind == "started":
            self.folder = self._cwd / event["folder"]

    def _result(self) -> Run:
        if self.folder is None:
            raise ZsktError("zskt-run did not say where the run is kept")
        return Run(self.folder, program=self._program)


class SweepProcess(Process[Sweep]):
    """A sweep that is going on."""

    def __init__(
        self, arguments: Sequence[str], folder: Path, *, cwd: PathLike | None, program: PathLike | None
    ) -> None:
        super().__init__(arguments, cwd=cwd, program=program)
        self.folder = self._cwd / folder

    def _result(self) -> Sweep:
        assert self.folder is not None
        return Sweep(self.folder, program=self._program)


def start(
    pipeline: PathLike | None = None,
    *,
    set: Overrides | None = None,  # noqa: A002
    out: PathLike | None = None,
    resume: PathLike | None = None,
    go_on: bool = False,
    budget: str | None = None,
    plugins: Sequence[PathLike] = (),
    cwd: PathLike | None = None,
    program: PathLike | None = None,
) -> RunProcess:
    """Start a run, and return at once; `run` says what the arguments are."""
    if (pipeline is None) == (resume is None):
        raise TypeError("give a pipeline to run, or with `resume=` the folder of a run to go on with")
    arguments = [] if pipeline is None else [path(pipeline)]
    arguments += common(set, plugins)
    given = {"--out": out, "--resume": resume, "--budget": budget}
    for option, value in given.items():
        if value is not None:
            arguments += [option, path(value)]
    return RunProcess(arguments + ["--continue"] * go_on, cwd=cwd, program=program)


def run(
    pipeline: PathLike | None = None,
    *,
    set: Overrides | None = None,  # noqa: A002
    out: PathLike | None = None,
    resume: PathLike | None = None,
    go_on: bool = False,
    budget: str | None = None,
    plugins: Sequence[PathLike] = (),
    on_event: OnEvent | None = None,
    cwd: PathLike | None = None,
    program: PathLike | None = None,
) -> Run:
    """Run a pipeline to its end.

    `set` changes parameters, as `{"distill.batches": 200, "student": "WideResNet(depth: 16)"}`; a text is taken as it
    is. `out` is the run's folder, by default a new one in `runs`. With `resume`, in place of a pipeline, the run of
    that folder goes on; with `go_on`, the one in `out` where there is one. `budget` is how long it may take (`"2h"`),
    `plugins` are libraries to load. `on_event` is called with each event as it happens (`on_event=print` shows them).
    Paths in a pipeline are relative to `cwd`, the working directory by default.

    Ctrl-C, or an exception of `on_event`, stops the run at its next checkpoint, and is raised when it has stopped.
    Raises `RefusedError`, `RunFailedError`, `ExpectationsNotMetError`, `BudgetUsedUpError` or `RunInterruptedError`,
    all of them `RunError`, with what the program said.
    """
    process = start(
        pipeline,
        set=set,
        out=out,
        resume=resume,
        go_on=go_on,
        budget=budget,
        plugins=plugins,
        cwd=cwd,
        program=program,
    )
    with process:
        return process.wait(on_event)


def start_sweep(
    pipeline: PathLike,
    out: PathLike,
    *,
    seeds: Sequence[int] | str | None = None,
    set: Mapping[str, Sequence[Any] | Any] | None = None,  # noqa: A002
    zip: Mapping[str, Sequence[Any]] | None = None,  # noqa: A002
    jobs: int | None = None,
    devices: Sequence[str] = (),
    plugins: Sequence[PathLike] = (),
    cwd: PathLike | None = None,
    program: PathLike | None = None,
) -> SweepProcess:
    """Start a sweep, and return at once; `sweep` says what the arguments are."""
    arguments = ["sweep", path(pipeline), "--out", path(out), *common(None, plugins)]
    if seeds is not None:
        arguments += ["--seeds", seeds if isinstance(seeds, str) else ",".join(map(str, seeds))]
    for option, axes in (("--set", set), ("--zip", zip)):
        for key, values in (axes or {}).items():
            arguments += [option, _axis(key, values)]
    if jobs is not None:
        arguments += ["--jobs", str(jobs)]
    if devices:
        arguments += ["--devices", ",".join(devices)]
    return SweepProcess(arguments, Path(out), cwd=cwd, program=program)


def sweep(
    pipeline: PathLike,
    out: PathLike,
    *,
    seeds: Sequence[int] | str | None = None,
    set: Mapping[str, Sequence[Any] | Any] | None = None,  # noqa: A002
    zip: Mapping[str, Sequence[Any]] | None = None,  # noqa: A002
    jobs: int | None = None,
    devices: Sequence[str] = (),
    plugins: Sequence[PathLike] = (),
    on_event: OnEvent | None = None,
    cwd: PathLike | None = None,
    program: PathLike | None = None,
) -> Sweep:
    """Run a pipeline for several seeds and values of parameters, in the folder `out`; called again, it goes on there.

    `seeds` are `range(3)` or `"0..3"`. Each key of `set` has a value, or a list of values that are run with each of the
    others'; those of `zip` go together, the first with the first. `jobs` run at once.
    """
    process = start_sweep(
        pipeline,
        out,
        seeds=seeds,
        set=set,
        zip=zip,
        jobs=jobs,
        devices=devices,
        plugins=plugins,
        cwd=cwd,
        program=program,
    )
    with process:
        return process.wait(on_event)


def _axis(key: str, values: object) -> str:
    if isinstance(values, Sequence) and not isinstance(values, str):
        texts = [os.fspath(value) if isinstance(value, (str, os.PathLike)) else ron(value) for value in values]
        return f"{key}={','.join(texts)}"
    return override(key, values)
