#!/usr/bin/env python3
"""examples/vae.rs in PyTorch: the same network, data, loss and settings.

    MNIST_DIR=~/.cache/wgrad/mnist python benches/peers/py/vae.py
"""

import argparse
import os
import time
from pathlib import Path

import matplotlib
import torch
import torch.nn.functional as F
from torch import nn

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mnist

PIXELS, SIDE, REACH = 28 * 28, 20, 2.5


class Vae(nn.Module):
    def __init__(self, latent):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(PIXELS, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 2 * latent)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, 256), nn.ReLU(), nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, PIXELS),
            nn.Unflatten(1, (1, 28, 28)),
        )
        # The example's initial weights, Keras's; PyTorch's own end 2 nats better.
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def encode(self, x):
        return self.encoder(x).chunk(2, -1)

    def draw(self, z):
        return self.decoder(z).sigmoid()

    def forward(self, x):
        return self.draw(self.encode(x)[0])


def losses(vae, x, generator):
    """Reconstruction and KL divergence, nats per image."""
    mean, log_variance = vae.encode(x)
    noise = torch.randn(mean.shape, generator=generator)
    logits = vae.decoder(mean + (0.5 * log_variance).exp() * noise)
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    kl = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(-1).mean()
    return reconstruction, kl


@torch.no_grad()
def evaluate(vae, images, batch_size):
    generator = torch.Generator().manual_seed(0)
    sums = sum(torch.stack(losses(vae, x, generator)) * len(x) for x in images.split(batch_size))
    return (sums / len(images)).tolist()


def plane(vae):
    up = torch.linspace(REACH, -REACH, SIDE)
    y, x = torch.meshgrid(up, -up, indexing="ij")
    digits = vae.draw(torch.stack([x, y], -1).view(-1, 2)).view(SIDE, SIDE, 28, 28)
    return digits.permute(0, 2, 1, 3).reshape(SIDE * 28, SIDE * 28)


def sheet(images, columns, title, file):
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(columns * 0.8, rows * 0.8 + 0.4))
    for axis, image in zip(axes.flat, images):
        axis.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1)
    for axis in axes.flat:
        axis.axis("off")
    figure.suptitle(title)
    figure.savefig(file)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default=os.environ.get("MNIST_DIR", "."))
    parser.add_argument("--latent", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit-train", type=int)
    parser.add_argument("--out", type=Path, default="target/vae_torch")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(arguments.seed)
    (train, _), (test, _) = (mnist.load(arguments.data, name) for name in ("train", "t10k"))
    train = train[: arguments.limit_train]
    arguments.out.mkdir(parents=True, exist_ok=True)

    vae = Vae(arguments.latent)
    print(vae)
    adam = torch.optim.Adam(vae.parameters(), lr=arguments.lr, eps=1e-7)
    before = evaluate(vae, test, arguments.batch_size)
    history, start = [], time.perf_counter()
    for epoch in range(1, arguments.epochs + 1):
        sums = torch.zeros(2)
        for rows in torch.randperm(len(train)).split(arguments.batch_size):
            reconstruction, kl = losses(vae, train[rows], None)
            adam.zero_grad()
            (reconstruction + kl).backward()
            adam.step()
            sums += torch.stack([reconstruction, kl]).detach() * len(rows)
        history.append((sums / len(train)).tolist() + evaluate(vae, test, arguments.batch_size))
        numbers = "  ".join(f"{name} {v:.2f}" for name, v in zip(["reconstruction", "kl", "val_reconstruction", "val_kl"], history[-1]))
        print(f"epoch {epoch:>2}/{arguments.epochs}  {numbers}  {time.perf_counter() - start:.1f} s", flush=True)

    with torch.no_grad():
        images = test[:12]
        title = "Test images, and what is drawn at their means"
        sheet(torch.cat([images, vae(images)]), 12, title, arguments.out / "reconstructions.png")
        if arguments.latent == 2:
            plt.imsave(arguments.out / "plane.png", plane(vae), cmap="gray")
        digits = vae.draw(torch.randn(60, arguments.latent))
        sheet(digits, 10, "Digits at points drawn from chance", arguments.out / "samples.png")
    if history:
        figure, axes = plt.subplots(1, 2, figsize=(10, 4))
        for i, (axis, name) in enumerate(zip(axes, ["reconstruction", "kl"])):
            axis.plot([epoch[i] for epoch in history], label="training")
            axis.plot([epoch[i + 2] for epoch in history], label="validation")
            axis.set_title(name)
            axis.legend()
        figure.savefig(arguments.out / "history.png")
    reconstruction, kl = history[-1][2:] if history else before
    print(f"test ELBO {-reconstruction - kl:.2f} nats per image (untrained: {-sum(before):.2f})")
    print(f"  reconstruction {reconstruction:.2f}, KL divergence {kl:.2f}")


if __name__ == "__main__":
    main()
