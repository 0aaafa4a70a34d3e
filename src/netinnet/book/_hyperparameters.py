"""`HyperParameters`: a constructor's arguments, kept as attributes."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any


class HyperParameters:
    """Base of what keeps its constructor's arguments."""

    hparams: dict[str, Any]

    def save_hyperparameters(self, ignore: Collection[str] = ()) -> None:
        """Keep the arguments of the constructor that calls this, as attributes and in `hparams`.

        Those in `ignore` are left out, and those whose name begins with an underscore.

        Example:
            >>> class Net(HyperParameters):
            ...     def __init__(self, lr, width=8):
            ...         self.save_hyperparameters(ignore=["width"])
            >>> Net(lr=0.1).hparams
            {'lr': 0.1}
        """
        frame = inspect.currentframe()
        assert frame is not None
        assert frame.f_back is not None
        names, rest, keywords, values = inspect.getargvalues(frame.f_back)
        given = {name: values[name] for name in [*names[1:], rest] if name is not None}
        given |= values[keywords] if keywords else {}
        kept = {k: v for k, v in given.items() if k not in ignore and not k.startswith("_")}
        self.hparams = kept
        for name, value in kept.items():
            setattr(self, name, value)
