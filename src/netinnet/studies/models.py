"""The models that a study's recipes name: what runs start from, and what they learn from.

A study keeps a copy of each, so that all its runs have the same ones, in whatever sitting and
wherever the originals have gone.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from netinnet import weights
from netinnet.data.source import DatasetRecord
from netinnet.errors import ModelError
from netinnet.files import folder_name, make_folder, writing
from netinnet.inference import model_files
from netinnet.networks.network import Network
from netinnet.training import teaching
from netinnet.training.claim import check_inside
from netinnet.training.listening import Listener, data_progress
from netinnet.training.prepared import learnt_otherwise, what_fits
from netinnet.training.recipe import Recipe
from netinnet.weights import Model

FOLDER = "models"
"""Of the copies, in the study's folder."""


@dataclass
class Models:
    """Each is read once: from its copy in the folder of a study that goes on, if there is one."""

    listener: Listener = lambda event: None
    study: Path | None = None
    """The study's folder, if it is known already."""
    keeps: bool = False
    """Whether copies are made in it."""
    _read: dict[str, Model] = field(default_factory=dict)
    _said: set[str] = field(default_factory=set)

    def of(self, recipe: Recipe, network: Network) -> tuple[Model | None, Model | None]:
        """The pretrained model and the teacher of a run; how much of the first fits is said.

        Raises ModelError where one is not there or does not suit the network.
        """
        pretrained, teacher = self._find(recipe.pretrained), self._find(recipe.teacher)
        if pretrained is not None:
            self._say(what_fits(network, pretrained, str(recipe.pretrained)))
        if teacher is not None:
            teaching.check(network, teacher, str(recipe.teacher))
        return pretrained, teacher

    def compare(self, recipe: Recipe, data: DatasetRecord) -> None:
        """Say where a model may have learnt pictures that judge the recipe's run."""
        for name in (recipe.pretrained, recipe.teacher):
            if (model := self._find(name)) is not None:
                for line in learnt_otherwise(model, str(name), data):
                    self._say(line)

    def keep_in(self, study: Path) -> None:
        """Copy what was read into the study's folder, and from now on what will be."""
        self.study, self.keeps = study, True
        for name, model in self._read.items():
            self._keep(name, model)

    def _find(self, name: str | None) -> Model | None:
        if not name:
            return None
        if name not in self._read:
            copy = self._copy(name)
            if copy is not None and copy.exists():
                self._read[name] = weights.load(copy)
                self._compare(name, copy)
            else:
                self._read[name] = model_files.find(Path(name))
                self._keep(name, self._read[name])
        return self._read[name]

    def _copy(self, name: str) -> Path | None:
        return None if self.study is None else _copy_of(name, self.study)

    def _keep(self, name: str, model: Model) -> None:
        copy = self._copy(name)
        if self.keeps and copy is not None and not copy.exists():
            assert self.study is not None
            check_inside(copy, self.study)
            with writing(copy.parent):
                make_folder(copy.parent)
            weights.save(copy, model)

    def _compare(self, name: str, copy: Path) -> None:
        """Say where the original is not what the study began with."""
        try:
            now = model_files.find(Path(name))
        except ModelError:
            self._say(f"{name} can't be read any more: its copy in {copy.parent} is used")
            return
        if not _is_same(now, self._read[name]):
            self._say(f"{name} is not what this study began with: {copy} is used")

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            data_progress(self.listener)(line, 0, None)


def with_copies(recipe: Recipe, study: Path | None) -> Recipe:
    """The recipe with a study's copy in the place of its teacher, if there is one."""
    if study is None or not recipe.teacher:
        return recipe
    copy = _copy_of(recipe.teacher, study)
    return recipe.replace(teacher=str(copy)) if copy.exists() else recipe


def _copy_of(name: str, study: Path) -> Path:
    # Two names may differ in what no file's name can hold.
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
    return study / FOLDER / f"{folder_name(Path(name).name)[:80]}-{digest}.safetensors"


def _is_same(one: Model, other: Model) -> bool:
    return one.network == other.network and all(
        np.array_equal(one.weights[name], array) for name, array in other.weights.items()
    )
