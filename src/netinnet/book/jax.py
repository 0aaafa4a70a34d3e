"""The chapter's functions for JAX with Flax NNX: `from netinnet.book import jax as d2l`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from netinnet.book import _common, _loop
from netinnet.frameworks import unusable

try:
    import jax
    import optax
    from flax import nnx
except Exception as error:  # a broken installation can fail in any way
    raise unusable("jax", error) from error

__all__ = ["load_data_fashion_mnist", "train_ch6", "try_gpu"]


def try_gpu(i: int = 0) -> Any:
    """GPU number `i` where there is one, else the CPU: a `jax.Device`."""
    gpus = [device for device in jax.local_devices() if device.platform == "gpu"]
    return gpus[i] if 0 <= i < len(gpus) else jax.local_devices(backend="cpu")[0]


def load_data_fashion_mnist(batch_size: int, resize: int | None = None) -> _common.Loaders:
    """Training and test batches of Fashion-MNIST: (float32 N×H×W×1 in 0…1, int32 N).

    H and W are `resize`, or 28. The training batches come in a new order every epoch. Raises
    NetinnetError for sizes that can't be, DataError where the data set can't be had.
    """
    return _common.load_data(batch_size, resize, _arrays, _seed)


def train_ch6(
    net: nnx.Module,
    train_iter: Collection[tuple[Any, Any]],
    test_iter: Collection[tuple[Any, Any]],
    num_epochs: int,
    lr: float,
    device: Any,
) -> None:
    """Train `net` anew with plain SGD at rate `lr`, as the book's sixth chapter does.

    Weights of convolutions and fully connected layers start Xavier-uniform, biases at zero. See
    `_loop.train` for what is shown. Raises NetinnetError.
    """
    _loop.check(num_epochs, lr)
    _initialise(net)
    model: Any = net
    optimizer = nnx.Optimizer(net, optax.sgd(lr), wrt=nnx.Param)
    for node in (net, optimizer):
        nnx.update(node, jax.device_put(nnx.state(node), device))

    @nnx.jit
    def update(net: Any, optimizer: Any, images: Any, labels: Any) -> Any:
        def loss(net: Any) -> tuple[Any, Any]:
            logits = net(images)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), logits

        gradients, logits = nnx.grad(loss, has_aux=True)(net)
        optimizer.update(net, gradients)
        return logits

    @nnx.jit
    def logits_of(net: Any, images: Any) -> Any:
        return net(images)

    def step(images: Any, labels: Any) -> _loop.Answer:
        model.train()
        images, on_device = jax.device_put((images, labels), device)
        return np.asarray(update(model, optimizer, images, on_device)), np.asarray(labels)

    def predict(images: Any, labels: Any) -> _loop.Answer:
        model.eval()
        return np.asarray(logits_of(model, jax.device_put(images, device))), np.asarray(labels)

    _loop.train(step, predict, train_iter, test_iter, num_epochs, lr, str(device))


def _initialise(net: nnx.Module) -> None:
    """New weights in place: kernels Xavier-uniform, biases zero."""
    key = jax.random.key(_seed())
    xavier = nnx.initializers.xavier_uniform()
    for _, module in nnx.iter_modules(net):
        if isinstance(module, nnx.Conv | nnx.Linear):
            key, own = jax.random.split(key)
            module.kernel[...] = xavier(own, module.kernel.shape, module.kernel.dtype)
            if module.bias is not None:
                module.bias[...] = np.zeros(module.bias.shape, module.bias.dtype)


def _arrays(images: _common.Images, labels: _common.Labels) -> tuple[Any, Any]:
    return jax.numpy.asarray(images), jax.numpy.asarray(labels.astype(np.int32))


def _seed() -> int:
    # JAX keeps no generator of its own, so NumPy's stands in for it.
    return int(np.random.randint(2**31 - 1))
