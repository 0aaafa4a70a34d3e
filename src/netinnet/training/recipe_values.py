"""The values that a recipe's fields may have."""

from __future__ import annotations

from netinnet import optimizer
from netinnet.data import datasets
from netinnet.frameworks import FRAMEWORKS
from netinnet.networks.network import FITS
from netinnet.networks.variations import HEADS
from netinnet.weights import INITIALISATIONS

ON_NAN = ("stop", "rollback")
SCHEDULES = ("constant", "linear", "cosine", "one-cycle")
FLIPS = ("random", "alternating")
PRECISIONS = ("float32", "bfloat16")

RANGES: dict[str, tuple[float, float]] = {
    "image_size": (1, 4096),
    "dropout": (0, 1),
    "pointwise": (0, 8),
    "inner": (1, 31),
    "width": (0.01, 16),
    "epochs": (1, 100_000),
    "batch_size": (1, 65_536),
    "learning_rate": (1e-9, 1000),
    "momentum": (0, 1),
    "weight_decay": (0, 100),
    "warmup": (0, 1),
    "label_smoothing": (0, 1),
    "crop_padding": (0, 64),
    "resized_crop": (0.05, 1),
    "color_jitter": (0, 1),
    "random_erasing": (0, 1),
    "mixup": (0.01, 100),
    "cutmix": (0.01, 100),
    "weight_averaging": (0, 1),
    "recalibrate": (1, 100_000),
    "distillation": (0, 1),
    "teacher_temperature": (0.1, 100),
    "validation": (0, 1),
    "seed": (0, 2**31 - 1),
    "train_examples": (1, 10**9),
    "test_examples": (1, 10**9),
    "threads": (1, 1024),
    "shards": (2, 64),
    "checkpoint_seconds": (0, 86_400),
}
"""The lowest and the highest value of a number."""


def choices() -> dict[str, tuple[str, ...]]:
    """The names that a field may have, for those that have such: what is checked, and shown."""
    return {
        "dataset": tuple(datasets.DATASETS),
        "framework": tuple(FRAMEWORKS),
        "head": HEADS,
        "evaluate": ("test", "validation", "both"),
        "fit": tuple(FITS),
        "flips": FLIPS,
        "initialisation": INITIALISATIONS,
        "on_nan": ON_NAN,
        "optimizer": optimizer.KINDS,
        "precision": PRECISIONS,
        "sampling": ("balanced",),
        "schedule": SCHEDULES,
    }
