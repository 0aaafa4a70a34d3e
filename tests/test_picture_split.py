"""How a folder of pictures is split: exact shares; adding a picture moves few, renaming none."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from netinnet import data, weights
from netinnet.data import batches, picture_look, picture_split, picture_store
from netinnet.errors import DataError
from netinnet.inference import model_files
from netinnet.networks import zoo
from netinnet.reports import suspected
from netinnet.studies import plan as plans
from netinnet.studies import scheduler
from netinnet.studies.arms import Arm
from netinnet.training import learnt as of_model
from netinnet.training import recipe as recipes

from .conftest import nin
from .test_folder_page import learnt
from .test_own_pictures import cache, fill, picture

__all__ = ["cache", "learnt"]  # fixtures

SHARES = st.sampled_from(["70/15/15", "80/10/10", "90/10", "50/50", "34/33/33", "98/1/1"])


def split_of(labels: dict[int, str], groups: list[list[int]], shares: str) -> dict[int, str]:
    """The split of each picture; its number stands for its content."""
    digests = [b"%d" % i for i in labels]
    rank = picture_split.ranks([*labels], digests, [*labels.values()])
    made = picture_split.split(groups, labels, rank, picture_split.parse(shares))
    return {i: name for name, places in made.items() for i in places}


@given(st.lists(st.sampled_from("ab"), max_size=120), st.sampled_from("ab"), SHARES)
def test_a_picture_more_moves_two_at_most(classes: list[str], new: str, shares: str) -> None:
    labels = dict(enumerate(classes))
    before = split_of(labels, [[i] for i in labels], shares)
    labels[len(classes)] = new
    after = split_of(labels, [[i] for i in labels], shares)
    moved = [labels[i] for i in before if before[i] != after[i]]
    assert len(moved) <= shares.count("/")
    assert set(moved) <= {new}


@given(st.lists(st.integers(1, 12), max_size=40), st.data(), SHARES)
def test_shares_are_those_of_taking_turns(
    sizes: list[int], drawn: st.DataObject, shares: str
) -> None:
    """By Sainte-Laguë, larger groups first; the order of groups changes nothing."""
    groups, labels = [], {}
    for size in sizes:
        groups.append([*range(len(labels), len(labels) + size)])
        labels |= dict.fromkeys(groups[-1], "a")
    found = split_of(labels, groups, shares)
    assert found.keys() == labels.keys()
    assert all(len({found[i] for i in group}) == 1 for group in groups)
    wanted, taken = picture_split.parse(shares), Counter[str]()
    for size in sorted(sizes, reverse=True):
        taken[min(wanted, key=lambda n: (taken[n] + size / 2) / wanted[n])] += size
    assert Counter(found.values()) == +taken
    shuffled = [drawn.draw(st.permutations(group)) for group in drawn.draw(st.permutations(groups))]
    assert split_of(labels, shuffled, shares) == found


def test_in_a_folder_one_more_moves_two_and_a_new_name_none(tmp_path: Path) -> None:
    """With copies and near-duplicates, some of them in two classes."""
    folder = fill(tmp_path / "p", {"a": 30, "b": 30})
    for i in range(4):
        Image.open(folder / f"a/{i}.png").resize((80, 64)).save(folder / f"a/near{i}.png")
        Image.open(folder / f"a/{i + 9}.png").resize((80, 64)).save(folder / f"b/near{i}.png")
        shutil.copy(folder / f"b/{i}.png", folder / f"a/same{i}.png")

    def found(by: str) -> tuple[dict[str, str], str]:
        """The split of each file's content (and class), and the data set's digest."""
        loaded = data.load(str(folder))
        rows = [line.split(",") for line in loaded.files.splitlines()[1:]]
        named = {(folder / path).read_bytes().hex() + label: split for path, label, split in rows}
        assert len(named) == len(rows), by
        return named, loaded.record.digest

    before = found("as made")
    for number, file in enumerate(sorted(folder.rglob("*.png"), reverse=True)):
        file.rename(file.with_name(f"new{number:03}.png"))
    assert found("renamed") == before
    for i in range(12):
        new = folder / f"a/added{i}.png"
        picture(9000 + i).save(new)
        after = found("added")[0]
        assert sum(after[key] != split for key, split in before[0].items()) <= 2
        new.unlink()


def test_a_split_of_an_earlier_version_can_be_made_again(tmp_path: Path) -> None:
    """Its record says that it was made by turns; its pictures.csv holds it in any version."""
    folder = fill(tmp_path / "p", {"a": 40, "b": 20})
    look = picture_look.look(folder, picture_store.cache_folder())
    earlier = "train/test/validation 70/15/15 of each class by seed 0, copies together"
    again = picture_look.look(folder, picture_store.cache_folder(), how_split=earlier)
    assert again.how_split == earlier
    assert look.how_split == earlier.replace("seed 0,", "seed 0, in blocks,")
    assert {n: len(s) for n, s in again.splits.items()} == {
        n: len(s) for n, s in look.splits.items()
    }
    assert again.splits != look.splits
    # The first of all take their turns as the shares have it: that is what earlier versions made.
    ranks = picture_split.ranks(look.good.tolist(), look.sha256, ["a"] * 40 + ["b"] * 20)
    first = sorted(range(40), key=ranks.__getitem__)[:7]
    assert [again.split_of[i] for i in first] == [
        *("train", "train", "test", "validation", "train", "train", "train")
    ]
    (folder / "labels.csv").write_text(again.to_csv())
    digests = [picture_store.of(one).record.digest for one in (again, look)]
    assert data.load(str(folder)).record.digest == digests[0] != digests[1]


def test_the_order_of_a_file_of_labels_changes_nothing(tmp_path: Path) -> None:
    """Also where it gives copies, of the same bytes or nearly, several classes."""
    folder = fill(tmp_path / "p", {"a": 30, "b": 30})
    for i in range(9):
        shutil.copy(folder / f"b/{i}.png", folder / f"a/same{i}.png")
        Image.open(folder / f"a/{i}.png").resize((80, 64)).save(folder / f"b/near{i}.png")
    lines = [f"{f.relative_to(folder)},{f.parent.name}" for f in sorted(folder.rglob("*.png"))]
    digests = set()
    for order in (lines, lines[::-1]):
        (folder / "labels.csv").write_text("\n".join(["path,class", *order]))
        digests.add(data.load(str(folder)).record.digest)
    assert len(digests) == 1


# --- groups


def subjects(folder: Path) -> Path:
    """Pictures of four persons, of each split some of two of them."""
    for seed, split in enumerate(("train", "test")):
        fill(folder / split, {"a": 12, "b": 12}, seed=100 + 100 * seed)
        for file in sorted((folder / split).rglob("*.png")):
            person = int(file.stem) % 3 + (file.parent.name == "b") * seed
            file.rename(file.with_name(f"person{person}-{file.name}"))
    return folder


def test_groups_that_span_the_splits_of_a_folder_are_counted(tmp_path: Path) -> None:
    folder = subjects(tmp_path / "p")
    loaded = data.load(str(folder), group_by="person[0-9]")
    text = "\n".join(loaded.cautions)
    assert "--group-by person[0-9]: 4 groups" in text
    assert (
        "groups by person[0-9] that are in several splits: 3 (person0, person1, person2); the "
        "folder is split already, which --group-by does not change"
    ) in text
    assert loaded.how_split == "as given, 3 groups by person[0-9] in several splits"
    whole = data.load(str(folder), group_by="a/|b/")
    assert whole.how_split == "as given, 2 groups by a/|b/ in several splits"
    kept = data.load(str(folder), group_by="(train|test)/")
    assert kept.how_split == "as given"
    assert "several splits" not in "\n".join(kept.cautions)


@pytest.mark.parametrize(
    ("group_by", "message"),
    [
        (
            "png",
            "20 usable pictures, kept together in 1 group (copies, and --group-by png): none is "
            "left to test; choose another --group-by",
        ),
        (None, "2 usable pictures; there must be two classes, and pictures to train and to test"),
    ],
)
def test_grouping_that_leaves_no_test_pictures_is_named(
    tmp_path: Path, group_by: str | None, message: str
) -> None:
    folder = fill(tmp_path / "p", dict.fromkeys("ab", 10 if group_by else 1))
    with pytest.raises(DataError) as error:
        data.load(str(folder), group_by=group_by)
    assert str(error.value) == f"{folder}: {message}"


def test_copies_that_leave_no_test_pictures_are_named(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", {"a": 1, "b": 1})
    for i in range(1, 5):
        shutil.copy(folder / "a/0.png", folder / f"a/{i}.png")
    with pytest.raises(DataError, match=r"together in 2 groups \(copies of each other\): no"):
        data.load(str(folder))
    # Of a folder that is split, copies are not why.
    shutil.copytree(folder, tmp_path / "split/train")
    (tmp_path / "split/test/a").mkdir(parents=True)
    (tmp_path / "split/test/a/x.png").write_bytes(b"x")
    with pytest.raises(DataError, match="6 usable pictures; there must be two classes, and pict"):
        data.load(str(tmp_path / "split"), skip_bad=True)


# --- what a model was trained on


@pytest.mark.parametrize(
    "changes",
    [
        {"group_by": "person[0-9]", "validation": 0.3},
        {"split": "60/40", "validation": 0.3},
        {"split": "60/20/20", "group_by": "person[0-9]", "validation": 0.3},
    ],
)
def test_a_models_hold_out_is_that_of_its_recipe(
    learnt: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Whatever --split and --group-by the look itself has."""
    folder = tmp_path / "p"
    shutil.copytree(learnt / "photos", folder)
    for number, file in enumerate(sorted(folder.rglob("*.png"))):
        file.rename(file.with_name(f"person{number % 7}-{file.name}"))
    model = model_files.find(learnt / "run")
    recipe = of_model.recipe_of(model).replace(**changes, dataset=str(folder))
    loaded = data.load(str(folder), **recipe.reading)
    notes = {"recipe": recipe.to_toml(), "dataset": loaded.record.to_json()}
    model = dataclasses.replace(model, notes={**model.notes, **notes})
    look = picture_look.look(folder, picture_store.cache_folder())
    known, note = suspected._trained_on(look, model, tmp_path)
    assert note == suspected.KNOWN
    paths = [line.split(",")[0] for line in loaded.files.splitlines()[1 : len(loaded.train) + 1]]
    kept, held_out = batches.split(len(paths), 0.3, recipe.seed, loaded.groups)
    trained = {look.shown_path(place) for place, state in known.items() if state}
    assert trained == {paths[i] for i in kept}
    if "group_by" in changes:
        persons = {path.split("/")[1][:7] for path in trained}
        assert not persons & {paths[i].split("/")[1][:7] for i in held_out}


