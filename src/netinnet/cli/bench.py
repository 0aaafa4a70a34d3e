"""`nin bench`: how fast netinnet is here, beside what people would use without it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from netinnet import units
from netinnet.cli.console import Switch, WholeNumber, console, print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netinnet.bench.found import Found
    from netinnet.bench.turns import Turn

FOLDER = Path("bench")


def bench(
    *contests: str,
    quick: Switch = False,
    rounds: WholeNumber | None = None,
    output: Path = FOLDER,
    mxnet_python: str | None = None,
    onnxruntime_web: str | None = None,
    force: Switch = False,
    quiet: Annotated[
        bool, Parameter(name=["--quiet", "-q"], negative=(), show_default=False)
    ] = False,
    json: Switch = False,
) -> None:
    """Compare netinnet's speed with the code that people would write without it, on this machine.

    Contests: `chapter` (the chapter's training step, our code and the chapter's own in each
    framework), `small` (a training step of nin-small beside plain PyTorch loops, eager and
    compiled), `predict-1`, `predict-32`, `predict-1000` (pictures at a time, beside PyTorch, ONNX
    Runtime and OpenVINO), `first-answer` (from the start of Python to the first prediction), `page`
    (a picture in the exported page, beside ONNX Runtime Web; needs Chromium and Playwright),
    `scaling` (time and memory against batch, width, size, threads, number of pictures and
    processes, beside what is computed from the description), and `roofline` (each layer of a
    training step, and whether it waits for arithmetic or memory). All if none is named.

    Every measurement is a process of its own. The contestants of a contest take turns, and ratios
    are made within a round. What is not installed is left out and named. Results are in the output
    folder at once: the same command continues an interrupted one. Let nothing
    else run meanwhile.

    Parameters
    ----------
    contests
        What to measure.
    quick
        Fewer steps and two rounds, for a first look.
    rounds
        Turns of each contestant; 5 if not given.
    output
        Folder of the results; `bench.md` in it is the page.
    mxnet_python
        Python of an environment that has MXNet (which needs an older NumPy) and netinnet, such as
        .venv-mxnet/bin/python; MXNet is left out if not given.
    onnxruntime_web
        Folder `dist` of the npm package onnxruntime-web, for `page`; left out if not given.
    force
        Measure again what the folder has already.
    quiet
        Print only the tables.
    json
        Print JSON.
    """
    from netinnet.bench import found as results
    from netinnet.bench import kept, page, roofline, scaling, turns
    from netinnet.bench.contests import FULL, QUICK
    from netinnet.bench.contests import contests as known_contests
    from netinnet.bench.machine import machine, seen_by
    from netinnet.errors import NetinnetError, check_name

    size = QUICK if quick else FULL
    wanted_rounds = size.rounds if rounds is None else rounds
    if wanted_rounds < 1:
        raise NetinnetError(f"--rounds must be at least 1, got {wanted_rounds}")
    known = known_contests(size, mxnet_python, onnxruntime_web)
    everything = [*known, results.SCALING, results.ROOFLINE]
    names = list(dict.fromkeys(contests)) or everything
    for name in names:
        check_name("contest", name, everything)
    here = machine(mxnet_python, onnxruntime_web)
    results.check(output, known, names, here, again=force)
    if force:
        for name in names:
            kept.file_of(name, output).unlink(missing_ok=True)
    screen, alone = console(stderr=True), seen_by(here)

    def note(text: str) -> None:
        if not quiet:
            screen.print(text)

    for name in names:
        if name in known:
            try:
                turns.run(known[name], output, wanted_rounds, lambda turn: note(_line(turn)), here)
            except turns.NothingMeasured as error:
                if contests:
                    raise
                screen.print(f"left out: {error}")  # of all that there is, the rest goes on
    if results.SCALING in names:
        scaling.run(
            kept.file_of(results.SCALING, output),
            lambda varied, value, what: note(f"scaling: {varied} {value:g} {what or '…'}"),
            alone,
        )
    if results.ROOFLINE in names:
        file = kept.file_of(results.ROOFLINE, output)
        roofline.run(file, lambda what: note(f"roofline: {what}"), alone)
    found = results.read(output, known, here)
    versions = ", ".join(f"{package} {version}" for package, version in here["versions"].items())
    where = f"{here['processor']}, {units.counted(here['cores'], 'core')}; {versions}."
    written = page.write(output, found.verdicts, found.points, found.roofs, where)
    if json:
        measured = {"contests": found.verdicts, "scaling": found.points, "roofline": found.roofs}
        print_json({"machine": here, **measured})
        return
    _print_tables(names, found)
    say(f"the page: {written}")


def _line(turn: Turn) -> str:
    """A turn that begins, or what it found."""
    text = "…" if turn.value is None else f"{turn.value:.3g} {turn.contest.unit}"
    if turn.value is None and turn.seconds_left is not None:
        text += f" about {units.estimate(turn.seconds_left)} left of this contest"
    return f"{turn.contest.name}, round {turn.round} of {turn.rounds}: {turn.who.name} {text}"


def _print_tables(names: Sequence[str], found: Found) -> None:
    """What was asked for, of what the folder holds."""
    from netinnet.bench import page, roofline_page
    from netinnet.bench.found import ROOFLINE, SCALING

    for verdict in found.verdicts:
        if verdict.contest.name in names:
            say(f"\n{verdict.contest.title} ({verdict.contest.unit})")
            print_table(page.HEADERS, page.cells(verdict), right=(1, 2, 3, 4, 5))
            for who, reason in verdict.left_out.items():
                say(f"left out: {who}: {reason}")
    if SCALING in names:
        say("\nTraining nin-small (PyTorch)")
        print_table(page.SCALING_HEADERS, page.scaling_cells(found.points), right=(1, 2, 3, 4, 5))
    for roof in found.roofs if ROOFLINE in names else []:
        say(f"\n{roofline_page.title(roof)}")
        print_table(roofline_page.HEADERS, roofline_page.cells(roof), right=(2, 3, 4, 6))
