"""Memory of a training step and of a prediction, computed from the description alone.

What is modelled is the step of `nin train` in PyTorch on a CPU: the network with its activations
behind the max pools (`rewrite.activation_behind_pool`), ReLU in place, a batch at the network's own
input size. Each tensor is followed from the layer that makes it to its last use:

- Forward, a layer makes its output. What its backward pass will read is stored: a convolution, a
  linear layer, batch norm and a pool keep their input, ReLU and sigmoid their output, a max pool
  the positions of its maxima (int64), dropout its mask, batch norm two statistics a channel. What
  two layers keep is there once. Everything else goes when the next layer has read it; the input of
  a block is held until the block is done.
- A residual block's output is one tensor more; the gradient of its output is there until that of
  its input is made.
- Backward, a layer has the gradient of its output, makes that of its input, and the gradients of
  its weights, which stay. What only this layer had stored then goes. The first layer with weights
  makes no gradient of its input.
- The update has all gradients, and what the update rule makes (`costs.optimizer`).
- A prediction stores nothing: it has the weights, a layer's input and output, its block's input.
- Workspace: a convolution copies its kernel into the library's own layout, backward the kernel's
  gradient too; one by tiles (`networks/tiles.py`) has transformed weights beside the copy. A max
  pool makes its positions in prediction too. Batch norm is the compiled one (elsewhere it makes the
  gradient of its input twice). Buffers of single threads are not counted; they do not grow with the
  batch (about 5 MB a thread for the chapter's 11×11 convolution, far less for others).
- A ReLU right behind batch norm is part of it in training. The layers of a per-pixel network
  (`networks/pixel_networks.py`) are computed together in training in float32: what its batch norms
  but the last make is never in memory. Backward, what these layers have stored and the gradient of
  their output stay until all are done; the gradient of their input takes the place of one that is
  there. They need copies of the weights, sums of each block of rows, and in parts, the weights'
  gradient.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from netinnet.costs import optimizer as optimizer_cost
from netinnet.costs.counts import VALUE_BYTES
from netinnet.layout import native_tensors
from netinnet.networks.layers import FLOAT32_BYTES, BatchNorm, Conv, Needs, ReLU
from netinnet.networks.network import Network, PlacedLayer
from netinnet.networks.pixel_networks import PARTS, ROWS, pixel_networks
from netinnet.networks.rewrite import activation_behind_pool
from netinnet.optimizer import Optimizer
from netinnet.weights import shapes


@dataclass(frozen=True)
class Moment:
    """The bytes that are live while one layer runs, or while one tensor is updated."""

    phase: str
    """`prediction`, or the phase of a training step: `forward`, `backward` or `update`."""
    at: str
    """The layer, or the tensor that is updated."""
    weights: int
    """All weights, running statistics included."""
    input: int
    """The batch of pictures."""
    gradients: int = 0
    """Gradients of the weights made so far."""
    optimizer_state: int = 0
    stored: int = 0
    """Activations, positions and masks for the layers whose backward pass is still to come."""
    passing: int = 0
    """Activations, or their gradients, on the way from one layer to the next."""
    workspace: int = 0
    """What the layer or the update needs only while it runs."""

    @property
    def total(self) -> int:
        return sum(value for value in vars(self).values() if isinstance(value, int))


@dataclass(frozen=True)
class LayerMemory:
    """One layer's part, in bytes for the whole batch."""

    stored_bytes: int
    """What this layer makes and leaves for backward passes."""
    training_bytes: int
    """All that is live while it runs in a training step: the larger of its two passes."""
    prediction_bytes: int
    """All that is live while it runs in a prediction."""


@dataclass(frozen=True)
class MemoryModel:
    """All moments of a training step and of a prediction, and each layer's part."""

    training: tuple[Moment, ...]
    prediction: tuple[Moment, ...]
    layers: tuple[LayerMemory, ...]
    update_flops: int
    """FLOPs of the matrix products of one update of all weights; only Muon has any."""

    @property
    def training_peak(self) -> Moment:
        return max(self.training, key=lambda moment: moment.total)

    @property
    def prediction_peak(self) -> Moment:
        return max(self.prediction, key=lambda moment: moment.total)


