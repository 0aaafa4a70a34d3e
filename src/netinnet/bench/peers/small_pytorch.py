"""`nin-small` as one writes it in PyTorch: `nn.Sequential`, a DataLoader, a loop."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from netinnet.bench.peers import chapter_pytorch
from netinnet.bench.peers.prediction import MEAN, STD
from netinnet.data import datasets

BATCH = 128
multiply = chapter_pytorch.multiply


class Pictures(TorchDataset[tuple[torch.Tensor, int]]):
    """Fashion-MNIST, normalised, half of it mirrored."""

    def __init__(self) -> None:
        train = datasets.load("fashion-mnist").train
        self.images = torch.from_numpy(train.pictures(np.arange(len(train)))[:, :, :, 0])
        self.labels = train.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        image = (self.images[i][None].float() / 255 - MEAN) / STD
        return (image.flip(2) if torch.rand(()) < 0.5 else image), self.labels[i]


def block(inputs: int, widths: tuple[int, int, int], last: bool = False) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for number, width in enumerate(widths):
        is_logits = last and number == 2
        kernel = 1 if number else 3
        layers.append(nn.Conv2d(inputs, width, kernel, padding=kernel // 2, bias=is_logits))
        if not is_logits:
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
        inputs = width
    return layers


def network() -> nn.Sequential:
    return nn.Sequential(
        *block(1, (48, 32, 32)),
        nn.MaxPool2d(3, 2, 1),
        *block(32, (64, 64, 64)),
        nn.MaxPool2d(3, 2, 1),
        *block(64, (96, 96, 10), last=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def measure(
    warmup: int, steps: int, workers: int = 0, compiled: bool = False, channels_last: bool = False
) -> float:
    """Images/s of training steps with SGD, the cheapest update."""
    net = network()
    if channels_last:
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    step_of = torch.compile(net) if compiled else net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    loss = nn.CrossEntropyLoss()
    began = 0.0
    for step, (x, y) in enumerate(_batches(warmup + steps, workers)):
        if step == warmup:
            began = time.perf_counter()
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)  # noqa: PLW2901
        optimizer.zero_grad()
        logits = step_of(x)
        loss(logits, y).backward()
        optimizer.step()
        float((logits.argmax(1) == y).sum())
    return BATCH * steps / (time.perf_counter() - began)


def _batches(count: int, workers: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """So many batches, epoch behind epoch."""
    loader = DataLoader(
        Pictures(),
        BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    while count:
        for batch in loader:
            if not count:
                return
            count -= 1
            yield batch
