"""The chapters on LeNet, AlexNet, VGG and NiN in the manner of edition 1.0, for JAX.

AlexNet's dense layers are narrower than the book's, and pictures are smaller; NiN's average is over
the whole map, however large that is; else it is theirs.
"""

from types import FunctionType

import jax
from d2l import jax as d2l
from flax import linen as nn
from jax import numpy as jnp


class LeNet(d2l.Classifier):
    lr: float = 0.1
    num_classes: int = 10
    kernel_init: FunctionType = nn.initializers.xavier_uniform

    def setup(self):
        self.net = nn.Sequential(
            [
                nn.Conv(
                    features=6, kernel_size=(5, 5), padding="SAME", kernel_init=self.kernel_init()
                ),
                nn.sigmoid,
                lambda x: nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2)),
                nn.Conv(
                    features=16, kernel_size=(5, 5), padding="VALID", kernel_init=self.kernel_init()
                ),
                nn.sigmoid,
                lambda x: nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2)),
                lambda x: x.reshape((x.shape[0], -1)),
                nn.Dense(features=120, kernel_init=self.kernel_init()),
                nn.sigmoid,
                nn.Dense(features=84, kernel_init=self.kernel_init()),
                nn.sigmoid,
                nn.Dense(features=self.num_classes, kernel_init=self.kernel_init()),
            ]
        )


@d2l.add_to_class(d2l.Classifier)
def shapes(self, shape, key=jax.random.PRNGKey(d2l.get_seed())):  # noqa: B008
    X = jnp.zeros(shape)
    bound = self.clone().bind(self.init(key, X), mutable=["batch_stats"])
    bound(X)
    for layer in bound.net.layers:
        X = layer(X)
        print(layer.__class__.__name__, "output shape:\t", X.shape)


LeNet().shapes((1, 28, 28, 1))

trainer = d2l.Trainer(max_epochs=10, num_gpus=1)
data = d2l.FashionMNIST(batch_size=8)
model = LeNet(lr=0.1)
trainer.fit(model, data)


class AlexNet(d2l.Classifier):
    lr: float = 0.1
    num_classes: int = 10
    training: bool = True
    width: int = 64

    def setup(self):
        self.net = nn.Sequential(
            [
                nn.Conv(features=96, kernel_size=(11, 11), strides=4, padding=1),
                nn.relu,
                lambda x: nn.max_pool(x, window_shape=(3, 3), strides=(2, 2)),
                nn.Conv(features=256, kernel_size=(5, 5)),
                nn.relu,
                lambda x: nn.max_pool(x, window_shape=(3, 3), strides=(2, 2)),
                nn.Conv(features=384, kernel_size=(3, 3)),
                nn.relu,
                nn.Conv(features=384, kernel_size=(3, 3)),
                nn.relu,
                nn.Conv(features=256, kernel_size=(3, 3)),
                nn.relu,
                lambda x: nn.max_pool(x, window_shape=(3, 3), strides=(2, 2)),
                lambda x: x.reshape((x.shape[0], -1)),
                nn.Dense(features=self.width),
                nn.relu,
                nn.Dropout(0.5, deterministic=not self.training),
                nn.Dense(features=self.width),
                nn.relu,
                nn.Dropout(0.5, deterministic=not self.training),
                nn.Dense(features=self.num_classes),
            ]
        )


AlexNet(training=False).layer_summary((1, 224, 224, 1))

model = AlexNet(lr=0.01)
data = d2l.FashionMNIST(batch_size=8, resize=(67, 67))
trainer = d2l.Trainer(max_epochs=10, num_gpus=1)
trainer.fit(model, data)


def vgg_block(num_convs, out_channels):
    layers = []
    for _ in range(num_convs):
        layers.append(nn.Conv(out_channels, kernel_size=(3, 3), padding=(1, 1)))
        layers.append(nn.relu)
    layers.append(lambda x: nn.max_pool(x, window_shape=(2, 2), strides=(2, 2)))
    return nn.Sequential(layers)


