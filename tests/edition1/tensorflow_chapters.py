"""The chapters on LeNet, AlexNet, VGG and NiN in the manner of edition 1.0, for TensorFlow.

AlexNet's dense layers are narrower than the book's, and pictures are smaller; else it is theirs.
"""

import tensorflow as tf
from d2l import tensorflow as d2l


class LeNet(d2l.Classifier):
    def __init__(self, lr=0.1, num_classes=10):
        super().__init__()
        self.save_hyperparameters()
        self.net = tf.keras.models.Sequential(
            [
                tf.keras.layers.Conv2D(
                    filters=6, kernel_size=5, activation="sigmoid", padding="same"
                ),
                tf.keras.layers.AvgPool2D(pool_size=2, strides=2),
                tf.keras.layers.Conv2D(filters=16, kernel_size=5, activation="sigmoid"),
                tf.keras.layers.AvgPool2D(pool_size=2, strides=2),
                tf.keras.layers.Flatten(),
                tf.keras.layers.Dense(120, activation="sigmoid"),
                tf.keras.layers.Dense(84, activation="sigmoid"),
                tf.keras.layers.Dense(num_classes),
            ]
        )


@d2l.add_to_class(d2l.Classifier)
def shapes(self, shape):
    X = d2l.normal(shape)
    for layer in self.net.layers:
        X = layer(X)
        print(layer.__class__.__name__, "output shape:\t", X.shape)


LeNet().shapes((1, 28, 28, 1))

trainer = d2l.Trainer(max_epochs=10)
data = d2l.FashionMNIST(batch_size=8)
with d2l.try_gpu():
    model = LeNet(lr=0.1)
    trainer.fit(model, data)


class AlexNet(d2l.Classifier):
    def __init__(self, lr=0.1, num_classes=10, width=64):
        super().__init__()
        self.save_hyperparameters()
        self.net = tf.keras.models.Sequential(
            [
                tf.keras.layers.Conv2D(filters=96, kernel_size=11, strides=4, activation="relu"),
                tf.keras.layers.MaxPool2D(pool_size=3, strides=2),
                tf.keras.layers.Conv2D(
                    filters=256, kernel_size=5, padding="same", activation="relu"
                ),
                tf.keras.layers.MaxPool2D(pool_size=3, strides=2),
                tf.keras.layers.Conv2D(
                    filters=384, kernel_size=3, padding="same", activation="relu"
                ),
                tf.keras.layers.Conv2D(
                    filters=384, kernel_size=3, padding="same", activation="relu"
                ),
                tf.keras.layers.Conv2D(
                    filters=256, kernel_size=3, padding="same", activation="relu"
                ),
                tf.keras.layers.MaxPool2D(pool_size=3, strides=2),
                tf.keras.layers.Flatten(),
                tf.keras.layers.Dense(width, activation="relu"),
                tf.keras.layers.Dropout(0.5),
                tf.keras.layers.Dense(width, activation="relu"),
                tf.keras.layers.Dropout(0.5),
                tf.keras.layers.Dense(num_classes),
            ]
        )


AlexNet().layer_summary((1, 224, 224, 1))

trainer = d2l.Trainer(max_epochs=10)
data = d2l.FashionMNIST(batch_size=8, resize=(67, 67))
with d2l.try_gpu():
    model = AlexNet(lr=0.01)
    trainer.fit(model, data)


def vgg_block(num_convs, num_channels):
    blk = tf.keras.models.Sequential()
    for _ in range(num_convs):
        blk.add(
            tf.keras.layers.Conv2D(num_channels, kernel_size=3, padding="same", activation="relu")
        )
    blk.add(tf.keras.layers.MaxPool2D(pool_size=2, strides=2))
    return blk


class VGG(d2l.Classifier):
    def __init__(self, arch, lr=0.1, num_classes=10):
        super().__init__()
        self.save_hyperparameters()
        self.net = tf.keras.models.Sequential()
        for num_convs, num_channels in arch:
            self.net.add(vgg_block(num_convs, num_channels))
        self.net.add(
            tf.keras.models.Sequential(
                [
                    tf.keras.layers.Flatten(),
                    tf.keras.layers.Dense(64, activation="relu"),
                    tf.keras.layers.Dropout(0.5),
                    tf.keras.layers.Dense(num_classes),
                ]
            )
        )


arch = ((1, 4), (1, 8), (2, 8))
VGG(arch=arch).layer_summary((1, 224, 224, 1))

data = d2l.FashionMNIST(batch_size=8, resize=(32, 32))
with d2l.try_gpu():
    model = VGG(arch=arch, lr=0.01)
    trainer.fit(model, data)


def nin_block(out_channels, kernel_size, strides, padding):
    return tf.keras.models.Sequential(
        [
            tf.keras.layers.Conv2D(out_channels, kernel_size, strides=strides, padding=padding),
            tf.keras.layers.Activation("relu"),
            tf.keras.layers.Conv2D(out_channels, 1),
            tf.keras.layers.Activation("relu"),
            tf.keras.layers.Conv2D(out_channels, 1),
            tf.keras.layers.Activation("relu"),
        ]
    )


class NiN(d2l.Classifier):
    def __init__(self, lr=0.1, num_classes=10):
        super().__init__()
        self.save_hyperparameters()
        self.net = tf.keras.models.Sequential(
            [
                nin_block(96, kernel_size=11, strides=4, padding="valid"),
                tf.keras.layers.MaxPool2D(pool_size=3, strides=2),
                nin_block(256, kernel_size=5, strides=1, padding="same"),
                tf.keras.layers.MaxPool2D(pool_size=3, strides=2),
                nin_block(384, kernel_size=3, strides=1, padding="same"),
                tf.keras.layers.MaxPool2D(pool_size=3, strides=2),
                tf.keras.layers.Dropout(0.5),
                nin_block(num_classes, kernel_size=3, strides=1, padding="same"),
                tf.keras.layers.GlobalAvgPool2D(),
                tf.keras.layers.Flatten(),
            ]
        )


NiN().layer_summary((1, 224, 224, 1))

trainer = d2l.Trainer(max_epochs=10)
data = d2l.FashionMNIST(batch_size=8, resize=(67, 67))
with d2l.try_gpu():
    model = NiN(lr=0.05)
    trainer.fit(model, data)

X, y = next(iter(data.val_dataloader()))
Y_hat = model(X)
print(tuple(Y_hat.shape), tuple(model.loss(Y_hat, y, averaged=False).shape))
mean = tf.reduce_mean(model.accuracy(Y_hat, y, averaged=False))
print(float(model.accuracy(Y_hat, y)) == float(mean))
image, label = data.train[0]
print(tuple(image.shape), data.text_labels([label]), len(data.train), len(data.val))
print(model.hparams, tf.is_tensor(image))


class Linear(d2l.Classifier):
    def __init__(self, lr=1.0):
        super().__init__()
        self.save_hyperparameters()
        self.net = tf.keras.models.Sequential(
            [tf.keras.layers.Flatten(), tf.keras.layers.Dense(10)]
        )


model = Linear()
model.apply_init([tf.zeros((1, 28, 28, 1))], d2l.init_cnn)
before = tf.identity(model.net.layers[1].kernel)
trainer = d2l.Trainer(max_epochs=10, gradient_clip_val=0.01)
trainer.fit(model, d2l.FashionMNIST(batch_size=16))
print(f"changed by {float(tf.norm(model.net.layers[1].kernel - before)):.4f}")
