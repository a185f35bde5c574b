#!/usr/bin/env python3
"""examples/segmentation.rs in PyTorch: the same network, data of the same kind, and settings.

    python benches/peers/py/segmentation.py [--images 3000] [--epochs 6]
"""

import argparse
import math
import time
from pathlib import Path

import matplotlib
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SIDE, SHAPES = 64, 3
CLASSES = ["background", "disc", "rectangle", "triangle"]
COLORS = torch.tensor([[0.15, 0.17, 0.2], [0.12, 0.47, 0.71], [0.85, 0.37, 0.01], [0.95, 0.9, 0.55]])


def shapes(n):
    """Images [n, 1, SIDE, SIDE] and the class of every pixel, [n, SIDE, SIDE]."""

    def uniform(low, high):
        return torch.empty(n, 1, 1).uniform_(low, high)

    pixels = torch.arange(SIDE, dtype=torch.float32)
    x, y = pixels.view(1, 1, SIDE), pixels.view(1, SIDE, 1)
    light = (x / SIDE - 0.5) * uniform(-0.4, 0.4) + (y / SIDE - 0.5) * uniform(-0.4, 0.4)
    ground = uniform(0.35, 0.65)
    image, classes = ground, torch.zeros(n, SIDE, SIDE)
    for _ in range(SHAPES):
        # Pixels as the shape sees them: it is upright, in the middle, and of size 1.
        dx, dy = x - uniform(0.1 * SIDE, 0.9 * SIDE), y - uniform(0.1 * SIDE, 0.9 * SIDE)
        angle, size = uniform(0, 2 * math.pi), uniform(0.12 * SIDE, 0.25 * SIDE)
        cos, sin = angle.cos(), angle.sin()
        a, b = ((dx * cos + dy * sin) / size).abs(), (dy * cos - dx * sin) / size
        disc = a**2 + b**2
        rectangle = torch.maximum(a, b.abs() * 1.6)
        triangle = torch.maximum(-2 * b, 3**0.5 * a + b) / 1.4

        kind = uniform(1, 4).floor()
        inside = torch.where(kind == 1, disc, torch.where(kind == 2, rectangle, triangle)) < 1
        contrast = uniform(-1, 1)
        tone = ground + contrast.sign() * 0.1 + contrast * 0.25
        image = torch.where(inside, tone, image)
        classes = torch.where(inside, kind, classes)
    images = (light + image + torch.randn(n, SIDE, SIDE) * 0.06).clamp(0, 1)
    return TensorDataset(images.unsqueeze(1), classes.long())


def block(inputs, filters):
    """Two convolutions that leave the size as it is."""
    layers = []
    for channels in (inputs, filters):
        layers += [
            nn.Conv2d(channels, filters, 3, padding="same", bias=False),
            nn.BatchNorm2d(filters, eps=1e-3),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    def __init__(self, width):
        super().__init__()
        filters = [width, 2 * width, 4 * width]
        self.down = nn.ModuleList(block(i, o) for i, o in zip([1] + filters, filters))
        self.bottom = block(4 * width, 8 * width)
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(2 * f, f, 2, stride=2) for f in reversed(filters))
        self.up = nn.ModuleList(block(2 * f, f) for f in reversed(filters))
        self.head = nn.Conv2d(width, len(CLASSES), 1)

    def forward(self, x):
        passed = []
        for down in self.down:
            x = down(x)
            passed.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottom(x)
        for enlarge, up in zip(self.enlarge, self.up):
            x = up(torch.cat([passed.pop(), enlarge(x)], 1))
        return self.head(x)


@torch.no_grad()
def evaluate(model, loader, device):
    """The loss, and how often each class is taken for each."""
    model.eval()
    loss, matrix = 0.0, torch.zeros(len(CLASSES), len(CLASSES), dtype=torch.long)
    for x, y in loader:
        x, y = x.to(device), y.to(device)
        logits = model(x)
        loss += F.cross_entropy(logits, y).item() * len(x)
        pairs = y * len(CLASSES) + logits.argmax(1)
        matrix += pairs.flatten().bincount(minlength=matrix.numel()).view_as(matrix).cpu()
    model.train()
    return loss / len(loader.dataset), matrix


