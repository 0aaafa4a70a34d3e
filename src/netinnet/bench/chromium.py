"""The machine's Chromium, in which the exported page is measured."""

from __future__ import annotations

import re
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome")


def program() -> str | None:
    """Its path; None where there is none, and Playwright's own may be."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def version() -> str | None:
    """What it says of itself, as in 150.0.7871.100; None where there is none."""
    if (path := program()) is None:
        return None
    command = [path, "--version"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    found = re.search(r"\d+(\.\d+)+", done.stdout)
    return found.group() if found else None
