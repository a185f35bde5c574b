"""PyTorch. The variable VARIANT chooses: torch, torch_cl (channels last), torch_compile; torch_cuda, torch_cuda_cl."""

import harness
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(harness.THREADS)
# Float32 proper: no TF32 anywhere.
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False

WORDS = harness.variant("torch").split("_")
DEVICE = torch.device("cuda" if "cuda" in WORDS else "cpu")
FORMAT = torch.channels_last if "cl" in WORDS else torch.contiguous_format


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.conv3 = nn.Conv2d(64, 64, 3)
        self.dense1 = nn.Linear(576, 64)
        self.dense2 = nn.Linear(64, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.conv3(x)).flatten(1)
        return self.dense2(F.relu(self.dense1(x)))


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array)).to(DEVICE)


def image_tensor(images):
    return tensor(images).unsqueeze(1).contiguous(memory_format=FORMAT)


def synchronize():
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


class Training:
    def __init__(self):
        torch.manual_seed(0)
        self.network = Network().to(DEVICE).to(memory_format=FORMAT)
        self.forward = torch.compile(self.network) if "compile" in WORDS else self.network
        self.adam = torch.optim.Adam(self.network.parameters(), lr=1e-3, eps=1e-7, fused=True)

    def step(self, images, labels):
        self.adam.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.forward(image_tensor(images)), tensor(labels))
        loss.backward()
        self.adam.step()
        return loss.detach()

    def read(self, loss):
        return loss.item()

    def classifier(self):
        def classify(images):
            with torch.inference_mode():
                return self.forward(image_tensor(images)).argmax(1).cpu().numpy()

        return classify


class Torch:
    name = "torch"

    def device(self):
        return torch.cuda.get_device_name() if DEVICE.type == "cuda" else "CPU"

    def trainer(self):
        return Training()

    def matmul(self, a, b, times):
        a, b = tensor(a), tensor(b)

        def work(read):
            with torch.inference_mode():
                product = b
                for _ in range(times):
                    product = a @ product
                synchronize()
                return product[0].cpu().numpy() if read else None

        return work

    def conv(self, case, backward):
        image = tensor(harness.uniform((case.batch, case.inputs, case.size, case.size), 1, 2))
        kernel = tensor(harness.uniform((case.outputs, case.inputs, 3, 3), 0.1, 3))
        bias = torch.zeros(case.outputs, device=DEVICE)
        out = case.output_size()
        upstream = tensor(harness.uniform((case.batch, case.outputs, out, out), 1, 4))
        image, kernel, upstream = (t.contiguous(memory_format=FORMAT) for t in (image, kernel, upstream))

        def forward(_):
            with torch.inference_mode():
                F.conv2d(image, kernel, bias, padding=case.padding)
                synchronize()

        def both(_):
            for variable in (image, kernel, bias):
                variable.grad = None
            (F.conv2d(image, kernel, bias, padding=case.padding) * upstream).sum().backward()
            synchronize()

        if not backward:
            return forward
        for variable in (image, kernel, bias):
            variable.requires_grad_()
        return both


harness.main(Torch())
