"""What the chapter calls, for MXNet: `from netinnet.book import mxnet as d2l`.

Importing this switches MXNet to NumPy's way of shapes and arrays, as the chapter does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn

from netinnet.book import _common, _data, _edition1, _loop, _names
from netinnet.book._data import DataModule, show_images
from netinnet.book._edition1 import add_to_class
from netinnet.book._hyperparameters import HyperParameters
from netinnet.errors import NetinnetError
from netinnet.frameworks import unusable

try:
    import mxnet
    from mxnet import autograd, gluon, init, np, npx
    from mxnet.gluon import nn
except Exception as error:  # a broken installation can fail in any way
    raise unusable("mxnet", error) from error

npx.set_np()
randn = np.random.randn

__all__ = [
    "Classifier",
    "DataModule",
    "FashionMNIST",
    "HyperParameters",
    "Module",
    "Trainer",
    "add_to_class",
    "cpu",
    "gpu",
    "init_cnn",
    "load_data_fashion_mnist",
    "num_gpus",
    "randn",
    "show_images",
    "train_ch6",
    "try_all_gpus",
    "try_gpu",
]


def __getattr__(name: str) -> NoReturn:
    raise _names.unknown("mxnet", name, __all__)


def cpu() -> Any:
    return npx.cpu()


def gpu(i: int = 0) -> Any:
    """GPU number `i`, whether it is there or not: an MXNet context."""
    return npx.gpu(i)


def num_gpus() -> int:
    return int(npx.num_gpus())


def try_gpu(i: int = 0) -> Any:
    """GPU number `i` where there is one, else the CPU: an MXNet context."""
    return gpu(i) if 0 <= i < num_gpus() else cpu()


def try_all_gpus() -> list[Any]:
    """All GPUs, or the CPU alone where there is none."""
    return [gpu(i) for i in range(num_gpus())] or [cpu()]


def init_cnn(block: gluon.Block) -> None:
    """Start the weight of a convolution or a dense layer Xavier-uniform, and its bias at zero.

    For `net.apply`. A layer that has had no input yet does so at its first one.
    """
    if isinstance(block, nn.Conv2D | nn.Dense):
        block.initialize(init.Xavier(), force_reinit=True)


# ---------------------------------------------------------------------------- edition 1.0


class Module(nn.Block, _edition1.Steps):  # type: ignore[misc]
    """A network in `self.net`, with its loss and how it is trained.

    `plot_train_per_epoch` and `plot_valid_per_epoch` are kept; `Trainer.fit` draws every epoch.
    """

    lr: float

    def __init__(self, plot_train_per_epoch: int = 2, plot_valid_per_epoch: int = 1) -> None:
        super().__init__()
        self.plot_train_per_epoch = plot_train_per_epoch
        self.plot_valid_per_epoch = plot_valid_per_epoch

    def forward(self, *inputs: Any) -> Any:
        return self.net(*inputs)

    def loss(self, Y_hat: Any, Y: Any, averaged: bool = True) -> Any:  # noqa: N803
        raise NotImplementedError(f"{type(self).__name__} has no loss(Y_hat, Y)")

    def configure_optimizers(self) -> Any:
        """Plain SGD at the rate `lr`: a gluon.Trainer."""
        rate = _edition1.rate_of(self)
        return gluon.Trainer(self.collect_params(), "sgd", {"learning_rate": rate})

    def apply_init(
        self, inputs: Sequence[Any], init: Callable[[gluon.Block], Any] | Any = None
    ) -> None:
        """Run the inputs, so that all layers get their sizes.

        Before that `init`, an initialiser such as `init.Xavier()` or a function of a layer, starts
        the weights anew.
        """
        if isinstance(init, mxnet.init.Initializer):
            self.net.initialize(init, force_reinit=True)
        elif init is not None:
            self.net.apply(init)
        self.forward(*inputs)


class Classifier(Module):
    """A network that gives a logit for each class: softmax cross-entropy, accuracy."""

    def loss(self, Y_hat: Any, Y: Any, averaged: bool = True) -> Any:  # noqa: N803
        """Cross-entropy of the logits (…×k) and labels, in nats: its mean, or each one's."""
        losses = gluon.loss.SoftmaxCrossEntropyLoss()(_rows(Y_hat), Y.reshape(-1))
        return losses.mean() if averaged else losses

    def accuracy(self, Y_hat: Any, Y: Any, averaged: bool = True) -> Any:  # noqa: N803
        """Share of labels whose logit is the largest, or 1 and 0 for each."""
        labels = Y.reshape(-1)
        found = (_rows(Y_hat).argmax(axis=1).astype(labels.dtype) == labels).astype("float32")
        return found.mean() if averaged else found

    def layer_summary(self, X_shape: Sequence[int]) -> None:  # noqa: N803
        """Print each layer of `net`, and the shape that comes out of it for that input's shape."""
        x = np.random.normal(size=tuple(X_shape))
        for layer in _edition1.layers_of(self.net):
            x = layer(x)
            print(_edition1.layer_line(layer, x.shape))


