"""Where a network saw what it says: class maps laid over the picture, exactly.

The mean of a class's map is its logit (`class_maps.py`), so a map says how much each place added to
it or took from it: nothing is approximated and no gradient is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from netinnet.data.pictures import as_channels
from netinnet.errors import ModelError, check_name
from netinnet.inference import class_maps
from netinnet.inference.onnx_graph import CLASS_MAPS, LOGITS
from netinnet.inference.predictor import Predictor
from netinnet.networks.network import Network
from netinnet.networks.windows import Sliding
from netinnet.preprocessing import spans

Array = npt.NDArray[np.float32]


class Axis(NamedTuple):
    """Where a map's cells lie along the height or the width of a picture, in its pixels."""

    first: float
    """Centre of the first cell; the first pixel reaches from 0 to 1."""
    step: float
    """From one cell's centre to the next one's."""
    length: int
    """Of the picture."""
    seen: tuple[int, int]
    """From where to where the network saw it: all of it, or the part that is cropped."""

    def centre(self, cell: int) -> float:
        """The place of a cell, inside what was seen."""
        return float(np.clip(self.first + self.step * cell, *self.seen))

    def edges(self, first: int, last: int) -> tuple[int, int]:
        """From where to where cells reach, each as long as the step: whole pixels, one at least."""
        start, end = (self.first + self.step * x for x in (first - 0.5, last + 0.5))
        low = min(max(round(start), self.seen[0]), self.seen[1] - 1)
        return low, min(max(round(end), low + 1), self.seen[1])


@dataclass(frozen=True)
class ClassMap:
    """One class of a picture."""

    name: str
    logit: float
    probability: float
    values: Array
    """Rows × columns; their mean is the logit."""
    peak: tuple[float, float]
    """(x, y) of the greatest value, the first of equal ones: the centre of its receptive field."""
    box: tuple[int, int, int, int]
    """(left, top, right, bottom), right and bottom exclusive: see `explain`."""