class VGG(d2l.Classifier):
    arch: list
    lr: float = 0.1
    num_classes: int = 10
    training: bool = True

    def setup(self):
        conv_blks = []
        for num_convs, out_channels in self.arch:
            conv_blks.append(vgg_block(num_convs, out_channels))
        self.net = nn.Sequential(
            [
                *conv_blks,
                lambda x: x.reshape((x.shape[0], -1)),
                nn.Dense(64),
                nn.relu,
                nn.Dropout(0.5, deterministic=not self.training),
                nn.Dense(self.num_classes),
            ]
        )


arch = ((1, 4), (1, 8), (2, 8))
VGG(arch=arch, training=False).layer_summary((1, 224, 224, 1))

model = VGG(arch=arch, lr=0.01)
data = d2l.FashionMNIST(batch_size=8, resize=(32, 32))
trainer.fit(model, data)


def nin_block(out_channels, kernel_size, strides, padding):
    return nn.Sequential(
        [
            nn.Conv(out_channels, kernel_size, strides, padding),
            nn.relu,
            nn.Conv(out_channels, kernel_size=(1, 1)),
            nn.relu,
            nn.Conv(out_channels, kernel_size=(1, 1)),
            nn.relu,
        ]
    )


class NiN(d2l.Classifier):
    lr: float = 0.1
    num_classes = 10
    training: bool = True

    def setup(self):
        self.net = nn.Sequential(
            [
                nin_block(96, kernel_size=(11, 11), strides=(4, 4), padding=(0, 0)),
                lambda x: nn.max_pool(x, (3, 3), strides=(2, 2)),
                nin_block(256, kernel_size=(5, 5), strides=(1, 1), padding=(2, 2)),
                lambda x: nn.max_pool(x, (3, 3), strides=(2, 2)),
                nin_block(384, kernel_size=(3, 3), strides=(1, 1), padding=(1, 1)),
                lambda x: nn.max_pool(x, (3, 3), strides=(2, 2)),
                nn.Dropout(0.5, deterministic=not self.training),
                nin_block(self.num_classes, kernel_size=(3, 3), strides=1, padding=(1, 1)),
                lambda x: nn.avg_pool(x, x.shape[1:3]),
                lambda x: x.reshape((x.shape[0], -1)),
            ]
        )


NiN(training=False).layer_summary((1, 224, 224, 1))

model = NiN(lr=0.05)
trainer = d2l.Trainer(max_epochs=10, num_gpus=1)
data = d2l.FashionMNIST(batch_size=8, resize=(67, 67))
trainer.fit(model, data)

X, y = next(iter(data.val_dataloader()))
params = trainer.state.params
Y_hat = NiN(training=False).apply({"params": params}, X)
losses, _ = model.loss(params, (X,), y, trainer.state, averaged=False)
print(Y_hat.shape, losses.shape)
found = model.accuracy(params, (X,), y, trainer.state, averaged=False)
print(float(model.accuracy(params, (X,), y, trainer.state)) == float(found.mean()))
image, label = data.train[0]
print(image.shape, data.text_labels([label]), len(data.train), len(data.val))
print(model.hparams, isinstance(image, jax.Array))


class Linear(d2l.Classifier):
    lr: float = 1.0

    def setup(self):
        flatten = lambda x: x.reshape((x.shape[0], -1))  # noqa: E731
        self.net = nn.Sequential([flatten, nn.Dense(10, kernel_init=nn.initializers.zeros)])


trainer = d2l.Trainer(max_epochs=10, gradient_clip_val=0.01)
trainer.fit(Linear(), d2l.FashionMNIST(batch_size=16), key=d2l.get_key())
(layer,) = trainer.state.params["net"].values()
print(f"changed by {float(jnp.linalg.norm(layer['kernel'])):.4f}")
