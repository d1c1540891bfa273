"""PyTorch's side of `pseudo_batches.py`: the same game, timed pseudo-batch by pseudo-batch, as JSON on standard output.

Two loops play it, with the same updates: `reference` does the work that the authors' code does (github.com/polo5/
ZeroShotKnowledgeTransfer, solver.py), `tuned` only what the result needs.
"""

import argparse
import contextlib
import json
import math
import resource
import sys
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

LATENT, STUDENT_STEPS, BETA, CLIP = 100, 10, 250.0, 5.0
GENERATOR_LR, STUDENT_LR = 1e-3, 2e-3
SIZE = 32


def conv(inputs, outputs, kernel, stride=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class Block(nn.Module):
    """A pre-activation block. Where the width changes, the shortcut takes the activated input."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, outputs, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), conv(outputs, outputs, 3)
        if inputs != outputs:
            self.convShortcut = conv(inputs, outputs, 1, stride)

    def forward(self, x):
        active = F.relu(self.bn1(x), inplace=True)
        residual = self.conv2(F.relu(self.bn2(self.conv1(active)), inplace=True))
        return residual + (self.convShortcut(active) if hasattr(self, "convShortcut") else x)


class WideResNet(nn.Module):
    """WRN-depth-width under the common port's parameter names; gives its logits and its groups' activations."""

    def __init__(self, depth, width, classes=10):
        super().__init__()
        self.conv1 = conv(3, 16, 3)
        inputs = 16
        for group, stride in enumerate((1, 2, 2)):
            outputs = 16 * width << group
            blocks = [Block(inputs, outputs, stride)]
            blocks += [Block(outputs, outputs, 1) for _ in range((depth - 4) // 6 - 1)]
            self.add_module(f"block{group + 1}", nn.ModuleDict({"layer": nn.Sequential(*blocks)}))
            inputs = outputs
        self.bn1, self.fc = nn.BatchNorm2d(inputs), nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=math.sqrt(2 / (module.out_channels * module.kernel_size[0] ** 2)))
        nn.init.zeros_(self.fc.bias)

    def forward(self, images):
        activations = [self.conv1(images)]
        for group in (self.block1, self.block2, self.block3):
            activations.append(group["layer"](activations[-1]))
        features = F.relu(self.bn1(activations[-1]), inplace=True).mean((2, 3))
        return self.fc(features), activations[1:]

    @classmethod
    def named(cls, name):
        """The network called `depth-width`."""
        return cls(*map(int, name.split("-")))


class Generator(nn.Sequential):
    """The paper's generator."""

    def __init__(self):
        super().__init__(
            nn.Linear(LATENT, 128 * (SIZE // 4) ** 2),
            nn.Unflatten(1, (128, SIZE // 4, SIZE // 4)),
            nn.BatchNorm2d(128),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(128, 128, 3, padding=1),
            nn.BatchNorm2d(128),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(128, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(64, 3, 3, padding=1),
            nn.BatchNorm2d(3),
        )


def attention(activation):
    return F.normalize(activation.float().square().mean(1).flatten(1))


def divergence(student_logits, teacher_logits):
    """KL(teacher || student), the mean over batch and classes as the paper's code has it."""
    student, teacher = student_logits.float(), teacher_logits.float()
    return F.kl_div(F.log_softmax(student, 1), F.softmax(teacher, 1), reduction="none").mean()


def distance(maps, targets):
    return BETA * sum((mine - target).square().mean() for mine, target in zip(maps, targets))


class Game:
    """Teacher, student and generator, playing one pseudo-batch at a time."""

    def __init__(self, teacher, student, generator, batches, tuned, bf16):
        self.teacher, self.student, self.generator = teacher.eval(), student.train(), generator.train()
        self.bf16 = bf16
        self.play = self.play_tuned if tuned else self.play_reference
        self.seek = torch.optim.Adam(generator.parameters(), GENERATOR_LR, fused=tuned)
        self.imitate = torch.optim.Adam(student.parameters(), STUDENT_LR, fused=tuned)
        self.schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(o, batches) for o in (self.seek, self.imitate)]
        teacher.requires_grad_(not tuned)

    def autocast(self):
        return torch.autocast("cpu", torch.bfloat16) if self.bf16 else contextlib.nullcontext()

    def update(self, optimizer, loss, only_its_own=False):
        """One step; `only_its_own` spares the gradients of weights that the optimizer does not hold."""
        parameters = optimizer.param_groups[0]["params"]
        optimizer.zero_grad()
        loss.backward(inputs=parameters if only_its_own else None)
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()

    def play_reference(self, latents):
        """Makes the images anew for every update, and differentiates through whatever is attached to the loss."""
        images = self.generator(latents)
        seek_loss = -divergence(self.student(images)[0], self.teacher(images)[0])
        self.update(self.seek, seek_loss)
        for step in range(STUDENT_STEPS):
            images = self.generator(latents)
            if step == 0:
                with torch.no_grad():
                    beliefs, seen = self.teacher(images)
            logits, activations = self.student(images)
            gap = distance(map(attention, activations), map(attention, seen))
            imitate_loss = divergence(logits, beliefs) + gap
            self.update(self.imitate, imitate_loss)
        return seek_loss, imitate_loss

    def play_tuned(self, latents):
        """Computes what is constant while the student learns once, and no gradient that nobody uses."""
        with self.autocast():
            images = self.generator(latents)
            logits, beliefs = self.student(images)[0], self.teacher(images)[0]
        seek_loss = -divergence(logits, beliefs)
        self.update(self.seek, seek_loss, only_its_own=True)
        with torch.no_grad(), self.autocast():
            images = self.generator(latents)
            beliefs, seen = self.teacher(images)
            targets = [attention(activation) for activation in seen]
            del seen
        for _ in range(STUDENT_STEPS):
            with self.autocast():
                logits, activations = self.student(images)
            imitate_loss = divergence(logits, beliefs) + distance(map(attention, activations), targets)
            self.update(self.imitate, imitate_loss)
        return seek_loss, imitate_loss

    def pseudo_batch(self, size):
        losses = self.play(torch.randn(size, LATENT))
        for schedule in self.schedules:
            schedule.step()
        return [loss.item() for loss in losses]


def write_teacher(name, path):
    """Random weights, and running statistics that fit them: without those the activations grow with every block."""
    teacher = WideResNet.named(name)
    for module in teacher.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        teacher(torch.randn(128, 3, SIZE, SIZE))
    save_file(teacher.state_dict(), path)


def peak_memory():
    """The largest resident size so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def play(options):
    imported = peak_memory()
    torch.set_num_threads(options.threads)
    teacher, student, generator = WideResNet.named(options.teacher), WideResNet.named(options.student), Generator()
    teacher.load_state_dict(load_file(options.weights))
    networks = [teacher, student, generator]
    if options.channels_last:
        networks = [network.to(memory_format=torch.channels_last) for network in networks]
    if options.compile:
        for network in networks:
            network.compile()
    game = Game(*networks, options.batches, options.loop == "tuned", options.bf16)
    seconds, losses = [], []
    for _ in range(options.batches):
        start = time.perf_counter()
        losses.append(game.pseudo_batch(options.batch_size))
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds, "losses": losses, "memory_of_import_bytes": imported}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=["teacher", "play"], help="write a teacher's random weights, or play")
    parser.add_argument("--teacher", default="16-2", metavar="DEPTH-WIDTH")
    parser.add_argument("--student", default="16-1", metavar="DEPTH-WIDTH")
    parser.add_argument("--weights", required=True, metavar="FILE", help="the teacher's weights")
    parser.add_argument("--loop", choices=["reference", "tuned"], default="tuned")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16 (the tuned loop)")
    parser.add_argument("--compile", action="store_true", help="torch.compile (needs a C++ compiler)")
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.job == "teacher":
        write_teacher(options.teacher, options.weights)
    else:
        play(options)


if __name__ == "__main__":
    main()
