"""Running a contest: every contestant in a process of its own, round by round, each result kept.

All take turns, so that a machine whose speed drifts treats them alike, and ratios are made within a
round. What was measured is in the file at once: an interrupted command goes on where it stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from netinnet.bench import kept, machine
from netinnet.bench.contests import Contest, Contestant
from netinnet.errors import FrameworkError, NetinnetError
from netinnet.files import write_text
from netinnet.fresh_process import ask

ALONE = "netinnet.bench.peers.alone"


class NothingMeasured(NetinnetError):
    """A contest without a contestant that works here."""


@dataclass
class Results:
    """What was measured in one contest, and where."""

    contest: str
    machine: dict[str, Any]
    size: str
    rounds: list[dict[str, dict[str, float | None]]] = field(default_factory=list)
    """Of each round, by the contestant's name: value, memory (bytes), peak (FLOP/s)."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Why contestants are missing, by name."""

    @classmethod
    def read(cls, file: Path) -> Results:
        """Raises NetinnetError where the file holds something else."""
        try:
            return cls(**json.loads(file.read_text("utf-8")))
        except (ValueError, TypeError) as error:
            raise NetinnetError(f"{file}: no results of nin bench: {error}") from error

    def write(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(vars(self), indent=1, ensure_ascii=False) + "\n")


def opened(contest: Contest, folder: Path, here: dict[str, Any]) -> Results:
    """The results to go on with, or new ones of the machine `here`.

    Raises NetinnetError where they are of elsewhere.
    """
    file = kept.file_of(contest.name, folder)
    here = machine.seen_by(here, contest.outside)
    if not file.exists():
        return Results(contest.name, here, contest.size)
    found = Results.read(file)
    kept.check_machine(file, found.machine, here)
    return found


def check_size(contest: Contest, results: Results, folder: Path) -> None:
    """Raise NetinnetError where results are of fewer steps, or more, than are to be measured."""
    if results.size != contest.size:
        raise NetinnetError(
            f"{kept.file_of(contest.name, folder)}: a {results.size} measurement, and this is a "
            f"{contest.size} one: give another --output, or --force to measure again"
        )


@dataclass(frozen=True)
class Turn:
    """One measurement: before it is made, then once more with what was found."""

    contest: Contest
    round: int
    rounds: int
    who: Contestant
    value: float | None = None
    seconds_left: float | None = None
    """Of this contest, by what its measurements have taken so far."""


Listener = Callable[[Turn], object]


def run(
    contest: Contest, folder: Path, rounds: int, listener: Listener, here: dict[str, Any]
) -> Results:
    """Measure until there are so many rounds, from those that the folder has already.

    Who can't be measured is left out, with the reason. Raises NothingMeasured where nobody can be.
    """
    results = opened(contest, folder, here)
    check_size(contest, results, folder)
    file = kept.file_of(contest.name, folder)
    able = list(_able(contest, results))
    results.rounds += [{} for _ in range(len(results.rounds), rounds)]
    todo = [
        (number, who)
        for number in range(rounds)
        for who in able
        if who.name not in results.rounds[number]
    ]
    began = time.monotonic()
    for done, (number, who) in enumerate(todo):
        if who.name in results.left_out:
            continue
        left = (time.monotonic() - began) / done * (len(todo) - done) if done else None
        turn = Turn(contest, number + 1, rounds, who, seconds_left=left)
        listener(turn)
        try:
            results.rounds[number][who.name] = found = _measured(contest, who)
        except FrameworkError as error:
            results.left_out[who.name] = str(error)
        else:
            listener(replace(turn, value=found["value"]))
        if any(results.rounds):
            results.write(file)
    if not any(results.rounds):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in results.left_out.items())
        raise NothingMeasured(f"{contest.name}: nothing could be measured: {reasons}")
    return results


def _able(contest: Contest, results: Results) -> Iterator[Contestant]:
    """Those whose packages are there; why the others are not is noted."""
    for who in contest.contestants:
        if missing := who.missing:
            results.left_out[who.name] = f"{missing} is not installed"
        else:
            results.left_out.pop(who.name, None)  # it is tried again
            yield who


def _measured(contest: Contest, who: Contestant) -> dict[str, float | None]:
    options = {**who.options, "began": time.time()} if contest.times_itself else who.options
    request = {"module": who.module, "library": who.library, "options": options}
    return dict(ask(ALONE, request, python=who.python))
