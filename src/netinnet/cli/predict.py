"""`nin predict`: what is in these pictures?"""

from __future__ import annotations

import csv
import itertools
import os
import sys
from json import dumps
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from netinnet import units
from netinnet.cli.console import WholeNumber, print_table
from netinnet.errors import ImageError, NetinnetError


def predict(
    images: Annotated[list[Path], Parameter(negative=(), allow_leading_hyphen=True)],
    /,
    *,
    model: Path | None = None,
    top: WholeNumber = 3,
    framework: str | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
    csv_: Annotated[bool, Parameter(name="--csv", negative=())] = False,
) -> None:
    """Say what is in pictures: the most probable classes, from a trained model.

    The model converts a picture to what it was trained on (grey or colour, size, values). The
    shipped model knows Fashion-MNIST: a single piece of clothing, light on a dark ground.

    Parameters
    ----------
    images
        Picture files (PNG, JPEG, WebP or BMP), folders of them, or - for one on standard input. Of
        an animation the first frame counts; transparent places become white.
    model
        A run folder or model file; the model shipped with netinnet if not given.
    top
        How many classes to show for each picture.
    framework
        Compute with this framework (`nin frameworks` lists them) instead of onnxruntime.
    json
        Print JSON Lines: an object a picture, with its predictions or its error.
    csv_
        Print CSV: a line a class.
    """
    from netinnet.data import pictures
    from netinnet.inference import model_files
    from netinnet.inference.predictor import Predictor

    if top < 1:
        raise ImageError(f"--top must be at least 1, got {top}")
    if json and csv_:
        raise ImageError("--json and --csv are two forms of output; choose one")
    predictor = Predictor(model_files.find(model), framework=framework)
    paths = pictures.files(images, _warn)
    first = list(itertools.islice(paths, 2))
    if not first:
        raise ImageError(f"no picture in {', '.join(map(str, images))}; {pictures.EXPECTED}")
    table = csv.writer(sys.stdout, lineterminator="\n")
    if csv_:
        table.writerow(("file", "class", "probability", "error"))
    failed = False
    for path in itertools.chain(first, paths):
        # A name need not be UTF-8.
        name, error, answer = os.fsencode(path).decode(errors="replace"), "", []
        try:
            standard_input = sys.stdin.buffer if sys.stdin else b""
            picture = pictures.read(standard_input if name == "-" else path, "standard input")
            answer = predictor.predict(picture, top)
        except NetinnetError as problem:
            error, failed = str(problem).encode(errors="replace").decode(), True
            _warn(error)
        shown = [(p.name, units.percent(p.probability)) for p in answer]
        if json:
            result = {"error": error} if error else {"predictions": [vars(p) for p in answer]}
            print(dumps({"file": name, **result}, ensure_ascii=False, allow_nan=False))
        elif csv_:
            table.writerows(
                [(name, p.name, p.probability, "") for p in answer] or [(name, "", "", error)]
            )
        elif shown and len(first) == 1:
            rows = [(name if row is shown[0] else "", *row) for row in shown]
            print_table(("picture", "class", "probability"), rows, right=(2,))
        elif shown:
            print(f"{name}: {', '.join(map(' '.join, shown))}")
        sys.stdout.flush()
    if failed:
        raise SystemExit(2)


def _warn(text: str) -> None:
    print(f"nin: {' '.join(text.split())}", file=sys.stderr)
