"""Named networks: NiN of the chapter and of the paper, a small one, and what they stand beside.

Each function below is one network, readable at a glance; `ZOO` lists them with where they come
from, and `network(name, …)` makes one for any input size, channel count and number of classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netinnet.errors import NetworkError, nearest
from netinnet.network import (
    AvgPool,
    Block,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    MaxPool,
    Network,
    Preprocessing,
    ReLU,
    Shape,
    Sigmoid,
    conv_block,
    nin_block,
)

Blocks = tuple[Block, ...]


def _pool(number: int, padding: int = 0) -> Block:
    """Max pool 3×3, stride 2, the one behind every NiN block."""
    return Block(f"pool{number}", (MaxPool(3, 2, padding),))


def _dropout(name: str, rate: float) -> Blocks:
    """A dropout block, or nothing for rate 0."""
    return (Block(name, (Dropout(rate),)),) if rate else ()


_HEAD = Block("head", (GlobalAvgPool(), Flatten()))


def nin(classes: int, logits_relu: bool, dropout: float) -> Blocks:
    """The chapter's network: AlexNet's windows, a 1×1 network in every block, no dense layer."""
    return (
        nin_block(96, kernel=11, stride=4, name="block1"),
        _pool(1),
        nin_block(256, kernel=5, padding=2, name="block2"),
        _pool(2),
        nin_block(384, kernel=3, padding=1, name="block3"),
        _pool(3),
        *_dropout("dropout", dropout),
        nin_block(classes, kernel=3, padding=1, name="block4", last_relu=logits_relu),
        _HEAD,
    )


def nin_small(classes: int, logits_relu: bool, dropout: float) -> Blocks:
    """Under 0.1 M parameters for 28×28: batch norm behind every convolution but the last."""
    # The class map is used at 7×7, so the pools keep the border (padding 1) instead of losing it.
    return (
        nin_block((48, 32, 32), 3, padding=1, name="block1", norm=True, bias=False),
        _pool(1, padding=1),
        *_dropout("dropout1", dropout),
        nin_block((64, 64, 64), 3, padding=1, name="block2", norm=True, bias=False),
        _pool(2, padding=1),
        *_dropout("dropout2", dropout),
        nin_block(
            (96, 96, classes),
            3,
            padding=1,
            name="block3",
            norm=True,
            bias=False,
            last_relu=logits_relu,
        ),
        _HEAD,
    )


def _paper(
    kernels: tuple[int, int, int], widths: Sequence[Sequence[int]]
) -> Callable[[int, bool, float], Blocks]:
    """A configuration of the paper (section 4): three NiN blocks, dropout behind the first two.

    The authors' framework rounds pooled sizes up (32 → 16 → 8); padding 1 gives the same sizes.
    """

    def build(classes: int, logits_relu: bool, dropout: float) -> Blocks:
        blocks: list[Block] = []
        for i, (kernel, channels) in enumerate(zip(kernels, widths, strict=True), start=1):
            last = i == len(kernels)
            blocks.append(
                nin_block(
                    (*channels, classes) if last else channels,
                    kernel,
                    padding=kernel // 2,
                    name=f"block{i}",
                    last_relu=not last or logits_relu,
                )
            )
            if not last:
                blocks += [_pool(i, padding=1), *_dropout(f"dropout{i}", dropout)]
        return (*blocks, _HEAD)

    return build


nin_mnist = _paper((5, 5, 5), ((96, 64, 48), (128, 96, 48), (128, 96)))
nin_cifar = _paper((5, 5, 3), ((192, 160, 96), (192, 192, 192), (192, 192)))
nin_svhn = _paper((5, 5, 5), ((128, 96, 64), (320, 256, 128), (384, 256)))


def nin_imagenet(classes: int, logits_relu: bool, dropout: float) -> Blocks:
    """The ImageNet model of the Caffe Model Zoo, by the paper's authors."""
    return (
        nin_block(96, kernel=11, stride=4, name="block1"),
        # Caffe rounds the pooled size up (54 → 27); padding 1 gives the same size here.
        _pool(1, padding=1),
        nin_block(256, kernel=5, padding=2, name="block2"),
        _pool(2),
        nin_block(384, kernel=3, padding=1, name="block3"),
        _pool(3),
        *_dropout("dropout", dropout),
        nin_block((1024, 1024, classes), kernel=3, padding=1, name="block4", last_relu=logits_relu),
        _HEAD,
    )


def lenet(classes: int, logits_relu: bool, dropout: float) -> Blocks:
    """LeNet as the book has it: sigmoids and average pools."""

    def dense(name: str, features: int) -> Block:
        return Block(name, (Linear(features), Sigmoid()))

    return (
        Block("block1", (Conv(6, 5, padding=2), Sigmoid())),
        Block("pool1", (AvgPool(2, 2),)),
        Block("block2", (Conv(16, 5), Sigmoid())),
        Block("pool2", (AvgPool(2, 2),)),
        Block("flatten", (Flatten(),)),
        dense("dense1", 120),
        dense("dense2", 84),
        Block("head", (Linear(classes),)),
    )


def _dense_head(classes: int, dropout: float) -> Blocks:
    """The fully connected head of AlexNet and VGG: 4096, 4096, classes."""

    def dense(name: str) -> Block:
        layers: tuple[Layer, ...] = (Linear(4096), ReLU())
        return Block(name, (*layers, Dropout(dropout)) if dropout else layers)

    return (
        Block("flatten", (Flatten(),)),
        dense("dense1"),
        dense("dense2"),
        Block("head", (Linear(classes),)),
    )


