"""What is answered where a chapter calls something that is not here.

Imports no framework.
"""

from __future__ import annotations

from collections.abc import Collection

from netinnet.errors import nearest

CH6, TRAINER = "the edition with train_ch6", "edition 1.0"
BOTH = "the book"

_DRAWS = "here train_ch6 and Trainer.fit draw the curve themselves"
_PRINTS = "here train_ch6 and Trainer.fit print the accuracies of every epoch"
_LOOP = "here train_ch6 is the one loop of that edition"
_PYPLOT = "here show_images draws, and matplotlib.pyplot is imported as such"

_ARRAYS = (
    "abs arange argmax astype batch_matmul concat cos cosh exp expand_dims eye float32 int32 int64 "
    "linspace log matmul meshgrid numpy ones rand reduce_mean reduce_sum repeat "
    "reshape sigmoid sin sinh size stack swapaxes tan tanh tensor to transpose zeros zeros_like"
)
"""The book's library has each framework's function or type under one of these names."""

ELSEWHERE = {
    **dict.fromkeys(_ARRAYS.split(), (BOTH, "here the framework's own is to be called")),
    "Animator": (CH6, _DRAWS),
    "ProgressBoard": (TRAINER, _DRAWS),
    "Accumulator": (CH6, _PRINTS),
    "Timer": (BOTH, "here the last line has the examples a second"),
    "accuracy": (CH6, "here a d2l.Classifier has accuracy(Y_hat, Y)"),
    "evaluate_accuracy": (CH6, _PRINTS),
    "evaluate_accuracy_gpu": (CH6, _PRINTS),
    "evaluate_loss": (CH6, _PRINTS),
    "train_ch3": (CH6, _LOOP),
    "train_ch11": (CH6, _LOOP),
    "train_ch13": (CH6, _LOOP),
    "train_epoch_ch3": (CH6, _LOOP),
    "TrainCallback": (CH6, _LOOP),
    "predict_ch3": (CH6, "here data.visualize(batch) shows pictures with their labels"),
    "get_fashion_mnist_labels": (CH6, "here FashionMNIST has text_labels(indices)"),
    "get_dataloader_workers": (CH6, "here batches need no workers"),
    "load_array": (CH6, "here a d2l.DataModule gives batches of your own"),
    "plt": (BOTH, _PYPLOT),
    "plot": (BOTH, _PYPLOT),
    "set_figsize": (BOTH, _PYPLOT),
    "use_svg_display": (BOTH, _PYPLOT),
    "LinearRegression": (TRAINER, "here a d2l.Classifier is trained"),
    "SoftmaxRegression": (TRAINER, "here it is a d2l.Classifier with one linear layer"),
    "Residual": (BOTH, "here a block is written out in the network"),
    "SGD": (TRAINER, "here configure_optimizers gives the framework's SGD"),
}
"""Names of either edition that are not here: which has them, and what is close."""

OF_SOME = {
    "randn": ("PyTorch and MXNet have", "this framework's own is to be called"),
    "normal": ("TensorFlow has", "this framework's own is to be called"),
    "get_seed": ("JAX has", "this framework's seed function is to be called"),
    "get_key": (
        "JAX has",
        "this framework has a generator of its own, which its seed function sets",
    ),
    "init_cnn": (
        "PyTorch, TensorFlow and MXNet have",
        "a Flax layer takes kernel_init=nn.initializers.xavier_uniform()",
    ),
}
"""Names that are here for some frameworks only: for which, and what the others have."""


def unknown(module: str, name: str, offered: Collection[str]) -> AttributeError:
    """The error of one line for a name that `netinnet.book.MODULE` has not."""
    start = f"netinnet.book.{module} has no '{name}'"
    if name in OF_SOME:
        frameworks, instead = OF_SOME[name]
        return AttributeError(f"{start}; {frameworks} it here, {instead}")
    if name in ELSEWHERE:
        edition, instead = ELSEWHERE[name]
        return AttributeError(f"{start}; {edition} has it, {instead}")
    close = nearest(name, offered)
    return AttributeError(
        f"{start}{close}; of both editions it has what the chapter on NiN and its neighbours call: "
        f"{', '.join(sorted(offered))}"
    )
