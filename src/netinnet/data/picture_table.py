"""What each picture of a folder is: a row of a table, made once and kept in the cache."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from netinnet import files
from netinnet.data import near_duplicates, picture_folder, pictures
from netinnet.data.loader import ahead
from netinnet.data.near_duplicates import Thumbnails
from netinnet.data.picture_folder import Listing, named, shown
from netinnet.data.source import Progress
from netinnet.errors import ImageError
from netinnet.units import counted

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

GRID = 256
"""Rows and columns of a picture that its mean is computed of, at most twice as many."""

FORMAT = 2
"""Of what is kept; another way to look or to compare gets another number."""

WORKERS = min(8, os.cpu_count() or 1)
"""Threads that open or decode pictures."""

LOOK_AGAIN = -1
"""The time of a file that could not be read, but perhaps can the next time: no file has it."""

SEEN = np.dtype(
    [
        *(("bytes", "<i8"), ("time", "<i8"), ("sha256", "S64")),
        *(("height", "<i4"), ("width", "<i4"), ("channels", "<i4"), ("mode", "S12")),
        *(("rotated", "?"), ("animated", "?"), ("profile", "?"), ("dark", "?")),
        *(("mean", "<f4", 3), ("square", "<f4", 3)),
    ]
)
"""What is known of a picture; `square` is the mean of the squared values, and `dark` says that it
has 16 bits of which at most 12 are used."""
Seen = npt.NDArray[np.void]


@dataclass(frozen=True)
class Kept:
    """What the last look kept; nothing where there was none."""

    file: Path
    folder: str = ""
    """The one that was looked at, or its file of labels."""
    paths: list[str] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    """Why a picture can't be used, by its place, without its name: the folder may have another."""
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
        content = pictures.bytes_of(file, path)
        row["sha256"] = hashlib.sha256(content).hexdigest()
        if path.lower().endswith(picture_folder.UNREAD):
            kind = Path(path).suffix[1:].upper()
            raise ImageError(f"{kind} pictures are not read; save it as JPEG or PNG")
        array = pictures.read(content, path, partial(_note, row))
    except ImageError as error:
        if isinstance(error, pictures.NotNow):
            row["time"] = LOOK_AGAIN
        return row, 0, str(error).removeprefix(f"{path}: ")
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
        # BGR;16 is what a pixel of a BMP has in all.
        ";16" in (kind := str(tile[3])) and "BGR" not in kind
        for tile in getattr(picture, "tile", ())
    )
    alpha = "alpha" if picture.has_transparency_data else ""
    grey = "grey" if picture.mode in ("1", "L", "LA") else "colour"
    row["mode"] = "16-bit" * deep or alpha or ("CMYK" if picture.mode == "CMYK" else grey)
    row["rotated"] = picture.getexif().get(0x0112, 1) in range(2, 9)
    row["animated"] = getattr(picture, "n_frames", 1) > 1
    profile = picture.info.get("icc_profile") or b"sRGB"
    row["profile"] = not any(name in profile for name in (b"sRGB", "sRGB".encode("utf-16-be")))
    if deep:
        # Pillow keeps all bits of grey, and the upper eight of each colour.
        values, limit = np.asarray(picture), 4096 if picture.mode.startswith("I") else 16
        row["dark"] = values.reshape(*values.shape[:2], -1)[..., :3].max() < limit


