"""`nin serve`: a model as a service over HTTP."""

from __future__ import annotations

import sys
from dataclasses import field, fields, make_dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from netinnet.cli.console import Switch, WholeNumber
from netinnet.errors import printable
from netinnet.serve.limits import Limits
from netinnet.serve.server import Started
from netinnet.serve.server import serve as run


def _limit_flags() -> Any:
    """Limits as the command's flags: whole numbers are not rounded."""
    own = [
        (limit.name, WholeNumber, field(default=limit.default))
        for limit in fields(Limits)
        if isinstance(limit.default, int)
    ]
    # Help is made of the one, and types are looked up by the other.
    about = {"__doc__": Limits.__doc__, "__module__": __name__}
    return make_dataclass(
        "LimitFlags", own, bases=(Limits,), namespace=about, frozen=True, kw_only=True
    )


if TYPE_CHECKING:
    LimitFlags = Limits
else:
    LimitFlags = _limit_flags()


def serve(
    models: Annotated[list[Path] | None, Parameter(negative=(), show_default=False)] = None,
    /,
    *,
    host: str = "127.0.0.1",
    port: WholeNumber = 8000,
    token: Annotated[
        str | None, Parameter(env_var="NETINNET_TOKEN", show_env_var=True, show_default=False)
    ] = None,
    allow_host: Annotated[list[str] | None, Parameter(negative=())] = None,
    allow_origin: Annotated[list[str] | None, Parameter(negative=())] = None,
    threads: WholeNumber | None = None,
    reload_seconds: float = 1.0,
    limits: Annotated[LimitFlags | None, Parameter(name="*", group="Limits")] = None,
    verbose: Switch = False,
    json: Switch = False,
) -> None:
    """Classify pictures over HTTP.

    There is a page at /, predictions at /v1/predict, and a description of everything at
    /openapi.json. When a model's file changes, it is loaded again; until then, the old model
    answers. Ctrl-C or SIGTERM stops the service after it has answered the requests under way.

    Parameters
    ----------
    models
        Run folders, model files (.safetensors or .onnx), or folders of those; the model shipped
        with netinnet if not given.
    host
        The address to listen on. If other machines can reach it, set a token.
    port
        The port to listen on; 0 for any free one, which is printed.
    token
        A secret that every request must contain, as in Authorization: Bearer TOKEN. Other users of
        this machine can see a command's flags, so it is better to set the variable.
    allow_host
        A further host name that requests may be sent to (their Host header); repeat the flag for
        more.
    allow_origin
        A site whose pages may read answers, as in https://example.org; repeat the flag for more.
    threads
        CPU threads of a model; one less than there are cores if not given.
    reload_seconds
        Seconds between two checks whether a model's file has changed; 0 for no checks.
    verbose
        Print one line per request on standard error, with nothing of its content.
    json
        Print as JSON the line that says where the service listens.
    """

    def say(line: str) -> None:
        print(f"nin: {line}", file=sys.stderr, flush=True)

    def started(service: Started) -> None:
        if service.is_open:
            say("anybody who can reach this address can use the service; --token demands a secret")
        names = [{"name": name, "version": version} for name, version in service.models]
        if json:
            print(dumps({"url": service.url, "port": service.port, "models": names}), flush=True)
        else:
            listed = ", ".join(f"{m['name']} ({m['version']})" for m in names)
            print(printable(f"{service.url} serves {listed}"), flush=True)

    run(
        models or (),
        host=host,
        port=port,
        token=token,
        allow_host=allow_host or (),
        allow_origin=allow_origin or (),
        threads=threads,
        reload_seconds=reload_seconds,
        limits=limits,
        started=started,
        say=say,
        log=say if verbose else None,
    )
