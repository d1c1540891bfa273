"""What only a GPU can tell of zskt: does each operation, each pseudo-batch compute what it must, and how fast?

Runs built programs (build.sh makes them) and the benchmark; needs PyTorch and safetensors in the Python that runs it,
and nothing else. A step that fails or takes too long stops no other. The table at the end says how each one went; the
exit status is 1 if any failed.
"""

import argparse
import contextlib
import glob
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "benches"))

import pseudo_batches  # noqa: E402

# Seconds for all steps; a step gets what is left where that is less than its own limit.
TOTAL = 570
# How far the losses of the first pseudo-batch may be from the CPU's in f32, relatively: the generator's and the
# student's, as in tests/tests/parity.rs. The generator's precedes any update. The student's is a mean over ten of Adam's
# steps: a unit within rounding of a ReLU's edge may fall on either side of it, and Adam's first steps, which are as long
# whatever the gradient, carry that on. PyTorch's own f32 and f64 differ there by up to 8e-4.
BOUNDS = {"f32": (1e-5, 1e-3), "tf32": (1e-2, 1e-2), "bf16": (1e-2, 5e-2)}
LOSSES = ("seek.loss", "imitate.loss")
FIGURES = (*LOSSES, "seek.gradient_norm", "imitate.gradient_norm")

OURS = ["zskt-f32", "zskt-tf32", "zskt-bf16"]
# PyTorch's contenders: those that begin at once, and those that take a minute.
QUICK = ["torch-reference", "torch-reference-tf32", "torch-tuned-cl", "torch-tuned-cl-tf32", "torch-tuned-cl-bf16"]
QUICK += ["torch-graph-tf32", "torch-graph-bf16"]
COMPILED = ["torch-compiled-bf16", "torch-compiled-tf32", "torch-compiled-graph-bf16", "torch-compiled-graph-tf32"]


class Failed(Exception):
    """Why a check failed."""


class Skipped(Exception):
    """Why a check was not made."""


class Table:
    """How each check went."""

    def __init__(self):
        self.rows = []
        self.end = time.monotonic() + TOTAL

    def left(self, limit):
        return max(min(limit, self.end - time.monotonic()), 1)

    def check(self, name, function, *arguments):
        """Makes a check, whose result is its figures."""
        print(f"\n== {name}", flush=True)
        start, place = time.monotonic(), len(self.rows)
        outcome, figures = "ok", ""
        try:
            if time.monotonic() > self.end:
                raise Failed("no time is left")
            figures = function(*arguments)
        except Skipped as error:
            outcome, figures = "skipped", str(error)
        # Whatever it is: the other checks are worth making.
        except Exception as error:
            outcome, figures = "FAILED", str(error) if isinstance(error, Failed) else pseudo_batches.reason(error)
        self.rows.insert(place, (name, outcome, f"{time.monotonic() - start:.0f}", figures))
        print(f"{outcome}: {figures}", flush=True)

    def figure(self, name, figures):
        """A row beside that of the check which is being made."""
        self.rows.append((name, "", "", figures))

    @property
    def failed(self):
        return any(outcome == "FAILED" for _, outcome, _, _ in self.rows)

    def __str__(self):
        rows = [("check", "outcome", "s", "figures"), *self.rows]
        widths = [max(map(len, column)) for column in zip(*rows)]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def run(command, limit, **environment):
    """Runs a command for `limit` seconds at most, showing what it says; its status and output."""
    print("$", " ".join(map(str, command)), flush=True)
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        # A session of its own, so that what it has started ends with it.
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=os.environ | environment,
            start_new_session=True,
        )
        status = None
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            print(f"stopped after {limit:.0f} s", flush=True)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            output.seek(0)
            text = output.read()
            # Its end says why it failed, its beginning what came first.
            shown = text if len(text) < 12000 else f"{text[:4000]}\n[...]\n{text[-8000:]}"
            print(shown, flush=True)
    return status, text