def of(
    listing: Listing, path: Path, cache: Path, on_progress: Progress, *, verify: bool
) -> tuple[Seen, dict[int, str], list[list[int]]]:
    """A row for each entry of a list, why some can't be used, and the pairs of near-duplicates.

    `path` is what was listed; `verify` compares the SHA-256 of files whose size and time are known.
    """
    # One for each folder, wherever the working folder is.
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:24]
    kept_file = cache / f"look{FORMAT}-{name}.npz"
    paths = [entry.path for entry in listing.entries]
    known = read_kept(kept_file)
    stamps = [stamp(f"{listing.folder}/{path}") for path in paths]
    kept_stamps = list(zip(known.seen["bytes"].tolist(), known.seen["time"].tolist(), strict=True))
    if not verify and paths == known.paths and stamps == kept_stamps:
        return known.seen, _by_place(known.errors), known.near.tolist()
    seen = np.zeros(len(paths), SEEN)
    places = {path: i for i, path in enumerate(known.paths)}
    old = {i: places[path] for i, path in enumerate(paths) if path in places}
    opened = [i for i, now in enumerate(stamps) if i not in old or kept_stamps[old[i]] != now]
    if verify:
        trusted = {i: j for i, j in old.items() if i not in set(opened)}
        opened = sorted([*opened, *_edited(listing, known, trusted, on_progress)])
    for i in opened:
        old.pop(i, None)
    seen[list(old)] = known.seen[list(old.values())]
    errors = {i: known.errors[str(j)] for i, j in old.items() if str(j) in known.errors}
    thumbnails = no_thumbnails(len(paths))
    thumbnails[list(old)] = known.thumbnails()[list(old.values())]
    made = ahead(partial(open_picture, listing.folder), (paths[i] for i in opened), WORKERS)
    done, total = 0, sum(stamps[i][0] for i in opened)
    for i, (row, thumbnail, error) in zip(opened, made, strict=True):
        seen[i], thumbnails[i] = row, thumbnail
        if error:
            errors[i] = error
        done += stamps[i][0]
        on_progress(f"{listing.folder}: looking at pictures", done, total)
    errors = dict(sorted(errors.items()))
    # What could be used neither before nor now, as a file that is still locked, is no one's copy.
    if paths == known.paths and all(i in errors and str(i) in known.errors for i in opened):
        near = known.near
    else:
        comparing = f"{listing.folder}: comparing {counted(len(seen), 'picture')}"
        near = _near(seen, thumbnails, errors, partial(on_progress, comparing))
    is_known = paths == known.paths and _by_place(known.errors) == errors
    if not (is_known and np.array_equal(seen, known.seen)):
        about = {"folder": str(path.resolve()), "paths": paths, "errors": errors}
        text = np.frombuffer(json.dumps(about).encode(), np.uint8)
        try:
            with files.replacing(kept_file) as file:
                np.savez(file, seen=seen, near=near, text=text, thumbnails=thumbnails)
        except files.CannotWrite as error:
            on_progress(f"caution: what was seen is not kept for the next time: {error}", 0, None)
    return seen, errors, near.tolist()


def _by_place(errors: dict[str, str]) -> dict[int, str]:
    return {int(place): text for place, text in errors.items()}


def _edited(
    listing: Listing, known: Kept, trusted: dict[int, int], on_progress: Progress
) -> list[int]:
    """Of pictures that look unchanged (place: that in `known`), those whose SHA-256 is another."""
    edited: list[int] = []
    paths = (listing.entries[i].path for i in trusted)
    done, total = 0, int(known.seen["bytes"][list(trusted.values())].sum())
    for (i, j), now in zip(
        trusted.items(), ahead(partial(sha256_of, listing.folder), paths, WORKERS), strict=True
    ):
        if now != known.seen["sha256"][j]:
            edited.append(i)
        done += int(known.seen["bytes"][j])
        on_progress(f"{listing.folder}: verifying pictures", done, total)
    line = f"{listing.folder}: {counted(len(trusted), 'file')} verified"
    if edited:
        names = [listing.entries[i].path for i in edited]
        line += f"; {shown(named('edited though size and time are the same', names))}"
    on_progress(line, 0, None)
    return edited


def _near(
    seen: Seen,
    thumbnails: Thumbnails,
    errors: dict[int, str],
    on_progress: Callable[[int, int], object],
) -> npt.NDArray[np.int64]:
    """Pairs of near-duplicates among the good pictures; of files of the same bytes the first."""
    good = np.array([i for i in range(len(seen)) if i not in errors], np.int64)
    once = np.sort(good[np.unique(seen["sha256"][good], return_index=True)[1]])
    small = thumbnails[once]
    pairs = near_duplicates.pairs(
        small, lambda share: on_progress(int(share * small.nbytes), small.nbytes)
    )
    return once[np.array(pairs, np.int64).reshape(-1, 2)]
