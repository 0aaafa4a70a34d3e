"""What the chapter calls, for JAX: `from netinnet.book import jax as d2l`.

`Classifier` and `Trainer`, of edition 1.0, are for Flax Linen, as that edition's JAX code is;
`train_ch6` takes networks of Flax NNX.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from typing import Any, NoReturn

import numpy as np

from netinnet.book import _common, _data, _edition1, _loop, _names
from netinnet.book._data import DataModule, show_images
from netinnet.book._edition1 import add_to_class
from netinnet.book._hyperparameters import HyperParameters
from netinnet.frameworks import unusable

try:
    import jax
    import optax
    from flax import linen, nnx, struct
    from flax.training import train_state
except Exception as error:  # a broken installation can fail in any way
    raise unusable("jax", error) from error

__all__ = [
    "Classifier",
    "DataModule",
    "FashionMNIST",
    "HyperParameters",
    "Module",
    "Trainer",
    "add_to_class",
    "cpu",
    "get_key",
    "get_seed",
    "gpu",
    "load_data_fashion_mnist",
    "num_gpus",
    "show_images",
    "train_ch6",
    "try_all_gpus",
    "try_gpu",
]


def __getattr__(name: str) -> NoReturn:
    raise _names.unknown("jax", name, __all__)


def cpu() -> Any:
    return jax.local_devices(backend="cpu")[0]


def gpu(i: int = 0) -> Any:
    """GPU number `i`; raises IndexError where it is not there."""
    return _gpus()[i]


def num_gpus() -> int:
    return len(_gpus())


def try_gpu(i: int = 0) -> Any:
    """GPU number `i` where there is one, else the CPU: a `jax.Device`."""
    return gpu(i) if 0 <= i < num_gpus() else cpu()


def try_all_gpus() -> list[Any]:
    """All GPUs, or the CPU alone where there is none."""
    return _gpus() or [cpu()]


def get_key() -> Any:
    """A new random key. It comes from NumPy's generator: `numpy.random.seed` repeats it."""
    # The compiler's own generator: JAX's default one takes seconds to compile for each network.
    return jax.random.key(_seed(), impl="rbg")


def get_seed() -> int:
    """A new number for `jax.random.PRNGKey`, from NumPy's generator."""
    return _seed()


# ---------------------------------------------------------------------------- edition 1.0


class Module(linen.Module, _edition1.Parts):
    """A network that `setup` puts in `self.net`, with its loss and how it is trained.

    A subclass is a dataclass, as all of Linen: what its body sets, such as `lr: float = 0.1`, its
    constructor takes. A number without a type, such as `num_classes = 10`, is such a field too,
    behind the others; plain Linen would let nobody set it.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        annotations = inspect.get_annotations(cls)
        plain = {
            name: type(value)
            for name, value in vars(cls).items()
            if type(value) in (int, float, bool, str, tuple)
            and not (name.startswith("_") or name in annotations)
        }
        cls.__annotations__ = {**annotations, **plain}
        super().__init_subclass__(**options)

    @property
    def hparams(self) -> dict[str, Any]:  # type: ignore[override]
        """The constructor's arguments."""
        own = self.__dataclass_fields__
        names = [k for k, f in own.items() if f.init and k not in ("parent", "name")]
        return {name: getattr(self, name) for name in names}

    def save_hyperparameters(self, ignore: Collection[str] = ()) -> None:
        """Nothing: a dataclass keeps its arguments anyway."""

    def forward(self, X: Any, *args: Any, **options: Any) -> Any:  # noqa: N803
        return self.net(X, *args, **options)

    def __call__(self, X: Any, *args: Any, **options: Any) -> Any:  # noqa: N803
        return self.forward(X, *args, **options)

    def loss(self, params: Any, X: Any, Y: Any, state: Any, averaged: bool = True) -> Any:  # noqa: N803
        raise NotImplementedError(f"{type(self).__name__} has no loss(params, X, Y, state)")

    def training_step(self, params: Any, batch: Sequence[Any], state: Any) -> Any:
        """((loss, what else `loss` returned), gradients) of a batch, its labels last."""
        gradients = jax.value_and_grad(self.loss, has_aux=True)
        return gradients(params, batch[:-1], batch[-1], state)

    def validation_step(self, params: Any, batch: Sequence[Any], state: Any) -> Any:
        """The loss of a held-out batch."""
        value, _ = self.loss(params, batch[:-1], batch[-1], state)
        return value

    def configure_optimizers(self) -> Any:
        """Plain SGD at the rate `lr`."""
        return optax.sgd(_edition1.rate_of(self))

    def apply_init(self, dummy_input: Sequence[Any], key: Any = None) -> Any:
        """New variables, `{"params": …}`, for inputs of those shapes."""
        return jax.jit(self.init)(_keys(key), *dummy_input)


