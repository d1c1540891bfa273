#!/usr/bin/env python3
"""What checks found: a file, written as they go, a table, and how both compare with an earlier file.

results.py OLD.json NEW.json
"""

import contextlib
import json
import os
import sys
import time
from pathlib import Path

from programs import Failed, Skipped

# Units of what is the better the less of it there is; a figure's name ends in its unit.
TIMES = (" ms", " us", " s")


class Results:
    """Each check: `outcome` ("ok", "skipped", "FAILED"), `seconds`, `text`, `details` (rows below it), `figures` (numbers by name)."""

    def __init__(self, path, seconds, **facts):
        self.path, self.began = path, time.monotonic()
        self.end = self.began + seconds
        self.found = {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **facts, "seconds": 0, "checks": {}}
        self.current = None
        self.save()

    def left(self, limit):
        """Of so many seconds, those that remain for all checks."""
        return max(min(limit, self.end - time.monotonic()), 1)

    def allow(self, seconds):
        """From now on, so many more."""
        self.end = time.monotonic() + seconds

    def check(self, name, function, *arguments):
        """Makes a check, whose result is what there is to say."""
        print(f"\n== {name} ({time.monotonic() - self.began:.0f} s)", flush=True)
        start = time.monotonic()
        self.current = {"outcome": "FAILED", "seconds": 0, "text": "it was ended", "details": [], "figures": {}}
        # There from the beginning, so that a run which is killed tells where.
        self.found["checks"][name] = self.current
        self.save()
        try:
            if start > self.end:
                raise Skipped("no time is left")
            self.current |= {"text": function(*arguments), "outcome": "ok"}
        except Skipped as error:
            self.current |= {"text": str(error), "outcome": "skipped"}
        # Whatever it is: the other checks are worth making.
        except Exception as error:
            self.current["text"] = str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"[:300]
        self.current["seconds"] = round(time.monotonic() - start, 1)
        print(f"{self.current['outcome']}: {self.current['text']}", flush=True)
        self.save()

    def figure(self, name, value):
        """A number of the check which is being made."""
        self.current["figures"][name] = value

    def detail(self, name, text):
        """A row below the check which is being made."""
        self.current["details"].append([name, text])

    def save(self):
        self.found["seconds"] = round(time.monotonic() - self.began, 1)
        part = self.path.with_name(f"{self.path.name}.part")
        part.write_text(json.dumps(self.found, indent=1) + "\n")
        os.replace(part, self.path)

    @property
    def failed(self):
        return any(check["outcome"] == "FAILED" for check in self.found["checks"].values())

    def __str__(self):
        rows = [("check", "outcome", "s", "")]
        for name, check in self.found["checks"].items():
            rows.append((name, check["outcome"], f"{check['seconds']:.0f}", check["text"]))
            rows += [(f"  {detail}", "", "", text) for detail, text in check["details"]]
        return aligned(rows)


def aligned(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def said(fact):
    return " ".join(fact) if isinstance(fact, list) else "not known" if fact is None else fact


def number(value):
    return value if isinstance(value, str) else f"{value:.4g}" if isinstance(value, float) else str(value)


def compare(old, new):
    """What differs between two files' contents, as text."""
    lines = []
    for key in dict.fromkeys([*old.get("machine", {}), *new.get("machine", {}), "commit", "options"]):
        before, after = (found.get("machine", {}).get(key) or found.get(key) for found in (old, new))
        if before != after:
            lines.append(f"{key}: {said(before)}; now {said(after)}")
    cards = [found.get("machine", {}).get("card") for found in (old, new)]
    same = "the same card" if cards[0] == cards[1] else "ANOTHER CARD: its times are not the old one's"
    lines.insert(0, f"{old['date']} and now {new['date']}: {same}")

    checks = dict.fromkeys([*old["checks"], *new["checks"]])
    pairs = {name: [found["checks"].get(name) for found in (old, new)] for name in checks}
    changed = [("outcome of", "was", "is", "")]
    times = [("time of", "was", "is", "ratio")]
    others = [("figure of", "was", "is", "")]
    for name, (before, after) in pairs.items():
        if not before or not after:
            continue
        outcomes = [check["outcome"] for check in (before, after)]
        if outcomes[0] != outcomes[1]:
            changed.append((name, *outcomes, after["text"]))
        for figure, is_now in after["figures"].items():
            was = before["figures"].get(figure)
            row = f"{name}: {figure}", number(was), number(is_now)
            if was is None:
                continue
            if figure.endswith(TIMES) and was:
                times.append((*row, f"{is_now / was:.3f}"))
            elif was != is_now:
                others.append((*row, ""))
    for when, place in (("then", 0), ("now", 1)):
        alone = [name for name, pair in pairs.items() if not pair[1 - place]]
        lines += [f"made only {when}: {'; '.join(alone)}"] * bool(alone)
    lines += [f"\n{aligned(rows)}" for rows in (changed, times, others) if len(rows) > 1]
    if len(changed) == 1:
        lines.append("\nNo outcome has changed.")
    return "\n".join(lines)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        print(compare(*(json.loads(Path(path).read_text()) for path in sys.argv[1:3])))
