"""The other processes of a training: starting them on this machine, and what each of them does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
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
from netinnet.signals import SIGNALS
from netinnet.training import team
from netinnet.training.loop import Training
from netinnet.training.parts import learner_for, load_data
from netinnet.training.recipe import from_mapping
from netinnet.training.stepping import advance
from netinnet.training.team import Team

END_SECONDS = 5
"""So long the others may take to end, all together."""
LAST_WORDS_SECONDS = 1
"""So long a follower may still say why it ends, when its leader has ended."""
FOLLOWS_STDIN = "NETINNET_FOLLOWS_STDIN"
"""The environment variable of a follower whose standard input is a pipe that its leader holds."""


def follow(data_dir: Path | None = None) -> None:
    """Do this process's part of a training until its leader ends it."""
    if FOLLOWS_STDIN in os.environ:
        threading.Thread(target=_end_with_leader, daemon=True).start()
    for number in SIGNALS:
        # While it waits for the others, Python's own handlers would not be called.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    # A leader that has ended has said why.
    with contextlib.suppress(ProcessLost), processes.joined() as joined:
        for number in SIGNALS:  # a terminal asks all of them; the leader decides when they end
            signal.signal(number, signal.SIG_IGN)
        _follow(joined, data_dir)


def _end_with_leader() -> None:
    """End this process when its leader has ended, even by SIGKILL: then the pipe ends too."""
    os.read(0, 1)  # not sys.stdin, whose lock would be held at the interpreter's end
    time.sleep(LAST_WORDS_SECONDS)
    os._exit(0)


def _follow(group: Processes, data_dir: Path | None) -> None:
    what, _ = group.sent(np.zeros(2, np.float64))
    if what == team.END:  # nothing is trained
        return
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
                prepared = stack.enter_context(contextlib.closing(ahead(training.make, steps)))
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
    if count == 1:
        yield
        return
    if (others := processes.count_here()) > 1:
        raise RecipeError(
            f"this is one of {others} processes that were started together: leave out --processes"
        )
    port = processes.free_port()
    command = [sys.executable, "-m", "netinnet", "train"]
    if data_dir is not None:
        command += ["--data-dir", str(data_dir)]
    before, followers = dict(os.environ), list[subprocess.Popen[bytes]]()
    os.environ.update(processes.environment(0, count, port))
    try:
        for rank in range(1, count):
            environment = {**os.environ, **processes.environment(rank, count, port)}
            environment[FOLLOWS_STDIN] = "1"
            pipe, silent = subprocess.PIPE, subprocess.DEVNULL
            followers.append(subprocess.Popen(command, env=environment, stdin=pipe, stdout=silent))
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        for follower in followers:
            assert follower.stdin is not None
            follower.stdin.close()
        deadline = time.monotonic() + END_SECONDS
        for follower in followers:
            try:
                follower.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                follower.kill()
                follower.wait()
