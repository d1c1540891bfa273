#!/usr/bin/env python3
"""Seconds of a synthesis step and of a distillation step on this machine's CPU: Fast-Datafree by zskt, and by PyTorch.

Needs what `pseudo_batches.py` needs. Every measurement is a process of its own, the contenders take turns, and ratios are taken within
a round. A synthesis step is a fifth of a synthesis (--steps), all that it begins and ends with included.
"""

import argparse
import dataclasses
import itertools
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pseudo_batches
from pseudo_batches import HERE, Setting, Spread, aligned, cores, measured, reason

PIPELINE = HERE / "syntheses.ron"
TORCH_SCRIPT = HERE / "syntheses_torch.py"
ZSKT = "zskt-f32"
TORCH = {"torch-tuned": [], "torch-tuned-cl": ["--channels-last"]}
CONTENDERS = [ZSKT, *TORCH]
KINDS = ("synthesis", "distillation")
# Batches of the student from one synthesis to the next. Those without one tell what the student takes of the one that has it.
EVERY = 4


@dataclasses.dataclass
class Run:
    """What one process did: of each batch its seconds and losses, the first synthesis and its batches included."""

    setting: Setting
    round: int
    contender: str
    steps: int
    batches: list[dict]
    peak_memory_bytes: int

    def seconds(self, kind):
        """Of a step, the median of the process. Nothing before the second synthesis counts."""
        counting = [batch["seconds"] for batch in self.batches[EVERY:]]
        distillation = statistics.median(itertools.chain(*(counting[first::EVERY] for first in range(1, EVERY))))
        if kind == "distillation":
            return distillation
        return (statistics.median(counting[::EVERY]) - distillation) / self.steps


class Bench(pseudo_batches.Bench):
    """The programs, and how a contender is run."""

    def __init__(self, options):
        super().__init__(options.zskt, options.python)
        self.steps, self.batches = options.steps, EVERY * (1 + options.syntheses)
        self.processor_time = options.processor_time

    def run(self, contender, setting, number, limit=None):
        run = self.run_zskt if contender == ZSKT else self.run_torch
        batches, memory = run(contender, setting, limit)
        return Run(setting, number, contender, self.steps, batches, memory["peak_memory_bytes"])

    def run_zskt(self, _, setting, limit):
        values = {
            "teacher.path": self.weights(setting.teacher),
            "synthesize.images": setting.batch_size,
            "synthesize.steps": self.steps,
            "synthesize.every": EVERY,
            "distill.batch_size": setting.batch_size,
            "distill.batches": self.batches,
        }
        for node, network in {"teacher.model": setting.teacher, "student": setting.student}.items():
            values[f"{node}.depth"], values[f"{node}.widen_factor"] = network.split("-")
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "run"
            changes = [f"--set={key}={value}" for key, value in values.items()]
            command = [self.zskt, PIPELINE, *changes, "--quiet", f"--out={out}"]
            clock = ProcessorClock(out / "metrics.jsonl") if self.processor_time else None
            _, memory = measured(command, setting, limit, watch=clock)
            log = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        losses = {"synthesize": "synthesize.loss", "imitate": "imitate.loss"}
        batches = [
            {"seconds": line["seconds"]} | {own: line["figures"].get(its) for own, its in losses.items()}
            for line in log
            if line["event"] == "batch" and "imitate.loss" in line["figures"]
        ]
        for batch, seconds in zip(batches, clock.seconds() if clock else []):
            batch["seconds"] = seconds
        return batches, memory

    def run_torch(self, contender, setting, limit):
        values = {
            "weights": self.weights(setting.teacher),
            "teacher": setting.teacher,
            "student": setting.student,
            "images": setting.batch_size,
            "steps": self.steps,
            "every": EVERY,
            "batches": self.batches,
            "threads": setting.threads,
        }
        command = [self.python, TORCH_SCRIPT, *TORCH[contender], *["--processor-time"] * self.processor_time]
        command += [f"--{name}={value}" for name, value in values.items()]
        output, memory = measured(command, setting, limit)
        return json.loads(output.splitlines()[-1]), memory


class ProcessorClock:
    """What a process of zskt has computed when each line comes into its log."""

    def __init__(self, log):
        self.log, self.read, self.times = log, 0, []

    def __call__(self, process):
        if self.log.exists() and (size := self.log.stat().st_size) > self.read:
            # The processor clock of another process, as Linux numbers it.
            now = time.clock_gettime(~process << 3 | 2)
            with self.log.open("rb") as log:
                log.seek(self.read)
                self.times += [now] * log.read(size - self.read).count(b'"imitate.loss"')
            self.read = size

    def seconds(self):
        """Of each batch; the first has the start of the program in it."""
        return [after - before for before, after in itertools.pairwise([0.0, *self.times])]


