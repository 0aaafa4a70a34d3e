"""The chapter's functions for MXNet: `from netinnet.book import mxnet as d2l`.

Importing this switches MXNet to NumPy's way of shapes and arrays, as the chapter does.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from netinnet.book import _common, _loop
from netinnet.frameworks import unusable

try:
    from mxnet import autograd, gluon, init, np, npx
    from mxnet.gluon import nn
except Exception as error:  # a broken installation can fail in any way
    raise unusable("mxnet", error) from error

npx.set_np()

__all__ = ["load_data_fashion_mnist", "train_ch6", "try_gpu"]


def try_gpu(i: int = 0) -> Any:
    """GPU number `i` where there is one, else the CPU: an MXNet context."""
    return npx.gpu(i) if 0 <= i < npx.num_gpus() else npx.cpu()


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
    device: Any,
) -> None:
    """Train `net` anew with plain SGD at rate `lr`, as the book's sixth chapter does.

    Weights start Xavier-uniform, biases at zero. What can be is hybridised, which is faster and
    changes no figure. See `_loop.train` for what is shown. Raises NetinnetError.
    """
    _loop.check(num_epochs, lr)
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
        return logits.asnumpy(), labels.asnumpy()

    def predict(images: Any, labels: Any) -> _loop.Answer:
        return fast(images.as_in_ctx(device)).asnumpy(), labels.asnumpy()

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
