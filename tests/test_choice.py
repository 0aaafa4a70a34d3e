"""What is chosen for pictures and time; starting from other weights; going on for more epochs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import netinnet
from netinnet import data, weights
from netinnet.data import batches
from netinnet.errors import DataError, NetinnetError, RecipeError
from netinnet.inference import class_maps
from netinnet.training import choice, parts
from netinnet.training import recipe as recipes

from .conftest import FRAMEWORK, nin
from .test_own_pictures import FLAGS, cache, fill

__all__ = ["cache"]  # a fixture
QUICK = ("--epochs", "1", "--quiet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "photos", {"1": 12, "2": 12})


def made(count: int, side: int) -> data.Dataset:
    """A data set of so many training pictures of that size; none of them is looked at."""
    images = np.broadcast_to(np.zeros((1, 1, 1, 1), np.uint8), (count, side, side + 5, 3))
    labels = np.arange(count) % 2
    few = (np.zeros((2, side, side + 5, 3), np.uint8), np.arange(2))
    return data.from_arrays("made", (images, labels), few, mean=(0.5,) * 3, std=(0.2,) * 3)


@pytest.mark.parametrize(
    ("side", "network", "size"),
    [
        (20, "nin-small-32", 28),
        (31, "nin-small-32", 28),
        (32, "nin-small-32", 32),
        (80, "nin-small-64", 64),
        (100, "nin-small-96", 96),
        (3000, "nin-small-128", 128),
    ],
)
def test_size_and_network_follow_the_pictures(side: int, network: str, size: int) -> None:
    wish = choice.wish("pictures", {})
    small = made(50, min(side, 128)) if side != 3000 else made(50, 200)
    recipe, reasons = choice.choose(wish, small)
    assert (recipe.network, recipe.image_size, recipe.width) == (network, size, 0.75)
    assert reasons[0].startswith(f"{network} at {size}×{size}: the shorter side of the pictures")
    assert reasons[1] == "width 0.75: for 50 training pictures"
    maps = class_maps.of(parts.network_for(recipe, facts=small.facts))
    assert maps is not None
    assert maps.input[1:] == ((7, 7) if size == 28 else (8, 8))


def test_width_and_epochs_follow_the_number_of_pictures() -> None:
    wish = choice.wish("pictures", {})
    counts = (100, 1999, 2000, 99_999, 100_000)
    chosen = [choice.choose(wish, made(n, 32))[0] for n in counts]
    assert [recipe.width for recipe in chosen] == [0.75, 0.75, 1.0, 1.0, 1.5]
    assert [recipe.epochs for recipe in chosen] == [200, 150, 150, 20, 20]


def test_what_is_given_is_not_chosen() -> None:
    wish = choice.wish("pictures", {"image_size": 70, "width": 0.5})
    recipe, reasons = choice.choose(wish, made(50, 300))
    assert (recipe.network, recipe.image_size, recipe.width) == ("nin-small-64", 70, 0.5)
    assert len(reasons) == 2
    assert choice.wish("pictures", {}, "lenet").chosen == {"epochs"}
    assert not choice.wish("pictures", {"epochs": 3}, "lenet").chosen
    assert not choice.wish("fashion", {}).chosen
    assert choice.wish("book", {}, time="90s").chosen == {"epochs"}


@pytest.mark.parametrize(
    ("time", "epochs", "network", "width"),
    [
        ("10h", 200, "nin-small-64", 1.5),
        ("60s", 36, "nin-small-64", 1.5),
        ("40s", 36, "nin-small-64", 1.0),
        ("15s", 36, "nin-small-32", 0.75),
        ("1s", 2, "nin-small-32", 0.75),
    ],
)
def test_a_smaller_network_where_there_is_less_time(
    time: str, epochs: int, network: str, width: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds(recipe: recipes.Recipe, *_: object) -> float:
        """As if an epoch took so long."""
        return (recipe.image_size or 0) / 64 * (recipe.width or 0)

    monkeypatch.setattr(choice, "seconds_of_an_epoch", seconds)
    chosen = choice.wish("pictures", {}, time=time)
    recipe, reasons = choice.choose(chosen, made(100_000, 64))
    assert (recipe.epochs, recipe.network, recipe.width) == (epochs, network, width)
    assert (", and for the time" in reasons[0]) == (time not in ("10h", "60s"))
    assert reasons[2].startswith(f"{epochs} epochs: one takes about")


def test_no_time_for_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "seconds_of_an_epoch", lambda *_: 100.0)
    with pytest.raises(RecipeError, match="an epoch takes 2 min here, and 60 s are given"):
        choice.choose(choice.wish("fashion", {}, time="1m"), made(50, 28))


@pytest.mark.parametrize("text", ["", "10", "m", "-5m", "0s", "10 days", "1e3s"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(NetinnetError, match="a time is a number with s, m or h, as in 90s"):
        choice.wish("fashion", {}, time=text)


def test_the_recipe_of_a_data_set(folder: Path) -> None:
    names = [choice.recipe_for(name) for name in (None, "fashion-mnist", "x", str(folder))]
    assert names == ["fashion", "fashion", "fashion", "pictures"]


def test_time_or_epochs() -> None:
    result = nin("train", "--time", "5m", "--epochs", "3")
    assert result.returncode == 2
    assert result.stderr == "nin: --time chooses the epochs; leave out --epochs or --time\n"


def test_a_dry_run_says_all_and_makes_nothing(folder: Path) -> None:
    flags = ("train", "--dataset", str(folder), "--dry-run", "--time", "2s", *FLAGS)
    result = nin(*flags, "--json", cwd=folder.parent)
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["pictures"] == {"train": 16, "test": 4, "validation": 4}
    assert said["recipe"]["network"] == "nin-small-32"
    assert said["network"]["input"] == [3, 16, 16]
    assert 0 < said["seconds"] < 20
    assert said["recipe"]["epochs"] >= 1
    text = nin(*flags, cwd=folder.parent).stdout.splitlines()
    assert text[-4].startswith("data: photos, 2 classes, pictures: 16 train, 4 test, 4 validation")
    assert text[-1].startswith("this will take about ")
    assert [path.name for path in folder.parent.iterdir()] == ["photos"]


def test_weights_of_another_model(folder: Path, tmp_path: Path) -> None:
    """Those of a model with other classes are taken but for the last layer; a copy is kept."""
    first = tmp_path / "first"
    flags = ("train", "--dataset", str(folder), *FLAGS, *QUICK)
    assert nin(*flags, "--output", str(first)).returncode == 0
    fill(folder, {"3": 12}, seed=5000)
    second = tmp_path / "second"
    result = nin(
        *("train", "--dataset", str(folder), *FLAGS, "--epochs", "1"),
        *("--pretrained", str(first), "--output", str(second), "--learning-rate", "1e-9"),
    )
    assert result.returncode == 0, result.stderr
    said = f"weight tensors are taken from {first}: up to"
    taken = next(line for line in result.stdout.splitlines() if "weight tensors are taken" in line)
    assert taken.endswith("; the rest starts anew"), said
    old, new = (netinnet.load(run).weights for run in (first, second))
    copied = netinnet.load(second / "pretrained.safetensors").weights
    for name, values in old.items():
        np.testing.assert_array_equal(copied[name], values)
    convolution = next(iter(old))
    np.testing.assert_allclose(new[convolution], old[convolution], atol=1e-5)
    # Killed before its first checkpoint, it starts from the copy, wherever the first run is.
    shutil.rmtree(first)
    for name in ("model.safetensors", "metrics.json", "model.onnx", "events.jsonl"):
        (second / name).unlink()
    before = {name: values.copy() for name, values in new.items()}
    again = netinnet.resume(second)
    for name, values in netinnet.load(again.folder).weights.items():
        np.testing.assert_array_equal(values, before[name])


def test_weights_that_do_not_fit(folder: Path, tmp_path: Path) -> None:
    result = nin(
        *("train", "--dataset", str(folder), *FLAGS, *QUICK, "--network", "lenet"),
        *("--pretrained", str(SHIPPED), "--output", str(tmp_path / "run")),
    )
    assert result.returncode == 2
    assert f"nin: {SHIPPED}: none of its weights fit lenet: " in result.stderr
    assert not (tmp_path / "run").exists()


SHIPPED = Path(netinnet.__file__).parent / "models" / "nin-small-fashion-mnist.safetensors"


def test_more_epochs_of_a_finished_run(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert (
        nin("train", "--dataset", str(folder), *FLAGS, *QUICK, "--output", str(run)).returncode == 0
    )
    bytes_before = (run / "model.safetensors").read_bytes()
    more = tmp_path / "more"
    result = nin("train", "--resume", str(run), "--more-epochs", "2", "--output", str(more))
    assert result.returncode == 0, result.stderr
    assert (run / "model.safetensors").read_bytes() == bytes_before
    recipe = recipes.load(str(more / "recipe.toml"))
    assert (recipe.epochs, recipe.pretrained) == (2, str(run))
    start = weights.load(more / "pretrained.safetensors").weights
    np.testing.assert_equal(start, dict(netinnet.load(run).weights))
    assert (more / "network.json").read_bytes() == (run / "network.json").read_bytes()
    assert (more / "dataset.json").read_bytes() == (run / "dataset.json").read_bytes()


def test_more_epochs_of_what() -> None:
    result = nin("train", "--more-epochs", "2")
    assert result.returncode == 2
    assert "--more-epochs continues a finished run: name it with --resume RUN" in result.stderr


@given(
    groups=st.lists(st.integers(0, 6), min_size=4, max_size=40),
    fraction=st.floats(0.1, 0.6),
    seed=st.integers(0, 99),
)
def test_groups_stay_on_one_side(groups: list[int], fraction: float, seed: int) -> None:
    numbers = np.array(groups)
    try:
        kept, held_out = batches.split(len(groups), fraction, seed, numbers)
    except DataError as error:
        assert "to train on" in str(error) or "holds out none" in str(error)  # noqa: PT017
        return
    assert sorted([*kept, *held_out]) == list(range(len(groups)))
    assert not set(numbers[kept]) & set(numbers[held_out])
    assert len(held_out) >= round(len(groups) * fraction)


def test_groups_of_one_change_no_split() -> None:
    alone = batches.split(50, 0.2, 3, np.arange(50)[::-1])
    np.testing.assert_equal(alone, batches.split(50, 0.2, 3))


def test_pictures_of_one_subject_stay_together(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", {"a": 30, "b": 30})
    for file in sorted(folder.rglob("*.png")):
        file.rename(file.with_name(f"person-{int(file.stem) % 6}-{file.name}"))
    loaded = data.load(str(folder), group_by=r"(person-\d)")
    split_of: dict[str, set[str]] = {}
    for line in loaded.files.splitlines()[1:]:
        path, _, split = line.split(",")
        split_of.setdefault(path[2:10], set()).add(split)
    assert len(split_of) == 6
    assert all(len(splits) == 1 for splits in split_of.values())
    assert any("--group-by (person-\\d): 6 groups" in line for line in loaded.cautions)
    assert "copies and groups by (person-\\d) together" in loaded.how_split
    result = nin("data", str(folder), "--group-by", "person-[0-3]", "--json")
    said = json.loads(result.stdout)["cautions"]
    assert any("4 groups, and 20 pictures in none, each for itself" in line for line in said)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--group-by", "("), "group_by is no regular expression: "),
        (("--group-by", "x"), "group_by is for a folder of pictures, and the data set is fashion"),
    ],
)
def test_groups_that_cannot_be(flags: tuple[str, ...], message: str) -> None:
    dataset = () if "x" in flags else ("--dataset", "./photos")
    result = nin("train", *dataset, *flags, "--framework", FRAMEWORK)
    assert result.returncode == 2
    assert message in result.stderr


def test_shares_of_a_split(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", {"a": 20, "b": 40})
    loaded = data.load(str(folder), split="80/20")
    assert {name: len(source) for name, source in loaded.splits.items()} == {
        "train": 48,
        "test": 12,
    }
    assert loaded.how_split.startswith("train/test 80/20 of each class by seed 0")
    assert np.bincount(loaded.test.labels).tolist() == [4, 8]


@pytest.mark.parametrize("text", ["80", "80/30", "a/b", "0/100", "50/20/20/10", "110/-10"])
def test_what_is_no_split(folder: Path, text: str) -> None:
    with pytest.raises(DataError, match="a split is per cent for training, test and perhaps"):
        data.load(str(folder), split=text)


def test_a_folder_that_is_split_already(folder: Path, tmp_path: Path) -> None:
    for name in ("train", "test"):
        shutil.copytree(folder, tmp_path / "split" / name)
    with pytest.raises(DataError, match="it is split already; leave out --split 90/10"):
        data.load(str(tmp_path / "split"), split="90/10")
