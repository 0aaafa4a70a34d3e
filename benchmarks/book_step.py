"""The chapter's training step: `--recipe book` against a plain transcription of the chapter's code.

Each turn is a process of its own, in turns (ours, plain, ours, plain, …), so that a machine whose
speed drifts treats both alike, and so that peak memory can be read for each. A step is everything:
loading, resizing to 224×224, forward, backward, update. The plain code is what the chapter does:
`nn.Sequential`, `torch.optim.SGD`, pictures resized with PIL in four worker processes.

    python benchmarks/book_step.py            # about 4 minutes
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

BATCH = 128
WARMUP = 1


def peak_gflops() -> float:
    """Matrix-multiply peak of this machine in GFLOP/s: best of a few 2048³ products."""
    import torch

    a, b = torch.rand(2048, 2048), torch.rand(2048, 2048)
    times = []
    for _ in range(6):
        began = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(times) / 1e9


def ours(steps: int) -> float:
    """Images/s of the loop's own step, as `nin train --recipe book` does it."""
    from netinnet import frameworks, weights
    from netinnet.data import batches, datasets
    from netinnet.preprocessing import normalise
    from netinnet.training import memory, recipe, start

    book = recipe.load("book")
    data = datasets.load("fashion-mnist")
    net = start.network_for(book)
    settings = start.learner_settings(book, net, data)
    drawn = weights.initial(net, book.seed, book.initialisation)
    learner = frameworks.adapter("pytorch").learner(settings, drawn)
    memory.keep_freed_memory()
    order = batches.order(len(data.train), book.seed, 0)
    began = 0.0
    for step in range(WARMUP + steps):
        if step == WARMUP:
            began = time.perf_counter()
        chosen = order[step * BATCH : (step + 1) * BATCH]
        images = normalise(data.train.images[chosen], net.preprocessing)
        learner.step(images, data.train.labels[chosen], book.learning_rate, step + 1, step)
    return BATCH * steps / (time.perf_counter() - began)


def plain(steps: int) -> float:
    """Images/s of the chapter's PyTorch code, written out."""
    import torch
    from PIL import Image
    from torch import nn
    from torch.utils.data import DataLoader
    from torch.utils.data import Dataset as TorchDataset

    from netinnet.data import datasets

    class Resized(TorchDataset):  # type: ignore[type-arg]
        def __init__(self) -> None:
            self.split = datasets.load("fashion-mnist").train

        def __len__(self) -> int:
            return len(self.split)

        def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
            picture = Image.fromarray(self.split.images[i, :, :, 0])
            picture = picture.resize((224, 224), Image.Resampling.BILINEAR)
            values = np.asarray(picture, np.float32) / 255
            return torch.from_numpy(values)[None], int(self.split.labels[i])

    def nin_block(inputs: int, outputs: int, kernel: int, strides: int, padding: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, strides, padding),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, kernel_size=1),
            nn.ReLU(),
        )

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
    for step in range(WARMUP + steps):
        if step == WARMUP:
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


def child(which: str, steps: int) -> None:
    gflops = peak_gflops()
    speed = {"ours": ours, "plain": plain}[which](steps)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"speed": speed, "memory": memory, "gflops": gflops}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--pairs", type=int, default=4, help="turns of each (default 4)")
    parser.add_argument("--steps", type=int, default=4, help="timed steps a turn (default 4)")
    parser.add_argument("--child", choices=("ours", "plain"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.steps)
        return
    results: dict[str, list[dict[str, Any]]] = {"ours": [], "plain": []}
    for turn in range(options.pairs):
        for which, found in results.items():
            command = [sys.executable, __file__, "--child", which, "--steps", str(options.steps)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            latest = found[-1]
            print(f"turn {turn + 1} {which:5}: {latest['speed']:.1f} images/s", file=sys.stderr)
    ratios = [
        a["speed"] / b["speed"] for a, b in zip(results["ours"], results["plain"], strict=True)
    ]
    print("| | images/s, median (min–max) | peak memory, MB | matrix-multiply peak, GFLOP/s |")
    print("|---|---|---|---|")
    for which, found in results.items():
        speeds = sorted(r["speed"] for r in found)
        print(
            f"| {which} | {statistics.median(speeds):.1f} ({speeds[0]:.1f}–{speeds[-1]:.1f}) "
            f"| {max(r['memory'] for r in found):.0f} "
            f"| {statistics.median(r['gflops'] for r in found):.0f} |"
        )
    print(
        f"\nratio ours/plain, pair by pair: median {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f}–{max(ratios):.2f})"
    )


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    main()
