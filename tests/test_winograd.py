"""Convolutions in training with fewer multiplications: against float64, and when they are used."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netinnet import weights
from netinnet.errors import FrameworkError
from netinnet.frameworks.learner import OWN_FUNCTIONS, LearnerSettings
from netinnet.networks.layers import Conv, Shape
from netinnet.networks.network import Network
from netinnet.networks.tiles import WINDOWS
from netinnet.networks.zoo import resolve
from netinnet.optimizer import Optimizer
from tests.conftest import HAS_AVX2_COMPILER

torch: Any = pytest.importorskip("torch")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from netinnet.frameworks import pytorch, pytorch_winograd  # noqa: E402
from netinnet.frameworks.compiled import Compiled, NotCompiled  # noqa: E402
from netinnet.frameworks.pytorch_winograd import WinogradConv  # noqa: E402

needs_compiler = pytest.mark.skipif(not HAS_AVX2_COMPILER, reason="no C compiler, or no AVX2")
LARGEST_ERROR = 2e-5
"""Of the largest value; about 1e-6 is lost by the sum itself."""


def tensors(
    channels: int, outputs: int, window: int, size: tuple[int, int], padding: int, *, bias: bool
) -> tuple[Any, Any, Any]:
    """A convolution in training, pictures as a ReLU leaves them, and gradients of its outputs."""
    torch.manual_seed(channels + window)
    conv = WinogradConv(channels, outputs, window, padding=padding, bias=bias)
    conv.to(memory_format=torch.channels_last)
    x = torch.randn(3, channels, *size).relu().contiguous(memory_format=torch.channels_last)
    out = (side + 2 * padding - window + 1 for side in size)
    return conv, x, torch.randn(3, outputs, *out)


def computed(conv: Any, x: Any, gradient: Any) -> dict[str, Any]:
    """What a convolution makes: outputs and the gradients of all that goes in."""
    x = x.clone().requires_grad_()
    y = conv(x)
    names = ["weight", *(["bias"] if conv.bias is not None else [])]
    found = torch.autograd.grad(y, [x, *(getattr(conv, name) for name in names)], gradient)
    return dict(zip(["y", "x", *names], [y.detach(), *found], strict=True))


@needs_compiler
def test_it_is_compiled_where_it_can_be() -> None:
    """Else all that is about the compiled form would be left out in silence."""
    assert isinstance(pytorch_winograd.functions(), Compiled), pytorch_winograd.functions()


@needs_compiler
@pytest.mark.parametrize("window", WINDOWS)
@given(
    channels=st.sampled_from([16, 32, 48, 80, 96, 112, 192]),
    outputs=st.sampled_from([16, 32, 48, 64, 80, 96, 128]),
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    bias=st.booleans(),
    count=st.integers(1, 3),
    data=st.data(),
)
def test_it_is_the_convolution(
    window: int,
    channels: int,
    outputs: int,
    height: int,
    width: int,
    bias: bool,
    count: int,
    data: st.DataObject,
) -> None:
    """Outputs and gradients of any shape, padding and number of threads, as float64 has them."""
    fewest = max(0, -(-(window - min(height, width)) // 2))
    padding = data.draw(st.integers(fewest, window - 1), label="padding")
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        conv, x, gradient = tensors(channels, outputs, window, (height, width), padding, bias=bias)
        found = computed(conv, x, gradient)
    finally:
        torch.set_num_threads(before)
    exact = computed(conv.double(), x.double(), gradient.double())
    assert found.keys() == exact.keys()
    for name, values in exact.items():
        assert found[name].shape == values.shape
        error = (found[name] - values).abs().max() / values.abs().max()
        assert error <= LARGEST_ERROR, name


@needs_compiler
@pytest.mark.parametrize("window", WINDOWS)
def test_threads_change_no_bit(window: int, threads: None) -> None:
    conv, x, gradient = tensors(96, 128, window, (13, 11), 1, bias=True)
    found = []
    for count in (1, 2, 3, 7):
        torch.set_num_threads(count)
        found.append(computed(conv, x, gradient))
    for other in found[1:]:
        for name in ("y", "x", "weight"):  # the bias's gradient is PyTorch's sum
            assert torch.equal(found[0][name], other[name]), name


@needs_compiler
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("outputs", [32, 48, 64, 80])
def test_processors_with_and_without_avx512_make_the_same_bits(
    outputs: int, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    conv, x, gradient = tensors(80, outputs, window, (9, 14), 2, bias=True)
    wide = computed(conv, x, gradient)
    narrow = pytorch_winograd.functions("NARROW")
    assert isinstance(narrow, Compiled), narrow
    assert narrow.functions.lanes() == 8
    monkeypatch.setattr(pytorch_winograd, "functions", lambda: narrow)
    for name, values in computed(conv, x, gradient).items():
        assert torch.equal(values, wide[name]), name


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((2, 48, 8, 8), r"to have 32 channels, but got 48 channels"),
        ((2, 32, 2, 8), r"[Kk]ernel size can't be greater than actual input size"),
    ],
)
def test_what_does_not_fit_is_refused_as_by_pytorch(shape: tuple[int, ...], reason: str) -> None:
    conv, _, _ = tensors(32, 32, 5, (8, 8), 1, bias=True)
    with pytest.raises(RuntimeError, match=reason):
        conv(torch.zeros(shape))
    with pytest.raises(RuntimeError, match=r"expected scalar type|should be the same"):
        conv.double()(torch.zeros(2, 32, 8, 8))


@needs_compiler
def test_what_is_no_number_is_not_hidden() -> None:
    conv, x, gradient = tensors(32, 32, 3, (8, 8), 1, bias=False)
    x[1, 3, 2, 2] = np.nan
    found = computed(conv, x, gradient)
    assert found["y"][1, :, 1:4, 1:4].isnan().all()
    assert found["y"][[0, 2]].isfinite().all()
    assert found["weight"][:, 3].isnan().all()
    assert found["weight"][:, 4:].isfinite().all()


@needs_compiler
def test_gradients_of_any_layout_are_taken() -> None:
    conv, x, gradient = tensors(32, 48, 3, (8, 8), 1, bias=True)
    one = torch.ones(()).expand_as(gradient)  # of one value, seen everywhere
    whole = computed(conv, x, one.contiguous(memory_format=torch.channels_last))
    for name, values in computed(conv, x.contiguous(), one).items():
        assert torch.equal(values, whole[name]), name


@needs_compiler
def test_a_second_gradient_is_refused() -> None:
    conv, x, _ = tensors(32, 32, 3, (8, 8), 1, bias=True)
    x.requires_grad_()
    with pytest.raises(FrameworkError, match=r"^a convolution in training has no second gradient$"):
        torch.autograd.grad(conv(x).square().sum(), x, create_graph=True)


@needs_compiler
def test_another_default_device_is_not_taken() -> None:
    conv, x, gradient = tensors(32, 32, 3, (8, 8), 1, bias=True)
    with torch.device("meta"):
        made = computed(conv, x, gradient)
    for name, values in computed(conv, x, gradient).items():
        assert torch.equal(values, made[name]), name


@pytest.mark.parametrize(
    "how", ["in prediction", "in bfloat16", "in float64", "not compiled", "watched"]
)
def test_else_it_is_pytorchs_own(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    conv, x, _ = tensors(32, 48, 3, (8, 8), 1, bias=True)
    own = torch.nn.Conv2d(32, 48, 3, padding=1).to(memory_format=torch.channels_last)
    own.load_state_dict(conv.state_dict())
    if how == "in prediction":
        conv.eval()
    if how == "in float64":
        conv, own, x = conv.double(), own.double(), x.double()
    if how == "not compiled":
        reason = NotCompiled("not here")
        monkeypatch.setattr(pytorch_winograd, "functions", lambda: reason)
    counts = FlopCounterMode(display=False) if how == "watched" else contextlib.nullcontext()
    with counts, torch.autocast("cpu", torch.bfloat16, enabled=how == "in bfloat16"):
        assert torch.equal(conv(x), own(x))


@pytest.mark.parametrize(
    ("conv", "shape", "expected"),
    [
        (Conv(256, 5, padding=2), Shape(96, 26, 26), True),
        (Conv(384, 3, padding=1), Shape(256, 12, 12), True),
        (Conv(96, 3, padding=1), Shape(64, 7, 7), True),
        (Conv(96, 3, padding=1), Shape(64, 5, 5), False),  # 4 tiles for 25 outputs
        (Conv(32, 5, padding=4), Shape(32, 8, 8), True),
        (Conv(32, 5, padding=5), Shape(32, 8, 8), False),  # outputs that see only zeros
        (Conv(64, 3, padding=1), Shape(3, 32, 32), False),
        (Conv(40, 3, padding=1), Shape(32, 32, 32), False),
        (Conv(64, 3, 2, padding=1), Shape(32, 32, 32), False),
        (Conv(64, 3, padding=1, groups=2), Shape(64, 32, 32), False),
        (Conv(64, 7, padding=3), Shape(64, 32, 32), False),
        (Conv(64, 1), Shape(64, 32, 32), False),
    ],
    ids=str,
)
def test_where_it_pays(conv: Conv, shape: Shape, expected: bool) -> None:
    assert conv.is_by_tiles(shape) is expected


def learner(network: Network, precision: str | None = None) -> Any:
    settings = LearnerSettings(
        network, Optimizer("sgd"), network.input, "cpu", 1, precision=precision
    )
    return pytorch.learner(settings, weights.initial(network, 0))


@pytest.mark.parametrize("name", ["nin", "nin-residual-32"])
def test_a_learner_says_what_computes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = resolve(name, width=0.5) if name == "nin" else resolve(name)
    found = pytorch_winograd.functions()
    if isinstance(found, Compiled):
        assert learner(network).kernels["convolution"] == f"compiled {found.digest}"
    assert "convolution" not in learner(network, "bfloat16").kernels
    monkeypatch.setattr(pytorch_winograd, "functions", lambda: NotCompiled("not here"))
    without = learner(network)
    assert without.kernels["convolution"] == OWN_FUNCTIONS
    said = "convolution is not compiled, which would be faster: not here"
    assert said in without.cautions


def test_an_older_processor_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx": True})
    found = pytorch_winograd.functions.__wrapped__()
    assert isinstance(found, NotCompiled)
    assert str(found) == "the processor has no AVX2"


def test_a_network_without_such_convolutions_says_nothing() -> None:
    network = resolve("lenet")
    assert not learner(network).kernels
