"""What `nin summary --batch` says of a network: rows and totals, for text, JSON and figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from netinnet.costs import counts
from netinnet.costs.counts import VALUE_BYTES, LayerCost
from netinnet.errors import NetinnetError, check_name
from netinnet.networks.network import Network
from netinnet.optimizer import Optimizer

if TYPE_CHECKING:
    from netinnet.costs.measure import Measurement
    from netinnet.costs.memory import Moment

BATCH = 128
LARGEST_BATCH = 65_536
PRECISIONS = tuple(VALUE_BYTES)
PHASES = ("prediction", "training")


@dataclass(frozen=True)
class LayerRow(LayerCost):
    """One layer in the order in which they run: what it is for one picture, and this.

    FLOPs are for one picture, bytes for the whole batch; `weight_bytes` are those of the weights
    and their gradients.
    """

    prediction_flops: int
    training_flops: int
    weight_bytes: int
    stored_bytes: int
    training_bytes: int
    prediction_bytes: int


@dataclass(frozen=True)
class Totals(LayerCost):
    """The whole network. FLOPs are those of the batch, the update's matrix products included."""

    prediction_flops: int
    training_flops: int
    prediction_bytes: int
    training_bytes: int


@dataclass(frozen=True)
class Speed:
    """How fast a phase was measured, and what share that is of the machine's matrix products."""

    phase: str
    images_per_second: float
    flops_per_second: float
    percent_of_peak: float


@dataclass(frozen=True)
class Costs:
    """Everything about a network with a batch of pictures, an optimiser and a precision."""

    network: Network
    batch: int
    optimizer: Optimizer
    precision: str
    layers: tuple[LayerRow, ...]
    total: Totals
    training_peak: Moment
    prediction_peak: Moment

    def layer_sum(self, field: str) -> int:
        """The sum of a field over all layers."""
        return sum(getattr(row, field) for row in self.layers)

    def ratio(self, field: str, measured: Measurement) -> float | None:
        """Measured divided by computed; None where it was not measured, or computed as 0."""
        value, computed = getattr(measured, field), getattr(self.total, field)
        return value / computed if value is not None and computed else None

    def speeds(self, measured: Measurement) -> Iterable[Speed]:
        """Pictures and FLOPs a second of each phase; all FLOPs are the computed ones."""
        for phase in PHASES:
            images = getattr(measured, f"{phase}_images_per_second")
            flops = images * getattr(self.total, f"{phase}_flops") / self.batch
            yield Speed(phase, images, flops, 100 * flops / measured.peak_flops_per_second)


def costs(network: Network, batch: int, optimizer: Optimizer, precision: str = "float32") -> Costs:
    """Compute the costs of training and prediction from the description alone.

    Args:
        network: any network.
        batch: pictures in a batch, 1 to LARGEST_BATCH.
        optimizer: what updates the weights.
        precision: of all values, one of PRECISIONS.

    Raises:
        NetinnetError: for a batch or a precision that can't be.

    Example:
        >>> costs(resolve("lenet"), 256, Optimizer("sgd", 0.9)).total.training_bytes
        16003592
    """
    if not 1 <= batch <= LARGEST_BATCH:
        raise NetinnetError(f"--batch must be from 1 to {LARGEST_BATCH:,}, got {batch:,}")
    check_name("precision", precision, PRECISIONS)
    from netinnet.costs import memory as memory_model  # with NumPy, which plain counts need not

    memory = memory_model.model(network, batch, optimizer, precision)
    run = memory_model.executed(network)
    layers = tuple(
        LayerRow(
            **vars(cost),
            prediction_flops=2 * cost.macs,
            training_flops=2 * training_macs,
            weight_bytes=2 * VALUE_BYTES[precision] * cost.parameters,
            **vars(layer),
        )
        for cost, training_macs, layer in zip(
            counts.layer_costs(run), counts.training_macs(run), memory.layers, strict=True
        )
    )
    prediction, training = memory.prediction_peak, memory.training_peak
    flops = [batch * sum(getattr(row, f"{p}_flops") for row in layers) for p in PHASES]
    total = Totals(
        **vars(counts.total_cost(network)),
        prediction_flops=flops[0],
        training_flops=flops[1] + memory.update_flops,
        prediction_bytes=prediction.total,
        training_bytes=training.total,
    )
    return Costs(network, batch, optimizer, precision, layers, total, training, prediction)