class Classifier(Module):
    """A network that gives a logit for each class: softmax cross-entropy, accuracy."""

    def loss(self, params: Any, X: Any, Y: Any, state: Any, averaged: bool = True) -> Any:  # noqa: N803
        """(Cross-entropy in nats, its mean or each one's; what the batch norms changed, or {}).

        `X` is the tuple of the network's inputs, `state` the `Trainer`'s.
        """
        logits, changed = _outputs(params, X, state)
        logits = logits.reshape(-1, logits.shape[-1])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, Y.reshape(-1))
        return losses.mean() if averaged else losses, changed

    def accuracy(self, params: Any, X: Any, Y: Any, state: Any, averaged: bool = True) -> Any:  # noqa: N803
        """Share of labels whose logit is the largest, or 1 and 0 for each."""
        logits, _ = _outputs(params, X, state)
        found = logits.reshape(-1, logits.shape[-1]).argmax(axis=1) == Y.reshape(-1)
        return found.mean() if averaged else found.astype(np.float32)

    def layer_summary(self, X_shape: Sequence[int], key: Any = None) -> None:  # noqa: N803
        """Print each layer of `net`, and the shape that comes out of it for that input's shape.

        Only shapes are computed, no values.
        """

        def through(module: Any, x: Any) -> Any:
            for layer in _edition1.layers_of(module.net, "layers"):
                x = layer(x)
                print(_edition1.layer_line(layer, x.shape))
            return x

        x = np.broadcast_to(np.float32(0), tuple(X_shape))
        jax.eval_shape(lambda keys, x: self.init(keys, x, method=through), _keys(key), x)


class State(train_state.TrainState):  # type: ignore[no-untyped-call]
    """What a training changes: parameters, optimiser, batch norms' sums, the key of dropout."""

    batch_stats: Any
    dropout_rng: Any
    training: bool = struct.field(  # type: ignore[no-untyped-call]
        pytree_node=False, default=True
    )


class FashionMNIST(_data.FashionMNIST):
    __doc__ = _data.FashionMNIST.__doc__

    def _convert(self, images: _common.Images, labels: _common.Labels) -> tuple[Any, Any]:
        return _arrays(images, labels)

    def _seed(self) -> int:
        return _seed()


