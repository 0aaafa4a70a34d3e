"""`nin predict`: what is in these pictures?"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from netinnet import units
from netinnet.cli.console import Switch, WholeNumber, json_text, print_table, say
from netinnet.cli.pictures import Images, each
from netinnet.errors import ImageError


def predict(
    images: Images,
    /,
    *,
    model: Path | None = None,
    top: WholeNumber = 3,
    framework: str | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
    csv_: Annotated[bool, Parameter(name="--csv", negative=())] = False,
    always_answer: Switch = False,
) -> None:
    """Classify pictures: print the most probable classes according to a trained model.

    The model converts a picture to what it was trained on (grey or colour, size, values). The
    shipped model knows Fashion-MNIST: a single piece of clothing, light on a dark ground. A
    calibrated model answers "none of these" for a picture that is unlike all it was trained on.

    Parameters
    ----------
    images
        Picture files (PNG, JPEG, WebP, BMP, GIF or TIFF), folders of them, or - for one on standard
        input. Of an animation, the first frame is used; transparent parts become white.
    model
        A run folder or model file; the model shipped with netinnet if not given.
    top
        How many classes to show for each picture.
    framework
        Compute with this framework (`nin frameworks` lists them) instead of onnxruntime.
    json
        Print JSON Lines: one object for each picture, with its predictions or its error. For a
        calibrated model also with its score, and whether it is none of these.
    csv_
        Print CSV: one line for each class.
    always_answer
        Name classes even for pictures that the model would refuse.
    """
    from netinnet.inference import model_files
    from netinnet.inference.predictor import NONE_OF_THESE, Predictor

    if top < 1:
        raise ImageError(f"--top must be at least 1, got {top}")
    if json and csv_:
        raise ImageError("--json and --csv are two forms of output; choose one")
    predictor = Predictor(model_files.find(model), framework=framework)
    alone, answers = each(images, lambda _, picture: predictor.answer(picture, top))
    # None where it is closed, as by >&-.
    table = csv.writer(sys.stdout or io.StringIO(), lineterminator="\n")
    if csv_:
        table.writerow(("file", "class", "probability", "error", "score"))
    failed = False
    for name, answer, error in answers:
        failed = failed or bool(error)
        refused = answer is not None and answer.refused and not always_answer
        predictions = [] if answer is None or refused else answer.predictions
        score = None if answer is None else answer.score
        shown = [(p.name, units.percent(p.probability)) for p in predictions]
        if json:
            known = {} if score is None else {"none_of_these": refused, "score": score}
            shown_ones = {"predictions": [vars(p) for p in predictions], **known}
            result = {"error": error} if error else shown_ones
            print(json_text({"file": name, **result}))
        elif csv_:
            rows = [(name, p.name, p.probability, "", score) for p in predictions]
            nothing = NONE_OF_THESE if refused else ""
            table.writerows(rows or [(name, nothing, "", error, score)])
        elif refused:
            say(f"{name}: {predictor.refusal(score)}")
        elif shown and alone:
            lines = [(name if row is shown[0] else "", *row) for row in shown]
            print_table(("picture", "class", "probability"), lines, right=(2,))
        elif shown:
            say(f"{name}: {', '.join(map(' '.join, shown))}")
    if failed:
        raise SystemExit(2)
