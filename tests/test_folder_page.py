"""More about a folder of pictures: its page, labels that a model doubts, verifying, cleaning."""

from __future__ import annotations

import base64
import html
import io
import json
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netinnet import data
from netinnet.data import picture_cache, picture_store, pictures
from netinnet.reports import folder_page

from .conftest import made_once, nin
from .html_parser import parse
from .test_own_pictures import FLAGS, cache, exif, fill, picture

__all__ = ["cache"]  # the fixture, used by all


def headings(page: str) -> list[str]:
    return [html.unescape(text) for text in re.findall(r"<h2>(.*?)</h2>", page)]


# --- the page


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = fill(tmp_path / "photos", {"a <b>&": 22, "c": 24})
    shutil.copy(folder / "c/1.png", folder / "c/same.png")
    picture(1003).resize((80, 64)).save(folder / "a <b>&/near.jpg", quality=60)
    return folder


def test_the_page_shows_samples_copies_and_damage(photos: Path, tmp_path: Path) -> None:
    picture(5, 60, 20).save(photos / "c/turned.jpg", exif=exif(6))
    picture(5, 60, 20).save(photos / "c/again.jpg", exif=exif(6))
    (photos / "c/<i>broken.png").write_bytes(b"x")
    page = tmp_path / "pages/page.html"
    done = nin("data", photos, "--output", page)
    assert done.returncode == 2
    assert "1 picture of 51 can't be used: " in done.stderr
    assert f"page: {page}" in done.stdout
    text = page.read_text()
    parsed = parse(text)
    assert {"b", "i", "script", "link", "iframe"}.isdisjoint(parsed.tags)
    assert not re.search(r"https?://|@import", text)
    assert all(src.startswith("data:image/") for src in parsed.values("src"))
    assert headings(text) == [
        "Classes",
        "Samples",
        "The same picture more than once",
        "Can't be used",
        "What there is",
    ]
    assert "c/<i>broken.png: not a picture that can be read" in parsed.text
    assert "Class a <b>& has only 16 training pictures." in parsed.text
    # The largest class's bar is as wide as it can be.
    assert parsed.values("style") == ["width: 85.2%", "width: 100.0%"]
    shown = dict(zip(parsed.values("alt"), parsed.values("src"), strict=True))
    samples = [alt for alt in parsed.values("alt") if "\n" not in alt]
    assert len(samples) == 2 * folder_page.PER_CLASS
    copies = {alt.partition("\n")[0] for alt in shown if "\n" in alt}
    assert copies == {
        *("c/1.png", "c/same.png", "a <b>&/2.png", "a <b>&/near.jpg"),
        *("c/turned.jpg", "c/again.jpg"),
    }
    turned = next(src for alt, src in shown.items() if alt.startswith("c/turned.jpg\nc, "))
    image = Image.open(io.BytesIO(base64.b64decode(turned.partition(",")[2])))
    assert image.size == (20, 60)
    kinds = re.findall(r"<h3>(The same file|Recompressed, resized or cropped)</h3>", text)
    assert sorted(kinds) == ["Recompressed, resized or cropped", "The same file", "The same file"]


