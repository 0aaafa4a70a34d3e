"""What `nin data FOLDER` shows of a folder of pictures, and what `--clean` does to the cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netinnet import units
from netinnet.cli.console import console, print_json, print_table, say
from netinnet.data import folder as folders
from netinnet.data import picture_cache, picture_folder, picture_look, picture_store
from netinnet.errors import DataError, NetinnetError

if TYPE_CHECKING:
    from netinnet.reports.suspected import Suspected

MOST = 20
"""So many suspected labels are printed, of those the model was trained on and of the others."""


@dataclass(frozen=True)
class Options:
    """The flags of `nin data` that are about a folder of pictures."""

    skip_bad: bool = False
    group_by: str | None = None
    split: str | None = None
    verify: bool = False
    model: Path | None = None
    output: Path | None = None
    force: bool = False

    def given(self) -> str:
        """The flags that were given, as they are typed."""
        return ", ".join(f"--{n.replace('_', '-')}" for n, v in vars(self).items() if v)


def show(folder: Path, options: Options, json: bool) -> None:
    """Look at a folder of pictures or arrays, and print what it has; pictures may get a page too.

    Raises NetinnetError for pictures that can't be used, after they were shown.
    """
    from netinnet.cli.progress import show_data_progress
    from netinnet.reports import folder_page, suspected

    _check_output(options)
    found, note, problem = None, "", None
    with show_data_progress(console(stderr=True)) as on_progress:
        if not picture_folder.is_one(folder):
            if given := options.given():
                raise DataError(f"{folder} is not a folder of pictures; leave out {given}")
            print_json(folders.load(folder, on_progress).record.to_dict())
            return
        look = picture_look.look(
            folder,
            picture_store.cache_folder(),
            on_progress,
            group_by=options.group_by,
            split=options.split,
            verify=options.verify,
        )
        try:
            look.check(options.skip_bad)
        except DataError as error:
            problem = error
        if options.model is not None and problem is None:
            found, note = suspected.find(look, options.model, on_progress)
    if options.output is not None:
        folder_page.write(options.output, look, found, note)
    told = look.to_dict()
    if found is not None:
        told |= {"suspected": [suspect.to_dict() for suspect in found], "suspected_note": note}
    if json:
        print_json(told)
    else:
        _print(told, folder_page.facts(told))
        if found is not None:
            _print_suspected(found, note)
        if options.output is not None:
            say(f"page: {options.output}")
    if problem is not None:
        raise problem


def _check_output(options: Options) -> None:
    if options.force and options.output is None:
        raise NetinnetError("--force needs --output")
    if options.output is not None and options.output.exists() and not options.force:
        raise NetinnetError(
            f"{options.output} already exists; choose another --output, or replace it with --force"
        )


def _print(look: dict[str, Any], facts: list[tuple[str, str]]) -> None:
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
    print_table(("what", "how many"), facts)
    for picture in look["damaged"]:
        say(f"can't be used: {picture['reason']}")
    for caution in look["cautions"]:
        say(f"caution: {caution}")


def _print_suspected(found: list[Suspected], note: str) -> None:
    known = {False: "no", True: "yes", None: "not known"}
    print(f"labels that the model doubts: {units.count(len(found))}. {note}")
    for trained in (False, True):
        chosen = [suspect for suspect in found if (suspect.trained_on is True) == trained]
        if chosen:
            rows = [
                (s.file, s.label, s.rather, units.percent(s.probability), s.split)
                for s in chosen[:MOST]
            ]
            states = [known[s.trained_on] for s in chosen]
            print_table(
                ("file", "class", "rather", "its probability", "split", "trained on"),
                [(*row, state) for row, state in zip(rows, states, strict=False)],
                right=(3,),
            )
        if len(chosen) > MOST:
            print(f"and {units.count(len(chosen) - MOST)} more (--json has all)")


def clean(json: bool) -> None:
    """Remove looks and stores that no folder needs any more, and say which."""
    cache = picture_store.cache_folder()
    files = picture_cache.clean(cache)
    removed, kept = [f for f in files if f.reason], [f for f in files if not f.reason]
    sizes = {"removed": sum(f.bytes for f in removed), "kept": sum(f.bytes for f in kept)}
    if json:
        rows = {"removed": removed, "kept": kept}
        print_json({"cache": cache, **rows, **{f"{k}_bytes": n for k, n in sizes.items()}})
        return
    for file in removed:
        say(f"removed {file.file.name}: {units.size(file.bytes)}, {file.reason}")
    counts = {"removed": len(removed), "kept": len(kept)}
    told = (f"{units.counted(n, 'file')} {k} ({units.size(sizes[k])})" for k, n in counts.items())
    say(f"{cache}: {', '.join(told)}")