class Trainer(_edition1.Trainer):
    __doc__ = _edition1.Trainer.__doc__

    def fit(self, model: Module, data: DataModule, key: Any = None) -> None:
        """Train the model with new weights, and show what comes of it; they are `state.params`.

        A model that has a field `training` is evaluated with it False. See `_loop.train` for what
        is shown. Raises NetinnetError.
        """
        rate = self._prepare(model, Module, data)
        device = gpu() if self._gpu(num_gpus()) else cpu()
        keys = _keys(key)
        inputs = next(iter(self.train_dataloader))[:-1]
        variables = model.apply_init(jax.device_put(inputs, device), keys)
        optimizer = model.configure_optimizers()
        if self.gradient_clip_val > 0:
            optimizer = optax.chain(optax.clip_by_global_norm(self.gradient_clip_val), optimizer)
        state = State.create(  # type: ignore[no-untyped-call]
            apply_fn=model.apply,
            params=variables["params"],
            batch_stats=variables.get("batch_stats", {}),
            dropout_rng=keys["dropout"],
            tx=optimizer,
        )
        self.state = jax.device_put(state, device)
        switched = "training" in model.__dataclass_fields__
        judged = model.clone(training=False) if switched else model

        @jax.jit
        def update(state: Any, *batch: Any) -> Any:
            # The same computation twice is one to the compiler.
            logits, _ = _outputs(state.params, batch[:-1], state)
            (loss, changed), gradients = model.training_step(state.params, batch, state)
            state = state.apply_gradients(
                grads=gradients,
                batch_stats=changed.get("batch_stats", state.batch_stats),
                dropout_rng=jax.random.split(state.dropout_rng)[0],
            )
            return state, logits, loss

        @jax.jit
        def evaluate(state: Any, *batch: Any) -> Any:
            state = state.replace(apply_fn=judged.apply, training=False)
            logits, _ = _outputs(state.params, batch[:-1], state)
            return logits, judged.validation_step(state.params, batch, state)

        def answer(logits: Any, loss: Any, labels: Any) -> _loop.Answer:
            return np.asarray(logits), np.asarray(labels), None if loss is None else float(loss)

        def step(*batch: Any) -> _loop.Answer:
            self.state, logits, loss = update(self.state, *jax.device_put(batch, device))
            return answer(logits, loss, batch[-1])

        def predict(*batch: Any) -> _loop.Answer:
            logits, loss = evaluate(self.state, *jax.device_put(batch, device))
            return answer(logits, loss, batch[-1])

        self._train(step, predict, rate, str(device))
        self.state = self.state.replace(apply_fn=judged.apply, training=False)


def _outputs(params: Any, inputs: Sequence[Any], state: Any) -> tuple[Any, Any]:
    """The network's output, and the batch norms' new sums in training ({} where there are none)."""
    rngs = {"dropout": state.dropout_rng}
    if not state.batch_stats:
        return state.apply_fn({"params": params}, *inputs, rngs=rngs), {}
    variables = {"params": params, "batch_stats": state.batch_stats}
    if not state.training:
        return state.apply_fn(variables, *inputs, rngs=rngs), {}
    output, changed = state.apply_fn(variables, *inputs, rngs=rngs, mutable=["batch_stats"])
    return output, changed


def _keys(key: Any) -> dict[str, Any]:
    """The keys of weights and of dropout: made of one, or given as such; None: new ones."""
    if isinstance(key, dict):
        return {"dropout": get_key(), **key}
    params, dropout = jax.random.split(get_key() if key is None else key)
    return {"params": params, "dropout": dropout}


def _gpus() -> list[Any]:
    return [device for device in jax.local_devices() if device.platform == "gpu"]


# ---------------------------------------------------------------------------- with train_ch6


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
    device: Any = None,
) -> None:
    """Train `net` anew with plain SGD at rate `lr`, as the book's sixth chapter does.

    Weights of convolutions and fully connected layers start Xavier-uniform, biases at zero.
    `device` is `try_gpu()` where it is left out. See `_loop.train` for what is shown. Raises
    NetinnetError.
    """
    _loop.check(num_epochs, lr)
    device = try_gpu() if device is None else device
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
        return np.asarray(update(model, optimizer, images, on_device)), np.asarray(labels), None

    def predict(images: Any, labels: Any) -> _loop.Answer:
        model.eval()
        return (
            np.asarray(logits_of(model, jax.device_put(images, device))),
            np.asarray(labels),
            None,
        )

    _loop.train(step, predict, train_iter, test_iter, num_epochs, lr, str(device))


def _initialise(net: nnx.Module) -> None:
    """New weights in place: kernels Xavier-uniform, biases zero."""
    key = get_key()
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
