"""PyTorch's side of `pseudo_batches.py`: the same game, timed, as JSON on standard output.

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


class PostActivationBlock(nn.Module):
    """ResNet's basic block."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv(outputs, outputs, 3), nn.BatchNorm2d(outputs)
        if inputs != outputs:
            self.downsample = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x):
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        residual += self.downsample(x) if hasattr(self, "downsample") else x
        return F.relu(residual, inplace=True)


class ResNet(nn.Module):
    """ResNet for CIFAR under torchvision's parameter names; gives its logits and the activations of its first three groups, which are
    those that a wide residual network has counterparts of."""

    BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}

    def __init__(self, depth, classes=10):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 64, 3), nn.BatchNorm2d(64)
        inputs = 64
        for group, count in enumerate(self.BLOCKS[depth]):
            outputs = 64 << group
            blocks = [PostActivationBlock(inputs, outputs, 2 if group else 1)]
            blocks += [PostActivationBlock(outputs, outputs, 1) for _ in range(count - 1)]
            self.add_module(f"layer{group + 1}", nn.Sequential(*blocks))
            inputs = outputs
        self.fc = nn.Linear(inputs, classes)

    def forward(self, images):
        activations = [F.relu(self.bn1(self.conv1(images)), inplace=True)]
        for group in (self.layer1, self.layer2, self.layer3, self.layer4):
            activations.append(group(activations[-1]))
        return self.fc(activations[-1].mean((2, 3))), activations[1:4]


def named(name):
    """The network called `depth-width`, or `resnet18`."""
    return ResNet(int(name.removeprefix("resnet"))) if name.startswith("resnet") else WideResNet(*map(int, name.split("-")))


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

    def __init__(self, teacher, student, generator, options):
        self.teacher, self.student, self.generator = teacher.eval(), student.train(), generator.train()
        self.device, self.bf16, self.graph = torch.device(options.device), options.bf16, options.graph
        self.replays_modules = replays_modules(options)
        tuned = options.loop == "tuned"
        self.play = self.play_tuned if tuned else self.play_reference
        adam = {"fused": tuned, "capturable": self.graph or self.replays_modules}
        self.seek = torch.optim.Adam(generator.parameters(), self.rate(GENERATOR_LR), **adam)
        self.imitate = torch.optim.Adam(student.parameters(), self.rate(STUDENT_LR), **adam)
        optimizers = (self.seek, self.imitate)
        self.schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(o, options.batches) for o in optimizers]
        teacher.requires_grad_(not tuned)

    def rate(self, value):
        """A learning rate, where a recording can read it anew."""
        return torch.tensor(value, device=self.device) if self.graph else value

    def autocast(self):
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else contextlib.nullcontext()

    def kept(self, tensor):
        """Of a network's output, what outlives its next call: a replay writes where the last one has written."""
        return tensor.clone() if self.replays_modules else tensor

    def update(self, optimizer, loss):
        parameters = optimizer.param_groups[0]["params"]
        optimizer.zero_grad()
        loss.backward()
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
        self.student.requires_grad_(False)
        with self.autocast():
            images = self.generator(latents)
            logits, beliefs = self.student(images)[0], self.teacher(images)[0]
        seek_loss = -divergence(logits, beliefs)
        self.update(self.seek, seek_loss)
        self.student.requires_grad_(True)
        with torch.no_grad(), self.autocast():
            images = self.kept(self.generator(latents))
            beliefs, seen = self.teacher(images)
            beliefs = self.kept(beliefs)
            targets = [attention(activation) for activation in seen]
            del seen
        for _ in range(STUDENT_STEPS):
            with self.autocast():
                logits, activations = self.student(images)
            imitate_loss = divergence(logits, beliefs) + distance(map(attention, activations), targets)
            self.update(self.imitate, imitate_loss)
        return seek_loss, imitate_loss

    def record(self, size):
        """Makes the whole pseudo-batch one CUDA graph, which every further one replays."""
        latents = torch.randn(size, LATENT, device=self.device)
        play, stream, graph = self.play, torch.cuda.Stream(), torch.cuda.CUDAGraph()
        # As PyTorch's documentation has it: what is recorded must have run before, on a stream of its own.
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                play(latents)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph):
            losses = [loss.detach() for loss in play(latents)]

        def replay(others):
            latents.copy_(others)
            graph.replay()
            return [loss.clone() for loss in losses]

        self.play = replay

    def pseudo_batch(self, size):
        """Plays one; its losses, which nobody has read yet."""
        losses = self.play(torch.randn(size, LATENT, device=self.device))
        for schedule in self.schedules:
            schedule.step()
        return [loss.detach() for loss in losses]


