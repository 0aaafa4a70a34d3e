"""The figure of `nin summary --figure`: memory and multiply-accumulates, layer by layer."""

from __future__ import annotations

from typing import Any

from netinnet.costs.table import Costs
from netinnet.reports.figures import GREY, Format, image_bytes, new_figure, tidy

_DARK, _LIGHT = "#2f5f8f", "#d9c39a"
"""Two colours that differ in lightness, so that they do in grey too."""


def resource_bars(costs: Costs, form: Format = "svg") -> bytes:
    """Three columns with a row a layer, the first at the top: what it keeps, what is live, MACs.

    Memory is for the batch and the precision of `costs`, MACs are for one picture.
    """
    rows = costs.layers
    stored = [row.stored_bytes / 1e6 for row in rows]
    weights = [row.weight_bytes / 1e6 for row in rows]
    places = range(len(rows))
    with_weights = [i for i in places if weights[i]]
    figure = new_figure(10.0, 1.8 + 0.21 * len(rows))
    figure.suptitle(f"{costs.network.name}, batch {costs.batch:,}, {costs.precision}", fontsize=10)
    kept, live, macs = figure.subplots(1, 3, sharey=True)

    kept.barh(places, stored, height=0.7, color=_DARK, label="activations for the backward pass")
    sizes, starts = ([values[i] for i in with_weights] for values in (weights, stored))
    look: dict[str, Any] = {"color": _LIGHT, "edgecolor": GREY, "linewidth": 0.5, "hatch": "////"}
    look |= {"height": 0.7, "label": "weights and their gradients"}
    kept.barh(with_weights, sizes, left=starts, **look)
    kept.set_xlabel("kept by the layer (MB)")
    kept.set_yticks(places, [row.name for row in rows])
    kept.set_ylim(len(rows) - 0.4, -0.6)

    for name, stroke, colour, face in (
        ("training", "-o", GREY, "black"),
        ("prediction", "--s", _DARK, "white"),
    ):
        held = [getattr(row, f"{name}_bytes") / 1e6 for row in rows]
        look = {"color": colour, "linewidth": 1.2, "markersize": 4, "markerfacecolor": face}
        live.plot(held, places, stroke, **look, label=name)
    live.set_xlabel("live while the layer runs (MB)")
    macs.barh(places, [row.macs / 1e6 for row in rows], height=0.7, color=_DARK)
    macs.set_xlabel("MACs of one picture (10⁶)")
    for axes in (kept, live, macs):
        tidy(axes)
        axes.set_xlim(0, 1.04 * axes.dataLim.x1)
        axes.tick_params(axis="y", length=0, labelsize=8)
    for axes in (kept, live):
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=8.5, borderaxespad=0.2
        )
    return image_bytes(figure, form)
