"""The chapter in PyTorch: `nn.Sequential`, `torch.optim.SGD`, PIL resizing in four workers."""

from __future__ import annotations

import multiprocessing
import time

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from netinnet.data import datasets

BATCH = 128
SIZE = 224


class Resized(TorchDataset):
    def __init__(self) -> None:
        train = datasets.load("fashion-mnist").train
        self.images = train.pictures(np.arange(len(train)))[:, :, :, 0]
        self.labels = train.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        picture = Image.fromarray(self.images[i])
        picture = picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        values = np.asarray(picture, np.float32) / 255
        return torch.from_numpy(values)[None], self.labels[i]


def nin_block(inputs: int, outputs: int, kernel: int, strides: int, padding: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, strides, padding),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, kernel_size=1),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, kernel_size=1),
        nn.ReLU(),
    )


def measure(warmup: int, steps: int) -> float:
    """Images/s of training steps: loading, resizing, forward, backward, update."""
    multiprocessing.set_start_method("fork", force=True)
    net = nn.Sequential(
        nin_block(1, 96, 11, 4, 0),
        nn.MaxPool2d(3, stride=2),
        nin_block(96, 256, 5, 1, 2),
        nn.MaxPool2d(3, stride=2),
        nin_block(256, 384, 3, 1, 1),
        nn.MaxPool2d(3, stride=2),
        nn.Dropout(0.5),
        nin_block(384, 10, 3, 1, 1),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
    )
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loss = nn.CrossEntropyLoss()
    net.train()
    began = 0.0
    loader = iter(DataLoader(Resized(), BATCH, shuffle=True, num_workers=4))
    for step in range(warmup + steps):
        if step == warmup:
            began = time.perf_counter()
        x, y = next(loader)
        optimizer.zero_grad()
        y_hat = net(x)
        value = loss(y_hat, y)
        value.backward()
        optimizer.step()
        float(value), float((y_hat.argmax(1) == y).sum())
    seconds = time.perf_counter() - began
    del loader
    return BATCH * steps / seconds


def multiply(n: int) -> float:
    a, b = torch.rand(n, n), torch.rand(n, n)
    began = time.perf_counter()
    a @ b
    return time.perf_counter() - began
