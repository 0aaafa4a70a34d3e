"""What one framework computes, as a program: run by the interpreter that has the framework.

    python tests/parity.py FRAMEWORK networks FOLDER    logits.npz: logits of a zoo network of each
                                                        kind; onnx is ONNX's evaluator
    python tests/parity.py FRAMEWORK full FOLDER        the same of the whole zoo, in full width
    python tests/parity.py FRAMEWORK pictures FOLDER    from the data set:
        classes.npz     logits of the shipped model for 1,000 test pictures
        updates.npz     20 steps of LeNet with every optimiser
        train-*.npz     TRAININGS: losses, weights, state; dropout off
    python tests/parity.py FRAMEWORK long FOLDER        classes.npz of all 10,000, and
                                                        train-*.npz: LONG_TRAININGS

The tests compare the files of any two frameworks.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np

from netinnet import frameworks, metrics, weights
from netinnet.data import batches, datasets
from netinnet.data.targets import rows
from netinnet.frameworks.learner import LearnerSettings
from netinnet.networks import zoo
from netinnet.networks.layers import BatchNorm, Dropout, Shape
from netinnet.networks.network import Network, Preprocessing
from netinnet.optimizer import Optimizer
from netinnet.preprocessing import normalise

SIZES = {"nin-imagenet": 96}
"""Inputs smaller than the networks' own."""
WIDTHS = {"nin": None, "nin-small": None, "nin-residual": None, "nin-mnist": None}
WIDTHS |= {"lenet": None, "alexnet": 0.25, "vgg11-quarter": 0.5}
"""A network of each kind and how wide it is; the slow tests take the whole zoo as it is."""
BATCH = {"nin": 8, "nin-small": 64, "lenet": 128}
"""Pictures in a step; of `nin`, at 224 pixels, few of what one trains with: for the time."""
OPTIMIZERS = {
    "sgd": Optimizer("sgd"),
    "nesterov": Optimizer("sgd", 0.9, True, 5e-4),
    "adamw": Optimizer("adamw", weight_decay=0.01),
    "muon": Optimizer("muon", 0.9, True, 5e-4),
}
RATES = {
    # Small rates: rounding decides which of two equal pixels a pool takes, once a step or so, and
    # large steps would carry that on. What is compared is what the frameworks mean, not rounding.
    "nin": {"sgd": 0.01},
    "nin-small": {"nesterov": 2e-5},
    # LeNet is smooth, so that rates as one trains with show whether the update rules are the same.
    "lenet": {"sgd": 0.5, "nesterov": 0.1, "adamw": 1e-3, "muon": 0.15},
}

TRAININGS = (("nin", 2, "sgd"), ("nin-small", 10, "nesterov"))
"""Network, steps and optimiser."""
LONG_TRAININGS = (("nin", 5, "sgd"), ("nin-small", 100, "nesterov"))
"""The same for the slow tests."""


def drawn(network: Network, initialisation: str = "he") -> weights.Weights:
    """Initial weights with statistics and biases that are not all 0 and 1."""
    found = weights.initial(network, 0, initialisation)
    rng = np.random.default_rng(1)
    for name, array in found.items():
        if array.ndim == 1:
            found[name] = rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
        if name.endswith(("bias", "running_mean")):
            found[name] = rng.normal(0, 0.1, array.shape).astype(np.float32)
    return found


def networks(*, full: bool) -> dict[str, Network]:
    return {
        name: zoo.network(name, image_size=SIZES.get(name), width=width)
        for name, width in (dict.fromkeys(zoo.ZOO) if full else WIDTHS).items()
    }


