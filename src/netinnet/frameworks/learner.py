"""What every adapter offers: a native model to look at, and a learner that the loop drives."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy.typing as npt

from netinnet.data.batches import TrainingBatches
from netinnet.data.targets import Batch, Targets
from netinnet.errors import FrameworkError
from netinnet.frameworks.processes import ALONE, Processes
from netinnet.layout import native_tensors
from netinnet.networks.layers import Shape
from netinnet.networks.network import Network, least_normalised
from netinnet.optimizer import ArrayFunctions, Optimizer, State
from netinnet.weights import Array, Weights

OWN_FUNCTIONS = "the framework's own functions"
"""In a learner's `kernels`: computed by no other functions than the framework's."""


@dataclass(frozen=True)
class LearnerSettings:
    """Everything fixed about a training, apart from the data."""

    network: Network
    optimizer: Optimizer
    source: Shape
    """Shape of the pictures in a batch; the learner resizes them to the network's input."""
    device: str = "auto"
    threads: int | None = None
    shards: int | None = None
    """Parts of a batch that are computed alone (PyTorch on a CPU)."""
    precision: str | None = None
    """"bfloat16" for the layers' arithmetic in training (PyTorch), else float32."""
    processes: Processes = ALONE
    averages: bool = False
    """Whether a moving average of all tensors is kept beside them."""


