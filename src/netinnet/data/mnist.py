"""MNIST (LeCun, Cortes and Burges 1998): 70,000 handwritten digits, grey 28×28."""

from __future__ import annotations

from netinnet.data import idx
from netinnet.data.named import NamedDataset, mirrors
from netinnet.data.source import Facts
from netinnet.networks.layers import Shape

DIGITS = tuple("0123456789")
# The copies that PyTorch and TensorFlow load; the authors' own server asks for a password.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)
FILES = """
train-images-idx3-ubyte 47040016 ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db
train-labels-idx1-ubyte 60008 65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5
t10k-images-idx3-ubyte 7840016 0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7
t10k-labels-idx1-ubyte 10008 ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2
"""
DATASET = NamedDataset(
    name="mnist",
    title="MNIST",
    description="60,000 training and 10,000 test pictures of digits, grey 28×28, 10 classes",
    facts=Facts(DIGITS, Shape(1, 28, 28), (0.1307,), (0.3081,), horizontal_flip=False),
    counts={"train": 60_000, "test": 10_000},
    megabytes=12,
    files=idx.files(FILES),
    sources=(mirrors(MIRRORS),),
    parse=idx.splits,
    inside="MNIST/raw",
    digest=idx.digest,
)