def pictures(network: Network, count: int = 2) -> np.ndarray:
    height, width = network.input.height, network.input.width
    shape = (count, height, width, network.input.channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def logits(framework: str, *, full: bool) -> dict[str, np.ndarray]:
    """Of the learner in prediction mode, and of the native model that `build` makes."""
    if framework == "onnx":
        return {name: reference(network) for name, network in networks(full=full).items()}
    adapter = frameworks.adapter(framework)
    found = {}
    for name, network in networks(full=full).items():
        values = drawn(network)
        images = normalise(pictures(network), network.preprocessing)
        learner = adapter.learner(LearnerSettings(network, Optimizer(), network.input), values)
        found[f"learner/{name}"] = learner.logits(images)
        model = adapter.build(network, values)
        found[f"native/{name}"] = native(framework, model, images)
        for tensor, value in adapter.read(network, model).items():
            assert np.array_equal(value, values[tensor]), f"{name}: {tensor} came back changed"
    return found


def reference(network: Network) -> np.ndarray:
    """Logits by the evaluator that defines what ONNX means."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    from netinnet.inference.onnx_graph import INPUT, LOGITS, to_onnx

    graph = onnx.load_from_string(to_onnx(weights.Model(network, drawn(network))))
    found: np.ndarray = ReferenceEvaluator(graph).run([LOGITS], {INPUT: pictures(network)})[0]
    return found


def native(framework: str, model: object, images: weights.Array) -> np.ndarray:
    """Logits of a native model as its users would get them."""
    if framework == "pytorch":
        import torch

        with torch.inference_mode():
            return model.eval()(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()  # type: ignore[attr-defined]
    if framework == "tensorflow":
        return np.asarray(model(images, training=False))  # type: ignore[operator]
    if framework == "jax":
        from flax import nnx

        model.eval()  # type: ignore[attr-defined]
        # Compiled as a whole: operation by operation takes ten times as long.
        return np.asarray(nnx.jit(lambda m, x: m(x))(model, images))
    from mxnet import np as mxnp

    return model(mxnp.array(images.transpose(0, 3, 1, 2))).asnumpy()  # type: ignore[operator]


def classes(framework: str, count: int) -> dict[str, np.ndarray]:
    """Logits of the shipped model for the first test pictures."""
    from netinnet.inference import model_files

    model = model_files.find(None)
    test = datasets.load("fashion-mnist").test
    learner = frameworks.adapter(framework).learner(
        LearnerSettings(model.network, Optimizer(), model.network.input), model.weights
    )
    parts = [
        learner.logits(normalise(test.images[i : i + 250], model.network.preprocessing))
        for i in range(0, count, 250)
    ]
    return {"logits": np.concatenate(parts), "labels": test.labels[:count]}


def without_dropout(network: Network) -> Network:
    blocks = tuple(
        dataclasses.replace(block, layers=kept)
        for block in network.blocks
        if (kept := tuple(layer for layer in block.layers if not isinstance(layer, Dropout)))
    )
    return dataclasses.replace(network, blocks=blocks)


def train(framework: str, name: str, steps: int, optimizer: str) -> dict[str, np.ndarray]:
    """Losses, weights, how far they moved, and the optimiser's state: real batches, no dropout."""
    data = datasets.load("fashion-mnist")
    facts = data.facts
    network = without_dropout(
        zoo.network(name, preprocessing=Preprocessing(facts.mean, facts.std), logits_relu=False)
        if name.startswith("nin")
        else zoo.network(name)
    )
    height, width, channels = data.train.images.shape[1:]
    settings = LearnerSettings(network, OPTIMIZERS[optimizer], Shape(channels, height, width))
    initial = drawn(network, "xavier")
    learner = frameworks.adapter(framework).learner(settings, initial)
    losses = []
    for step in range(1, steps + 1):
        last = step * BATCH[name]
        order = batches.order(len(data.train), 0, 0)[last - BATCH[name] : last]
        images = normalise(data.train.images[order], network.preprocessing)
        labels = data.train.labels[order]
        targets = rows(labels, len(network.classes), smoothing=0.1)
        out = learner.step(images, targets, RATES[name][optimizer], step, step)
        losses.append(metrics.cross_entropy(out, labels).mean())
    trained = learner.weights()
    final = {f"weights/{name}": value for name, value in trained.items()}
    moved = {f"moved/{name}": value - initial[name] for name, value in trained.items()}
    state = {f"state/{name}": value for name, value in learner.optimizer_state().items()}
    has_norm = any(isinstance(p.layer, BatchNorm) for p in network.placed_layers())
    assert has_norm == any(name.endswith("running_var") for name in final)
    return {"losses": np.array(losses), **final, **moved, **state}


def main() -> None:
    framework, what, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if what in ("networks", "full"):
        np.savez(folder / "logits.npz", **logits(framework, full=what == "full"))
        return
    np.savez(folder / "classes.npz", **classes(framework, 10_000 if what == "long" else 1_000))
    if what == "pictures":
        updates_of(framework, folder)
    for name, steps, optimizer in LONG_TRAININGS if what == "long" else TRAININGS:
        out = folder / f"train-{name}-{steps}-{optimizer}.npz"
        np.savez(out, **train(framework, name, steps, optimizer))


def updates_of(framework: str, folder: Path) -> None:
    updates = {
        f"{optimizer}/{name}": array
        for optimizer in OPTIMIZERS
        for name, array in train(framework, "lenet", 20, optimizer).items()
    }
    np.savez(folder / "updates.npz", **updates)


if __name__ == "__main__":
    main()
