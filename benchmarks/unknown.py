"""What the models refuse: the tables of docs/confidence.md.

    python benchmarks/unknown.py scores RUN CIFAR      which score tells best, chosen and reported
    python benchmarks/unknown.py shipped CIFAR         the shipped model
    python benchmarks/unknown.py cifar CIFAR RUNS      a model of CIFAR-10 is shown clothing
    python benchmarks/unknown.py classes RUNS          each class of Fashion-MNIST left out

CIFAR is a folder or a .tar of CIFAR-10's training pictures as PNG files, in a folder a class. RUN
is a calibrated run of the recipe `fashion` with validation = 0.1; in RUNS what is trained is kept.
"""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

import netinnet
from netinnet import calibration
from netinnet.data import batches, datasets, source
from netinnet.data.pictures import as_channels
from netinnet.inference import calibrating, model_files
from netinnet.inference.predictor import Predictor
from netinnet.weights import Model

Pictures = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float64]
Score = Callable[[dict[str, Values]], Values]
THREADS = 1


def cifar(path: Path, per_class: int) -> dict[str, Pictures]:
    """The first pictures of each class, n×32×32×3."""
    found: dict[str, list[Pictures]] = {}
    for name, content in _png_files(path):
        kind = found.setdefault(Path(name).parent.name, [])
        if len(kind) < per_class:
            kind.append(np.asarray(Image.open(io.BytesIO(content())).convert("RGB")))
    return {name: np.stack(found[name]) for name in sorted(found)}