class Learner(ABC):
    """A model in training. Batches are float32 n×height×width×channels, as `batches` makes them.

    What they should be is labels, int64 n, or rows of targets, float32 n×classes; the loss is the
    mean cross-entropy against either.

    Here is what all frameworks share: the tensors and their roles, the optimiser's state, and how
    both come and go as canonical arrays. A framework's learner makes its native arrays, and
    computes logits and gradients.
    """

    framework: ClassVar[str]
    functions: ClassVar[ArrayFunctions]

    def __init__(
        self, settings: LearnerSettings, weights: Mapping[str, Array], device: str, threads: int
    ) -> None:
        self.settings, self.device = settings, device
        self.threads = threads
        """CPU threads in use; sums depend on their number."""
        self.piece: int | None = None
        """Pictures that go through at once; gradients are added up. None: the whole batch."""
        self.cautions: list[str] = []
        """What should be known before it trains, in one line each."""
        self.kernels: dict[str, str] = {}
        """What is not computed by the framework's own functions, and what made those it is."""
        norm = least_normalised(settings.network)
        self._fewest_values = norm.input.height * norm.input.width if norm else 2
        """Of a picture, that a batch norm gets for a channel."""
        self.tensors = native_tensors(settings.network, self.framework)
        self.roles = {name: t.role for name, t in self.tensors.items() if t.role}
        self._kept: Weights = {}
        """The weights, while the averages are in their place."""
        self.values = self._made(weights)
        """Native arrays of all tensors by canonical name."""
        self.state: dict[str, State] = {
            name: tuple(
                self._zeros(self.values[name]) for _ in range(settings.optimizer.state_size(role))
            )
            for name, role in self.roles.items()
        }
        self.averages: dict[str, Any] = {}
        """Native arrays of the tensors' averages, which begin as the tensors do; none if not kept.
        Running statistics are averaged too."""
        if settings.averages:
            for name, native in self.values.items():
                empty = self._zeros(native)
                self.averages[name] = self._put(empty, empty + native)  # an array of its own

    def step(self, images: Array, targets: Targets, rate: float, step: int, seed: int) -> Array:
        """One optimiser step (numbered from 1); returns the logits n×classes it was made from.

        Raises FrameworkError where batch norm would get one value a channel.
        """
        if len(images) * self._fewest_values < 2:
            raise FrameworkError(
                "batch norm needs more than one value a channel in training: take a larger batch"
            )
        return self._step(images, targets, rate, step, seed)

    @abstractmethod
    def _step(self, images: Array, targets: Targets, rate: float, step: int, seed: int) -> Array:
        """`step`, as the framework takes it."""

    @abstractmethod
    def logits(self, images: Array) -> Array:
        """Logits in prediction mode."""

    def batches(self, made: TrainingBatches) -> Callable[[int], Batch]:
        """What makes the batch of each step: `made`, or the same where `step` takes them."""
        return made

    @abstractmethod
    def _made(self, weights: Mapping[str, Array]) -> dict[str, Any]:
        """The native arrays of the model, with these weights."""

    @abstractmethod
    def _native(self, array: npt.NDArray[Any]) -> Any:
        """A native array of its own with these values, which are in the framework's axis order."""

    @abstractmethod
    def _zeros(self, native: Any) -> Any:
        """A native array of zeros, of the other one's shape."""

    @abstractmethod
    def _numpy(self, native: Any) -> npt.NDArray[Any]:
        """The inverse of `_native`: a copy."""

    @abstractmethod
    def _put(self, native: Any, value: Any) -> Any:
        """`native` with another value (an array of the framework); in place where it can be."""

    def weights(self) -> Weights:
        """A copy of the weights in use under canonical names."""
        return {name: self._read(name, native) for name, native in self.values.items()}

    def own_weights(self) -> Weights:
        """A copy of the weights, also while `averaged` has the averages in use."""
        return dict(self._kept) or self.weights()

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        for name, native in self.values.items():
            self.values[name] = self._written(name, native, weights[name])

    def optimizer_state(self) -> dict[str, Array]:
        """The optimiser's arrays in canonical layout: `0/block1.conv1.weight`, …"""
        return {
            f"{i}/{name}": self._read(name, native)
            for name, arrays in self.state.items()
            for i, native in enumerate(arrays)
        }

    def set_optimizer_state(self, state: Mapping[str, Array]) -> None:
        for name, arrays in self.state.items():
            self.state[name] = tuple(
                self._written(name, native, state[f"{i}/{name}"]) for i, native in enumerate(arrays)
            )

    def average(self, decay: float) -> None:
        """Move the averages towards the tensors: decay·average + (1 - decay)·tensor."""
        for name, old in self.averages.items():
            self.averages[name] = self._put(old, old + (1 - decay) * (self.values[name] - old))

    def average_weights(self) -> Weights:
        """A copy of the averages under canonical names; {} where none are kept."""
        return {name: self._read(name, native) for name, native in self.averages.items()}

    def set_averages(self, weights: Mapping[str, Array]) -> None:
        for name, native in self.averages.items():
            self.averages[name] = self._written(name, native, weights[name])

    def final_weights(self) -> Weights:
        """A copy of what becomes the model: the averages where they are kept, else the weights."""
        return self.average_weights() or self.weights()

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The averages, where they are kept, in the place of the weights, for the block."""
        if not self.averages:
            yield
            return
        # A signal may end this anywhere, in an exchange too: then these are what is saved.
        self._kept = own = self.weights()
        self.set_weights(self.average_weights())
        try:
            yield
        finally:
            self.set_weights(own)
            self._kept = {}

    def _read(self, name: str, native: Any) -> Array:
        return self.tensors[name].to_canonical(self._numpy(native))

    def _written(self, name: str, native: Any, array: Array) -> Any:
        return self._put(native, self._native(self.tensors[name].to_native(array)))

    def update(
        self,
        values: Mapping[str, Any],
        gradients: Mapping[str, Any],
        state: Mapping[str, State],
        rate: Any,
        step: Any,
    ) -> Iterator[tuple[str, Any, State]]:
        """Name, new value and new state of each trained tensor, one at a time."""
        for name, role in self.roles.items():
            yield (
                name,
                *self.settings.optimizer.update(
                    self.functions, role, values[name], gradients[name], state[name], rate, step
                ),
            )

    def apply(self, gradients: Mapping[str, Any], rate: float, step: int) -> None:
        """Update every trained tensor and its state."""
        for name, value, state in self.update(self.values, gradients, self.state, rate, step):
            self.values[name] = self._put(self.values[name], value)
            self.state[name] = state


class Adapter(Protocol):
    """A framework's module."""

    def version(self) -> str: ...

    def devices(self) -> tuple[str, ...]:
        """Names of the devices there are, the one that `auto` picks first."""

    def build(self, network: Network, weights: Mapping[str, Array]) -> Any:
        """The framework's own model object with these weights, in its own layout."""

    def block(self, model: Any, name: str) -> Any:
        """One block of a model that `build` made, by its name; it can be used by itself."""

    def read(self, network: Network, model: Any) -> Weights:
        """The canonical weights of a model that `build` made: its inverse."""

    def learner(self, settings: LearnerSettings, weights: Mapping[str, Array]) -> Learner: ...


def check_block_names(title: str, network: Network, is_taken: Callable[[str], bool]) -> None:
    """Raise FrameworkError for a block whose name a framework's modules have for something else."""
    for block in network.blocks:
        if is_taken(block.name):
            raise FrameworkError(
                f"{title}: no block can be called '{block.name}', its modules use that name "
                f"themselves; rename it"
            )


def check_setting(name: str, found: object, wanted: object, cure: str) -> None:
    """Raise FrameworkError where a setting of the library's would change what is computed."""
    if found != wanted:
        raise FrameworkError(f"{name} is {found} here, netinnet needs {wanted}: {cure}")


def pick_device(title: str, wanted: str, devices: tuple[str, ...]) -> str:
    """The device asked for, or the first there is for `auto`. Raises FrameworkError."""
    if wanted == "auto":
        return devices[0]
    for kind in ("cuda", "gpu"):
        if wanted in ("cuda", "gpu") and f"{kind}:0" in devices:
            return f"{kind}:0"
    if wanted not in devices:
        raise FrameworkError(f"{title} has no device '{wanted}' here; it has {', '.join(devices)}")
    return wanted