def scores(matrix):
    """The accuracy, and the intersection over union of each class."""
    right = matrix.diag().double()
    return (right.sum() / matrix.sum()).item(), right / (matrix.sum(0) + matrix.sum(1) - right)


def draw(out, images, truth, answers, history):
    figure, axes = plt.subplots(3, len(images), figsize=(1.2 * len(images), 4))
    for i in range(len(images)):
        axes[0, i].imshow(images[i, 0], cmap="gray", vmin=0, vmax=1)
        axes[1, i].imshow(COLORS[truth[i]])
        axes[2, i].imshow(COLORS[answers[i]])
    for row, name in zip(axes, ["image", "truth", "network"]):
        row[0].set_ylabel(name)
        for axis in row:
            axis.set(xticks=[], yticks=[])
    figure.suptitle("Test images: discs blue, rectangles orange, triangles yellow")
    figure.savefig(out / "segmented.png")
    figure, axes = plt.subplots(1, 3, figsize=(12, 4))
    for k, (axis, name) in enumerate(zip(axes, ["loss", "accuracy", "mean_iou"])):
        axis.plot([e[0][k] for e in history], label="training")
        axis.plot([e[1][k] for e in history], label="validation")
        axis.set(title=name, xlabel="epoch")
        axis.legend()
    figure.savefig(out / "history.png")


def main():
    parser = argparse.ArgumentParser(description="Train a U-Net to segment drawn shapes, and draw what it makes of test images.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("target/segmentation-pytorch"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    train, test = shapes(args.images), shapes(math.ceil(args.images / 5))
    print(f"data: {len(train)} images to train with, {len(test)} to test with")
    model = UNet(args.width).to(args.device)
    print(model)
    print(f"{sum(p.numel() for p in model.parameters())} parameters")
    optimizer = torch.optim.Adam(model.parameters(), args.lr)
    loader = DataLoader(train, args.batch_size, shuffle=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, args.epochs * len(loader), cycle_momentum=False)
    tests = DataLoader(test, args.batch_size)

    history = []
    for epoch in range(args.epochs):
        start, loss_sum = time.perf_counter(), 0.0
        matrix = torch.zeros(len(CLASSES), len(CLASSES), dtype=torch.long)
        for x, y in loader:
            x, y = x.to(args.device), y.to(args.device)
            logits = model(x)
            loss = F.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            loss_sum += loss.item() * len(x)
            pairs = y * len(CLASSES) + logits.argmax(1)
            matrix += pairs.flatten().bincount(minlength=matrix.numel()).view_as(matrix).cpu()
        val_loss, val_matrix = evaluate(model, tests, args.device)
        numbers = [[l, scores(m)[0], scores(m)[1].mean().item()] for l, m in [(loss_sum / len(train), matrix), (val_loss, val_matrix)]]
        history.append(numbers)
        text = " ".join(f"{n} {a:.4f} (val {b:.4f})" for n, a, b in zip(["loss", "accuracy", "mean_iou"], *numbers))
        print(f"epoch {epoch + 1}/{args.epochs}: {text} {time.perf_counter() - start:.1f} s")

    images, truth = (torch.stack(t) for t in zip(*[test[i] for i in range(10)]))
    model.eval()
    with torch.no_grad():
        answers = model(images.to(args.device)).argmax(1).cpu()
    draw(args.out, images, truth, answers, history)

    _, matrix = evaluate(model, tests, args.device)
    accuracy, ious = scores(matrix)
    print("\nintersection over union of test images")
    for name, iou in zip(CLASSES, ious):
        print(f"  {name:<12}{iou:.3f}")
    background = (matrix[0].sum() / matrix.sum()).item()
    print(f"background alone: pixel accuracy {background:.4f}, mean IoU {background / 4:.3f}")
    print(f"network: pixel accuracy {accuracy:.4f}, mean IoU {ious.mean():.3f}")


if __name__ == "__main__":
    main()
