#!/usr/bin/env python3
"""examples/transfer.rs in PyTorch: the same network, weights, data and optimizers.

    python benches/peers/py/transfer.py --data MNIST_FOLDER              # the comparison
    python benches/peers/py/transfer.py --data MNIST_FOLDER --pretrain   # makes examples/digits_0_to_4.pt

Pictures go into target/transfer-pytorch.
"""

import argparse
import copy
import time
from pathlib import Path

import matplotlib
import torch
import torch.nn as nn
import torch.nn.functional as F

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mnist

WEIGHTS = Path(__file__).parents[3] / "examples/digits_0_to_4.pt"


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(),
        )
        self.head = nn.Linear(288, 5)

    def forward(self, x):
        return self.head(self.features(x))


def five_digits(data, first):
    kept = (data[1] >= first) & (data[1] < first + 5)
    return data[0][kept], data[1][kept] - first


def warp(x):
    """Turns, shears, zooms and shifts each image a little: what is learnt of five digits then says more about others."""
    turn, shear, zoom, right, down = ((2 * torch.rand(len(x)) - 1) * most for most in (0.35, 0.3, 0.2, 0.2, 0.2))
    rows = [(1 + zoom) * turn.cos(), shear - turn.sin(), right], [turn.sin(), (1 + zoom) * turn.cos(), down]
    places = torch.stack([torch.stack(row, 1) for row in rows], 1)
    return F.grid_sample(x, F.affine_grid(places, x.shape, align_corners=False), align_corners=False)


def accuracy(model, test):
    model.eval()
    with torch.no_grad():
        return torch.cat([model(x) for x in test[0].split(256)]).argmax(-1).eq(test[1]).float().mean().item()


def fit(name, model, adam, epochs, train, test, batch_size, change=lambda x: x):
    """The accuracy on the test set before training and after each epoch."""
    print(f"{name}: {sum(p.numel() for p in model.parameters() if p.requires_grad)} weights are trained")
    curve = [accuracy(model, test)]
    for epoch in range(epochs):
        model.train()
        model.features.train(model.features[0].weight.requires_grad)  # frozen, BatchNorm keeps its averages
        start, losses = time.perf_counter(), 0.0
        for rows in torch.randperm(len(train[0])).split(batch_size):
            loss = F.cross_entropy(model(change(train[0][rows])), train[1][rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses += loss.item() * len(rows)
        curve.append(accuracy(model, test))
        print(f"epoch {epoch + 1}  loss {losses / len(train[0]):.4f}  val_accuracy {curve[-1]:.4f}  {time.perf_counter() - start:.1f} s")
    return curve


def plot_curves(curves, file):
    figure, axis = plt.subplots(figsize=(8, 4))
    for name, start, curve in curves:
        axis.plot(range(start, start + len(curve)), curve, label=name)
    axis.set(title="Accuracy on digits 5 to 9", xlabel="epoch")
    axis.legend()
    figure.savefig(file)


def plot_mistakes(model, test, file):
    with torch.no_grad():
        sure, guesses = model(test[0]).softmax(-1).max(-1)
    wrong = (guesses != test[1]).nonzero().squeeze(1)
    wrong = wrong[sure[wrong].argsort(descending=True)][:40]
    figure, axes = plt.subplots(5, 8, figsize=(12, 9))
    for axis in axes.flat:
        axis.axis("off")
    for axis, i in zip(axes.flat, wrong):
        axis.imshow(test[0][i, 0], cmap="gray")
        axis.set_title(f"{test[1][i] + 5} → {guesses[i] + 5}")
    figure.savefig(file)


def main():
    parser = argparse.ArgumentParser(description="Transfer of weights from digits 0 to 4 to digits 5 to 9")
    parser.add_argument("--data", type=Path, default=Path.home() / ".cache/wgrad/mnist")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--pretrain", action="store_true")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=10)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("target/transfer-pytorch"))
    args = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(args.seed)
    train, test = (mnist.load(args.data, name) for name in ("train", "t10k"))

    base = Net()
    if args.pretrain:
        adam = torch.optim.Adam(base.parameters(), lr=args.lr)
        fit("digits 0 to 4", base, adam, 3, five_digits(train, 0), five_digits(test, 0), 64, warp)
        torch.save(base.state_dict(), args.weights)
        return
    base.load_state_dict(torch.load(args.weights))
    print(f"{args.weights}: accuracy {accuracy(base, five_digits(test, 0)):.4f} on digits 0 to 4")

    train, test = [part[:args.images] for part in five_digits(train, 5)], five_digits(test, 5)
    print(f"data: {len(train[0])} training and {len(test[0])} test images of digits 5 to 9")
    run = lambda name, model, adam, epochs: fit(name, model, adam, epochs, train, test, args.batch_size)
    scratch = Net()
    from_scratch = run("from scratch", scratch, torch.optim.Adam(scratch.parameters(), lr=args.lr), 2 * args.epochs)

    model = copy.deepcopy(base)
    model.head = nn.Linear(288, 5)
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    model.features.requires_grad_(False)
    new_head = run("new head", model, torch.optim.Adam(model.head.parameters(), lr=args.lr), args.epochs)
    model.features.requires_grad_(True)
    groups = [{"params": model.features.parameters(), "lr": args.lr / 5}, {"params": model.head.parameters()}]
    fine_tuned = run("fine-tuned", model, torch.optim.Adam(groups, lr=args.lr), args.epochs)

    args.out.mkdir(parents=True, exist_ok=True)
    curves = [("from scratch", 0, from_scratch), ("new head", 0, new_head), ("fine-tuned", args.epochs, fine_tuned)]
    plot_curves(curves, args.out / "curves.png")
    plot_mistakes(model, test, args.out / "mistakes.png")
    for name, _, curve in curves:
        print(f"{name:14} test accuracy {curve[-1]:.4f}")


if __name__ == "__main__":
    main()
