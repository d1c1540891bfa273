"""How long things take on this machine."""

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from programs import Failed, Skipped, last_line, run, why
from runner import ROOT, pseudo_batches, pseudo_batches_of, read_log

OURS = ["zskt-f32", "zskt-tf32", "zskt-bf16"]
# PyTorch's contenders: those that begin at once, and those that take a minute.
QUICK = ["torch-reference", "torch-tuned-cl-bf16", "torch-graph-tf32", "torch-graph-bf16"]
COMPILED = ["zskt-bf16", "torch-compiled-graph-bf16", "torch-compiled-graph-tf32", "torch-compiled-bf16"]

# What runs the Multi-Process Service.
MPS = "nvidia-cuda-mps-control"

# What a row of the convolutions has of times.
TIMED = {
    "ours_us": "ours with batch norm",
    "plain_us": "ours alone",
    "cudnn_us": "cuDNN alone",
}


def median_seconds(run):
    return statistics.median(run["seconds"][run["warm_up"] :])


def contenders(runner, names, rounds, limit, **environment):
    """Times them, into rows of the table."""
    options, results = runner.options, runner.results
    with tempfile.TemporaryDirectory() as scratch:
        found = Path(scratch) / "runs.json"
        limit = results.left(limit)
        command = [sys.executable, ROOT / "benches" / "pseudo_batches.py", f"--pairs={options.pair}"]
        command += [f"--batch={options.batch}", f"--rounds={rounds}", f"--device={runner.device}"]
        command += [f"--zskt={runner.zskt}", f"--python={sys.executable}", f"--json={found}"]
        command += [f"--contenders={','.join(names)}", f"--limit={min(200, limit)}"]
        status, text = run(command, limit, **environment)
        runs = json.loads(found.read_text())["runs"] if found.exists() else []
    by_contender = {name: [run for run in runs if run["contender"] == name] for name in names}
    present = {name: of_name for name, of_name in by_contender.items() if of_name}
    seconds = {name: statistics.median(map(median_seconds, of_name)) for name, of_name in present.items()}
    for name, of_name in present.items():
        bases = [base for base in OURS if base in seconds and base != name and name not in OURS]
        ratios = "".join(f", {seconds[name] / seconds[base]:.2f} x {base}" for base in bases)
        key = "device_memory_bytes" if runner.cuda else "peak_memory_bytes"
        memory = max(run[key] for run in of_name) / 1e6
        results.figure(f"{name} ms", 1e3 * seconds[name])
        results.figure(f"{name} MB", memory)
        results.detail(name, f"{1e3 * seconds[name]:.2f} ms, {memory:.0f} MB{ratios}")
    missing = [name for name in names if name not in present]
    said = [line for line in text.splitlines() if " failed: " in line or " is left out: " in line]
    if status != 0:
        said.append("the benchmark took too long" if status is None else last_line(text))
    if missing or status != 0:
        raise Failed(f"not timed: {', '.join(missing) or 'nothing'}; {'; '.join(said)}")
    return f"{len(present)} contenders, {rounds} rounds of {options.pair}, batch {options.batch}"


def without_ours(runner):
    """With cuDNN's convolutions in the place of ours."""
    if not runner.cuda:
        raise Skipped("only a GPU has two")
    return contenders(runner, ["zskt-bf16", "zskt-tf32"], 1, 60, ZSKT_TENSOR_CORES="0")


def convolutions(runner):
    """Each convolution of the experiment in a graph of many, ours and cuDNN's."""
    if not runner.cuda:
        raise Skipped("only a GPU has two")
    environment = {"ZSKT_TEST_DEVICE": runner.device}
    command = [runner.binaries / "operations", "convolution_times", "--ignored", "--nocapture", "--test-threads=1"]
    status, text = run(command, runner.results.left(60), **environment)
    rows = [json.loads(line) for line in text.splitlines() if line.startswith('{"shape"')]
    wrong = [row["shape"] for row in rows if row.get("bits", "same") != "same" or not row.get("error", 0) <= 1]
    for row in rows:
        shape, texts = row["shape"], []
        for key, name in TIMED.items():
            if key in row:
                runner.results.figure(f"{shape}, {name} us", row[key])
                texts.append(f"{name} {row[key]:.2f}")
        if "plain_us" in row:
            texts.append(f"{row['cudnn_us'] / row.get('ours_us', row['plain_us']):.2f} x as fast as cuDNN")
            texts.append(f"bits {row['bits']}, error {row['error']:.2g} of its bound")
            runner.results.figure(f"{shape}, error", row["error"])
        runner.results.detail(shape, ", ".join(texts))
    if not rows and status == 0:
        raise Skipped("the programs have no such table")
    if wrong or status != 0:
        said = why(status, text) if status != 0 else ""
        raise Failed(f"{len(rows)} shapes; wrong: {', '.join(wrong) or 'none'}; {said}")
    return f"{len(rows)} convolutions, us a launch in graphs"