def executed(network: Network) -> Network:
    """The network as the learner runs it: the layers and names that the figures are for."""
    return activation_behind_pool(network)


def model(
    network: Network, batch: int, optimizer: Optimizer, precision: str = "float32"
) -> MemoryModel:
    """Memory for a batch of that many pictures. `precision` is a key of VALUE_BYTES."""
    value = VALUE_BYTES[precision]
    run = executed(network)
    roles = {n: t.role for n, t in native_tensors(network, "pytorch").items() if t.role}
    gradients = {name: value * math.prod(role.shape) for name, role in roles.items()}
    state = sum(optimizer.state_size(role) * gradients[name] for name, role in roles.items())
    resting = Moment(
        phase="prediction",
        at="",
        weights=value * sum(map(math.prod, shapes(network).values())),
        input=value * batch * network.input.size,
    )
    prediction = tuple(_forward(_flow(run, batch, value, training=False), resting))
    flow = _flow(run, batch, value, training=True)
    resting = replace(resting, phase="forward", optimizer_state=state)
    logits = value * batch * network.output.size
    forward = tuple(_forward(flow, resting))
    backward = tuple(_backward(flow, resting, gradients, logits))
    resting = replace(resting, phase="update", gradients=sum(gradients.values()), passing=logits)
    updates = list(optimizer_cost.updates(optimizer, roles))
    update = tuple(replace(resting, at=u.name, workspace=value * u.values) for u in updates)
    layers = tuple(
        LayerMemory(
            _stored_by(flow, i),
            max(m.total for m in forward + backward if m.at == moment.at),
            moment.total,
        )
        for i, moment in enumerate(prediction)
    )
    update_flops = sum(u.flops for u in updates)
    return MemoryModel(forward + backward + update, prediction, layers, update_flops)


@dataclass(frozen=True)
class _Tensor:
    """An activation, by the number of the layer that makes it; -1 is the input of the network.

    The input is counted by itself, so here it has no bytes.
    """

    maker: int
    bytes: int
    is_sum: bool = False
    """Whether it is the output of a residual block, not of its last layer."""


@dataclass(frozen=True)
class _Place:
    """A layer in the flow of activations."""

    layer: PlacedLayer
    needs: Needs
    reads: _Tensor
    makes: _Tensor
    keeps: frozenset[_Tensor]
    first: int
    """The first of the layers that are computed together with this one; itself, if none are."""
    last: int


def _flow(network: Network, batch: int, value: int, training: bool) -> list[_Place]:
    """The layers in order, with the tensors that they read, make and keep."""
    flow: list[_Place] = []
    x = _Tensor(-1, 0)
    start: _Tensor | None = None
    has_runs = training and value == FLOAT32_BYTES
    run_of = {p.name: run for run in pixel_networks(network) if has_runs for p in run}
    for i, placed in enumerate(network.placed_layers()):
        needs = placed.layer.needs(placed.input, batch, value, training)
        place, count = 0, 1
        if training and _is_part_of_norm(placed, flow):
            needs = Needs(0, 0)
        if run := run_of.get(placed.name):
            place, count = run.index(placed), len(run)
            needs = _needs_together(needs, placed, batch, is_last=place == count - 1)
        start = x if placed.opens else start
        size = value * batch * placed.output.size
        # What is added later stays as it is: a ReLU does not work in its place.
        output = size if needs.keeps_output and x == start else needs.output
        y = _Tensor(i, output) if output else x
        kept = {x} if needs.keeps_input and training else set()
        if needs.keeps_output and training:
            kept.add(y)
        made = _Tensor(i, size, is_sum=True) if placed.closes else y
        if placed.closes and y not in {x, *kept}:
            # The layer's own output is there beside the sum, its input only where that is kept.
            more = y.bytes if x in {start, *kept} else max(0, y.bytes - x.bytes)
            needs = needs._replace(forward=needs.forward + more)
        ends = (i - place, i - place + count - 1)
        flow.append(_Place(placed, needs, x, made, frozenset(kept), *ends))
        x = made
    return flow


