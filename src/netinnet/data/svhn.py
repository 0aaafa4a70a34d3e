"""SVHN (Netzer et al. 2011), the cropped digits: house numbers in the street, colour 32×32.

The files are MATLAB's, read by SciPy: `X`, pictures row×column×channel×n, and `y`, where 10 stands
for the digit 0. The 531,131 further pictures of `extra_32x32.mat` are left out.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from netinnet.data.mnist import DIGITS
from netinnet.data.named import NamedDataset, mirrors
from netinnet.data.original import OriginalFile
from netinnet.data.source import Arrays, Facts
from netinnet.errors import DataError
from netinnet.networks.layers import Shape

MIRRORS = ("https://ufldl.stanford.edu/housenumbers",)


def _needs_scipy() -> None:
    if importlib.util.find_spec("scipy") is None:
        raise DataError("svhn: its .mat files need SciPy; install it: pip install 'netinnet[svhn]'")


def _splits(found: Sequence[tuple[Path, bytes]]) -> tuple[Arrays, Arrays]:
    train, test = found
    return _arrays(*train), _arrays(*test)


def _arrays(path: Path, content: bytes) -> Arrays:
    from scipy.io import loadmat

    try:
        held = loadmat(io.BytesIO(content), variable_names=("X", "y"))
        images, labels = held["X"], held["y"]
    except Exception as error:  # SciPy raises almost anything for a damaged file
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: not a MATLAB file with X and y, or damaged ({reason})") from error
    pictures = np.ascontiguousarray(images.transpose(3, 0, 1, 2))
    return Arrays(pictures, labels.ravel().astype(np.int64) % 10)


DATASET = NamedDataset(
    name="svhn",
    title="SVHN",
    description="73,257 training and 26,032 test photographs of digits, colour 32×32, 10 classes",
    facts=Facts(
        DIGITS,
        Shape(3, 32, 32),
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.1980, 0.2010, 0.1970),
        horizontal_flip=False,
    ),
    counts={"train": 73_257, "test": 26_032},
    megabytes=246,
    files=(
        OriginalFile(
            "train_32x32.mat",
            182_040_794,
            "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        ),
        OriginalFile(
            "test_32x32.mat",
            64_275_384,
            "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
        ),
    ),
    sources=(mirrors(MIRRORS),),
    parse=_splits,
    requires=_needs_scipy,
)
