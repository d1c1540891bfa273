#!/usr/bin/env python3
"""Seconds and memory of a pseudo-batch on this machine: zskt, and PyTorch playing the same game.

Needs Python 3.11 or newer, Rust and, for its first run, network access: PyTorch goes into target/bench/venv. With
--zskt and --python nothing is built or installed.
Every measurement is a process of its own. The contenders take turns (A B C A B C ...), and ratios are taken within a
round, so that a machine which grows slower meets all of them alike.
"""

import argparse
import ctypes
import dataclasses
import itertools
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
PIPELINE = HERE / "pseudo_batches.ron"
TORCH_SCRIPT = HERE / "pseudo_batches_torch.py"
UPDATES = 11  # of a pseudo-batch: one of the generator, ten of the student

ZSKT = {f"zskt-{precision}": precision for precision in ("f32", "tf32", "bf16")}
TORCH = {
    "torch-reference": ["--loop=reference"],
    "torch-tuned": [],
    "torch-tuned-cl": ["--channels-last"],
    "torch-tuned-bf16": ["--bf16"],
    "torch-tuned-cl-bf16": ["--bf16", "--channels-last"],
    "torch-compiled": ["--channels-last", "--compile"],
    "torch-compiled-bf16": ["--channels-last", "--compile", "--bf16"],
    # From here on only a GPU.
    "torch-reference-tf32": ["--loop=reference", "--tf32"],
    "torch-tuned-cl-tf32": ["--channels-last", "--tf32"],
    "torch-compiled-tf32": ["--channels-last", "--compile", "--tf32"],
    "torch-graph-tf32": ["--channels-last", "--graph", "--tf32"],
    "torch-graph-bf16": ["--channels-last", "--graph", "--bf16"],
    "torch-compiled-graph-tf32": ["--channels-last", "--compile", "--graph", "--tf32"],
    "torch-compiled-graph-bf16": ["--channels-last", "--compile", "--graph", "--bf16"],
}
ONLY_CUDA = {name for name in ZSKT | TORCH if "tf32" in name or "graph" in name}
# Ours, and those of theirs of which the fastest is the one to beat.
DUELS = [
    ("zskt-f32", "The authors' loop", ["torch-reference"]),
    ("zskt-f32", "Tuned, channels last", ["torch-tuned-cl"]),
    ("zskt-f32", "The fastest in f32", ["torch-tuned", "torch-tuned-cl", "torch-compiled"]),
    ("zskt-tf32", "The authors' loop in TF32", ["torch-reference-tf32"]),
    ("zskt-tf32", "The fastest in TF32", [name for name in TORCH if name.endswith("tf32") and "reference" not in name]),
    ("zskt-bf16", "The fastest in bf16", [name for name in TORCH if name.endswith("bf16")]),
]
# On a GPU zskt reads its figures after the first pseudo-batch, then every so many: each one's seconds are their mean.
WINDOW = 16


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all contenders of a table have in common."""

    teacher: str
    student: str
    batch_size: int
    threads: int
    device: str = "cpu"

    @property
    def cuda(self):
        return self.device != "cpu"

    def __str__(self):
        where = self.device if self.cuda else f"{self.threads} thread{'s' * (self.threads > 1)}"
        teacher = f"ResNet-{self.residual_depth}" if self.residual_depth else f"WRN-{self.teacher}"
        return f"{teacher} -> WRN-{self.student}, batch {self.batch_size}, {where}"

    @property
    def residual_depth(self):
        """The teacher's, where it is a ResNet for CIFAR."""
        return self.teacher.removeprefix("resnet") if self.teacher.startswith("resnet") else None


