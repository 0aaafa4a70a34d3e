"""The pictures of a run's report: what it learns, as it is and as the network sees it; where the
network looked when it was wrong; labels that are perhaps wrong.

Reports are written while a run trains. So few pictures are shown, and none is worth a report: what
can't be made is left out, and why is said.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from netinnet import units
from netinnet.data.augmentation import Augmentation
from netinnet.data.mixing import Mixing
from netinnet.data.source import Source
from netinnet.inference import class_maps, explanation
from netinnet.inference.predictor import Predictor
from netinnet.networks.network import Network
from netinnet.reports import overlays
from netinnet.reports.thumbnails import Thumbnail, address
from netinnet.training.run import Run
from netinnet.training.splits import training_batches

SAMPLES, AUGMENTED, LOOKED, SUSPECTS = 20, 12, 10, 20
"""How many pictures of each kind are shown at most."""
MAP_SIDE = 128

Rows = Sequence[Mapping[str, Any]]


def of_run(
    run: Run,
    network: Network,
    judgement: Mapping[str, Any],
    pictures: Source | None,
    train: Source | None,
) -> dict[str, Any]:
    """What the template shows of them; `judgement` is the newest evaluation of `pictures`."""
    failed: list[str] = []

    def made(make: Callable[..., list[Thumbnail]], *args: Any) -> list[Thumbnail]:
        try:
            return [] if None in args else make(*args)
        except Exception as error:  # noqa: BLE001 - see above
            failed.append(f"{make.__name__.strip('_')}: {' '.join(str(error).split())}")
            return []

    return {
        "samples": made(_samples, network, train),
        "augmented": made(_augmented, run, network, train),
        "looked": made(_looked, run, network, pictures, judgement.get("mistakes", ())),
        "suspects": made(_suspects, network, pictures, judgement.get("suspects", ())),
        "without": failed,
    }


def _samples(network: Network, train: Source) -> list[Thumbnail]:
    """The first pictures of each class, of the first classes where there are many."""
    classes = network.classes[:SAMPLES]
    chosen = [
        int(i)
        for label in range(len(classes))
        for i in np.flatnonzero(train.labels == label)[: SAMPLES // len(classes)]
    ]
    images = train.pictures(np.array(chosen, np.int64))
    return [
        Thumbnail(address(image), network.classes[train.labels[i]])
        for i, image in zip(chosen, images, strict=True)
    ]


def _augmented(run: Run, network: Network, train: Source) -> list[Thumbnail]:
    """Pictures of a first batch as they go into the network, its normalisation undone."""
    batches = training_batches(run.recipe(), network, train)
    is_mixed = batches.soft is not None and batches.soft.mixing != Mixing()
    if batches.augmentation == Augmentation() and not is_mixed:
        return []
    inputs, labels, _ = dataclasses.replace(batches, batch_size=AUGMENTED)(0)
    values = inputs * np.asarray(network.preprocessing.std) + np.asarray(network.preprocessing.mean)
    images = np.rint(255 * values).clip(0, 255).astype(np.uint8)
    return [
        Thumbnail(address(image), network.classes[label])
        for image, label in zip(images, labels, strict=True)
    ]


def _looked(run: Run, network: Network, pictures: Source, mistakes: Rows) -> list[Thumbnail]:
    """The maps of the predicted classes, once there is a model that has class maps."""
    if not (run.is_finished and mistakes and class_maps.of(network)):
        return []
    predictor, shown = Predictor(run.model(), threads=1), []
    for mistake, image in _with_pictures(mistakes[:LOOKED], pictures):
        label, predicted = (network.classes[mistake[key]] for key in ("label", "predicted"))
        explained = explanation.explain(predictor, image, [predicted])
        drawn = np.asarray(overlays.overlay(explained, explained.classes[0]))
        shown.append(Thumbnail(address(drawn, MAP_SIDE), f"{label} → {predicted}"))
    return shown


def _suspects(network: Network, pictures: Source, suspects: Rows) -> list[Thumbnail]:
    shown = []
    for suspect, image in _with_pictures(suspects[:SUSPECTS], pictures):
        label, rather = (network.classes[suspect[key]] for key in ("label", "rather"))
        text = f"{label} → {rather}?\n{units.percent(suspect['probability'])} {label}"
        shown.append(Thumbnail(address(image), text))
    return shown


def _with_pictures(rows: Rows, pictures: Source) -> list[tuple[Mapping[str, Any], Any]]:
    """The rows whose index there is, each with its picture."""
    known = [row for row in rows if row["index"] < len(pictures)]
    images = pictures.pictures(np.array([row["index"] for row in known], np.int64))
    return list(zip(known, images, strict=True))
