"""The command `nin`: its subcommands, and how errors leave it. Each subcommand is a module here."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from netinnet.cli import standard_streams
from netinnet.cli.standard_streams import warn
from netinnet.errors import NetinnetError, NetinnetWarning, is_out_of_memory
from netinnet.files import FULL
from netinnet.version import VERSION

if TYPE_CHECKING:
    from cyclopts import App

COMMANDS = {
    "Start": {
        "train": "Train a network and watch it learn.",
        "frameworks": "List the frameworks: which are installed, and how to get the others.",
        "help": "Explain a command or a topic.",
    },
    "Look": {
        "zoo": "List the networks.",
        "summary": "Show a network's layers and what they cost.",
        "resources": "Show the computation and memory of a batch, computed and measured.",
        "data": "List the data sets, or inspect a folder of your own pictures.",
    },
    "Use": {
        "calibrate": "Calibrate a model's probabilities, and let it answer none of these.",
        "evaluate": "Measure a trained model on a data set.",
        "predict": "Classify pictures.",
        "explain": "Show which places of a picture decided a model's answer.",
        "serve": "Classify pictures over HTTP.",
    },
    "Study": {
        "reliability": "Train a recipe over many seeds and say how often it learns.",
        "ablate": "Change one thing of a NiN at a time and compare.",
        "tune": "Search for a better recipe, judged on a validation split.",
        "compare": "Compare networks: size, speed and accuracy.",
        "bench": "Compare netinnet's speed with other code's, on this machine.",
    },
    "Convert": {
        "convert": "Convert a model between frameworks' own files.",
        "export": "Write a model as a page, as a graph for other programs, or as a model card.",
    },
}
"""Every command and its line of help, by the group that it is shown in."""
GONE = (errno.EPIPE, errno.EIO)
"""What systems say where the reader of the output, or the terminal, has gone."""
MODULES = {"resources": "summary"}
"""Where a command's function is in another module than the one of its name."""


def _app(wanted: str) -> App:
    """The command with all subcommands, named by text: only the one wanted is imported.

    A subcommand's own help is its function's docstring, not the line that the list shows.
    """
    from cyclopts import App, Group, Parameter

    known = {name for commands in COMMANDS.values() for name in commands}
    app = App(
        name="nin",
        version=f"netinnet {VERSION}",
        help="Network in Network: train it, measure it, use it.",
        # Only a command's own help has Markdown; its reader takes a third of a start-up.
        help_format="markdown" if wanted in known else "plaintext",
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # it would exit without a word
        # A picture's name may begin with a bracket.
        default_parameter=Parameter(json_list=False, json_dict=False),
        group_commands=Group("Options", sort_key=len(COMMANDS)),
    )
    for place, (title, commands) in enumerate(COMMANDS.items()):
        group = Group(title, sort_key=place)
        for order, (name, about) in enumerate(commands.items()):
            app.command(
                f"netinnet.cli.{MODULES.get(name, name)}:{name}",
                name=name,
                help=None if name == wanted else about,
                group=group,
                sort_key=order,
            )
    if wanted not in known:
        app.register_install_completion_command(
            help="Let the Tab key complete commands and flags in your shell."
        )
    return app


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit: 0, 2 for a user's mistake, 128 and the signal when interrupted."""
    standard_streams.prepare()
    status = run(sys.argv[1:] if arguments is None else arguments)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        if not status and error.errno not in GONE:
            status = _fail(_failed(error))
        # Python would say so once more at its end.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit status. Mistakes are one line on standard error."""
    try:
        with warnings.catch_warnings(), _stopped_in_order():
            warnings.filterwarnings("always", category=NetinnetWarning)
            warnings.showwarning = functools.partial(_show_warning, warnings.showwarning)
            return _run(arguments)
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    except _Stopped as stopped:
        return _fail("stopped", 128 + stopped.number)


class _Stopped(BaseException):
    """A signal other than Ctrl-C's ended the command."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextlib.contextmanager
def _stopped_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, so that what is half done is cleaned up."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Stopped(number)

    previous: dict[int, Any] = {}
    try:
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            # One that is ignored stays ignored, as under nohup; only the main thread may ask.
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                with contextlib.suppress(ValueError):
                    previous[number] = signal.signal(number, stop)
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def _show_warning(
    others: Callable[..., None], message: Warning | str, category: type[Warning], *place: Any
) -> None:
    """A warning of ours as one line, those of `others` as they are shown without us."""
    if issubclass(category, NetinnetWarning):
        _fail(str(message))
    else:
        others(message, category, *place)


def _run(arguments: list[str]) -> int:
    try:
        _command(arguments)
    except NetinnetError as error:
        return _fail(str(error), getattr(error, "status", 2))
    except BrokenPipeError:
        # The reader (head, less) has gone; nothing more can be said to it.
        sys.stdout = None
    except OSError as error:
        return _fail(_failed(error))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return _fail("not enough memory; use a smaller batch size or smaller pictures")
    except SystemExit as request:
        return int(request.code or 0)
    return 0


def _command(arguments: list[str]) -> None:
    # Imported here, a tenth of a second, so that Ctrl-C meanwhile is caught too.
    from cyclopts import CycloptsError

    try:
        _app(next(iter(arguments), ""))(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise NetinnetError(" ".join(str(error).split())) from error


def _failed(error: OSError) -> str:
    cure = "; free some space" if error.errno in FULL else ""
    return f"{error.filename or 'the system'}: {error.strerror or error}{cure}"


def _fail(message: str, status: int = 2) -> int:
    warn(message)
    return status


if __name__ == "__main__":
    main()
