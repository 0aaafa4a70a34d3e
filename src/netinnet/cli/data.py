"""`nin data`: the data sets, where each is on this machine; and a look at a folder of one's own."""

from __future__ import annotations

from pathlib import Path

from netinnet.cli import look
from netinnet.cli.console import Switch, console, print_json, print_table
from netinnet.data import datasets
from netinnet.errors import DataError


def data(
    what: str | None = None,
    /,
    *,
    skip_bad: Switch = False,
    group_by: str | None = None,
    split: str | None = None,
    verify: Switch = False,
    model: Path | None = None,
    output: Path | None = None,
    force: Switch = False,
    fetch: Switch = False,
    data_dir: Path | None = None,
    clean: Switch = False,
    json: Switch = False,
) -> None:
    """List the data sets and check every file's SHA-256, or inspect a folder of your own pictures.

    `nin data cifar10 --fetch` fetches one of the data sets.

    Of a folder, every picture is opened. Pictures that cannot be read, copies, and whatever else
    one should know before training on it are reported.

    Parameters
    ----------
    what
        A data set's name; or a folder of pictures (FOLDER/train/CLASS and FOLDER/test/CLASS,
        FOLDER/CLASS, or FOLDER/labels.csv), or of .npy or IDX files.
    skip_bad
        Leave out pictures that cannot be read, instead of failing.
    group_by
        A regular expression for the pictures' paths: pictures in which it matches the same text
        stay on one side of a split.
    split
        Percentages for training, test and, if wanted, validation, as in 80/10/10, for a folder that
        is not split; 70/15/15 if not given.
    verify
        Compare every picture's SHA-256 with that of the last inspection, instead of trusting its
        size and time.
    model
        A run folder or model file: also list the labels that this model doubts, the least believed
        first.
    output
        Also write an HTML page of the folder, with sample pictures, to this file.
    force
        Write over the page.
    fetch
        Fetch the named data set if it is missing.
    data_dir
        Look only in this folder.
    clean
        Remove from the cache what belongs to folders that no longer exist and to pictures that have
        changed.
    json
        Print JSON.
    """
    options = look.Options(skip_bad, group_by, split, verify, model, output, force)
    if clean:
        if what is not None or fetch or data_dir is not None or options.given():
            raise DataError("nin data --clean goes through the whole cache: give it alone")
        look.clean(json)
        return
    if what is not None and what not in datasets.DATASETS:
        if fetch or data_dir is not None:
            raise DataError(
                f"nin data {what} looks at this folder; leave out --fetch, --data-dir (known data"
                f" sets: {', '.join(datasets.DATASETS)})"
            )
        look.show(Path(what), options, json)
        return
    if given := options.given():
        raise DataError(f"{given}: only for a folder of pictures; give its path")
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