def test_what_a_model_of_an_earlier_version_was_trained_on_is_known(learnt: Path) -> None:
    folder, model = learnt / "photos", model_files.find(learnt / "run")
    earlier = picture_look.look(folder, picture_store.cache_folder(), how_split="by seed 0, copies")
    record = picture_store.of(earlier).record.to_json()
    model = dataclasses.replace(model, notes={**model.notes, "dataset": record})
    look = picture_look.look(folder, picture_store.cache_folder())
    known, note = suspected._trained_on(look, model, learnt)
    assert note == suspected.KNOWN
    trained = {place for place, state in known.items() if state}
    assert trained < {*earlier.splits["train"]}
    assert not trained <= {*look.splits["train"]}


@pytest.mark.parametrize("is_named", [False, True])
def test_a_model_of_an_earlier_version_meets_its_folder_as_it_was_split(
    is_named: bool, tmp_path: Path
) -> None:
    """Else its own data set would be another one, or its training pictures be test pictures."""
    folder = fill(tmp_path / "p", {"a": 30, "b": 30})
    earlier = picture_look.look(folder, picture_store.cache_folder(), how_split="by seed 0, copies")
    record = picture_store.of(earlier).record
    notes = {"recipe": f'dataset = "{folder}"\n', "dataset": record.to_json()}
    model = weights.Model(zoo.network("lenet"), {}, notes=notes)
    found = of_model.load(model, str(folder) if is_named else None, None, lambda *_: None)
    assert found.record.digest == record.digest != data.load(str(folder)).record.digest


