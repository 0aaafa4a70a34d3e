"""The page that a browser gets."""

from __future__ import annotations

import contextlib
import html
import re
from collections.abc import Sequence
from urllib.parse import quote, urlencode
from weakref import WeakKeyDictionary

from netinnet.errors import ModelError
from netinnet.export.policy import policy
from netinnet.inference.predictor import Predictor
from netinnet.serve.catalog import Served
from netinnet.serve.limits import MAX_MAP_VALUES
from netinnet.serve.problems import Headers
from netinnet.weights import Model

_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem;"
    "color-scheme:light dark}code,pre{font-size:.9em}pre{overflow:auto}"
)
_FRAME = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{style}</style>
<h1>{title}</h1>
{content}
</html>
"""
MOST_PARAMETERS = 2_000_000
"""Of a model whose weights go into the page, 4 MB; with more of them the page asks the service."""
_PAGES: WeakKeyDictionary[Served, bytes] = WeakKeyDictionary()
"""Pages that were asked for; each goes when its model is replaced."""
_INLINE = re.compile(r"<(script|style)[^>]*>(.*?)</\1>", re.DOTALL)


def front_page(model: Served, host: str) -> bytes:
    """The page of a model, in UTF-8: that of `nin export`, which computes its answers itself.

    Of a large model, or one with weights too large for the page, the page asks the service; of one
    whose input is no picture it only says how the service is asked, at `host`.
    """
    if model.predictor.network.input.channels not in (1, 3):
        return _asked(model, host)
    if model not in _PAGES:
        _PAGES[model] = _made(model)
    return _PAGES[model]


def _made(model: Served) -> bytes:
    from netinnet.export import page  # what it needs would delay the service's start

    network = model.predictor.network
    count = sum(placed.layer.parameters(placed.input) for placed in network.placed_layers())
    if count <= MOST_PARAMETERS:
        with contextlib.suppress(ModelError):  # where float16 has no such large weights
            return _encoded(page.page(model.model, title=model.name))
    empty = Model(network, {}, calibration=model.predictor.calibration)
    maps = int(_can_answer_maps(model.predictor))
    query = _query(model=model.name, top=999_999, maps=maps, always_answer=1)
    remote = f"v1/predict?{query}"
    return _encoded(page.page(empty, title=model.name, remote=remote, version=model.version))


def _can_answer_maps(predictor: Predictor) -> bool:
    """Whether the network has class maps, and those of a picture are not too many values."""
    if (maps := predictor.maps) is None:
        return False
    size = len(predictor.network.classes) * maps.input.height * maps.input.width
    return size <= MAX_MAP_VALUES


def _asked(model: Served, host: str) -> bytes:
    classes = "".join(f"<li>{html.escape(name)}</li>" for name in model.predictor.network.classes)
    content = (
        f"<p>Version {model.version}. It knows these classes:</p><ul>{classes}</ul>"
        "<p>It is asked with an array:</p>"
        "<pre>curl -H 'Content-Type: application/x-npy' --data-binary @picture.npy "
        f"'http://{html.escape(host)}/v1/predict?{html.escape(_query(model=model.name))}'</pre>"
        '<p><a href="openapi.json">openapi.json</a> describes everything.</p>'
    )
    return _page(model.name, content)


def list_page(models: Sequence[Served]) -> bytes:
    """Where there are several models: a link to each one's page."""
    links = "".join(
        f'<li><a href="?{html.escape(_query(model=model.name))}">{html.escape(model.name)}</a></li>'
        for model in models
    )
    return _page("Models", f"<ul>{links}</ul>")


def _query(**options: str | int) -> str:
    """What stands behind a link's question mark; any name may be in it."""
    return urlencode(options, errors="surrogateescape", quote_via=quote)


def _page(title: str, content: str) -> bytes:
    return _encoded(_FRAME.format(title=html.escape(title), style=_STYLE, content=content))


def _encoded(text: str) -> bytes:
    """In UTF-8; what a file's name held that is no text must not stop the page."""
    return text.encode(errors="replace")


def headers(content: bytes) -> Headers:
    """What tells a browser to be careful with a page."""
    return [
        (b"content-security-policy", header_policy(content.decode()).encode()),
        (b"referrer-policy", b"no-referrer"),
        (b"x-frame-options", b"DENY"),
        (b"cache-control", b"no-cache"),
    ]


def header_policy(content: str) -> str:
    """That of the page's own scripts and styles, and that no other page frames it."""
    texts: dict[str, list[str]] = {"script": [], "style": []}
    for kind, text in _INLINE.findall(content):
        texts[kind].append(text)
    return f"{policy(texts['script'], texts['style'], asks=True)}; frame-ancestors 'none'"