def test_a_page_is_not_written_over(photos: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine")
    refused = nin("data", photos, "--output", page)
    assert refused.returncode == 2
    assert f"{page} already exists; choose another --output, or replace" in refused.stderr
    assert page.read_text() == "mine"
    assert nin("data", photos, "--output", page, "--force").returncode == 0
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_large_folders_are_shown_in_part(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_page, "SAMPLES", 1)
    monkeypatch.setattr(folder_page, "GROUPS", 1)
    monkeypatch.setattr(folder_page, "PER_GROUP", 1)
    monkeypatch.setattr(folder_page, "FILES", 1)
    for name in "xyz":
        (photos / f"c/{name}.png").write_bytes(b"x")
    page = tmp_path / "page.html"
    assert nin("data", photos, "--output", page, "--skip-bad").returncode == 0
    parsed = parse(page.read_text())
    assert len(parsed.values("src")) == 2
    for text in ("1 more classes", "1 more groups", ", and 1 more", "2 more are not shown"):
        assert text in parsed.text


def test_a_name_that_is_no_utf8(photos: Path, tmp_path: Path) -> None:
    for name in (b"\xff.png", b"\xfe.png"):
        shutil.copy(photos / "c/3.png", os.fsdecode(bytes(photos / "c") + b"/" + name))
    page = tmp_path / "page.html"
    assert nin("data", photos, "--output", page).returncode == 0
    assert "c/?.png" in parse(page.read_text("utf-8")).text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["photos", "--force"], "--force needs --output"),
        (["photos", "--group-by", "("], "group_by is no regular expression: missing ), untermin"),
        (["photos", "--group-by", "x{9" + "9" * 30 + "}"], "group_by is no regular expression: "),
        (["photos", "--group-by", "(" * 5000], "group_by is no regular expression: maximum recurs"),
        (
            ["photos", "--split", "60/30/nan"],
            "100 in all, as in 80/10/10 or 90/10; got '60/30/nan'",
        ),
        (["photos", "--split", "nan/10"], "100 in all, as in 80/10/10 or 90/10; got 'nan/10'"),
        (
            ["arrays", "--output", "p.html"],
            "arrays is not a folder of pictures; leave out --output",
        ),
        (
            ["mnist", "--model", "run", "--verify"],
            "--verify, --model: only for a folder of pictures",
        ),
        (["--output", "p.html"], "--output: only for a folder of pictures; give its path"),
        (["photos", "--clean"], "nin data --clean goes through the whole cache: give it alone"),
        (["--clean", "--verify"], "nin data --clean goes through the whole cache: give it alone"),
        (["photos", "--model", "none"], "none: no such"),
    ],
)
def test_flags_that_do_not_fit(
    photos: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    arrays = (np.zeros((4, 8, 8), np.uint8), np.arange(4) % 2)
    data.save(data.from_arrays("arrays", arrays, arrays), tmp_path / "arrays")
    done = nin("data", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "p.html").exists()


# --- labels that a model doubts


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red and blue pictures, learnt with some in the wrong class, and the run."""

    def make(base: Path) -> None:
        rng = np.random.default_rng(3)
        for i in range(60):
            for name, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
                (base / "photos" / name).mkdir(parents=True, exist_ok=True)
                values = np.array(colour) + rng.integers(-40, 40, (12 + i % 9, 20, 3))
                file = base / "photos" / name / f"{i}.png"
                Image.fromarray(values.astype(np.uint8)).save(file)
        for i in (0, 7, 14, 21, 28, 35):
            shutil.move(base / f"photos/red/{i}.png", base / f"photos/blue/red{i}.png")
        done = nin(
            *("train", "--dataset", base / "photos", *FLAGS, "--output", base / "run"),
            *("--epochs", "3", "--validation", "0.2", "--quiet"),
        )
        assert done.returncode == 0, done.stderr

    return made_once("doubted", tmp_path_factory, make)


def doubted(folder: Path, model: Path) -> dict[str, object]:
    done = nin("data", folder, "--model", model, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_wrong_labels_are_found_and_what_was_trained_on_is_marked(
    learnt: Path, tmp_path: Path
) -> None:
    photos, run, page = learnt / "photos", learnt / "run", tmp_path / "page.html"
    told = doubted(photos, run)
    found = told["suspected"]
    assert isinstance(found, list)
    # Of so few pictures a wrong label may be learnt.
    wrong = {f"blue/red{i}.png" for i in (0, 7, 14, 21, 28, 35)}
    assert {row["file"] for row in found} <= wrong
    assert len(found) >= 4
    assert {(row["class"], row["rather"]) for row in found} == {("blue", "red")}
    states = [row["trained_on"] for row in found]
    assert states == sorted(states)
    for state in (False, True):
        believed = [row["probability"] for row in found if row["trained_on"] is state]
        assert believed == sorted(believed)
    # What the recipe held out of the training split wasn't trained on.
    loaded = data.load(str(photos))
    kept = json.loads((run / "metrics.json").read_text())
    assert kept["train_examples"] < len(loaded.train)
    assert all(row["split"] == "train" for row in found if row["trained_on"])
    assert told["suspected_note"] == "Those that the model was trained on are judged too kindly."
    done = nin("data", photos, "--model", run, "--output", page)
    assert f"labels that the model doubts: {len(found)}. Those that" in done.stdout
    parsed = parse(page.read_text())
    assert "Labels that the model doubts" in parsed.text
    assert sum(alt.startswith("blue → red?\n") for alt in parsed.values("alt")) == len(found)


def test_of_another_folder_or_a_bare_model_less_is_known(learnt: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(learnt / "photos", photos)
    before = doubted(photos, learnt / "run")
    shutil.move(photos / "blue/red0.png", photos / "blue/renamed.png")
    renamed = doubted(photos, learnt / "run")  # the same content: all is known
    assert renamed["suspected_note"] == before["suspected_note"]
    shutil.move(photos / "blue/red7.png", photos / "red/red7.png")
    told = doubted(photos, learnt / "run")
    found = told["suspected"]
    assert isinstance(found, list)
    assert "taken from the run's pictures.csv, by path" in str(told["suspected_note"])
    assert {row["file"] for row in found if row["trained_on"] is None} == {"blue/renamed.png"}
    assert len(found) == 5
    model = shutil.copy(learnt / "run/model.safetensors", tmp_path / "model.safetensors")
    told = doubted(photos, Path(model))
    assert "is not known" in str(told["suspected_note"])
    run = Path(shutil.copytree(learnt / "run", tmp_path / "run"))
    for content in (b"file,class\na,b\n", b"\xff\xfe\n", b""):  # somebody else's
        (run / "pictures.csv").write_bytes(content)
        told = doubted(photos, run)
        assert "is not known" in str(told["suspected_note"])
    (photos / "green").mkdir()
    picture(1).save(photos / "green/1.png")
    refused = nin("data", photos, "--model", learnt / "run")
    assert refused.returncode == 2
    assert "its classes (blue, red) lack the folder's green; choose another" in refused.stderr


# --- verify


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    """A folder that was looked at, and then got another picture of the same size and time."""
    folder = fill(tmp_path / "p", {"a": 10, "b": 10}, ".bmp")
    data.load(str(folder))
    file = folder / "a/1.bmp"
    before = file.stat()
    picture(77).save(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    return folder


EDITED = "20 files verified; 1 file edited though size and time are the same: a/1.bmp"


def test_an_edit_that_keeps_size_and_time_is_found_by_verifying(edited: Path) -> None:
    trusted = data.load(str(edited)).record
    assert EDITED not in nin("data", edited).stderr
    assert EDITED in nin("data", edited, "--verify").stderr
    assert data.load(str(edited)).record.digest != trusted.digest
    assert "20 files verified\n" in nin("data", edited, "--verify").stderr


def test_training_verifies_before_it_begins(edited: Path, tmp_path: Path) -> None:
    words = ["train", "--dataset", edited, *FLAGS, "--epochs", "1", "--verify"]
    done = nin(*words, "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert EDITED in " ".join((done.stdout + done.stderr).split())
    assert "verify" not in (tmp_path / "run/recipe.toml").read_text()
    resumed = nin("train", "--resume", tmp_path / "run", "--verify")
    assert "20 files verified" in resumed.stdout + resumed.stderr
    (edited / "a/2.bmp").unlink()
    (tmp_path / "run/report.html").unlink()
    refused = nin("train", "--resume", tmp_path / "run", "--verify")
    assert "not the data set that was used" in refused.stderr


# --- clean


def test_clean_removes_what_no_folder_needs(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nin("data", "--clean").stdout.endswith("0 files removed (0 B), 0 files kept (0 B)\n")
    kept, gone = (fill(tmp_path / name, {"a": 10, "b": 10}) for name in ("kept", "gone"))
    (gone / "a/new.png").write_bytes((kept / "a/1.png").read_bytes())
    for folder in (kept, gone):
        data.load(str(folder)).sized((3, 8, 8))
    old = set((cache / "pictures").glob("store-*"))
    picture(1).save(kept / "a/new.png")
    loaded = data.load(str(kept)).sized((3, 8, 8))
    shutil.rmtree(gone)
    for name, age in ((".store-1.npy.x.tmp", 2 * 86400), (".store-2.npy.x.tmp", 60)):
        (cache / "pictures" / name).write_bytes(b"half")
        os.utime(cache / "pictures" / name, (time.time() - age,) * 2)
    (cache / "pictures/look0-old.npz").write_bytes(b"old")
    (cache / "pictures/notes.txt").write_text("mine")
    (cache / "pictures/store-damaged.npy").write_bytes(b"damaged")
    told = json.loads(nin("data", "--clean", "--json").stdout)
    reasons = sorted(row["reason"] for row in told["removed"])
    assert reasons == sorted(
        [
            "left behind by a process that was killed",
            "of another version, or damaged",
            *["of pictures that no folder had when this version looked at it last"] * 3,
            f"{gone} is gone",
        ]
    )
    assert told["removed_bytes"] == sum(row["bytes"] for row in told["removed"]) > 0
    assert told["cache"] == str(cache / "pictures")
    assert not old & set((cache / "pictures").iterdir())
    left = sorted(p.name.split("-")[0] for p in (cache / "pictures").iterdir())
    assert left == [".store", "look2", "notes.txt", "store"]
    assert len(told["kept"]) == 2
    # What is left is enough: nothing is opened again.
    monkeypatch.setattr(pictures, "bytes_of", None)
    again = data.load(str(kept)).sized((3, 8, 8))
    every = np.arange(len(loaded.train))
    np.testing.assert_array_equal(again.train.pictures(every), loaded.train.pictures(every))
    assert "0 files removed (0 B), 2 files kept" in nin("data", "--clean").stdout


def test_the_cache_is_not_touched_by_listing_it(cache: Path, tmp_path: Path) -> None:
    data.load(str(fill(tmp_path / "p", {"a": 10, "b": 10}))).sized((3, 8, 8))
    before = sorted(cache.rglob("*"))
    assert [file.reason for file in picture_cache.files(picture_store.cache_folder())] == ["", ""]
    assert sorted(cache.rglob("*")) == before
