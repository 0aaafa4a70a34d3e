"""What the edition with `Trainer` (1.0) has in every framework: parts of modules and trainers.

Imports no framework.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np

from netinnet.book import _loop
from netinnet.book._common import EPOCHS, Loader, check_whole, limit
from netinnet.book._data import FashionMNIST
from netinnet.book._hyperparameters import HyperParameters
from netinnet.data.fashion_mnist import CLASSES
from netinnet.errors import NetinnetError

Anything = TypeVar("Anything")


def add_to_class(owner: type) -> Callable[[Anything], Anything]:
    """Decorate a function to become a method of a class that is already there.

    Example: `@d2l.add_to_class(d2l.Classifier)` above `def layer_summary(self, X_shape):`.
    """

    def add(function: Anything) -> Anything:
        setattr(owner, function.__name__, function)  # type: ignore[attr-defined]
        return function

    return add


class Parts(HyperParameters):
    """What a `Module` has in every framework; the framework's own class stands behind it."""

    net: Any

    @property
    def board(self) -> NoReturn:
        """Raises NetinnetError: the curve is `Trainer.fit`'s."""
        raise NetinnetError("a model has no board here: Trainer.fit draws the curve itself")

    def plot(self, key: str, value: Any, train: bool) -> None:
        """Nothing: `Trainer.fit` draws loss and accuracy. Raises NetinnetError for others."""
        if key not in ("loss", "acc"):
            raise NetinnetError(
                f"plot('{key}', …) can't be drawn here; Trainer.fit draws loss and acc, "
                "without being asked"
            )


class Steps(Parts):
    """The steps of a `Module` that is called and keeps its own weights: of all but JAX's."""

    def training_step(self: Any, batch: Sequence[Any]) -> Any:
        """The loss of a batch, whose last part are the labels."""
        return self.loss(self(*batch[:-1]), batch[-1])

    def validation_step(self: Any, batch: Sequence[Any]) -> Any:
        """The loss of a held-out batch."""
        return self.loss(self(*batch[:-1]), batch[-1])


def layers_of(net: Any, attribute: str = "") -> list[Any]:
    """The layers of `net` in order: of itself, or its attribute. Raises NetinnetError."""
    try:
        return list(getattr(net, attribute) if attribute else net)
    except (AttributeError, TypeError):
        raise NetinnetError(
            f"layer_summary goes through the layers of self.net, and {type(net).__name__} lists "
            "none; use a Sequential"
        ) from None


def layer_line(layer: Any, shape: Any) -> str:
    """The line of `layer_summary` for a layer and the shape that comes out of it."""
    return f"{type(layer).__name__} output shape:\t {shape}"


def rate_of(model: Any) -> Any:
    """What the model calls `lr`. Raises NetinnetError where it has none."""
    try:
        return model.lr
    except AttributeError:
        raise NetinnetError(
            f"{type(model).__name__} has no lr; call self.save_hyperparameters() in a constructor "
            "that takes lr"
        ) from None


def logits_in(seen: list[Any]) -> Any:
    """The last output of the model in a step; `seen` is emptied. Raises NetinnetError."""
    if not seen:
        raise NetinnetError("the step must call the model, as in Y_hat = self(*batch[:-1])")
    last = seen[-1]
    seen.clear()
    return last


class Trainer(HyperParameters):
    """Trains a `Classifier` on a `DataModule`: what it is asked for; each framework adds `fit`.

    `num_gpus` 0 is the CPU; from 1, the first GPU where there is one. The norm of all gradients
    together is cut down to `gradient_clip_val`; 0 leaves them. Raises NetinnetError.
    """

    max_epochs: int
    num_gpus: int
    gradient_clip_val: float

    def __init__(self, max_epochs: int, num_gpus: int = 0, gradient_clip_val: float = 0) -> None:
        check_whole("max_epochs", max_epochs)
        check_whole("num_gpus", num_gpus, smallest=0)
        clip = gradient_clip_val
        if not (isinstance(clip, int | float | np.floating) and math.isfinite(clip) and clip >= 0):
            raise NetinnetError(
                f"gradient_clip_val must be the largest norm, or 0 for no limit, got {clip!r}"
            )
        self.save_hyperparameters()

    def _prepare(self, model: Any, kind: type, data: Any) -> float:
        """Check both, set the batches' attributes; return the rate (NaN: unknown)."""
        limit(EPOCHS)
        if not isinstance(model, kind):
            raise NetinnetError(
                f"fit's model must be a d2l.Classifier, as in class Net(d2l.Classifier), "
                f"got {_article(model)}"
            )
        if not hasattr(data, "train_dataloader") or not hasattr(data, "val_dataloader"):
            raise NetinnetError(
                "fit's data must be a d2l.DataModule, as in d2l.FashionMNIST(batch_size=128), "
                f"got {_article(data)}"
            )
        self.train_dataloader: Loader = data.train_dataloader()
        self.val_dataloader: Loader | None = data.val_dataloader()
        self.num_train_batches = len(self.train_dataloader)
        self.num_val_batches = 0 if self.val_dataloader is None else len(self.val_dataloader)
        self._classes = CLASSES if isinstance(data, FashionMNIST) else ()
        rate = getattr(model, "lr", None)
        if rate is None:
            return math.nan
        _loop.check_rate(rate)
        return float(rate)

    def _gpu(self, there: int) -> bool:
        """Whether the first GPU trains; says where that is not what was asked for."""
        if self.num_gpus > min(there, 1):
            found = f"one of {there} GPUs trains" if there else "there is no GPU, the CPU trains"
            print(f"num_gpus is {self.num_gpus}: {found}", flush=True)
        return self.num_gpus > 0 and there > 0

    def _train(self, step: _loop.Step, predict: _loop.Step, rate: float, device: str) -> None:
        batches, held_out = self.train_dataloader, self.val_dataloader
        _loop.train(
            *(step, predict, batches, held_out, self.max_epochs, rate, device),
            split="validation",
            classes=self._classes,
        )


def _article(thing: Any) -> str:
    name = type(thing).__name__
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"
