"""Named networks: NiN of the chapter and of the paper, a small one, and what they stand beside.

Each function below is one network, readable at a glance; `ZOO` lists them with where they come
from, and `network(name, …)` makes one for any input size, channel count and number of classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netinnet.errors import NetworkError, check_name
from netinnet.networks.layers import (
    AvgPool,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    MaxPool,
    ReLU,
    Shape,
    Sigmoid,
)
from netinnet.networks.network import Block, Network, Preprocessing, conv_block, nin_block
from netinnet.networks.options import HEADS, Options, channel_counts

__all__ = ["HEADS", "ZOO", "Entry", "Options", "entry", "network", "with_preprocessing"]

Blocks = tuple[Block, ...]


def _block(
    o: Options,
    name: str,
    channels: tuple[int, ...],
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    *,
    norm: bool = False,
    last_relu: bool = True,
) -> Block:
    """A NiN block with as many 1×1 convolutions as the options say; batch norm replaces biases."""
    if o.pointwise is not None:
        channels = _with_pointwise(channels, o.pointwise)
    return nin_block(
        channels,
        kernel,
        stride,
        padding,
        len(channels) - 1,
        name=name,
        norm=norm,
        bias=not norm,
        last_relu=last_relu,
    )


def _with_pointwise(channels: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The channels of a block with `count` 1×1 convolutions: the block's output stays as it is.

    Convolutions in the middle are left out, or the last of them repeated. Without any, the
    convolution itself makes the block's output.
    """
    if count == 0:
        return channels[-1:]
    middle = channels[1:-1] + channels[-2:-1] * count
    return (channels[0], *middle[: count - 1], channels[-1])


def _last_block(
    o: Options, name: str, before: tuple[int, ...], kernel: int, *, norm: bool = False
) -> Block:
    """The block that ends in a channel for each class, `before` its channels until then."""
    narrowing = o.narrowing
    if narrowing is not None:
        o, before = dataclasses.replace(o, pointwise=None), narrowing
    return _block(
        o,
        name,
        (*before, o.classes),
        kernel,
        padding=kernel // 2,
        norm=norm,
        last_relu=o.logits_relu,
    )


def _pool(number: int, padding: int = 0) -> Block:
    """Max pool 3×3, stride 2, the one behind every NiN block."""
    return Block(f"pool{number}", (MaxPool(3, 2, padding),))


def _dropout(name: str, rate: float) -> Blocks:
    """A dropout block, or nothing for rate 0."""
    return (Block(name, (Dropout(rate),)),) if rate else ()


def _head(o: Options) -> Block:
    """From the class maps to the logits: their means, or a fully connected layer over them."""
    match o.head:
        case "gap":
            return Block("head", (GlobalAvgPool(), Flatten()))
        case "dense":
            return Block("head", (Flatten(), Linear(o.classes)))
        case _:
            return Block("head", (Flatten(), Dropout(0.5), Linear(o.classes)))


def nin(o: Options) -> Blocks:
    """The chapter's network: AlexNet's windows, a 1×1 network in every block, no dense layer."""
    return (
        _block(o, "block1", o.wide(96, 96, 96), kernel=11, stride=4),
        _pool(1),
        _block(o, "block2", o.wide(256, 256, 256), kernel=5, padding=2),
        _pool(2),
        _block(o, "block3", o.wide(384, 384, 384), kernel=3, padding=1),
        _pool(3),
        *_dropout("dropout", o.dropout),
        _last_block(o, "block4", (o.classes, o.classes), kernel=3),
        _head(o),
    )


def nin_small(o: Options) -> Blocks:
    """Under 0.1 M parameters for 28×28: batch norm behind every convolution but the last."""
    # The class map is used at 7×7, so the pools keep the border (padding 1) instead of losing it.
    return (
        _block(o, "block1", o.wide(48, 32, 32), kernel=3, padding=1, norm=True),
        _pool(1, padding=1),
        *_dropout("dropout1", o.dropout),
        _block(o, "block2", o.wide(64, 64, 64), kernel=3, padding=1, norm=True),
        _pool(2, padding=1),
        *_dropout("dropout2", o.dropout),
        _last_block(o, "block3", o.wide(96, 96), kernel=3, norm=True),
        _head(o),
    )