class FashionMNIST(_data.FashionMNIST):
    __doc__ = _data.FashionMNIST.__doc__

    def _convert(self, images: _common.Images, labels: _common.Labels) -> tuple[Any, Any]:
        return _arrays(images, labels)

    def _seed(self) -> int:
        return _seed()


class Trainer(_edition1.Trainer):
    __doc__ = _edition1.Trainer.__doc__

    def fit(self, model: Module, data: DataModule) -> None:
        """Train the model, with the weights that it has, and show what comes of it.

        See `_loop.train` for what is shown. Raises NetinnetError.
        """
        rate = self._prepare(model, Module, data)
        device = gpu() if self._gpu(num_gpus()) else cpu()
        parameters = model.collect_params()
        try:
            parameters.reset_ctx(device)
        except ValueError as error:  # a parameter that nobody has initialised
            raise NetinnetError(
                f"{type(model).__name__} has no weights yet; call "
                "self.net.initialize(init.Xavier()) in its constructor"
            ) from error
        trainer = model.configure_optimizers()
        seen: list[Any] = []
        hook = model.register_forward_hook(lambda _block, _inputs, output: seen.append(output))

        def answer(loss: Any, labels: Any) -> _loop.Answer:
            value = None if loss is None else float(loss)
            return _edition1.logits_in(seen).asnumpy(), labels.asnumpy(), value

        def step(*batch: Any) -> _loop.Answer:
            batch = tuple(part.as_in_ctx(device) for part in batch)
            with autograd.record():
                loss = model.training_step(batch)
            loss.backward()
            if self.gradient_clip_val > 0:
                trained = [p for p in parameters.values() if p.grad_req != "null"]
                _clip([p.grad(device) for p in trained], self.gradient_clip_val)
            trainer.step(1)
            return answer(loss, batch[-1])

        def predict(*batch: Any) -> _loop.Answer:
            batch = tuple(part.as_in_ctx(device) for part in batch)
            return answer(model.validation_step(batch), batch[-1])

        try:
            self._train(step, predict, rate, str(device))
        finally:
            hook.detach()


def _clip(gradients: list[Any], largest: float) -> None:
    """Make the gradients smaller in place, so that their norm is at most that."""
    norm = float(sum((gradient**2).sum() for gradient in gradients)) ** 0.5
    if norm > largest:
        for gradient in gradients:
            gradient[...] = gradient * (largest / norm)


def _rows(logits: Any) -> Any:
    return logits.reshape(-1, logits.shape[-1])


# ---------------------------------------------------------------------------- with train_ch6


def load_data_fashion_mnist(batch_size: int, resize: int | None = None) -> _common.Loaders:
    """Training and test batches of Fashion-MNIST: (float32 N×1×H×W in 0…1, int32 N).

    H and W are `resize`, or 28. The training batches come in a new order every epoch. Raises
    NetinnetError for sizes that can't be, DataError where the data set can't be had.
    """
    return _common.load_data(batch_size, resize, _arrays, _seed)


def train_ch6(
    net: gluon.Block,
    train_iter: Collection[tuple[Any, Any]],
    test_iter: Collection[tuple[Any, Any]],
    num_epochs: int,
    lr: float,
    device: Any = None,
) -> None:
    """Train `net` anew with plain SGD at rate `lr`, as the book's sixth chapter does.

    Weights start Xavier-uniform, biases at zero. What can be is hybridised, which is faster and
    changes no figure. `device` is `try_gpu()` where it is left out. See `_loop.train` for what is
    shown. Raises NetinnetError.
    """
    _loop.check(num_epochs, lr)
    device = try_gpu() if device is None else device
    net.initialize(force_reinit=True, ctx=device, init=init.Xavier())
    fast = _hybrid(net)
    if isinstance(fast, gluon.HybridBlock):
        fast.hybridize()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": lr})
    loss = gluon.loss.SoftmaxCrossEntropyLoss()

    def step(images: Any, labels: Any) -> _loop.Answer:
        with autograd.record():
            logits = fast(images.as_in_ctx(device))
            losses = loss(logits, labels.as_in_ctx(device))
        losses.backward()
        trainer.step(len(labels))
        return logits.asnumpy(), labels.asnumpy(), None

    def predict(images: Any, labels: Any) -> _loop.Answer:
        return fast(images.as_in_ctx(device)).asnumpy(), labels.asnumpy(), None

    _loop.train(step, predict, train_iter, test_iter, num_epochs, lr, str(device))


def _hybrid(block: gluon.Block) -> gluon.Block:
    """The same layers in HybridSequentials where the chapter has Sequentials.

    The layers themselves are shared, so training one trains the other.
    """
    if type(block) is not nn.Sequential:
        return block
    children = [_hybrid(child) for child in block]
    if not all(isinstance(child, gluon.HybridBlock) for child in children):
        return block
    hybrid = nn.HybridSequential()
    hybrid.add(*children)
    return hybrid


def _arrays(images: _common.Images, labels: _common.Labels) -> tuple[Any, Any]:
    return np.array(images.transpose(0, 3, 1, 2)), np.array(labels, dtype="int32")


def _seed() -> int:
    return int(np.random.randint(0, 2**31 - 1))
