"""The chapter's functions for PyTorch: `from netinnet.book import torch as d2l`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from netinnet.book import _common, _loop
from netinnet.frameworks import unusable

try:
    import torch
    from torch import nn
except Exception as error:  # a broken installation can fail in any way
    raise unusable("pytorch", error) from error

__all__ = ["load_data_fashion_mnist", "train_ch6", "try_gpu"]


def try_gpu(i: int = 0) -> torch.device:
    """GPU number `i` where there is one, else the CPU."""
    return torch.device(f"cuda:{i}" if 0 <= i < torch.cuda.device_count() else "cpu")


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
    device: torch.device | str,
) -> None:
    """Train `net` anew with plain SGD at rate `lr`, as the book's sixth chapter does.

    Weights of convolutions and fully connected layers start Xavier-uniform, biases at zero. See
    `_loop.train` for what is shown. Raises NetinnetError.
    """
    _loop.check(num_epochs, lr)
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
        return logits.detach().cpu().numpy(), labels.cpu().numpy()

    @torch.no_grad()
    def predict(images: Any, labels: Any) -> _loop.Answer:
        net.eval()
        return net(images.to(device)).cpu().numpy(), labels.cpu().numpy()

    _loop.train(step, predict, train_iter, test_iter, num_epochs, lr, str(device))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _tensors(images: _common.Images, labels: _common.Labels) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)


def _seed() -> int:
    return int(torch.randint(2**31, ()))
