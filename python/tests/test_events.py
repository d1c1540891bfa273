import re
from pathlib import Path

import zskt
from zskt.events import FIELDS


def test_the_fields_are_those_of_the_description():
    description = (Path(__file__).parents[2] / "docs/events.md").read_text()
    sections = re.findall(r"\n### `(\w+)`\n(.*?)(?=\n##|\Z)", description, re.DOTALL)
    described = {kind: frozenset(re.findall(r"^\| `(\w+)`", text, re.MULTILINE)) for kind, text in sections}
    assert described == FIELDS
    assert f"`format`. It is {zskt.EVENTS_FORMAT}." in description


def test_figures_are_what_no_field_is():
    event = zskt.Event({"event": "metric", "time": "", "metric": "m", "after": None, "top1": 0.5, "point": "seed=0"})
    assert (event.figures, event.metric, event.stage, event.point) == ({"top1": 0.5}, "m", None, "seed=0")
