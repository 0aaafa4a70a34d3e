"""Pictures at hand: what int8's ranges are measured on, and what a loss is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from netinnet.data import datasets, picture_folder, pictures
from netinnet.data.folder import has_arrays
from netinnet.data.source import Progress, Source, View
from netinnet.errors import DataError, NetinnetError
from netinnet.export.options import MOST_TEST_PICTURES, Options
from netinnet.training import learnt
from netinnet.weights import Model

Pictures = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class AtHand:
    """Pictures of the kind that a model sees."""

    name: str
    """What they are called."""
    some: Sequence[Pictures]
    """Calibration pictures, each uint8 1×h×w×channels of the network."""
    test: Source | None = None
    """Labelled pictures that it did not learn, if there are any."""

    @property
    def test_words(self) -> str:
        return f"{len(self.test or ()):,} test pictures of {self.name}"

    @property
    def some_words(self) -> str:
        return f"{len(self.some):,} calibration pictures of {self.name}"


def find(model: Model, options: Options, on_progress: Progress) -> AtHand:
    """The pictures that the options name, else those of the data set that the model learnt.

    Calibration pictures are training pictures, drawn by the seed. A folder of pictures without
    classes serves too: then there is no test split, as where the classes are others.

    Raises:
        NetinnetError: Where there are none, saying what would be right.
    """
    name = options.calibrate
    rng = np.random.default_rng(options.seed)
    if name is not None and _is_loose(Path(name)) and not datasets.is_named(name):
        return _loose(Path(name), model, options, rng, on_progress)
    shape, preprocessing = model.network.input, model.network.preprocessing
    data = learnt.load(model, name, options.data_dir, on_progress, "--calibrate")
    data = data.sized(shape, on_progress, preprocessing)
    chosen = np.sort(_drawn(rng, len(data.train), options.pictures))
    some = [
        pictures.as_channels(picture, shape.channels)[None]
        for picture in data.train.pictures(chosen)
    ]
    same = data.facts.classes == model.network.classes and data.facts.channels == shape.channels
    count = min(len(data.test), options.test_pictures or MOST_TEST_PICTURES)
    return AtHand(data.name, some, View(data.test, np.arange(count)) if same and count else None)


def wanted(
    model: Model, options: Options, on_progress: Progress
) -> tuple[AtHand | None, tuple[str, ...]]:
    """What a smaller precision is measured on, and what must be said of it: int8 can't do without
    pictures, float16 says that there are none.

    Raises:
        NetinnetError: Where int8 has none.
    """
    if options.numbers == "float32":
        return None, ()
    try:
        return find(model, options, on_progress), ()
    except NetinnetError as error:
        if options.numbers == "int8":
            cure = "--calibrate names a data set or folder"
            raise NetinnetError(f"int8 needs pictures to measure ranges on; {cure}: {error}") from (
                error
            )
        return None, (f"what float16 changes was not measured on pictures: {error}",)


def _drawn(rng: np.random.Generator, count: int, wanted: int) -> npt.NDArray[np.int64]:
    return rng.choice(count, min(count, wanted), replace=False)


def _is_loose(path: Path) -> bool:
    """Whether a folder has pictures, but no classes: none that could be learnt."""
    if not path.is_dir() or has_arrays(path):
        return False
    folders = [p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")]
    return len(folders) < 2 and not (path / picture_folder.LABELS_FILE).exists()


def _loose(
    folder: Path, model: Model, options: Options, rng: np.random.Generator, note: Progress
) -> AtHand:
    paths = list(pictures.files([folder], lambda text: note(text, 0, None)))
    if not paths:
        raise DataError(f"{folder}: no picture in it; {pictures.EXPECTED}")
    chosen = np.sort(_drawn(rng, len(paths), options.pictures))
    channels = model.network.input.channels
    some = [pictures.as_channels(pictures.read(paths[i]), channels)[None] for i in chosen]
    return AtHand(folder.name or str(folder), some)