@dataclasses.dataclass
class Run:
    """What one process did. `seconds` and `losses` (generator's, student's) are per pseudo-batch, warm-up included."""

    setting: Setting
    round: int
    contender: str
    warm_up: int
    seconds: list[float]
    losses: list[list[float]]
    peak_memory_bytes: int
    memory_of_import_bytes: int = 0
    # Of the GPU: what the process took as its driver counts, and what PyTorch says its tensors took.
    device_memory_bytes: int = 0
    allocated_bytes: int = 0

    @property
    def median_seconds(self):
        return statistics.median(self.seconds[self.warm_up :])

    @property
    def memory(self):
        """Of the device."""
        return self.device_memory_bytes if self.setting.cuda else self.peak_memory_bytes


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

    def __init__(self, zskt=None, python=None, warm_up=None, measured=None):
        self.warm_up, self.measured = warm_up, measured
        target = HERE.parent / "target" if zskt else self.target()
        self.folder = target / "bench"
        self.folder.mkdir(parents=True, exist_ok=True)
        if not zskt:
            subprocess.run(["cargo", "build", "--release", "--bin=zskt-run"], cwd=HERE, check=True)
        # Not resolved: a virtual environment's Python is a link, and finds its packages by its name.
        self.zskt = Path(zskt).absolute() if zskt else target / "release" / "zskt-run"
        self.python = (
            Path(shutil.which(python) or python).absolute() if python else self.environment(self.folder / "venv")
        )

    @classmethod
    def target(cls):
        metadata = cls.output("cargo", "metadata", "--format-version=1", "--no-deps")
        return Path(json.loads(metadata)["target_directory"])

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
        path = self.folder / f"teacher-{teacher}.safetensors"
        if not path.exists():
            part = path.with_suffix(".part")
            job = ["teacher", f"--teacher={teacher}", f"--weights={part}"]
            subprocess.run([self.python, TORCH_SCRIPT, *job], check=True)
            part.rename(path)
        return path

    def lengths(self, contender, device):
        """Pseudo-batches of a process that do not count, and those that do."""
        cuda = device != "cpu"
        if cuda and "reference" not in contender:
            warm_up = 2 * WINDOW if self.warm_up is None else self.warm_up
            measured = 6 * WINDOW if self.measured is None else self.measured
            # Whole windows, after the first pseudo-batch.
            return 1 + -(-max(warm_up - 1, 0) // WINDOW) * WINDOW, -(-measured // WINDOW) * WINDOW
        warm_up, measured = (3, 10) if cuda else (1, 4)
        return (
            warm_up if self.warm_up is None else self.warm_up,
            measured if self.measured is None else self.measured,
        )

    def overrides(self, precision, setting, batches):
        """The pipeline's parameters for a setting, as `--set` takes them."""
        values = {
            "device": setting.device,
            "precision": precision,
            "teacher.path": self.weights(setting.teacher),
            "transfer.batches": batches,
            "transfer.batch_size": setting.batch_size,
        }
        if setting.cuda:
            # Previews are rare in a long run, and each would cut a window short.
            values["transfer.preview_every"] = batches
        wide = {"teacher.model": setting.teacher, "student": setting.student}
        if setting.residual_depth:
            del wide["teacher.model"]
            values["teacher.model"] = f"ResNet(depth: {setting.residual_depth}, stem: Cifar)"
            # The fourth group has no counterpart.
            values["attention.pairs"] = "[[0, 0], [1, 1], [2, 2]]"
        for node, network in wide.items():
            values[f"{node}.depth"], values[f"{node}.widen_factor"] = network.split("-")
        return [f"--set={key}={value}" for key, value in values.items()]

    def refusal(self, contender, setting):
        """Why this build of zskt does not take part; nothing where it does."""
        if contender not in ZSKT:
            return None
        command = [self.zskt, "validate", PIPELINE, *self.overrides(ZSKT[contender], setting, 1)]
        done = subprocess.run(command, capture_output=True, text=True)
        return None if done.returncode == 0 else (done.stderr.splitlines() or ["it says nothing"])[0]

    def run(self, contender, setting, number, limit=None):
        warm_up, counting = self.lengths(contender, setting.device)
        run = self.run_zskt if contender in ZSKT else self.run_torch
        return Run(setting, number, contender, warm_up, **run(contender, setting, warm_up + counting, limit))

    def play(self, precision, setting, batches, *overrides, limit=None):
        """Plays pseudo-batches by zskt; its log, and what it took of memory."""
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "run"
            changes = [*self.overrides(precision, setting, batches), *overrides]
            command = [self.zskt, PIPELINE, *changes, "--quiet", f"--out={out}"]
            _, memory = measured(command, setting, limit)
            log = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
            # The log has warnings too.
            return [batch for batch in log if "seconds" in batch], memory

    def run_zskt(self, contender, setting, batches, limit):
        log, memory = self.play(ZSKT[contender], setting, batches, limit=limit)
        return {
            "seconds": [batch["seconds"] for batch in log],
            "losses": [[batch["figures"][turn] for turn in ("seek.loss", "imitate.loss")] for batch in log],
            **memory,
        }

    def run_torch(self, contender, setting, batches, limit):
        command = [self.python, TORCH_SCRIPT, "play", *TORCH[contender], f"--weights={self.weights(setting.teacher)}"]
        values = {**dataclasses.asdict(setting), "batches": batches}
        if setting.cuda and "reference" not in contender:
            values["window"] = WINDOW
        command += [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]
        output, memory = measured(command, setting, limit)
        # Libraries may have said something before.
        return {**json.loads(output.splitlines()[-1]), **memory}

    def machine(self, device):
        """What the figures depend on beside the code."""
        facts = ["torch.__version__", "torch.backends.cpu.get_cpu_capability()"]
        if device != "cpu":
            facts += [f"torch.cuda.get_device_name('{device}')", "torch.backends.cudnn.version()"]
        named = dict(zip(["torch", "instructions", "GPU", "cuDNN"], facts))
        found = {"processor": processor(), "cores": cores()}
        for name, fact in named.items():
            found[name] = self.said(self.python, "-c", f"import torch; print({fact})")
        return found | {
            "system": platform.platform(),
            "rustc": self.said("rustc", "--version").removeprefix("rustc "),
            "zskt": self.said(self.zskt, "--version").partition("\n")[0].removeprefix("zskt-run "),
            "commit": self.said("git", "describe", "--always", "--dirty"),
        }

    @classmethod
    def said(cls, *command):
        """What a program says that need not be there or work."""
        try:
            return cls.output(*command).strip()
        except (OSError, subprocess.CalledProcessError):
            return "unknown"


class Nvml:
    """How much of a GPU's memory is taken, by NVIDIA's management library; nothing where there is none."""

    class Memory(ctypes.Structure):
        _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]

    def __init__(self, device):
        self.handle = ctypes.c_void_p()
        try:
            self.library = ctypes.CDLL("libnvidia-ml.so.1")
            number = ctypes.c_uint(int(device.partition(":")[2] or 0))
            status = self.library.nvmlInit_v2()
            status = status or self.library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(self.handle))
        except (OSError, AttributeError, ValueError):
            status = -1
        self.there = status == 0

    def used(self):
        memory = self.Memory()
        if self.there and self.library.nvmlDeviceGetMemoryInfo(self.handle, ctypes.byref(memory)) == 0:
            return memory.used
        return 0


