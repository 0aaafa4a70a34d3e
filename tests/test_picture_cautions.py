"""What is said of a folder of pictures: lost classes, failed reads, dark pictures, odd paths."""

from __future__ import annotations

import errno
import io
import json
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from netinnet import data
from netinnet.data import folder as folders
from netinnet.data import picture_look, picture_store, picture_table, pictures
from netinnet.errors import DataError, ImageError
from netinnet.reports import folder_page

from .conftest import nin
from .test_own_pictures import FLAGS, cache, fill, picture

__all__ = ["cache"]  # the fixture, used by all


def looked(folder: Path, **options: Any) -> picture_look.Look:
    return picture_look.look(folder, picture_store.cache_folder(), **options)


# --- a class that is lost


def test_a_class_of_which_nothing_can_be_used_is_named_first(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", {"a": 20, "b": 20, "c": 3})
    for file in (folder / "c").iterdir():
        file.write_bytes(b"x")
    lost = "class c is left out: not one of its 3 pictures can be used"
    assert data.load(str(folder), skip_bad=True).cautions[0] == lost
    assert f"caution: {lost}" in nin("data", folder, "--skip-bad").stdout
    words = ["train", "--dataset", folder, "--skip-bad", *FLAGS, "--epochs", "1"]
    done = nin(*words, "--output", tmp_path / "run")
    assert f"caution: {lost}" in " ".join(done.stderr.split())
    shutil.rmtree(folder / "b")
    with pytest.raises(DataError, match=f"there must be two classes, and .*; {lost}$"):
        data.load(str(folder), skip_bad=True)


# --- what is kept of pictures that can't be read


class Failing(io.BytesIO):
    """A file on a disk that fails."""

    def read(self, _size: int | None = -1) -> bytes:
        raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("what", ["disk", "memory"])
def test_a_read_that_failed_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Though size and time of the file are the same; the rest is neither opened nor compared."""
    folder = fill(tmp_path / "p", {"a": 10, "b": 10})
    (folder / "b/broken.png").write_bytes(b"x")
    bytes_of, to_array = pictures.bytes_of, pictures._to_array
    opened: list[str] = []

    def failing_disk(source: Any, name: str) -> bytes:
        if isinstance(source, Path):
            opened.append(name)
        return bytes_of(Failing() if what == "disk" and name == "a/3.png" else source, name)

    def failing_memory(picture: Any, channels: int | None = None) -> Any:
        if what == "memory" and opened[-1] == "a/3.png":
            raise MemoryError
        return to_array(picture, channels)

    monkeypatch.setattr(pictures, "bytes_of", failing_disk)
    monkeypatch.setattr(pictures, "_to_array", failing_memory)
    monkeypatch.setattr(picture_table, "ahead", lambda make, items, _: map(make, items))
    reason = {"disk": "cannot be read (Input/output error)", "memory": "not enough memory"}[what]
    assert f"{folder / 'a/3.png'}: {reason}" in looked(folder).errors[3]
    opened.clear()
    monkeypatch.setattr(picture_table, "_near", None)  # of many pictures it takes minutes
    # Nothing has changed, so nothing is written.
    monkeypatch.setattr(picture_table.files, "replacing", None)
    assert len(looked(folder).errors) == 2
    assert opened == ["a/3.png"]


def test_after_a_read_that_failed_the_picture_is_as_it_is(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill(tmp_path / "p", {"a": 10, "b": 10})
    whole = looked(folder).to_dict()
    shutil.rmtree(cache)
    read = pictures.bytes_of

    def bytes_of(source: Any, name: str) -> bytes:
        if name == "a/3.png":
            raise pictures.NotNow(f"{name}: cannot be read (Permission denied)")
        return read(source, name)

    with monkeypatch.context() as context:
        context.setattr(pictures, "bytes_of", bytes_of)
        assert looked(folder).errors == {
            3: f"{folder / 'a/3.png'}: cannot be read (Permission denied)"
        }
    assert looked(folder).to_dict() == whole


def test_a_system_error_is_not_now_and_a_damaged_file_is(tmp_path: Path) -> None:
    with pytest.raises(pictures.NotNow, match=r"x: cannot be read \(Input/output error\)"):
        pictures.bytes_of(Failing(), "x")
    file = tmp_path / "x.png"
    picture(1).save(file)
    with pytest.raises(ImageError, match="damaged or truncated") as caught:  # by Pillow's OSError
        pictures.read(file.read_bytes()[:900])
    assert not isinstance(caught.value, pictures.NotNow)


def test_a_folder_reached_by_another_path_has_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill(tmp_path / "p", {"a": 10, "b": 10})
    for name in ("a/x.png", "b/y.heic"):
        (folder / name).write_bytes(b"x")
    assert all(text.startswith(f"{folder}/") for text in looked(folder).errors.values())
    (tmp_path / "link").symlink_to("p")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(picture_table, "open_picture", None)  # nothing is opened again
    for path in ("link", "p", "./p/../link"):
        texts = [*looked(Path(path)).errors.values()]
        assert texts[0].startswith(f"{Path(path)}/a/x.png: not a picture that can be read; ")
        assert (
            texts[1] == f"{Path(path)}/b/y.heic: HEIC pictures are not read; save it as JPEG or PNG"
        )


# --- pictures of 16 bits


def deep_colours(file: Path, values: np.ndarray[Any, Any]) -> None:
    """A PNG of 16 bits a colour, which Pillow can't write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    size = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    body = chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def test_twelve_bits_in_sixteen_are_cautioned(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", {"a": 10, "b": 10})
    grey = np.asarray(picture(1).convert("L")).astype(np.uint16)
    for name, values in {
        **{"low.png": grey // 2 * 32 + 31, "low.tif": grey // 2 * 32 + 31},
        **{"high.png": grey * 257, "edge.png": np.maximum(grey, 1) * 0 + 4096},
    }.items():
        Image.fromarray(values.astype(np.uint16)).save(folder / "a" / name)
    big = Image.frombytes("I;16B", (40, 32), (grey // 2 * 32).astype(">u2").tobytes())
    big.save(folder / "a/big.tif")
    colours = np.asarray(picture(2)).astype(np.uint16)
    deep_colours(folder / "b/low.png", colours // 2 * 32)
    deep_colours(folder / "b/high.png", colours * 257)
    opaque = np.full((*colours.shape[:2], 1), 65535, np.uint16)
    deep_colours(folder / "b/alpha.png", np.concatenate([colours // 2 * 32, opaque], 2))
    look = looked(folder)
    dark = {"a/low.png", "a/low.tif", "a/big.tif", "b/low.png", "b/alpha.png"}
    assert not look.errors
    assert set(look.to_dict()["dark_16_bit"]) == dark
    assert look.to_dict()["modes"]["16-bit"] == 8
    said = "5 files dark, as at most 12 of their 16 bits are used: stretch their values: a/big.tif"
    assert said in "\n".join(look.cautions)
    assert said in "\n".join(looked(folder).cautions)  # from the cache


def test_a_16_in_a_files_layout_is_no_16_bit(tmp_path: Path) -> None:
    """Pillow's description of a plain TIFF holds the bytes of a row, 1,608 here."""
    folder = fill(tmp_path / "p", {"a": 10, "b": 10})
    picture(1, 536, 16).save(folder / "a/rows.bmp")
    picture(2, 536, 16).save(folder / "a/rows.tif")
    assert looked(folder).to_dict()["modes"] == {"colour": 22}


# --- labels.csv, and what lies beside


def test_the_line_of_a_label_is_that_of_the_file(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", {"x": 2})
    (folder / "labels.csv").write_text('path,class\n\nx/0.png,"a\nb"\n\nx/1.png,\n')
    with pytest.raises(DataError, match="line 6: no path or no class"):
        data.load(str(folder))


def test_other_names_of_the_same_file_are_no_other_files(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", {"x": 20})
    (tmp_path / "link").symlink_to("p")
    names = [f"x/{i}.png" for i in range(20)]
    names[1], names[2] = f"{folder}/x/1.png", "y/../x/2.png"
    names[3], names[4] = f"{tmp_path}/link/x/3.png", "../p/x/4.png"
    lines = [f"{name},{'odd' if i % 2 else 'even'}" for i, name in enumerate(names)]
    (folder / "labels.csv").write_text("\n".join(["path,class", *lines]))
    look = looked(folder)
    assert [entry.path for entry in look.entries] == [f"x/{i}.png" for i in range(20)]
    assert look.listing.left_out == []
    picture(77).save(folder / "x/1.png")  # an edit is seen, which it is by the file's own time
    assert picture_store.of(looked(folder)).record.digest != picture_store.of(look).record.digest
    (folder / "labels.csv").write_text("\n".join(["path,class", *lines, "x/z/../1.png,odd"]))
    with pytest.raises(DataError, match=r"line 22: x/z/../1.png is named twice"):
        looked(folder)


def test_pictures_beside_arrays_are_said(tmp_path: Path) -> None:
    arrays = (np.zeros((4, 8, 8), np.uint8), np.arange(4) % 2)
    folder = data.save(data.from_arrays("arrays", arrays, arrays), tmp_path / "p")
    said: list[str] = []
    folders.load(folder, lambda text, done, total: said.append(text))
    assert said == []
    fill(folder, {"cat": 2, "dog": 1})
    text = f"{folder}: its arrays are read, and not the 3 pictures beside them (cat/0.png, …)"
    folders.load(folder, lambda text, done, total: said.append(text))
    assert [line.partition(": move one")[0] for line in said] == [text]
    assert text in " ".join(nin("data", folder).stderr.split())


def test_a_file_is_not_called_missing(tmp_path: Path) -> None:
    file = tmp_path / "one.png"
    picture(1).save(file)
    done = nin("data", file)
    assert done.returncode == 2
    assert f"{file}: a file, not a folder; a data set's has train-images.npy" in done.stderr


# --- the page


def test_files_of_the_same_bytes_are_counted_as_files(tmp_path: Path) -> None:
    folder = fill(tmp_path / "p", {"a": 10, "b": 10})
    for i in range(3):
        shutil.copy(folder / "a/0.png", folder / f"a/again{i}.png")
    told = json.loads(nin("data", folder, "--json").stdout)
    facts = dict(folder_page.facts(told))
    assert facts["files with the bytes of another"] == "4"
    assert facts["pairs of near-duplicates"] == "0"