def find_libraries():
    """Lets programs find the CUDA libraries that come as Python wheels beside PyTorch."""
    folders = [folder for path in sys.path if path for folder in sorted(glob.glob(f"{path}/nvidia/*/lib"))]
    folders = list(dict.fromkeys(folders))
    if folders:
        wheels = ":".join(folders)
        # Programs that open the libraries when they need them look here.
        os.environ["CUDA_LAZY_DIRS"] = wheels
        os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, [wheels, os.environ.get("LD_LIBRARY_PATH")]))


class Checks:
    def __init__(self, options, table):
        self.options, self.table = options, table
        self.binaries = options.binaries.resolve()
        self.cuda = options.device != "cpu"
        self.test_environment = {"ZSKT_TEST_FIXTURES": str(ROOT / "tests" / "fixtures"), "RUST_BACKTRACE": "1"}
        if self.cuda:
            self.test_environment["ZSKT_TEST_DEVICE"] = options.device
        self.bench = None

    def machine(self):
        print("CUDA_LAZY_DIRS", os.environ.get("CUDA_LAZY_DIRS", "(none)"))
        if shutil.which("nvidia-smi"):
            run(["nvidia-smi", "--query-gpu=name,driver_version,memory.total,memory.used", "--format=csv,noheader"], 30)
        program = (
            "import torch, safetensors; cuda, cudnn = torch.version.cuda, torch.backends.cudnn.version(); "
            "gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU'; "
            "print(torch.__version__, 'CUDA', cuda, 'cuDNN', cudnn, gpu)"
        )
        status, text = run([sys.executable, "-c", program], self.table.left(60))
        if status != 0 or (self.cuda and "no GPU" in text):
            raise Failed(f"PyTorch does not work here: {last_line(text)}")
        return f"PyTorch {last_line(text)}"

    def tests(self, program, *arguments):
        """Runs a test executable."""
        command = [self.binaries / program, *arguments, "--test-threads=1"]
        status, text = run(command, self.table.left(110), **self.test_environment)
        passed = [int(number) for number in re.findall(r"test result: .*?(\d+) passed", text)]
        broken = re.findall(r"^test (\S+) \.\.\. FAILED", text, re.MULTILINE)
        # Where the program died, the test that it was at.
        broken += re.findall(r"^test (\S+) \.\.\. (?!ok|ignored|FAILED).*", text, re.MULTILINE) if not passed else []
        if status is None:
            raise Failed(f"too slow; it was at {', '.join(broken) or 'its start'}")
        if status != 0:
            why = re.search(r"panicked at .*\n(.*)", text)
            why = why[1] if why else last_line(text)
            names = [name.rpartition("::")[2] for name in broken]
            raise Failed(f"status {status}; {why[:200]}; {', '.join(names)}")
        if not sum(passed):
            raise Failed("there was no test to run")
        return f"{sum(passed)} tests"

    def setting(self, pair, device):
        return pseudo_batches.Setting(*pair.split(":"), self.options.batch, pseudo_batches.cores(), device)

    def play(self, precision, batches, *overrides, device=None):
        """Plays pseudo-batches; what it logged."""
        self.bench = self.bench or pseudo_batches.Bench(self.binaries / "zskt-run", sys.executable)
        setting = self.setting(self.options.parity_pair, device or self.options.device)
        log, _ = self.bench.play(precision, setting, batches, *overrides, limit=self.table.left(60))
        return log

    def deterministic(self, precision):
        """The same seed, twice."""
        count = self.options.batches
        first, second = self.play(precision, count), self.play(precision, count)
        if len(first) != count:
            raise Failed(f"{len(first)} batches are logged, not {count}")
        for one, other in zip(first, second):
            for name in FIGURES:
                if one[name] != other[name]:
                    apart = abs(one[name] / other[name] - 1) if other[name] else abs(one[name])
                    text = f"{name} of batch {one['batch']}: {one[name]} and then {other[name]}, {apart:.1e} apart"
                    raise Failed(text)
        return f"{count} batches, the same bits; the last student's loss {first[-1]['imitate.loss']:.6g}"

    def replayed(self):
        """Recorded batches against played ones."""
        if not self.cuda:
            raise Skipped("only a GPU records")
        # Previews are off, so windows end after batches 1, 17, 33, 49.
        played, replayed = self.play("tf32", 49, "--set=transfer.replay=false"), self.play("tf32", 49)
        error = max(self.difference(one, other) for one, other in zip(replayed[:8], played[:8]))
        same = sum(all(one[name] == other[name] for name in FIGURES) for one, other in zip(replayed, played))
        before, after = (1e3 * statistics.median(b["seconds"] for b in log[17:]) for log in (played, replayed))
        text = f"{same} of 49 batches the same bits, the first 8 to {error:.1e}; "
        text += f"{before:.2f} ms played, {after:.2f} replayed"
        if not error <= 1e-3:
            raise Failed(text)
        if after > 0.95 * before:
            text += " (no faster: was a batch recorded at all?)"
        return text

    @staticmethod
    def difference(found, expected):
        """The largest relative one of the losses."""
        return max(abs(found[name] - expected[name]) / abs(expected[name]) for name in LOSSES)

    def agrees_with_the_cpu(self):
        """The first pseudo-batch's losses in each precision, against the CPU's in f32."""
        expected = self.play("f32", 1, device="cpu")[0]
        texts, bad = [], False
        for precision, bounds in BOUNDS.items():
            try:
                found = self.play(precision, 1)[0]
            except (subprocess.SubprocessError, OSError, ValueError, LookupError) as error:
                texts.append(f"{precision} {pseudo_batches.reason(error)}")
                bad = True
                continue
            errors = [abs(found[name] - expected[name]) / abs(expected[name]) for name in LOSSES]
            # So that a NaN is too far, too.
            far = not all(error <= bound for error, bound in zip(errors, bounds))
            bad |= far
            over = f" (over {' '.join(f'{bound:.0e}' for bound in bounds)})"
            texts.append(f"{precision} {' '.join(f'{error:.1e}' for error in errors)}{over * far}")
        text = f"off by (generator's, student's): {', '.join(texts)}"
        if bad:
            raise Failed(text)
        return text

    def benchmark(self, contenders, rounds, limit):
        """Times the contenders, into rows of the table."""
        with tempfile.TemporaryDirectory() as scratch:
            found = Path(scratch) / "runs.json"
            limit = self.table.left(limit)
            command = [sys.executable, ROOT / "benches" / "pseudo_batches.py", f"--pairs={self.options.pair}"]
            command += [f"--batch={self.options.batch}", f"--rounds={rounds}", f"--device={self.options.device}"]
            command += [f"--zskt={self.binaries / 'zskt-run'}", f"--python={sys.executable}", f"--json={found}"]
            command += [f"--contenders={','.join(contenders)}", f"--limit={min(200, limit)}"]
            status, text = run(command, limit)
            runs = json.loads(found.read_text())["runs"] if found.exists() else []
        by_contender = {name: [run for run in runs if run["contender"] == name] for name in contenders}
        present = {name: of_name for name, of_name in by_contender.items() if of_name}
        seconds = {name: statistics.median(map(median_seconds, of_name)) for name, of_name in present.items()}
        for name, of_name in present.items():
            bases = [base for base in OURS if base in seconds and base != name and name not in OURS]
            ratios = "".join(f", {seconds[name] / seconds[base]:.2f} x {base}" for base in bases)
            key = "device_memory_bytes" if self.cuda else "peak_memory_bytes"
            memory = max(run[key] for run in of_name) / 1e6
            self.table.figure(f"  {name}", f"{1e3 * seconds[name]:.2f} ms, {memory:.0f} MB{ratios}")
        missing = [name for name in contenders if name not in present]
        said = [line for line in text.splitlines() if re.match(r"\S+ (failed|is left out): ", line)]
        if status != 0:
            said.append("the benchmark took too long" if status is None else last_line(text))
        if missing or status != 0:
            raise Failed(f"not timed: {', '.join(missing) or 'nothing'}; {'; '.join(said)}")
        return f"{len(present)} contenders, {rounds} rounds of {self.options.pair}, batch {self.options.batch}"

    def learning_curve(self):
        """A short transfer from a real teacher."""
        teacher, data = self.options.teacher, self.options.data
        if not teacher or not data:
            raise Skipped("--teacher and --data are not given")
        named = re.search(r"wrn-(\d+)-(\d+)", self.options.teacher_model or teacher.name)
        if not named:
            raise Failed(f"what network is {teacher.name}? --teacher-model=wrn-40-2 would say")
        count = self.options.curve_batches
        values = {
            "device": self.options.device,
            "precision": "bf16",
            "teacher.path": teacher.resolve(),
            "teacher.model.depth": named[1],
            "teacher.model.widen_factor": named[2],
            "test_set.path": data.resolve(),
            "transfer.batches": count,
            "transfer.batch_size": self.options.batch,
            "transfer.evaluate_every": max(count // 4, 1),
        }
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "run"
            command = [self.binaries / "zskt-run", ROOT / "pipelines" / "cifar10-parquet.ron", f"--out={out}"]
            command += [f"--set={key}={value}" for key, value in values.items()]
            status, text = run(command, self.table.left(120))
            log = out / "metrics.jsonl"
            lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        points = [(line.get("batch", count), line["top1"]) for line in lines if line.get("metric") == "accuracy"]
        curve = ", ".join(f"{100 * top1:.1f} % at {batch}" for batch, top1 in points)
        if status != 0:
            raise Failed(f"{'too slow' if status is None else last_line(text)}; {curve}")
        seconds = statistics.median(line["seconds"] for line in lines if "stage" in line and "seconds" in line)
        text = f"{curve}; {1e3 * seconds:.2f} ms a batch"
        # Of ten classes; a student that learns nothing stays at 10 %.
        if not points or not points[-1][1] > 0.12:
            raise Failed(text)
        return text


def last_line(text):
    return (text.strip().splitlines() or ["it says nothing"])[-1][:200]


def median_seconds(run):
    return statistics.median(run["seconds"][run["warm_up"] :])


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("binaries", type=Path, help="the folder that build.sh has filled")
    add("--device", default="cuda:0", help="cuda:N; cpu tries this script, with small settings")
    add("--teacher", type=Path, metavar="FILE", help="a CIFAR-10 teacher's weights, for a learning curve")
    add("--teacher-model", metavar="wrn-DEPTH-WIDTH", help="what it is, where its file's name does not say")
    add("--data", type=Path, metavar="FOLDER", help="CIFAR-10 as parquet files, for the same")
    add("--curve-batches", type=int, default=800, help="pseudo-batches of the learning curve")
    add("--pair", default="40-2:16-1", help="TEACHER:STUDENT of the timings")
    add("--parity-pair", default="16-2:16-1", help="TEACHER:STUDENT of the comparisons with the CPU and between runs")
    add("--batch", type=int, default=128, help="images in a batch")
    add("--batches", type=int, default=20, help="pseudo-batches of a run that is compared with another")
    add("--contenders", help="what to time, instead of everything")
    return parser.parse_args()


def main():
    options = parse()
    # Whoever ends this gets the table of what is known by then.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    find_libraries()
    table = Table()
    checks = Checks(options, table)
    try:
        table.check("machine", checks.machine)
        table.check("operations, against the CPU", checks.tests, "operations", "cuda::")
        table.check("pseudo-batches, against PyTorch", checks.tests, "parity")
        table.check("first pseudo-batch, against the CPU", checks.agrees_with_the_cpu)
        for precision in BOUNDS:
            table.check(f"the same twice, {precision}", checks.deterministic, precision)
        table.check("replays, against playing", checks.replayed)
        if options.contenders:
            table.check("time", checks.benchmark, options.contenders.split(","), 1, 300)
        else:
            table.check("time", checks.benchmark, [*OURS, *QUICK], 2, 200)
        table.check("learning curve, bf16", checks.learning_curve)
        if not options.contenders:
            # Last, for compiling takes as long as it does.
            table.check("time, compiled", checks.benchmark, [*OURS[1:], *COMPILED], 1, 300)
    finally:
        print(f"\n{table}", flush=True)
    return 1 if table.failed else 0


if __name__ == "__main__":
    sys.exit(main())
