"""Per-pixel networks that are computed together: against float64, and when they are."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from netinnet import weights
from netinnet.errors import FrameworkError
from netinnet.frameworks.learner import OWN_FUNCTIONS, LearnerSettings
from netinnet.networks.blocks import Block
from netinnet.networks.layers import BatchNorm, Conv, Flatten, GlobalAvgPool, Layer, ReLU, Shape
from netinnet.networks.network import Network
from netinnet.networks.pixel_networks import pixel_networks
from netinnet.networks.zoo import resolve
from netinnet.optimizer import Optimizer
from tests.conftest import HAS_AVX2_COMPILER

torch: Any = pytest.importorskip("torch")

from netinnet.frameworks import pytorch, pytorch_learner, pytorch_pointwise  # noqa: E402
from netinnet.frameworks.compiled import Compiled, NotCompiled  # noqa: E402
from netinnet.frameworks.pytorch_pointwise import NetworkNorm  # noqa: E402

needs_compiler = pytest.mark.skipif(not HAS_AVX2_COMPILER, reason="no C compiler, or no AVX2")
LARGEST_ERROR = 5e-6
"""Of the largest value; as batch norm and convolution by themselves lose."""
NEAR = 3e-6


def network_of(channels: tuple[int, ...], *, has_relu: bool = True) -> Network:
    """Two pixels of a picture a batch norm at least, and one run of layers that end in a norm."""
    layers: list[Layer] = [BatchNorm()]
    for count in channels[1:]:
        layers += [ReLU(), Conv(count, bias=False), BatchNorm()]
    blocks = (
        Block("first", (Conv(channels[0], bias=False),)),
        Block("block", (*layers, *([ReLU()] if has_relu else []))),
        Block("head", (GlobalAvgPool(), Flatten())),
    )
    return Network("n", Shape(1, 5, 4), blocks, tuple(map(str, range(channels[-1]))))


def block_of(network: Network, *, together: bool) -> Any:
    """The middle block as the learner has it, with other weights than at the start."""
    drawn = np.random.default_rng(1)
    given = {
        name: drawn.uniform(0.5, 1.5, array.shape).astype(np.float32)
        if name.startswith("block.norm") and name.endswith("weight")
        else array + drawn.normal(0, 0.1, array.shape).astype(np.float32) ** 2
        for name, array in weights.initial(network, 0).items()
    }
    model = pytorch_learner.training_model(network, given, pytorch_learner.MODULES)
    block = model.get_submodule("block").train()
    if not together:
        for module in block.modules():
            if isinstance(module, NetworkNorm):
                module.behind = ()
    return block


def computed(block: Any, x: Any, gradient: Any) -> dict[str, Any]:
    """Outputs, the gradients of all that goes in, running statistics."""
    block, x = copy.deepcopy(block), x.clone().requires_grad_()
    y = block(x)
    trained = dict(block.named_parameters())
    found = torch.autograd.grad(y, [x, *trained.values()], gradient)
    made = dict(zip(["y", "x", *trained], [y.detach(), *found], strict=True))
    counts = "num_batches_tracked"  # which only PyTorch's own batch norm counts
    return made | {n: b for n, b in block.named_buffers() if not n.endswith(counts)}


def drawn(network: Network, count: int) -> tuple[Any, Any]:
    """Maps as a convolution leaves them, and gradients of what the block makes of them."""
    torch.manual_seed(count)
    placed = [p for p in network.placed_layers() if p.block == "block"]
    x = torch.randn(count, *placed[0].input) * 2 + 0.5
    return x.contiguous(memory_format=torch.channels_last), torch.randn(count, *placed[-1].output)


def nearest_to_a_kink(block: Any, x: Any) -> float:
    """How near to 0 the ReLUs' inputs come: nearer than rounding, another gradient is as right."""
    nearest = np.inf
    with torch.no_grad():
        for layer in copy.deepcopy(block):
            has_relu = getattr(layer, "has_relu", False)
            layer.has_relu = False
            x = layer(x)
            if has_relu:
                nearest = min(nearest, float(x.abs().min()))
                x = x.relu()
    return nearest


@needs_compiler
def test_it_is_compiled_where_it_can_be() -> None:
    """Else all that is about the compiled form would be left out in silence."""
    assert isinstance(pytorch_pointwise.functions(), Compiled), pytorch_pointwise.functions()


@needs_compiler
@given(
    channels=st.lists(st.integers(16, 70), min_size=2, max_size=4).map(tuple),
    pictures=st.sampled_from([1, 2, 3, 12, 31]),
    has_relu=st.booleans(),
    count=st.integers(1, 3),
)
def test_it_is_what_its_layers_are(
    channels: tuple[int, ...], pictures: int, has_relu: bool, count: int
) -> None:
    """Of any channels, positions and threads, as float64 has them."""
    network = network_of(channels, has_relu=has_relu)
    x, gradient = drawn(network, pictures)
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        found = computed(block_of(network, together=True), x, gradient)
    finally:
        torch.set_num_threads(before)
    alone = block_of(network, together=False).double()
    assume(nearest_to_a_kink(alone, x.double()) > NEAR)
    exact = computed(alone, x.double(), gradient.double())
    assert found.keys() == exact.keys()
    for name, values in exact.items():
        assert found[name].shape == values.shape, name
        error = (found[name] - values).abs().max() / values.abs().max()
        assert error <= LARGEST_ERROR, name