def measured(command, setting, limit=None, watch=None):
    """Runs a command, for `limit` seconds at most; gives its output and what it took of memory, in bytes. `watch` is given its number, again
    and again."""
    environment = os.environ | {"RAYON_NUM_THREADS": str(setting.threads)}
    gpu = Nvml(setting.device) if setting.cuda else None
    before = most = gpu.used() if gpu else 0
    deadline = time.monotonic() + limit if limit else None
    watched = gpu or deadline or watch
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, env=environment)
        try:
            # Not `process.wait()`, for only wait4 tells what this one child used.
            while not (ended := os.wait4(process.pid, os.WNOHANG if watched else 0))[0]:
                most = max(most, gpu.used() if gpu else 0)
                if watch:
                    watch(process.pid)
                if deadline and time.monotonic() > deadline:
                    raise subprocess.TimeoutExpired(command, limit)
                time.sleep(0.005 if watch else 0.05)
        except BaseException:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            raise
        _, status, usage = ended
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise subprocess.CalledProcessError(process.returncode, command)
        output.seek(0)
        # macOS counts bytes, Linux kilobytes.
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return output.read(), {"peak_memory_bytes": peak, "device_memory_bytes": most - before}


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def processor():
    if sys.platform == "darwin":
        return Bench.output("sysctl", "-n", "machdep.cpu.brand_string").strip()
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.machine()


