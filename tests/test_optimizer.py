"""Update rules against PyTorch's own optimisers, and Muon against its definition."""

from __future__ import annotations

import pytest

from netinnet.optimizer import MUON_RATE, Optimizer, TensorRole

torch = pytest.importorskip("torch")
from netinnet.frameworks.pytorch_learner import PyTorchLearner  # noqa: E402

FUNCTIONS = PyTorchLearner.functions
SHAPE = (6, 4, 3, 3)


def steps(optimizer: Optimizer, role: TensorRole, rate: float, count: int = 7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    parameter = torch.randn(role.shape, generator=generator)
    state = tuple(torch.zeros(role.shape) for _ in range(optimizer.state_size(role)))
    for step in range(1, count + 1):
        gradient = torch.randn(role.shape, generator=generator)
        parameter, state = optimizer.update(FUNCTIONS, role, parameter, gradient, state, rate, step)
    return parameter


def native(make: type[torch.optim.Optimizer], count: int = 7, **options: object) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(SHAPE, generator=generator))
    optimizer = make([parameter], **options)  # type: ignore[call-arg]
    for _ in range(count):
        parameter.grad = torch.randn(SHAPE, generator=generator)
        optimizer.step()
    return parameter.detach()


@pytest.mark.parametrize(
    ("momentum", "nesterov", "decay"),
    [(0.0, False, 0.0), (0.9, False, 0.0), (0.9, True, 0.0), (0.9, True, 0.01), (0.0, False, 0.1)],
)
def test_sgd_is_pytorchs(momentum: float, nesterov: bool, decay: float) -> None:
    ours = steps(Optimizer("sgd", momentum, nesterov, decay), TensorRole(SHAPE), 0.1)
    theirs = native(
        torch.optim.SGD, lr=0.1, momentum=momentum, nesterov=nesterov, weight_decay=decay
    )
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_adamw_is_pytorchs(decay: float) -> None:
    ours = steps(Optimizer("adamw", weight_decay=decay), TensorRole(SHAPE), 0.01)
    theirs = native(torch.optim.AdamW, lr=0.01, weight_decay=decay)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["sgd", "adamw", "muon"])
def test_biases_do_not_decay(kind: str) -> None:
    role = TensorRole((8,))
    plain = steps(Optimizer(kind, 0.9), role, 0.01)
    decayed = steps(Optimizer(kind, 0.9, weight_decay=0.5), role, 0.01)
    assert torch.equal(plain, decayed)


@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (40, 3), (5, 5), (3, 64, 1, 1)])
def test_muon_steps_are_orthogonal(shape: tuple[int, ...]) -> None:
    optimizer, role = Optimizer("muon", 0.9), TensorRole(shape)
    zero = torch.zeros(shape)
    # A square matrix that is nearly singular would take more than five iterations.
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    moved, _ = optimizer.update(FUNCTIONS, role, zero, gradient, (zero,), 1.0, 1)
    matrix = moved.reshape(shape[0], -1)
    scale = MUON_RATE * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
    singular = torch.linalg.svdvals(matrix) / scale
    assert 0.5 < singular.min() <= singular.max() < 1.3


def test_muon_does_not_care_where_the_outputs_are() -> None:
    shape = (6, 4, 3, 3)
    optimizer = Optimizer("muon", 0.9)
    gradient, zero = torch.randn(shape), torch.zeros(shape)
    first, _ = optimizer.update(FUNCTIONS, TensorRole(shape), zero, gradient, (zero,), 0.1, 1)
    turned = gradient.permute(2, 3, 1, 0).contiguous()
    zero = torch.zeros(turned.shape)
    role = TensorRole(tuple(turned.shape), output_axis=3)
    last, _ = optimizer.update(FUNCTIONS, role, zero, turned, (zero,), 0.1, 1)
    torch.testing.assert_close(first, last.permute(3, 2, 0, 1), rtol=1e-4, atol=1e-5)


def test_muon_leaves_the_logits_layer_to_sgd() -> None:
    role = TensorRole(SHAPE, is_logits=True)
    ours = steps(Optimizer("muon", 0.9, True), role, 0.1)
    torch.testing.assert_close(ours, native(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True))