@needs_compiler
def test_threads_change_no_bit(threads: None) -> None:
    network = network_of((48, 36, 20))
    block, (x, gradient) = block_of(network, together=True), drawn(network, 31)
    found = []
    for count in (1, 2, 3, 7):
        torch.set_num_threads(count)
        found.append(computed(block, x, gradient))
    for other in found[1:]:
        for name, values in found[0].items():
            assert torch.equal(values, other[name]), name


@needs_compiler
def test_processors_with_and_without_avx512_make_the_same_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = network_of((48, 36, 20, 33))
    block, (x, gradient) = block_of(network, together=True), drawn(network, 7)
    wide = computed(block, x, gradient)
    narrow = pytorch_pointwise.functions("NARROW")
    assert isinstance(narrow, Compiled), narrow
    assert narrow.functions.lanes() == 8
    monkeypatch.setattr(pytorch_pointwise, "functions", lambda: narrow)
    for name, values in computed(block, x, gradient).items():
        assert torch.equal(values, wide[name]), name


@needs_compiler
def test_what_is_no_number_is_not_hidden() -> None:
    """A ReLU must not make 0 of it: a training that went wrong would go on."""
    network = network_of((16, 20))
    x, gradient = drawn(network, 3)
    x[1, 3, 2, 2] = np.nan
    found = computed(block_of(network, together=True), x, gradient)
    assert found["y"].isnan().all()  # through the batch norm's mean, then the convolution
    assert found["x"].isnan().any()
    gradient[0, 5, 1, 1] = np.nan
    x, _ = drawn(network, 3)
    found = computed(block_of(network, together=True), x, gradient)
    assert found["y"].isfinite().all()
    assert found["x"].isnan().all()


@needs_compiler
def test_gradients_of_any_layout_are_taken() -> None:
    network = network_of((16, 20))
    block, (x, gradient) = block_of(network, together=True), drawn(network, 3)
    one = torch.ones(()).expand_as(gradient)  # of one value, seen everywhere
    whole = computed(block, x, one.contiguous(memory_format=torch.channels_last))
    for name, values in computed(block, x.contiguous(), one).items():
        assert torch.equal(values, whole[name]), name


@needs_compiler
def test_a_second_gradient_is_refused() -> None:
    network = network_of((16, 20))
    block, (x, _) = block_of(network, together=True), drawn(network, 3)
    x.requires_grad_()
    reason = r"^a per-pixel network in training has no second gradient$"
    with pytest.raises(FrameworkError, match=reason):
        torch.autograd.grad(block(x).square().sum(), x, create_graph=True)


@needs_compiler
def test_another_default_device_is_not_taken() -> None:
    network = network_of((16, 20))
    block, (x, gradient) = block_of(network, together=True), drawn(network, 3)
    with torch.device("meta"):
        made = computed(block, x, gradient)
    for name, values in computed(block, x, gradient).items():
        assert torch.equal(values, made[name]), name


@pytest.mark.parametrize("how", ["in prediction", "in bfloat16", "in float64", "not compiled"])
def test_else_it_is_layer_by_layer(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of((16, 20, 18))
    together, alone = (block_of(network, together=which) for which in (True, False))
    x, gradient = drawn(network, 3)
    if how == "in prediction":
        together.eval()
        alone.eval()
    if how == "in float64":
        together, alone, x, gradient = (v.double() for v in (together, alone, x, gradient))
    if how == "not compiled":
        reason = NotCompiled("not here")
        monkeypatch.setattr(pytorch_pointwise, "functions", lambda: reason)
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "in bfloat16"):
        expected = computed(alone, x, gradient)
        for name, values in computed(together, x, gradient).items():
            assert torch.equal(values, expected[name]), name


RUNS = {
    "nin": [],
    "nin-small": [
        *("block1.norm1 block1.norm3", "block2.norm1 block2.norm3"),
        "block3.norm1 block3.norm2",  # the last convolution makes ten classes
    ],
    "nin-grouped-32": [f"block{i}.norm1 block{i}.norm2" for i in (2, *range(3, 9))],
    "lenet": [],
}


@pytest.mark.parametrize("name", RUNS)
def test_which_layers_they_are(name: str) -> None:
    found = [f"{run[0].name} {run[-1].name}" for run in pixel_networks(resolve(name))]
    assert found == RUNS[name]


