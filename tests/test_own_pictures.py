"""A folder of one's own pictures: what is read, said and left out, and how it is learnt."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from netinnet import data, weights
from netinnet.data import near_duplicates, picture_store, pictures
from netinnet.errors import DataError
from netinnet.frameworks import FRAMEWORKS
from netinnet.inference.predictor import Predictor
from netinnet.networks import zoo
from netinnet.networks.layers import Shape
from netinnet.preprocessing import resize
from netinnet.training import learnt
from netinnet.training import run as runs

from .conftest import FRAMEWORK, ROOT, made_once, needs, nin

FLAGS = [
    *("--batch-size", "8", "--framework", FRAMEWORK, "--threads", "1"),
    *("--device", "cpu", "--image-size", "16"),
]
ORIENTATION = 0x0112


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("NETINNET_CACHE", str(folder))
    return folder


def picture(seed: int, width: int = 40, height: int = 32) -> Image.Image:
    """A picture that is like no other: smooth random colours."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def fill(folder: Path, classes: dict[str, int], suffix: str = ".png", seed: int = 1000) -> Path:
    """Class folders with so many pictures each."""
    for name, count in classes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            seed += 1
            picture(seed).save(folder / name / f"{i}{suffix}")
    return folder


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[ORIENTATION] = orientation
    return made


