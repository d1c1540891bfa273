#!/usr/bin/env python3
"""Seconds and memory of a pseudo-batch on this machine's CPU: zskt, and PyTorch playing the same game.

Needs Python 3.11 or newer, Rust and, for its first run, network access: PyTorch goes into target/bench/venv.
Every measurement is a process of its own. The contenders take turns (A B C A B C ...), and ratios are taken within a
round, so that a machine which grows slower meets all of them alike.
"""

import argparse
import dataclasses
import itertools
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
PIPELINE = HERE / "pseudo_batches.ron"
TORCH_SCRIPT = HERE / "pseudo_batches_torch.py"
UPDATES = 11  # of a pseudo-batch: one of the generator, ten of the student

ZSKT = {f"zskt-{precision}": precision for precision in ("f32", "bf16")}
TORCH = {
    "torch-reference": ["--loop=reference"],
    "torch-tuned": [],
    "torch-tuned-cl": ["--channels-last"],
    "torch-tuned-bf16": ["--bf16"],
    "torch-tuned-cl-bf16": ["--bf16", "--channels-last"],
    "torch-compiled": ["--channels-last", "--compile"],
    "torch-compiled-bf16": ["--channels-last", "--compile", "--bf16"],
}
# Ours, and those of theirs of which the fastest is the one to beat.
DUELS = [
    ("zskt-f32", "The authors' loop", ["torch-reference"]),
    ("zskt-f32", "Tuned, channels last", ["torch-tuned-cl"]),
    ("zskt-f32", "The fastest in f32", ["torch-tuned", "torch-tuned-cl", "torch-compiled"]),
    ("zskt-bf16", "The fastest in bf16", ["torch-tuned-bf16", "torch-tuned-cl-bf16", "torch-compiled-bf16"]),
]


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all contenders of a table have in common."""

    teacher: str
    student: str
    batch_size: int
    threads: int

    def __str__(self):
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"WRN-{self.teacher} -> WRN-{self.student}, batch {self.batch_size}, {threads}"


@dataclasses.dataclass
class Run:
    """What one process did. `seconds` and `losses` (generator's, student's) are per pseudo-batch, warm-up included."""

    setting: Setting
    round: int
    contender: str
    seconds: list[float]
    losses: list[list[float]]
    peak_memory_bytes: int
    memory_of_import_bytes: int = 0


@dataclasses.dataclass(frozen=True)
class Spread:
    """The median, and between what it lies."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, numbers):
        numbers = list(numbers)
        return cls(statistics.median(numbers), min(numbers), max(numbers))

    def __str__(self):
        return f"{self.median:.3g} ({self.low:.3g}..{self.high:.3g})"