def _is_part_of_norm(placed: PlacedLayer, before: list[_Place]) -> bool:
    """Whether it is a ReLU right behind batch norm, which computes it."""
    if type(placed.layer) is not ReLU or not before:
        return False
    previous = before[-1].layer
    return isinstance(previous.layer, BatchNorm) and previous.block == placed.block


def _needs_together(needs: Needs, placed: PlacedLayer, batch: int, is_last: bool) -> Needs:
    """What a layer of a per-pixel network needs, in float32.

    Only convolutions and the last batch norm make a map.
    """
    if isinstance(placed.layer, Conv):
        weights = math.prod(placed.layer.tensors(placed.input)[0].shape)
        blocks = batch * placed.output.height * placed.output.width / ROWS
        forward = weights + 2 * blocks * placed.output.channels
        backward = (1 + PARTS) * weights + 2 * blocks * placed.input.channels
        return needs._replace(
            forward=int(FLOAT32_BYTES * forward), backward=int(FLOAT32_BYTES * backward)
        )
    if isinstance(placed.layer, BatchNorm):
        return needs._replace(
            output=needs.output if is_last else 0, gradient=0, keeps_more=2 * needs.keeps_more
        )
    return needs


def _stored(flow: list[_Place]) -> tuple[set[_Tensor], int]:
    """The tensors that these layers keep, and the bytes of everything that they keep."""
    tensors = set(itertools.chain.from_iterable(place.keeps for place in flow))
    more = sum(place.needs.keeps_more for place in flow)
    return tensors, more + sum(tensor.bytes for tensor in tensors)


def _stored_by(flow: list[_Place], i: int) -> int:
    """What layer `i` makes that is stored."""
    tensors, _ = _stored(flow)
    return flow[i].needs.keeps_more + sum(t.bytes for t in tensors if t.maker == i)


def _forward(flow: list[_Place], resting: Moment) -> Iterator[Moment]:
    held = flow[0].reads
    for i, place in enumerate(flow):
        if place.layer.block != flow[i - 1].layer.block:
            held = place.reads
        tensors, stored = _stored(flow[: i + 1])
        passing = {held, place.reads, place.makes} - tensors
        yield replace(
            resting,
            at=place.layer.name,
            stored=stored,
            passing=sum(tensor.bytes for tensor in passing),
            workspace=place.needs.forward,
        )


def _backward(
    flow: list[_Place], resting: Moment, gradients: Mapping[str, int], logits: int
) -> Iterator[Moment]:
    """From the loss back to the first layer with weights, if there is one.

    The logits stay: a step returns them.
    """
    own = [
        sum(size for name, size in gradients.items() if name.startswith(f"{place.layer.name}."))
        for place in flow
    ]
    first = next((i for i, size in enumerate(own) if size), len(own))
    # Gradients by the number of the layer that makes them, as several names may mean one.
    arriving, added, staying = _Tensor(len(flow), logits), None, None
    for i in range(len(flow) - 1, first - 1, -1):
        place, needs = flow[i], flow[i].needs
        leaving = _Tensor(i, needs.gradient) if needs.gradient and i > first else None
        there = {arriving, leaving, added, staying} - {None}
        yield replace(
            resting,
            phase="backward",
            at=place.layer.name,
            gradients=sum(own[i:]),
            stored=_stored(flow[: place.last + 1])[1],
            passing=logits + sum(gradient.bytes for gradient in there if gradient),
            workspace=needs.backward,
        )
        if place.layer.closes:
            added = arriving  # for the block's input, too
        if place.layer.opens:
            added = None
        if place.first < place.last and leaving:
            staying = staying or arriving
        if i == place.first:
            staying = None
        arriving = leaving or arriving
