"""`nin predict`: files, folders and streams in; text, JSON Lines and CSV out; mistakes go on."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netinnet.cli.main import run
from netinnet.data import pictures


def _save(path: Path, seed: int = 0, size: tuple[int, int] = (28, 28)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path


def _files(path: Path) -> tuple[list[str], list[str]]:
    notes: list[str] = []
    return [str(file.relative_to(path)) for file in pictures.files([path], notes.append)], notes


def test_a_folder_is_walked_in_natural_order(tmp_path: Path) -> None:
    names = ["2.png", "10.png", "a1.JPG", "A02.webp", "b/3.bmp", "b/20.jpeg", "c/d/1.png"]
    for name in names:
        _save(tmp_path / name)
    assert _files(tmp_path) == (names, [])


def test_digits_are_a_number_however_many() -> None:
    many = "1" * 5000
    names = ["02", "2", "10", "a9", "a٣1", "a40", f"a{many}", f"A{many}b", f"a{many}0", "b"]
    assert sorted(set(names), key=pictures.natural) == names


def test_what_a_folder_leaves_out_is_counted(tmp_path: Path) -> None:
    outside = _save(tmp_path / "outside" / "secret.png")
    photos = tmp_path / "photos"
    _save(photos / "1.png")
    _save(photos / ".hidden.png")
    _save(photos / ".cache" / "2.png")
    (photos / "notes.txt").write_text("hello")
    (photos / "leaves.png").symlink_to(outside)
    (photos / "stays.png").symlink_to(photos / "1.png")
    (photos / "folder").symlink_to(outside.parent)
    (photos / "loop").symlink_to(photos)
    (photos / "circle.png").symlink_to(photos / "circle.png")
    names, notes = _files(photos)
    assert names == ["1.png", "circle.png", "stays.png"]
    assert notes == [
        f"{photos}: 6 skipped: hidden, a link, or not called "
        ".png, .jpg, .jpeg, .webp, .bmp, .gif, .tif, .tiff"
    ]


def test_files_that_are_named_are_not_judged_by_their_name(tmp_path: Path) -> None:
    paths = [tmp_path / "missing", tmp_path / ".hidden", tmp_path / "notes.txt"]
    assert list(pictures.files(paths, pytest.fail)) == paths


def test_json_is_one_object_a_line_and_a_failure_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [_save(tmp_path / "a.png"), _save(tmp_path / "b.png", 1, (40, 33))]
    bad = tmp_path / "bad.png"
    bad.write_bytes(good[0].read_bytes()[:200])
    missing = tmp_path / "missing.png"
    paths = [good[0], bad, missing, good[1]]
    assert run(["predict", *map(str, paths), "--json", "--top", "2", "--always-answer"]) == 2
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["file"] for row in rows] == [str(path) for path in paths]
    assert [len(row.get("predictions", [])) for row in rows] == [2, 0, 0, 2]
    assert rows[0]["predictions"][0].keys() == {"name", "probability"}
    assert rows[1]["error"].startswith(f"{bad}: damaged or truncated picture")
    assert err.splitlines() == [f"nin: {rows[1]['error']}", f"nin: {rows[2]['error']}"]


def test_csv_has_a_header_and_quotes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [_save(tmp_path / 'a,"b".png'), tmp_path / "none.png"]
    assert run(["predict", *map(str, paths), "--csv", "--top", "3", "--always-answer"]) == 2
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["file"] for row in rows] == [str(paths[0])] * 3 + [str(paths[1])]
    probabilities = [float(row["probability"]) for row in rows[:3]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert rows[3]["error"].startswith(f"{paths[1]}: no such file")
    assert {row["error"] for row in rows[:3]} == {""}


def test_text_of_one_picture_is_a_table_and_of_more_a_line_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = _save(tmp_path / "1.png"), _save(tmp_path / "2.png", 1)
    assert run(["predict", str(first), "--always-answer"]) == 0
    table = capsys.readouterr().out.strip().splitlines()
    assert table[0].split() == ["picture", "class", "probability"]
    assert sum("%" in line for line in table) == 3
    assert run(["predict", str(tmp_path), "--top", "1", "--always-answer"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(first), str(second)]
    assert all(line.endswith("%") for line in lines)


def test_results_come_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second picture is read only after the first result was printed."""
    for i in range(3):
        _save(tmp_path / f"{i}.png", i)
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    printed: list[int] = []
    read = pictures.read

    def watched(*arguments: object) -> np.ndarray:
        printed.append(out.getvalue().count("\n"))
        return read(*arguments)

    monkeypatch.setattr(pictures, "read", watched)
    assert run(["predict", str(tmp_path), "--json"]) == 0
    assert printed == [0, 1, 2]


@pytest.mark.parametrize("form", [[], ["--csv"], ["--json"]])
def test_a_closed_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: list[str]
) -> None:
    paths = [str(_save(tmp_path / f"{i}.png", i)) for i in range(2)]
    monkeypatch.setattr(sys, "stdout", None)
    assert run(["predict", paths[0], *form]) == 0
    assert run(["predict", *paths, *form]) == 0


def test_a_closed_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert run(["predict", str(tmp_path / "none.png"), "--json"]) == 2
    assert "no such file" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize("content", ["picture", b"", b"hello"])
def test_standard_input(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: bytes | str,
) -> None:
    path = _save(tmp_path / "a.png")
    data = path.read_bytes() if isinstance(content, str) else content
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    status = run(["predict", "-", "--json"])
    out, err = capsys.readouterr()
    row = json.loads(out)
    assert row["file"] == "-"
    if data == path.read_bytes():
        assert status == 0
        run(["predict", str(path), "--json"])
        assert row["predictions"] == json.loads(capsys.readouterr().out)["predictions"]
    else:
        assert status == 2
        assert err.startswith("nin: standard input: ")


def test_a_name_that_is_not_utf_8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _save(tmp_path / "a.png").rename(tmp_path / "\udcff.png")
    for arguments in (["--json"], ["--csv"], []):
        assert run(["predict", str(path), *arguments]) == 0
        assert "�.png" in capsys.readouterr().out
    path.write_bytes(b"")
    assert run(["predict", str(path), "--json"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.png", "--top", "0"], "--top must be at least 1, got 0"),
        (["x.png", "--json", "--csv"], "--json and --csv are two forms"),
        (["empty"], "no picture in empty; expected a PNG, JPEG, WebP, BMP, GIF or TIFF picture"),
        (["x.png", "--model", "none.onnx"], "none.onnx: no such model file"),
    ],
    ids=str,
)
def test_mistakes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    assert run(["predict", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    """Names come one at a time: the first is there before the last folder is looked at."""
    _save(tmp_path / "a.png")
    (tmp_path / "b").mkdir()
    walk = pictures.files([tmp_path, tmp_path / "b"], lambda _: None)
    assert next(walk) == tmp_path / "a.png"
    _save(tmp_path / "b" / "late.png")
    assert [path.name for path in walk] == ["late.png", "late.png"]
