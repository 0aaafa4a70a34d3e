"""The page that a browser gets."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence

from netinnet.serve.catalog import Served
from netinnet.serve.problems import Headers

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
_INLINE = re.compile(rb"<(script|style)[^>]*>(.*?)</\1>", re.DOTALL)


def front_page(model: Served) -> bytes:
    """The page of a model, in UTF-8: what it knows and how it is asked."""
    classes = "".join(f"<li>{html.escape(name)}</li>" for name in model.predictor.network.classes)
    content = (
        f"<p>Version {model.version}. It knows these classes:</p><ul>{classes}</ul>"
        "<p>It is asked with a picture's file:</p>"
        "<pre>curl -H 'Content-Type: image/png' --data-binary @picture.png "
        f"'http://localhost:8000/v1/predict?model={html.escape(model.name)}'</pre>"
        '<p><a href="openapi.json">openapi.json</a> describes everything.</p>'
    )
    return _page(model.name, content)


def list_page(models: Sequence[Served]) -> bytes:
    """Where there are several models: a link to each one's page."""
    links = "".join(
        f'<li><a href="?model={html.escape(model.name)}">{html.escape(model.name)}</a></li>'
        for model in models
    )
    return _page("Models", f"<ul>{links}</ul>")


def _page(title: str, content: str) -> bytes:
    return _FRAME.format(title=html.escape(title), style=_STYLE, content=content).encode()


def headers(page: bytes) -> Headers:
    """What tells a browser to be careful with a page."""
    return [
        (b"content-security-policy", policy(page)),
        (b"referrer-policy", b"no-referrer"),
        (b"x-frame-options", b"DENY"),
        (b"cache-control", b"no-cache"),
    ]


def policy(page: bytes) -> bytes:
    """A Content-Security-Policy under which exactly the page's own scripts and styles run."""
    hashes: dict[bytes, list[str]] = {b"script": [], b"style": []}
    for kind, text in _INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(text).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
    scripts, styles = (" ".join(hashes[kind]) or "'none'" for kind in (b"script", b"style"))
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src 'self' data: "
        "blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ).encode()
