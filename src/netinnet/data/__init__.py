"""Data sets, pictures, integrity, batch order and augmentation.

from netinnet import data

dots = data.from_arrays("dots", (pictures, labels), (test_pictures, test_labels))
data.save(dots, "dots")               # a folder: nin train --dataset ./dots
data.load("./dots").facts             # classes, shape, mean and std
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netinnet.data.datasets import load
    from netinnet.data.folder import save
    from netinnet.data.source import Arrays, Dataset, Facts, Source, from_arrays

__all__ = ["Arrays", "Dataset", "Facts", "Source", "from_arrays", "load", "save"]


def __getattr__(name: str) -> Any:
    """What is asked for, imported then: prediction needs pictures alone, none of the data sets."""
    if name not in __all__:
        raise AttributeError(f"module 'netinnet.data' has no attribute '{name}'")
    module = {"load": "datasets", "save": "folder"}.get(name, "source")
    return getattr(importlib.import_module(f"netinnet.data.{module}"), name)
