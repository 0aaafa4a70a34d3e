"""A page's content security policy: its own scripts and styles run, and nothing is asked."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence


def policy(scripts: Sequence[str], styles: Sequence[str], *, asks: bool) -> str:
    """What a page may do.

    Args:
        scripts: The texts of its scripts.
        styles: The texts of its styles.
        asks: Whether it may ask the server that it comes from.
    """
    rules = {
        "default-src": "'none'",
        "script-src": f"{_hashes(scripts)} 'wasm-unsafe-eval'",
        "style-src": _hashes(styles),
        "img-src": "data: blob:",
        "worker-src": "blob:",
        **({"connect-src": "'self'"} if asks else {}),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hashes(texts: Sequence[str]) -> str:
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