def header_only(width: int, height: int) -> bytes:
    """A PNG that says it is so large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


GOOD: dict[str, tuple[Callable[[Path], object], str]] = {
    "1/capital.JPG": (lambda p: picture(1).save(p, "JPEG"), "colour"),
    "1/b.jpeg": (lambda p: picture(2).save(p), "colour"),
    "1/c.webp": (lambda p: picture(3).save(p), "colour"),
    "1/d.bmp": (lambda p: picture(4).save(p), "colour"),
    "1/e.gif": (lambda p: picture(5).save(p), "colour"),
    "1/f.tiff": (lambda p: picture(6).save(p, compression="tiff_lzw"), "colour"),
    "1/deep/er/g.png": (lambda p: picture(7).save(p), "colour"),
    "1/a name ß.png": (lambda p: picture(8).save(p), "colour"),
    "1/grey.png": (lambda p: picture(9).convert("L").save(p), "grey"),
    "1/bits.png": (lambda p: picture(10).convert("1").save(p), "grey"),
    "1/alpha.png": (lambda p: picture(11).convert("RGBA").save(p), "alpha"),
    "1/palette.gif": (
        lambda p: (made := picture(12).convert("P")).save(p, transparency=made.getpixel((0, 0))),
        "alpha",
    ),
    "1/two.jpg": (
        lambda p: picture(26).save(p, "MPO", save_all=True, append_images=[picture(27)]),
        "colour",
    ),
    "1/cmyk.jpg": (lambda p: picture(13).convert("CMYK").save(p), "CMYK"),
    "1/deep.png": (
        lambda p: Image.fromarray(np.asarray(picture(14).convert("L")) * np.uint16(257)).save(p),
        "16-bit",
    ),
    "1/moving.gif": (
        lambda p: picture(15).save(p, save_all=True, append_images=[picture(16)]),
        "colour",
    ),
    "1/pages.tif": (
        lambda p: picture(17).save(p, save_all=True, append_images=[picture(18)]),
        "colour",
    ),
    "1/turned.jpg": (lambda p: picture(19).save(p, exif=exif(6)), "colour"),
    "1/turned.png": (lambda p: picture(20).save(p, exif=exif(3)), "colour"),
    "1/turned.tif": (lambda p: picture(21).save(p, exif=exif(8)), "colour"),
    "1/profile.png": (lambda p: picture(22).save(p, icc_profile=b"Adobe RGB"), "colour"),
    "1/srgb.png": (lambda p: picture(23).save(p, icc_profile=b"sRGB"), "colour"),
    "1/png-inside.jpg": (lambda p: picture(24).save(p, "PNG"), "colour"),
    "1/pixel.png": (lambda p: Image.new("RGB", (1, 1), (9, 200, 30)).save(p), "colour"),
    "1/long.png": (lambda p: picture(25, 400, 2).save(p), "colour"),
}
"""What is read, and its mode."""
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "2/cut.jpg": (lambda p: (picture(30).save(p), cut(p)), "damaged or truncated picture"),
    "2/cut.png": (lambda p: (picture(31).save(p), cut(p)), "damaged or truncated picture"),
    "2/cut.gif": (lambda p: (picture(32).save(p), cut(p)), "damaged or truncated picture"),
    "2/empty.png": (lambda p: p.touch(), "empty file"),
    "2/text.jpg": (lambda p: p.write_text("hello"), "not a picture that can be read"),
    "2/phone.HEIC": (lambda p: p.write_bytes(bytes(99)), "HEIC pictures are not read; save it as"),
    "2/new.avif": (lambda p: p.write_bytes(bytes(99)), "AVIF pictures are not read; save it as"),
    "2/phone.jpg": (
        lambda p: p.write_bytes(b"\0\0\0\x18ftypheic" + bytes(99)),
        "a HEIC or AVIF picture, which is not read: save it as JPEG",
    ),
    "2/float.tif": (
        lambda p: Image.new("F", (9, 9)).save(p),
        "32-bit values have no fixed range; save it as 8-bit",
    ),
    "2/huge.png": (lambda p: p.write_bytes(header_only(9000, 9000)), "more than 25 megapixels"),
    "2/ppm.png": (lambda p: picture(33).save(p, "PPM"), "not a picture that can be read"),
    "2/gone.png": (lambda p: p.symlink_to("nowhere.png"), "no such file"),
    "2/loop.png": (lambda p: p.symlink_to("loop.png"), "no such file"),
    "2/pipe.png": (os.mkfifo, "not a regular file"),
}
"""What can't be used, and why."""
LEFT_OUT: dict[str, tuple[Callable[[Path], object], str]] = {
    "2/.hidden.png": (lambda p: picture(40).save(p), "hidden"),
    "2/.thumbnails": (lambda p: fill(p, {"x": 1}), "hidden"),
    "2/Thumbs.db": (lambda p: p.write_bytes(b"x"), "not a picture by its name"),
    "2/out.png": (lambda p: p.symlink_to(p.parents[2] / "outside.png"), "a link out of the folder"),
    "2/folder": (lambda p: p.symlink_to("../1"), "a link to a folder"),
    "loose.png": (lambda p: picture(41).save(p), "beside the class folders, so it has no class"),
}
"""What is no picture of the data set, and why."""
COPIES: dict[str, tuple[Callable[[Path], object], str]] = {
    "2/again.jpg": (lambda p: shutil.copy(p.parent / "0.jpg", p), "2/0.jpg"),
    "10/other-class.jpg": (lambda p: shutil.copy(p.parents[1] / "2/1.jpg", p), "2/1.jpg"),
    "2/link.jpg": (lambda p: p.symlink_to("2.jpg"), "2/2.jpg"),
}
NEAR: dict[str, tuple[Callable[[Path], object], str]] = {
    "2/worse.jpg": (lambda p: Image.open(p.parent / "3.jpg").save(p, quality=40), "2/3.jpg"),
    "2/larger.png": (lambda p: Image.open(p.parent / "4.jpg").resize((90, 70)).save(p), "2/4.jpg"),
    "10/part.png": (
        lambda p: Image.open(p.parents[1] / "2/5.jpg").crop((1, 1, 39, 31)).save(p),
        "2/5.jpg",
    ),
}