def test_another_split_on_the_command_line_is_no_other_data_set(learnt: Path) -> None:
    flags = ("--model", learnt / "run", "--json")
    plain = json.loads(nin("data", learnt / "photos", *flags).stdout)
    other = json.loads(nin("data", learnt / "photos", *flags, "--split", "50/50").stdout)
    assert other["suspected_note"] == plain["suspected_note"] == suspected.KNOWN
    found = [{(s["file"], s["trained_on"]) for s in told["suspected"]} for told in (plain, other)]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("splits", "how_split", "digest"),
    [
        (
            (),
            "by seed 0, copies",
            "7215affe763bdb3d0dbd92a05a59a5a38ca3807268cd4a95d1c7cab13dafcb49",
        ),
        (("train", "test"), "", "5d2836fa7b790c45ba29752d69ccf75899843ec2b35d31341c7c5f052c400793"),
    ],
    ids=["by an earlier version", "as given"],
)
def test_what_earlier_versions_have_seen_is_the_same_data_set(
    splits: tuple[str, ...], how_split: str, digest: str, tmp_path: Path
) -> None:
    """Their digests, with three pictures in two classes whose natural order is not that of text."""
    for number, split in enumerate(splits or ("",)):
        for label, name in enumerate(("2", "10")):
            place = tmp_path / split / name
            place.mkdir(parents=True)
            for i in range(12):
                value = 10 * i + (0 if i < 3 else label) + 5 * number
                Image.new("L", (8, 8), value).save(place / f"{i}.bmp")
    cache = picture_store.cache_folder()
    looked = picture_look.look(tmp_path, cache, how_split=how_split)
    assert picture_store.of(looked).record.digest == digest


def test_a_study_goes_on_with_the_split_that_it_began_with(tmp_path: Path) -> None:
    """By the command that began it, too, where the recipe's data set is looked up anew."""
    folder = fill(tmp_path / "photos", {"a": 30, "b": 30})
    cache = picture_store.cache_folder()
    earlier = picture_look.look(folder, cache, how_split="by seed 0, copies")
    record = picture_store.of(earlier).record
    recipe = recipes.load("fashion", dataset=str(folder), network="lenet", threads=1)
    began = plans.Plan("ablation", (Arm("a", recipe, None, record.facts),), (0,))
    plans.write(dataclasses.replace(began, data={str(folder): record}), tmp_path / "study")
    again = plans.Plan("ablation", (plans.given("a", recipe, {}),), (0,))
    assert again.arms[0].facts != record.facts
    again = plans.as_begun(again, tmp_path / "study")
    setup = scheduler.prepare(again, 1, None, lambda event: None, tmp_path / "study")
    assert setup.data[str(folder)].record.digest == record.digest
    plan, _ = plans.settle(plans.with_data(again, setup.data), tmp_path / "study")
    assert plan.data[str(folder)].digest == record.digest
