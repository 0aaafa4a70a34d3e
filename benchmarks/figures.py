"""The pictures of the README and the docs.

python benchmarks/figures.py                        the diagrams: drawn from the descriptions
python benchmarks/figures.py runs/seeds/seed-0      and the curves and confusions of a finished run
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from netinnet.costs import counts
from netinnet.networks import zoo
from netinnet.reports import figures
from netinnet.training.events import Evaluation, of_kind
from netinnet.training.run import open_run

IMAGES = Path(__file__).parent.parent / "docs" / "images"

WIDTH, BOX_WIDTH, BOX_HEIGHT, GAP = 1060, 170, 32, 18
FILLS = {"conv": "#cfe2f3", "point": "#fbd9b5", "pool": "#e8e8e8", "dense": "#d5e8d4"}
WORDS = {
    "en": {
        "title": "A VGG block and a NiN block, and the networks VGG-11 and NiN",
        "block": "{} block",
        "conv": "{} conv, ReLU",
        "max": "max pool {}",
        "dropout": "dropout 0.5",
        "average": "global average pool",
        "dense": "dense {}",
        "parameters": "{} parameters",
        "comma": ",",
    },
    "pt-BR": {
        "title": "Um bloco VGG e um bloco NiN, e as redes VGG-11 e NiN",
        "block": "bloco {}",
        "conv": "convolução {}, ReLU",
        "max": "pooling máximo {}",
        "dropout": "dropout 0,5",
        "average": "pooling médio global",
        "dense": "densa {}",
        "parameters": "{} parâmetros",
        "comma": ".",
    },
}
Row = tuple[str, str, str]
"""A box of a diagram: its kind (a key of FILLS), its text, and a note beside it."""


def nin_block_diagram(language: str) -> str:
    """SVG: the two blocks, and the two networks with output shapes and parameters."""
    word = WORDS[language]

    def rows(network: str, labels: Sequence[tuple[str, str, str]]) -> list[Row]:
        costs = {cost.name: cost for cost in counts.block_costs(zoo.network(network))}
        found = []
        for kind, name, text in labels:
            cost = costs[name]
            channels, height, width = cost.output
            note = str(channels) if height == width == 1 else f"{channels}×{height}×{width}"
            if cost.parameters:
                number = f"{cost.parameters:,}".replace(",", word["comma"])
                note += f"\n{word['parameters'].format(number)}"
            found.append((kind, text, note))
        return found

    vgg = word["block"].format("VGG")
    nin = word["block"].format("NiN")
    vgg_rows = [("conv", f"block{i}", f"{vgg} {i}") for i in range(1, 6)]
    vgg_rows += [
        ("dense", name, word["dense"].format(features))
        for name, features in (("dense1", 4096), ("dense2", 4096), ("head", 10))
    ]
    kernels = ("11×11", "5×5", "3×3")
    nin_rows = []
    for i, kernel in enumerate(kernels, 1):
        nin_rows.append(("point", f"block{i}", f"{nin} {i}: {kernel}"))
        nin_rows.append(("pool", f"pool{i}", word["max"].format("3×3")))
    nin_rows += [
        ("pool", "dropout", word["dropout"]),
        ("point", "block4", f"{nin} 4: 3×3"),
        ("pool", "head", word["average"]),
    ]
    columns: list[tuple[int, str, list[Row]]] = [
        (
            20,
            vgg,
            [
                ("conv", word["conv"].format("3×3"), ""),
                ("conv", word["conv"].format("3×3"), ""),
                ("pool", word["max"].format("2×2"), ""),
            ],
        ),
        (
            210,
            nin,
            [
                ("conv", word["conv"].format("k×k"), ""),
                ("point", word["conv"].format("1×1"), ""),
                ("point", word["conv"].format("1×1"), ""),
            ],
        ),
        (410, "VGG-11", rows("vgg11", vgg_rows)),
        (740, "NiN", rows("nin", nin_rows)),
    ]
    tallest = max(len(boxes) for _, _, boxes in columns)
    height = 60 + tallest * (BOX_HEIGHT + GAP)
    parts = [part for x, title, boxes in columns for part in _column(x, title, boxes)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="13" '
            f'role="img">',
            f"<title>{escape(word['title'])}</title>",
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _column(x: int, title: str, boxes: Sequence[Row]) -> list[str]:
    """Boxes under each other, an arrow between two of them."""
    middle = x + BOX_WIDTH // 2
    parts = [_text(middle, 28, title, 'text-anchor="middle" font-weight="bold" font-size="15"')]
    for i, (kind, text, note) in enumerate(boxes):
        top = 46 + i * (BOX_HEIGHT + GAP)
        parts.append(
            f'<rect x="{x}" y="{top}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="5" '
            f'fill="{FILLS[kind]}" stroke="#444444"/>'
        )
        parts.append(_text(middle, top + 21, text, 'text-anchor="middle"'))
        lines = note.split("\n")
        for j, line in enumerate(lines):
            y = top + 21 + 14 * j - 7 * (len(lines) - 1)
            parts.append(_text(x + BOX_WIDTH + 8, y, line, 'fill="#444444" font-size="11"'))
        if i + 1 < len(boxes):
            foot = top + BOX_HEIGHT
            parts.append(
                f'<path d="M{middle} {foot}v{GAP - 5}m-4 0h8l-4 5z" stroke="#444444" '
                f'fill="#444444"/>'
            )
    return parts


def _text(x: int, y: int, text: str, attributes: str) -> str:
    return f'<text x="{x}" y="{y}" {attributes}>{escape(text)}</text>'


def draw_diagrams() -> None:
    for language, name in (("en", "nin-block.svg"), ("pt-BR", "nin-block.pt-BR.svg")):
        (IMAGES / name).write_text(nin_block_diagram(language), "utf-8")


def draw_run(folder: Path) -> None:
    run = open_run(folder)
    events = run.events()
    (IMAGES / "learning-curves.png").write_bytes(figures.learning_curves(events, "png"))
    last = of_kind(events, Evaluation)[-1]
    classes = run.model().network.classes
    (IMAGES / "confusion.png").write_bytes(
        figures.confusion(last.figures["test"]["confusion"], classes, "png")
    )


def main() -> None:
    draw_diagrams()
    if len(sys.argv) > 1:
        draw_run(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
