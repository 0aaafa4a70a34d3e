"""A recipe: everything that decides a training.

Its fields are the flags of `nin train` and the keys of a TOML file.
"""

from __future__ import annotations

import dataclasses
import io
import json
import tomllib
import typing
import warnings
from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from netinnet.data import datasets
from netinnet.data.source import Dataset
from netinnet.errors import FieldError, RecipeError, RecipeWarning, check_name, nearest
from netinnet.networks.network import Network
from netinnet.networks.zoo import Named
from netinnet.training import recipe_checks

LARGEST_FILE = 2**18
"""Bytes."""
LARGEST_NUMBER = 10**15


@dataclass(frozen=True)
class Recipe:
    """A complete recipe. The docstring below each field is its help text."""

    network: str = "nin-small"
    """Network to train: a name (`nin zoo` lists them) or the path of a .toml or .json file."""
    dataset: str = "fashion-mnist"
    """Data set to learn: a name (`nin data` lists them), or the path of a folder, like ./x."""
    framework: str = "pytorch"
    """Framework that trains."""
    image_size: int | None = None
    """Height and width of the network's input in pixels; the network's own if not given."""
    logits_relu: bool | None = None
    """Whether a ReLU follows the last convolution; as the network has it if not given."""
    dropout: float | None = None
    """Dropout rate, from 0 to below 1; the network's own if not given."""
    pointwise: int | None = None
    """Number of 1×1 convolutions in each block; as the network has it if not given."""
    inner: int | None = None
    """Window of the convolutions that are 1×1 in a NiN block, an odd number; as the network has it
    if not given."""
    narrowing: str | None = None
    """Channels in the last block before the classes, like 128-32; its own if not given."""
    head: str | None = None
    """What makes logits of the last maps: `gap` (global average pool; the network's own), or a
    fully connected layer without or with dropout before it: `dense`, `dense-dropout`."""
    width: float | None = None
    """Factor on the network's hidden channels; 1 if not given."""
    initialisation: str = "he"
    """How weights start: `he` (normal) or `xavier` (uniform)."""
    pretrained: str | None = None
    """A run folder or model file to start from: its weights are used for the first layers, as far
    as names and shapes agree; none if not given."""
    normalise: bool = True
    """Whether pictures are normalised by the data set's mean and standard deviation."""
    fit: str | None = None
    """What is done with pictures of another aspect ratio than the input's: `stretch`, `crop` (the
    largest centred part is taken) or `pad` (with the mean colour); as the network says, else
    stretch, if not given."""
    epochs: int = 5
    """Number of passes over the training set."""
    batch_size: int = 64
    """Pictures in one optimiser step."""
    optimizer: str = "sgd"
    """Update rule."""
    learning_rate: float = 0.15
    """Learning rate; the highest one, if the schedule changes it."""
    momentum: float = 0.0
    """Momentum of SGD, from 0 to below 1; adamw has moments of its own."""
    nesterov: bool = False
    """Whether SGD's momentum is Nesterov's."""
    weight_decay: float = 0.0
    """Weight decay of convolutions and fully connected layers."""
    schedule: str = "constant"
    """Learning rate over time: `constant`, `linear` (down to zero), `cosine` (up linearly, then
    down to zero along half a cosine), or `one-cycle` (up linearly, then down to zero)."""
    warmup: float = 0.2
    """Share of the steps in which `cosine` and `one-cycle` go up."""
    weight_averaging: float | None = None
    """What a moving average of weights and batch norm statistics keeps of itself at each step, as
    in 0.999; the average is evaluated and becomes the model; no average if not given."""
    recalibrate: int | None = None
    """Training batches over which batch norm statistics are computed anew behind the last step;
    they stay as training left them if not given."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes."""
    horizontal_flip: bool = False
    """Whether half of the pictures, chosen at random, are mirrored in training."""
    flips: str | None = None
    """Which half of the pictures `horizontal_flip` mirrors: `random` (drawn anew each time), or
    `alternating` (each picture once each way in every two epochs); random if not given."""
    crop_padding: int = 0
    """Pixels added on each side of a training picture, before a random crop to its own size."""
    resized_crop: float | None = None
    """Smallest share of a picture's area (0.05 to 1) that a random crop in training keeps, which is
    then resized to the input; no such crop if not given."""
    color_jitter: float | None = None
    """Brightness, contrast and saturation are changed at random by up to this share (0 to 1) in
    training; not at all if not given."""
    random_erasing: float | None = None
    """Probability (0 to 1) with which a rectangle of a training picture is filled with noise; 0 if
    not given."""
    mixup: float | None = None
    """Alpha of the beta distribution from which a batch's share is drawn, in which each picture and
    its label are mixed with another's, as in 0.2; none is mixed if not given."""
    cutmix: float | None = None
    """The same for a rectangle of the other picture in the place of the own, as in 1; with `mixup`
    too, half of the batches are mixed by mixup and the other half by cutmix."""
    teacher: str | None = None
    """A run folder or model file whose probabilities are a share of what is learnt; it must have
    the same classes and input; no teacher if not given."""
    distillation: float | None = None
    """The teacher's share of a target, from 0 to 1; 0.5 if not given."""
    teacher_temperature: float | None = None
    """What the teacher's logits are divided by, so that it also says which classes are near; 1 if
    not given."""
    sampling: str | None = None
    """`balanced`: every class is drawn equally often in training; if not given, every picture is
    used once per epoch."""
    skip_bad: bool | None = None
    """Whether pictures of a folder that can't be read are left out; they are an error if not
    given."""
    group_by: str | None = None
    """A regular expression for the paths of a folder's pictures, as in `person-[0-9]+`: pictures
    in which it matches the same text stay on one side of a split."""
    split: str | None = None
    """Percentages of each class for training, test and, if wanted, validation, like 80/10/10, for a
    folder of pictures that is not split; 70/15/15 if not given."""
    validation: float = 0.0
    """Share of the training set held out for validation, from 0 to below 1."""
    evaluate: str | None = None
    """What is evaluated after each epoch: `test`, `validation` (the test pictures are then never
    used) or `both`; if not given, test, and validation where some pictures are held out."""
    on_nan: str | None = None
    """What is done when numbers are no longer finite: `stop`, or `rollback` (go back to the end of
    the last epoch that was better than guessing, or to the start, and continue with half the
    learning rate, up to five times); stop if not given."""
    seed: int = 0
    """Decides initial weights, batch order, augmentation and dropout."""
    train_examples: int | None = None
    """Use only this many training pictures, from the first on; all if not given."""
    test_examples: int | None = None
    """Use only this many test pictures, from the first on; all if not given."""
    device: str = "auto"
    """Where to compute: `auto` (the first GPU, else the CPU), `cpu`, `cuda`, `cuda:1`, `mps`."""
    threads: int | None = None
    """CPU threads of the framework; its own choice if not given."""
    shards: int | None = None
    """Parts of a batch (a power of two) that are computed by one thread each and added up in one
    order, so that any number of threads and processes makes the same bytes; PyTorch on a CPU. The
    batch as a whole if not given."""
    precision: str | None = None
    """Arithmetic of training: `float32`, or `bfloat16` for the layers, with weights, gradients and
    evaluations in float32 (PyTorch); float32 if not given."""
    checkpoint_seconds: float = 30.0
    """Seconds between checkpoints."""

    def __post_init__(self) -> None:
        recipe_checks.check(self)

    @property
    def judged(self) -> str:
        """The split that judges: "validation" where `evaluate` says so, else "test"."""
        return "validation" if self.evaluate == "validation" else "test"

    @property
    def reading(self) -> dict[str, Any]:
        """How a folder of pictures is read: options of `datasets.load`."""
        return {name: getattr(self, name) for name in datasets.READING}

    def to_toml(self) -> str:
        """The whole recipe as TOML; fields that are not given are left out."""
        return toml_lines(dataclasses.asdict(self))

    def replace(self, **changes: Any) -> Recipe:
        """The recipe with other values for some fields. Raises RecipeError for unknown ones."""
        return from_mapping({**dataclasses.asdict(self), **changes}, "recipe", changes.keys())


