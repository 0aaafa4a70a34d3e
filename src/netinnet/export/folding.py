"""Batch norms folded into the convolutions before them: the same function, fewer operators."""

from __future__ import annotations

import dataclasses

import numpy as np

from netinnet.networks.blocks import Block
from netinnet.networks.layers import BatchNorm, Conv, Layer
from netinnet.weights import Model, Weights


def folded(model: Model) -> Model:
    """The model without those batch norms that directly follow a convolution of their block.

    In prediction both are linear, so one convolution with a bias does their work, exactly up to
    rounding. Names of convolutions stay. A batch norm elsewhere is left as it is.
    """
    weights: Weights = dict(model.weights)
    blocks = []
    for block in model.network.blocks:
        kept: list[Layer] = []
        conv, norms, renamed = "", 0, {}
        for name, layer in block.named_layers():
            full = f"{block.name}.{name}"
            if isinstance(layer, BatchNorm) and kept and isinstance(kept[-1], Conv):
                _fold(weights, conv, full, layer)
                kept[-1] = dataclasses.replace(kept[-1], bias=True)
                continue
            if isinstance(layer, Conv):
                conv = full
            if isinstance(layer, BatchNorm):
                norms += 1
                renamed[full] = f"{block.name}.{layer.kind}{norms}"
            kept.append(layer)
        weights = {_new_name(name, renamed): array for name, array in weights.items()}
        blocks.append(Block(block.name, tuple(kept), block.residual))
    network = dataclasses.replace(model.network, blocks=tuple(blocks))
    return dataclasses.replace(model, network=network, weights=weights)


def _new_name(name: str, renamed: dict[str, str]) -> str:
    layer, _, tensor = name.rpartition(".")
    return f"{renamed.get(layer, layer)}.{tensor}"


def _fold(weights: Weights, conv: str, norm: str, layer: BatchNorm) -> None:
    """Take the norm's tensors out and scale the convolution's; in float64, rounded once."""
    gain, bias, mean, variance = (
        weights.pop(f"{norm}.{name}").astype(np.float64)
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain / np.sqrt(variance + layer.epsilon)
    kernel = weights[f"{conv}.weight"].astype(np.float64)
    before = weights.get(f"{conv}.bias", np.zeros(len(kernel), np.float32)).astype(np.float64)
    weights[f"{conv}.weight"] = (kernel * scale[:, None, None, None]).astype(np.float32)
    weights[f"{conv}.bias"] = (bias + (before - mean) * scale).astype(np.float32)
