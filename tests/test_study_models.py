"""The models that a study's runs start or learn from: copies of them are the study's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from netinnet import weights
from netinnet.data.source import DatasetRecord, Facts
from netinnet.errors import ModelError, NetinnetError
from netinnet.networks.layers import Shape
from netinnet.networks.zoo import describe
from netinnet.studies.models import FOLDER, Models, with_copies
from netinnet.training import recipe as recipes
from netinnet.training.events import Event
from netinnet.weights import Model

NETWORK = describe("nin-small").network()


def made(file: Path, seed: int) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    weights.save(file, Model(NETWORK, weights.initial(NETWORK, seed)))
    return file


def read(models: Models, teacher: Path) -> Model:
    recipe = recipes.load("fashion").replace(teacher=str(teacher))
    pretrained, found = models.of(recipe, NETWORK)
    assert pretrained is None
    assert found is not None
    return found


def is_seed(model: Model, seed: int) -> bool:
    drawn = weights.initial(NETWORK, seed)
    return all(np.array_equal(model.weights[name], array) for name, array in drawn.items())


@pytest.mark.parametrize("fate", ["changed", "gone", "same"])
def test_a_study_that_goes_on_has_the_models_that_it_began_with(fate: str, tmp_path: Path) -> None:
    original, study = made(tmp_path / "a" / "model.safetensors", 1), tmp_path / "study"
    first = Models()
    assert is_seed(read(first, original), 1)
    assert not study.exists()
    first.keep_in(study)
    if fate == "changed":
        made(original, 2)
    elif fate == "gone":
        original.unlink()
    said: list[Event] = []
    assert is_seed(read(Models(said.append, study), original), 1)
    lines = [str(vars(event)) for event in said]
    expected = {
        "changed": [f"{original} is not what this study began with: {study}"],
        "gone": [f"{original} can't be read any more: its copy in {study / FOLDER} is used"],
        "same": [],
    }[fate]
    assert len(lines) == len(expected)
    assert all(text in line for text, line in zip(expected, lines, strict=True))


def test_models_of_one_file_name_have_a_copy_each(tmp_path: Path) -> None:
    models, study = Models(), tmp_path / "study"
    first = made(tmp_path / "a" / "model.safetensors", 1)
    second = made(tmp_path / "b" / "model.safetensors", 2)
    read(models, first)
    models.keep_in(study)
    read(models, second)  # as a trial's, which comes later
    again = Models(study=study)
    assert is_seed(read(again, first), 1)
    assert is_seed(read(again, second), 2)
    assert len(list((study / FOLDER).iterdir())) == 2


def test_a_copy_that_is_damaged_is_named(tmp_path: Path) -> None:
    models, study = Models(), tmp_path / "study"
    original = made(tmp_path / "model.safetensors", 1)
    read(models, original)
    models.keep_in(study)
    (copy,) = (study / FOLDER).iterdir()
    copy.write_bytes(copy.read_bytes()[:-100])
    with pytest.raises(ModelError, match=copy.name):
        read(Models(study=study), original)


def test_copies_are_not_written_through_a_link(tmp_path: Path) -> None:
    models, study = Models(), tmp_path / "study"
    read(models, made(tmp_path / "model.safetensors", 1))
    study.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (study / FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NetinnetError, match="leads out of its folder by a link"):
        models.keep_in(study)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_teacher_that_is_gone_is_timed_by_its_copy(tmp_path: Path) -> None:
    models, study = Models(), tmp_path / "study"
    original = made(tmp_path / "model.safetensors", 1)
    recipe = recipes.load("fashion").replace(teacher=str(original))
    assert with_copies(recipe, study) == recipe
    read(models, original)
    models.keep_in(study)
    copy = with_copies(recipe, study).teacher
    assert copy is not None
    assert is_seed(weights.load(Path(copy)), 1)
    assert with_copies(recipe.replace(teacher=None), study).teacher is None


@pytest.mark.parametrize("what", ["the same", "another split", "another folder", "by its name"])
def test_a_model_that_may_have_learnt_what_judges_is_said(what: str, tmp_path: Path) -> None:
    facts = Facts(("a", "b"), Shape(1, 28, 28), (0.5,), (0.2,))
    record = DatasetRecord("photos", facts, {"train": 2, "test": 2}, "digest", "", "/photos")
    now = {
        "the same": record,
        "another split": dataclasses.replace(record, digest="other"),
        "another folder": dataclasses.replace(record, digest="other", read_from="/elsewhere"),
        "by its name": dataclasses.replace(record, digest="other", read_from=""),
    }[what]
    file = tmp_path / "model.safetensors"
    drawn = weights.initial(NETWORK, 0)
    weights.save(file, Model(NETWORK, drawn, notes={"dataset": record.to_json()}))
    said: list[Event] = []
    recipe = recipes.load("fashion").replace(teacher=str(file))
    Models(said.append).compare(recipe, now)
    lines = [str(vars(event)) for event in said]
    assert len(lines) == (what == "another split")
    assert all(f"{file} learnt from /photos as it was, or was split, then" in x for x in lines)
