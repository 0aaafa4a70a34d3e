"""How near a prediction from stored pictures is to one from the files, by the store's size.

    python benchmarks/store_side.py MODEL FOLDER [COUNT]

COUNT pictures (1,000) of the folder are taken at random and enlarged, each side by a factor of its
own from 2 to 8, so that there is something to reduce. A store holds them as whole values, either in
the exact size of the network's input or with a short side some times as long, its shape kept.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from netinnet.data import pictures
from netinnet.inference.predictor import Predictor
from netinnet.preprocessing import resize


def stored(picture: pictures.Array, height: int, width: int) -> pictures.Array:
    """The picture in that size, rounded as the store rounds it."""
    resized = resize(picture[None].astype(np.float32), height, width)[0]
    return np.rint(resized).clip(0, 255).astype(np.uint8)


def main() -> None:
    rng = random.Random(1)  # noqa: S311
    predictor = Predictor(sys.argv[1])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 1000
    files = sorted(p for p in Path(sys.argv[2]).rglob("*") if p.suffix in pictures.SUFFIXES)
    channels, height, width = predictor.network.input
    factors = (1.0, 1.25, 1.5, 2.0)
    logits: dict[str, list[np.ndarray]] = {}
    values: dict[str, int] = {}
    for file in rng.sample(files, count):
        small = Image.fromarray(pictures.as_channels(pictures.read(file), 3))
        size = [round(side * rng.uniform(2, 8)) for side in small.size]
        large = np.asarray(small.resize(size, Image.Resampling.BICUBIC))
        picture = pictures.as_channels(large, channels)
        forms = {"file": picture, "exact": stored(picture, height, width)}
        for factor in factors:
            scale = factor * min(height, width) / min(picture.shape[:2])
            sides = [round(scale * side) for side in picture.shape[:2]]
            forms[f"short side × {factor:g}"] = stored(picture, *sides)
        for name, form in forms.items():
            logits.setdefault(name, []).append(predictor.logits(form[None])[0])
            values[name] = values.get(name, 0) + form.size
    direct = np.stack(logits.pop("file"))
    spread = float(direct.std())
    print(f"{count} pictures, input {height}×{width}, logits' standard deviation {spread:.2f}")
    for name, rows in logits.items():
        other = np.stack(rows)
        same = (other.argmax(1) == direct.argmax(1)).mean()
        off = np.abs(other - direct) / spread
        print(
            f"{name}: {same:.1%} the same class, logits off by {off.mean():.4f} standard deviations"
            f" on the average, {off.max():.3f} at most; {values[name] / values['exact']:.2f} times"
            f" the bytes"
        )


if __name__ == "__main__":
    main()
