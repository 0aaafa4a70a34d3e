"""`nin predict`: what is in these pictures?"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from netinnet import units
from netinnet.cli.console import WholeNumber, print_json, print_table
from netinnet.errors import ImageError


def predict(
    images: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    model: Path | None = None,
    top: WholeNumber = 3,
    framework: str | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Say what is in pictures: the most probable classes, from a trained model.

    The model converts a picture to what it was trained on (grey or colour, size, values). The
    shipped model knows Fashion-MNIST: a single piece of clothing, light on a dark ground.

    Parameters
    ----------
    images
        One or more picture files: PNG, JPEG, WebP or BMP. Of an animation the first frame counts;
        transparent places become white.
    model
        A run folder or model file; the model shipped with netinnet if not given.
    top
        How many classes to show for each picture.
    framework
        Compute with this framework (`nin frameworks` lists them) instead of onnxruntime.
    json
        Print JSON.
    """
    from netinnet.data import pictures
    from netinnet.inference import model_files
    from netinnet.inference.predictor import Predictor

    if top < 1:
        raise ImageError(f"--top must be at least 1, got {top}")
    # All pictures are read before the first answer: a bad one is known at once.
    read = [pictures.read(path) for path in images]
    predictor = Predictor(model_files.find(model), framework=framework)
    answers = [predictor.predict(picture, top) for picture in read]
    if json:
        print_json(
            [
                {"image": str(path), "predictions": [dataclasses.asdict(p) for p in answer]}
                for path, answer in zip(images, answers, strict=True)
            ]
        )
        return
    rows = [
        (str(path) if i == 0 else "", p.name, units.percent(p.probability))
        for path, answer in zip(images, answers, strict=True)
        for i, p in enumerate(answer)
    ]
    print_table(("picture", "class", "probability"), rows, right=(2,))
