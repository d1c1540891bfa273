"""The folder of a sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from zskt import _frames
from zskt._arguments import path as as_path
from zskt._program import PathLike, ask_json
from zskt._run import Run
from zskt.errors import NotARunError

if TYPE_CHECKING:
    import pandas
    import polars

Rows = Literal["configurations", "points"]


class Sweep:
    """A sweep: what its folder has of it at the moment."""

    path: Path
    """The folder."""

    def __init__(self, path: PathLike, *, program: PathLike | None = None) -> None:
        self.path = Path(path)
        self._program = program
        if not (self.path / "sweep.json").is_file():
            raise NotARunError(f"{self.path} is not the folder of a sweep: there is no sweep.json in it")

    def __repr__(self) -> str:
        return f"zskt.Sweep({str(self.path)!r})"

    @property
    def table(self) -> dict[str, Any]:
        """The table as it was made last: the contents of `table.json`; made now where there is none yet."""
        table = self.path / "table.json"
        return (
            cast("dict[str, Any]", json.loads(table.read_text(encoding="utf-8"))) if table.is_file() else self.collect()
        )

    def collect(self) -> dict[str, Any]:
        """Make the table of what is finished, wherever it ran."""
        return cast("dict[str, Any]", ask_json(["sweep", "--collect", as_path(self.path)], self._program))

    @property
    def runs(self) -> dict[str, Run]:
        """The runs that have begun, by the names of their folders."""
        folders = {point["folder"]: self.path / point["folder"] for point in self.table["points"]}
        begun = {name: folder for name, folder in folders.items() if (folder / "manifest.json").is_file()}
        return {name: Run(folder, program=self._program) for name, folder in begun.items()}

    def rows(self, of: Rows = "configurations") -> list[dict[str, Any]]:
        """Return a row for each configuration, or for each point, which is a configuration with a seed.

        A configuration has its settings, how many `points` it has and how many are `finished`, and of each figure the
        mean over the seeds under the figure's name, the standard deviation under `<figure>.std` and the number of runs
        that have it under `<figure>.n`. A point has its `folder`, `state`, settings and figures. Settings are RON, as
        text; a figure that is called as a setting is left out.
        """
        rows = []
        for entry in self.table[of]:
            known = ("folder", "state") if of == "points" else ("points", "finished")
            settings = {**{name: entry[name] for name in known}, **entry["settings"]}
            figures = entry.get("figures", {})
            if of == "configurations":
                figures = _statistics(figures)
            # How many batches a stage did is a figure, and called as the setting is that asks for them.
            rows.append({**settings, **{name: value for name, value in figures.items() if name not in settings}})
        return rows

    def to_pandas(self, of: Rows = "configurations") -> pandas.DataFrame:
        """Return what `rows` does as a frame of pandas."""
        return _frames.to_pandas(self.rows(of))

    def to_polars(self, of: Rows = "configurations") -> polars.DataFrame:
        """Return what `rows` does as a frame of polars."""
        return _frames.to_polars(self.rows(of))


def _statistics(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    """Give the mean of each figure, its standard deviation and its number a name each."""
    names = {"": "mean", ".std": "std", ".n": "n"}
    return {figure + suffix: own[part] for figure, own in figures.items() for suffix, part in names.items()}
