"""Data sets, pictures, integrity, batch order and augmentation.

from netinnet import data

dots = data.from_arrays("dots", (pictures, labels), (test_pictures, test_labels))
data.save(dots, "dots")               # a folder: nin train --dataset ./dots
data.load("./dots").facts             # classes, shape, mean and std
"""

from netinnet.data.datasets import load
from netinnet.data.folder import save
from netinnet.data.source import Arrays, Dataset, Facts, Source, from_arrays

__all__ = ["Arrays", "Dataset", "Facts", "Source", "from_arrays", "load", "save"]
