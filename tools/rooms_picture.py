"""Draw the rooms of the package from the import contract, as docs/images/rooms.svg.

    python tools/rooms_picture.py

The rows are the layers of pyproject.toml, which `make lint` holds against the code. The words in a
row are the first clause that docs/architecture.md has on that room.
"""

from __future__ import annotations

import re
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILE = ROOT / "docs" / "images" / "rooms.svg"
WIDTH, HEIGHT, GAP, MARGIN = 760, 40, 8, 44


def layers() -> list[list[str]]:
    """The rooms of each row, from the top; those of one row do not import each other."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (rooms,) = (c for c in content["tool"]["importlinter"]["contracts"] if c["id"] == "rooms")
    # In brackets: a room that may be missing.
    return [[part.strip().strip("()") for part in row.split(":")] for row in rooms["layers"]]


def descriptions() -> dict[str, str]:
    """What architecture.md says of each room, up to its first colon, semicolon or full stop."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    found = re.findall(r"^([a-z_]+)(?:/|\.py) {2,}(.+?)(?=[:;.](?: |$)|$)", text, re.MULTILINE)
    return {name: about.replace("`", "").strip() for name, about in found}


def drawn() -> str:
    """The picture: a row of boxes for each layer, and an arrow for the way that imports go."""
    about = descriptions()
    shown = [row for row in layers() if any(is_there(name) for name in row)]
    height = len(shown) * (HEIGHT + GAP) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" font-family="sans-serif" role="img">',
        "<title>The rooms of netinnet: each imports only what lies below it</title>",
        "<style>.box{fill:#eef0fb;stroke:#3f51b5}.name{font-weight:bold;font-size:13px;fill:#1a237e}"
        ".about{font-size:12px;fill:#333}.page{fill:#fff}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        f'<path d="M22 {GAP}V{height - 20}" stroke="#3f51b5" stroke-width="2"/>'
        f'<path d="M16 {height - 22}h12l-6 14z" fill="#3f51b5"/>',
        f'<text class="about" transform="translate(16 {height // 2}) rotate(-90)"'
        ' text-anchor="middle">imports</text>',
    ]
    for place, row in enumerate(shown):
        names = [name for name in row if is_there(name)]
        top = GAP + place * (HEIGHT + GAP)
        width = (WIDTH - MARGIN - GAP * len(names)) / len(names)
        for column, name in enumerate(names):
            left = MARGIN + column * (width + GAP)
            parts.append(
                f'<rect class="box" x="{left:.1f}" y="{top}" width="{width:.1f}"'
                f' height="{HEIGHT}" rx="4"/>'
            )
            alone = len(names) == 1
            x = left + 10 if alone else left + width / 2
            anchor = "" if alone else ' text-anchor="middle"'
            size = "" if alone or len(name) < 14 else ' style="font-size:11px"'
            parts.append(
                f'<text class="name" x="{x:.1f}" y="{top + 25}"{anchor}{size}>{escape(name)}</text>'
            )
            if alone:
                parts.append(
                    f'<text class="about" x="{left + 110:.1f}" y="{top + 25}">'
                    f"{escape(about.get(name, ''))}</text>"
                )
    return "\n".join([*parts, "</svg>", ""])


def is_there(name: str) -> bool:
    """Whether the package has the room: the contract allows for some that it may lack."""
    place = ROOT / "src" / "netinnet" / name
    return place.is_dir() or place.with_suffix(".py").is_file()


if __name__ == "__main__":
    FILE.write_text(drawn(), "utf-8")
