"""The models that answer, by name, and how a changed file takes the place of the old one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from netinnet.errors import ModelError, NetinnetError
from netinnet.inference import model_files
from netinnet.inference.predictor import Predictor
from netinnet.serve.engine import compute
from netinnet.serve.problems import Problem

if TYPE_CHECKING:
    from netinnet.serve.meters import Meters
    from netinnet.weights import Model

Say = Callable[[str], None]
SUFFIXES = (".safetensors", ".onnx")
IN_RUN = "model.safetensors"

Mark = tuple[int, int, int]
"""What a look at a file shows without reading it: time of change, size, inode."""


@dataclass(frozen=True, eq=False)
class Served:
    """A model that answers."""

    name: str
    file: Path
    sha256: str
    """Of the file's content."""
    model: Model
    """As it was read; the predictor holds the same weights, so they take no more memory."""
    predictor: Predictor
    seconds: float
    """What one picture took, of the input's size."""

    @property
    def version(self) -> str:
        """The first 12 digits of the content's hash."""
        return self.sha256[:12]

    def to_dict(self) -> dict[str, Any]:
        """What /v1/model says of it."""
        network, calibration = self.predictor.network, self.predictor.calibration
        return {
            "name": self.name,
            "version": self.version,
            "sha256": self.sha256,
            "network": network.name,
            "classes": list(network.classes),
            "input": dict(zip(("channels", "height", "width"), network.input, strict=True)),
            "parameters": sum(p.layer.parameters(p.input) for p in network.placed_layers()),
            "calibrated": calibration is not None,
            "class_maps": self.predictor.maps is not None,
        }


class Catalog:
    """The models in some places, each by its name.

    Args:
        places: Run folders, model files, and folders of those; the shipped model if there are none.
        threads: CPU threads of each.
        say: Called with a line for each model that is loaded again, or can't be loaded.
        meters: Where that is counted.

    Raises:
        ModelError: Where there is no model that can be loaded, one of the places itself can't be,
            or two have one name.

    Example:
        >>> Catalog([Path("runs/first")], threads=1).models["first"].predictor
    """

    def __init__(
        self,
        places: Sequence[Path],
        threads: int,
        say: Say = lambda line: None,
        meters: Meters | None = None,
    ) -> None:
        self.places, self.threads, self.say, self.meters = list(places), threads, say, meters
        self._marks: dict[str, Mark | None] = {}
        self._passed_over: set[Path] = set()
        """Files of a name that another one has, of which that was said."""
        self.models: dict[str, Served] = {}
        found: dict[str, Path] = {}
        for name, file in self._files():
            if name in found:
                raise ModelError(
                    f"two models are called {name}: {found[name]} and {file}; rename one"
                )
            found[name] = file
        named = {*self.places, *(place / IN_RUN for place in self.places)}
        left_out: dict[str, Exception] = {}
        for name, file in found.items():
            self._marks[name] = _mark(file)
            try:
                self._put(self._load(name, file))
            except (NetinnetError, OSError) as error:
                if file in named:
                    raise
                left_out[name] = error  # a folder may hold what is no model of ours
        if not self.models:
            raise next(iter(left_out.values()))
        for name, reason in left_out.items():
            self._not_loaded(name, reason)

    def get(self, name: str | None) -> Served:
        """A model by its name, the only one without. Raises Problem where that is none."""
        models = self.models
        known = ", ".join(models)
        if name is None:
            if len(models) == 1:
                return next(iter(models.values()))
            raise Problem(400, f"there are several models; add ?model=NAME: {known}")
        if name not in models:
            raise Problem(404, f"no model of that name; there are: {known}")
        return models[name]

    def refresh(self) -> None:
        """Load what has changed since the last look; new files of a folder too.

        The old model answers until the new one has loaded, and goes on where it can't be loaded or
        its file is gone.
        """
        found = list(self._files(quiet=True))
        # What answers keeps its name.
        holders = {served.name: served.file for served in self.models.values()}
        holders = {name: file for name, file in holders.items() if (name, file) in found}
        twice: set[Path] = set()
        for name, file in found:
            if (holder := holders.setdefault(name, file)) != file:
                twice.add(file)
                if file not in self._passed_over:
                    self.say(f"{file}: not loaded, {holder} is called {name}, too; rename one")
                continue
            mark, old = _mark(file), self.models.get(name)
            if mark is None or (mark == self._marks.get(name) and name in self._marks):
                continue
            self._marks[name] = mark
            try:
                if old is None or _digest(file) != old.sha256:
                    self._put(self._load(name, file))
                    self.say(f"{name}: now version {self.models[name].version} of {file}")
            except (NetinnetError, OSError) as error:
                self._not_loaded(name, error)
        self._passed_over = twice

    def _files(self, quiet: bool = False) -> Iterator[tuple[str, Path]]:
        """Name and file of each model; `quiet` passes over places that are gone."""
        if not self.places:
            yield model_files.shipped().stem, model_files.shipped()
        for place in self.places:
            if not place.is_dir():
                yield place.stem, place
            elif (place / IN_RUN).is_file() or (place / "recipe.toml").is_file():
                yield place.resolve().name, place / IN_RUN
            else:
                found = list(_in_folder(place))
                if not found and not quiet:
                    raise ModelError(
                        f"{place}: no model in this folder; give a run folder, a .safetensors or "
                        f".onnx file, or a folder of those"
                    )
                yield from found

    def _load(self, name: str, file: Path) -> Served:
        # Before it is read: of what is written in between, the next look sees another hash.
        digest = _digest(file) if file.is_file() else ""
        model = read(file)
        predictor = Predictor(model, threads=self.threads)
        network = model.network
        size = network.input
        blank = np.zeros((1, size.height, size.width, size.channels), np.uint8)
        compute(predictor, blank, maps=False)  # so that the first answer is fast
        began = time.perf_counter()
        compute(predictor, blank, maps=False)
        return Served(name, file, digest, model, predictor, time.perf_counter() - began)

    def _not_loaded(self, name: str, error: Exception) -> None:
        old = self.models.get(name)
        kept = f"version {old.version} stays in use" if old else "it is left out"
        self.say(f"{name}: not loaded, {kept}: {error}")
        if self.meters:
            self.meters.not_loaded(name)

    def _put(self, served: Served) -> None:
        old = self.models.get(served.name)
        self.models = {**self.models, served.name: served}
        if self.meters:
            self.meters.loaded(served.name, served.version, old.version if old else None)


def read(file: Path) -> Model:
    """The model in a file. Raises ModelError; of an unfinished run it says what is missing."""
    return model_files.find(file.parent if file.name == IN_RUN and not file.is_file() else file)


def _in_folder(folder: Path) -> Iterator[tuple[str, Path]]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if (entry / IN_RUN).is_file():
            yield entry.name, entry / IN_RUN
        elif entry.suffix in SUFFIXES and entry.is_file():
            yield entry.stem, entry


def _mark(file: Path) -> Mark | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
