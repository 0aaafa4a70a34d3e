"""The book's edition 1.0: its chapters on LeNet, AlexNet, VGG and NiN with one import changed.

`edition1/` has them, written in its manner. MXNet's runs in a process of its own, the others in
this one: 3 to 20 s each, JAX's the longest where its compiler's results are not kept yet.
"""

from __future__ import annotations

import math
import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netinnet.book import _common, _data, _edition1, _names
from netinnet.book._hyperparameters import HyperParameters
from netinnet.data import datasets
from netinnet.errors import NetinnetError
from netinnet.reports import live
from netinnet.training.events import Evaluation, Event
from tests.conftest import ROOT, some_slow
from tests.test_book import CHANNELS_FIRST, CHANNELS_LAST, PACKAGES, run

CHAPTERS = ROOT / "tests" / "edition1"
FIGURES = (
    r"loss \d\.\d{3}, train acc \d\.\d{3}, validation loss \d\.\d{3}, validation acc \d\.\d{3}"
)
LINE = re.compile(r"(\w+) output shape:\t (?:torch\.Size\(\[|\()([\d, ]+)[\])]+")
LAYERS = {
    "pytorch": (12, 21, 8, 10),
    "tensorflow": (8, 14, 4, 10),
    "jax": (12, 21, 8, 10),
    "mxnet": (7, 13, 6, 10),
}
"""Layers of LeNet, AlexNet, VGG and NiN, as each framework's chapter lists them."""
FIRST = ("pytorch", "mxnet")
"""Frameworks with channels first."""


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, fashion_mnist: datasets.Dataset) -> None:
    monkeypatch.setenv(_common.EXAMPLES, "16")
    monkeypatch.setenv(_common.EPOCHS, "1")


@pytest.fixture
def d2l(short: None) -> Any:
    pytest.importorskip("torch")
    from netinnet.book import torch as module

    return module


