"""`nin serve`: a model as a service over HTTP."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from netinnet.cli.console import Switch, WholeNumber
from netinnet.serve.limits import Limits
from netinnet.serve.server import Started
from netinnet.serve.server import serve as run


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
    limits: Annotated[Limits | None, Parameter(name="*", group="Limits")] = None,
    verbose: Switch = False,
    json: Switch = False,
) -> None:
    """Answer over HTTP what is in pictures.

    A page at /, predictions at /v1/predict, a description of everything at /openapi.json. A model's
    file that changes is loaded again while the old one goes on answering. Ctrl-C or SIGTERM ends
    when the requests under way are answered.

    Parameters
    ----------
    models
        Run folders, model files (.safetensors or .onnx), or folders of those; the model shipped
        with netinnet if not given.
    host
        The address to listen at. With another one than this machine's own, set a token.
    port
        The port to listen at; 0 for any free one, which is printed.
    token
        A secret that every request must show, as in Authorization: Bearer TOKEN. Others can see a
        command's flags: better set the variable.
    allow_host
        One more name that requests may be sent to (their Host header); give it again for more.
    allow_origin
        A site whose pages may read answers, as in https://example.org; give it again for more.
    threads
        CPU threads of a model; one less than there are cores if not given.
    reload_seconds
        How often to look whether a model's file has changed; 0 for never.
    verbose
        Print a line a request on standard error, without anything of its content.
    json
        Print the line that says where it listens as JSON.
    """

    def say(line: str) -> None:
        print(f"nin: {line}", file=sys.stderr, flush=True)

    def started(service: Started) -> None:
        if service.is_open:
            say("anybody who reaches this address may ask; --token asks for a secret")
        names = [{"name": name, "version": version} for name, version in service.models]
        if json:
            print(dumps({"url": service.url, "port": service.port, "models": names}), flush=True)
        else:
            listed = ", ".join(f"{m['name']} ({m['version']})" for m in names)
            print(f"{service.url} serves {listed}", flush=True)

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
