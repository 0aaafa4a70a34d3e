"""Named networks: NiN of the chapter and of the paper, a small one, and what they stand beside.

Each function below is one network, readable at a glance, for any number of classes; `ZOO` lists
them with where they come from, and `network(name, …)` makes one for any input, with variations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from netinnet.errors import NetworkError, nearest
from netinnet.networks.description import Description
from netinnet.networks.layers import (
    AvgPool,
    Conv,
    Dropout,
    Flatten,
    Linear,
    MaxPool,
    ReLU,
    Shape,
    Sigmoid,
)
from netinnet.networks.network import Block, Network, Preprocessing, conv_block, nin_block
from netinnet.networks.variations import Blocks, head

__all__ = ["ZOO", "entry", "network", "with_preprocessing"]


def _block(
    name: str,
    channels: tuple[int, ...],
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    *,
    norm: bool = False,
    last_relu: bool = True,
) -> Block:
    """A NiN block; batch norm replaces biases."""
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


def _pool(number: int, padding: int = 0) -> Block:
    """Max pool 3×3, stride 2, the one behind every NiN block."""
    return Block(f"pool{number}", (MaxPool(3, 2, padding),))


def _dropout(name: str) -> Block:
    return Block(name, (Dropout(0.5),))


def _head(classes: int) -> Block:
    """Global average pooling: the means of the class maps."""
    return Block("head", head("gap", classes))


def nin(classes: int) -> Blocks:
    """The chapter's network: AlexNet's windows, a 1×1 network in every block, no dense layer."""
    return (
        _block("block1", (96, 96, 96), kernel=11, stride=4),
        _pool(1),
        _block("block2", (256, 256, 256), kernel=5, padding=2),
        _pool(2),
        _block("block3", (384, 384, 384), kernel=3, padding=1),
        _pool(3),
        _dropout("dropout"),
        _block("block4", (classes, classes, classes), kernel=3, padding=1),
        _head(classes),
    )


def nin_small(classes: int) -> Blocks:
    """Under 0.1 M parameters for 28×28: batch norm behind every convolution but the last."""
    # The class map is used at 7×7, so the pools keep the border (padding 1) instead of losing it.
    return (
        _block("block1", (48, 32, 32), kernel=3, padding=1, norm=True),
        _pool(1, padding=1),
        _block("block2", (64, 64, 64), kernel=3, padding=1, norm=True),
        _pool(2, padding=1),
        _block("block3", (96, 96, classes), kernel=3, padding=1, norm=True, last_relu=False),
        _head(classes),
    )


def _paper(
    kernels: tuple[int, int, int], widths: tuple[tuple[int, ...], ...]
) -> Callable[[int], Blocks]:
    """A configuration of the paper (section 4): three NiN blocks, dropout behind the first two.

    The authors' framework rounds pooled sizes up (32 → 16 → 8); padding 1 gives the same sizes.
    """

    def build(classes: int) -> Blocks:
        first, second, third = widths
        return (
            _block("block1", first, kernels[0], padding=kernels[0] // 2),
            _pool(1, padding=1),
            _dropout("dropout1"),
            _block("block2", second, kernels[1], padding=kernels[1] // 2),
            _pool(2, padding=1),
            _dropout("dropout2"),
            _block("block3", (*third, classes), kernels[2], padding=kernels[2] // 2),
            _head(classes),
        )

    return build


nin_mnist = _paper((5, 5, 5), ((96, 64, 48), (128, 96, 48), (128, 96)))
nin_cifar = _paper((5, 5, 3), ((192, 160, 96), (192, 192, 192), (192, 192)))
nin_svhn = _paper((5, 5, 5), ((128, 96, 64), (320, 256, 128), (384, 256)))


def nin_imagenet(classes: int) -> Blocks:
    """The ImageNet model of the Caffe Model Zoo, by the paper's authors."""
    return (
        _block("block1", (96, 96, 96), kernel=11, stride=4),
        # Caffe rounds the pooled size up (54 → 27); padding 1 gives the same size here.
        _pool(1, padding=1),
        _block("block2", (256, 256, 256), kernel=5, padding=2),
        _pool(2),
        _block("block3", (384, 384, 384), kernel=3, padding=1),
        _pool(3),
        _dropout("dropout"),
        _block("block4", (1024, 1024, classes), kernel=3, padding=1),
        _head(classes),
    )


