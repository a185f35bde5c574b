#!/usr/bin/env python3
"""examples/pinn.rs in PyTorch: the same network, equation, loss and settings.

    python benches/peers/py/pinn.py [--dtype float64] [--steps 8000]
"""

import argparse
import math
import time
from pathlib import Path

import matplotlib
import torch
import torch.nn as nn

matplotlib.use("Agg")
import matplotlib.pyplot as plt

VISCOSITY = 0.01 / math.pi
TIMES = [0.0, 0.25, 0.5, 1.0]


class Net(nn.Module):
    """Layers of tanh, the last one without."""

    def __init__(self, width):
        super().__init__()
        layers = []
        for inputs, outputs in zip([2] + [width] * 4, [width] * 4 + [1]):
            linear = nn.Linear(inputs, outputs)
            nn.init.xavier_normal_(linear.weight)
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.Tanh()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x, t):
        """u at points [n, 1]. By its form it is -sin(pi x) at t = 0, and 0 at x = -1 and 1."""
        return t * (1 - x**2) * self.layers(torch.cat([x, 2 * t - 1], 1)) - torch.sin(math.pi * x)

    def residual(self, x, t):
        """How far the equation is from fulfilled at points [n, 1]. What is steep counts less (Liu et al., 2024)."""
        x.requires_grad_()
        t.requires_grad_()
        u = self(x, t)
        u_x, u_t = torch.autograd.grad(u.sum(), (x, t), create_graph=True)
        u_xx, = torch.autograd.grad(u_x.sum(), x, create_graph=True)
        return (u_t + u * u_x - VISCOSITY * u_xx) / (1 + 0.1 * u_x.detach().abs())

    @torch.no_grad()
    def at(self, x, t):
        """u at points [..], for comparison."""
        like = next(self.parameters())
        return self(x.reshape(-1, 1).to(like), t.reshape(-1, 1).to(like)).view(x.shape).cpu().double()


def exact(x, t):
    """The exact solution (Cole and Hopf), with sums for its integrals."""
    z = torch.arange(-240, 241, dtype=torch.float64) / 20
    y = math.pi * (x.unsqueeze(-1) - z * (4 * VISCOSITY * t.unsqueeze(-1)).sqrt())
    weight = torch.exp(-(z**2) - (1 + y.cos()) / (2 * math.pi * VISCOSITY))
    return -(weight * y.sin()).sum(-1) / weight.sum(-1)


def relative_error(u, truth):
    return ((u - truth).norm() / truth.norm()).item()


def draw(out, net, x, t, truth):
    figure, axes = plt.subplots(1, len(TIMES), figsize=(12, 3), sharey=True)
    for axis, time_ in zip(axes, TIMES):
        line = torch.linspace(-1, 1, 201, dtype=torch.float64)
        axis.plot(line, exact(line, torch.full_like(line, time_)), label="exact")
        axis.plot(line, net.at(line, torch.full_like(line, time_)), "--", label="network")
        axis.set(title=f"t = {time_}", xlabel="x")
    axes[0].legend()
    figure.savefig(out / "curves.png")
    u = net.at(x, t)
    figure, axes = plt.subplots(3, 1, figsize=(8, 9))
    for axis, (name, values) in zip(axes, [("network", u), ("exact", truth), ("10 x difference", 10 * (u - truth))]):
        axis.imshow(values, cmap="bwr", vmin=-1, vmax=1, extent=(0, 1, -1, 1), aspect="auto")
        axis.set(title=name, xlabel="t", ylabel="x")
    figure.tight_layout()
    figure.savefig(out / "field.png")


def main():
    parser = argparse.ArgumentParser(description="Train a physics-informed network to solve Burgers' equation.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float64")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("target/pinn-pytorch"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    dtype = getattr(torch, args.dtype)
    net = Net(args.width).to(args.device, dtype)
    print(net)
    x, t = torch.meshgrid(
        torch.linspace(1, -1, 129, dtype=torch.float64), torch.linspace(0, 1, 257, dtype=torch.float64), indexing="ij"
    )
    truth = exact(x, t)

    adam = torch.optim.Adam(net.parameters(), args.lr, eps=1e-7)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, args.steps)
    start = time.perf_counter()
    for step in range(1, args.steps + 1):
        px, pt = torch.rand(2, args.points, 1, device=args.device, dtype=dtype)
        loss = net.residual(2 * px - 1, pt).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
        if step % 500 == 0:
            error = relative_error(net.at(x, t), truth)
            print(f"step {step}: loss {loss.item():.2e}, error {error:.4f}, {time.perf_counter() - start:.1f} s", flush=True)

    draw(args.out, net, x, t, truth)
    unchanged = exact(x, torch.zeros_like(t))
    print("\nnorm of the error, as a share of the solution's")
    print(f"  as at the beginning  {relative_error(unchanged, truth):.4f}")
    print(f"  network              {relative_error(net.at(x, t), truth):.4f}")


if __name__ == "__main__":
    main()
