#!/usr/bin/env python3
"""Mean transition error: pairs of an image and a class moved together, against one at a time, by the same program.

    benches/transitions.py --zskt target/release/zskt-run

Both networks have random weights, which cost what trained ones do. For each batch size `zskt-run` measures as many pairs as is said,
and what it measures must agree."""

import argparse, json, os, pathlib, resource, statistics, subprocess, tempfile

HERE = pathlib.Path(__file__).resolve().parent


def measure(options, batch, images, folder):
    """Seconds and processor seconds per step of a pair, and the figures."""
    out = pathlib.Path(folder) / f"{batch}-{images}-{len(os.listdir(folder))}"
    command = [options.zskt, HERE / "transitions.ron", f"--out={out}", "--quiet"]
    for change in (f"transition.batch_size={batch}", f"transition.images={images}", f"transition.steps={options.steps}",
                   f"device={options.device}", *options.set):
        command += ["--set", change]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"RAYON_NUM_THREADS": str(options.threads)})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads((out / "report.json").read_text())
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return report["seconds"], cpu, report["metrics"]["transition"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zskt", default="target/release/zskt-run")
    parser.add_argument("--batch", default="1,16,128,256", help="pairs moved together; the first is compared with")
    parser.add_argument("--images", type=int, default=32, help="images, of nine pairs each (a batch of 1: an eighth of them)")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="how far apart the curves may be")
    parser.add_argument("--set", action="append", default=[], help="a change to transitions.ron, as of zskt-run")
    options = parser.parse_args()
    sizes = [int(size) for size in options.batch.split(",")]
    costs, errors = {size: [] for size in sizes}, {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for size in sizes:
                images = options.images if size > 1 else max(1, options.images // 8)
                # What a run costs beside the steps, which is as much for one image and one step.
                empty = measure(argparse.Namespace(**vars(options) | {"steps": 1}), size, 1, folder)
                full = measure(options, size, images, folder)
                assert full[2]["images"] == images, full[2]
                count = images * 9 * options.steps - 9
                costs[size].append([(full[i] - empty[i]) / count for i in (0, 1)])
        # The same pairs in each.
        for size in sizes:
            errors[size] = measure(options, size, max(1, options.images // 8), folder)[2]
    first = sizes[0]
    print("| pairs together | ms per pair and step | times as fast | processor ms | times | mean transition error |")
    print("| --- | --- | --- | --- | --- | --- |")
    for size in sizes:
        medians = [statistics.median(cost[i] for cost in costs[size]) for i in (0, 1)]
        ratios = [statistics.median(a[i] / b[i] for a, b in zip(costs[first], costs[size])) for i in (0, 1)]
        error = errors[size]["mean_transition_error"]
        off = max(abs(a - b) for name in ("student_curve", "teacher_curve")
                  for a, b in zip(errors[size][name], errors[first][name]))
        assert off < options.tolerance, f"a curve is off by {off}"
        print(f"| {size} | {1000 * medians[0]:.3f} | {ratios[0]:.1f} | {1000 * medians[1]:.3f} | {ratios[1]:.1f} | {error:.7f} |")


if __name__ == "__main__":
    main()