class Bench:
    """The programs, and how a contender is run."""

    def __init__(self, options):
        self.options = options
        self.batches = options.warm_up + options.measured
        metadata = self.output("cargo", "metadata", "--format-version=1", "--no-deps")
        target = Path(json.loads(metadata)["target_directory"])
        self.folder = target / "bench"
        self.folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cargo", "build", "--release", "--bin=zskt-run"], cwd=HERE, check=True)
        self.zskt = target / "release" / "zskt-run"
        self.python = self.environment(self.folder / "venv")

    @staticmethod
    def output(*command):
        return subprocess.run(command, cwd=HERE, check=True, capture_output=True, text=True).stdout

    @staticmethod
    def environment(folder):
        """The Python that has PyTorch; anew where the requirements are others than when it was made."""
        python = folder / "bin" / "python"
        required, installed = HERE / "requirements.txt", folder / "requirements.txt"
        if not installed.exists() or installed.read_bytes() != required.read_bytes():
            if sys.version_info < (3, 11):
                sys.exit("the pinned PyTorch needs Python 3.11 or newer; run this with one")
            venv.create(folder, clear=True, with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", required], check=True)
            # Last, so that an installation that was cut short is not taken for a whole one.
            shutil.copy(required, installed)
        return python

    def weights(self, teacher):
        path = self.folder / f"wrn-{teacher}.safetensors"
        if not path.exists():
            job = ["teacher", f"--teacher={teacher}", f"--weights={path}"]
            subprocess.run([self.python, TORCH_SCRIPT, *job], check=True)
        return path

    def overrides(self, precision, setting):
        """The pipeline's parameters for a setting, as `--set` takes them."""
        values = {
            "precision": precision,
            "teacher.path": self.weights(setting.teacher),
            "transfer.batches": self.batches,
            "transfer.batch_size": setting.batch_size,
        }
        for node, network in (("teacher.model", setting.teacher), ("student", setting.student)):
            values[f"{node}.depth"], values[f"{node}.widen_factor"] = network.split("-")
        return [f"--set={key}={value}" for key, value in values.items()]

    def refusal(self, contender, setting):
        """Why this build of zskt does not take part; nothing where it does."""
        if contender not in ZSKT:
            return None
        command = [self.zskt, "validate", PIPELINE, *self.overrides(ZSKT[contender], setting)]
        done = subprocess.run(command, capture_output=True, text=True)
        return None if done.returncode == 0 else done.stderr.splitlines()[0]

    def run(self, contender, setting, number):
        found = (self.run_zskt if contender in ZSKT else self.run_torch)(contender, setting)
        return Run(setting, number, contender, **found)

    def run_zskt(self, contender, setting):
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "run"
            overrides = self.overrides(ZSKT[contender], setting)
            _, peak = measured([self.zskt, PIPELINE, *overrides, "--quiet", f"--out={out}"], setting.threads)
            log = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        return {
            "seconds": [batch["seconds"] for batch in log],
            "losses": [[batch["seek.loss"], batch["imitate.loss"]] for batch in log],
            "peak_memory_bytes": peak,
        }

    def run_torch(self, contender, setting):
        command = [self.python, TORCH_SCRIPT, "play", *TORCH[contender], f"--weights={self.weights(setting.teacher)}"]
        values = {**dataclasses.asdict(setting), "batches": self.batches}
        command += [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]
        output, peak = measured(command, setting.threads)
        return {**json.loads(output), "peak_memory_bytes": peak}

    def machine(self):
        """What the figures depend on beside the code."""
        describe = "import torch; print(torch.__version__, torch.backends.cpu.get_cpu_capability())"
        torch, instructions = self.output(self.python, "-c", describe).split()
        return {
            "processor": processor(),
            "cores": cores(),
            "instructions": instructions,
            "system": platform.platform(),
            "torch": torch,
            "rustc": self.output("rustc", "--version").split()[1],
            "zskt": self.output("git", "describe", "--always", "--dirty").strip(),
        }


def measured(command, threads):
    """Runs a command; gives its output and the largest resident size of its process, in bytes."""
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, env=environment)
        # Not `process.wait()`, for only wait4 tells what this one child used.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise subprocess.CalledProcessError(process.returncode, command)
        output.seek(0)
        # macOS counts bytes, Linux kilobytes.
        return output.read(), usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def processor():
    if sys.platform == "darwin":
        return Bench.output("sysctl", "-n", "machdep.cpu.brand_string").strip()
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.machine()