class Results:
    """The runs of one setting, by contender, in the order of their rounds."""

    def __init__(self, runs):
        self.by_contender = {}
        for run in runs:
            self.by_contender.setdefault(run.contender, []).append(run)

    def seconds(self, contender, kind):
        return [run.seconds(kind) for run in self.by_contender[contender]]

    def ratio(self, contender, kind):
        """How many times as long as zskt it takes, from round to round."""
        return Spread.of(its / ours for its, ours in zip(self.seconds(contender, kind), self.seconds(ZSKT, kind)))

    def table(self):
        rows = [["contender", *(heading for kind in KINDS for heading in (f"s per {kind} step", "times zskt")), "peak MB"]]
        for contender, runs in self.by_contender.items():
            row = [contender]
            for kind in KINDS:
                row.append(str(Spread.of(self.seconds(contender, kind))))
                compared = ZSKT in self.by_contender and contender != ZSKT
                row.append(str(self.ratio(contender, kind)) if compared else "")
            rows.append([*row, f"{statistics.median(run.peak_memory_bytes for run in runs) / 1e6:.0f}"])
        return aligned(rows)

    def remarks(self):
        present = [contender for contender in TORCH if contender in self.by_contender]
        for kind in KINDS if present and ZSKT in self.by_contender else ():
            fastest = min(present, key=lambda contender: statistics.median(self.seconds(contender, kind)))
            yield f"A {kind} step: {fastest} takes {self.ratio(fastest, kind)} times as long as {ZSKT}."


def contest(bench, setting, options):
    """All rounds of one setting, run by run."""
    contenders = list(options.contenders)
    for number in range(1, options.rounds + 1):
        for contender in list(contenders):
            try:
                run = bench.run(contender, setting, number, options.limit)
            # What one cannot do is no reason not to measure the others.
            except (subprocess.SubprocessError, OSError, ValueError, LookupError) as error:
                contenders.remove(contender)
                print(f"{contender} failed: {reason(error)}", flush=True)
                continue
            yield run
            seconds = ", ".join(f"{kind} {run.seconds(kind):.3g} s" for kind in KINDS)
            print(f"  round {number}/{options.rounds}  {contender}: {seconds}", file=sys.stderr, flush=True)


def parse():
    def listed(item):
        return lambda text: [item(part) for part in text.split(",")]

    def contender(name):
        if name not in CONTENDERS:
            raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(CONTENDERS)}")
        return name

    def pair(text):
        if not re.fullmatch(r"\d+-\d+:\d+-\d+", text):
            raise argparse.ArgumentTypeError(f"{text} is no TEACHER:STUDENT such as 40-2:16-1")
        return text

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--pairs", type=listed(pair), default="16-2:16-1", help="TEACHER:STUDENT, wide residual networks DEPTH-WIDTH")
    add("--contenders", type=listed(contender), default=",".join(CONTENDERS))
    add("--zskt", type=Path, metavar="PROGRAM", help="a zskt-run that is there, instead of one that cargo builds")
    add("--python", type=Path, metavar="PROGRAM", help="a Python with PyTorch, safetensors and numpy, instead of a new one")
    add("--rounds", type=int, default=3, help="processes per contender")
    add("--syntheses", type=int, default=2, help="of a process that count; one more comes before them")
    add("--steps", type=int, default=5, help="of a synthesis")
    add("--batch", type=int, default=256, help="images of a synthesis, and of the student's batch")
    add("--threads", type=listed(int), default=str(cores()), help="numbers of threads")
    busy = "what one thread computed instead of the time that passed, for a machine that others use, too (Linux)"
    add("--processor-time", action="store_true", help=busy)
    add("--limit", type=float, metavar="SECONDS", help="how long a process may take; what takes longer is left out")
    add("--json", type=Path, metavar="FILE", help="where to write every run")
    options = parser.parse_args()
    if options.processor_time and options.threads != [1]:
        parser.error("--processor-time adds up what all threads do: give --threads 1")
    if options.syntheses < 1:
        parser.error("--syntheses is at least 1")
    return options


def main():
    options = parse()
    bench = Bench(options)
    machine = bench.machine("cpu")
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    time_of = "processor time" if options.processor_time else "time"
    lengths = f"1 + {options.syntheses} syntheses of {options.steps} steps, {EVERY} steps of the student after each"
    print(f"{options.rounds} rounds of {lengths}; {time_of}, median (lowest..highest)")
    runs = []
    for pair, threads in itertools.product(options.pairs, options.threads):
        setting = Setting(*pair.split(":"), options.batch, threads)
        print(f"\n{setting}", flush=True)
        of_setting = []
        for run in contest(bench, setting, options):
            of_setting.append(run)
            runs.append(run)
            if options.json:
                found = {"machine": machine, "runs": [dataclasses.asdict(run) for run in runs]}
                options.json.write_text(json.dumps(found, indent=1) + "\n")
        results = Results(of_setting)
        print("\n".join([results.table(), "", *results.remarks()]), flush=True)


if __name__ == "__main__":
    main()
