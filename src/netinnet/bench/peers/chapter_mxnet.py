"""The chapter in MXNet: a Gluon `Sequential`, `Trainer`, transforms that resize in four workers."""

from __future__ import annotations

import time
from typing import Any

import numpy
from mxnet import autograd, gluon, init, np, npx
from mxnet.gluon import nn
from mxnet.gluon.data.vision import transforms

from netinnet.data import datasets

BATCH = 128
SIZE = 224

npx.set_np()


def nin_block(channels: int, kernel: int, strides: int, padding: int) -> Any:
    block = nn.Sequential()
    block.add(
        nn.Conv2D(channels, kernel, strides, padding, activation="relu"),
        nn.Conv2D(channels, kernel_size=1, activation="relu"),
        nn.Conv2D(channels, kernel_size=1, activation="relu"),
    )
    return block


def measure(warmup: int, steps: int) -> float:
    """Images/s of training steps: loading, resizing, forward, backward, update."""
    net = nn.Sequential()
    net.add(
        nin_block(96, 11, 4, 0),
        nn.MaxPool2D(pool_size=3, strides=2),
        nin_block(256, 5, 1, 2),
        nn.MaxPool2D(pool_size=3, strides=2),
        nin_block(384, 3, 1, 1),
        nn.MaxPool2D(pool_size=3, strides=2),
        nn.Dropout(0.5),
        nin_block(10, 3, 1, 1),
        nn.GlobalAvgPool2D(),
        nn.Flatten(),
    )
    net.initialize(init=init.Xavier())
    train = datasets.load("fashion-mnist").train
    resizing = transforms.Compose([transforms.Resize(SIZE), transforms.ToTensor()])
    pictures = gluon.data.ArrayDataset(
        np.array(train.pictures(numpy.arange(len(train)))), train.labels
    )
    loader = gluon.data.DataLoader(
        pictures.transform_first(resizing), BATCH, shuffle=True, num_workers=4
    )
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    began = 0.0
    for step, (x, y) in enumerate(loader):
        if step == warmup:
            began = time.perf_counter()
        with autograd.record():
            out = net(x)
            value = loss(out, y)
        value.backward()
        trainer.step(BATCH)
        float(value.sum()), float((out.argmax(axis=1) == y).sum())
        if step == warmup + steps - 1:
            break
    npx.waitall()
    return BATCH * steps / (time.perf_counter() - began)


def multiply(n: int) -> float:
    a, b = np.random.uniform(size=(n, n)), np.random.uniform(size=(n, n))
    npx.waitall()
    began = time.perf_counter()
    np.dot(a, b).wait_to_read()
    return time.perf_counter() - began