class Results:
    """The runs of one setting, by contender, in the order of their rounds."""

    def __init__(self, runs):
        self.by_contender = {}
        for run in runs:
            self.by_contender.setdefault(run.contender, []).append(run)

    def __contains__(self, contender):
        return contender in self.by_contender

    def seconds(self, contender):
        """Of a pseudo-batch, in each round: the median of its process."""
        return [run.median_seconds for run in self.by_contender[contender]]

    def memory(self, contender):
        return statistics.median(run.memory for run in self.by_contender[contender])

    def allocated(self, contender):
        """Of a GPU, as PyTorch counts; nothing of zskt."""
        allocated = max(run.allocated_bytes for run in self.by_contender[contender])
        return f"{allocated / 1e6:.0f}" if allocated else ""

    def ratio(self, contender, base):
        """How many times as long as `base` it takes, from round to round."""
        return Spread.of(mine / its for mine, its in zip(self.seconds(contender), self.seconds(base)))

    def fastest(self, contenders):
        present = [contender for contender in contenders if contender in self]
        return min(present, key=lambda contender: statistics.median(self.seconds(contender)), default=None)

    def table(self, setting):
        bases = [base for base in ZSKT if base in self]
        peak = ["GPU MB", "PyTorch's MB"] if setting.cuda else ["peak MB"]
        header = ["contender", "seconds per pseudo-batch", "images/s", *peak, *(f"times {base}" for base in bases)]
        rows = [header]
        for contender in self.by_contender:
            seconds = Spread.of(self.seconds(contender))
            images = UPDATES * setting.batch_size / seconds.median
            ratios = ["1" if base == contender else str(self.ratio(contender, base)) for base in bases]
            memory = [f"{self.memory(contender) / 1e6:.0f}", *[self.allocated(contender)] * setting.cuda]
            rows.append([contender, str(seconds), f"{images:.0f}", *memory, *ratios])
        return aligned(rows)

    def remarks(self, setting):
        imported = max((run.memory_of_import_bytes for runs in self.by_contender.values() for run in runs), default=0)
        if imported and not setting.cuda:
            yield f"Of PyTorch's memory, {imported / 1e6:.0f} MB are taken by importing it."
        for ours, title, peers in DUELS:
            theirs = self.fastest(peers)
            if theirs and ours in self:
                text = f"{title}: {theirs} takes {self.ratio(theirs, ours)} times as long as {ours}"
                if self.memory(ours):
                    text += f", and {self.memory(theirs) / self.memory(ours):.3g} times its memory"
                yield text + "."


