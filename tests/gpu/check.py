"""What only a GPU can tell of zskt: does each operation, each pseudo-batch compute what it must, and how fast?

Runs built programs (build.sh makes them) and the benchmark; needs PyTorch, safetensors and numpy in the Python that runs it,
and nothing else. A step that fails or takes too long stops no other. What they find is in results.json, written after each
step, and in the table at the end; the exit status is 1 if any failed.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import correctness
import kernel_profile
import pipelines
import speed
from programs import Failed, end_all, find_libraries, last_line, run
from results import Results, compare
from runner import Runner, pseudo_batches


def machine(runner):
    """What the figures depend on beside the code."""
    found = {"processor": pseudo_batches.processor(), "cores": pseudo_batches.cores()}
    if shutil.which("nvidia-smi"):
        number = runner.device.partition(":")[2] or "0"
        query = "--query-gpu=name,driver_version,memory.total"
        status, text = run(["nvidia-smi", f"--id={number}", query, "--format=csv,noheader"], 30)
        if status == 0:
            found |= zip(["card", "driver", "memory"], map(str.strip, last_line(text).split(",")))
    program = (
        "import json, torch, safetensors; gpu = torch.cuda.is_available(); "
        "print(json.dumps({'PyTorch': torch.__version__, 'CUDA': torch.version.cuda, 'cuDNN': torch.backends.cudnn.version(), "
        "**({'card': torch.cuda.get_device_name()} if gpu else {})}))"
    )
    status, text = run([sys.executable, "-c", program], runner.results.left(60))
    if status == 0:
        found |= json.loads(last_line(text))
    runner.results.found["machine"] = found
    if status != 0 or (runner.cuda and "card" not in found):
        raise Failed(f"PyTorch does not work here: {last_line(text)}")
    return ", ".join(f"{key} {value}" for key, value in found.items())


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("binaries", type=Path, help="the folder that build.sh has filled")
    add("--out", type=Path, default=Path(), metavar="FOLDER", help="where results.json and kernels.csv go")
    add("--against", type=Path, metavar="OLD.json", help="the results of an earlier run, to compare with at the end")
    add("--only", metavar="WORDS", help="only checks in whose names one of these, parted by commas, is")
    add("--seconds", type=float, default=350, help="for all checks; compiled PyTorch has 200 of its own")
    add("--device", default="cuda:0", help="cuda:N; cpu tries this script, with small settings")
    add("--teacher", type=Path, metavar="FILE", help="a CIFAR-10 teacher's weights, for a learning curve")
    add("--teacher-model", metavar="wrn-DEPTH-WIDTH", help="what it is, where its file's name does not say")
    add("--data", type=Path, metavar="FOLDER", help="CIFAR-10 as parquet files, for the same")
    add("--curve-batches", type=int, default=800, help="pseudo-batches of the learning curve")
    add("--pair", default="40-2:16-1", help="TEACHER:STUDENT of the timings")
    add("--parity-pair", default="16-2:16-1", help="TEACHER:STUDENT of the comparisons with the CPU and between runs")
    add("--batch", type=int, default=128, help="images in a batch")
    add("--batches", type=int, default=20, help="pseudo-batches of a run that is compared with another")
    add("--concurrent", default="1,2,3,4", help="how many seeds at once are timed")
    add("--profile-limit", type=float, default=60, help="seconds for the profile")
    add("--contenders", default=",".join([*speed.OURS, *speed.QUICK]), help="what is timed")
    add("--compiled", action="store_true", help="times compiled PyTorch too, for another 200 seconds")
    return parser.parse_args()


def steps(runner, folder, scratch):
    """Names, functions and arguments of all checks: what matters most comes first, for the time may be over."""
    yield "machine", machine, runner
    # Those that are skipped emulate a GPU, wherever they run; the table of convolutions looks at what a GPU makes of the same.
    skipped = "--skip=tensor_cores::tests"
    yield "operations, against the CPU", correctness.tests, runner, "operations", "cuda::", skipped
    yield "pseudo-batches, against PyTorch", correctness.tests, runner, "parity"
    yield "first pseudo-batch, against the CPU", correctness.agrees_with_the_cpu, runner
    for precision in correctness.BOUNDS:
        yield f"the same twice, {precision}", correctness.deterministic, runner, precision
    for precision in ("tf32", "bf16"):
        yield f"replays, against playing, {precision}", correctness.replayed, runner, precision
    yield "time", speed.contenders, runner, runner.options.contenders.split(","), 1, 120
    yield "time, by cuDNN's convolutions", speed.without_ours, runner
    yield "methods, against PyTorch", correctness.tests, runner, "methods", "method_tests"
    yield "convolutions, ours and cuDNN's", speed.convolutions, runner
    yield "learning curve, bf16", pipelines.learning_curve, runner
    yield "seeds at once, bf16", speed.concurrent, runner
    yield "what --dry says", speed.dry, runner
    yield "mean transition error", speed.transitions, runner
    digits = pipelines.Digits(runner, scratch)
    yield "a teacher of digits", digits.train_teacher
    yield "a teacher of digits, played", digits.play_teacher
    # While the CPU learns from that teacher.
    yield "profile, bf16", kernel_profile.profile, runner, folder
    yield "a sweep of seeds, two at once", pipelines.swept, runner
    for name in pipelines.DIGITS:
        yield f"{name} on digits", digits.learn, name


def main():
    options = parse()
    # Whoever ends this gets the table of what is known by then.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    find_libraries()
    folder = options.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    commit = options.binaries / "commit.txt"
    commit = commit.read_text().strip() if commit.exists() else "unknown"
    results = Results(folder / "results.json", options.seconds, commit=commit, options=sys.argv[1:])
    words = options.only.split(",") if options.only else [""]
    scratch = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    try:
        runner = Runner(options, results)
        for name, function, *arguments in steps(runner, folder, Path(scratch.name)):
            if function == machine or any(word in name for word in words):
                results.check(name, function, *arguments)
        if options.compiled:
            results.allow(200)
            results.check("time, compiled", speed.contenders, runner, speed.COMPILED, 1, 200)
    finally:
        end_all()
        scratch.cleanup()
        results.save()
        print(f"\n{results}", flush=True)
    if options.against:
        print(f"\nAgainst {options.against}: {compare(json.loads(options.against.read_text()), results.found)}")
    return 1 if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
