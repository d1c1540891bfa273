"""Lists of dicts as data frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zskt.events import FIELDS

if TYPE_CHECKING:
    import pandas
    import polars

Records = Sequence[Mapping[str, Any]]


def flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a logged record with its figures beside its fields; one that is called as a field gets a longer name."""
    fields = {name: value for name, value in record.items() if name != "figures"}
    known = FIELDS.get(record["event"], frozenset()) | {"event", "time"}
    figures = record.get("figures", {})
    return fields | {f"figures.{name}" if name in known else name: value for name, value in figures.items()}


def to_pandas(records: Records) -> pandas.DataFrame:
    """Return a frame of pandas with a row for each record; what a record has not is missing."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("a frame of pandas needs pandas: pip install 'zskt[pandas]'") from error
    frame: pandas.DataFrame = pandas.DataFrame.from_records(list(records))
    return frame


def to_polars(records: Records) -> polars.DataFrame:
    """Return a frame of polars with a row for each record; what a record has not is null."""
    try:
        import polars
    except ImportError as error:
        raise ImportError("a frame of polars needs polars: pip install 'zskt[polars]'") from error
    # The first record need not have all columns, nor a number that is whole in it be whole in all.
    columns = dict.fromkeys(name for record in records for name in record)
    data = {name: [record.get(name) for record in records] for name in columns}
    frame: polars.DataFrame = polars.DataFrame(data, strict=False, infer_schema_length=None)
    return frame