def _paper(
    kernels: tuple[int, int, int], widths: tuple[tuple[int, ...], ...]
) -> Callable[[Options], Blocks]:
    """A configuration of the paper (section 4): three NiN blocks, dropout behind the first two.

    The authors' framework rounds pooled sizes up (32 → 16 → 8); padding 1 gives the same sizes.
    """

    def build(o: Options) -> Blocks:
        first, second, third = (o.wide(*block) for block in widths)
        return (
            _block(o, "block1", first, kernels[0], padding=kernels[0] // 2),
            _pool(1, padding=1),
            *_dropout("dropout1", o.dropout),
            _block(o, "block2", second, kernels[1], padding=kernels[1] // 2),
            _pool(2, padding=1),
            *_dropout("dropout2", o.dropout),
            _last_block(o, "block3", third, kernels[2]),
            _head(o),
        )

    return build


nin_mnist = _paper((5, 5, 5), ((96, 64, 48), (128, 96, 48), (128, 96)))
nin_cifar = _paper((5, 5, 3), ((192, 160, 96), (192, 192, 192), (192, 192)))
nin_svhn = _paper((5, 5, 5), ((128, 96, 64), (320, 256, 128), (384, 256)))


def nin_imagenet(o: Options) -> Blocks:
    """The ImageNet model of the Caffe Model Zoo, by the paper's authors."""
    return (
        _block(o, "block1", o.wide(96, 96, 96), kernel=11, stride=4),
        # Caffe rounds the pooled size up (54 → 27); padding 1 gives the same size here.
        _pool(1, padding=1),
        _block(o, "block2", o.wide(256, 256, 256), kernel=5, padding=2),
        _pool(2),
        _block(o, "block3", o.wide(384, 384, 384), kernel=3, padding=1),
        _pool(3),
        *_dropout("dropout", o.dropout),
        _last_block(o, "block4", o.wide(1024, 1024), kernel=3),
        _head(o),
    )


def lenet(o: Options) -> Blocks:
    """LeNet as the book has it: sigmoids and average pools."""
    first, second, third, fourth = o.wide(6, 16, 120, 84)

    def dense(name: str, features: int) -> Block:
        return Block(name, (Linear(features), Sigmoid()))

    return (
        Block("block1", (Conv(first, 5, padding=2), Sigmoid())),
        Block("pool1", (AvgPool(2, 2),)),
        Block("block2", (Conv(second, 5), Sigmoid())),
        Block("pool2", (AvgPool(2, 2),)),
        Block("flatten", (Flatten(),)),
        dense("dense1", third),
        dense("dense2", fourth),
        Block("head", (Linear(o.classes),)),
    )


def _dense_layers(o: Options) -> Blocks:
    """The fully connected layers of AlexNet and VGG: 4096, 4096, classes."""
    (features,) = o.wide(4096)

    def dense(name: str) -> Block:
        layers: tuple[Layer, ...] = (Linear(features), ReLU())
        return Block(name, (*layers, Dropout(o.dropout)) if o.dropout else layers)

    return (
        Block("flatten", (Flatten(),)),
        dense("dense1"),
        dense("dense2"),
        Block("head", (Linear(o.classes),)),
    )


def alexnet(o: Options) -> Blocks:
    """AlexNet in the book's one-channel variant."""
    first, second, third, fourth, fifth = o.wide(96, 256, 384, 384, 256)
    return (
        conv_block("block1", [Conv(first, 11, stride=4, padding=1)]),
        _pool(1),
        conv_block("block2", [Conv(second, 5, padding=2)]),
        _pool(2),
        conv_block("block3", [Conv(count, 3, padding=1) for count in (third, fourth, fifth)]),
        _pool(3),
        *_dense_layers(o),
    )


def _vgg11(width_divisor: int) -> Callable[[Options], Blocks]:
    def build(o: Options) -> Blocks:
        blocks: list[Block] = []
        stages = ((1, 64), (1, 128), (2, 256), (2, 512), (2, 512))
        for i, (depth, channels) in enumerate(stages, start=1):
            (count,) = o.wide(channels // width_divisor)
            blocks.append(conv_block(f"block{i}", [Conv(count, 3, padding=1)] * depth))
            blocks.append(Block(f"pool{i}", (MaxPool(2, 2),)))
        return (*blocks, *_dense_layers(o))

    return build


vgg11 = _vgg11(1)
vgg11_quarter = _vgg11(4)


@dataclass(frozen=True)
class Entry:
    """One network of the zoo: how to build it, its own input and classes, where it comes from."""

    build: Callable[[Options], Blocks]
    input: Shape
    classes: int
    source: str
    logits_relu: bool | None = True
    """Whether a ReLU stands behind the logits; None where the network has no such choice."""
    dropout: float | None = 0.5
    """Its own dropout rate; None where the network has no place for dropout."""

    @property
    def is_nin(self) -> bool:
        """Whether it is made of NiN blocks and ends in class maps."""
        return self.logits_relu is not None


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
    check_name("network", name, ZOO, NetworkError)
    return ZOO[name]


def network(
    name: str,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    classes: int | Sequence[str] | None = None,
    logits_relu: bool | None = None,
    dropout: float | None = None,
    pointwise: int | None = None,
    narrowing: str | None = None,
    head: str | None = None,
    width: float | None = None,
    preprocessing: Preprocessing | None = None,
) -> Network:
    """A network of the zoo, as it is or for another input, other classes, other options.

    `classes` is their number or their names. The options (see `Options`) are None where the network
    stays as it is; `narrowing` is written like "128-32". Raises NetworkError where the name is
    unknown, the input is too small, or the network has no such option.
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
    for option, value, is_possible in (
        ("logits_relu", logits_relu, found.logits_relu is not None),
        ("dropout", dropout, found.dropout is not None),
        ("pointwise", pointwise, found.is_nin),
        ("narrowing", narrowing, found.is_nin),
        ("head", head, found.is_nin),
    ):
        if value is not None and not is_possible:
            raise NetworkError(f"{name} has no option {option}: leave it out")
    options = Options(
        classes=len(names),
        logits_relu=bool(found.logits_relu if logits_relu is None else logits_relu),
        dropout=float(dropout if dropout is not None else found.dropout or 0.0),
        pointwise=pointwise,
        narrowing=None if narrowing is None else channel_counts(narrowing),
        head=head or "gap",
        width=1.0 if width is None else width,
    )
    return Network(
        name=name,
        input=shape,
        blocks=found.build(options),
        classes=names,
        preprocessing=preprocessing or Preprocessing(),
    )


def with_preprocessing(net: Network, preprocessing: Preprocessing) -> Network:
    """The same network behind another preprocessing."""
    return dataclasses.replace(net, preprocessing=preprocessing)
