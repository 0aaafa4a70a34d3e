"""The page of a look at a folder of pictures: samples of each class, copies, what can't be used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from netinnet import units
from netinnet.data import picture_table, pictures
from netinnet.data.loader import ahead
from netinnet.data.picture_look import Look
from netinnet.errors import ImageError
from netinnet.files import write_text
from netinnet.reports.suspected import Suspected
from netinnet.reports.template import render
from netinnet.reports.thumbnails import Thumbnail, address

SAMPLES, PER_CLASS = 240, 6
"""At most so many sample pictures, and of a class."""
GROUPS, PER_GROUP = 40, 6
"""At most so many groups of copies, and pictures of one."""
SUSPECTED = 40
"""At most so many suspected labels, of those the model was trained on and of the others."""
FILES = 200
"""At most so many names of files in a table."""


def facts(look: dict[str, Any]) -> list[tuple[str, str]]:
    """What there is and how many, from `Look.to_dict`."""
    lists = {
        "turned by EXIF": "rotated",
        "of several frames": "animated",
        "other colour profile": "not_srgb",
        "left out": "left_out",
        "pairs of near-duplicates": "near_duplicates",
        "can't be used": "damaged",
    }
    return [
        ("pictures", units.count(look["pictures"])),
        ("sizes", _most(look["sizes"])),
        ("modes", _most(look["modes"])),
        ("split", look["split"]),
        *((text, units.count(len(look[key]))) for text, key in lists.items()),
        ("files with the bytes of another", units.count(sum(map(len, look["duplicates"])))),
    ]


def _most(counts: dict[str, int], most: int = 4) -> str:
    """The most frequent, with their counts."""
    shown = [f"{name} ({count:,})" for name, count in list(counts.items())[:most]]
    return ", ".join(shown) + (f" and {len(counts) - most} more" if len(counts) > most else "")


def write(
    path: Path, look: Look, suspected: Sequence[Suspected] | None = None, note: str = ""
) -> None:
    """Write the page. `suspected` are the labels that a model doubts, None where none was asked,
    and `note` says what is known of its training.

    Raises NetinnetError where the file can't be written.
    """
    told = look.to_dict()
    copies = [group for group in look.copies if len(group) > 1]
    samples = _samples(look)
    doubted = [
        (title, [s for s in suspected or () if (s.trained_on is True) == trained])
        for title, trained in (("Not trained on", False), ("Trained on", True))
    ]
    captions = {
        place: f"{look.shown_path(place)}\n{look.entries[place].label}, {look.split_of[place]}"
        for group in copies[:GROUPS]
        for place in group[:PER_GROUP]
    }
    chosen = [place for places in samples.values() for place in places]
    chosen += [*captions, *(s.place for _, found in doubted for s in found[:SUSPECTED])]
    made = _made(look, chosen)
    page = render(
        "folder.html",
        title=f"Pictures of {told['folder']}",
        subtitle=", ".join(told["classes"]),
        refresh=None,
        look=told,
        splits=list(look.splits),
        largest=max((sum(n.values()) for n in told["classes"].values()), default=1),
        facts=facts(told),
        samples={
            name: [Thumbnail(made[place], look.shown_path(place)) for place in places]
            for name, places in samples.items()
        },
        copies=[
            {
                "same": len({look.seen["sha256"][place] for place in group}) == 1,
                "more": len(group) - PER_GROUP,
                "shown": [Thumbnail(made[place], captions[place]) for place in group[:PER_GROUP]],
            }
            for group in copies[:GROUPS]
        ],
        more_copies=len(copies) - GROUPS,
        extra=sum(map(len, copies)) - len(copies),
        files=FILES,
        asked=suspected is not None,
        note=note,
        doubted=[
            (title, [_doubt(s, made[s.place]) for s in found[:SUSPECTED]], len(found) - SUSPECTED)
            for title, found in doubted
            if found
        ],
    )
    # A file's name need not be UTF-8; the page must be.
    write_text(path, page.encode(errors="replace").decode())


def _doubt(suspect: Suspected, picture: str | None) -> Thumbnail:
    text = (
        f"{suspect.label} → {suspect.rather}?\n{units.percent(suspect.probability)} {suspect.label}"
    )
    return Thumbnail(picture, f"{text}\n{suspect.file} ({suspect.split})")


def _samples(look: Look) -> dict[str, list[int]]:
    """The first places of each class in the order of the splits, which content decides."""
    most = max(1, min(PER_CLASS, SAMPLES // max(len(look.classes), 1)))
    samples: dict[str, list[int]] = {name: [] for name in look.classes[:SAMPLES]}
    for places in look.splits.values():
        for place in places:
            of = samples.get(look.entries[place].label)
            if of is not None and len(of) < most:
                of.append(place)
    return samples


def _made(look: Look, places: Iterable[int]) -> dict[int, str | None]:
    """The thumbnail of each place, as prediction reads the picture; None where it is gone."""

    def made(place: int) -> str | None:
        try:
            return address(pictures.read(look.listing.folder / look.entries[place].path))
        except ImageError:
            return None

    chosen = list(dict.fromkeys(places))
    return dict(zip(chosen, ahead(made, chosen, picture_table.WORKERS), strict=True))
