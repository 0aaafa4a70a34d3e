"""PyTorch's batch norm in training: compiled and not, against float64; and how it is compiled."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netinnet.errors import FrameworkError
from tests.conftest import HAS_COMPILER, nin

torch: Any = pytest.importorskip("torch")

from netinnet.frameworks import compiled, pytorch_batch_norm  # noqa: E402
from netinnet.frameworks.compiled import Compiled, NotCompiled  # noqa: E402
from netinnet.frameworks.pytorch_batch_norm import BatchNorm, functions  # noqa: E402

needs_compiler = pytest.mark.skipif(not HAS_COMPILER, reason="there is no C compiler")
KINDS = [pytest.param("compiled", marks=needs_compiler), "not compiled"]
SHAPES = [
    (2, 1, 1, 3),
    (4, 3, 5, 7),
    (8, 16, 9, 4),
    (3, 17, 6, 6),
    (16, 48, 14, 14),
    (64, 130, 2, 1),
]
"""Pictures, channels, height, width: few values and many, rows and channels in odd numbers."""


@pytest.fixture
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "not compiled":
        reason = NotCompiled("not here")
        monkeypatch.setattr(pytorch_batch_norm, "functions", lambda dtype: reason)
    return str(request.param)


def computed(
    x: np.ndarray, gradient: np.ndarray, *, has_relu: bool, dtype: Any = torch.float32
) -> dict[str, np.ndarray]:
    """What a batch norm with some weights makes: outputs, gradients, running statistics."""
    channels = x.shape[1]
    norm = BatchNorm(channels, 1e-5, 0.1)
    norm.has_relu = has_relu
    weight, bias = drawn_line(channels)
    norm.load_state_dict(
        norm.state_dict() | {"weight": torch.tensor(weight), "bias": torch.tensor(bias)}
    )
    given = torch.tensor(x).to(dtype).requires_grad_()
    y = norm(given)
    y.backward(torch.tensor(gradient).to(dtype))
    found = {"y": y, "of_x": given.grad, "of_weight": norm.weight.grad, "of_bias": norm.bias.grad}
    found |= {"mean": norm.running_mean, "variance": norm.running_var}
    return {name: tensor.detach().float().numpy() for name, tensor in found.items()}


def drawn_line(channels: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    weight = rng.uniform(0.5, 1.5, channels).astype(np.float32)
    return weight, rng.normal(0, 0.3, channels).astype(np.float32)


def drawn(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Values far from 0, where sums of squares lose digits, and gradients of their outputs."""
    rng = np.random.default_rng(1)
    x = rng.normal(4, 0.5, shape) * (1 + np.arange(shape[1])[:, None, None])
    return x.astype(np.float32), rng.normal(0, 1, shape).astype(np.float32)


def expected(x: np.ndarray, gradient: np.ndarray, *, has_relu: bool) -> dict[str, np.ndarray]:
    """The same in float64, by the definition."""
    own, g = x.astype(np.float64), gradient.astype(np.float64)
    weight, bias = (v[:, None, None] for v in drawn_line(x.shape[1]))
    axes, count = (0, 2, 3), x.size // x.shape[1]
    mean, variance = own.mean(axes, keepdims=True), own.var(axes, keepdims=True)
    inverse = 1 / np.sqrt(variance + 1e-5)
    unit = (own - mean) * inverse
    y = unit * weight + bias
    if has_relu:
        g = g * (y > 0)
        y = np.maximum(y, 0)
    of_bias, of_weight = g.sum(axes, keepdims=True), (g * unit).sum(axes, keepdims=True)
    of_x = weight * inverse * (g - of_bias / count - unit * of_weight / count)
    return {
        "y": y,
        "of_x": of_x,
        "of_weight": of_weight.ravel(),
        "of_bias": of_bias.ravel(),
        "mean": 0.1 * mean.ravel(),
        "variance": 0.9 + 0.1 * variance.ravel() * count / (count - 1),
    }


