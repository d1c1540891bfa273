"""Whole pipelines: what students learn on this device, and sweeps."""

import concurrent.futures
import os
import re
import tempfile
from pathlib import Path

from programs import Failed, Skipped, run, why
from runner import ROOT, Run, pseudo_batches

# Each method on digits, and what makes a short run of it.
DIGITS = {
    "abm": {"transfer.batches": 200, "transition.images": 4, "transition.steps": 5},
    "dafl": {"distill.batches": 250},
    "deep-inversion": {"distill.batches": 200, "synthesize.steps": 40},
    "dfad": {"distill.batches": 120},
    "dfq": {"distill.batches": 60},
    "nayer": {"distill.batches": 200},
}
# How much less than the CPU's students those of another device may get right: they are early in their learning, when as
# much lies between two seeds.
FEWER = 0.15


def learning_curve(runner):
    """A short transfer from a real teacher."""
    options = runner.options
    teacher, data = options.teacher, options.data
    if not teacher or not data:
        raise Skipped("--teacher and --data are not given")
    named = re.search(r"wrn-(\d+)-(\d+)", options.teacher_model or teacher.name)
    if not named:
        raise Failed(f"what network is {teacher.name}? --teacher-model=wrn-40-2 would say")
    count = options.curve_batches
    values = {
        "device": runner.device,
        "precision": "bf16",
        "teacher.path": teacher.resolve(),
        "teacher.model.depth": named[1],
        "teacher.model.widen_factor": named[2],
        "test_set.path": data.resolve(),
        "transfer.batches": count,
        "transfer.batch_size": options.batch,
        "transfer.evaluate_every": max(count // 4, 1),
    }
    found = runner.run(ROOT / "pipelines" / "cifar10-parquet.ron", sets(values), 120)
    points = [(line.get("batch", count), line["figures"]["top1"]) for line in found.log if line.get("metric") == "accuracy"]
    for batch, top1 in points:
        runner.results.figure(f"top-1 at {batch}", top1)
    ms = found.batch_ms("transfer")
    runner.results.figure("a batch ms", ms)
    curve = ", ".join(f"{100 * top1:.1f} % at {batch}" for batch, top1 in points)
    text = f"{curve}; {ms:.2f} ms a batch"
    # Of ten classes; a student that learns nothing stays at 10 %.
    if not points or not points[-1][1] > 0.12:
        raise Failed(text)
    return text


def swept(runner):
    """A sweep of three seeds, two at once: each leaves what it leaves when it runs alone."""
    precision = "bf16" if runner.cuda else "f32"
    small = runner.overrides(precision, runner.options.batches, device="auto")
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "sweep"
        command = [runner.zskt, "sweep", pseudo_batches.PIPELINE, f"--out={out}", "--quiet", *small]
        command += ["--seeds=0..3", "--jobs=2", f"--devices={runner.device}"]
        status, text = run(command, runner.results.left(60), 2000)
        if status != 0:
            raise Failed(why(status, text))
        weights = [path.read_bytes() for path in sorted(out.rglob("student.safetensors"))]
    alone = runner.play(precision, runner.options.batches, "--set=seed=1").student
    if len(weights) != 3 or len(set(weights)) != 3:
        raise Failed(f"{len(weights)} students, {len(set(weights))} that differ")
    if alone not in weights:
        raise Failed("seed 1 alone ends with other weights")
    return "three seeds; seed 1 ends with the same bits alone"


class Digits:
    """The methods' pipelines on synthetic digits, on the device and beside it on the CPU."""

    def __init__(self, runner, folder):
        self.runner, self.folder = runner, folder
        self.teacher = folder / "teacher.safetensors"
        self.reference = {}
        self.pool = concurrent.futures.ThreadPoolExecutor(len(DIGITS))

    def start(self, name, values, device, threads):
        """Begins a run; what waits for it."""
        out = Path(tempfile.mkdtemp(dir=self.folder)) / "run"
        precision = "f32" if device == "cpu" else "bf16"
        pipeline = ROOT / "pipelines" / "methods" / "digits" / f"{name}.ron"
        command = [self.runner.zskt, pipeline, f"--out={out}", "--quiet"]
        command += sets({"device": device, "precision": precision, **values})
        status, text = run(command, self.runner.results.left(90), 1000, RAYON_NUM_THREADS=str(threads))
        if status != 0:
            raise Failed(f"{device}: {why(status, text)}")
        return Run(out)

    def train_teacher(self):
        """Trains the teacher of all methods."""
        found = self.teach()
        os.replace(found.folder / "teaching.safetensors", self.teacher)
        top1 = found.report["metrics"]["teacher_accuracy"]["top1"]
        ms = found.batch_ms("teaching")
        self.runner.results.figure("top-1", top1)
        self.runner.results.figure("a batch ms", ms)
        text = f"{100 * top1:.1f} % right, {ms:.2f} ms a batch"
        if self.runner.cuda and not top1 > 0.8:
            raise Failed(text)
        # While the device learns the same.
        threads = max(1, (pseudo_batches.cores() - 1) // len(DIGITS))
        for name in DIGITS if self.runner.cuda else []:
            self.reference[name] = self.pool.submit(self.start, name, self.values(name), "cpu", threads)
        return text

    def teach(self, **more):
        """Trains a teacher, and little else."""
        values = {"transfer.batches": 1, "transition.images": 1, "transition.steps": 1, **more}
        if not self.runner.cuda:
            values["teaching.epochs"] = 1
        return self.start("abm", values, self.runner.device, pseudo_batches.cores())

    def play_teacher(self):
        """The teacher once more, its batches not replayed."""
        if not self.runner.cuda:
            raise Skipped("only a GPU records")
        if not self.teacher.exists():
            raise Skipped("there is no teacher")
        found = self.teach(**{"teaching.replay": "false"})
        ms = found.batch_ms("teaching")
        self.runner.results.figure("a batch ms", ms)
        same = (found.folder / "teaching.safetensors").read_bytes() == self.teacher.read_bytes()
        text = f"{'the same' if same else 'other'} weights, {ms:.2f} ms a batch"
        if not same:
            raise Failed(text)
        return text

    def values(self, name):
        """Of a short run, whose teacher has learnt; it is trained on a little, for the pipeline has it so."""
        checkpoint = f'Checkpoint(model: WideResNet(depth: 16, widen_factor: 1), path: "{self.teacher}")'
        brief = {"teaching.epochs": 1, "train_digits.count": 640, "learn.optimizer.lr": 1e-3}
        values = {"teacher": checkpoint, **brief, **DIGITS[name]}
        if not self.runner.cuda:
            values |= {key: 2 for key in values if key.endswith((".batches", ".steps"))}
        return values

    def learn(self, name):
        """A student on the device beside one on the CPU."""
        if not self.teacher.exists():
            raise Skipped("there is no teacher")
        found = self.start(name, self.values(name), self.runner.device, pseudo_batches.cores())
        top1, ms = top1_of(found), found.batch_ms("transfer", "distill")
        self.runner.results.figure("top-1", top1)
        self.runner.results.figure("a batch ms", ms)
        text = f"{100 * top1:.1f} % right, {ms:.2f} ms a batch"
        if name not in self.reference:
            return text
        expected = top1_of(self.reference[name].result())
        self.runner.results.figure("the CPU's top-1", expected)
        text = f"{text}; the CPU's {100 * expected:.1f} %"
        if not top1 >= expected - FEWER:
            raise Failed(text)
        return text


def top1_of(found):
    metrics = found.report["metrics"]
    return metrics.get("student_accuracy", metrics.get("accuracy"))["top1"]


def sets(values):
    return [f"--set={key}={value}" for key, value in values.items()]
