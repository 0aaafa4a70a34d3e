"""How many made copies of pictures are found, and how many pairs of the originals are flagged.

    python benchmarks/near_duplicates.py FOLDER [COUNT]

The folder holds pictures of 32×32, at any depth; COUNT of them (1,000) are taken at random.
"""

from __future__ import annotations

import io
import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from netinnet.data import near_duplicates

SIZE = (near_duplicates.SIDE, near_duplicates.SIDE)


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def copies(picture: Image.Image, rng: random.Random) -> dict[str, Image.Image]:
    """The picture recompressed, resized, cropped by 1 or 2 pixels on some sides, and all three."""
    side = rng.choice([20, 24, 48, 64, 100])
    left, top, right, bottom = rng.randint(1, 2), *(rng.randint(0, 2) for _ in range(3))
    part = picture.crop((left, top, picture.width - right, picture.height - bottom))
    return {
        "recompressed": jpeg(picture, rng.choice([40, 60, 75, 90])),
        "resized": picture.resize(
            (side, side), rng.choice([Resampling.BILINEAR, Resampling.LANCZOS])
        ),
        "cropped": part,
        "all three": jpeg(part.resize((64, 64), Resampling.BICUBIC), 70),
    }


def main() -> None:
    rng = random.Random(1)  # noqa: S311
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    files = sorted(Path(sys.argv[1]).rglob("*.png"))
    originals = [Image.open(file).convert("RGB") for file in rng.sample(files, count)]
    made: dict[str, list[Image.Image]] = {}
    for picture in originals:
        for kind, copy in copies(picture, rng).items():
            made.setdefault(kind, []).append(copy)

    def thumbnails(pictures: list[Image.Image]) -> near_duplicates.Thumbnails:
        return np.stack([np.asarray(p.resize(SIZE, Resampling.BILINEAR)) for p in pictures])

    own = thumbnails(originals)
    print(f"pairs flagged among {count} originals: {near_duplicates.pairs(own)}")
    for kind, pictures in made.items():
        pairs = near_duplicates.pairs(np.concatenate([own, thumbnails(pictures)]))
        found = sum(j == i + count for i, j in pairs)
        print(f"{kind}: {found / count:.1%} found, {len(pairs) - found} other pairs flagged")


if __name__ == "__main__":
    main()
