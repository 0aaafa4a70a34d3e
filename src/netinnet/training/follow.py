"""The other processes of a training: starting them on this machine, and what each of them does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from netinnet.data.loader import ahead
from netinnet.data.source import DatasetRecord
from netinnet.errors import RecipeError
from netinnet.frameworks import processes
from netinnet.frameworks.processes import Processes, ProcessLost
from netinnet.networks.network import Network
from netinnet.training import team
from netinnet.training.interruption import SIGNALS
from netinnet.training.loop import Training
from netinnet.training.parts import learner_for, load_data
from netinnet.training.recipe import from_mapping
from netinnet.training.stepping import advance
from netinnet.training.team import Team

END_SECONDS = 5
"""So long the others may take to end, all together; one may wait for a leader that never came."""


def follow(data_dir: Path | None = None) -> None:
    """Do this process's part of a training until its leader ends it."""
    # A leader that has ended has said why.
    with contextlib.suppress(ProcessLost), processes.joined() as joined:
        for number in SIGNALS:  # a terminal asks all of them; the leader decides when they end
            signal.signal(number, signal.SIG_IGN)
        _follow(joined, data_dir)


def _follow(group: Processes, data_dir: Path | None) -> None:
    about = json.loads(group.sent_text())
    recipe = from_mapping(tomllib.loads(about["recipe"]), "the leader's recipe")
    network = Network.from_json(about["network"])
    record = DatasetRecord.from_dict(about["data"], "the leader's data set")
    data = load_data(recipe, data_dir, lambda event: None, record)
    record.check(data.record)
    learner = learner_for(recipe, network, data.facts, processes=group)
    training = Training(
        recipe, network, data, learner, lambda event: None, lambda *_: None, team=Team(group)
    )
    with contextlib.ExitStack() as stack:
        while True:
            what, number = group.sent(np.zeros(2, np.float64))
            if what == team.BEGIN:
                team.share(group, learner)
                stack.close()  # what was prepared for steps that are done again
                step = int(number)
                steps = range(step, training.total)
                prepared = stack.enter_context(contextlib.closing(ahead(training.batches, steps)))
            elif what == team.STEP:
                step += 1
                advance(learner, recipe, next(prepared), float(number), step, group)
            elif what == team.EVALUATE:
                training.logits([*training.evaluated.values()][int(number)])
            else:
                return


@contextlib.contextmanager
def started(count: int, data_dir: Path | None) -> Iterator[None]:
    """`count` processes on this machine, of which this is the first, for the block.

    torchrun would print its own report on what a user did wrong, and runs the leader out of sight
    of the terminal; so the leader starts the others itself, as torchrun would.
    """
    if count < 1:
        raise RecipeError(f"processes must be at least 1, got {count}")
    if count == 1:
        yield
        return
    port = processes.free_port()
    command = [sys.executable, "-m", "netinnet", "train"]
    if data_dir is not None:
        command += ["--data-dir", str(data_dir)]
    before, followers = dict(os.environ), list[subprocess.Popen[bytes]]()
    os.environ.update(processes.environment(0, count, port))
    try:
        for rank in range(1, count):
            environment = {**os.environ, **processes.environment(rank, count, port)}
            silent = subprocess.DEVNULL
            followers.append(
                subprocess.Popen(command, env=environment, stdin=silent, stdout=silent)
            )
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        deadline = time.monotonic() + END_SECONDS
        for follower in followers:
            try:
                follower.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                follower.kill()
                follower.wait()
