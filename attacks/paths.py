"""Paths that lead out: in files of labels, links, archives, run and study folders, names.

Each exploit makes its files below a folder, where `victim/` holds what it aims at, and says what
`nin` must answer. tests/test_paths.py runs them: nothing of the victim is changed, shown or copied.
"""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

SECRET = "TOP-SECRET"  # noqa: S105


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(value).integers(0, 256, (9, 9), np.uint8)
    Image.fromarray(values).save(path)


def victim(base: Path) -> Path:
    """What exploits aim at."""
    folder = base / "victim"
    picture(folder / "secret.png", 99)
    (folder / "secret.txt").write_text(SECRET)
    (folder / "secret.json").write_text(f'{{"a": "{SECRET}"}}')
    (folder / "step-00000001.safetensors").write_text(SECRET)
    (folder / "half.tmp").write_text(SECRET)
    return folder


class Exploit(NamedTuple):
    """A command on what `make` has made below a folder, its exit status, and what it says."""

    make: Callable[[Path], object]
    words: list[str]
    status: int
    said: str


def _labels(path: str, link: tuple[str, str] | None = None) -> Callable[[Path], None]:
    """A file of labels that names `path`, and perhaps a link in the folder."""

    def make(base: Path) -> None:
        for place in range(4):
            picture(base / f"photos/{place}.png", place)
        if link:
            (base / "photos" / link[0]).symlink_to(link[1])
        lines = [f"{place}.png,{place % 2}" for place in range(4)]
        shown = path.replace("BASE", str(base))
        (base / "photos/labels.csv").write_text("\n".join(["path,class", *lines, f"{shown},1"]))

    return make


def _classes(link: str, aim: str) -> Callable[[Path], None]:
    def make(base: Path) -> None:
        for place in range(8):
            picture(base / f"photos/{'ab'[place % 2]}/{place}.png", place)
        (base / "photos" / link).symlink_to(base / aim)

    return make


def _linked(place: str, aim: str) -> Callable[[Path], None]:
    """A link in a folder that is copied from `base/run` or `base/study` by the test."""

    def make(base: Path) -> None:
        path = base / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            for inside in path.iterdir():
                inside.unlink()
            path.rmdir()
        path.unlink(missing_ok=True)
        path.symlink_to(os.path.relpath(base / aim, path.parent))

    return make


DATA = ["data", "photos"]
RESUME = ["train", "--resume", "run"]
STUDY = ["reliability", "--resume", "study"]
OUT = "leads out of its folder by a link"
EXPLOITS: dict[str, Exploit] = {
    "labels, upwards": Exploit(_labels("../victim/secret.png"), DATA, 2, "lies outside of"),
    "labels, up and down": Exploit(_labels("x/../../victim/secret.png"), DATA, 2, "lies outside"),
    "labels, absolute": Exploit(_labels("BASE/victim/secret.png"), DATA, 2, "lies outside of"),
    "labels, backslashes": Exploit(_labels("..\\victim\\secret.png"), DATA, 2, "lies outside"),
    "labels, a link": Exploit(
        _labels("l.png", ("l.png", "../victim/secret.png")), DATA, 2, "lies outside"
    ),
    "labels, a linked folder": Exploit(
        _labels("l/secret.png", ("l", "../victim")), DATA, 2, "lies outside"
    ),
    "classes, a link": Exploit(
        _classes("a/out.png", "victim/secret.png"), DATA, 0, "a link out of the folder"
    ),
    "classes, a linked folder": Exploit(_classes("a/out", "victim"), DATA, 0, "a link to a folder"),
    "classes, a linked class": Exploit(_classes("c", "victim"), DATA, 0, "a link to a folder"),
    **{
        f"a run's {place}": Exploit(_linked(f"run/{place}", f"victim/{aim}"), RESUME, 2, OUT)
        for place, aim in {
            ".lock": "secret.json",
            "events.jsonl": "secret.txt",
            "checkpoints": "",
            "metrics.json": "secret.json",
            "report.html": "secret.txt",
        }.items()
    },
    **{
        f"a study's {place}": Exploit(_linked(f"study/{place}", f"victim/{aim}"), STUDY, 2, OUT)
        for place, aim in {
            ".lock": "secret.json",
            "logs": "",
            "runs": "",
            "runs/a": "",
            "runs/a/seed-0": "",
        }.items()
    },
    # It is read first, and what is no network's description is named, not shown.
    "a study's networks": Exploit(
        _linked("study/networks", "victim"), STUDY, 2, "networks/secret.json: made by a newer"
    ),
}


def tar(*members: tuple[str, bytes, str]) -> bytes:
    """A tar.gz of members: name, type (tarfile's), and content or what a link leads to."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, kind, text in members:
            member = tarfile.TarInfo(name)
            member.type, content = kind, b""
            if kind == tarfile.REGTYPE:
                content = text.encode()
                member.size = len(content)
            else:
                member.linkname = text
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


WANTED = "batches/one.bin"
TARS = {
    "a link": (WANTED, tarfile.SYMTYPE, "/etc/passwd"),
    "a link to another member": (WANTED, tarfile.SYMTYPE, "other"),
    "a hard link": (WANTED, tarfile.LNKTYPE, "/etc/passwd"),
    "a hard link to another member": (WANTED, tarfile.LNKTYPE, "other"),
    "a device": (WANTED, tarfile.CHRTYPE, ""),
    "a block device": (WANTED, tarfile.BLKTYPE, ""),
    "a pipe": (WANTED, tarfile.FIFOTYPE, ""),
    "a folder": (WANTED, tarfile.DIRTYPE, ""),
    "upwards": (f"../{WANTED}", tarfile.REGTYPE, SECRET),
    "upwards and back": (f"x/../{WANTED}", tarfile.REGTYPE, SECRET),
    "absolute": (f"/{WANTED}", tarfile.REGTYPE, SECRET),
}
"""Members that are none of the wanted one; another member is there, too."""


def keras(path: Path, name: str, link: bool) -> None:
    """A .keras archive with a member of another name, or one that unpacked would be a link."""
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo(name)
        if link:
            info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
