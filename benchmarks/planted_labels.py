"""How many wrong labels that were planted `nin data FOLDER --model RUN` finds, and how early.

    python benchmarks/planted_labels.py FOLDER CLASS CLASS …

Copies the pictures of those classes (folders of that name at any depth) into a folder of its own,
5 % of them into a wrong class; trains for about four minutes; and looks at what is suspected.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from pathlib import Path

import netinnet
from netinnet.data import picture_look, picture_store, pictures
from netinnet.reports import suspected

SHARE = 0.05


def main() -> None:
    rng, classes = random.Random(7), sys.argv[2:]  # noqa: S311
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "photos")
        wrong = set()
        for name in classes:
            found = (p for p in Path(sys.argv[1]).rglob("*") if p.suffix in pictures.SUFFIXES)
            for number, file in enumerate(sorted(p for p in found if p.parent.name == name)):
                others = [other for other in classes if other != name]
                label = rng.choice(others) if rng.random() < SHARE else name
                path = f"{label}/{name}-{number}{file.suffix}"
                (folder / label).mkdir(parents=True, exist_ok=True)
                shutil.copy(file, folder / path)
                if label != name:
                    wrong.add(path)
        run = netinnet.train(
            dataset=str(folder), time="4m", output=Path(temporary, "run"), threads=1
        )
        print(f"test accuracy {run.metrics()['test']['accuracy']:.3f}")
        look = picture_look.look(folder, picture_store.cache_folder())
        found_labels, _ = suspected.find(look, run.folder)
        for trained_on, name in ((False, "not trained on"), (True, "trained on")):
            hits = [s.file in wrong for s in found_labels if s.trained_on is trained_on]
            first = ", ".join(f"{sum(hits[:n])} of the first {n}" for n in (10, 20, 30))
            print(f"{name}: {sum(hits)} planted ones of {len(hits)} suspected; {first}")
        print(f"planted: {len(wrong)} of {len(look.seen)}")


if __name__ == "__main__":
    main()
