"""`DataModule`, `FashionMNIST` and `show_images` of the edition with `Trainer`.

Imports no framework.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from netinnet.book._common import (
    LARGEST_BATCH,
    Batches,
    Images,
    Labels,
    Loader,
    Size,
    check_whole,
    load_examples,
)
from netinnet.book._hyperparameters import HyperParameters
from netinnet.data.fashion_mnist import CLASSES
from netinnet.errors import NetinnetError
from netinnet.networks.network import LARGEST_INPUT
from netinnet.reports import figures, live


class DataModule(HyperParameters):
    """Data for `Trainer.fit`: a subclass says in `get_dataloader` what its batches are.

    `root` and `num_workers` are kept for a subclass that reads or loads files; nothing here does.
    """

    root: str
    num_workers: int

    def __init__(self, root: str = "../data", num_workers: int = 4) -> None:
        self.save_hyperparameters()

    def get_dataloader(self, train: bool) -> Loader:
        """The batches of the training pictures, or of those that are held out."""
        raise NotImplementedError(f"{type(self).__name__} has no get_dataloader(train)")

    def get_tensorloader(self, *_: Any, **__: Any) -> NoReturn:
        """Raises NetinnetError: only edition 1.0's chapters on regression call it."""
        raise NetinnetError(
            "get_tensorloader is not here: give get_dataloader(train), which returns batches"
        )

    def train_dataloader(self) -> Loader:
        return self.get_dataloader(train=True)

    def val_dataloader(self) -> Loader | None:
        """The batches that are evaluated after each epoch; None: nothing is."""
        return self.get_dataloader(train=False)


class FashionMNIST(DataModule):
    """Fashion-MNIST, found or fetched; its 10,000 test pictures are the validation.

    `train` and `val` have a length, and give (image, label) at an index; images are resized to
    `resize`, (height, width) or one number for both. Raises NetinnetError for sizes that can't be,
    DataError where the data set can't be had.
    """

    batch_size: int
    resize: int | Size

    def __init__(self, batch_size: int = 64, resize: int | Size = (28, 28)) -> None:
        check_whole("batch_size", batch_size, LARGEST_BATCH)
        size = _size(resize)
        super().__init__()
        self.save_hyperparameters()
        self.train, self.val = load_examples(size, self._convert)

    def get_dataloader(self, train: bool) -> Batches:
        """The training batches, in a new order every time; or those of the validation."""
        if train:
            return Batches(self.train, self.batch_size, self._seed)
        return Batches(self.val, self.batch_size)

    def _convert(self, images: Images, labels: Labels) -> tuple[Any, Any]:
        """As `_common.Convert`: the framework's."""
        raise NotImplementedError

    def _seed(self) -> int:
        """As `_common.Seed`: the framework's."""
        raise NotImplementedError

    def text_labels(self, indices: Iterable[Any]) -> list[str]:
        """The names of class numbers, in small letters.

        Example: `text_labels([0, 9])` is ['t-shirt', 'ankle boot'].
        """
        numbers = [int(i) for i in indices]
        for k in numbers:
            if not 0 <= k < len(CLASSES):
                raise NetinnetError(f"a class must be from 0 to {len(CLASSES) - 1}, got {k}")
        return [CLASSES[k].split("/")[0].lower() for k in numbers]

    def visualize(
        self,
        batch: tuple[Any, Any],
        nrows: int = 1,
        ncols: int = 8,
        labels: Sequence[str] = (),
    ) -> Any:
        """Draw the first pictures of a batch with their labels; see `show_images`."""
        images, numbers = batch
        pixels = _array(images)
        pixels = pixels.squeeze(1 if pixels.shape[1] == 1 else -1)
        return show_images(pixels, nrows, ncols, labels or self.text_labels(_array(numbers)))


def show_images(
    imgs: Sequence[Any] | npt.NDArray[Any],
    num_rows: int,
    num_cols: int,
    titles: Sequence[str] | None = None,
    scale: float = 1.5,
) -> Any:
    """Draw pictures (height×width, or with 3 channels last) row by row, `scale` inches each.

    Shown in a notebook. Returns matplotlib's axes, num_rows×num_cols. Raises NetinnetError where
    matplotlib is missing.
    """
    check_whole("num_rows", num_rows)
    check_whole("num_cols", num_cols)
    figures.require()
    figure, grid = figures.new_grid(num_rows * num_cols, num_cols, scale, scale)
    for i, axes in enumerate(grid.flat):
        axes.axis("off")
        if i < len(imgs):
            axes.imshow(_array(imgs[i]), cmap="gray")
            if titles is not None and i < len(titles):
                axes.set_title(titles[i], fontsize=9)
    if not live.show(figures.image_bytes(figure, "svg")):
        print(
            "pictures are shown in a notebook; here the axes are returned, and "
            "axes[0, 0].figure.savefig('pictures.png') writes them",
            flush=True,
        )
    return grid


def _size(resize: int | Size) -> Size:
    pair = resize if isinstance(resize, tuple | list) else (resize, resize)
    if len(pair) != 2:
        raise NetinnetError(f"resize must be (height, width), got {resize!r}")
    for side in pair:
        check_whole("resize", side, LARGEST_INPUT)
    height, width = pair
    return height, width


def _array(values: Any) -> npt.NDArray[Any]:
    """Of any framework's tensor; MXNet's arrays need their own way."""
    return np.asarray(values.asnumpy() if hasattr(values, "asnumpy") else values)
