"""PyTorch: native modules, and a learner that runs the exact rewrites in channels-last layout."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netinnet import network as description
from netinnet.errors import FrameworkError
from netinnet.frameworks.learner import LearnerSettings, roles
from netinnet.network import Layer, Network, Shape
from netinnet.optimizer import ArrayFunctions
from netinnet.preprocessing import resize_matrix
from netinnet.rewrite import ResizedConv, activation_behind_pool, fold_resize
from netinnet.weights import Array, Weights, shapes

FUNCTIONS = ArrayFunctions(sum=torch.sum, reshape=torch.reshape, transpose=torch.t)


def version() -> str:
    return str(torch.__version__)


def build(network: Network, weights: Mapping[str, Array]) -> nn.Sequential:
    """The network as nested `nn.Sequential`s, named as in the description; input N×C×H×W."""
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    placed = iter(network.placed_layers())
    for block in network.blocks:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for (name, layer), place in zip(block.named_layers(), placed, strict=False):
            layers[name] = _module(layer, place.input)
        blocks[block.name] = nn.Sequential(layers)
    model = nn.Sequential(blocks)
    _load(model, weights)
    return model


def _module(layer: Layer, shape: Shape) -> nn.Module:
    """The native module of one layer whose input is `shape`."""
    match layer:
        case ResizedConv():
            return _ResizedConv(layer, shape)
        case description.Conv(channels, kernel, stride, padding, bias):
            return nn.Conv2d(shape.channels, channels, kernel, stride, padding, bias=bias)
        case description.BatchNorm(epsilon, momentum):
            return nn.BatchNorm2d(shape.channels, epsilon, momentum)
        case description.ReLU():
            return nn.ReLU()
        case description.Sigmoid():
            return nn.Sigmoid()
        case description.MaxPool(kernel, stride, padding):
            return nn.MaxPool2d(kernel, stride, padding)
        case description.AvgPool(kernel, stride, padding):
            return nn.AvgPool2d(kernel, stride, padding)
        case description.GlobalAvgPool():
            return nn.AdaptiveAvgPool2d(1)
        case description.Dropout(rate):
            return nn.Dropout(rate)
        case description.Flatten():
            return nn.Flatten()
        case description.Linear(features, bias):
            return nn.Linear(shape.size, features, bias=bias)
    raise FrameworkError(f"PyTorch: no module for layer {type(layer).__name__}")


class _ResizedConv(nn.Module):
    """`rewrite.ResizedConv` as one matrix product over patches of the small picture."""

    def __init__(self, layer: ResizedConv, shape: Shape) -> None:
        super().__init__()
        kernel = (layer.channels, shape.channels, layer.kernel, layer.kernel)
        self.weight = nn.Parameter(torch.empty(kernel))
        self.bias = nn.Parameter(torch.empty(layer.channels)) if layer.bias else None
        taps, self.first = layer.taps()
        self.register_buffer("taps", torch.from_numpy(taps), persistent=False)
        self.phases, self.stride, self.size = layer.phases, layer.source_stride, taps.shape[2]
        out = layer.output(shape)
        self.out = (out.height, out.width)

    def forward(self, x: Tensor) -> Tensor:
        taps = cast(Tensor, self.taps)
        # One small kernel for each output phase (p, q): rows (channel, t, s), columns (p, q, out).
        kernels = torch.einsum("pkt,ockl,qls->ctspqo", taps, self.weight, taps)
        steps = [-(-n // self.phases) for n in self.out]
        before = -self.first
        after = [
            max(0, (count - 1) * self.stride + self.size - before - n)
            for count, n in zip(steps, x.shape[2:], strict=True)
        ]
        x = F.pad(x, (before, after[1], before, after[0]), mode="replicate")
        patches = x.unfold(2, self.size, self.stride).unfold(3, self.size, self.stride)
        patches = patches[:, :, : steps[0], : steps[1]].permute(0, 2, 3, 1, 4, 5)
        rows = patches.reshape(-1, kernels.shape[:3].numel())
        products = kernels.reshape(rows.shape[1], -1)
        if self.bias is None:
            y = rows @ products
        else:
            y = torch.addmm(self.bias.repeat(self.phases**2), rows, products)
        y = y.reshape(-1, *steps, self.phases, self.phases, self.weight.shape[0])
        y = y.permute(0, 1, 3, 2, 4, 5).reshape(
            y.shape[0], steps[0] * self.phases, steps[1] * self.phases, -1
        )
        return y[:, : self.out[0], : self.out[1]].permute(0, 3, 1, 2)


class _Resize(nn.Module):
    """Bilinear resizing as two matrix products (see `preprocessing.resize_matrix`)."""

    def __init__(self, source: Shape, target: Shape) -> None:
        super().__init__()
        for name, n, m in (
            ("rows", source.height, target.height),
            ("columns", source.width, target.width),
        ):
            self.register_buffer(name, torch.tensor(resize_matrix(n, m)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = cast(Tensor, self.rows), cast(Tensor, self.columns)
        return rows @ x @ columns.T


def _load(model: nn.Module, weights: Mapping[str, Array]) -> None:
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})


def pick_device(wanted: str = "auto") -> torch.device:
    """The device asked for, or the first GPU (CUDA, then MPS), else the CPU."""
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available = [f"cuda:{i}" for i in range(torch.cuda.device_count())] + available
    if wanted == "auto":
        return torch.device(available[0])
    wanted = "cuda:0" if wanted in ("cuda", "gpu") else wanted
    if wanted not in available:
        raise FrameworkError(
            f"PyTorch has no device '{wanted}' here; it has {', '.join(available)}"
        )
    return torch.device(wanted)


def learner(settings: LearnerSettings, weights: Mapping[str, Array]) -> PyTorchLearner:
    return PyTorchLearner(settings, weights)


class PyTorchLearner:
    """Trains the rewritten network: same function, same weights, less work."""

    def __init__(self, settings: LearnerSettings, weights: Mapping[str, Array]) -> None:
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.threads = torch.get_num_threads()
        self._device = pick_device(settings.device)
        self.device = str(self._device)
        if self._device.type == "cuda":
            # cuBLAS is deterministic only with a fixed workspace, set before its first use.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True)
        self._settings = settings
        self._names = list(shapes(settings.network))
        self._model = _training_model(settings, weights).to(self._device)
        self._roles = roles(settings.network)
        parameters = dict(self._model.named_parameters())
        self._parameters = {name: parameters[name] for name in self._roles}
        self._state = {
            name: tuple(
                torch.zeros_like(self._parameters[name])
                for _ in range(settings.optimizer.state_size(role))
            )
            for name, role in self._roles.items()
        }

    def _batch(self, images: Array) -> Tensor:
        # n×h×w×c in memory is what PyTorch calls channels-last, so this is a view.
        return torch.from_numpy(images).to(self._device).permute(0, 3, 1, 2)

    def step(
        self, images: Array, labels: npt.NDArray[np.int64], rate: float, step: int, seed: int
    ) -> Array:
        torch.manual_seed(seed)
        self._model.train()
        logits: Tensor = self._model(self._batch(images))
        loss = F.cross_entropy(
            logits,
            torch.from_numpy(labels).to(self._device),
            label_smoothing=self._settings.label_smoothing,
        )
        gradients = torch.autograd.grad(loss, list(self._parameters.values()))
        with torch.no_grad():
            for (name, parameter), gradient in zip(
                self._parameters.items(), gradients, strict=True
            ):
                updated, self._state[name] = self._settings.optimizer.update(
                    FUNCTIONS, self._roles[name], parameter, gradient, self._state[name], rate, step
                )
                parameter.copy_(updated)
        return cast(Array, logits.detach().cpu().numpy())

    def logits(self, images: Array) -> Array:
        self._model.eval()
        with torch.inference_mode():
            return cast(Array, self._model(self._batch(images)).cpu().numpy())

    def weights(self) -> Weights:
        state: dict[str, Any] = self._model.state_dict()
        return {name: state[name].cpu().contiguous().numpy().copy() for name in self._names}

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        _load(self._model, weights)

    def optimizer_state(self) -> dict[str, Array]:
        return {
            f"{i}/{name}": array.cpu().contiguous().numpy().copy()
            for name, arrays in self._state.items()
            for i, array in enumerate(arrays)
        }

    def set_optimizer_state(self, state: Mapping[str, Array]) -> None:
        for name, arrays in self._state.items():
            for i, array in enumerate(arrays):
                array.copy_(torch.tensor(state[f"{i}/{name}"]))


def _training_model(settings: LearnerSettings, weights: Mapping[str, Array]) -> nn.Sequential:
    """The network behind its resizing, rewritten, in channels-last layout, ReLU in place."""
    network, source = settings.network, settings.source
    folded = fold_resize(network, source)
    model = build(activation_behind_pool(folded or network), weights)
    if folded is None and source != network.input:
        model = _WithResize(model, _Resize(source, network.input))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True
    return model


class _WithResize(nn.Sequential):
    """A model behind a resizing, with the model's own tensor names."""

    def __init__(self, model: nn.Sequential, resize: _Resize) -> None:
        super().__init__(OrderedDict(model.named_children()))
        object.__setattr__(self, "_resize", resize)

    def forward(self, x: Tensor) -> Tensor:
        resize = cast(_Resize, self.__dict__["_resize"])
        return cast(Tensor, super().forward(resize(x)))  # type: ignore[no-untyped-call]
