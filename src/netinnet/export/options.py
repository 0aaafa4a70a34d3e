"""What an export is asked for, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from netinnet.errors import NetinnetError, check_name
from netinnet.training.run import Run

PRECISIONS = ("float32", "float16", "int8")
PICTURES = 500
"""Calibration pictures, if nothing else is asked for."""
MOST_TEST_PICTURES = 10_000
"""Test pictures that a loss is measured on, if nothing else is asked for."""


@dataclass(frozen=True)
class Options:
    """How a model is exported.

    Args:
        plain: A graph of fixed size and simple operators, without the preprocessing.
        batch: Pictures at a time, where the size is fixed.
        precision: Of the weights (and, with int8, of what is computed): a name in `PRECISIONS`;
            None for the kind's own, float16 in a page and float32 elsewhere.
        calibrate: Data set or folder whose pictures int8's ranges are measured on, and the loss;
            None for what the model learnt.
        pictures: How many of them the ranges are measured on.
        seed: Decides which ones.
        test_pictures: How many the loss is measured on; None for all, `MOST_TEST_PICTURES` at most.
        title: A page's heading; the network's name if None.
        examples: Picture files and folders that a page shows to try.
        licence: The model's licence, as it is to be written down.
        data_dir: The folder with the data set's files.
        force: Whether an existing file is written over.
        run: The run that the model is of, for the card; filled in where it is known.

    Raises:
        NetinnetError: For a precision that there is not, and counts below 1 and a seed below 0.

    Example: `Options(precision="int8", licence="CC0-1.0")`
    """

    plain: bool = False
    batch: int = 1
    precision: str | None = None
    calibrate: str | None = None
    pictures: int = PICTURES
    seed: int = 0
    test_pictures: int | None = None
    title: str | None = None
    examples: tuple[Path, ...] = ()
    licence: str | None = None
    data_dir: Path | None = None
    force: bool = False
    run: Run | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise NetinnetError(f"--seed must be at least 0, got {self.seed}")
        if self.precision is not None:
            check_name("precision", self.precision, PRECISIONS)
        tested = 1 if self.test_pictures is None else self.test_pictures
        counts = {"batch": self.batch, "pictures": self.pictures, "test-pictures": tested}
        for name, count in counts.items():
            if count < 1:
                raise NetinnetError(f"--{name} must be at least 1, got {count}")
        if self.licence is not None and not self.licence.strip():
            raise NetinnetError("--licence is empty; leave it out if there is none")

    @property
    def numbers(self) -> str:
        """The precision of a graph: float32 where nothing else is asked for."""
        return self.precision or "float32"


@dataclass(frozen=True)
class Loss:
    """What a smaller precision changed, against float32 on the same pictures."""

    pictures: int
    measured_on: str
    """Which pictures, in words."""
    same_class: float
    """Share of the pictures that keep their most probable class."""
    difference: float
    """Largest difference of a logit, over the largest logit."""
    accuracy: tuple[float, float] | None = None
    """Before and after, 0…1; None where no labels are at hand."""

    def __str__(self) -> str:
        changed = (
            f"{100 * self.same_class:.2f} % keep their class, "
            f"logits differ by at most {self.difference:.2g} of the largest"
        )
        if self.accuracy is None:
            return f"no labelled pictures at hand; on {self.measured_on} {changed}"
        before, after = self.accuracy
        return (
            f"accuracy {before:.4f} → {after:.4f} ({100 * (after - before):+.2f} points) "
            f"on {self.measured_on}; {changed}"
        )


@dataclass(frozen=True)
class Exported:
    """A file that was written."""

    path: Path
    kind: str
    """What it is, in words."""
    size: int
    """Bytes."""
    float32_size: int | None = None
    """Bytes of the same file in float32."""
    difference: float | None = None
    """Largest difference of a logit from the NumPy oracle's, over the largest; None: no logits."""
    loss: Loss | None = None
    notes: tuple[str, ...] = ()
    """What should be known of it, a line each."""
