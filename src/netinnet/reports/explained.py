"""The folder that `nin explain` writes: overlays, raw maps, a contact sheet, and the page."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from netinnet import units
from netinnet.errors import NetinnetError
from netinnet.files import folder_name, replacing, write_bytes, write_text
from netinnet.inference.explanation import Explanation
from netinnet.networks.network import Network
from netinnet.reports import overlays
from netinnet.reports.template import render

PAGE, SHEET = "index.html", "sheet.png"
MOST = 100
"""So many pictures, the first ones, are on the page and the contact sheet: memory holds them."""


@dataclass
class Folder:
    """Explanations written one by one; `close` writes what is about all of them.

    Args:
        path: The folder; made when the first file is written.
        network: The one that is explained.
        force: Whether files that are there may be written over.
        raw: Whether the maps of all classes are written too, as .npy.
        grid: Whether there is a contact sheet.

    Raises:
        NetinnetError: Where a file already exists, or can't be written.
    """

    path: Path
    network: Network
    force: bool = False
    raw: bool = False
    grid: bool = False
    failed: list[str] = field(default_factory=list)
    """Why pictures could not be explained: said on the page."""
    _names: set[str] = field(default_factory=set)
    _shown: list[dict[str, Any]] = field(default_factory=list)
    _tiles: list[list[Any]] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        for name in (PAGE, SHEET) if self.grid else (PAGE,):
            self._names.add(name)
            self._check(self.path / name)

    def add(self, name: str, explanation: Explanation) -> list[Path]:
        """Write a picture's files; returns its overlays' paths, in the classes' order.

        They are called after the picture and the class, with a number where that name was used.
        """
        # Cut, for file systems that take 255 bytes.
        stem = folder_name(PurePath(name).stem if name != "-" else "standard-input")[:100]
        paths = [
            self._unused(f"{stem}.{folder_name(shown.name)[:50]}", ".png")
            for shown in explanation.classes
        ]
        raw = [self._unused(stem, ".npy")] if self.raw else []
        for path in (*paths, *raw):
            self._check(path)
        panels = [overlays.panel(explanation, shown) for shown in explanation.classes]
        for path, content in zip(paths, panels, strict=True):
            write_bytes(path, content)
        for path in raw:
            with replacing(path) as file:
                np.save(file, explanation.maps)
        self._count += 1
        if len(self._shown) < MOST:
            encoded = [base64.b64encode(content).decode() for content in panels]
            rows = list(zip(explanation.classes, encoded, strict=True))
            self._shown.append({"name": name, "classes": rows, "refusal": explanation.refusal})
            if self.grid:
                self._tiles.append(overlays.tiles(name, explanation))
        return paths

    def close(self) -> Path | None:
        """Write the page and the contact sheet; returns the page's path, None without a picture."""
        if not self._shown:
            return None
        if self.grid:
            write_bytes(self.path / SHEET, overlays.sheet(self._tiles))
        page = render(
            "explained.html",
            title=f"Where {self.network.name} looked",
            subtitle=", ".join(self.network.classes),
            refresh=None,
            count=units.counted(self._count, "picture"),
            left_out=self._count - len(self._shown),
            failed=self.failed,
            pictures=self._shown,
        )
        write_text(self.path / PAGE, page)
        return self.path / PAGE

    def _unused(self, stem: str, suffix: str) -> Path:
        """A path that nothing has that was written before, in small letters or capitals."""
        name, n = f"{stem}{suffix}", 1
        while name.lower() in self._names:
            n += 1
            name = f"{stem}-{n}{suffix}"
        self._names.add(name.lower())
        return self.path / name

    def _check(self, path: Path) -> None:
        if not self.force and path.exists():
            raise NetinnetError(
                f"{path} already exists; choose another --output, or replace it with --force"
            )
