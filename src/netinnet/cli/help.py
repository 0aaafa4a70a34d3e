"""`nin help`: a command's help, or a page on what many commands have in common."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from netinnet import errors
from netinnet.cli.console import print_table, say
from netinnet.cli.main import COMMANDS, run

TOPICS = {
    "networks": "What can stand for NETWORK.",
    "recipes": "What can stand for RECIPE.",
    "errors": "What the exit status and the kinds of errors mean.",
}
NAMES = (*(name for commands in COMMANDS.values() for name in commands), *TOPICS)

if TYPE_CHECKING:
    Topic = str
else:
    # The names are for the shell's completion; a wrong one is refused below, with the nearest one.
    Topic = Annotated[
        Literal[NAMES],
        Parameter(converter=lambda _kind, tokens: tokens[0].value, show_choices=False),
    ]


def help(topic: Topic | None = None, /) -> None:  # noqa: A001 - the command's name
    """Explain a command or a topic, or list them.

    Parameters
    ----------
    topic
        A command, or one of `networks`, `recipes`, `errors`; the lists of both if not given.
    """
    if topic is not None:
        errors.check_name("topic", topic, NAMES)
    if topic in TOPICS:
        {"networks": _networks, "recipes": _recipes, "errors": _errors}[topic]()
        return
    if status := run(["--help"] if topic is None else [topic, "--help"]):
        raise SystemExit(status)
    if topic is None:
        say("nin help COMMAND explains a command, nin help TOPIC one of these:")
        print_table(("topic", ""), list(TOPICS.items()))


def _networks() -> None:
    from netinnet.networks.variations import Variations
    from netinnet.networks.zoo import ZOO

    say("A network is a name:")
    print_table(("network", "from"), [(name, entry.source) for name, entry in ZOO.items()])
    say("or the path of a .toml or .json file that describes one, such as ./mine.toml.")
    say(f"These flags change it: {_flags(Variations)}. nin train --help explains them.")
    say("nin zoo shows the sizes, nin summary NETWORK the layers.")


def _recipes() -> None:
    from netinnet.training.recipe import shipped

    say("A recipe is a name:")
    print_table(("recipe", ""), [(name, _about(file)) for name, file in shipped().items()])
    say('or the path of a .toml file. With extends = "fashion" it has only what differs from that.')
    say("Each field is also a flag of nin train, which nin train --help explains.")


def _errors() -> None:
    say("The exit status is 0 when all is done, 2 after an error, which one line on standard error")
    say("explains, and 128 + N after signal N: 130 after Ctrl-C, 143 after SIGTERM.")
    say("Python raises these classes of netinnet.errors, all of them a NetinnetError:")
    rows = [
        (name, (kind.__doc__ or "").split("\n")[0])
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.NetinnetError)
    ]
    print_table(("error", "meaning"), rows)


def _flags(fields: Any) -> str:
    return ", ".join(f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(fields))


def _about(file: Path) -> str:
    """The first sentence of the comment that a recipe's file begins with."""
    text = file.read_text("utf-8").splitlines()
    lines = itertools.takewhile(lambda line: line.startswith("#"), text)
    return re.split(r"(?<=\.)\s", " ".join(line.strip("# ") for line in lines))[0]
