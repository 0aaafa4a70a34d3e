"""The labels of a folder's pictures that a trained model doubts.

A model says little about the labels it was trained on: it may have learnt the wrong ones too. So
those that it didn't see are judged for themselves, and come first.
"""

from __future__ import annotations

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from netinnet import metrics
from netinnet.data import picture_split, picture_store
from netinnet.data.loader import logits_of
from netinnet.data.picture_look import Look
from netinnet.data.source import Dataset, Indices, Progress, Source, View, silent
from netinnet.errors import ModelError
from netinnet.inference import model_files
from netinnet.inference.onnx_graph import too_large
from netinnet.inference.predictor import Predictor
from netinnet.training import learnt
from netinnet.training.recipe import Recipe
from netinnet.training.splits import splits
from netinnet.weights import Model

KNOWN = "Those that the model was trained on are judged too kindly."
BY_PATH = (
    "This is not the data set that the model learnt: its pictures, labels or splits differ. Which "
    "it was trained on is taken from the run's pictures.csv, by path."
)
NOT_KNOWN = "Which pictures the model was trained on is not known; those are judged too kindly."


@dataclass(frozen=True)
class Suspected:
    """A picture whose label is perhaps wrong: `metrics.suspects`, in names."""

    file: str
    label: str
    rather: str
    probability: float
    """That the model gives the label."""
    split: str
    trained_on: bool | None
    """None: not known."""
    place: int
    """In the look."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {("class" if k == "label" else k): v for k, v in vars(self).items() if k != "place"}


def find(look: Look, where: Path, on_progress: Progress = silent) -> tuple[list[Suspected], str]:
    """The suspected labels of a look, by the model at `where`, and what is known of its training.

    Those that it was not trained on come first, each group with the least believed first. Raises
    ModelError where there is no model, or the folder has a class that it doesn't have.

    Example: `find(look, Path("run"))[0][0].file`.
    """
    model = model_files.find(where)
    classes = model.network.classes
    if others := [name for name in look.classes if name not in classes]:
        raise ModelError(
            f"{where}: its classes ({', '.join(classes)}) lack the folder's {', '.join(others)}; "
            f"choose another --model"
        )
    data = picture_store.of(look)
    trained, note = _trained_on(look, model, where)
    sized = data.sized(model.network.input, on_progress, model.network.preprocessing)
    predictor = Predictor(model, framework=_framework(model))
    numbers = np.array([classes.index(name) for name in look.classes])
    parts = [
        (place, split, logits)
        for split, source in sized.splits.items()
        for place, logits in zip(
            look.splits[split], logits_of(source, predictor.logits), strict=True
        )
    ]
    labels = np.array([numbers[look.classes.index(look.entries[p].label)] for p, *_ in parts])
    found: list[Suspected] = []
    for state in (False, None, True):
        # Each for itself: how sure the model is of what it was trained on is no measure for others.
        own = [i for i, (place, *_) in enumerate(parts) if trained.get(place) is state]
        if not own:
            continue
        logits = np.stack([parts[i][2] for i in own])
        for suspect in metrics.suspects(logits, labels[own], trained_on=state is not False):
            place, split, _ = parts[own[suspect.index]]
            names = (classes[suspect.label], classes[suspect.rather])
            file = look.shown_path(place)
            found.append(Suspected(file, *names, suspect.probability, split, state, place))
    return found, note


def _trained_on(look: Look, model: Model, where: Path) -> tuple[dict[int, bool], str]:
    """Whether the model was trained on each place's picture, where that is known; and how."""
    record = learnt.record_of(model)
    if record is not None:
        recipe = learnt.recipe_of(model)
        data = _as_learnt(look, recipe, record.how_split)
        if data is not None and data.record.digest == record.digest:
            train, _ = splits(recipe, data)
            seen = set(look.good[_rows(train)].tolist())
            return {int(place): int(place) in seen for place in look.good}, KNOWN
    listed = where / "pictures.csv"
    if listed.is_file():
        with listed.open(encoding="utf-8", errors="replace", newline="") as stream:
            rows = csv.DictReader(stream)
            is_ours = {"path", "split"} <= set(rows.fieldnames or ())
            split_of = {row["path"]: row["split"] for row in rows} if is_ours else {}
        paths = {int(place): look.shown_path(place) for place in look.good}
        known = {p: split_of[path] == "train" for p, path in paths.items() if path in split_of}
        if known:
            return known, f"{BY_PATH} {KNOWN}"
    return {}, NOT_KNOWN


def _as_learnt(look: Look, recipe: Recipe, how_split: str) -> Dataset | None:
    """The folder's pictures as the recipe reads them, whatever the look's own splits and groups;
    None where they are too few now."""
    own = dataclasses.replace(
        look,
        shares=picture_split.SHARES if recipe.split is None else picture_split.parse(recipe.split),
        group_by=recipe.group_by,
        in_blocks=picture_split.is_in_blocks(how_split),
    )
    return picture_store.of(own) if own.has_splits else None


def _framework(model: Model) -> str | None:
    """What onnxruntime can't hold, the framework that trained it can."""
    return learnt.recipe_of(model).framework if too_large(model.network) else None


def _rows(source: Source) -> Indices:
    """Where a view's pictures are in what it is a view of, through all views."""
    assert isinstance(source, View)
    inner = source.source
    return _rows(inner)[source.indices] if isinstance(inner, View) else source.indices