class Results:
    """The runs of one setting, by contender, in the order of their rounds."""

    def __init__(self, runs, warm_up):
        self.by_contender = {}
        for run in runs:
            self.by_contender.setdefault(run.contender, []).append(run)
        self.warm_up = warm_up

    def __contains__(self, contender):
        return contender in self.by_contender

    def seconds(self, contender):
        """Of a pseudo-batch, in each round: the median of its process."""
        return [statistics.median(run.seconds[self.warm_up :]) for run in self.by_contender[contender]]

    def memory(self, contender):
        return statistics.median(run.peak_memory_bytes for run in self.by_contender[contender])

    def ratio(self, contender, base):
        """How many times as long as `base` it takes, from round to round."""
        return Spread.of(mine / its for mine, its in zip(self.seconds(contender), self.seconds(base)))

    def fastest(self, contenders):
        present = [contender for contender in contenders if contender in self]
        return min(present, key=lambda contender: statistics.median(self.seconds(contender)), default=None)

    def table(self, setting):
        bases = [base for base in ZSKT if base in self]
        header = ["contender", "seconds per pseudo-batch", "images/s", "peak MB", *(f"times {base}" for base in bases)]
        rows = [header]
        for contender in self.by_contender:
            seconds = Spread.of(self.seconds(contender))
            images = UPDATES * setting.batch_size / seconds.median
            ratios = ["1" if base == contender else str(self.ratio(contender, base)) for base in bases]
            rows.append([contender, str(seconds), f"{images:.0f}", f"{self.memory(contender) / 1e6:.0f}", *ratios])
        widths = [max(map(len, column)) for column in zip(*rows)]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)

    def remarks(self):
        imported = max(run.memory_of_import_bytes for runs in self.by_contender.values() for run in runs)
        if imported:
            yield f"Of PyTorch's memory, {imported / 1e6:.0f} MB are taken by importing it."
        for ours, title, peers in DUELS:
            theirs = self.fastest(peers)
            if theirs and ours in self:
                memory = self.memory(theirs) / self.memory(ours)
                yield (
                    f"{title}: {theirs} takes {self.ratio(theirs, ours)} times as long as {ours}, "
                    f"and {memory:.3g} times its memory."
                )


def contest(bench, setting, options):
    """All rounds of one setting."""
    contenders = []
    for contender in options.contenders:
        refusal = bench.refusal(contender, setting)
        if refusal:
            print(f"{contender} is left out: {refusal}")
        else:
            contenders.append(contender)
    runs = []
    for number, contender in itertools.product(range(1, options.rounds + 1), contenders):
        run = bench.run(contender, setting, number)
        runs.append(run)
        seconds = " ".join(f"{second:.3g}" for second in run.seconds)
        print(f"  round {number}/{options.rounds}  {contender}: {seconds} s", file=sys.stderr, flush=True)
    return runs


def parse():
    def listed(convert):
        return lambda text: [convert(item) for item in text.split(",")]

    def contender(name):
        if name not in ZSKT | TORCH:
            raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(ZSKT | TORCH)}")
        return name

    def pair(text):
        if not re.fullmatch(r"\d+-\d+:\d+-\d+", text):
            raise argparse.ArgumentTypeError(f"{text} is no TEACHER:STUDENT such as 40-2:16-1")
        return text

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    # Compiling takes minutes, and a C++ compiler.
    usual = [name for name in ZSKT | TORCH if "compiled" not in name]
    add("--pairs", type=listed(pair), default="16-2:16-1,40-2:16-1", help="TEACHER:STUDENT, each DEPTH-WIDTH")
    add("--contenders", type=listed(contender), default=",".join(usual), help=f"of {', '.join(ZSKT | TORCH)}")
    add("--rounds", type=int, default=5, help="processes per contender")
    add("--warm-up", type=int, default=1, help="pseudo-batches of a process that do not count")
    add("--measured", type=int, default=4, help="pseudo-batches of a process that count")
    add("--batch", type=listed(int), default="128", help="batch sizes")
    add("--threads", type=listed(int), default=str(cores()), help="numbers of threads")
    add("--json", type=Path, metavar="FILE", help="where to write every run")
    return parser.parse_args()


def main():
    options = parse()
    bench = Bench(options)
    machine = bench.machine()
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    print(f"{options.rounds} rounds of {options.warm_up} + {options.measured} pseudo-batches; median (lowest..highest)")
    runs = []
    for pair, batch_size, threads in itertools.product(options.pairs, options.batch, options.threads):
        setting = Setting(*pair.split(":"), batch_size, threads)
        print(f"\n{setting}", flush=True)
        of_setting = contest(bench, setting, options)
        results = Results(of_setting, options.warm_up)
        print("\n".join([results.table(setting), "", *results.remarks()]), flush=True)
        runs += of_setting
        if options.json:
            found = {"machine": machine, "warm_up": options.warm_up, "runs": [dataclasses.asdict(run) for run in runs]}
            options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