def write_teacher(name, path):
    """Random weights, and running statistics that fit them: without those the activations grow with every block."""
    teacher = named(name)
    for module in teacher.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        teacher(torch.randn(128, 3, SIZE, SIZE))
    save_file(teacher.state_dict(), path)


def peak_memory():
    """The largest resident size so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def replays_modules(options):
    """Whether each network's passes are CUDA graphs of `torch.compile`; not where the whole pseudo-batch is one."""
    return options.compile and not options.graph and options.device.startswith("cuda")


def set_precision(options):
    """Full single precision unless TF32 is asked for: PyTorch by itself allows it in convolutions only."""
    torch.backends.cudnn.allow_tf32 = options.tf32
    torch.backends.cuda.matmul.allow_tf32 = options.tf32
    torch.backends.cudnn.benchmark = options.loop == "tuned"


def play(options):
    imported = peak_memory()
    torch.set_num_threads(options.threads)
    cuda = options.device.startswith("cuda")
    if cuda:
        set_precision(options)
        torch.cuda.set_device(options.device)
    teacher, student, generator = named(options.teacher), named(options.student), Generator()
    teacher.load_state_dict(load_file(options.weights))
    networks = [network.to(options.device) for network in (teacher, student, generator)]
    if options.channels_last:
        networks = [network.to(memory_format=torch.channels_last) for network in networks]
    if options.compile:
        for network in networks:
            network.compile(mode="reduce-overhead" if replays_modules(options) else "default")
    game = Game(*networks, options)
    if options.graph:
        game.record(options.batch_size)
    seconds, losses, unread = [], [], []
    start = time.perf_counter()
    for done in range(1, options.batches + 1):
        unread.append(game.pseudo_batch(options.batch_size))
        # The first is read by itself, as zskt does it.
        if done % options.window == 1 % options.window or done == options.batches:
            losses += [[loss.item() for loss in of_batch] for of_batch in unread]
            if cuda:
                torch.cuda.synchronize()
            now = time.perf_counter()
            seconds += [(now - start) / len(unread)] * len(unread)
            start = now
            unread.clear()
    found = {"seconds": seconds, "losses": losses, "memory_of_import_bytes": imported}
    if cuda:
        found["allocated_bytes"] = torch.cuda.max_memory_allocated()
    print(json.dumps(found))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=["teacher", "play"], help="write a teacher's random weights, or play")
    parser.add_argument("--teacher", default="16-2", metavar="DEPTH-WIDTH|resnetDEPTH")
    parser.add_argument("--student", default="16-1", metavar="DEPTH-WIDTH")
    parser.add_argument("--weights", required=True, metavar="FILE", help="the teacher's weights")
    parser.add_argument("--loop", choices=["reference", "tuned"], default="tuned")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16 (the tuned loop)")
    parser.add_argument("--tf32", action="store_true", help="allow TF32 in convolutions and products (on a GPU)")
    compiled = "torch.compile (needs a C++ compiler); on a GPU with CUDA graphs of each network"
    parser.add_argument("--compile", action="store_true", help=compiled)
    parser.add_argument("--graph", action="store_true", help="the whole pseudo-batch as a CUDA graph (the tuned loop)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:N")
    parser.add_argument("--window", type=int, default=1, help="pseudo-batches between two readings of clock and losses")
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    if options.graph and (options.loop != "tuned" or not options.device.startswith("cuda")):
        parser.error("--graph needs a GPU and the tuned loop")
    torch.manual_seed(0)
    if options.job == "teacher":
        write_teacher(options.teacher, options.weights)
    else:
        play(options)


if __name__ == "__main__":
    main()
