"""Each layer of netinnet's training step in PyTorch by itself: its time, and what bounds it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from netinnet import process_memory
from netinnet.bench.peers.alone import median_seconds
from netinnet.bench.peers.chapter_pytorch import multiply
from netinnet.bench.peers.layers import COPIED_VALUES, Step
from netinnet.frameworks.pytorch_learner import PyTorchLearner
from netinnet.fresh_process import answer
from netinnet.networks.layers import Conv
from netinnet.networks.pixel_networks import pixel_networks


def measured(request: dict[str, Any]) -> dict[str, Any]:
    """Of a recipe's network: the machine's peaks, and of each layer FLOPs, bytes and seconds."""
    step = Step.of(request)
    assert isinstance(step.learner, PyTorchLearner)
    process_memory.keep_freed_memory()
    run_of = {placed.name: run for run in pixel_networks(step.network) for placed in run}
    layers: list[dict[str, Any]] = []
    for placed in step.network.placed_layers():
        module = step.learner._model.get_submodule(placed.name)
        run = run_of.get(placed.name, (placed,))
        if placed != run[0] or isinstance(module, nn.Identity | nn.Flatten):
            continue  # part of the layer in front of it, or nothing to do
        # Of layers that are computed together, those whose input is in memory.
        own = [p for p in run if p is run[-1] or isinstance(p.layer, Conv)]
        x = torch.randn(step.pictures, *placed.input).contiguous(memory_format=torch.channels_last)
        found = {
            "name": placed.name if len(run) == 1 else f"{placed.name} to {run[-1].name}",
            "what": "per-pixel network" if len(run) > 1 else type(module).__name__.lstrip("_"),
            **step.work(own, is_first=not layers),
            "seconds": _both_ways(module, x, bool(layers)),
        }
        layers.append(found)
    return step.roofline("PyTorch", layers, multiply, _bandwidth())


def _both_ways(module: nn.Module, x: torch.Tensor, needs_gradient: bool) -> float:
    """Seconds of a layer forward and backward, in training."""
    trained = [*module.parameters()]
    module.train()
    given = x.requires_grad_(needs_gradient)
    is_in_place = getattr(module, "inplace", False)
    if is_in_place:
        module.inplace = False  # type: ignore[assignment]  # it would change a leaf
    gradient = torch.randn_like(module(given))

    def run() -> None:
        inputs = [given, *trained] if needs_gradient else trained
        torch.autograd.grad(module(given), inputs, gradient)

    return median_seconds(run)


def _bandwidth() -> float:
    """Bytes read and written a second by a copy that fits in no cache."""
    a, b = torch.rand(COPIED_VALUES), torch.rand(COPIED_VALUES)
    return 2 * 4 * COPIED_VALUES / median_seconds(lambda: b.copy_(a))


if __name__ == "__main__":
    answer(measured)
