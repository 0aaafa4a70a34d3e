"""The chapters on LeNet, AlexNet, VGG and NiN in the manner of edition 1.0, for MXNet.

AlexNet's dense layers are narrower than the book's, and pictures are smaller; else it is theirs.
"""

from d2l import mxnet as d2l
from mxnet import init, np, npx
from mxnet.gluon import nn

npx.set_np()


class LeNet(d2l.Classifier):
    def __init__(self, lr=0.1, num_classes=10):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential()
        self.net.add(
            nn.Conv2D(channels=6, kernel_size=5, padding=2, activation="sigmoid"),
            nn.AvgPool2D(pool_size=2, strides=2),
            nn.Conv2D(channels=16, kernel_size=5, activation="sigmoid"),
            nn.AvgPool2D(pool_size=2, strides=2),
            nn.Dense(120, activation="sigmoid"),
            nn.Dense(84, activation="sigmoid"),
            nn.Dense(num_classes),
        )
        self.net.initialize(init.Xavier())


@d2l.add_to_class(d2l.Classifier)
def shapes(self, shape):
    X = d2l.randn(*shape)
    for layer in self.net:
        X = layer(X)
        print(layer.__class__.__name__, "output shape:\t", X.shape)


LeNet().shapes((1, 1, 28, 28))

trainer = d2l.Trainer(max_epochs=10, num_gpus=1)
data = d2l.FashionMNIST(batch_size=8)
model = LeNet(lr=0.1)
trainer.fit(model, data)


class AlexNet(d2l.Classifier):
    def __init__(self, lr=0.1, num_classes=10, width=64):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential()
        self.net.add(
            nn.Conv2D(96, kernel_size=11, strides=4, activation="relu"),
            nn.MaxPool2D(pool_size=3, strides=2),
            nn.Conv2D(256, kernel_size=5, padding=2, activation="relu"),
            nn.MaxPool2D(pool_size=3, strides=2),
            nn.Conv2D(384, kernel_size=3, padding=1, activation="relu"),
            nn.Conv2D(384, kernel_size=3, padding=1, activation="relu"),
            nn.Conv2D(256, kernel_size=3, padding=1, activation="relu"),
            nn.MaxPool2D(pool_size=3, strides=2),
            nn.Dense(width, activation="relu"),
            nn.Dropout(0.5),
            nn.Dense(width, activation="relu"),
            nn.Dropout(0.5),
            nn.Dense(num_classes),
        )
        self.net.initialize(init.Xavier())


AlexNet().layer_summary((1, 1, 224, 224))

model = AlexNet(lr=0.01)
data = d2l.FashionMNIST(batch_size=8, resize=(67, 67))
trainer = d2l.Trainer(max_epochs=10, num_gpus=1)
trainer.fit(model, data)


def vgg_block(num_convs, num_channels):
    blk = nn.Sequential()
    for _ in range(num_convs):
        blk.add(nn.Conv2D(num_channels, kernel_size=3, padding=1, activation="relu"))
    blk.add(nn.MaxPool2D(pool_size=2, strides=2))
    return blk


class VGG(d2l.Classifier):
    def __init__(self, arch, lr=0.1, num_classes=10):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential()
        for num_convs, num_channels in arch:
            self.net.add(vgg_block(num_convs, num_channels))
        self.net.add(nn.Dense(64, activation="relu"), nn.Dropout(0.5), nn.Dense(num_classes))
        self.net.initialize(init.Xavier())


arch = ((1, 4), (1, 8), (2, 8))
VGG(arch=arch).layer_summary((1, 1, 224, 224))

model = VGG(arch=arch, lr=0.01)
data = d2l.FashionMNIST(batch_size=8, resize=(32, 32))
trainer.fit(model, data)


def nin_block(num_channels, kernel_size, strides, padding):
    blk = nn.Sequential()
    blk.add(
        nn.Conv2D(num_channels, kernel_size, strides, padding, activation="relu"),
        nn.Conv2D(num_channels, kernel_size=1, activation="relu"),
        nn.Conv2D(num_channels, kernel_size=1, activation="relu"),
    )
    return blk


class NiN(d2l.Classifier):
    def __init__(self, lr=0.1, num_classes=10):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential()
        self.net.add(
            nin_block(96, kernel_size=11, strides=4, padding=0),
            nn.MaxPool2D(pool_size=3, strides=2),
            nin_block(256, kernel_size=5, strides=1, padding=2),
            nn.MaxPool2D(pool_size=3, strides=2),
            nin_block(384, kernel_size=3, strides=1, padding=1),
            nn.MaxPool2D(pool_size=3, strides=2),
            nn.Dropout(0.5),
            nin_block(num_classes, kernel_size=3, strides=1, padding=1),
            nn.GlobalAvgPool2D(),
            nn.Flatten(),
        )
        self.net.initialize(init.Xavier())


NiN().layer_summary((1, 1, 224, 224))

model = NiN(lr=0.05)
trainer = d2l.Trainer(max_epochs=10, num_gpus=1)
data = d2l.FashionMNIST(batch_size=8, resize=(67, 67))
trainer.fit(model, data)

X, y = next(iter(data.val_dataloader()))
Y_hat = model(X)
print(Y_hat.shape, model.loss(Y_hat, y, averaged=False).shape)
print(float(model.accuracy(Y_hat, y)) == float(model.accuracy(Y_hat, y, averaged=False).mean()))
image, label = data.train[0]
print(image.shape, data.text_labels([label]), len(data.train), len(data.val))
print(model.hparams, isinstance(image, np.ndarray))


class Linear(d2l.Classifier):
    def __init__(self, lr=1.0):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential()
        self.net.add(nn.Dense(10))


model = Linear()
trainer = d2l.Trainer(max_epochs=10, gradient_clip_val=0.01)
try:
    trainer.fit(model, data)
except Exception as error:  # noqa: BLE001
    print(error)
model.net.initialize()
model.apply_init([np.zeros((1, 1, 28, 28))], d2l.init_cnn)
model.apply_init([np.zeros((1, 1, 28, 28))], init.Xavier())
before = model.net[0].weight.data().copy()
trainer.fit(model, d2l.FashionMNIST(batch_size=16))
print(f"changed by {float(np.sqrt(((model.net[0].weight.data() - before) ** 2).sum())):.4f}")