@dataclass(frozen=True)
class Explanation:
    """What a network saw where in one picture; all places are in the picture's own pixels."""

    picture: npt.NDArray[np.uint8]
    """Height × width × 1 or 3."""
    classes: tuple[ClassMap, ...]
    """Those asked for, in that order."""
    maps: Array
    """The maps of all classes of the network: classes × rows × columns."""
    rows: Axis
    columns: Axis
    score: float | None = None
    """How much the picture is like those the model knows; None for a model without calibration."""
    refusal: str | None = None
    """What is said of a picture that is none of these."""

    @property
    def scale(self) -> float:
        """The greatest size of any value in any class's map: one scale for all of a picture."""
        return float(np.abs(self.maps).max())

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: floats as they are, maps as lists of rows."""
        height, width = self.picture.shape[:2]
        return {
            "width": width,
            "height": height,
            "scale": self.scale,
            "rows": self.rows._asdict(),
            "columns": self.columns._asdict(),
            **({} if self.score is None else {"none_of_these": bool(self.refusal)}),
            **({} if self.score is None else {"score": self.score}),
            "classes": [{**vars(c), "values": c.values.tolist()} for c in self.classes],
        }


def explain(
    predictor: Predictor, picture: npt.NDArray[np.uint8], classes: Sequence[str] = ()
) -> Explanation:
    """The class maps of a picture, each with its peak and its box.

    The box holds the cells that hang together with the peak (side by side or one above the other)
    and are at least halfway from the map's mean, which is the logit, up to the peak. So a constant
    that is added to all maps, which changes no probability, changes no box.

    Args:
        predictor: A model ready to predict, whose logits are made by global average pooling.
        picture: uint8 height × width × 1 or 3.
        classes: Names; the most probable class alone if there are none.

    Raises:
        ModelError: For a network without class maps, a class that it does not have, or values that
            are not finite.

    Example:
        >>> explain(Predictor(netinnet.load()), pictures.read("boot.png")).classes[0].peak
        (12.5, 16.5)
    """
    network = predictor.network
    wanted = check(predictor, classes)
    image = as_channels(picture, network.input.channels)[None]
    results = predictor.run(image, (LOGITS, CLASS_MAPS))
    logits, maps = results[LOGITS][0], results[CLASS_MAPS][0]
    if not np.isfinite(maps).all():
        raise ModelError(f"{network.name}: the class maps of this picture are not finite")
    probabilities = predictor.to_probabilities(results[LOGITS])[0]
    score = float(predictor.scores(image)[0]) if predictor.calibration else None
    rows, columns = axes(network, *picture.shape[:2])

    def class_map(i: int) -> ClassMap:
        place = peak_and_box(maps[i], rows, columns)
        return ClassMap(
            network.classes[i], float(logits[i]), float(probabilities[i]), maps[i], *place
        )

    return Explanation(
        picture,
        tuple(map(class_map, wanted or [int(np.argmax(probabilities))])),
        maps,
        rows,
        columns,
        score,
        predictor.refusal(score) if predictor.refuses(score) else None,
    )


def check(predictor: Predictor, classes: Sequence[str]) -> list[int]:
    """The places of some classes in the network's list.

    Raises ModelError where there is no such class, or where the network has no class maps.
    """
    predictor.require_maps()
    known = predictor.network.classes
    for name in classes:
        check_name("class", name, known, ModelError)
    return list(dict.fromkeys(map(known.index, classes)))


def axes(network: Network, height: int, width: int) -> tuple[Axis, Axis]:
    """Where the cells of the class maps lie in a picture: at their receptive fields' centres.

    The layers' windows decide where that is: a map that is stretched over the whole picture, from
    edge to edge, is in the wrong place. Cells over padding lie outside the picture.
    """
    sizes, fit = (height, width), network.preprocessing.fit
    rows, columns = (
        Axis(
            span.start + (first - span.at) * span.length / span.size,
            step * span.length / span.size,
            length,
            (span.start, span.start + span.length),
        )
        for (first, step), length, span in zip(
            cells(network), sizes, spans(sizes, network.input[1:], fit), strict=True
        )
    )
    return rows, columns


def cells(network: Network) -> list[tuple[float, float]]:
    """The first cell's centre and the step to the next in the class maps, down and across.

    In the input's pixels; the first pixel reaches from 0 to 1.
    """
    maps = class_maps.of(network)
    assert maps is not None
    axis = [(0.5, 1.0), (0.5, 1.0)]
    for placed in network.placed_layers():
        if placed.name == maps.pool:
            break
        layer, shape = placed.layer, placed.input
        if isinstance(layer, Sliding):
            axis = [
                (first + step * ((layer.kernel - 1) / 2 - before), step * layer.stride)
                for (first, step), (before, _) in zip(axis, layer.pads(shape), strict=True)
            ]
        elif placed.output[1:] != shape[1:]:  # all of it becomes one value
            axis = [
                (first + step * (size - 1) / 2, step * size)
                for (first, step), size in zip(axis, shape[1:], strict=True)
            ]
    return axis


def peak_and_box(
    values: Array, rows: Axis, columns: Axis
) -> tuple[tuple[float, float], tuple[int, int, int, int]]:
    """The peak of a map and the box around it: see `explain`."""
    row, column = map(int, np.unravel_index(np.argmax(values), values.shape))
    high = values >= (values.mean(dtype=np.float64) + values[row, column]) / 2
    high[row, column] = True  # where rounding puts the mean above the peak of an even map
    inside, edge = {(row, column)}, [(row, column)]
    while edge:
        y, x = edge.pop()
        for cell in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            in_map = 0 <= cell[0] < len(values) and 0 <= cell[1] < len(values[0])
            if in_map and high[cell] and cell not in inside:
                inside.add(cell)
                edge.append(cell)
    ys, xs = zip(*inside, strict=True)
    top, bottom = rows.edges(min(ys), max(ys))
    left, right = columns.edges(min(xs), max(xs))
    return (columns.centre(column), rows.centre(row)), (left, top, right, bottom)
