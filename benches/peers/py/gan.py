#!/usr/bin/env python3
"""examples/gan.rs in PyTorch: the same networks, data, losses and settings.

    MNIST_DIR=~/.cache/wgrad/mnist python benches/peers/py/gan.py
"""

import argparse
import os
import time
from itertools import islice
from pathlib import Path

import matplotlib
import torch
import torch.nn.functional as F
from torch import nn

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mnist

NOISE, JUDGED, SURE = 32, 2000, 0.95


def build_gan():
    generator = nn.Sequential(
        nn.Linear(NOISE, 7 * 7 * 64, bias=False),
        nn.Unflatten(1, (64, 7, 7)),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, 2, 1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 4, 2, 1),
        nn.Sigmoid(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(1, 24, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(24, 48, 4, 2, 1, bias=False),
        nn.BatchNorm2d(48),
        nn.LeakyReLU(0.2),
        nn.Conv2d(48, 96, 3, 2, 1, bias=False),
        nn.BatchNorm2d(96),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(4 * 4 * 96, 1),
    )
    initialize(generator, discriminator)
    return generator, discriminator


def train_classifier(train, test):
    images, labels = train
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(5 * 5 * 32, 10),
    )
    initialize(model)
    adam = torch.optim.Adam(model.parameters(), lr=2e-3, eps=1e-7)
    for _ in range(2):
        for rows in torch.randperm(len(images)).split(64):
            adam.zero_grad()
            F.cross_entropy(model(images[rows]), labels[rows]).backward()
            adam.step()
    with torch.no_grad():
        print(f"classifier: test accuracy {(model(test[0]).argmax(-1) == test[1]).float().mean():.4f}")
    return model


def initialize(*networks):
    """The example's initial weights, Keras's: Glorot's, and biases of 0."""
    for layer in (layer for network in networks for layer in network):
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@torch.no_grad()
def judge(name, classifier, images):
    """How many images the classifier is sure of, their inception score, and the share of each class."""
    log_p = classifier(images).log_softmax(-1)
    p = log_p.exp()
    sure = (p.amax(-1) >= SURE).float().mean()
    score = (p * (log_p - p.mean(0).log())).sum(-1).mean().exp()
    counts = "".join(f"{count:5}" for count in p.argmax(-1).bincount(minlength=10).tolist())
    print(f"  {name:<12} {100 * sure:5.1f}%  {score:15.2f}  {counts}")


def sheet(images, columns, title, file, rows=None, captions=None):
    n = -(-len(images) // columns)
    figure, axes = plt.subplots(n, columns, figsize=(columns * 0.9 + 1, n * (1.1 if captions else 0.9) + 0.5), squeeze=False)
    for i, axis in enumerate(axes.flat):
        axis.set(xticks=[], yticks=[])
        axis.set_frame_on(False)
        if i < len(images):
            axis.imshow(images[i].squeeze(), cmap="gray", vmin=0, vmax=1)
        if captions and i < len(images):
            axis.set_xlabel(captions[i], fontsize=8)
        if rows and i % columns == 0:
            axis.set_ylabel(rows[i // columns], rotation=0, ha="right")
    figure.suptitle(title)
    figure.savefig(file)


def endless(samples, batch_size):
    """Rows of one batch after the other: passes over the data follow each other."""
    while True:
        yield from torch.randperm(samples).split(batch_size)


@torch.no_grad()
def generate(generator, noise):
    generator.eval()
    images = generator(noise)
    generator.train()
    return images


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default=os.environ.get("MNIST_DIR", "."))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, default="target/gan_torch")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(arguments.seed)
    train, test = mnist.load(arguments.data, "train"), mnist.load(arguments.data, "t10k")
    arguments.out.mkdir(parents=True, exist_ok=True)
    classifier = train_classifier(train, test)

    generator, discriminator = build_gan()
    print(generator, discriminator, sep="\n")
    of_generator = torch.optim.Adam(generator.parameters(), lr=arguments.lr, betas=(0.5, 0.999), eps=1e-7)
    of_discriminator = torch.optim.Adam(discriminator.parameters(), lr=arguments.lr, betas=(0.5, 0.999), eps=1e-7)
    noise = torch.randn(JUDGED, NOISE)
    untrained = generate(generator, noise)
    batches = endless(len(train[0]), arguments.batch_size)
    sheets, history, start = [untrained[:12]], [], time.perf_counter()
    for epoch in range(1, arguments.epochs + 1):
        sums = torch.zeros(2)
        for rows in islice(batches, arguments.steps):
            digits = train[0][rows]
            drawn = generator(torch.randn(len(digits), NOISE))
            loss_d = (F.softplus(-discriminator(digits)) + F.softplus(discriminator(drawn.detach()))).mean()
            of_discriminator.zero_grad()
            loss_d.backward()
            of_discriminator.step()
            loss_g = F.softplus(-discriminator(drawn)).mean()
            of_generator.zero_grad()
            loss_g.backward()
            of_generator.step()
            sums += torch.stack([loss_g, loss_d]).detach()
        history.append((sums / arguments.steps).tolist())
        sheets.append(generate(generator, noise[:12]))
        print(f"epoch {epoch:>2}/{arguments.epochs}  generator_loss {history[-1][0]:.4f}  discriminator_loss {history[-1][1]:.4f}  "
              f"{time.perf_counter() - start:.1f} s", flush=True)

    names = ["untrained"] + [f"epoch {n}" for n in range(1, len(sheets))]
    sheet(torch.cat(sheets), 12, "Digits of the same noise after each epoch", arguments.out / "progress.png", rows=names)
    drawn = generate(generator, noise)
    p, classes = classifier(drawn[:60]).softmax(-1).max(-1)
    captions = [f"{c} ({100 * p:.0f}%)" for c, p in zip(classes, p)]
    title = "Drawn digits, and what the classifier takes them for"
    sheet(drawn[:60], 10, title, arguments.out / "digits.png", captions=captions)
    if history:
        figure, axis = plt.subplots()
        axis.plot(history, label=["generator", "discriminator"])
        axis.legend()
        figure.savefig(arguments.out / "history.png")
    print(f"{JUDGED} digits      sure  inception score  of the classes 0 to 9")
    judge("of the test", classifier, test[0][:JUDGED])
    judge("untrained", classifier, untrained)
    judge("trained", classifier, drawn)


if __name__ == "__main__":
    main()
