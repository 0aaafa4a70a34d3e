"""`nin data`: the data sets, where each is on this machine; and a look at a folder of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netinnet import units
from netinnet.cli.console import Switch, console, print_json, print_table
from netinnet.data import datasets, picture_folder, picture_look, picture_store
from netinnet.data import folder as folders
from netinnet.errors import DataError


def data(
    what: str | None = None,
    /,
    *,
    skip_bad: Switch = False,
    group_by: str | None = None,
    split: str | None = None,
    fetch: Switch = False,
    data_dir: Path | None = None,
    json: Switch = False,
) -> None:
    """List the data sets and check every file's SHA-256, or look at a folder of your own pictures.

    `nin data cifar10 --fetch` fetches one of the data sets.

    Of a folder, every picture is opened: what cannot be read, what is there twice, what else should
    be known before it is learnt, is said.

    Parameters
    ----------
    what
        A data set's name; or a folder of pictures (FOLDER/train/CLASS and FOLDER/test/CLASS,
        FOLDER/CLASS, or FOLDER/labels.csv), or of .npy or IDX files.
    skip_bad
        Pictures that cannot be read are no error.
    group_by
        A regular expression: pictures in whose paths it finds the same stay on one side of a split.
    split
        Per cent for training, test and perhaps validation, as in 80/10/10, of a folder that is not
        split; 70/15/15 if not given.
    fetch
        Fetch the data set that is named first, where it is missing.
    data_dir
        Look only in this folder.
    json
        Print JSON.
    """
    if what is not None and what not in datasets.DATASETS:
        if fetch or data_dir is not None:
            raise DataError(
                f"nin data {what} looks at this folder; leave out --fetch, --data-dir (known data"
                f" sets: {', '.join(datasets.DATASETS)})"
            )
        _look(Path(what), skip_bad, json, group_by=group_by, split=split)
        return
    if skip_bad or group_by is not None or split is not None:
        raise DataError("--skip-bad, --group-by and --split are for a folder of pictures: name it")
    if fetch and what is None:
        raise DataError(
            "nin data --fetch: name what to fetch, as in nin data fashion-mnist --fetch; known: "
            + ", ".join(datasets.DATASETS)
        )
    if fetch and what is not None:
        from netinnet.cli.progress import show_data_progress

        with show_data_progress(console(stderr=True)) as on_progress:
            datasets.load(what, data_dir, on_progress=on_progress)
    found = [datasets.find(what).status(data_dir)] if what else datasets.status(data_dir)
    described = {name: known.description for name, known in datasets.DATASETS.items()}
    if json:
        print_json([{**vars(s), "description": described[s.name]} for s in found])
        return
    print_table(
        ("data set", "what", "where", "state"),
        [(s.name, described[s.name], str(s.folder or "-"), s.message) for s in found],
    )


def _look(folder: Path, skip_bad: bool, json: bool, **splitting: str | None) -> None:
    from netinnet.cli.progress import show_data_progress

    with show_data_progress(console(stderr=True)) as on_progress:
        if not picture_folder.is_one(folder):
            print_json(folders.load(folder, on_progress).record.to_dict())
            return
        look = picture_look.look(folder, picture_store.cache_folder(), on_progress, **splitting)
    if json:
        print_json(look.to_dict())
    else:
        _show(look.to_dict())
    look.check(skip_bad)


def _show(look: dict[str, Any]) -> None:
    """The look as tables, then what should be known."""
    splits = list(next(iter(look["classes"].values()), {}))
    rows = [(name, *map(units.count, n.values())) for name, n in look["classes"].items()]
    sums = [sum(counts[split] for counts in look["classes"].values()) for split in splits]
    if rows:
        print_table(
            ("class", *splits),
            [*rows, ("all", *map(units.count, sums))],
            right=range(1, len(splits) + 1),
            totals=1,
        )
    lists = {
        "turned by EXIF": "rotated",
        "of several frames": "animated",
        "other colour profile": "not_srgb",
        "left out": "left_out",
        "files with the same bytes": "duplicates",
        "pairs of near-duplicates": "near_duplicates",
        "can't be used": "damaged",
    }
    numbers = [(text, units.count(len(look[key]))) for text, key in lists.items()]
    print_table(
        ("what", "how many"),
        [
            ("pictures", units.count(look["pictures"])),
            ("sizes", _most(look["sizes"])),
            ("modes", _most(look["modes"])),
            ("split", look["split"]),
            *numbers,
        ],
    )
    for picture in look["damaged"]:
        print(f"can't be used: {picture['reason']}")
    for caution in look["cautions"]:
        print(f"caution: {caution}")


def _most(counts: dict[str, int], most: int = 4) -> str:
    """The most frequent, with their counts."""
    shown = [f"{name} ({count:,})" for name, count in list(counts.items())[:most]]
    return ", ".join(shown) + (f" and {len(counts) - most} more" if len(counts) > most else "")
