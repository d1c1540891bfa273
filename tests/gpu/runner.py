"""What checks have in common: where things are, and pipelines run by zskt."""

import json
import statistics
import sys
import tempfile
from pathlib import Path

from programs import Failed, run, why

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "benches"))

import pseudo_batches  # noqa: E402

LOSSES = ("seek.loss", "imitate.loss")
FIGURES = (*LOSSES, "seek.gradient_norm", "imitate.gradient_norm")


def read_log(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def pseudo_batches_of(log):
    """Beside them a log has warnings and what metrics found."""
    return [{**line, **line["figures"]} for line in log if line["event"] == "batch" and "seek.loss" in line["figures"]]


class Run:
    """What a run left."""

    def __init__(self, folder):
        self.folder = folder
        self.log = read_log(folder / "metrics.jsonl")
        self.report = json.loads((folder / "report.json").read_text())
        weights = folder / "student.safetensors"
        self.student = weights.read_bytes() if weights.exists() else None

    @property
    def batches(self):
        return pseudo_batches_of(self.log)

    def batch_ms(self, *stages):
        """The median of a stage's batches."""
        return 1e3 * statistics.median(
            line["seconds"] for line in self.log if line.get("stage") in stages and "seconds" in line
        )


class Runner:
    def __init__(self, options, results):
        self.options, self.results = options, results
        self.binaries = options.binaries.resolve()
        self.device, self.cuda = options.device, options.device != "cpu"
        self.zskt = self.binaries / "zskt-run"
        self.bench = pseudo_batches.Bench(self.zskt, sys.executable)

    def setting(self, pair, device=None, batch=None):
        batch = batch or self.options.batch
        return pseudo_batches.Setting(*pair.split(":"), batch, pseudo_batches.cores(), device or self.device)

    def overrides(self, precision, batches, *, pair=None, device=None, batch=None):
        """Of the benchmark's pipeline."""
        setting = self.setting(pair or self.options.parity_pair, device, batch)
        return self.bench.overrides(precision, setting, batches)

    def run(self, pipeline, overrides, limit, shown=2000, **environment):
        """Runs a pipeline."""
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "run"
            command = [self.zskt, pipeline, f"--out={out}", *overrides]
            status, text = run(command, self.results.left(limit), shown, **environment)
            if status != 0:
                raise Failed(why(status, text))
            return Run(out)

    def play(self, precision, batches, *overrides, limit=60, device=None, pair=None):
        """Plays pseudo-batches."""
        changes = [*self.overrides(precision, batches, device=device, pair=pair), *overrides]
        return self.run(pseudo_batches.PIPELINE, ["--quiet", *changes], limit)
