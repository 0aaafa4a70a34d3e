"""A folder of pictures by class as one with a test split: some of each class are held out.

    python benchmarks/held_out.py PICTURES OUT [COUNT] [SEED]

PICTURES is a folder of classes, or a .tar of one; OUT must not be there yet. COUNT pictures of each
class (500), drawn by SEED (17), go to OUT/test, the others to OUT/train. Of CIFAR-10's 50,000
training pictures this makes the 45,000 and 5,000 that docs/training.md speaks of:

    python benchmarks/held_out.py cifar10-train.tar cifar
    nin train --recipe cifar10 --dataset ./cifar
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path


def hold_out(classes: Path, out: Path, count: int, seed: int) -> None:
    """Copy the pictures of `classes`/CLASS to `out`/train/CLASS and `out`/test/CLASS."""
    for folder in sorted(path for path in classes.iterdir() if path.is_dir()):
        files = sorted(folder.iterdir())
        held = set(random.Random(seed).sample(files, count))  # noqa: S311 - nothing is secret
        for file in files:
            place = out / ("test" if file in held else "train") / folder.name
            place.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place / file.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("count", type=int, nargs="?", default=500)
    parser.add_argument("seed", type=int, nargs="?", default=17)
    given = parser.parse_args()
    if given.out.exists():
        sys.exit(f"{given.out} is there already: give another name")
    if given.pictures.is_dir():
        hold_out(given.pictures, given.out, given.count, given.seed)
        return
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(given.pictures) as archive:
            archive.extractall(folder, filter="data")
        (top,) = Path(folder).iterdir()
        hold_out(top, given.out, given.count, given.seed)


if __name__ == "__main__":
    main()
