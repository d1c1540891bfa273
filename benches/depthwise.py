#!/usr/bin/env python3
"""Milliseconds of MobileNetV2's layers on one thread of this machine: zskt, and PyTorch in either order of memory.

    benches/depthwise.py --zskt PROGRAM --python PYTHON [--rounds 5]

PROGRAM is what `cargo bench --bench depthwise --no-run` builds and names; PYTHON has PyTorch (`pseudo_batches.py` makes
target/bench/venv). Figures are processor time of one thread, the fastest of seven; the contenders take turns, and a figure is
the median of the rounds (lowest..highest). The ratio is that of medians, PyTorch's faster order against zskt.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

CASES = [
    "depthwise 32 32 1",
    "depthwise 96 32 1",
    "depthwise 144 32 2",
    "depthwise 192 16 1",
    "depthwise 384 8 1",
    "depthwise 960 4 1",
    "activated depthwise 96 32 1",
    "activated depthwise 192 16 1",
    "activated depthwise 384 8 1",
    "activated depthwise 960 4 1",
    "pointwise 16 96 32",
    "pointwise 192 32 16",
    "pointwise 384 64 8",
    "pointwise 160 960 4",
    "block 24 144 24 32 1",
    "block 24 144 32 32 2",
    "block 32 192 32 16 1",
    "block 64 384 64 8 1",
    "block 160 960 160 4 1",
]
BATCH, REPETITIONS = 128, 7


def torch_side(channels_last):
    """What `zskt-tensor/benches/depthwise.rs` does."""
    import time

    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)

    def conv(inputs, outputs, kernel, stride=1, groups=1):
        return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)

    class Block(nn.Module):
        def __init__(self, inputs, expanded, outputs, stride):
            super().__init__()
            self.layers = nn.Sequential(
                conv(inputs, expanded, 1), nn.BatchNorm2d(expanded), nn.ReLU6(inplace=True),
                conv(expanded, expanded, 3, stride, expanded), nn.BatchNorm2d(expanded), nn.ReLU6(inplace=True),
                conv(expanded, outputs, 1), nn.BatchNorm2d(outputs),
            )  # fmt: skip
            self.residual = stride == 1 and inputs == outputs

        def forward(self, x):
            return x + self.layers(x) if self.residual else self.layers(x)

    def fastest(run):
        run()
        times = []
        for _ in range(REPETITIONS):
            begin = time.process_time()
            run()
            times.append(time.process_time() - begin)
        return min(times) * 1e3

    for case in CASES:
        kind = case.rstrip(" 0123456789")
        numbers = [int(number) for number in case[len(kind) :].split()]
        if kind == "depthwise":
            (inputs, size, stride) = numbers
            layer = conv(inputs, inputs, 3, stride, inputs)
        elif kind == "activated depthwise":
            (inputs, size, stride) = numbers
            layer = nn.Sequential(
                nn.BatchNorm2d(inputs), nn.ReLU6(inplace=True), conv(inputs, inputs, 3, stride, inputs)
            )
        elif kind == "pointwise":
            (inputs, outputs, size) = numbers
            layer = conv(inputs, outputs, 1)
        else:
            (inputs, expanded, outputs, size, stride) = numbers
            layer = Block(inputs, expanded, outputs, stride)
        order = torch.channels_last if channels_last else torch.contiguous_format
        layer = layer.to(memory_format=order)
        x = torch.randn(BATCH, inputs, size, size).to(memory_format=order)

        def forward():
            with torch.no_grad():
                layer(x).mean((2, 3)).sum()

        def both():
            layer.zero_grad()
            layer(x).mean((2, 3)).sum().backward()

        print(f"{case}\t{fastest(forward):.3f}\t{fastest(both):.3f}", flush=True)


def processor():
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor()
    names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":", 1)[1].strip() if names else platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zskt", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--torch", choices=["first", "last"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.torch:
        torch_side(options.torch == "last")
        return
    if not options.zskt:
        parser.error("--zskt names the program that `cargo bench --bench depthwise --no-run` builds")
    commands = {
        "zskt": [options.zskt, *CASES],
        "PyTorch": [options.python, __file__, "--torch=first"],
        "PyTorch, channels last": [options.python, __file__, "--torch=last"],
    }
    found = {}
    for _ in range(options.rounds):
        for name, command in commands.items():
            # candle has threads of its own, which would wait for each other.
            environment = {**os.environ, "RAYON_NUM_THREADS": "1"}
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            lines = done.stdout.splitlines()
            for case, *figures in (line.split("\t") for line in lines):
                for which, figure in zip(("forward", "forward and backward"), figures):
                    found.setdefault((case, which), {}).setdefault(name, []).append(float(figure))
    print(f"{processor()}, one thread, batch {BATCH}, milliseconds, medians of {options.rounds} rounds\n")
    print("| layer | pass | " + " | ".join(commands) + " | times |\n| --- | --- |" + " --- |" * (len(commands) + 1))
    for (case, which), contenders in found.items():
        medians = {name: statistics.median(figures) for name, figures in contenders.items()}
        cells = [f"{medians[name]:.2f} ({min(figures):.2f}..{max(figures):.2f})" for name, figures in contenders.items()]
        ratio = min(medians[name] for name in medians if name != "zskt") / medians["zskt"]
        print(f"| {case} | {which} | " + " | ".join(cells) + f" | {ratio:.2f} |")


if __name__ == "__main__":
    main()