@pytest.fixture(scope="session")
def troubles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every kind of trouble."""

    def make(base: Path) -> None:
        picture(50).save(base / "outside.png")
        folder = fill(base / "mixed", {"2": 250, "10": 30}, ".jpg")
        fill(folder, {"3 cats/brown": 2, "3 cats/white": 2}, seed=5000)
        fill(folder, {"few": 1, "Few": 1, "empty": 0}, seed=6000)
        for kinds in (GOOD, BAD, LEFT_OUT, COPIES, NEAR):
            for name, (write, _) in kinds.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                write(folder / name)

    return made_once("troubles", tmp_path_factory, make) / "mixed"


@pytest.fixture
def looked(troubles: Path) -> dict[str, Any]:
    done = nin("data", troubles, "--json", "--skip-bad")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_every_kind_of_trouble_is_reported(troubles: Path, looked: dict[str, Any]) -> None:
    """Each picture is read, refused or left out, with the right reason: none goes in silence."""
    damaged = {entry["file"]: entry["reason"] for entry in looked["damaged"]}
    assert set(damaged) == set(BAD)
    for name, (_, reason) in BAD.items():
        assert reason in damaged[name], name
        assert damaged[name].startswith(f"{troubles / name}: ")
    assert {e["file"]: e["reason"] for e in looked["left_out"]} == {
        name: reason for name, (_, reason) in LEFT_OUT.items()
    }
    files = {p for p in troubles.rglob("*") if not p.is_dir() and ".thumbnails" not in p.parts}
    left_out = sum(not (troubles / name).is_dir() for name in LEFT_OUT)
    assert looked["pictures"] + len(BAD) + left_out == len(files)
    assert set(looked["rotated"]) == {f"1/turned.{kind}" for kind in ("jpg", "png", "tif")}
    assert set(looked["animated"]) == {"1/moving.gif", "1/pages.tif", "1/two.jpg"}
    assert looked["not_srgb"] == ["1/profile.png"]
    modes = {mode: [n for n, (_, m) in GOOD.items() if m == mode] for _, mode in GOOD.values()}
    plain = looked["pictures"] - len(GOOD)
    expected = {m: len(names) + plain * (m == "colour") for m, names in modes.items()}
    assert looked["modes"] == expected
    assert looked["sizes"]["400×2"] == looked["sizes"]["1×1"] == 1


def test_copies_are_found(looked: dict[str, Any]) -> None:
    assert sorted(map(sorted, looked["duplicates"])) == sorted(
        sorted((name, of)) for name, (_, of) in COPIES.items()
    )
    assert sorted(map(sorted, looked["near_duplicates"])) == sorted(
        sorted((name, of)) for name, (_, of) in NEAR.items()
    )
    text = "\n".join(looked["cautions"])
    assert "the same picture in several classes: 2 times (" in text
    assert "2/1.jpg = 10/other-class.jpg" in text
    assert "6 pictures more than once: 3 as the same file, 3 recompressed, resized or crop" in text
    assert "both sides" not in text


def test_cautions_of_classes(looked: dict[str, Any]) -> None:
    assert list(looked["classes"]) == ["1", "2", "3 cats", "10", "Few", "few"]  # natural
    text = "\n".join(looked["cautions"])
    assert "empty has no picture: it is no class" in text
    assert "3 cats holds only folders (brown, white), all of the class 3 cats" in text
    assert "classes whose names are all but the same: Few, few" in text
    assert "class few has no picture in test" in text
    assert "class few has only 1 training picture" in text
    assert "14 files left out, can't be used: 2/cut.gif, 2/cut.jpg, " in text
    assert "and 9 more" in text
    assert "1 file left out, a link out of the folder: 2/out.png" in text
    assert "3 files of several frames or pages, the first is used: 1/moving.gif, 1/pages" in text
    assert "1 file with a colour profile other than sRGB, which is not applied: 1/prof" in text
    assert "class 10 has 22 training pictures, others 178" not in text


def test_damaged_pictures_are_an_error_that_names_five(troubles: Path) -> None:
    for command in (["data", troubles], ["train", "--dataset", troubles, *FLAGS]):
        done = nin(*command)
        assert done.returncode == 2
        line = done.stderr.splitlines()[-1]
        assert line.startswith("nin: 14 pictures of ")
        assert line.count("; and 9 more. Repair or remove them, or leave them out with --skip") == 1
        assert "2/cut.jpg: damaged or truncated picture" in line


def test_the_store_holds_what_prediction_reads(troubles: Path) -> None:
    """Every kind of picture, turned ones too, as `pictures.read` and the model's resize have it."""
    loaded = data.load(str(troubles), skip_bad=True).sized(Shape(3, 16, 12))
    rows = list(csv.reader(loaded.files.splitlines()))[1:]
    seen = 0
    for split, source in loaded.splits.items():
        paths = [path for path, _, of in rows if of == split]
        assert len(paths) == len(source)
        for i, path in enumerate(paths):
            if path in GOOD:
                read = pictures.as_channels(pictures.read(troubles / path), 3)
                expected = np.rint(resize(read[None].astype(np.float32), 16, 12)[0])
                np.testing.assert_array_equal(source.pictures(np.array([i]))[0], expected, path)
                seen += 1
    assert seen == len(GOOD)