def alexnet(classes: int, logits_relu: bool, dropout: float) -> Blocks:
    """AlexNet in the book's one-channel variant."""
    return (
        conv_block("block1", [Conv(96, 11, stride=4, padding=1)]),
        _pool(1),
        conv_block("block2", [Conv(256, 5, padding=2)]),
        _pool(2),
        conv_block(
            "block3", [Conv(384, 3, padding=1), Conv(384, 3, padding=1), Conv(256, 3, padding=1)]
        ),
        _pool(3),
        *_dense_head(classes, dropout),
    )


def _vgg11(width_divisor: int) -> Callable[[int, bool, float], Blocks]:
    def build(classes: int, logits_relu: bool, dropout: float) -> Blocks:
        blocks: list[Block] = []
        stages = ((1, 64), (1, 128), (2, 256), (2, 512), (2, 512))
        for i, (depth, channels) in enumerate(stages, start=1):
            conv = Conv(channels // width_divisor, 3, padding=1)
            blocks.append(conv_block(f"block{i}", [conv] * depth))
            blocks.append(Block(f"pool{i}", (MaxPool(2, 2),)))
        return (*blocks, *_dense_head(classes, dropout))

    return build


vgg11 = _vgg11(1)
vgg11_quarter = _vgg11(4)


@dataclass(frozen=True)
class Entry:
    """One network of the zoo: how to build it, its own input and classes, where it comes from."""

    build: Callable[[int, bool, float], Blocks]
    input: Shape
    classes: int
    source: str
    logits_relu: bool | None = True
    """Whether a ReLU stands behind the logits; None where the network has no such choice."""
    dropout: float | None = 0.5
    """Its own dropout rate; None where the network has no place for dropout."""


ZOO: dict[str, Entry] = {
    "nin": Entry(nin, Shape(1, 224, 224), 10, "the chapter (Dive into Deep Learning)"),
    "nin-small": Entry(
        nin_small, Shape(1, 28, 28), 10, "this project: small, batch norm", False, 0.0
    ),
    "nin-mnist": Entry(nin_mnist, Shape(1, 28, 28), 10, "Lin, Chen, Yan 2013: MNIST"),
    "nin-cifar10": Entry(nin_cifar, Shape(3, 32, 32), 10, "Lin, Chen, Yan 2013: CIFAR-10"),
    "nin-cifar100": Entry(nin_cifar, Shape(3, 32, 32), 100, "Lin, Chen, Yan 2013: CIFAR-100"),
    "nin-svhn": Entry(nin_svhn, Shape(3, 32, 32), 10, "Lin, Chen, Yan 2013: SVHN"),
    "nin-imagenet": Entry(
        nin_imagenet, Shape(3, 224, 224), 1000, "Caffe Model Zoo (the paper's authors): ImageNet"
    ),
    "lenet": Entry(lenet, Shape(1, 28, 28), 10, "the book's LeNet", None, None),
    "alexnet": Entry(alexnet, Shape(1, 224, 224), 10, "the book's AlexNet, one channel", None),
    "vgg11": Entry(vgg11, Shape(1, 224, 224), 10, "the book's VGG-11, one channel", None),
    "vgg11-quarter": Entry(
        vgg11_quarter, Shape(1, 224, 224), 10, "the book's VGG-11, quarter-width convolutions", None
    ),
}


def entry(name: str) -> Entry:
    """The zoo's entry of that name. Raises NetworkError with the nearest name."""
    if name not in ZOO:
        raise NetworkError(
            f"unknown network '{name}'{nearest(name, ZOO)}; known are {', '.join(ZOO)}"
        )
    return ZOO[name]


def network(
    name: str,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    classes: int | Sequence[str] | None = None,
    logits_relu: bool | None = None,
    dropout: float | None = None,
    preprocessing: Preprocessing | None = None,
) -> Network:
    """A network of the zoo, as it is or for another input, other classes, other options.

    `classes` is their number or their names. `logits_relu` and `dropout` None mean as the network
    has it. Raises NetworkError where the name is unknown, the input is too small, or the network
    has no such option.
    """
    found = entry(name)
    shape = found.input
    if image_size is not None:
        shape = shape._replace(height=image_size, width=image_size)
    if channels is not None:
        shape = shape._replace(channels=channels)
    if classes is None or isinstance(classes, int):
        count = found.classes if classes is None else classes
        names = tuple(str(i) for i in range(count))
    else:
        names = tuple(classes)
    if not names:
        raise NetworkError(f"{name}: the number of classes must be at least 1, got 0")
    for option, value, own in (
        ("logits_relu", logits_relu, found.logits_relu),
        ("dropout", dropout, found.dropout),
    ):
        if value is not None and own is None:
            raise NetworkError(f"{name} has no option {option}: leave it out")
    return Network(
        name=name,
        input=shape,
        blocks=found.build(
            len(names),
            bool(found.logits_relu if logits_relu is None else logits_relu),
            float(dropout if dropout is not None else found.dropout or 0.0),
        ),
        classes=names,
        preprocessing=preprocessing or Preprocessing(),
    )


def with_preprocessing(net: Network, preprocessing: Preprocessing) -> Network:
    """The same network behind another preprocessing."""
    return dataclasses.replace(net, preprocessing=preprocessing)
