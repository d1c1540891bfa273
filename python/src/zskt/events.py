"""What a run tells while it goes on: `docs/events.md` of zskt says what each event has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

EVENTS_FORMAT = 1
"""The format of events that this package was made for."""

FIELDS: Mapping[str, frozenset[str]] = {
    "estimate": frozenset(
        {
            "format",
            "name",
            "device",
            "seconds",
            "flop",
            "peak_memory_bytes",
            "setup",
            "stages",
            "metrics",
            "measured_images",
            "memory_bytes",
        }
    ),
    "started": frozenset({"format", "zskt", "name", "folder", "seed", "device", "precision", "resumed"}),
    "stage_started": frozenset({"stage", "plugin"}),
    "batch": frozenset({"stage", "batch", "batches", "images", "seconds", "figures"}),
    "metric": frozenset({"metric", "stage", "batch", "best", "after", "pictures", "figures"}),
    "monitor": frozenset({"stage", "batch", "figures"}),
    "distributions": frozenset({"stage", "batch", "figures"}),
    "images": frozenset({"stage", "batch", "file"}),
    "warning": frozenset({"stage", "batch", "message"}),
    "stage_finished": frozenset({"stage", "batches", "seconds", "ended_early", "weights", "best"}),
    "interrupted": frozenset({"budget_seconds"}),
    "failed": frozenset({"message"}),
    "finished": frozenset({"folder", "report"}),
    "expectations": frozenset({"met", "figures"}),
    "point": frozenset({"point", "state", "reason"}),
    "table": frozenset({"headline", "configurations", "points"}),
}
"""The fields of each event, but for `event` and `time`."""


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    What it has besides its properties is had by `event["images"]` and the like.
    """

    fields: Mapping[str, Any]
    """All fields, as the program told them."""

    def __getitem__(self, field: str) -> Any:
        return self.fields[field]

    def get(self, field: str, default: Any = None) -> Any:
        """Return a field that may not be there."""
        return self.fields.get(field, default)

    @property
    def kind(self) -> str:
        """What it tells of, as `batch` or `finished`."""
        return str(self.fields["event"])

    @property
    def time(self) -> str:
        """When, in UTC."""
        return str(self.fields["time"])

    @property
    def stage(self) -> str | None:
        """The stage that it is of."""
        return self.fields.get("stage") or self.fields.get("after")

    @property
    def metric(self) -> str | None:
        """The metric that it is of."""
        return self.fields.get("metric")

    @property
    def batch(self) -> int | None:
        """Batches of the stage that are done."""
        return self.fields.get("batch")

    @property
    def point(self) -> str | None:
        """The point of a sweep that it is of."""
        return self.fields.get("point")

    @property
    def figures(self) -> dict[str, Any]:
        """The figures, by the names that plugins give them."""
        return dict(self.fields.get("figures", {}))

    def __str__(self) -> str:
        place = [str(part) for part in (self.point, self.metric, self.stage) if part]
        if self.batch is not None:
            of = self.get("batches")
            place.append(f"{self.batch}/{of}" if of else str(self.batch))
        shown = [f"{name} {value:.4g}" for name, value in self.figures.items() if isinstance(value, (int, float))]
        shown.extend(str(self.fields[field]) for field in ("message", "state", "file", "weights") if self.get(field))
        return "  ".join([self.kind, *place, *shown])
