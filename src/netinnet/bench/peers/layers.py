"""What the measurements of single layers share: the step they are parts of, and what they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from netinnet.bench.peers.alone import flops
from netinnet.frameworks.learner import Learner
from netinnet.networks.layers import Layer
from netinnet.networks.network import Network, PlacedLayer
from netinnet.networks.rewrite import activation_behind_pool, fold_resize
from netinnet.training import parts, recipe

COPIED_VALUES = 2**25
"""Values whose copy is the memory's peak: they fit no cache."""


class Step(NamedTuple):
    """A training step: what trains, its network as it is computed, and pictures at a time."""

    learner: Learner
    network: Network
    pictures: int

    @classmethod
    def of(cls, request: dict[str, Any]) -> Step:
        """That of a recipe in a framework."""
        wanted = recipe.load(request["recipe"], framework=request["framework"])
        facts = parts.facts_of(wanted)
        network = parts.network_for(wanted, facts=facts)
        learner = parts.learner_for(wanted, network, facts)
        folded = fold_resize(network, facts.shape or network.input)
        pictures = min(learner.piece or wanted.batch_size, wanted.batch_size)
        return cls(learner, activation_behind_pool(folded or network), pictures)

    def work(self, layers: Sequence[PlacedLayer], is_first: bool) -> dict[str, int]:
        """FLOPs and bytes of layers forward and backward, each array once each way."""
        each = 2 if is_first else 3  # no gradient of the pictures
        values = sum(each * p.input.size + 2 * p.output.size for p in layers)
        macs = sum(p.layer.macs(p.input) for p in layers)
        return {"flops": 2 * each * self.pictures * macs, "bytes": 4 * self.pictures * values}

    def one_by_one(
        self, both_ways: Callable[[PlacedLayer, bool], float], left_out: tuple[type[Layer], ...]
    ) -> list[dict[str, Any]]:
        """Each layer but of some kinds, with its seconds; told whether x needs a gradient."""
        found: list[dict[str, Any]] = []
        for placed in self.network.placed_layers():
            if not isinstance(placed.layer, left_out):
                names = {"name": placed.name, "what": type(placed.layer).__name__}
                seconds = both_ways(placed, bool(found))
                found.append({**names, **self.work((placed,), not found), "seconds": seconds})
        return found

    def roofline(
        self,
        framework: str,
        layers: list[dict[str, Any]],
        multiply: Callable[[int], float],
        bandwidth: float,
    ) -> dict[str, Any]:
        """The fields of `roofline.Roofline`."""
        return {
            "framework": framework,
            "network": self.network.name,
            "pictures": self.pictures,
            "peak": flops(multiply),
            "bandwidth": bandwidth,
            "layers": layers,
        }
