"""The command `nin`: its subcommands, and how errors leave it. Each subcommand is a module here."""

from __future__ import annotations

import sys

from cyclopts import App, CycloptsError

from netinnet.errors import NetinnetError
from netinnet.version import VERSION

app = App(
    name="nin",
    version=f"netinnet {VERSION}",
    help="Network in Network: train it, measure it, use it.",
    help_format="markdown",
    result_action="return_value",
)
# Named by text, so that a subcommand's module is imported only when it is used.
app.command("netinnet.cli.train:train", name="train", help="Train a network and watch it learn.")
app.command(
    "netinnet.cli.evaluate:evaluate", name="evaluate", help="Measure a trained model on a data set."
)
app.command("netinnet.cli.predict:predict", name="predict", help="Say what is in pictures.")
app.command(
    "netinnet.cli.summary:summary",
    name="summary",
    help="Show a network's layers and what they cost.",
)
app.command(
    "netinnet.cli.resources:resources",
    name="resources",
    help="Show what a network costs: computation and memory, computed and measured.",
)
app.command(
    "netinnet.cli.convert:convert",
    name="convert",
    help="Convert a model between frameworks' own files.",
)
app.command(
    "netinnet.cli.frameworks:frameworks",
    name="frameworks",
    help="List the frameworks: which are installed, and how to get the others.",
)
app.command("netinnet.cli.zoo:zoo", name="zoo", help="List the networks.")
app.command("netinnet.cli.data:data", name="data", help="List the data sets and check their files.")
app.command(
    "netinnet.cli.reliability:reliability",
    name="reliability",
    help="Train a recipe over many seeds and say how often it learns.",
)
app.command(
    "netinnet.cli.ablate:ablate",
    name="ablate",
    help="Change one thing of a NiN at a time and compare.",
)
app.command(
    "netinnet.cli.tune:tune",
    name="tune",
    help="Search for a better recipe, judged on a validation split.",
)
app.command(
    "netinnet.cli.compare:compare",
    name="compare",
    help="Compare networks: size, speed and accuracy.",
)


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit: 0, 2 for a user's mistake, 130 or 143 when interrupted."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit status. Mistakes are one line on standard error."""
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return _fail(" ".join(str(error).split()))
    except NetinnetError as error:
        return _fail(str(error), getattr(error, "status", 2))
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    except BrokenPipeError:
        # The reader (head, less) has gone; nothing more can be said to it.
        sys.stdout = None
    except OSError as error:
        return _fail(f"{error.filename or 'the system'}: {error.strerror or error}")
    except MemoryError:
        return _fail("not enough memory; a smaller batch size or picture would be right")
    except SystemExit as request:
        return int(request.code or 0)
    return 0


def _fail(message: str, status: int = 2) -> int:
    # One line, whatever stands in a name or a library's own message.
    print(f"nin: {' '.join(message.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