def concurrent(runner):
    """Several seeds at once on one GPU, as a sweep runs them: by turns, and by NVIDIA's Multi-Process Service if it is there."""
    counts = [int(count) for count in runner.options.concurrent.split(",")]
    one = at_once(runner, counts, "")
    if runner.cuda and shutil.which(MPS):
        # Where it may not be used, its rows say so.
        try:
            with multi_process_service() as environment:
                at_once(runner, counts, ", MPS", one, **environment)
        except Failed as error:
            runner.results.detail("MPS", str(error))
    return f"{counts} seeds of {runner.options.pair}, batch {runner.options.batch}"


def at_once(runner, counts, how, one=None, **environment):
    """Times sweeps of so many seeds, into rows of the table, beside what one seed takes; and what the first takes."""
    batches = 129 if runner.cuda else 3
    for count in counts:
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "sweep"
            command = [runner.zskt, "sweep", pseudo_batches.PIPELINE, f"--seeds=0..{count}", f"--jobs={count}"]
            command += [f"--devices={runner.device}", f"--out={out}", "--quiet"]
            # A sweep shows each of its runs the one device that it may use.
            precision = "bf16" if runner.cuda else "f32"
            command += runner.overrides(precision, batches, pair=runner.options.pair, device="auto")
            status, text = run(command, runner.results.left(45), 2000, **environment)
            logs = [pseudo_batches_of(read_log(path)) for path in sorted(out.rglob("metrics.jsonl"))]
        if status != 0 or len(logs) != count:
            raise Failed(f"{count} at once{how}: {why(status, text)}; {len(logs)} logs")
        # Without the warm-up, and the end, when others have ended already.
        kept = slice(33, 113) if runner.cuda else slice(1, None)
        seconds = [statistics.median(batch["seconds"] for batch in log[kept]) for log in logs]
        each = 1e3 / sum(1 / value for value in seconds)
        one = one or each
        runner.results.figure(f"one of {count} at once{how} ms", each)
        alone = ", ".join(f"{1e3 * value:.1f}" for value in seconds)
        text = f"{alone} ms each; a pseudo-batch per {each:.2f} ms, {one / each:.2f} x one"
        runner.results.detail(f"{count} at once{how}", text)
    return one


@contextlib.contextmanager
def multi_process_service():
    """The service for programs with this environment, in a folder of its own, until they are done."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        environment = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        options = {"env": os.environ | environment, "stdout": subprocess.DEVNULL, "timeout": 20}
        started = subprocess.run([MPS, "-d"], **options)
        if started.returncode != 0:
            raise Failed(f"{MPS} ended with {started.returncode}")
        try:
            yield environment
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run([MPS], input=b"quit\n", **options)


def dry(runner):
    """What `--dry` says a run would take."""
    precision = "bf16" if runner.cuda else "f32"
    command = [runner.zskt, pseudo_batches.PIPELINE, "--dry", "--json"]
    command += runner.overrides(precision, 100 if runner.cuda else 2, pair=runner.options.pair)
    status, text = run(command, runner.results.left(40), 2000)
    if status != 0:
        raise Failed(why(status, text))
    found = json.loads(text.splitlines()[-1])
    batch = found["stages"]["transfer"]["batch"]
    runner.results.figure("estimated ms", 1e3 * batch["seconds"])
    runner.results.figure("estimated TFLOP", batch["flop"] / 1e12)
    timed = runner.results.found["checks"].get("time", {}).get("figures", {}).get(f"zskt-{precision} ms")
    beside = f"; {timed:.2f} ms when timed" if timed else ""
    return f"{1e3 * batch['seconds']:.2f} ms and {batch['flop'] / 1e12:.3f} TFLOP a pseudo-batch{beside}"


def transitions(runner):
    """Pairs of mean transition error, moved together and one at a time."""
    command = [sys.executable, ROOT / "benches" / "transitions.py", f"--zskt={runner.zskt}"]
    command += [f"--device={runner.device}", "--batch=1,256", "--rounds=1", "--tolerance=1e-4", "--set=precision=f32"]
    if not runner.cuda:
        command += ["--images=8", "--steps=4"]
    status, text = run(command, runner.results.left(60))
    if status != 0:
        raise Failed(why(status, text))
    rows = [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    for size, ms, ratio, *_, error in (row for row in rows if row[0].isdecimal()):
        runner.results.figure(f"{size} together ms", float(ms))
        runner.results.detail(f"{size} together", f"{ms} ms a pair and step, {ratio} x; mean transition error {error}")
    return "the curves agree to 1e-4"