@pytest.fixture
def linear(d2l: Any) -> Any:
    """A classifier with one linear layer, for pictures of 28×28."""
    from torch import nn

    class Linear(d2l.Classifier):  # type: ignore[misc]
        def __init__(self, lr: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

    return Linear


# ---------------------------------------------------------------------------- the chapters


def printed_by(framework: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the chapters print with their one import changed."""
    package = PACKAGES[framework]
    code = (CHAPTERS / f"{package}_chapters.py").read_text("utf-8")
    code, lines = re.subn(r"^from d2l import", "from netinnet.book import", code, flags=re.M)
    assert lines == 1
    if framework == "mxnet":  # importing it changes what its arrays are, for the whole process
        return run(framework, code, folder, examples=16)
    pytest.importorskip(package)
    compiled = compile(code, f"{package}_chapters.py", "exec", dont_inherit=True)
    exec(compiled, {"__name__": "__main__"})  # noqa: S102
    return capsys.readouterr().out


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    "framework",
    # JAX compiles the networks of all chapters: twenty seconds.
    some_slow(PACKAGES, "jax"),
)
def test_chapters_run_with_one_import_changed(
    framework: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = printed_by(framework, tmp_path, capsys)
    found = [(name, tuple(map(int, shape.split(",")))) for name, shape in LINE.findall(printed)]
    shapes = [shape for _, shape in found]
    assert len(shapes) == sum(LAYERS[framework])
    ends = np.cumsum(LAYERS[framework]) - 1
    assert [shapes[i] for i in ends] == [(1, 10)] * 4
    assert shapes[0] == ((1, 6, 28, 28) if framework in FIRST else (1, 28, 28, 6))
    nin = CHANNELS_FIRST if framework in FIRST else CHANNELS_LAST
    if framework == "tensorflow":  # this edition's average is flat already
        nin = [*nin[:-3], (10,), (10,)]
    if framework == "jax":
        nin = [*nin[:-3], (1, 1, 10), (10,)]
    assert shapes[-len(nin) :] == [(1, *shape) for shape in nin]
    assert found[-len(nin)][0] == "Sequential"

    last = re.findall(rf"^{FIGURES}, \d+\.\d examples/sec on \S+$", printed, re.M)
    each = re.findall(rf"^epoch 1/1: {FIGURES}$", printed, re.M)
    assert len(last) == len(each) == 5, printed
    image = (1, 67, 67) if framework in FIRST else (67, 67, 1)
    assert f"(8, 10) (8,)\nTrue\n{image} ['ankle boot'] 16 16\n" in printed
    hparams, is_native = re.findall(r"^(\{.*\}) (\w+)$", printed, re.M)[0]
    expected = {"lr": 0.05, "num_classes": 10}
    if framework == "jax":
        expected["training"] = True
    assert (eval(hparams), is_native) == (expected, "True")  # noqa: S307
    # One step at rate 1 whose gradients' norm was cut to .01, the bias's share included.
    changed = float(re.findall(r"^changed by ([\d.]+)$", printed, re.M)[0])
    assert 0.005 < changed <= 0.0101, printed
    if framework == "mxnet":
        assert (
            "Linear has no weights yet; call self.net.initialize(init.Xavier()) in its" in printed
        )
    elif framework != "tensorflow":
        assert "num_gpus is 1: there is no GPU, the CPU trains" in printed


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("package", ["torch", "tensorflow", "jax"])
def test_offered_names_are_there(package: str) -> None:
    pytest.importorskip(package)
    module = __import__(f"netinnet.book.{package}", fromlist=["x"])
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert module.num_gpus() >= 0
    assert len(module.try_all_gpus()) == max(module.num_gpus(), 1)
    assert not hasattr(module, "nothing")


def test_shared_modules_import_no_framework() -> None:
    for file in sorted((ROOT / "src/netinnet/book").glob("_*.py")):
        text = file.read_text("utf-8")
        assert not re.search(r"^\s*(import|from) (torch|tensorflow|jax|flax|mxnet)\b", text, re.M)


# ---------------------------------------------------------------------------- modules


def test_hyperparameters_are_kept() -> None:
    class Net(HyperParameters):
        def __init__(self, lr: float, *sizes: int, _hidden: int = 1, **more: int) -> None:
            unrelated = 3
            self.save_hyperparameters(ignore=["left_out"])
            assert unrelated

    net = Net(0.5, 3, 4, left_out=1, width=8)
    assert net.hparams == {"lr": 0.5, "sizes": (3, 4), "width": 8}
    assert (net.lr, net.sizes, net.width) == (0.5, (3, 4), 8)  # type: ignore[attr-defined]
    assert not hasattr(net, "left_out")


def test_a_method_is_added() -> None:
    class Net:
        pass

    @_edition1.add_to_class(Net)
    def double(self: Any, x: int) -> int:
        return 2 * x

    assert Net().double(3) == 6  # type: ignore[attr-defined]


def test_init_cnn_is_xavier_and_leaves_lazy_layers(d2l: Any) -> None:
    import torch
    from torch import nn

    net = nn.Sequential(nn.LazyConv2d(50, 5), nn.Flatten(), nn.LazyLinear(10))
    net.apply(d2l.init_cnn)

    class Net(d2l.Classifier):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = net

    Net().apply_init([torch.zeros(1, 3, 5, 5)], d2l.init_cnn)
    bound = (6 / (75 + 50 * 25)) ** 0.5
    assert 0.99 * bound < float(net[0].weight.detach().abs().max()) <= bound
    assert net[0].bias is not None
    assert bool(net[0].bias.detach().any())


def test_a_step_is_plain_sgd_in_training_mode(d2l: Any, linear: Any) -> None:
    import torch

    modes = []

    class Watched(linear):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            modes.append(self.training)
            return super().forward(x)

    model, data = Watched(lr=0.5), d2l.FashionMNIST(batch_size=16)
    weight = model.net[1].weight
    start = weight.detach().clone()
    images, labels = next(iter(data.get_dataloader(True)))
    model.loss(model.net(images), labels).backward()
    expected = start - 0.5 * weight.grad
    d2l.Trainer(max_epochs=1).fit(model, data)
    torch.testing.assert_close(weight.detach(), expected)
    assert modes == [True, False]


@pytest.mark.parametrize(
    ("package", "layer"), [("tensorflow", "keras.layers.Dropout"), ("jax", "linen.Dropout")]
)
@pytest.mark.usefixtures("short")
def test_dropout_drops_in_training_only(package: str, layer: str) -> None:
    """A dropout of everything: logits are the bias in training, and only there."""
    pytest.importorskip(package)
    if package == "tensorflow":
        import tensorflow as tf

        from netinnet.book import tensorflow as d2l

        class Net(d2l.Classifier):
            def __init__(self, lr: float = 1e-6) -> None:
                super().__init__()
                self.save_hyperparameters()
                layers = tf.keras.layers
                self.net = tf.keras.Sequential(
                    [layers.Flatten(), layers.Dropout(1.0), layers.Dense(10)]
                )

        model: Any = Net()
        trainer: Any = d2l.Trainer(max_epochs=1)
        data: Any = d2l.FashionMNIST(batch_size=16)
    else:
        from flax import linen as nn

        from netinnet.book import jax as jax_d2l

        class LinenNet(jax_d2l.Classifier):
            lr: float = 1e-6
            training: bool = True

            def setup(self) -> None:
                drop = nn.Dropout(1.0, deterministic=not self.training)
                self.net = nn.Sequential([lambda x: x.reshape(len(x), -1), drop, nn.Dense(10)])

        model = LinenNet()
        trainer = jax_d2l.Trainer(max_epochs=1)
        data = jax_d2l.FashionMNIST(batch_size=16)
    seen = figures_of(lambda: trainer.fit(model, data))
    assert seen.train["loss"] == pytest.approx(math.log(10), abs=1e-4)
    assert seen.validation is not None
    assert abs(seen.validation["loss"] - math.log(10)) > 1e-3


def figures_of(fit: Callable[[], None]) -> Evaluation:
    """The figures of the last epoch of a training."""
    events: list[Event] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "listener", lambda: events.append)
        fit()
    last = events[-1]
    assert isinstance(last, Evaluation)
    return last


# ---------------------------------------------------------------------------- what is shown


def test_own_steps_and_losses_are_taken(d2l: Any, linear: Any) -> None:
    class Doubled(linear):  # type: ignore[misc]
        def loss(self, Y_hat: Any, Y: Any, averaged: bool = True) -> Any:
            return 0 * super().loss(Y_hat, Y, averaged) + 7

        def validation_step(self, batch: Any) -> None:
            self.plot("loss", self.loss(self(*batch[:-1]), batch[-1]), train=False)

    last = figures_of(lambda: d2l.Trainer(1).fit(Doubled(), d2l.FashionMNIST()))
    assert last.train["loss"] == 7
    assert last.validation is not None
    assert 1 < last.validation["loss"] < 5  # it returned none, so it is the cross-entropy
    assert last.test is None


def test_nothing_held_out(d2l: Any, linear: Any, capsys: pytest.CaptureFixture[str]) -> None:
    class Data(d2l.FashionMNIST):  # type: ignore[misc]
        def val_dataloader(self) -> None:
            return None

    d2l.Trainer(max_epochs=1).fit(linear(), Data())
    assert re.fullmatch(
        r"epoch 1/1: (loss \d\.\d{3}, train acc \d\.\d{3})\n\1, \d+\.\d examples/sec on cpu\n",
        capsys.readouterr().out,
    )


class Flat:
    """Two pictures in a batch, of classes 0 and 1."""

    def __init__(self, tensor: Callable[[Any], Any]) -> None:
        self.tensor = tensor

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Any]:
        yield self.tensor(np.zeros((2, 1, 28, 28), np.float32)), self.tensor(np.arange(2))


@pytest.mark.parametrize("own", [False, True])
def test_dead_class_is_named(
    own: bool, d2l: Any, linear: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    class Data(d2l.DataModule):  # type: ignore[misc]
        def get_dataloader(self, train: bool) -> Flat:
            return Flat(torch.from_numpy)

    model = linear()
    with torch.no_grad():
        model.net[1].weight[2] = model.net[1].bias[2] = 0
    data = Data() if own else d2l.FashionMNIST(batch_size=16)
    d2l.Trainer(max_epochs=1).fit(model, data)
    name = "2" if own else "2 (Pullover)"
    assert capsys.readouterr().err.startswith(f"warning: class {name} is dead: its logit was 0 for")


def test_curve_has_the_validation(
    d2l: Any, linear: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    drawn: list[bytes] = []

    class Curve(live.NotebookCurve):
        def draw(self) -> None:
            from netinnet.reports import figures

            drawn.append(figures.learning_curves(self.events))

    monkeypatch.setattr(live, "listener", Curve)
    d2l.Trainer(max_epochs=1).fit(linear(), d2l.FashionMNIST())
    assert b"validation" in drawn[-1]
    assert capsys.readouterr().out.startswith("loss ")


# ---------------------------------------------------------------------------- data


def test_fashion_mnist_gives_pictures(d2l: Any) -> None:
    import torch

    data = d2l.FashionMNIST(batch_size=5, resize=(30, 40))
    images, labels = next(iter(data.get_dataloader(False)))
    image, label = data.val[-16]
    assert tuple(images.shape) == (5, 1, 30, 40)
    # Resized alone and with others: a matrix product's last bits may depend on its size.
    assert torch.allclose(image, images[0], rtol=0, atol=1e-6)
    assert label == int(labels[0])
    assert [len(data.train_dataloader()), len(data.val_dataloader())] == [4, 4]
    assert len(list(data.val)) == 16
    with pytest.raises(IndexError):
        data.val[16]
    assert d2l.FashionMNIST(resize=30).train[0][0].shape == (1, 30, 30)
    assert data.hparams == {"batch_size": 5, "resize": (30, 40)}
    assert (data.root, data.num_workers) == ("../data", 4)
    assert data.text_labels(torch.tensor([0, 1])) == ["t-shirt", "trouser"]


@pytest.mark.parametrize("notebook", [False, True])
def test_visualize(
    notebook: bool, d2l: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    shown: list[bytes] = []

    def show(picture: bytes) -> bool:
        shown.append(picture)
        return notebook

    monkeypatch.setattr(live, "show", show)
    data = d2l.FashionMNIST(batch_size=8)
    axes = data.visualize(next(iter(data.val_dataloader())), ncols=3, nrows=2)
    assert axes.shape == (2, 3)
    assert axes[0, 0].get_title() == "ankle boot"
    assert b"<svg" in shown[0]
    text = "pictures are shown in a notebook; here the axes are returned, and axes[0, 0]"
    assert capsys.readouterr().out.startswith(text) is not notebook


def test_a_picture_is_shown_in_a_notebook_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert live.show(b"<svg/>") is False
    shown: list[str] = []
    display = types.ModuleType("IPython.display")
    display.SVG = lambda data: data  # type: ignore[attr-defined]
    display.display = shown.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(live, "_in_notebook", lambda: True)
    assert live.show(b"<svg/>") is True
    assert shown == ["<svg/>"]


# ---------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_epochs": 0}, "max_epochs must be a whole number from 1, got 0"),
        ({"num_gpus": -1}, "num_gpus must be a whole number from 0, got -1"),
        (
            {"gradient_clip_val": math.nan},
            "gradient_clip_val must be the largest norm, or 0 for no limit, got nan",
        ),
    ],
)
def test_trainer_is_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NetinnetError) as caught:
        _edition1.Trainer(**{"max_epochs": 1, **arguments})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("resize", "message"),
    [
        ((28, 0), "resize must be a whole number from 1 to 4,096, got 0"),
        ((1, 2, 3), "resize must be (height, width), got (1, 2, 3)"),
        ("28", "resize must be a whole number from 1 to 4,096, got '28'"),
    ],
)
def test_size_is_checked(resize: Any, message: str) -> None:
    with pytest.raises(NetinnetError) as caught:
        _data.FashionMNIST(resize=resize)
    assert str(caught.value) == message


def mistakes(d2l: Any, linear: Any) -> dict[str, tuple[Any, Any]]:
    from torch import nn

    class Silent(linear):  # type: ignore[misc]
        def training_step(self, batch: Any) -> Any:
            return self.loss(self.net(batch[0]), batch[1])

    class NoRate(d2l.Classifier):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

    class Map(linear):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x

        def loss(self, Y_hat: Any, Y: Any, averaged: bool = True) -> Any:
            return (self.net[1].weight ** 2).sum()

    class NoData(d2l.DataModule):  # type: ignore[misc]
        pass

    data = d2l.FashionMNIST(batch_size=16)
    return {
        "fit's model must be a d2l.Classifier, as in class Net(d2l.Classifier), got a Sequential": (
            nn.Sequential(),
            data,
        ),
        "fit's data must be a d2l.DataModule, as in d2l.FashionMNIST(batch_size=128), got an int": (
            linear(),
            3,
        ),
        "the step must call the model, as in Y_hat = self": (Silent(), data),
        "NoRate has no lr; call self.save_hyperparameters() in a con": (NoRate(), data),
        "lr must be a learning rate above 0, as in 0.1, got -1": (linear(lr=-1), data),
        "the network's output is 16×1×28×28 for labels of 16; n×": (Map(), data),
        "NoData has no get_dataloader": (linear(), NoData()),
    }


def test_fit_is_checked(d2l: Any, linear: Any) -> None:
    for message, (model, data) in mistakes(d2l, linear).items():
        with pytest.raises((NetinnetError, NotImplementedError), match=re.escape(message)):
            d2l.Trainer(max_epochs=1).fit(model, data)


@pytest.mark.usefixtures("short")
def test_keras_does_not_know_a_plain_variable() -> None:
    tf = pytest.importorskip("tensorflow")
    from netinnet.book import tensorflow as d2l

    class Scratch(d2l.Classifier):  # type: ignore[misc]
        def __init__(self, lr: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.w = tf.Variable(tf.zeros((784, 10)))

        def forward(self, x: Any) -> Any:
            return tf.reshape(x, (-1, 784)) @ self.w

    with pytest.raises(NetinnetError, match="Scratch has no weights to train: Keras 3 knows"):
        d2l.Trainer(max_epochs=1).fit(Scratch(), d2l.FashionMNIST())


def test_module_is_checked(d2l: Any, linear: Any) -> None:
    import torch

    model = linear()
    with pytest.raises(NetinnetError, match=r"plot\('ppl', …\) can't be drawn here; Trainer.fit"):
        model.plot("ppl", 1.0, train=True)
    with pytest.raises(NetinnetError, match=r"no board here: Trainer\.fit draws"):
        model.board.yscale = "log"
    with pytest.raises(NetinnetError, match="get_tensorloader is not here: give get_dataloader"):
        d2l.DataModule().get_tensorloader((), train=True)
    model.net = torch.nn.Linear(784, 10)
    with pytest.raises(
        NetinnetError, match=r"layers of self\.net, and Linear lists none; use a Seq"
    ):
        model.layer_summary((1, 784))
    with pytest.raises(NotImplementedError, match=r"Module has no loss\(Y_hat, Y\)"):
        d2l.Module().loss(0, 0)
    with pytest.raises(NetinnetError, match="a class must be from 0 to 9, got 10"):
        d2l.FashionMNIST().text_labels([10])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "Animator",
            "the edition with train_ch6 has it, here train_ch6 and Trainer.fit draw the curve "
            "themselves",
        ),
        (
            "ProgressBoard",
            "edition 1.0 has it, here train_ch6 and Trainer.fit draw the curve themselves",
        ),
        ("randn", "PyTorch and MXNet have it here, this framework's own is to be called"),
        ("reduce_mean", "the book has it, here the framework's own is to be called"),
        (
            "init_cnn",
            "PyTorch, TensorFlow and MXNet have it here, a Flax layer takes "
            "kernel_init=nn.initializers.xavier_uniform()",
        ),
    ],
)
def test_a_name_that_is_not_here(name: str, message: str) -> None:
    error = _names.unknown("jax", name, ["Trainer"])
    assert str(error) == f"netinnet.book.jax has no '{name}'; {message}"


def test_an_unknown_name_has_a_near_one(d2l: Any) -> None:
    with pytest.raises(AttributeError) as caught:
        d2l.Trainr  # noqa: B018
    assert str(caught.value).startswith(
        "netinnet.book.torch has no 'Trainr' (did you mean 'Trainer'?); of both editions it has "
    )
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from netinnet.book.torch import nothing  # noqa: F401


def test_no_name_is_said_to_be_missing_that_is_here(d2l: Any) -> None:
    assert not set(_names.ELSEWHERE) & set(d2l.__all__)
    assert "netinnet.book.torch" in sys.modules
