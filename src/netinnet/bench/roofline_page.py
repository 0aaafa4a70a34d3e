"""The roofline as a table and a figure, for the page of `nin bench`."""

from __future__ import annotations

from collections.abc import Sequence

from netinnet import units
from netinnet.bench.roofline import Roofline
from netinnet.bench.tables import markdown_table
from netinnet.reports import figures

HEADERS = ("", "computed by", "ms", "GFLOP/s", "GB/s", "bound by", "of the roof")
SMALL_SHARE = 0.005
"""Layers that take less of the time are left out of the table, and said to be."""
COLOURS = {"arithmetic": "#0b5fa5", "memory": "#d1670b"}


def cells(roof: Roofline) -> list[tuple[str, ...]]:
    """A line of texts for each layer that counts, and their sum, below HEADERS."""
    total = sum(layer.seconds for layer in roof.layers)
    rows: list[tuple[str, ...]] = [
        (
            layer.name,
            layer.what,
            f"{1e3 * layer.seconds:.1f}",
            f"{layer.flops / layer.seconds / 1e9:.0f}" if layer.flops else "",
            f"{layer.bytes / layer.seconds / 1e9:.1f}",
            roof.bound(layer),
            units.percent(roof.least_seconds(layer) / layer.seconds, 0),
        )
        for layer in roof.layers
        if layer.seconds >= SMALL_SHARE * total
    ]
    if left := len(roof.layers) - len(rows):
        rest = sum(layer.seconds for layer in roof.layers if layer.seconds < SMALL_SHARE * total)
        rows.append((units.counted(left, "other layer"), "", f"{1e3 * rest:.1f}", *[""] * 4))
    flops = sum(layer.flops for layer in roof.layers)
    speed = f"{flops / total / 1e9:.0f}"
    return [*rows, ("all", "", f"{1e3 * total:.1f}", speed, "", "", units.percent(roof.share, 0))]


def title(roof: Roofline) -> str:
    return (
        f"{roof.network} in {roof.framework}, {units.counted(roof.pictures, 'picture')} forward "
        f"and backward, layer by layer"
    )


def section(roof: Roofline) -> str:
    """A network's layers as Markdown."""
    return (
        f"## {title(roof)}\n\n"
        f"`nin bench roofline`: {roof.peak / 1e9:.0f} GFLOP/s in a matrix product, "
        f"{roof.bandwidth / 1e9:.1f} GB/s in a copy. FLOPs are those of the plain sum, so that a "
        f"layer with fewer multiplications may be above the roof (WinogradConv); bytes are those "
        f"of each array read or written once each way.\n\n{markdown_table(HEADERS, cells(roof))}"
    )


def figure(roofs: Sequence[Roofline], form: figures.Format = "svg") -> bytes:
    """FLOP/s against FLOPs a byte: a point for each layer, and the roof, for each network."""
    image, grid = figures.new_grid(len(roofs), 2, 4.3, 3.6)
    for axes, roof in zip(grid.flat, roofs, strict=False):
        layers = [layer for layer in roof.layers if layer.flops]
        longest = max(layer.seconds for layer in layers)
        for layer in layers:
            axes.plot(
                layer.flops / layer.bytes,
                layer.flops / layer.seconds / 1e9,
                "o",
                markersize=4 + 10 * (layer.seconds / longest) ** 0.5,
                color=COLOURS[roof.bound(layer)],
                alpha=0.7,
            )
        low, high = (limit(layer.flops / layer.bytes for layer in layers) for limit in (min, max))
        ridge = roof.peak / roof.bandwidth
        x = sorted({low / 2, ridge, max(2 * high, 2 * ridge)})
        y = [min(roof.peak, value * roof.bandwidth) / 1e9 for value in x]
        axes.plot(x, y, color=figures.GREY, linewidth=1.2)
        for bound, colour in COLOURS.items():
            axes.plot([], [], "o", markersize=5, color=colour, label=f"bound by {bound}")
        axes.plot([], [], color=figures.GREY, linewidth=1.2, label="the roof")
        axes.legend(frameon=False, fontsize=8, loc="lower right")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("FLOPs a byte")
        axes.set_ylabel("GFLOP/s")
        axes.set_title(
            f"{roof.network}, {roof.framework}: each point a layer, its size the time", fontsize=9
        )
        figures.tidy(axes)
    return figures.image_bytes(image, form)
