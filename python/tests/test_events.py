import re
from pathlib import Path

import zskt
from zskt._frames import flat
from zskt.events import FIELDS


def test_the_fields_are_those_of_the_description():
    description = (Path(__file__).parents[2] / "docs/events.md").read_text()
    sections = re.findall(r"\n### `(\w+)`\n(.*?)(?=\n##|\Z)", description, re.DOTALL)
    described = {kind: frozenset(re.findall(r"^\| `(\w+)`", text, re.MULTILINE)) for kind, text in sections}
    assert described == FIELDS
    assert f"`format`. It is {zskt.EVENTS_FORMAT}." in description


def test_figures_are_no_fields_whatever_they_are_called():
    figures = {"top1": 0.5, "stage": 2.0, "batch": 7}
    fields = {"event": "metric", "time": "", "metric": "m", "after": None, "figures": figures, "point": "seed=0"}
    event = zskt.Event(fields)
    assert (event.figures, event.metric, event.stage, event.batch, event.point) == (figures, "m", None, None, "seed=0")
    expected = {"metric": "m", "top1": 0.5, "figures.stage": 2.0, "figures.batch": 7}
    assert expected.items() <= flat(fields).items()
