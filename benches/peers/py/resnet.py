#!/usr/bin/env python3
"""examples/resnet.rs in PyTorch: the same network, data, augmentation, optimizer and schedule.

    python benches/peers/py/resnet.py [--data DIR] [--dataset cifar10]

Without CIFAR-10 (binary version) in --data it draws the same kind of synthetic shapes; pictures go into target/resnet-pytorch.
"""

import argparse
import math
import time
from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SHAPES = ["disc", "ring", "square", "frame", "triangle", "cross", "ellipse", "half disc", "crescent", "star"]


def outline(shape, x, y):
    """Below 0 inside of a shape, above outside."""
    r, a, b = (x.square() + y.square()).sqrt(), x.abs(), y.abs()
    match shape:
        case 0:
            return r - 0.85
        case 1:
            return (r - 0.7).abs() - 0.2
        case 2:
            return torch.maximum(a, b) - 0.75
        case 3:
            return (torch.maximum(a, b) - 0.65).abs() - 0.2
        case 4:
            return torch.maximum(0.866 * a + 0.5 * y, -y) - 0.5
        case 5:
            return torch.maximum(torch.minimum(a, b) - 0.25, torch.maximum(a, b) - 0.9)
        case 6:
            return (x.square() + 3 * y.square()).sqrt() - 0.9
        case 7:
            return torch.maximum(r - 0.9, y)
        case 8:
            return torch.maximum(r - 0.9, 0.7 - (x.square() + (y - 0.45).square()).sqrt())
        case _:
            return r - 0.6 - 0.3 * (5 * torch.atan2(y, x)).cos()


def draw(shape, n, seed):
    """Images of one shape, [n, 3, 32, 32] bytes."""
    g = torch.Generator().manual_seed(100 * seed + shape)
    within = lambda low, high, *size: low + (high - low) * torch.rand(n, *size, 1, 1, generator=g)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    u, v, turn, size = x - within(-0.25, 0.25), y - within(-0.25, 0.25), within(0, 2 * math.pi), within(0.5, 0.8)
    along, across = (u * turn.cos() + v * turn.sin()) / size, (v * turn.cos() - u * turn.sin()) / size
    inside = (-30 * size * outline(shape, along, across)).sigmoid().unsqueeze(1)
    stripes = (x * within(-25, 25) + y * within(-25, 25) + within(0, 2 * math.pi)).sin().unsqueeze(1)
    ink, paper = within(0.4, 1, 3), within(0, 0.6, 3)
    noise = torch.randn(n, 3, 32, 32, generator=g) * within(0, 0.12, 1)
    images = paper + inside * (ink - paper) + stripes * within(0, 0.12, 1) + noise
    return (images.clamp(0, 1) * 255).byte()