def lenet(classes: int) -> Blocks:
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


def _dense_layers(classes: int) -> Blocks:
    """The fully connected layers of AlexNet and VGG: 4096, 4096, classes."""
    return (
        Block("flatten", (Flatten(),)),
        Block("dense1", (Linear(4096), ReLU(), Dropout(0.5))),
        Block("dense2", (Linear(4096), ReLU(), Dropout(0.5))),
        Block("head", (Linear(classes),)),
    )


def alexnet(classes: int) -> Blocks:
    """AlexNet in the book's one-channel variant."""
    return (
        conv_block("block1", [Conv(96, 11, stride=4, padding=1)]),
        _pool(1),
        conv_block("block2", [Conv(256, 5, padding=2)]),
        _pool(2),
        conv_block("block3", [Conv(count, 3, padding=1) for count in (384, 384, 256)]),
        _pool(3),
        *_dense_layers(classes),
    )


def _vgg11(width_divisor: int) -> Callable[[int], Blocks]:
    def build(classes: int) -> Blocks:
        blocks: list[Block] = []
        stages = ((1, 64), (1, 128), (2, 256), (2, 512), (2, 512))
        for i, (depth, channels) in enumerate(stages, start=1):
            convs = [Conv(channels // width_divisor, 3, padding=1)] * depth
            blocks += [conv_block(f"block{i}", convs), Block(f"pool{i}", (MaxPool(2, 2),))]
        return (*blocks, *_dense_layers(classes))

    return build


vgg11 = _vgg11(1)
vgg11_quarter = _vgg11(4)

_GREY_28, _GREY_224 = Shape(1, 28, 28), Shape(1, 224, 224)
_COLOUR_32, _COLOUR_224 = Shape(3, 32, 32), Shape(3, 224, 224)
ZOO: dict[str, Description] = {
    found.name: found
    for found in (
        Description("nin", nin, _GREY_224, 10, "the chapter (Dive into Deep Learning)"),
        Description("nin-small", nin_small, _GREY_28, 10, "this project: small, batch norm"),
        Description("nin-mnist", nin_mnist, _GREY_28, 10, "Lin, Chen, Yan 2013: MNIST"),
        Description("nin-cifar10", nin_cifar, _COLOUR_32, 10, "Lin, Chen, Yan 2013: CIFAR-10"),
        Description("nin-cifar100", nin_cifar, _COLOUR_32, 100, "Lin, Chen, Yan 2013: CIFAR-100"),
        Description("nin-svhn", nin_svhn, _COLOUR_32, 10, "Lin, Chen, Yan 2013: SVHN"),
        Description(
            *("nin-imagenet", nin_imagenet, _COLOUR_224, 1000),
            "Caffe Model Zoo (the paper's authors): ImageNet",
        ),
        Description("lenet", lenet, _GREY_28, 10, "the book's LeNet"),
        Description("alexnet", alexnet, _GREY_224, 10, "the book's AlexNet, one channel"),
        Description("vgg11", vgg11, _GREY_224, 10, "the book's VGG-11, one channel"),
        Description(
            *("vgg11-quarter", vgg11_quarter, _GREY_224, 10),
            "the book's VGG-11, quarter-width convolutions",
        ),
    )
}


def entry(name: str) -> Description:
    """The zoo's entry of that name. Raises NetworkError with the nearest name."""
    if name not in ZOO:
        raise NetworkError(
            f"unknown network '{name}'{nearest(name, ZOO)}; known are {', '.join(ZOO)}"
        )
    return ZOO[name]


def network(name: str, **options: Any) -> Network:
    """A network of the zoo, as it is or for another input, other classes, with variations.

    `options` are those of `Description.network`: image_size, channels, classes (their number or
    names), preprocessing, and the fields of `Variations`. Raises NetworkError.
    """
    return entry(name).network(**options)


def with_preprocessing(net: Network, preprocessing: Preprocessing) -> Network:
    """The same network behind another preprocessing."""
    return dataclasses.replace(net, preprocessing=preprocessing)
