#!/usr/bin/env python3
"""examples/gradcam.rs in PyTorch: the same network, data, settings, heat maps and test of them.

    python benches/peers/py/gradcam.py --data MNIST_FOLDER
"""

import argparse
import time
from pathlib import Path

import matplotlib
import torch
import torch.nn as nn
import torch.nn.functional as F

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mnist


class Net(nn.Module):
    """Convolutions, whose last maps are 14x14 and cover the image, and what makes scores of them."""

    def __init__(self):
        super().__init__()
        conv = lambda inputs, filters: nn.Sequential(nn.Conv2d(inputs, filters, 3, padding="same"), nn.ReLU())
        self.maps = nn.Sequential(conv(1, 32), nn.MaxPool2d(2), conv(32, 64), conv(64, 64))
        self.head = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3136, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, x):
        return self.head(self.maps(x))


@torch.no_grad()
def predict(model, images):
    model.eval()
    return torch.cat([model(x) for x in images.split(500)])


def heat(model, images, classes, size):
    """How much each pixel speaks for a class, from 0 to 1: one map [n, 1, size, size] for each image and class."""
    maps = model.maps(images)
    # No image has a part in another's score: one backward pass gives the slopes of all.
    score = model.head(maps).gather(1, classes.unsqueeze(1)).sum()
    slopes, = torch.autograd.grad(score, maps)
    heat = (slopes.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
    heat = F.interpolate(heat, size=(size, size), mode="bilinear").detach()
    return heat / (heat.amax((1, 2, 3), keepdim=True) + 1e-9)


def probability(model, images, classes):
    return predict(model, images).softmax(-1).gather(1, classes.unsqueeze(1)).squeeze(1)


def without(images, marks, share):
    """The images without a share of their bright pixels: those with the largest marks."""
    bright = (images > 0).flatten(1)
    order = torch.where(bright, marks.flatten(1), -1).argsort(descending=True)
    place = order.argsort()
    kept = place >= bright.sum(-1, keepdim=True) * share
    return images * kept.view_as(images)


def draw(file, title, model, images, read, truth, wrong):
    """Digits beside what speaks for what they are read as, and, for those that are something else, what speaks for that."""
    large = F.interpolate(images, size=(84, 84)).permute(0, 2, 3, 1).expand(-1, -1, -1, 3)
    parts = [large]
    for classes in (read, truth) if wrong else (read,):
        glow = (heat(model, images, classes, 84).permute(0, 2, 3, 1) * 3 - torch.arange(3, device=images.device)).clamp(0, 1)
        parts += [torch.ones_like(large[:, :, :4]), large * 0.35 + glow * 0.65]
    sheet = torch.cat(parts, 2).cpu()
    figure, axes = plt.subplots(3, 5, figsize=(4 * len(parts), 7), layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, t, r, chance in zip(axes.flat, sheet, truth, read, probability(model, images, read)):
        axis.imshow(image)
        axis.set_title(f"{t} read as {r} ({chance:.2f})")
    figure.suptitle(title)
    figure.savefig(file)


def main():
    parser = argparse.ArgumentParser(description="Train a convolutional network on MNIST, and draw where it looks.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, default=Path.home() / ".cache/wgrad/mnist")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit-train", type=int, default=20_000)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--load", type=Path)
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--out", type=Path, default=Path("target/gradcam-pytorch"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    train, test = (tuple(t.to(args.device) for t in mnist.load(args.data, name)) for name in ("train", "t10k"))
    train = [t[: args.limit_train] for t in train]
    print(f"data: {len(train[0])} training and {len(test[0])} test images")

    model = Net().to(args.device)
    print(model)
    if args.load:
        model.load_state_dict(torch.load(args.load))
    else:
        adam = torch.optim.Adam(model.parameters(), args.lr)
        for epoch in range(args.epochs):
            model.train()
            start, losses = time.perf_counter(), 0.0
            for rows in torch.randperm(len(train[0])).split(args.batch_size):
                loss = F.cross_entropy(model(train[0][rows]), train[1][rows])
                adam.zero_grad()
                loss.backward()
                adam.step()
                losses += loss.item() * len(rows)
            accuracy = predict(model, test[0]).argmax(-1).eq(test[1]).float().mean()
            seconds = time.perf_counter() - start
            print(f"epoch {epoch + 1}: loss {losses / len(train[0]):.4f} val_accuracy {accuracy:.4f} {seconds:.1f} s")
    if args.save:
        torch.save(model.state_dict(), args.save)

    images, truth = test
    read = predict(model, images).argmax(-1)
    right, wrong = (read == truth).nonzero().squeeze(1), (read != truth).nonzero().squeeze(1)
    print(f"read wrongly: {len(wrong)} of {len(images)}")

    right_title = "What speaks for the digit that was read"
    wrong_title = "What speaks for the digit that was read, and, on the right, for the one that it is"
    for name, places, title in [("right.png", right[:15], right_title), ("wrong.png", wrong[:15], wrong_title)]:
        if len(places) > 0:
            draw(args.out / name, title, model, images[places], read[places], truth[places], name == "wrong.png")

    images, read = images[right[:1000]], read[right[:1000]]
    marks = heat(model, images, read, 28)
    tests = [
        ("none", images),
        ("those marked least", without(images, 1 - marks, args.share)),
        ("as many at random", without(images, torch.rand_like(marks), args.share)),
        ("those marked most", without(images, marks, args.share)),
    ]
    print(f"\nprobability of what is read, mean of {len(read)}")
    print(f"without {100 * args.share:.0f} % of the bright pixels:")
    for name, changed in tests:
        print(f"  {name:<20}{probability(model, changed, read).mean():.3f}")


if __name__ == "__main__":
    main()
