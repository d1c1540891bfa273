"""What the kernels of one pseudo-batch take, by Nsight Compute: each is timed alone, so their sum is more than the batch."""

import collections
import csv
import re
import shutil
import tempfile
from pathlib import Path

from programs import Failed, Skipped, run, why
from runner import pseudo_batches

# The first whose pattern is in a kernel's name.
KINDS = [
    ("sums of gradients and residuals", r"badd|zskt_sum|add_up"),
    ("convolution, weight gradient", r"wgrad|conv_weight"),
    ("convolution, data gradient", r"dgrad|conv_data"),
    ("convolution, forward", r"fprop|conv_forward|convolve|ImplicitGemmConvolution"),
    ("weights packed and unpacked", r"pack_weight"),
    ("batch norm", r"normali[sz]e|moments|track"),
    ("updates", r"adam|update|clip|zskt_norm$"),
    ("cuDNN's own helpers", r"convertTensor|Padding|ReduceSplitK|init_device|cask|cudnn"),
    ("matrix products", r"gemm|nvjet|cublas|Kernel2|zskt_linear"),
]


def profile(runner, folder):
    ncu = shutil.which("ncu")
    if not runner.cuda or not ncu:
        raise Skipped("there is no ncu" if runner.cuda else "only a GPU has kernels")
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "kernels.csv"
        command = [ncu, "--clock-control=none", "--cache-control=none", "--metrics=gpu__time_duration.sum", "--csv"]
        command += ["--print-units=base", f"--log-file={log}", runner.zskt, pseudo_batches.PIPELINE, "--quiet"]
        command += [f"--out={scratch}/run", "--set=transfer.replay=false"]
        command += runner.overrides("bf16", 2, pair=runner.options.pair)
        status, text = run(command, runner.results.left(runner.options.profile_limit), 2000)
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    kernels = list(read(lines))
    batch = second(kernels) if status == 0 else []
    if not batch:
        said = [line for line in lines if line.startswith("==ERROR==")]
        raise Failed(f"{len(kernels)} kernels; {(said or [why(status, text)])[0]}")
    with (folder / "kernels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("kernel", "grid", "block", "ns"), *batch])
    sums, names = (collections.defaultdict(lambda: [0, 0.0]) for _ in range(2))
    for name, _, _, ns in batch:
        for key, table in ((kind(name), sums), (re.sub(r"\W.*", "", name)[:60], names)):
            table[key][0] += 1
            table[key][1] += ns
    for name, (count, ns) in sorted(sums.items(), key=lambda item: -item[1][1]):
        runner.results.figure(f"{name} ms", ns / 1e6)
        runner.results.figure(f"{name}, launches", count)
        runner.results.detail(name, f"{count} launches, {ns / 1e6:.2f} ms, {ns / 1e3 / count:.1f} us each")
    worst = sorted(names.items(), key=lambda item: -item[1][1])[:8]
    texts = [f"{name} {count} x {ns / 1e3 / count:.1f} us" for name, (count, ns) in worst]
    runner.results.detail("most time", ", ".join(texts))
    total = sum(ns for *_, ns in batch) / 1e6
    runner.results.figure("all ms", total)
    runner.results.figure("launches", len(batch))
    return f"{len(batch)} kernels, {total:.2f} ms"


def read(lines):
    """Name, grid, block and nanoseconds of each kernel, from what ncu writes."""
    start = next((place for place, line in enumerate(lines) if line.startswith('"ID"')), len(lines))
    for row in csv.DictReader(lines[start:]):
        if row.get("Metric Name") == "gpu__time_duration.sum" and row.get("Metric Value"):
            scale = {"ns": 1, "nsecond": 1, "us": 1e3, "usecond": 1e3, "ms": 1e6, "msecond": 1e6}[row["Metric Unit"]]
            ns = float(row["Metric Value"].replace(",", "")) * scale
            yield row["Kernel Name"], row["Grid Size"].replace(" ", ""), row["Block Size"].replace(" ", ""), ns


def second(kernels):
    """The second of two pseudo-batches: what follows the last of the first one's updates, to the last of its own. As many updates are
    in each."""
    updates = [place for place, (name, *_) in enumerate(kernels) if re.search("zskt_(adam|update)", name)]
    if not updates or len(updates) % 2:
        return []
    return kernels[updates[len(updates) // 2 - 1] + 1 : updates[-1] + 1]


def kind(name):
    return next((kind for kind, pattern in KINDS if re.search(pattern, name, re.IGNORECASE)), "all the rest")
