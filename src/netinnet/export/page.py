"""`nin export MODEL page.html`: one file that shows a model and computes its answers.

The page asks nobody for anything: description, weights, class names, words and code are in it, and
its content security policy allows no request. See `browser/` for its parts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from netinnet.costs import counts
from netinnet.data.source import Progress
from netinnet.errors import ModelError
from netinnet.export import browser_model, card, check, examples
from netinnet.export.browser_model import PRECISIONS
from netinnet.export.card import Section
from netinnet.export.examples import Example
from netinnet.export.options import Exported, Options
from netinnet.export.policy import policy
from netinnet.files import write_text
from netinnet.networks.network import Network
from netinnet.version import VERSION
from netinnet.weights import Model

ENGINE = ("pixels.js", "network.js", "engine.js")
"""What computes an answer; a worker runs the same text."""
APP = ("words.js", "overlay.js", "asking.js", "orientation.js", "sources.js", "app.js")
CHANNELS = (1, 3)
LARGE = 10_000_000
"""Bytes of a page that takes long to send and to open."""


def page(
    model: Model,
    *,
    title: str | None = None,
    precision: str = "float16",
    shown: Sequence[Example] = (),
    card: Sequence[Section] = (),
    remote: str | None = None,
    version: str | None = None,
) -> str:
    """The page of a model as HTML.

    Args:
        model: Any model whose input is grey or colour.
        title: The page's heading; the network's name if not given.
        precision: Of the weights in the page: float16 (half the size) or float32.
        shown: Example pictures, to try.
        card: Sections of the model's card.
        remote: Where a service answers, instead of the page itself: the page then has no weights.
        version: Of the model there; the page takes no answer of another one.

    Raises:
        ModelError: For an input of other channels than 1 or 3, or weights too large for float16.

    Example:
        >>> Path("page.html").write_text(page(netinnet.load()), "utf-8")
    """
    data = _data(model, precision, remote, version)
    return _html(model.network, data, title, shown, card)


def _data(
    model: Model, precision: str, remote: str | None = None, version: str | None = None
) -> dict[str, Any]:
    """What the page's scripts know: see `page`."""
    network = model.network
    if network.input.channels not in CHANNELS:
        raise ModelError(
            f"{network.name}: a page takes pictures, grey or colour, not {network.input.channels} "
            f"channels"
        )
    if remote is None:
        return browser_model.data(model, read("kernel.wasm"), precision)
    return {**browser_model.about(model, precision), "remote": remote, "version": version}


def _html(
    network: Network,
    data: dict[str, Any],
    title: str | None,
    shown: Sequence[Example],
    card: Sequence[Section],
) -> str:
    rows = [
        {
            "name": row.name,
            "what": row.description,
            "output": str(row.output),
            "parameters": f"{row.parameters:,}",
        }
        for row in counts.layer_costs(network)
    ]
    more = {
        "parameters": counts.total_cost(network).parameters,
        "examples": [example._asdict() for example in shown],
    }
    style, engine, app = text("style.css"), *(script(names) for names in (ENGINE, APP))
    result: str = _template().render(
        title=title or network.name,
        policy=policy([engine, app], [style], asks="remote" in data),
        style=style,
        model=_json({**data, **more}),
        engine=engine,
        app=app,
        rows=rows,
        card=card,
        remote="remote" in data,
        version=VERSION,
    )
    return result


def export(path: Path, model: Model, options: Options, on_progress: Progress) -> Exported:
    """Write a model's page, once what it holds gives the network's logits: see `writing.export`.

    Raises:
        ModelError: For int8, which a page does not compute, and as `page` does.
    """
    if (precision := options.precision or PRECISIONS[0]) not in PRECISIONS:
        known = " or ".join(PRECISIONS)
        raise ModelError(f"{path}: a page's weights are {known}, not {precision}")
    notes: list[str] = []
    shown = examples.read(options.examples, notes.append) if options.examples else []
    on_progress("checking the page's weights", 0, None)
    data = _data(model, precision)
    held = Model(model.network, browser_model.weights_in(data, model.network))
    samples = check.samples(model.network)
    difference = check.against_oracle(path, model, check.by_numpy(held), precision, samples)
    sections = card.card(model, options.run, options.licence).sections
    text = _html(model.network, data, options.title, shown, sections)
    write_text(path, text)
    size = len(text.encode())
    kind = f"page, {precision} weights"
    if size > LARGE:
        notes.append("a large page: nin serve answers for large models without one")
    if options.title is None:
        notes.append(f"its heading is {model.network.name}; --title gives it another")
    return Exported(path, kind, size, difference=difference, notes=tuple(notes))


def script(names: Sequence[str]) -> str:
    """Some of the scripts as one, without comments and indentation; it ends no HTML element."""
    lines = (line.strip() for name in names for line in text(name).splitlines())
    kept = (
        line for line in lines if line and not line.startswith("//") and line != '"use strict";'
    )
    return '"use strict";\n' + "\n".join(kept).replace("</", "<\\/")


def _json(data: Any) -> str:
    """JSON that can stand in a script element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(text("page.html"))


def text(name: str) -> str:
    return read(name).decode()


def read(name: str) -> bytes:
    return (resources.files("netinnet.export") / "browser" / name).read_bytes()