def aligned(rows):
    """A table as text."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def contest(bench, setting, options):
    """All rounds of one setting, run by run."""
    contenders = []
    for contender in options.contenders:
        refusal = bench.refusal(contender, setting)
        if refusal:
            print(f"{contender} is left out: {refusal}")
        else:
            contenders.append(contender)
    failed = set()
    for number, contender in itertools.product(range(1, options.rounds + 1), contenders):
        if contender in failed:
            continue
        try:
            run = bench.run(contender, setting, number, options.limit)
        # What one cannot do is no reason not to measure the others.
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError, ValueError, LookupError) as error:
            failed.add(contender)
            print(f"{contender} failed: {reason(error)}", flush=True)
            continue
        yield run
        seconds = " ".join(f"{second:.3g}" for second in shown(run.seconds))
        print(f"  round {number}/{options.rounds}  {contender}: {seconds} s", file=sys.stderr, flush=True)


def reason(error):
    """Without the command, which is long."""
    if isinstance(error, subprocess.CalledProcessError):
        return f"it ended with {error.returncode}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it took longer than {error.timeout:.0f} s"
    return f"{type(error).__name__}: {error}"


def shown(seconds):
    """One of each window."""
    return [second for second, _ in itertools.groupby(seconds)]


def parse():
    def listed(convert):
        return lambda text: [convert(item) for item in text.split(",")]

    def contender(name):
        if name not in ZSKT | TORCH:
            raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(ZSKT | TORCH)}")
        return name

    def pair(text):
        if not re.fullmatch(r"(\d+-\d+|resnet(18|34)):\d+-\d+", text):
            raise argparse.ArgumentTypeError(f"{text} is no TEACHER:STUDENT such as 40-2:16-1 or resnet18:16-1")
        return text

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--pairs", type=listed(pair), default="16-2:16-1,40-2:16-1", help="TEACHER:STUDENT, each DEPTH-WIDTH, or resnet18 and resnet34")
    contenders = f"of {', '.join(ZSKT | TORCH)}; by default those that the device can, but what must be compiled"
    add("--contenders", type=listed(contender), default=argparse.SUPPRESS, help=contenders)
    add("--device", default="cpu", help="cpu, or cuda:N, for which zskt must be built with CUDA")
    add("--zskt", type=Path, metavar="PROGRAM", help="a zskt-run that is there, instead of one that cargo builds")
    add("--python", type=Path, metavar="PROGRAM", help="a Python with PyTorch, safetensors and numpy, instead of a new one")
    add("--rounds", type=int, default=5, help="processes per contender")
    lengths = f"1 + 4 on the CPU, {1 + 2 * WINDOW} + {6 * WINDOW} on a GPU, 3 + 10 there in the authors' loop"
    add("--warm-up", type=int, help=f"pseudo-batches of a process that do not count ({lengths})")
    add("--measured", type=int, help="pseudo-batches of a process that count")
    add("--limit", type=float, metavar="SECONDS", help="how long a process may take; what takes longer is left out")
    add("--batch", type=listed(int), default="128", help="batch sizes")
    add("--threads", type=listed(int), default=str(cores()), help="numbers of threads")
    add("--json", type=Path, metavar="FILE", help="where to write every run")
    options = parser.parse_args()
    if not re.fullmatch(r"cpu|cuda:\d+", options.device):
        parser.error(f"--device {options.device} is neither cpu nor cuda:N")
    if "contenders" not in options:
        # Compiling takes minutes, and a C++ compiler.
        usual = [name for name in ZSKT | TORCH if "compiled" not in name]
        options.contenders = [name for name in usual if options.device != "cpu" or name not in ONLY_CUDA]
    return options


def main():
    options = parse()
    bench = Bench(options.zskt, options.python, options.warm_up, options.measured)
    machine = bench.machine(options.device)
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    lengths = {contender: bench.lengths(contender, options.device) for contender in options.contenders}
    counts = " or ".join(f"{warm_up} + {counting}" for warm_up, counting in sorted(set(lengths.values()), reverse=True))
    print(f"{options.rounds} rounds of {counts} pseudo-batches; median (lowest..highest)")
    runs = []
    for pair, batch_size, threads in itertools.product(options.pairs, options.batch, options.threads):
        setting = Setting(*pair.split(":"), batch_size, threads, options.device)
        print(f"\n{setting}", flush=True)
        of_setting = []
        for run in contest(bench, setting, options):
            of_setting.append(run)
            runs.append(run)
            # After each run: what was measured is there whatever ends the next.
            if options.json:
                found = {"machine": machine, "runs": [dataclasses.asdict(run) for run in runs]}
                options.json.write_text(json.dumps(found, indent=1) + "\n")
        results = Results(of_setting)
        print("\n".join([results.table(setting), "", *results.remarks(setting)]), flush=True)


if __name__ == "__main__":
    main()
