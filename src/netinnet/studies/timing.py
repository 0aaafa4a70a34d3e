"""How long will a study take? A few training steps of each arm, timed before anything is begun.

    python -m netinnet.studies.timing < recipes.json

A process of its own, so that the study's process loads no framework.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Collection, Sequence

import numpy as np

from netinnet import frameworks, memory, weights
from netinnet.errors import FrameworkError, NetinnetError
from netinnet.studies.costs import ArmCost
from netinnet.studies.plan import Arm, Plan
from netinnet.studies.workers import environment
from netinnet.training.listening import Listener
from netinnet.training.recipe import Recipe
from netinnet.training.start import learner_settings, network_for

LONG_MACS = 5e12
"""Training steps of so many multiply-accumulates take minutes: worth a few seconds of timing."""
STEP_SECONDS, MOST_STEPS = 1.0, 8
"""Timed steps of an arm: at least one behind the first, then until so long or so many."""
ALL_SECONDS = 60.0
"""After so long no further arm is timed."""


def before_a_long_study(
    plan: Plan, costs: Sequence[ArmCost], unfinished: Collection[str], listener: Listener
) -> dict[str, float]:
    """Seconds of one run of each arm, by its name; empty where the study is short.

    `unfinished` names the arm of each run that is left. Arms that can't be timed are left out:
    an estimate is nothing to fail for.
    """
    left = [arm for arm in plan.arms if arm.name in unfinished]
    macs = {cost.arm: cost.training_macs for cost in costs}
    if sum(macs[name] for name in unfinished) < LONG_MACS:
        return {}
    listener({"event": "timing", "arms": len(left)})
    try:
        return seconds_of_a_run(left, costs)
    except NetinnetError:
        return {}


def seconds_of_all(
    plan: Plan, costs: Sequence[ArmCost], runs_an_arm: int, workers: int
) -> float | None:
    """Seconds of a whole study that is not begun; None where not every arm could be timed.

    Raises FrameworkError where nothing can be trained here.
    """
    found = seconds_of_a_run(plan.arms, costs)
    if len(found) < len(plan.arms):
        return None
    return max(*found.values(), runs_an_arm * sum(found.values()) / workers)


def seconds_of_a_run(arms: Sequence[Arm], costs: Sequence[ArmCost]) -> dict[str, float]:
    """Seconds of one run of each arm, by its name, from steps that a fresh process times.

    A picture's evaluation is a third of its step. Raises FrameworkError with one line where the
    process fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps([dataclasses.asdict(arm.recipe) for arm in arms]),
        capture_output=True,
        text=True,
        check=False,
        env=environment(max(arm.recipe.threads or 1 for arm in arms)),
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise FrameworkError(said[-1] if said else f"it ended with status {done.returncode}")
    of_image: list[float] = json.loads(done.stdout.splitlines()[-1])
    work = {cost.arm: cost.images + cost.evaluated / 3 for cost in costs}
    # Where the time was up there are fewer figures than arms.
    return {arm.name: s * work[arm.name] for arm, s in zip(arms, of_image, strict=False)}


def seconds_of_an_image(recipe: Recipe) -> float:
    """Median seconds of a training step, for each of its pictures."""
    network = network_for(recipe)
    settings = learner_settings(recipe, network)
    learner = frameworks.adapter(recipe.framework).learner(settings, weights.initial(network, 0))
    rng = np.random.default_rng(0)
    source = settings.source
    size = (recipe.batch_size, source.height, source.width, source.channels)
    images = rng.random(size, np.float32)
    labels = rng.integers(0, len(network.classes), recipe.batch_size)
    seconds: list[float] = []
    # The first step also compiles and allocates.
    while len(seconds) < 2 or (sum(seconds[1:]) < STEP_SECONDS and len(seconds) <= MOST_STEPS):
        began = time.perf_counter()
        learner.step(images, labels, rate=1e-4, step=len(seconds) + 1, seed=0)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:]) / recipe.batch_size


def main() -> int:
    """Read recipes from standard input and print the seconds of a picture for each, as JSON."""
    memory.keep_freed_memory()  # as a training does
    found: list[float] = []
    began = time.monotonic()
    try:
        for fields in json.load(sys.stdin):
            if time.monotonic() - began > ALL_SECONDS:
                break
            found.append(seconds_of_an_image(Recipe(**fields)))
    except NetinnetError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