# --- layouts and splits


def written(folder: Path, paths: list[str]) -> Path:
    for seed, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(folder / path)
    return folder


@pytest.mark.parametrize("third", [None, "validation", "val", "Valid"])
def test_given_splits_are_kept(tmp_path: Path, third: str | None) -> None:
    splits = {"Train": "train", "test": "test", **({third: "validation"} if third else {})}
    names = [f"{split}/{c}/{split}{c}{i}.png" for split in splits for c in "ab" for i in range(3)]
    loaded = data.load(str(written(tmp_path / "p", names)))
    assert {name: len(split) for name, split in loaded.splits.items()} == dict.fromkeys(
        splits.values(), 6
    )
    assert loaded.record.how_split == "as given"
    assert loaded.facts.classes == ("a", "b")
    assert loaded.facts.shape is None


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    loaded = data.load(str(fill(tmp_path / "p", {"train": 20, "bus": 20})))
    assert loaded.facts.classes == ("bus", "train")
    assert {n: len(s) for n, s in loaded.splits.items()} == {
        **{"train": 28, "test": 6},
        "validation": 6,
    }


def test_split_is_stratified_by_content_and_keeps_copies_together(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", {"a": 100, "b": 40})
    for i in range(5):  # one picture in six sizes and qualities
        Image.open(folder / "a/0.png").resize((30 + i, 30)).save(folder / f"a/copy{i}.jpg")
    loaded = data.load(str(folder))
    assert {n: len(s) for n, s in loaded.splits.items()} == {
        **{"train": 101, "test": 22},
        "validation": 22,
    }
    assert all(10 <= (s.labels == 0).mean() * 14 <= 11 for s in loaded.splits.values())
    of = {path: split for path, _, split in csv.reader(loaded.files.splitlines())}
    assert len({of["a/0.png"], *(of[f"a/copy{i}.jpg"] for i in range(5))}) == 1
    moved = shutil.move(folder, tmp_path / "moved")
    (moved / "b/0.png").rename(moved / "b/renamed.png")
    assert data.load(str(moved)).record.digest == loaded.record.digest


@pytest.mark.parametrize("name", [None, "p", "./q/../p"])
def test_a_model_meets_its_folder_as_it_was_split(
    name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the folder is named: else pictures that it learnt would be test pictures."""
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "p", {"a": 20, "b": 20})
    (tmp_path / "q").mkdir()
    recipe = f'dataset = "{tmp_path / "p"}"\nsplit = "50/50"\n'
    model = weights.Model(zoo.network("lenet"), {}, notes={"recipe": recipe})
    path = name and f"{tmp_path}/{name}"
    found = learnt.load(model, path, None, lambda *_: None)
    assert {n: len(s) for n, s in found.splits.items()} == {"train": 20, "test": 20}
    shutil.copytree(tmp_path / "p", tmp_path / "other")
    other = learnt.load(model, "./other", None, lambda *_: None)
    assert len(other.train) == 28


def test_a_file_of_labels(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", {"x": 20})
    lines = [f"x/{i}.png,{'odd' if i % 2 else 'even'}" for i in range(19)]
    (folder / "labels.csv").write_text("\n".join(["path,class", *lines]))
    loaded = data.load(str(folder))
    assert loaded.facts.classes == ("even", "odd")
    assert sum(map(len, loaded.splits.values())) == 19
    assert any("not in labels.csv: x/19.png" in caution for caution in loaded.cautions)
    (folder / "labels.csv").rename(folder / "mine.csv")
    assert data.load(str(folder / "mine.csv")).record.digest == loaded.record.digest
    (folder / "mine.csv").rename(folder / ".mine.csv")
    hidden = data.load(str(folder / ".mine.csv"))
    assert hidden.record.digest == loaded.record.digest
    assert not any("hidden" in caution for caution in hidden.cautions)


def test_a_class_of_more_digits_than_int_takes(tmp_path: Path) -> None:
    folder, many = fill(tmp_path / "p", {"x": 20}), "1" * 5000
    lines = [f"x/{i}.png,{many if i % 2 else 9}" for i in range(20)]
    (folder / "labels.csv").write_text("\n".join(["path,class", *lines]))
    assert data.load(str(folder)).facts.classes == ("9", many)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("file,label\nx/0.png,a\n", "line 2: no path or no class; the first line should be path,"),
        ("path,class\nx/0.png,\n", "line 2: no path or no class"),
        ("path,class\n../q.png,a\n", "line 2: ../q.png lies outside of the folder of labels.csv"),
        (
            "path,class\nx/0.png,a\nx\0/1.png,b\n",
            r"line 3: no file can be called 'x\x00/1.png' (emb",
        ),
        ("path,class\nx/0.png,a\nx/0.png,b\n", "line 3: x/0.png is named twice"),
        ("path,class,split\nx/0.png,a,dev\n", "line 2: split must be train, test or validation"),
        ("path,class,split\nx/0.png,a,train\nx/1.png,b,\n", "give a split to all pictures"),
        ("path,class\nx/0.png,a\n", "1 picture of 1 classes, and two classes at least are needed"),
        ("path,class\nx/0.png,a\nx/9.png,b\n", "x/9.png: no such file"),
    ],
)
def test_labels_that_cannot_be(tmp_path: Path, labels: str, message: str) -> None:
    folder = fill(tmp_path / "p", {"x": 2})
    (folder / "labels.csv").write_text(labels)
    with pytest.raises(DataError) as error:
        data.load(str(folder))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["train/a/0.png", "train/b/0.png"], "its folders train are splits, but one train, one"),
        (["train/a/0.png", "val/a/1.png", "valid/b/2.png"], "its folders train, val, valid are"),
        (["train/0.png", "test/1.png"], "0 pictures of 0 classes, and two classes at least"),
        (["0.png", "1.png"], "0 pictures of 0 classes"),
        (["a/0.png", "a/1.png"], "2 pictures of 1 classes"),
        (["a/0.png", "b\n/1.png"], r"the class 'b\n' has no name that can be shown; rename it"),
    ],
)
def test_folders_that_cannot_be(tmp_path: Path, paths: list[str], message: str) -> None:
    with pytest.raises(DataError) as error:
        data.load(str(written(tmp_path / "p", paths)))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_given_split_with_copies_on_both_sides_is_reported(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", {f"{s}/{c}": 3 for s in ("train", "test") for c in "ab"})
    shutil.copy(folder / "train/a/0.png", folder / "test/a/same.png")
    text = "\n".join(data.load(str(folder)).cautions)
    shown = "test/a/same.png = train/a/0.png"
    assert f"the same picture on both sides of the split: 1 time ({shown})" in text


# --- the cache


def test_edited_added_and_removed_files_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill(tmp_path / "p", {"a": 10, "b": 10})
    shape = Shape(3, 8, 8)
    first = data.load(str(folder)).sized(shape)
    opened: list[str] = []
    read = pictures.bytes_of
    monkeypatch.setattr(pictures, "bytes_of", lambda s, n: (opened.append(n), read(s, n))[1])
    assert data.load(str(folder)).sized(shape).record == first.record
    assert opened == []
    picture(77).save(folder / "a/0.png")
    picture(78).save(folder / "b/new.png")
    (folder / "b/1.png").unlink()
    second = data.load(str(folder))
    assert {Path(name).name for name in opened} - {"picture"} == {"0.png", "new.png"}
    assert second.record.digest != first.record.digest
    opened.clear()
    second.sized(shape)
    assert len(set(opened)) == 20  # a store of another content


def test_a_damaged_cache_is_made_anew(tmp_path: Path, cache: Path) -> None:
    folder = fill(tmp_path / "p", {"a": 10, "b": 10})
    every = np.arange(14)
    first = data.load(str(folder)).sized(Shape(3, 8, 8)).train.pictures(every)
    assert not list((cache / "pictures").glob(".*"))
    for file in (cache / "pictures").iterdir():
        cut(file)
    again = data.load(str(folder)).sized(Shape(3, 8, 8)).train.pictures(every)
    np.testing.assert_array_equal(again, first)


def test_a_picture_that_changes_meanwhile_is_no_part_of_a_store(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", {"a": 10, "b": 10})
    loaded = data.load(str(folder))
    picture(5).save(folder / "a/1.png")
    with pytest.raises(DataError, match=r"a/1.png: not what it was when it was looked at; nin"):
        loaded.sized(Shape(3, 8, 8))
    assert not list(picture_store.cache_folder().glob("*store*"))


def test_no_size_no_pictures(tmp_path: Path) -> None:
    loaded = data.load(str(fill(tmp_path / "p", {"a": 10, "b": 10})))
    with pytest.raises(DataError, match="these pictures have many sizes"):
        data.save(loaded, tmp_path / "saved")
    saved = data.save(loaded.sized((3, 8, 8)), tmp_path / "saved")
    assert len(data.load(str(saved)).train) == len(loaded.train)


def test_grey_pictures_have_one_channel(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", {"a": 10, "b": 10})
    for file in folder.rglob("*.png"):
        Image.open(file).convert("L").save(file)
    assert data.load(str(folder)).facts.channels == 1


# --- near-duplicates


def test_flat_pictures_are_no_copies() -> None:
    values = np.arange(100, 140, 4, dtype=np.uint8)
    flat = np.broadcast_to(values[:, None, None, None], (10, 16, 16, 3))
    noise = np.random.default_rng(1).integers(0, 2, (10, 16, 16, 3), np.uint8)
    assert near_duplicates.pairs(flat + noise) == []
    assert near_duplicates.pairs(flat[:0]) == []


# --- the whole way


def test_train_evaluate_and_predict(tmp_path: Path) -> None:
    """Two kinds of pictures of many sizes: learnt, measured, predicted; and what the run keeps."""
    folder = tmp_path / "photos"
    rng = np.random.default_rng(3)
    for i in range(40):
        for name, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
            (folder / name).mkdir(parents=True, exist_ok=True)
            values = np.array(colour) + rng.integers(-40, 40, (12 + i, 20, 3))
            Image.fromarray(values.astype(np.uint8)).save(folder / name / f"{i}.png")
    (folder / "red/broken.png").write_bytes(b"x")
    run = tmp_path / "run"
    done = nin(
        *("train", "--dataset", folder, "--skip-bad", *FLAGS, "--output", run),
        *("--epochs", "4"),
    )
    assert done.returncode == 0, done.stderr
    cautions = " ".join(done.stderr.split())
    assert "caution: 1 file left out, can't be used: red/broken.png" in cautions
    assert "caution: half of the pictures are mirrored in training: --no-horizontal" in cautions
    kept = json.loads((run / "dataset.json").read_text())
    assert kept["classes"] == ["blue", "red"]
    assert kept["train"] + kept["test"] + kept["validation"] == 80
    assert kept["how_split"].startswith("train/test/validation 70/15/15 of each class by seed 0")
    assert len((run / "pictures.csv").read_text().splitlines()) == 81
    evaluated = nin("evaluate", run, "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["accuracy"] == 1.0
    assert json.loads(evaluated.stdout)["accuracy"] == runs.Run(run).metrics()["test"]["accuracy"]
    # What was learnt is what prediction sees: the stored picture's logits are the file's.
    predictor = Predictor(runs.Run(run).model())
    loaded = data.load(str(folder), skip_bad=True).sized(predictor.network.input)
    path = (run / "pictures.csv").read_text().splitlines()[1].split(",")[0]
    stored = predictor.logits(loaded.train.pictures(np.arange(1)))
    read = predictor.logits(pictures.read(folder / path)[None])
    np.testing.assert_allclose(stored, read, atol=0.05 * np.abs(read).max())
    shutil.move(folder, tmp_path / "moved")
    assert nin("evaluate", run).returncode == 2
    assert nin("evaluate", run, "--data-dir", tmp_path / "moved").returncode == 0
    (tmp_path / "moved/red/1.png").unlink()
    refused = nin("evaluate", run, "--data-dir", tmp_path / "moved")
    assert "not the data set that was used (photos)" in refused.stderr


@pytest.mark.parametrize(
    "framework",
    # Each framework is killed once in test_frameworks.py; here it is about the folder.
    [pytest.param(f, marks=[pytest.mark.slow] * (f != FRAMEWORK)) for f in FRAMEWORKS],
)
def test_a_killed_run_goes_on_where_the_folder_was_moved(framework: str, tmp_path: Path) -> None:
    """Pictures of many sizes, augmented; kill -9 behind the first checkpoint: the same bytes."""
    if not FRAMEWORKS[framework].is_installed:
        pytest.skip(f"{FRAMEWORKS[framework].title} is not installed")
    folder = tmp_path / "photos"
    for i in range(24):
        for name in ("a", "b"):
            (folder / name).mkdir(parents=True, exist_ok=True)
            picture(2 * i + (name == "a"), 20 + i, 40 - i).save(folder / name / f"{i}.jpg")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train = [
        "train",
        "--dataset",
        str(folder),
        "--framework",
        framework,
        "--epochs",
        "3",
        "--quiet",
    ]
    train += ["--batch-size", "8", "--threads", "1", "--image-size", "28", "--width", "0.25"]
    done = nin(*train, "--output", whole)
    assert done.returncode == 0, done.stderr
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "netinnet.cli.main", *train, "--output", str(killed)),
            *("--checkpoint-seconds", "0"),
        ],
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if sorted(killed.glob("checkpoints/step-*.safetensors")):
            break
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    folder.rename(tmp_path / "moved")
    refused = nin("train", "--resume", killed)
    assert refused.returncode == 2
    done = nin("train", "--resume", killed, "--data-dir", tmp_path / "moved", "--quiet")
    assert done.returncode == 0, done.stderr
    models = [load_file(run / "model.safetensors") for run in (whole, killed)]
    assert models[0].keys() == models[1].keys()
    for name, values in models[0].items():
        np.testing.assert_array_equal(values, models[1][name])


@needs("pytorch")  # about files and commands: in one environment is enough
def test_the_walk_through(tmp_path: Path) -> None:
    """The commands of docs/own-pictures.md, on a small folder."""
    fill(tmp_path / "photos", {"cat": 20, "dog": 20})
    text = (ROOT / "docs/own-pictures.md").read_text()
    commands = re.findall(r"^nin .*", text, re.MULTILINE)
    names = ["data", "data", "train", "train", "evaluate", "data", "explain", "predict"]
    assert [command.split()[1] for command in commands] == names
    for command in commands:
        words = command.replace("RUN", "run").split()[1:]
        if words[0] == "train":
            words += ["--framework", FRAMEWORK, "--threads", "1", "--batch-size", "8"]
            words += ["--device", "cpu", "--output", "run"]
            words = [{"10m": "3s"}.get(word, word) for word in words]
        done = nin(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 20
    assert "photos/cat/2.png: " in done.stdout
