"""How commands take pictures: one at a time, and one that fails does not end the others."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import numpy.typing as npt
from cyclopts import Parameter

from netinnet.cli.standard_streams import warn
from netinnet.errors import ImageError, NetinnetError

T = TypeVar("T")
Images = Annotated[list[Path], Parameter(negative=(), allow_leading_hyphen=True)]
Array = npt.NDArray[np.uint8]
Answers = Iterator[tuple[str, T | None, str]]
"""For each picture its name, and what came of it, or None and why."""


def each(
    images: Sequence[Path],
    ask: Callable[[str, Array], T],
    output: Path | None = None,
) -> tuple[bool, Answers[T]]:
    """Ask something of each picture among files, folders and - (standard input).

    What is in a folder `output` inside a given one is none: the command made it. A failure is said
    on standard error. Returns whether there is one picture only, and the answers as they come.
    Raises ImageError where there is none.
    """
    from netinnet.data import pictures

    paths = pictures.files(images, warn)
    if output is not None:
        paths = _outside(output, images, paths)
    first = list(itertools.islice(paths, 2))
    if not first:
        raise ImageError(f"no picture in {', '.join(map(str, images))}; {pictures.EXPECTED}")
    return len(first) == 1, _answers(itertools.chain(first, paths), ask)


def _answers(paths: Iterable[Path], ask: Callable[[str, Array], T]) -> Answers[T]:
    from netinnet.data import pictures

    for path in paths:
        # A name need not be UTF-8.
        name, error, result = os.fsencode(path).decode(errors="replace"), "", None
        try:
            standard_input = sys.stdin.buffer if sys.stdin else b""
            picture = pictures.read(standard_input if name == "-" else path, "standard input")
            result = ask(name, picture)
        except NetinnetError as problem:
            error = str(problem).encode(errors="replace").decode()
            warn(error)
        yield name, result, error
        if sys.stdout:  # None where it is closed, as by >&-
            sys.stdout.flush()


def _outside(output: Path, images: Sequence[Path], paths: Iterable[Path]) -> Iterator[Path]:
    root, skipped = Path(os.path.realpath(output)), 0
    is_walked = any(Path(os.path.realpath(image)) in root.parents for image in images)
    for path in paths:
        if is_walked and Path(os.path.realpath(path)).is_relative_to(root):
            skipped += 1
        else:
            yield path
    if skipped:
        warn(f"{output}: {skipped:,} skipped: in the folder that is written to")
