"""Map or flat vector? A description has n×1×1 for both; arrays have four axes or two."""

from __future__ import annotations

from netinnet.networks.layers import Flatten, Linear
from netinnet.networks.network import Network

END = ""


def turns(network: Network) -> dict[str, str]:
    """What a back end must put in front of layers, by their names: `flat` or `map`.

    `flat` makes a vector n of a map n×1×1, `map` the reverse. `END` stands for the network's end,
    whose logits are always flat.
    """
    result: dict[str, str] = {}
    now = "map"
    for name, _, layer, *_ in network.placed_layers():
        if layer.takes not in ("any", now):
            result[name] = now = layer.takes
        if isinstance(layer, Flatten | Linear):
            now = "flat"
    if now == "map":
        result[END] = "flat"
    return result