def toml_lines(values: Mapping[str, Any]) -> str:
    """Numbers, texts and lists as TOML, a line each; None is left out."""
    given = {name: value for name, value in values.items() if value is not None}
    return "".join(
        # TOML forbids DEL as it is, and JSON does not.
        f"{name} = {json.dumps(value, ensure_ascii=False)}\n".replace("\x7f", "\\u007f")
        for name, value in given.items()
    )


@cache
def field_types() -> dict[str, Any]:
    """The type of each field, as `int`, `float | None`, …"""
    return typing.get_type_hints(Recipe)


def field_kinds(name: str) -> tuple[type, ...]:
    """The types that a field's value may have, as (float, NoneType)."""
    hint = field_types()[name]
    return typing.get_args(hint) or (hint,)


def from_mapping(values: Mapping[str, Any], where: str, changes: Set[str] = frozenset()) -> Recipe:
    """Make a recipe from plain data, checking names and types.

    `where` begins the error's text, but for the fields in `changes`, which are not of the recipe.
    """
    try:
        return Recipe(**_check_fields(values, where))
    except FieldError as error:
        place = where if changes.isdisjoint(error.fields) else ""
        raise FieldError(error.text, *error.fields, where=place) from None


def _check_fields(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    hints = field_types()
    for name in values:
        if name not in hints:
            raise RecipeError(f"{where}: unknown field '{name}'{nearest(name, hints)}")
    return {name: _checked(name, value, where) for name, value in values.items()}


def _checked(name: str, value: Any, where: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Dataset):
        raise FieldError(
            f"{name} must be a name or the path of a folder here, since the processes that train "
            f"can't have an object: netinnet.data.save writes {value.name} as a folder",
            name,
            where=where,
        )
    kinds = field_kinds(name)
    if value is None and type(None) in kinds:
        return None
    if type(value) is int and abs(value) > LARGEST_NUMBER:
        raise FieldError(f"{name} must be a smaller number", name, where=where)
    if type(value) is int and float in kinds:
        return float(value)
    if type(value) not in kinds:
        wanted = next(kind.__name__ for kind in kinds if kind is not type(None))
        raise FieldError(f"{name} must be of type {wanted}, got {value!r}", name, where=where)
    return value


def shipped() -> dict[str, Path]:
    """The recipes that come with the package: name and file."""
    folder = Path(str(resources.files("netinnet"))) / "recipes"
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def load(name: str, **changes: Any) -> Recipe:
    """A recipe by name or from a file, with single fields changed.

    A file may say `extends = "fashion"`: the fields that it leaves out are then those of a shipped
    recipe, or of another file, by a path relative to itself. Where it does not, a RecipeWarning
    says what they become.

    Args:
        name: a shipped recipe's name, or the path of a TOML file.
        changes: values for single fields.

    Raises:
        RecipeError: for an unknown name or field, an unreadable file, a value out of range.

    Example:
        >>> load("fashion", epochs=1).epochs
        1
    """
    path = _file(name)
    own = read_toml(path)
    values = {**_extended(own, path, f"recipe {name}", ()), **changes}
    recipe = from_mapping(values, f"recipe {name}", changes.keys())
    if name not in shipped() and "extends" not in own:
        left = {n: getattr(recipe, n) for n in read_toml(shipped()["fashion"]) if n not in values}
        if left:
            became = ", ".join(f"{field} = {json.dumps(value)}" for field, value in left.items())
            text = f"recipe {name} leaves fields out, so {became}"
            warnings.warn(f'{text}; extends = "fashion" takes fashion\'s', RecipeWarning, 2)
    return recipe


def resolve(
    recipe: str | Path | Recipe, changes: Mapping[str, Any], network: Named | None = None
) -> tuple[Recipe, Network | None]:
    """A recipe that is named or given, with single fields changed, and with another `network`.

    Returns the network too where it is an object, which a recipe can't hold. Raises RecipeError.
    """
    known = network if isinstance(network, Network) else None
    if network is not None:
        changes = {"network": known.name if known else str(network), **changes}
    if isinstance(recipe, Recipe):
        return recipe.replace(**changes), known
    return load(str(recipe), **changes), known


def _file(name: str, folder: Path = Path(), what: str = "recipe") -> Path:
    """The file of a recipe's name, or the path, which is relative to `folder`."""
    files = shipped()
    if not name.endswith(".toml"):
        more = ", or the path of a .toml file"
        check_name(what, name, files, RecipeError, more)
        return files[name]
    return folder / name


def _extended(
    own: dict[str, Any], path: Path, where: str, before: tuple[Path, ...]
) -> dict[str, Any]:
    """A file's values over those of the recipe that it extends; `before` are the files so far."""
    own = dict(own)
    base = own.pop("extends", None)
    _check_fields(own, where)
    if base is None:
        return own
    if not isinstance(base, str):
        raise RecipeError(f"{where}: extends must be a recipe's name or path, got {base!r}")
    file = _file(base, path.parent, f"recipe in extends of {path}")
    files = (*before, path.resolve())
    if file.resolve() in files:
        names = " → ".join(p.name for p in (*files, file))
        raise RecipeError(f"{where}: extends goes in a circle: {names}")
    return {**_extended(read_toml(file), file, f"recipe {base}", files), **own}


def read_toml(path: Path) -> dict[str, Any]:
    """The values in a TOML file. Raises RecipeError where it can't be read."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise RecipeError(f"{path}: too large for a recipe")
        # As a text file is read: with any end of line.
        return tomllib.loads(io.TextIOWrapper(io.BytesIO(content), "utf-8-sig").read())
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: not a TOML file ({error})") from error
