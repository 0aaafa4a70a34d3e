"""What each picture of a folder is: a row of a table, made once and kept in the cache."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from netinnet.data import near_duplicates, picture_folder, pictures
from netinnet.data.near_duplicates import Thumbnails
from netinnet.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

GRID = 256
"""Rows and columns of a picture that its mean is computed of, at most twice as many."""

FORMAT = 1
"""Of what is kept; another way to look or to compare gets another number."""

SEEN = np.dtype(
    [
        *(("bytes", "<i8"), ("time", "<i8"), ("sha256", "S64")),
        *(("height", "<i4"), ("width", "<i4"), ("channels", "<i4"), ("mode", "S12")),
        *(("rotated", "?"), ("animated", "?"), ("profile", "?")),
        *(("mean", "<f4", 3), ("square", "<f4", 3)),
    ]
)
"""What is known of a picture; `square` is the mean of the squared values."""
Seen = npt.NDArray[np.void]


@dataclass(frozen=True)
class Kept:
    """What the last look kept; nothing where there was none."""

    file: Path
    folder: str = ""
    """The one that was looked at, or its file of labels."""
    paths: list[str] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    seen: Seen = field(default_factory=lambda: np.zeros(0, SEEN))
    near: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))

    @property
    def sha256(self) -> npt.NDArray[np.bytes_]:
        """Of the files that can be used, in order."""
        good = [i for i in range(len(self.seen)) if str(i) not in self.errors]
        return np.asarray(self.seen["sha256"][good])

    def thumbnails(self) -> Thumbnails:
        """Read only where they are needed: they are most of it."""
        if not self.paths:
            return no_thumbnails(0)
        with np.load(self.file) as kept:
            return np.asarray(kept["thumbnails"])


def read_kept(file: Path) -> Kept:
    try:
        with file.open("rb") as stream, np.load(stream) as kept:
            if kept["seen"].dtype == SEEN:
                text = json.loads(kept["text"].tobytes())
                about = (text.get("folder", ""), text["paths"], text["errors"])
                return Kept(file, *about, kept["seen"], kept["near"])
    # There is none, it is damaged, or another version's: all is looked at again.
    except Exception:  # noqa: BLE001, S110
        pass
    return Kept(file)


def no_thumbnails(count: int) -> Thumbnails:
    return np.zeros((count, near_duplicates.SIDE, near_duplicates.SIDE, 3), np.uint8)


def stamp(file: str) -> tuple[int, int]:
    """A file's size and time; those of none where there is no file."""
    try:
        status = os.stat(file)  # noqa: PTH116 - once for each picture, at every start
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def sha256_of(folder: Path, path: str) -> bytes:
    """As `open_picture` notes it: nothing where the file can't be read."""
    try:
        content = pictures.bytes_of(folder / path, path)
    except ImageError:
        return b""
    return hashlib.sha256(content).hexdigest().encode()


def open_picture(folder: Path, path: str) -> tuple[npt.NDArray[np.void], Thumbnails | int, str]:
    """What a picture is, its thumbnail, and why it can't be used ("": it can)."""
    from PIL import Image

    file, row = folder / path, np.zeros((), SEEN)
    row["bytes"], row["time"] = stamp(str(file))
    try:
        content = pictures.bytes_of(file, str(file))
        row["sha256"] = hashlib.sha256(content).hexdigest()
        if path.lower().endswith(picture_folder.UNREAD):
            kind = Path(path).suffix[1:].upper()
            raise ImageError(f"{file}: {kind} pictures are not read; save it as JPEG or PNG")
        array = pictures.read(content, str(file), partial(_note, row))
    except ImageError as error:
        return row, 0, str(error)
    colour = pictures.as_channels(array, 3)
    row["height"], row["width"], row["channels"] = array.shape
    steps = [max(1, side // GRID) for side in array.shape[:2]]
    grid = colour[:: steps[0], :: steps[1]].reshape(-1, 3).astype(np.float64) / 255
    row["mean"], row["square"] = grid.mean(0), (grid**2).mean(0)
    side = near_duplicates.SIDE
    thumbnail = Image.fromarray(colour).resize((side, side), Image.Resampling.BILINEAR)
    return row, np.asarray(thumbnail), ""


def _note(row: npt.NDArray[np.void], picture: Picture) -> None:
    """What a picture is in its file."""
    deep = picture.mode.startswith("I;") or any(
        "16" in str(tile[3]) for tile in getattr(picture, "tile", ())
    )
    alpha = "alpha" if picture.has_transparency_data else ""
    grey = "grey" if picture.mode in ("1", "L", "LA") else "colour"
    row["mode"] = "16-bit" * deep or alpha or ("CMYK" if picture.mode == "CMYK" else grey)
    row["rotated"] = picture.getexif().get(0x0112, 1) in range(2, 9)
    row["animated"] = getattr(picture, "n_frames", 1) > 1
    profile = picture.info.get("icc_profile") or b"sRGB"
    row["profile"] = not any(name in profile for name in (b"sRGB", "sRGB".encode("utf-16-be")))