def shapes(n, seed):
    images = torch.stack([draw(shape, -(-n // 10), seed) for shape in range(10)], 1).flatten(0, 1)[:n]
    return images, torch.arange(n) % 10


def records(files):
    data = np.concatenate([np.fromfile(f, dtype=np.uint8) for f in files]).reshape(-1, 3073)
    return torch.tensor(data[:, 1:]).view(-1, 3, 32, 32), torch.tensor(data[:, 0]).long()


def load_data(args):
    if args.dataset == "cifar10":
        train = records(sorted(Path(args.data).glob("data_batch_*.bin")))
        return CIFAR10, [part[:args.limit_train] for part in train], records([Path(args.data) / "test_batch.bin"])
    return SHAPES, shapes(args.limit_train, 2 * args.seed), shapes(2000, 2 * args.seed + 1)


def augment(x):
    """Flips half of the images, and shifts all by up to four pixels; zeros come from beyond the edge."""
    n = len(x)
    x = torch.where(torch.rand(n, 1, 1, 1) < 0.5, x.flip(-1), x)
    rows, columns = (torch.randint(0, 9, (n, 1)) + torch.arange(32) for _ in range(2))
    x = F.pad(x, (4, 4, 4, 4)).permute(0, 2, 3, 1)
    return x[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def conv(inputs, filters, kernel, stride):
    return nn.Sequential(
        nn.Conv2d(inputs, filters, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(filters),
    )


class Block(nn.Module):
    def __init__(self, inputs, filters, stride):
        super().__init__()
        self.first = conv(inputs, filters, 3, stride)
        self.second = conv(filters, filters, 3, 1)
        self.projection = conv(inputs, filters, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        return F.relu(self.second(F.relu(self.first(x))) + self.projection(x))


class ResNet(nn.Module):
    def __init__(self, blocks, classes):
        super().__init__()
        self.stem = conv(3, 16, 3, 1)
        self.blocks = nn.ModuleList()
        inputs = 16
        for filters in (16, 32, 64):
            for _ in range(blocks):
                self.blocks.append(Block(inputs, filters, filters // inputs))
                inputs = filters
        self.head = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x):
        x = (x / 255 - 0.5) / 0.25
        if self.training:
            x = augment(x)
        x = F.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


def predict(model, images):
    model.eval()
    with torch.no_grad():
        return torch.cat([model(x) for x in images.split(256)])


def fit(model, train, test, args):
    (x, y), steps = train, -(-len(train[0]) // args.batch_size)
    sgd = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, nesterov=True, weight_decay=args.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(sgd, args.lr, args.epochs * steps, cycle_momentum=False)
    history = []
    for epoch in range(args.epochs):
        model.train()
        start, losses, right = time.perf_counter(), 0.0, 0
        for rows in torch.randperm(len(x)).split(args.batch_size):
            logits = model(x[rows])
            loss = F.cross_entropy(logits, y[rows])
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            schedule.step()
            losses += loss.item() * len(rows)
            right += (logits.argmax(-1) == y[rows]).sum().item()
        logits = predict(model, test[0])
        of_test = F.cross_entropy(logits, test[1]).item(), (logits.argmax(-1) == test[1]).float().mean().item()
        history.append((losses / len(x), right / len(x), *of_test))
        print("epoch %d  loss %.4f  accuracy %.4f  val_loss %.4f  val_accuracy %.4f" % (epoch + 1, *history[-1]),
              f" {time.perf_counter() - start:.1f} s", flush=True)
    return history


def plot_history(history, file):
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5))
    epochs = range(1, len(history) + 1)
    for axis, name, at in zip(axes, ["loss", "accuracy"], [0, 1]):
        axis.plot(epochs, [h[at] for h in history], label="training")
        axis.plot(epochs, [h[at + 2] for h in history], label="validation")
        axis.set(title=name, xlabel="epoch")
        axis.legend()
    figure.savefig(file)


def plot_confusion(counts, classes, file):
    figure, axis = plt.subplots(figsize=(7, 7))
    axis.imshow(counts, cmap="Blues")
    axis.set(xticks=range(10), yticks=range(10), yticklabels=classes, xlabel="predicted", ylabel="true")
    axis.set_xticklabels(classes, rotation=90)
    for i in range(10):
        for j in range(10):
            axis.text(j, i, int(counts[i, j]), ha="center", va="center")
    figure.tight_layout()
    figure.savefig(file)


def plot_mistakes(logits, test, classes, file):
    sure, guesses = logits.softmax(-1).max(-1)
    wrong = (guesses != test[1]).nonzero().squeeze(1)
    wrong = wrong[sure[wrong].argsort(descending=True)][:40]
    figure, axes = plt.subplots(5, 8, figsize=(13, 9))
    for axis in axes.flat:
        axis.axis("off")
    for axis, i in zip(axes.flat, wrong):
        axis.imshow(test[0][i].permute(1, 2, 0))
        axis.set_title(f"{classes[test[1][i]]} → {classes[guesses[i]]}", fontsize=7)
    figure.savefig(file)


def main():
    parser = argparse.ArgumentParser(description="A CIFAR ResNet")
    parser.add_argument("--data", default=Path.home() / ".cache/wgrad/cifar10/cifar-10-batches-bin")
    parser.add_argument("--dataset", choices=["cifar10", "synthetic"], default="synthetic")
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit-train", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("target/resnet-pytorch"))
    args = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(args.seed)
    classes, train, test = load_data(args)
    print(f"data {args.dataset}: {len(train[0])} training and {len(test[0])} test images")
    model = ResNet(args.blocks, len(classes)).to(memory_format=torch.channels_last)
    print(model, sum(p.numel() for p in model.parameters()), "parameters")
    args.out.mkdir(parents=True, exist_ok=True)
    history = fit(model, train, test, args)
    logits = predict(model, test[0])
    counts = torch.zeros(10, 10).index_put_((test[1], logits.argmax(-1)), torch.ones(()), accumulate=True)
    plot_confusion(counts, classes, args.out / "confusion.png")
    plot_mistakes(logits, test, classes, args.out / "mistakes.png")
    if history:
        plot_history(history, args.out / "history.png")
    print(f"test accuracy {(counts.trace() / counts.sum()).item():.4f}")


if __name__ == "__main__":
    main()