def _png_files(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    if path.is_dir():
        yield from ((str(f), f.read_bytes) for f in sorted(path.rglob("*.png")))
        return
    with tarfile.open(path) as tar:
        for member in tar:
            if member.name.endswith(".png"):
                yield member.name, lambda member=member: tar.extractfile(member).read()


def made(known: Pictures, labels: npt.NDArray[np.int64], for_choice: bool) -> dict[str, Pictures]:
    """Noise, and pictures made of 1,000 known ones. For the choice and the report they differ."""
    rng = np.random.default_rng(1 if for_choice else 2)
    first = rng.permutation(len(known))[:1000]
    others = [rng.choice(np.flatnonzero(labels != labels[i])) for i in first]
    a, b = known[first], known[others]
    middle = a.shape[2] // 2
    size = (1000, *known.shape[1:3], 1)
    coarse = rng.integers(0, 256, (1000, 4, 4, 1), dtype=np.uint8)
    noise = {
        "uniform noise": rng.integers(0, 256, size, dtype=np.uint8),
        "squares of grey": np.kron(coarse, np.ones((1, 7, 7, 1), np.uint8)),
    }
    if not for_choice:
        level = rng.integers(0, 256, (1000, 1, 1, 1), dtype=np.uint8)
        noise = {
            "Gaussian noise": rng.normal(128, 50, size).clip(0, 255).astype(np.uint8),
            "one grey": np.broadcast_to(level, size),
            "black and white squares": np.where(
                np.kron(coarse, np.ones((1, 7, 7, 1))) > 127, 255, 0
            ).astype(np.uint8),
        }
    return {
        **noise,
        "mean of two": ((a.astype(int) + b) // 2).astype(np.uint8),
        "half and half": np.concatenate([a[:, :, :middle], b[:, :, middle:]], axis=2),
        "negative": 255 - a,
        "on its side": np.rot90(a, 1, (1, 2)),
    }


def evidence(predictor: Predictor, images: Pictures) -> dict[str, Values]:
    parts = [
        predictor.run(p, ("logits", "features", "class_maps"))
        for p in np.array_split(images, -(-len(images) // 1000))
    ]
    found = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    maps = found.pop("class_maps").astype(np.float64)
    highest = maps.max(axis=1)
    # NiN's own: how sure the maps are of any class, place by place.
    local = highest + np.log(np.exp(maps - highest[:, None]).sum(axis=1))
    return {**found, "local": local.mean(axis=(1, 2))}


def candidates(
    predictor: Predictor, train: source.Source, validation: dict[str, Values]
) -> dict[str, Score]:
    found = predictor.calibration
    assert found is not None
    some = source.View(train, np.arange(0, len(train), -(-len(train) // calibrating.MOST)))
    learnt = evidence(predictor, np.asarray(some.pictures(np.arange(len(some)))))
    near = {n: calibration.fit_distances(learnt[n], some.labels) for n in ("logits", "features")}
    neighbours = _unit(learnt["features"])

    def distance(e: dict[str, Values], of: str = "features") -> Values:
        return calibration.distance(e[of], *near[of])

    def energy(e: dict[str, Values]) -> Values:
        return calibration.energy(e["logits"], found.temperature)

    def nearest(e: dict[str, Values]) -> Values:
        """The cosine with the tenth nearest training picture."""
        cosines = _unit(e["features"]) @ neighbours.T
        return np.partition(cosines, -10, axis=1)[:, -10]

    def even(of: str) -> Score:
        weight = distance(validation, of).std() / energy(validation).std()
        return lambda e: weight * energy(e) - distance(e, of)

    return {
        "highest probability": lambda e: (
            e["logits"].max(axis=1) - calibration.energy(e["logits"], 1)
        ),
        "highest logit": lambda e: e["logits"].max(axis=1),
        "energy": energy,
        "energy of the maps, place by place": lambda e: e["local"],
        "neighbours' features (6,000 kept)": nearest,
        "distance of logits": lambda e: -distance(e, "logits"),
        "energy − distance of logits": even("logits"),
        "distance of features": lambda e: -distance(e),
        "**energy − distance of features**": even("features"),
    }


def _unit(values: Values) -> Values:
    return values / np.linalg.norm(values, axis=1, keepdims=True).clip(1e-9)


def figures(known: Values, unknown: Values, threshold: float) -> str:
    share = (unknown < threshold).mean()
    return f"{calibration.auroc(known, unknown):.3f}, {100 * share:.0f} %"


def table(header: list[str], rows: list[list[str]]) -> None:
    for row in (header, ["---"] * len(header), *rows):
        print_row(*row)


def print_row(*cells: str) -> None:
    print("|", " | ".join(cells), "|", flush=True)


def scores(run: str, pictures: str) -> None:
    data = datasets.load("fashion-mnist")
    kept, held_out = batches.split(len(data.train), 0.1, 0)
    train, validation = source.View(data.train, kept), source.View(data.train, held_out)
    predictor = Predictor(model_files.find(Path(run)), THREADS)
    photographs = [as_channels(p, 1) for p in cifar(Path(pictures), 400).values()]
    known = {
        True: validation.pictures(np.arange(len(validation))),
        False: data.test.pictures(np.arange(len(data.test))),
    }
    labels = {True: validation.labels, False: data.test.labels}
    own = {choice: evidence(predictor, known[choice]) for choice in known}
    asked = candidates(predictor, train, own[True])
    for choice, photos in ((True, photographs[:5]), (False, photographs[5:])):
        unknown = {
            "CIFAR's " + ("first" if choice else "last") + " five classes": np.concatenate(photos),
            **made(known[choice], labels[choice], choice),
        }
        shown = {name: evidence(predictor, images) for name, images in unknown.items()}
        rows = []
        for name, score in asked.items():
            threshold = calibration.fit_threshold(score(own[True]), calibration.REFUSE)
            mine = score(own[choice])
            told = [(score(e), calibration.auroc(mine, score(e))) for e in shown.values()]
            mean = np.mean([a for _, a in told]), np.mean([(s < threshold).mean() for s, _ in told])
            cells = [figures(mine, s, threshold) for s, _ in told]
            refused = f"{100 * (mine < threshold).mean():.2f} %"
            rows.append([name, refused, *cells, f"{mean[0]:.3f}, {100 * mean[1]:.0f} %"])
        print(f"\n{'Validation' if choice else 'Test'} pictures against:\n")
        table(["score", "known refused", *unknown, "mean"], rows)


def _reported(predictor: Predictor, known: source.Source, unknown: dict[str, Pictures]) -> None:
    """A calibrated model on known pictures, and what it says of unknown ones."""
    found = predictor.calibration
    assert found is not None
    logits, features = calibrating.evidence(predictor, known)
    mine = found.scores(logits, features)
    before, after = (
        calibration.calibration_error(calibration.reliability(logits, known.labels, t))
        for t in (1.0, found.temperature)
    )
    right = (logits.argmax(axis=1) == known.labels).mean()
    print(
        f"\n{len(known):,} test pictures: accuracy {right:.4f}, "
        f"temperature {found.temperature:.3f}, "
        f"ECE {before:.4f} → {after:.4f}, refused {100 * found.refuses(mine).mean():.2f} %\n"
    )
    rows = []
    for name, images in unknown.items():
        score = predictor.scores(np.ascontiguousarray(images))
        sure = predictor.probabilities(np.ascontiguousarray(images)).max(axis=1).mean()
        cells = figures(mine, score, found.threshold).split(", ")
        rows.append([name, f"{len(images):,}", *cells, f"{100 * sure:.0f} %"])
    table(["pictures", "number", "AUROC", "refused", "mean probability without refusal"], rows)


def shipped(pictures: str) -> None:
    test = datasets.load("fashion-mnist").test
    photographs = {f"CIFAR: {n}": as_channels(p, 1) for n, p in cifar(Path(pictures), 500).items()}
    known = test.pictures(np.arange(len(test)))
    predictor = Predictor(netinnet.load(), THREADS)
    _reported(predictor, test, {**photographs, **made(known, test.labels, for_choice=False)})


def of_cifar(pictures: str, runs: str) -> None:
    found = cifar(Path(pictures), 2500)
    labels = np.repeat(np.arange(len(found)), 2500)
    images = np.concatenate(list(found.values()))
    order = np.random.default_rng(0).permutation(len(images))
    parts = {"test": order[:2500], "validation": order[2500:5000], "train": order[5000:]}
    splits = {name: (images[part], labels[part]) for name, part in parts.items()}
    data = source.from_arrays("cifar", **splits, classes=list(found))
    predictor = Predictor(_trained(data, Path(runs) / "cifar", epochs=5), THREADS)
    test = datasets.load("fashion-mnist").test
    clothing = as_channels(test.pictures(np.arange(2000)), 3)
    known = images[parts["test"]]
    noise = {
        n: as_channels(p, 3)
        for n, p in made(known[..., :1], labels[parts["test"]], False).items()
        if "noise" in n or "one grey" in n
    }
    extra = {"negative": 255 - known[:1000], "on its side": np.rot90(known[:1000], 1, (1, 2))}
    _reported(predictor, data.test, {"Fashion-MNIST": clothing, **noise, **extra})


def classes(runs: str) -> None:
    whole = datasets.load("fashion-mnist")
    names = whole.facts.classes
    header = ["class left out", "AUROC", "refused", "AUROC of the highest probability"]
    table([*header, "known refused", "accuracy", "taken for, mostly"], [])
    for left_out, name in enumerate(names):
        data = _without(whole, left_out)
        predictor = Predictor(_trained(data, Path(runs) / f"without-{left_out}", epochs=2), THREADS)
        found = predictor.calibration
        assert found is not None
        logits, features = calibrating.evidence(predictor, data.test)
        known = found.scores(logits, features)
        probability = predictor.to_probabilities(logits).max(axis=1)
        indices = np.flatnonzero(whole.test.labels == left_out)
        images = whole.test.pictures(indices)
        unknown, simple = predictor.scores(images), predictor.probabilities(images).max(axis=1)
        threshold = found.threshold
        taken = np.bincount(predictor.logits(images).argmax(axis=1), minlength=len(names) - 1)
        nearest = data.facts.classes[int(taken.argmax())]
        print_row(
            name,
            f"{calibration.auroc(known, unknown):.3f}",
            f"{100 * (unknown < threshold).mean():.1f} %",
            f"{calibration.auroc(probability, simple):.3f}",
            f"{100 * (known < threshold).mean():.2f} %",
            f"{(logits.argmax(axis=1) == data.test.labels).mean():.3f}",
            f"{nearest} ({100 * taken.max() / len(images):.0f} %)",
        )


def _without(whole: source.Dataset, left_out: int) -> source.Dataset:
    """6,000 training pictures of the other classes, 3,000 validation pictures, all test ones."""

    def part(split: source.Source, start: int, count: int) -> tuple[Pictures, Values]:
        indices = np.flatnonzero(split.labels != left_out)[start : start + count]
        labels = split.labels[indices]
        return split.pictures(indices), labels - (labels > left_out)

    return source.from_arrays(
        f"without-{left_out}",
        train=part(whole.train, 0, 6_000),
        validation=part(whole.train, 6_000, 3_000),
        test=part(whole.test, 0, 10_000),
        classes=[n for i, n in enumerate(whole.facts.classes) if i != left_out],
    )


def _trained(data: source.Dataset, run: Path, epochs: int) -> Model:
    """The model of a run, trained by `fashion` if it isn't there."""
    if not (run / "metrics.json").is_file():
        netinnet.train("fashion", dataset=data, output=run, epochs=epochs, threads=THREADS)
    return netinnet.load(run)


if __name__ == "__main__":
    commands = {"scores": scores, "shipped": shipped, "cifar": of_cifar, "classes": classes}
    commands[sys.argv[1]](*sys.argv[2:])