@pytest.mark.parametrize("kind", KINDS, indirect=True)
@pytest.mark.parametrize("has_relu", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_the_definition(shape: tuple[int, ...], has_relu: bool, kind: str) -> None:
    x, gradient = drawn(shape)
    found = computed(x, gradient, has_relu=has_relu)
    for name, wanted in expected(x, gradient, has_relu=has_relu).items():
        largest = max(abs(wanted).max(), 1.0)
        np.testing.assert_allclose(found[name], wanted, atol=5e-6 * largest, err_msg=name)


@needs_compiler
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bfloat16_is_float32_but_for_its_digits(shape: tuple[int, ...]) -> None:
    """Of the same rounded values, statistics are those of float32, outputs theirs rounded."""
    x, gradient = (torch.tensor(array).bfloat16().float().numpy() for array in drawn(shape))
    wanted = expected(x, gradient, has_relu=True)
    found = computed(x, gradient, has_relu=True, dtype=torch.bfloat16)
    for name in ("mean", "variance", "of_weight", "of_bias"):
        largest = max(abs(wanted[name]).max(), 1.0)
        np.testing.assert_allclose(found[name], wanted[name], atol=5e-6 * largest, err_msg=name)
    for name in ("y", "of_x"):
        near = abs(wanted[name]) + abs(wanted[name]).max() * 1e-5
        assert (abs(found[name] - wanted[name]) <= 2**-8 * near).all(), name


@needs_compiler
def test_it_is_compiled_where_a_compiler_is() -> None:
    """Else all that is about the compiled form would be left out in silence."""
    for dtype in (torch.float32, torch.bfloat16):
        assert isinstance(functions(dtype), Compiled), functions(dtype)


@needs_compiler
@pytest.mark.parametrize("sign", [1, -1])
def test_bfloat16_is_rounded_as_pytorch_rounds_it(sign: int) -> None:
    """Each of 65,536 values moved by a half, a quarter and three quarters of a step: ties too."""
    library = functions(torch.bfloat16).functions  # type: ignore[union-attr]
    bits = np.arange(2**16, dtype=np.uint16).view(np.int16)
    given = torch.from_numpy(bits).view(torch.bfloat16).reshape(1, 64, 32, 32)
    given = given.contiguous(memory_format=torch.channels_last)
    out, at = torch.empty_like(given), compiled.at
    size = pytorch_batch_norm._Size.of(given)
    for part in (0.25, 0.5, 0.75):
        # Of values between 1 and 2 a step is 2**-7; of others this is another part of it.
        line = torch.tensor([[1.0], [sign * part * 2**-7]]).repeat(1, size.channels.value)
        library.normalise(at(given), at(out), *size[:2], 1, at(line[0]), at(line[1]), 0)
        expected = (given.float() + sign * part * 2**-7).bfloat16()
        same = (out.view(torch.int16) == expected.view(torch.int16)) | expected.isnan()
        assert same.all()
        assert torch.equal(out.isnan(), expected.isnan())


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_threads_change_no_bit(dtype: Any) -> None:
    x, gradient = drawn((32, 24, 13, 11))
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(computed(x, gradient, has_relu=True, dtype=dtype))
    finally:
        torch.set_num_threads(before)
    for others in found[1:]:
        for name, values in found[0].items():
            assert np.array_equal(values, others[name]), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", KINDS, indirect=True)
def test_what_is_no_number_is_not_hidden(kind: str, dtype: Any) -> None:
    """A ReLU must not make 0 of it: a training that went wrong would go on."""
    x, gradient = drawn((4, 8, 5, 5))
    x[1, 3, 2, 2] = np.nan
    found = computed(x, gradient, has_relu=True, dtype=dtype)
    assert np.isnan(found["y"][:, 3]).all()
    assert np.isfinite(np.delete(found["y"], 3, axis=1)).all()
    assert np.isnan(found["of_x"][:, 3]).all()


@needs_compiler
def test_gradients_of_any_layout_are_taken() -> None:
    x, _ = drawn((4, 8, 5, 5))
    norm = BatchNorm(8)
    given = torch.tensor(x).requires_grad_()
    norm(given).sum().backward()  # of one value, seen everywhere
    assert given.grad.abs().max() < 1e-5


@pytest.mark.parametrize("kind", KINDS, indirect=True)
def test_one_value_a_channel_has_no_variance(kind: str) -> None:
    with pytest.raises(FrameworkError, match=r"^batch norm needs more than one value a channel in"):
        BatchNorm(3)(torch.zeros(1, 3, 1, 1))


@pytest.mark.parametrize("kind", KINDS, indirect=True)
def test_second_gradients_are_refused(kind: str) -> None:
    x = torch.tensor(drawn((4, 8, 5, 5))[0]).requires_grad_()
    error = FrameworkError if kind == "compiled" else RuntimeError
    with pytest.raises(error, match=r"has no second gradient|automatic differentiation"):
        torch.autograd.grad(BatchNorm(8)(x).square().sum(), x, create_graph=True)


@needs_compiler
def test_another_default_device_is_not_taken() -> None:
    norm, given = BatchNorm(8), torch.tensor(drawn((4, 8, 5, 5))[0])
    with torch.device("meta"):
        made = norm(given)
    assert torch.equal(made, BatchNorm(8)(given))


# How it is compiled


SOURCE = "int one(void) { return VALUE; }\n"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("NETINNET_CACHE", str(tmp_path / "cache"))
    compiled.load.cache_clear()
    file = tmp_path / "one.c"
    file.write_text(SOURCE)
    yield file
    compiled.load.cache_clear()


def folder(source: Path) -> Path:
    return source.parent / f"cache/compiled-{os.geteuid()}"


@needs_compiler
def test_each_source_and_macro_is_compiled_once(source: Path) -> None:
    first = compiled.load(source, "VALUE=1")
    assert first.functions.one() == 1
    (kept,) = folder(source).iterdir()
    assert kept.name.startswith(f"one-{first.digest}-")
    assert folder(source).stat().st_mode & 0o777 == 0o700
    made = kept.stat().st_mtime_ns
    compiled.load.cache_clear()
    assert compiled.load(source, "VALUE=1").digest == first.digest
    assert kept.stat().st_mtime_ns == made
    second = compiled.load(source, "VALUE=2")
    assert second.functions.one() == 2
    source.write_text(SOURCE + "/* changed */")
    third = compiled.load(source, "VALUE=3")
    assert len({first.digest, second.digest, third.digest}) == 3


@needs_compiler
def test_a_header_counts_for_those_that_include_it(source: Path) -> None:
    header = source.with_name("more.h")
    header.write_text("#define MORE 1\n")
    first = compiled.load(source, "VALUE=1")
    header.write_text("#define MORE 2\n")
    compiled.load.cache_clear()
    assert compiled.load(source, "VALUE=1").digest == first.digest
    source.write_text(f'#include "more.h"\n{source.read_text()}')
    digests = []
    for value in (2, 3):
        header.write_text(f"#define MORE {value}\n")
        compiled.load.cache_clear()
        digests.append(compiled.load(source, "VALUE=1").digest)
    assert len({first.digest, *digests}) == 3


@needs_compiler
@pytest.mark.parametrize("damage", ["cut", "empty", "a bit"])
def test_a_damaged_file_is_compiled_again(damage: str, source: Path) -> None:
    """As a power cut leaves it: loading half a file would end the process."""
    compiled.load(source, "VALUE=1")
    (kept,) = folder(source).iterdir()
    whole = kept.read_bytes()
    changed = bytes([whole[900] ^ 4])
    kept.unlink()  # it is mapped into this process
    kept.write_bytes(
        {"cut": whole[:8192], "empty": b"", "a bit": whole[:900] + changed + whole[901:]}[damage]
    )
    compiled.load.cache_clear()
    assert compiled.load(source, "VALUE=1").functions.one() == 1
    assert kept.read_bytes() == whole


@needs_compiler
def test_where_others_could_write_nothing_is_run(source: Path) -> None:
    compiled.load(source, "VALUE=1")
    for changed, words in (
        (folder(source), r"is a link, or could be written by others: remove it$"),
        (folder(source).parent, r"could be written by others: NETINNET_CACHE names another$"),
    ):
        before = changed.stat().st_mode
        changed.chmod(0o777)
        compiled.load.cache_clear()
        with pytest.raises(NotCompiled, match=words):
            compiled.load(source, "VALUE=1")
        changed.chmod(before)
    moved = folder(source).rename(source.parent / "elsewhere")
    folder(source).symlink_to(moved)
    with pytest.raises(NotCompiled, match=r"is a link, or could"):
        compiled.load(source, "VALUE=1")


@needs_compiler
@pytest.mark.parametrize(
    ("compiler", "value", "reason"),
    [
        ("/no/compiler", "1", r"^there is no C compiler \(/no/compiler\)$"),
        ("false", "1", r"^false failed: status 1$"),
        ("cc", "(", r"^cc failed: .*one\.c"),
        ("cc -nonsense", "1", r"^cc failed: .*-nonsense"),
    ],
)
def test_why_it_is_not_compiled(
    compiler: str, value: str, reason: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", compiler)
    with pytest.raises(NotCompiled, match=reason) as error:
        compiled.load(source, f"VALUE={value}")
    assert len(str(error.value).splitlines()) == 1
    assert not list(source.parent.glob("cache/compiled*/*"))


@needs_compiler
def test_one_compiler_by_two_names_is_one(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = set()
    for name in ("cc", str(shutil.which("cc"))):
        monkeypatch.setenv("CC", name)
        compiled.load.cache_clear()
        digests.add(compiled.load(source, "VALUE=1").digest)
    assert len(digests) == 1
    monkeypatch.setenv("CC", "cc -O1")
    compiled.load.cache_clear()
    assert compiled.load(source, "VALUE=1").digest not in digests


@needs_compiler
def test_what_the_system_refuses_is_a_reason(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source.parent / "cache").write_text("a file")
    with pytest.raises(NotCompiled, match=r"^one\.c: .*File exists"):
        compiled.load(source, "VALUE=1")
    with pytest.raises(NotCompiled, match=r"^none\.c: .*No such file"):
        compiled.load(source.parent / "none.c")
    monkeypatch.setattr(compiled.sys, "platform", "darwin")
    with pytest.raises(NotCompiled, match=r"^only on Linux$"):
        compiled.load(source, "VALUE=1")


# What a run says of it


FLAGS = ["--train-examples", "64", "--test-examples", "10", "--batch-size", "32"]


@needs_compiler
@pytest.mark.usefixtures("fashion_mnist")
def test_a_run_says_by_what_it_was_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from netinnet.training import versions
    from netinnet.training.run import Run

    run, flags = tmp_path / "run", [*FLAGS, "--framework", "pytorch", "--device", "cpu"]
    assert nin("train", *flags, "--output", run, "--epochs", "2").returncode == 0
    digest = functions(torch.float32).digest  # type: ignore[union-attr]
    assert Run(run).metrics()["versions"]["batch norm"] == f"compiled {digest}"
    reason = NotCompiled("there is no C compiler (cc)")
    monkeypatch.setattr(pytorch_batch_norm, "functions", lambda dtype: reason)
    done = nin("train", *flags, "--output", tmp_path / "other", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    said = "batch norm is not compiled, which would be faster: there is no C compiler (cc)"
    assert said in done.stderr
    now = versions.of("pytorch", {"batch norm": "compiled 2"})
    (line,) = versions.changed(Run(run), now)
    assert f"(batch norm compiled {digest} → compiled 2)" in line
    # A run of before there were others.
    run.joinpath("events.jsonl").write_text(
        run.joinpath("events.jsonl").read_text().replace('"batch norm"', '"something"')
    )
    (line,) = versions.changed(Run(run), now)
    assert "(batch norm the framework's own functions → compiled 2)" in line
    assert versions.changed(Run(run), versions.of("pytorch", {})) == []
