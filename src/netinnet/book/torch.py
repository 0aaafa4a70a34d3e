"""What the chapter calls, for PyTorch: `from netinnet.book import torch as d2l`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn, TypeGuard

from netinnet.book import _common, _data, _edition1, _loop, _names
from netinnet.book._data import DataModule, show_images
from netinnet.book._edition1 import add_to_class
from netinnet.book._hyperparameters import HyperParameters
from netinnet.frameworks import unusable

try:
    import torch
    from torch import nn
except Exception as error:  # a broken installation can fail in any way
    raise unusable("pytorch", error) from error

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

randn = torch.randn


def __getattr__(name: str) -> NoReturn:
    raise _names.unknown("torch", name, __all__)


def cpu() -> torch.device:
    return torch.device("cpu")


def gpu(i: int = 0) -> torch.device:
    """GPU number `i`, whether it is there or not."""
    return torch.device(f"cuda:{i}")


def num_gpus() -> int:
    return torch.cuda.device_count()


def try_gpu(i: int = 0) -> torch.device:
    """GPU number `i` where there is one, else the CPU."""
    return gpu(i) if 0 <= i < num_gpus() else cpu()


def try_all_gpus() -> list[torch.device]:
    """All GPUs, or the CPU alone where there is none."""
    return [gpu(i) for i in range(num_gpus())] or [cpu()]


def init_cnn(module: nn.Module) -> None:
    """Start the weight of a convolution or a linear layer Xavier-uniform; its bias is left.

    For `net.apply`. A lazy layer that has no weight yet is left, too.
    """
    if _has_weight(module):
        nn.init.xavier_uniform_(module.weight)


# ---------------------------------------------------------------------------- edition 1.0


class Module(nn.Module, _edition1.Steps):
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
        """Plain SGD at the rate `lr`."""
        return torch.optim.SGD(self.parameters(), lr=_edition1.rate_of(self))

    @torch.no_grad()
    def apply_init(
        self, inputs: Sequence[Any], init: Callable[[nn.Module], Any] | None = None
    ) -> None:
        """Run the inputs, so that lazy layers get their sizes; then apply `init` to each layer."""
        self.forward(*inputs)
        if init is not None:
            self.net.apply(init)


class Classifier(Module):
    """A network that gives a logit for each class: softmax cross-entropy, accuracy."""

    def loss(self, Y_hat: Any, Y: Any, averaged: bool = True) -> Any:  # noqa: N803
        """Cross-entropy of the logits (…×k) and labels, in nats: its mean, or each one's."""
        logits = Y_hat.reshape(-1, Y_hat.shape[-1])
        reduction = "mean" if averaged else "none"
        return nn.functional.cross_entropy(logits, Y.reshape(-1), reduction=reduction)

    def accuracy(self, Y_hat: Any, Y: Any, averaged: bool = True) -> Any:  # noqa: N803
        """Share of labels whose logit is the largest, or 1 and 0 for each."""
        found = Y_hat.reshape(-1, Y_hat.shape[-1]).argmax(dim=1) == Y.reshape(-1)
        return found.float().mean() if averaged else found.float()

    @torch.no_grad()
    def layer_summary(self, X_shape: Sequence[int]) -> None:  # noqa: N803
        """Print each layer of `net`, and the shape that comes out of it for that input's shape."""
        layers = _edition1.layers_of(self.net)
        training = [layer.training for layer in layers]
        x = torch.randn(*X_shape)
        for layer, mode in zip(layers, training, strict=True):
            x = layer.eval()(x)
            layer.train(mode)
            print(_edition1.layer_line(layer, x.shape))


class FashionMNIST(_data.FashionMNIST):
    __doc__ = _data.FashionMNIST.__doc__

    def _convert(self, images: _common.Images, labels: _common.Labels) -> tuple[Any, Any]:
        return _tensors(images, labels)

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
        if any(nn.parameter.is_lazy(parameter) for parameter in model.parameters()):
            print("lazy layers: their weights start as PyTorch starts them; model.apply_init first")
            model.apply_init(next(iter(self.train_dataloader))[:-1])
        model.to(device)
        optimizer = model.configure_optimizers()
        seen: list[Any] = []
        hook = model.register_forward_hook(lambda _module, _inputs, output: seen.append(output))

        def answer(loss: Any, labels: Any) -> _loop.Answer:
            value = None if loss is None else float(loss.detach())
            logits = _edition1.logits_in(seen)
            return logits.detach().cpu().numpy(), labels.cpu().numpy(), value

        def step(*batch: Any) -> _loop.Answer:
            model.train()
            batch = tuple(part.to(device) for part in batch)
            loss = model.training_step(batch)
            optimizer.zero_grad()
            loss.backward()
            if self.gradient_clip_val > 0:
                nn.utils.clip_grad_norm_(model.parameters(), self.gradient_clip_val)
            optimizer.step()
            return answer(loss, batch[-1])

        @torch.no_grad()
        def predict(*batch: Any) -> _loop.Answer:
            model.eval()
            batch = tuple(part.to(device) for part in batch)
            return answer(model.validation_step(batch), batch[-1])

        try:
            self._train(step, predict, rate, str(device))
        finally:
            hook.remove()


# ---------------------------------------------------------------------------- with train_ch6


def load_data_fashion_mnist(batch_size: int, resize: int | None = None) -> _common.Loaders:
    """Training and test batches of Fashion-MNIST: (float32 N×1×H×W in 0…1, int64 N).

    H and W are `resize`, or 28. The training batches come in a new order every epoch. Raises
    NetinnetError for sizes that can't be, DataError where the data set can't be had.
    """
    return _common.load_data(batch_size, resize, _tensors, _seed)


def train_ch6(
    net: nn.Module,
    train_iter: Collection[tuple[Any, Any]],
    test_iter: Collection[tuple[Any, Any]],
    num_epochs: int,
    lr: float,
    device: torch.device | str | None = None,
) -> None:
    """Train `net` anew with plain SGD at rate `lr`, as the book's sixth chapter does.

    Weights of convolutions and fully connected layers start Xavier-uniform, biases at zero.
    `device` is `try_gpu()` where it is left out. See `_loop.train` for what is shown. Raises
    NetinnetError.
    """
    _loop.check(num_epochs, lr)
    device = try_gpu() if device is None else device
    net.apply(_initialise)
    net.to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    loss = nn.CrossEntropyLoss()

    def step(images: Any, labels: Any) -> _loop.Answer:
        net.train()
        optimizer.zero_grad()
        logits = net(images.to(device))
        loss(logits, labels.to(device)).backward()
        optimizer.step()
        return logits.detach().cpu().numpy(), labels.cpu().numpy(), None

    @torch.no_grad()
    def predict(images: Any, labels: Any) -> _loop.Answer:
        net.eval()
        return net(images.to(device)).cpu().numpy(), labels.cpu().numpy(), None

    _loop.train(step, predict, train_iter, test_iter, num_epochs, lr, str(device))


def _initialise(module: nn.Module) -> None:
    init_cnn(module)
    if _has_weight(module) and module.bias is not None:
        nn.init.zeros_(module.bias)


def _has_weight(module: nn.Module) -> TypeGuard[nn.Conv2d | nn.Linear]:
    # A lazy layer is one of these from the start, and has no weight before its first input.
    return isinstance(module, nn.Conv2d | nn.Linear) and not nn.parameter.is_lazy(module.weight)


def _tensors(images: _common.Images, labels: _common.Labels) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)


def _seed() -> int:
    return int(torch.randint(2**31, ()))
