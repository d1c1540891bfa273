"""Whether each operation and each pseudo-batch computes what it must, and always the same."""

import re
import statistics

from programs import Failed, Skipped, last_line, run
from runner import FIGURES, LOSSES, ROOT

# How far the losses of the first pseudo-batch may be from the CPU's in f32, relatively: the generator's and the
# student's, as in tests/tests/parity.rs. The generator's precedes any update. The student's is a mean over ten of Adam's
# steps: a unit within rounding of a ReLU's edge may fall on either side of it, and Adam's first steps, which are as long
# whatever the gradient, carry that on. PyTorch's own f32 and f64 differ there by up to 8e-4.
BOUNDS = {"f32": (1e-5, 1e-3), "tf32": (1e-3, 1e-2), "bf16": (1e-2, 5e-2)}


def tests(runner, program, *arguments, limit=90):
    """Runs a test executable."""
    path = runner.binaries / program
    if not path.exists():
        raise Skipped(f"{path.name} is not among the programs")
    environment = {
        "ZSKT_TEST_FIXTURES": str(ROOT / "tests" / "fixtures"),
        "ZSKT_TEST_METHODS": str(ROOT / "plugins" / "stages" / "tests" / "fixtures" / "methods"),
        "RUST_BACKTRACE": "1",
    }
    if runner.cuda:
        environment["ZSKT_TEST_DEVICE"] = runner.device
    command = [path, *arguments, "--test-threads=1"]
    status, text = run(command, runner.results.left(limit), **environment)
    passed = [int(number) for number in re.findall(r"test result: .*?(\d+) passed", text)]
    broken = re.findall(r"^test (\S+) \.\.\. FAILED", text, re.MULTILINE)
    # Where the program died, the test that it was at.
    broken += re.findall(r"^test (\S+) \.\.\. (?!ok|ignored|FAILED).*", text, re.MULTILINE) if not passed else []
    if status is None:
        raise Failed(f"too slow; it was at {', '.join(broken) or 'its start'}")
    if status != 0:
        reason = re.search(r"panicked at .*\n(.*)", text)
        reason = reason[1] if reason else last_line(text)
        names = [name.rpartition("::")[2] for name in broken]
        raise Failed(f"status {status}; {reason[:200]}; {', '.join(names)}")
    if not sum(passed):
        raise Skipped("the programs have no such test")
    runner.results.figure("tests", sum(passed))
    return f"{sum(passed)} tests"


def agrees_with_the_cpu(runner):
    """The first pseudo-batch's losses in each precision, against the CPU's in f32."""
    expected = runner.play("f32", 1, device="cpu").batches[0]
    texts, bad = [], False
    for precision, bounds in BOUNDS.items():
        try:
            found = runner.play(precision, 1).batches[0]
        except (Failed, OSError, ValueError, LookupError) as error:
            texts.append(f"{precision} {error}")
            bad = True
            continue
        errors = [abs(found[name] - expected[name]) / abs(expected[name]) for name in LOSSES]
        # So that a NaN is too far, too.
        far = not all(error <= bound for error, bound in zip(errors, bounds))
        bad |= far
        for name, error in zip(LOSSES, errors):
            runner.results.figure(f"{precision} {name}", error)
        over = f" (over {' '.join(f'{bound:.0e}' for bound in bounds)})"
        texts.append(f"{precision} {' '.join(f'{error:.1e}' for error in errors)}{over * far}")
    text = f"off by (generator's, student's): {', '.join(texts)}"
    if bad:
        raise Failed(text)
    return text


def deterministic(runner, precision):
    """The same seed, twice."""
    count = runner.options.batches
    one, other = runner.play(precision, count), runner.play(precision, count)
    if len(one.batches) != count:
        raise Failed(f"{len(one.batches)} batches are logged, not {count}")
    for first, second in zip(one.batches, other.batches):
        for name in FIGURES:
            if first[name] != second[name]:
                apart = abs(first[name] / second[name] - 1) if second[name] else abs(first[name])
                text = f"{name} of batch {first['batch']}: {first[name]} and then {second[name]}, {apart:.1e} apart"
                raise Failed(text)
    if one.student != other.student:
        raise Failed("the same figures, but other weights")
    runner.results.figure("student's loss", one.batches[-1]["imitate.loss"])
    return f"{count} batches, the same bits; the last student's loss {one.batches[-1]['imitate.loss']:.6g}"


def replayed(runner, precision):
    """Recorded batches against played ones: their figures, the weights that they end with, the work that was counted."""
    if not runner.cuda:
        raise Skipped("only a GPU records")
    # Previews are off, so windows end after batches 1, 17, 33, 49.
    played, replayed = runner.play(precision, 49, "--set=transfer.replay=false"), runner.play(precision, 49)
    pairs = list(zip(replayed.batches, played.batches))
    error = max(abs(one[name] - other[name]) / abs(other[name]) for one, other in pairs[:8] for name in LOSSES)
    same = sum(all(one[name] == other[name] for name in FIGURES) for one, other in pairs)
    before, after = (1e3 * statistics.median(b["seconds"] for b in run.batches[17:]) for run in (played, replayed))
    weights = "the same" if played.student == replayed.student else "other"
    text = f"{same} of 49 batches the same bits, the first 8 to {error:.1e}, {weights} weights; "
    text += f"{before:.2f} ms played, {after:.2f} replayed"
    runner.results.figure("played ms", before)
    runner.results.figure("replayed ms", after)
    runner.results.figure("same batches", same)
    counts = [run.report["flop"] for run in (played, replayed)]
    runner.results.figure("counted TFLOP", counts[1] / 1e12)
    if counts[0] != counts[1]:
        raise Failed(f"{text}; {counts[0]:.6g} FLOP counted where played, {counts[1]:.6g} where replayed")
    warnings = [line for line in replayed.log if line["event"] == "warning"]
    if same != 49 or weights != "the same" or warnings:
        raise Failed(f"{text}; warnings: {warnings}")
    return f"{text}; {counts[1] / 1e12:.4g} TFLOP counted in both"
