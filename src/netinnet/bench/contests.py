"""What is compared with what: a contest is one task that several programs do in turn."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from netinnet.bench.machine import OUTSIDE
from netinnet.frameworks import FRAMEWORKS


@dataclass(frozen=True)
class Contestant:
    """One program: a module of `bench.peers` and the options of its `measure`."""

    name: str
    module: str
    options: dict[str, Any]
    is_ours: bool = False
    library: str = "prediction"
    """The module whose `multiply` gives the machine's peak in the library that computes it."""
    needs: tuple[str, ...] = ()
    """Packages that must be installed."""
    outside: tuple[str, ...] = ()
    """What else it runs in or with, of `bench.machine.OUTSIDE`."""
    python: str | None = None
    """The interpreter that has the packages; this one if None."""

    @property
    def missing(self) -> str | None:
        """The first package that is not installed here."""
        if self.python is not None:
            return None
        absent = (name for name in self.needs if importlib.util.find_spec(name) is None)
        return next(absent, None)


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    name: str
    chapter_steps: int
    small_steps: int
    rounds: int


FULL = Size("full", chapter_steps=4, small_steps=60, rounds=5)
QUICK = Size("quick", chapter_steps=1, small_steps=15, rounds=2)


@dataclass(frozen=True)
class Contest:
    """One task. `unit` is what is measured, of which more is better, or less."""

    name: str
    title: str
    unit: str
    contestants: tuple[Contestant, ...]
    less_is_better: bool = False
    times_itself: bool = False
    """Whether a contestant is told when its process was started."""
    size: str = FULL.name
    """How much is measured: of rounds of another size no ratios are made."""

    @property
    def outside(self) -> frozenset[str]:
        """What its contestants use, of `bench.machine.OUTSIDE`."""
        used = (name for who in self.contestants for name in (*who.needs, *who.outside))
        return frozenset(used).intersection(OUTSIDE)


def contests(
    size: Size, mxnet_python: str | None = None, onnxruntime_web: str | None = None
) -> dict[str, Contest]:
    """All of them by name, in the order in which they run.

    Who needs MXNet is run by `mxnet_python`, where it is given. `onnxruntime_web` is the folder
    dist of the npm package of that name.
    """
    made = [_chapter(size), _small(size), *map(_prediction, (1, 32, 1000)), _first_answer()]
    made.append(_page(onnxruntime_web))
    return {
        contest.name: replace(_with_mxnet_in(contest, mxnet_python), size=size.name)
        for contest in made
    }


def _with_mxnet_in(contest: Contest, python: str | None) -> Contest:
    sides = (
        replace(who, python=python) if "mxnet" in who.needs else who for who in contest.contestants
    )
    return replace(contest, contestants=tuple(sides))


def _chapter(size: Size) -> Contest:
    """The chapter's network at 224 pixels: both sides of each framework."""
    steps = {"warmup": 1, "steps": size.chapter_steps}
    sides: list[Contestant] = []
    for name, framework in FRAMEWORKS.items():
        ours = {**steps, "recipe_name": "book", "framework": name}
        module, needs = f"chapter_{name}", framework.packages
        theirs = f"the chapter's code, {framework.title}"
        sides += [
            Contestant(f"netinnet, {framework.title}", "ours", ours, True, module, needs),
            Contestant(theirs, module, dict(steps), False, module, needs),
        ]
    title = "The chapter's training step: NiN, 224×224 pixels, batch 128"
    return Contest("chapter", title, "images/s", tuple(sides))


def _small(size: Size) -> Contest:
    """The default network's training step, in each framework and in plain PyTorch."""
    steps = {"warmup": 5, "steps": size.small_steps}
    sides = [
        Contestant(
            f"netinnet, {framework.title}",
            "ours",
            {**steps, "recipe_name": "fashion", "framework": name},
            True,
            f"chapter_{name}",
            framework.packages,
        )
        for name, framework in FRAMEWORKS.items()
    ]
    mixed = {**sides[0].options, "precision": "bfloat16"}
    sides.insert(1, replace(sides[0], name="netinnet, PyTorch, bfloat16", options=mixed))
    plain: dict[str, dict[str, Any]] = {
        "eager PyTorch": {},
        "eager PyTorch, 1 worker": {"workers": 1},
        "eager PyTorch, 2 workers": {"workers": 2},
        "eager PyTorch, channels-last, 1 worker": {"workers": 1, "channels_last": True},
        "compiled PyTorch, 1 worker": {"workers": 1, "compiled": True},
        "compiled PyTorch, channels-last, 1 worker": {
            "workers": 1,
            "compiled": True,
            "channels_last": True,
        },
    }
    sides += [
        Contestant(
            name, "small_pytorch", {**steps, **options}, False, "chapter_pytorch", ("torch",)
        )
        for name, options in plain.items()
    ]
    title = "A training step of nin-small, 28×28 pixels, batch 128"
    return Contest("small", title, "images/s", tuple(sides))


def _prediction(batch: int) -> Contest:
    title = f"Predictions of the shipped model, {batch:,} at a time"
    return Contest(f"predict-{batch}", title, "pictures/s", _engines(batch, _ENGINES))


def _first_answer() -> Contest:
    title = "From the start of Python to the first prediction"
    sides = _engines(1, {name: _ENGINES[name] for name in ("ours", "eager")})
    return Contest("first-answer", title, "s", sides, less_is_better=True, times_itself=True)


def _page(onnxruntime_web: str | None) -> Contest:
    title = "A picture in the exported page, in Chromium, one thread"
    sides = {"netinnet": "WebAssembly", "netinnet, plain JavaScript": "JavaScript"}
    needs, browser = ("playwright",), ("chromium",)
    ours = [
        Contestant(name, "page", {"engine": engine}, True, needs=needs, outside=browser)
        for name, engine in sides.items()
    ]
    options = {"engine": "onnxruntime-web", "peer": onnxruntime_web}
    both = (*browser, "onnxruntime-web")
    peer = Contestant("ONNX Runtime Web", "page", options, needs=needs, outside=both)
    return Contest("page", title, "pictures/s", (*ours, peer))


_ENGINES: dict[str, tuple[str, tuple[str, ...]]] = {
    "ours": ("netinnet", ()),
    "eager": ("eager PyTorch", ("torch",)),
    "compiled": ("compiled PyTorch", ("torch",)),
    "onnxruntime": ("PyTorch's export in ONNX Runtime", ("torch", "onnx", "onnxruntime")),
    "openvino": ("PyTorch's export in OpenVINO", ("torch", "onnx", "openvino")),
}
"""Title and packages of what `bench.peers.prediction` knows."""


def _engines(
    batch: int, engines: Mapping[str, tuple[str, tuple[str, ...]]]
) -> tuple[Contestant, ...]:
    return tuple(
        Contestant(
            title, "prediction", {"engine": name, "batch": batch}, name == "ours", needs=needs
        )
        for name, (title, needs) in engines.items()
    )
