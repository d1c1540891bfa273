"""The folder of a run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from zskt import _frames
from zskt._arguments import path as as_path
from zskt._program import PathLike, ask_json
from zskt._safetensors import read_safetensors
from zskt.errors import NotARunError

if TYPE_CHECKING:
    import pandas
    import polars
    import torch

RunState = Literal["running", "finished", "interrupted", "out of budget", "killed", "failed"]
"""How far a run is; one that was killed ended without a word, and can go on from its last checkpoint."""

LoggedEvent = Literal["batch", "metric", "monitor", "distributions", "warning", "interrupted", "failed"]
"""The events that `metrics.jsonl` has."""


class Run:
    """A run, finished or not: what its folder has of it at the moment."""

    path: Path
    """The folder."""

    def __init__(self, path: PathLike, *, program: PathLike | None = None) -> None:
        self.path = Path(path)
        self._program = program
        self._finished: dict[str, Any] | None = None
        if not (self.path / "manifest.json").is_file():
            raise NotARunError(f"{self.path} is not the folder of a run: there is no manifest.json in it")

    def __repr__(self) -> str:
        return f"zskt.Run({str(self.path)!r})"

    @property
    def manifest(self) -> dict[str, Any]:
        """What it was made with: the contents of `manifest.json`."""
        return self._json("manifest.json")

    @property
    def report(self) -> dict[str, Any] | None:
        """What it found: the contents of `report.json`; `None` until it is finished."""
        return self._json("report.json") if (self.path / "report.json").is_file() else None

    @property
    def pipeline(self) -> str:
        """The pipeline as resolved, which `zskt.run` takes."""
        return (self.path / "pipeline.ron").read_text(encoding="utf-8")

    @property
    def state(self) -> RunState:
        """How far it is."""
        return cast(RunState, self._shown()["state"])

    @property
    def failure(self) -> str | None:
        """Why it failed, if it did."""
        return cast("str | None", self._shown()["failure"])

    @property
    def falls_short(self) -> bool:
        """Whether it is finished and a figure does not lie where its pipeline expects it (`expect`)."""
        return cast("bool", self._shown()["falls_short"])

    @property
    def figures(self) -> dict[str, float]:
        """What the report says in numbers, or the log until then, by `--sort` key: `student_accuracy.top1`."""
        return cast("dict[str, float]", self._shown()["figures"])

    @property
    def configuration(self) -> dict[str, str]:
        """All parameters by `--set` key, as RON."""
        return cast("dict[str, str]", self._shown()["configuration"])

    @property
    def changed(self) -> dict[str, str]:
        """Those of them that are not as the plugins have them by themselves."""
        return cast("dict[str, str]", self._shown()["not_default"])

    @property
    def class_names(self) -> dict[str, list[str]]:
        """What the classes are called that a metric's lists are of, by metric, once it is finished."""
        return cast("dict[str, list[str]]", (self.report or {}).get("class_names", {}))

    @property
    def weights(self) -> dict[str, Path]:
        """The files with trained weights, by the name that `state_dict` takes."""
        return {file.stem: file for file in sorted(self.path.glob("*.safetensors"), key=lambda file: file.stem)}

    def state_dict(self, name: str = "student", *, device: str = "cpu") -> dict[str, torch.Tensor]:
        """Return trained weights as tensors, under the names of PyTorch.

        `student` is what the last stage gave, `student.best` the best of it where the stage keeps that, and that of
        another stage is called as the stage.
        """
        weights = self.weights
        if name not in weights:
            raise LookupError(f"{self.path} has no weights `{name}`; it has {', '.join(weights) or 'none yet'}")
        return read_safetensors(weights[name], device)

    def records(
        self, event: LoggedEvent | None = None, *, stage: str | None = None, metric: str | None = None
    ) -> list[dict[str, Any]]:
        """Return what was logged so far, in order: all of it, or what is of an event, a stage, a metric."""
        with (self.path / "metrics.jsonl").open("rb") as log:
            # One that is being written has no end yet.
            records = [json.loads(line) for line in log if line.endswith(b"\n")]
        return [record for record in records if _is_asked_for(record, event, stage, metric)]

    def to_pandas(
        self, event: LoggedEvent = "batch", *, stage: str | None = None, metric: str | None = None
    ) -> pandas.DataFrame:
        """Return what `records` does as a frame of pandas, its figures as columns."""
        return _frames.to_pandas([_frames.flat(record) for record in self.records(event, stage=stage, metric=metric)])

    def to_polars(
        self, event: LoggedEvent = "batch", *, stage: str | None = None, metric: str | None = None
    ) -> polars.DataFrame:
        """Return what `records` does as a frame of polars, its figures as columns."""
        return _frames.to_polars([_frames.flat(record) for record in self.records(event, stage=stage, metric=metric)])

    def follow(self, *, poll_seconds: float = 0.5) -> Iterator[dict[str, Any]]:
        """Yield what was logged and what is logged from now on, until the run is no longer going.

        A run that goes on from a checkpoint cuts its log back to it: all that the log then has is yielded again.
        """
        log, read, last = self.path / "metrics.jsonl", 0, b""
        while True:
            is_running = self.state == "running"
            with log.open("rb") as file:
                # What was cut, or is another file, may have become longer again than it was.
                file.seek(read - len(last))
                if file.read(len(last)) != last:
                    read, last = file.seek(0), b""
                lines = file.readlines()
            for line in lines:
                if line.endswith(b"\n"):
                    read, last = read + len(line), line
                    yield json.loads(line)
            if not is_running:
                return
            time.sleep(poll_seconds)

    def _json(self, name: str) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads((self.path / name).read_text(encoding="utf-8")))

    def _shown(self) -> dict[str, Any]:
        """Ask the program, for whom a finished run is always the same."""
        if self._finished is not None:
            return self._finished
        shown: dict[str, Any] = ask_json(["runs", "show", as_path(self.path)], self._program)
        if shown["state"] == "finished":
            self._finished = shown
        return shown


def _is_asked_for(record: dict[str, Any], event: str | None, stage: str | None, metric: str | None) -> bool:
    return (
        event in (None, record["event"])
        and stage in (None, record.get("stage", record.get("after")))
        and metric in (None, record.get("metric"))
    )
