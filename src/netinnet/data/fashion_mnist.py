"""Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): 70,000 grey pictures of clothing, 28×28."""

from __future__ import annotations

from pathlib import Path

from netinnet.data import idx
from netinnet.data.named import NamedDataset, debian_package, mirrors
from netinnet.data.source import Facts
from netinnet.networks.layers import Shape

CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
# The authors' repository, and the copies that Keras and MXNet load.
MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
    "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/dataset/fashion-mnist",
)
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FILES = """
train-images-idx3-ubyte 47040016 c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888
train-labels-idx1-ubyte 60008 bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9
t10k-images-idx3-ubyte 7840016 5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b
t10k-labels-idx1-ubyte 10008 0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34
"""
DATASET = NamedDataset(
    name="fashion-mnist",
    title="Fashion-MNIST",
    description="60,000 training and 10,000 test pictures of clothing, grey 28×28, 10 classes",
    facts=Facts(CLASSES, Shape(1, 28, 28), mean=(0.2860,), std=(0.3530,)),
    counts={"train": 60_000, "test": 10_000},
    megabytes=31,
    files=idx.files(FILES),
    sources=(mirrors(MIRRORS), debian_package("dataset-fashion-mnist", SYSTEM_FOLDER)),
    parse=idx.splits,
    inside="FashionMNIST/raw",
    system_folder=SYSTEM_FOLDER,
    digest=idx.digest,
)