@pytest.mark.parametrize(
    "middle",
    [
        (ReLU(), Conv(32)),
        (ReLU(), Conv(32, 1, 2, bias=False)),
        (ReLU(), Conv(32, padding=1, bias=False)),
        (ReLU(), Conv(32, 3, padding=1, bias=False)),
        (ReLU(), Conv(32, groups=2, bias=False)),
        (ReLU(), Conv(8, bias=False)),
        (ReLU(), Conv(300, bias=False)),
        (Conv(32, bias=False),),
        (ReLU(),),
    ],
    ids=str,
)
def test_other_layers_are_none(middle: tuple[Layer, ...]) -> None:
    layers = (Conv(32), BatchNorm(), *middle, BatchNorm())
    blocks = (Block("a", layers), Block("b", (Conv(10), GlobalAvgPool(), Flatten())))
    network = Network("n", Shape(1, 9, 9), blocks, tuple(map(str, range(10))))
    assert pixel_networks(network) == []


def learner(network: Network, **settings: Any) -> Any:
    made = LearnerSettings(network, Optimizer("sgd"), network.input, "cpu", 1, **settings)
    return pytorch.learner(made, weights.initial(network, 0))


def test_a_learner_says_what_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    network, found = resolve("nin-small"), pytorch_pointwise.functions()
    if isinstance(found, Compiled):
        assert learner(network).kernels["per-pixel network"] == f"compiled {found.digest}"
    assert "per-pixel network" not in learner(network, precision="bfloat16").kernels
    assert "per-pixel network" not in learner(network, shards=2).kernels
    assert "per-pixel network" not in learner(resolve("nin-mnist")).kernels
    monkeypatch.setattr(pytorch_pointwise, "functions", lambda: NotCompiled("not here"))
    without = learner(network)
    assert without.kernels["per-pixel network"] == OWN_FUNCTIONS
    said = "per-pixel network is not compiled, which would be faster: not here"
    assert said in without.cautions


@needs_compiler
@pytest.mark.parametrize("name", ["nin-small", "nin-residual", "nin-grouped-32"])
def test_a_step_is_that_of_single_layers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pools, residual blocks and groups around them: the same gradients, nearly."""
    network = resolve(name)
    images = np.random.default_rng(0).random((8, *network.input[1:], network.input[0]), np.float32)
    targets = np.eye(10, dtype=np.float32)[np.arange(8)]
    steps = []
    for _ in range(2):
        made = learner(network)
        logits, gradients = made._gradients(images, targets, 0)
        steps.append({"logits": logits, **gradients})
        monkeypatch.setattr(pytorch_pointwise, "functions", lambda: NotCompiled("not here"))
    for key, values in steps[1].items():
        # A value nearer to 0 than rounding may pass a ReLU in one of them.
        error = (steps[0][key] - values).norm() / values.norm()
        assert error < 0.05, key


@needs_compiler
@pytest.mark.parametrize("has_relu", [False, True])
def test_maps_of_one_value_give_no_gradient(has_relu: bool) -> None:
    """All of them lie on a ReLU's kink: both ways must agree on which side that is."""
    network = network_of((24, 36, 20), has_relu=has_relu)
    x, gradient = drawn(network, 3)
    x = (torch.rand(24)[:, None, None] + 0.5).expand_as(x)
    block = block_of(network, together=True)
    for norm in (module for module in block if isinstance(module, NetworkNorm)):
        torch.nn.init.zeros_(norm.bias)
    found = computed(block, x.contiguous(memory_format=torch.channels_last), gradient)
    # The batch norm behind takes the mean from a gradient, so that nothing is left but rounding.
    for name in ("norm1.bias", "norm2.bias"):
        assert found[name].abs().max() < 1, name


@needs_compiler
def test_other_types_behind_are_refused_as_by_pytorch() -> None:
    network = network_of((16, 20))
    block, (x, _) = block_of(network, together=True), drawn(network, 3)
    block.conv1.half()
    with pytest.raises(RuntimeError, match=r"expected scalar type|should be the same"):
        block(x)


@needs_compiler
def test_frozen_statistics_are_used() -> None:
    network = network_of((16, 20, 18))
    together, alone = (block_of(network, together=which) for which in (True, False))
    x, gradient = drawn(network, 3)
    for block in (together, alone):
        block.norm2.eval()
    expected = computed(alone, x, gradient)
    for name, values in computed(together, x, gradient).items():
        assert torch.equal(values, expected[name]), name


@needs_compiler
def test_pictures_without_a_gradient_are_taken() -> None:
    network = network_of((16, 20))
    block, (x, gradient) = block_of(network, together=True), drawn(network, 3)
    expected = computed(block, x, gradient)
    trained = dict(block.named_parameters())
    found = torch.autograd.grad(block(x), [*trained.values()], gradient)
    for name, values in zip(trained, found, strict=True):
        assert torch.equal(values, expected[name]), name
