"""What a file of arrays alone does not say: shown, and settable."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

from netinnet.errors import ModelError
from netinnet.formats.scaling import preprocessing
from netinnet.networks.layers import (
    GELU,
    AvgPool,
    BatchNorm,
    Conv,
    GlobalAvgPool,
    Layer,
    LeakyReLU,
    Linear,
    MaxPool,
    ReLU,
    Sigmoid,
)
from netinnet.networks.network import Network

_POOLS = (MaxPool, AvgPool)
_FUNCTIONS = (ReLU, LeakyReLU, GELU, Sigmoid)


class Assumption(NamedTuple):
    """Something that the converted model has, and the file does not say."""

    what: str
    value: str
    flag: str
    """What sets it."""


def adjusted(
    network: Network,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    epsilon: float | None = None,
    pool_ceil: bool | None = None,
) -> Network:
    """The network with other constants. Raises ModelError where it has nothing that they change."""
    if mean is not None or std is not None:
        wide = max(len(mean or ()), len(std or ()))
        if wide not in (1, network.input.channels):
            channels = network.input.channels
            raise ModelError(
                f"--mean, --std: {wide} values, {network.name} has {channels} channels"
            )
        made = preprocessing(mean or (0.0,) * wide, std or (1.0,) * wide)
        made = dataclasses.replace(made, fit=network.preprocessing.fit)
        network = dataclasses.replace(network, preprocessing=made)
    if epsilon is not None:
        if not 0 < epsilon < 1:
            raise ModelError(f"--epsilon must be above 0 and below 1, got {epsilon:g}")
        network = _with(
            network, BatchNorm, lambda o: dataclasses.replace(o, epsilon=epsilon), "--epsilon"
        )
    if pool_ceil is not None:
        flag = "--pool-ceil" if pool_ceil else "--no-pool-ceil"
        network = _with(
            network, _POOLS, lambda o: dataclasses.replace(o, ceil=pool_ceil, same=False), flag
        )
    return network


def assumed(network: Network) -> list[Assumption]:
    """What is taken as `network` has it, for a file of arrays alone."""
    layers = [p.layer for p in network.placed_layers()]
    pools = [o.describe() for o in layers if isinstance(o, (*_POOLS, GlobalAvgPool))]
    windows = [o.describe() for o in layers if isinstance(o, Conv)]
    epsilons = {f"{o.epsilon:g}" for o in layers if isinstance(o, BatchNorm)}
    functions = {o.describe() for o in layers if type(o) in _FUNCTIONS}
    last = max(i for i, o in enumerate(layers) if isinstance(o, Conv | Linear)) if windows else -1
    after = any(type(o) in _FUNCTIONS for o in layers[last + 1 :])
    head = [o.describe() for o in layers[last:] if isinstance(o, GlobalAvgPool | Linear)]
    rows = [
        Assumption("strides and padding", _listed(windows), "--network"),
        Assumption("pools", _listed(pools) or "none", "--network, --pool-ceil"),
        Assumption("epsilon", ", ".join(sorted(epsilons)), "--epsilon"),
        Assumption("activation", ", ".join(sorted(functions)) or "none", "--network"),
        Assumption(
            "behind the last convolution", "an activation" if after else "nothing", "--logits-relu"
        ),
        Assumption("head", ", ".join(head), "--network, --head"),
        scaling(network),
        classes(network),
    ]
    return [row for row in rows if row.value]


def scaling(network: Network) -> Assumption:
    """What is done to picture values."""
    mean, std = (
        ", ".join(f"{value:g}" for value in values)
        for values in (network.preprocessing.mean, network.preprocessing.std)
    )
    order = ", channels red, green, blue" if network.input.channels == 3 else ""
    value = f"0…255 become 0…1, mean {mean}, standard deviation {std}{order}"
    return Assumption("pictures", value, "--mean, --std")


def classes(network: Network) -> Assumption:
    """What the outputs are called, one after the other."""
    names = network.classes
    if names == tuple(map(str, range(len(names)))):
        return Assumption("classes", f"0 to {len(names) - 1}: no names", "--dataset")
    shown = ", ".join((*names[:3], *(("…", names[-1]) if len(names) > 3 else ())))
    return Assumption("classes", f"{shown}: {len(names)} in this order", "--network, --dataset")


def _listed(texts: Sequence[str]) -> str:
    """Each text once, with how often it is there in a row."""
    runs: list[tuple[str, int]] = []
    for text in texts:
        same = bool(runs) and runs[-1][0] == text
        runs[-1:] = [(text, runs[-1][1] + 1)] if same else [*runs[-1:], (text, 1)]
    return "; ".join(f"{count} × {text}" if count > 1 else text for text, count in runs)


def _with(
    network: Network, kinds: type | tuple[type, ...], change: Callable[..., Layer], flag: str
) -> Network:
    if not any(isinstance(p.layer, kinds) for p in network.placed_layers()):
        what = "batch norm" if kinds is BatchNorm else "pools"
        raise ModelError(f"{flag}: {network.name} has no {what}")
    blocks = tuple(
        dataclasses.replace(
            block, layers=tuple(change(o) if isinstance(o, kinds) else o for o in block.layers)
        )
        for block in network.blocks
    )
    return dataclasses.replace(network, blocks=blocks)
