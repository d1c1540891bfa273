"""PyTorch's side of `syntheses.py`: Fast-Datafree's inner game and its student's steps, timed, as JSON on standard output.

Written as a careful user would: no gradient that nobody uses, fused optimizers, crops of a whole batch at once, and the statistics of
the teacher's batch norms by a function whose gradient is one pass.
"""

import argparse
import copy
import json
import math
import time

import torch
import torch.nn.functional as F
from pseudo_batches_torch import SIZE, conv, named
from safetensors.torch import load_file
from torch import nn

LATENT, CLASSES, PAD = 256, 10, 4
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
STATISTICS, SHOWS, DIFFERS, TEMPERATURE = 10.0, 0.4, 1.1, 20.0
GENERATOR_LR, LATENTS_LR, OUTER_LR, BETAS = 3e-3, 0.01, 0.015, (0.5, 0.999)
STUDENT_LR, MOMENTUM, WEIGHT_DECAY = 0.2, 0.9, 1e-4
# What the averages of the statistics keep from synthesis to synthesis.
KEPT = 0.9


class Generator(nn.Module):
    """The authors' generator: pixels from 0 to 1."""

    def __init__(self, memory_format):
        super().__init__()
        self.memory_format = memory_format
        self.fc, self.bn0 = nn.Linear(LATENT, 128 * (SIZE // 4) ** 2), nn.BatchNorm2d(128)
        self.conv1, self.bn1 = conv(128, 128, 3), nn.BatchNorm2d(128)
        self.conv2, self.bn2 = conv(128, 64, 3), nn.BatchNorm2d(64)
        self.conv3 = nn.Conv2d(64, 3, 3, padding=1)

    def forward(self, latents):
        x = self.fc(latents).unflatten(1, (128, SIZE // 4, SIZE // 4))
        x = F.interpolate(self.bn0(x.contiguous(memory_format=self.memory_format)), scale_factor=2)
        x = F.interpolate(F.leaky_relu(self.bn1(self.conv1(x)), 0.2, inplace=True), scale_factor=2)
        return self.conv3(F.leaky_relu(self.bn2(self.conv2(x)), 0.2, inplace=True)).sigmoid()


class Moments(torch.autograd.Function):
    """Mean and biased variance of each channel. By itself PyTorch reads the map several times more, forward and backward."""

    @staticmethod
    def forward(context, x):
        last = x.is_contiguous(memory_format=torch.channels_last)
        pixels, over = (x.permute(0, 2, 3, 1).flatten(0, 2), 0) if last else (x, (0, 2, 3))
        mean = pixels.mean(over)
        variance = pixels.square().mean(over) - mean.square()
        context.save_for_backward(x, mean)
        return mean, variance

    @staticmethod
    def backward(context, of_mean, of_variance):
        x, mean = context.saved_tensors
        count = x.numel() / x.shape[1]
        factor = of_variance * (2 / count)
        term = of_mean / count - factor * mean
        return torch.addcmul(term.view(1, -1, 1, 1), x, factor.view(1, -1, 1, 1))


class Statistics:
    """Of what the teacher's batch norms are given, beside what they tracked in its training."""

    def __init__(self, teacher):
        self.norms = [module for module in teacher.modules() if isinstance(module, nn.BatchNorm2d)]
        self.tracked = torch.cat([part for norm in self.norms for part in (norm.running_mean, norm.running_var)])
        self.sizes = [size for norm in self.norms for size in (norm.num_features,) * 2]
        self.now, self.averages = [], None
        for norm in self.norms:
            norm.register_forward_pre_hook(self.see)

    def see(self, _, inputs):
        if torch.is_grad_enabled():
            self.now += Moments.apply(inputs[0])

    def distance(self):
        now = torch.cat(self.now)
        self.now.clear()
        self.last = now.detach()
        if self.averages is not None:
            now = (1 - KEPT) * now + KEPT * self.averages
        return sum(part.norm() for part in (now - self.tracked).split(self.sizes))

    def remember(self):
        self.averages = self.last if self.averages is None else KEPT * self.averages + (1 - KEPT) * self.last


class Game:
    """Teacher, student, generator, and the bank between them."""

    def __init__(self, options):
        self.memory_format = torch.channels_last if options.channels_last else torch.contiguous_format
        self.size, self.steps = options.images, options.steps
        teacher, student = named(options.teacher), named(options.student)
        teacher.load_state_dict(load_file(options.weights))
        networks = (teacher.eval(), student, Generator(self.memory_format))
        self.teacher, self.student, self.generator = (it.to(memory_format=self.memory_format) for it in networks)
        self.teacher.requires_grad_(False)
        self.statistics = Statistics(self.teacher)
        self.mean, self.std = (torch.tensor(numbers).view(1, 3, 1, 1) for numbers in (MEAN, STD))
        self.outer = torch.optim.Adam(self.generator.parameters(), OUTER_LR, BETAS, fused=True)
        self.imitate = torch.optim.SGD(
            student.parameters(), STUDENT_LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.imitate, options.batches, 1e-3 * STUDENT_LR)
        self.bank = torch.empty(0, 3, SIZE, SIZE, dtype=torch.uint8)

    def seen(self, pixels):
        """Cropped from a black margin, mirrored by chance, normalized."""
        count = len(pixels)
        rows, columns = torch.randint(2 * PAD + 1, (2, count, 1)) + torch.arange(SIZE)
        columns = torch.where(torch.rand(count, 1) < 0.5, columns.flip(1), columns)
        padded = F.pad(pixels, (PAD,) * 4)
        width = SIZE + 2 * PAD
        index = (rows.unsqueeze(2) * width + columns.unsqueeze(1)).view(count, 1, -1).expand(-1, 3, -1)
        cropped = padded.flatten(2).gather(2, index).view_as(pixels)
        return ((cropped - self.mean) / self.std).contiguous(memory_format=self.memory_format)

    def synthesize(self):
        """Steps of a copy of the generator and of latents; the best images into the bank, one step of the generator itself."""
        self.student.eval().requires_grad_(False)
        latents = torch.randn(self.size, LATENT, requires_grad=True)
        classes = torch.randint(CLASSES, (self.size,))
        generator = copy.deepcopy(self.generator).train()
        weights = list(generator.parameters())
        groups = [{"params": weights}, {"params": [latents], "lr": LATENTS_LR}]
        optimizer = torch.optim.Adam(groups, GENERATOR_LR, BETAS, fused=True)
        sums, smallest = None, math.inf
        for _ in range(self.steps):
            images = generator(latents)
            loss = self.loss(self.seen(images), classes)
            value = loss.item()
            if value < smallest:
                smallest, best = value, images.detach()
            optimizer.zero_grad()
            loss.backward()
            gradients = [weight.grad for weight in weights]
            if sums is None:
                sums = [gradient.clone() for gradient in gradients]
            else:
                torch._foreach_add_(sums, gradients)
            optimizer.step()
        for weight, total in zip(self.generator.parameters(), sums):
            weight.grad = total
        self.outer.step()
        self.statistics.remember()
        self.bank = torch.cat([self.bank, (best * 255).to(torch.uint8)])
        return value

    def loss(self, images, classes):
        beliefs = self.teacher(images)[0]
        logits = self.student(images)[0]
        terms = F.kl_div(F.log_softmax(logits, 1), F.log_softmax(beliefs, 1), reduction="none", log_target=True)
        agree = logits.argmax(1) == beliefs.argmax(1)
        differs = (terms.sum(1) * agree).mean()
        return STATISTICS * self.statistics.distance() + SHOWS * F.cross_entropy(beliefs, classes) - DIFFERS * differs

    def distill(self):
        """A step of the student on images of the bank."""
        self.student.train().requires_grad_(True)
        images = self.seen(self.bank[torch.randint(len(self.bank), (self.size,))].float() / 255)
        with torch.no_grad():
            beliefs = F.log_softmax(self.teacher(images)[0] / TEMPERATURE, 1)
        logits = F.log_softmax(self.student(images)[0] / TEMPERATURE, 1)
        loss = F.kl_div(logits, beliefs, reduction="batchmean", log_target=True) * TEMPERATURE**2
        self.imitate.zero_grad()
        loss.backward()
        self.imitate.step()
        self.schedule.step()
        return loss.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="16-2", metavar="DEPTH-WIDTH")
    parser.add_argument("--student", default="16-1", metavar="DEPTH-WIDTH")
    parser.add_argument("--weights", required=True, metavar="FILE", help="the teacher's weights")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--images", type=int, default=256, help="of a synthesis, and of the student's batch")
    parser.add_argument("--steps", type=int, default=5, help="of a synthesis")
    parser.add_argument("--every", type=int, default=3, help="batches of the student between two syntheses")
    parser.add_argument("--batches", type=int, default=9, help="of the student")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--processor-time", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.processor_time else time.perf_counter
    game = Game(options)
    found = []
    for batch in range(options.batches):
        begin = clock()
        made = game.synthesize() if batch % options.every == 0 else None
        learnt = game.distill()
        found.append({"seconds": clock() - begin, "synthesize": made, "imitate": learnt})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
