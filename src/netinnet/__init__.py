"""Network in Network: one description, native models, training that works, measured.

    import netinnet

    net = netinnet.build("nin", framework="pytorch", seed=0)   # an ordinary torch.nn.Module
    run = netinnet.train("fashion", epochs=1)                  # a run folder with model and report
    model = netinnet.load(run.folder)                          # network and weights
    netinnet.Predictor(model).predict(picture)                 # class names and probabilities
    netinnet.Predictor(model).answer(picture).name             # … or "none of these"
    netinnet.explain(picture, model=model).classes[0].values   # where it saw that: the class's map
    netinnet.export_model(model, "small.onnx", precision="int8")   # for other programs

Importing this imports no framework. Nothing is printed: a `listener` hears what happens.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netinnet.errors import NetinnetError
from netinnet.studies.api import ablate, compare, reliability, tune
from netinnet.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netinnet.calibration import Calibration
    from netinnet.data.source import Dataset
    from netinnet.export.options import Exported
    from netinnet.inference.explanation import Explanation
    from netinnet.inference.predictor import Predictor
    from netinnet.networks import Named
    from netinnet.training.listening import Listener
    from netinnet.training.recipe import Recipe
    from netinnet.training.run import Run
    from netinnet.weights import Model

__version__ = VERSION
__all__ = [
    "NetinnetError",
    "Predictor",
    "Recipe",
    "__version__",
    "ablate",
    "build",
    "calibrate",
    "compare",
    "explain",
    "export_model",
    "load",
    "nin_block",
    "reliability",
    "resume",
    "train",
    "tune",
]


def build(
    network: Named,
    *,
    framework: str = "pytorch",
    seed: int = 0,
    initialisation: str = "he",
    **options: Any,
) -> Any:
    """A network as the framework's own model object, initialised from the seed.

    It takes preprocessed float input in the framework's own layout: N×C×H×W for `pytorch` and
    `mxnet`, N×H×W×C for `tensorflow` and `jax`. Blocks and layers have the description's names.

    Args:
        network: a name of the zoo or a registered one, the path of a .toml or .json file, or a
            `networks.Network`.
        framework: `pytorch`, `tensorflow`, `jax` or `mxnet`.
        seed: decides the initial weights, the same in every framework.
        initialisation: `he` or `xavier`.
        options: those of `networks.resolve`: image_size, channels, classes, logits_relu, dropout,
            pointwise, inner, narrowing, head, width.

    Returns:
        An `nn.Sequential`, a `keras.Model`, a Flax `nnx.Module` or a Gluon `HybridSequential`.

    Raises:
        NetworkError: for an unknown network, option or initialisation, and a value that can't be.
        FrameworkError: where the framework is unknown or missing.

    Example:
        >>> net = netinnet.build("nin", framework="pytorch", classes=5)
        >>> net(torch.zeros(2, 1, 224, 224)).shape
        torch.Size([2, 5])
    """
    from netinnet import frameworks, weights
    from netinnet.networks import resolve

    net = resolve(network, **options)
    return frameworks.adapter(framework).build(net, weights.initial(net, seed, initialisation))


def nin_block(
    in_channels: int,
    channels: int | Sequence[int],
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    *,
    framework: str = "pytorch",
    seed: int = 0,
    initialisation: str = "he",
    **options: Any,
) -> Any:
    """A NiN block as the framework's own layer, for networks of your own; any picture size.

    Args:
        in_channels: channels of its input.
        channels: channels of all its convolutions, or one number for each.
        kernel: height and width of the first convolution's window, in pixels.
        stride: of the first convolution, in pixels.
        padding: zeros around the input, in pixels.
        framework: `pytorch`, `tensorflow`, `jax` or `mxnet`.
        seed: decides the initial weights.
        initialisation: `he` or `xavier`.
        options: those of `blocks.nin_block`: pointwise, norm, bias, last_relu, inner,
            residual, groups, last_norm, same (not with a stride).

    Returns:
        A layer of the framework.

    Raises:
        NetworkError: for a block that can't be.
        FrameworkError: where the framework is missing.

    Example:
        >>> netinnet.nin_block(3, 96, 11, 4)(torch.zeros(1, 3, 224, 224)).shape
        torch.Size([1, 96, 54, 54])
    """
    from netinnet import frameworks, weights
    from netinnet.errors import NetworkError
    from netinnet.networks import blocks, layers, network

    block = blocks.nin_block(channels, kernel, stride, padding, **options)
    if options.get("same") and stride > 1:
        raise NetworkError(
            "same with a stride pads by the size of the picture, which a block for any size does "
            "not know: give padding"
        )
    # One step more than fits: a residual block that strides keeps the size of 1×1 alone.
    size = (network.smallest_input((block,), in_channels) or 1) + stride
    outputs = channels if isinstance(channels, int) else channels[-1]
    net = network.Network(
        "nin_block",
        layers.Shape(in_channels, size, size),
        (block, blocks.Block("head", (layers.GlobalAvgPool(), layers.Flatten()))),
        tuple(map(str, range(outputs))),
    )
    adapter = frameworks.adapter(framework)
    model = adapter.build(net, weights.initial(net, seed, initialisation))
    return adapter.block(model, block.name)


def load(path: str | Path | None = None, *, framework: str | None = None) -> Any:
    """The model in a run folder or model file.

    Args:
        path: a run folder or a .safetensors file; the model shipped with the package if None.
        framework: return that framework's own model object.

    Returns:
        A `weights.Model` (network and weights), or the framework's model object.

    Raises:
        ModelError: where the path is missing or damaged.
        FrameworkError: where the framework is missing.

    Example:
        >>> netinnet.load().network.name
        'nin-small'
    """
    from netinnet import frameworks
    from netinnet.inference import model_files

    model: Model = model_files.find(None if path is None else Path(path))
    if framework is None:
        return model
    return frameworks.adapter(framework).build(model.network, model.weights)


def explain(
    picture: Any,
    *,
    model: str | Path | Model | Predictor | None = None,
    classes: Sequence[str] = (),
    framework: str | None = None,
) -> Explanation:
    """Where in a picture a model saw what it says: its class maps, with their peaks and boxes.

    Args:
        picture: a path, a uint8 array h×w, h×w×1 or h×w×3, or a PIL picture.
        model: a model, the path of a run folder or model file, or, for many pictures, a
            `Predictor`; the model shipped with the package if None.
        classes: names of classes; the most probable one alone if there are none.
        framework: compute with it instead of onnxruntime.

    Returns:
        The maps of all classes (`maps`, float32, classes × rows × columns; the mean of a map is the
        class's logit), and for each class asked for its map, logit, probability, peak and box.

    Raises:
        ModelError: for a class it does not have, and for a network without class maps, which are
            there where global average pooling makes the logits, alone or with one Linear behind.
        ImageError: for what is no picture.

    Example:
        >>> netinnet.explain("boot.png").classes[0].name
        'Ankle boot'
    """
    from netinnet.data import pictures
    from netinnet.inference import explanation
    from netinnet.inference.predictor import Predictor

    if not isinstance(model, Predictor):
        model = Predictor(load(model) if model is None else model, framework=framework)
    is_path = isinstance(picture, str | Path)
    array = pictures.read(picture) if is_path else pictures.from_memory(picture)
    return explanation.explain(model, array, classes)


def calibrate(
    model: str | Path,
    *,
    dataset: str | Dataset | None = None,
    refuse: float = 0.01,
    none_of_these: str | Path | None = None,
    like: str | Path | None = None,
    data_dir: str | Path | None = None,
    framework: str | None = None,
) -> Calibration:
    """Make a model's probabilities hold, and let it refuse pictures of other things.

    Training does this at its end where pictures were held out. What is found is stored in the
    model, whose weights stay as they are; a run's model.onnx, metrics and report get it too.

    Args:
        model: the path of a run folder or model file.
        dataset: where training and validation pictures come from; the model's own training if None.
        refuse: the share of good pictures that may be refused, above 0 and below 1.
        none_of_these: a folder with pictures of other things, which choose the score.
        like: a calibrated run, trained the same way with pictures held out, whose temperature and
            threshold are taken; for a model that learnt all pictures.
        data_dir: folder with the data set's files; found or fetched if None.
        framework: compute with it instead of onnxruntime.

    Returns:
        The calibration: temperature, threshold, expected calibration error before and after.

    Raises:
        NetinnetError: where no picture was held out, or something is missing or damaged.

    Example:
        >>> netinnet.calibrate("runs/shoes", refuse=0.02).temperature
        1.04
    """
    from netinnet.reports import html
    from netinnet.training import calibrate as training

    found = training.calibrate(
        Path(model),
        dataset=dataset,
        refuse=refuse,
        none_of_these=None if none_of_these is None else Path(none_of_these),
        like=None if like is None else Path(like),
        data_dir=None if data_dir is None else Path(data_dir),
        framework=framework,
        report=html.write,
    )
    return found.calibration


def export_model(model: str | Path | Model | None, path: str | Path, **options: Any) -> Exported:
    """Write a model in a form that other programs read; the kind follows from the file's name.

    `.html` is a page that shows the model and computes its answers in any browser;
    `.onnx` is a graph from uint8 pictures to probabilities, or with `plain` one of fixed size for
    preprocessed pictures; `.tflite` is TensorFlow Lite's, `.md` a model card. Every graph is
    compared with the network before it takes its name.

    Args:
        model: a model, or the path of a run folder or model file; the model shipped with the
            package if None.
        path: the file to write.
        options: those of `export.options.Options`: plain, batch, precision (`float32`, `float16`,
            `int8`), calibrate, pictures, seed, test_pictures, title, examples (paths), licence,
            data_dir, force.

    Returns:
        What was written: `size` in bytes, `difference` from the network, `loss` (accuracy before
        and after) of a smaller precision.

    Raises:
        NetinnetError: where the file already exists, options don't go together, int8 has no
            pictures to measure ranges on, or the export is not the network.

    Example:
        >>> netinnet.export_model(None, "small.onnx", precision="int8").loss.accuracy
        (0.9339, 0.9329)
    """
    from netinnet.export import options as kinds
    from netinnet.export import writing
    from netinnet.weights import Model

    known = {name: value for name, value in options.items() if name != "data_dir"}
    if (data_dir := options.get("data_dir")) is not None:
        known["data_dir"] = Path(data_dir)
    unknown = [name for name in known if name not in kinds.Options.__dataclass_fields__]
    if unknown:
        raise NetinnetError(f"export_model has no option '{unknown[0]}'")
    source = model if isinstance(model, Model) or model is None else Path(model)
    return writing.export(source, Path(path), kinds.Options(**known))


def train(
    recipe: str | Path | Recipe | None = None,
    *,
    network: Named | None = None,
    dataset: str | Dataset | None = None,
    time: str | None = None,
    output: str | Path | None = None,
    data_dir: str | Path | None = None,
    listener: Listener | None = None,
    live: bool = False,
    detect_anomaly: bool = False,
    **changes: Any,
) -> Run:
    """Train a recipe and return the finished run.

    Args:
        recipe: a shipped recipe's name, a TOML file or a `Recipe`; the data set's own if None
            (`pictures` for a folder of pictures), else `fashion`.
        network: what is trained instead of the recipe's: a name, the path of a description, or a
            `networks.Network`.
        dataset: what is learnt instead of the recipe's: a name, the path of a folder, or a
            `netinnet.data.Dataset`.
        time: how long it may take, as in "90s", "10m", "1.5h": epochs (and for a folder of
            pictures network, size and width) are chosen to fit, by timing a few steps.
        output: the run's folder; runs/DATE-NETWORK-FRAMEWORK if None.
        data_dir: folder with the data set's files; found or fetched if None.
        listener: called with each event of the run, an object of `netinnet.training.events`;
            nothing is printed without one.
        live: draw the learning curve in the notebook while the training goes on.
        detect_anomaly: if the numbers are no longer finite, name the layer in which that begins.
        changes: values for single fields of the recipe.

    Returns:
        The run: its folder, its `metrics()`, its files.

    Raises:
        NetinnetError: for what can't be trained; Interrupted after a signal: `resume` goes on.

    Example:
        >>> run = netinnet.train("fashion", epochs=1, live=True)
        >>> run.metrics()["test"]["accuracy"]
    """
    from netinnet.data.source import Dataset
    from netinnet.reports import html
    from netinnet.reports import live as live_curve
    from netinnet.training import choice, start

    given = dataset if isinstance(dataset, Dataset) else None
    if dataset is not None and given is None:
        changes["dataset"] = dataset
    return start.train(
        choice.wish(recipe, changes, network, time),
        dataset=given,
        output=None if output is None else Path(output),
        data_dir=None if data_dir is None else Path(data_dir),
        listener=live_curve.asked_for(live, listener),
        report=html.write,
        detect_anomaly=detect_anomaly,
    )


def resume(
    folder: str | Path,
    *,
    dataset: Dataset | None = None,
    data_dir: str | Path | None = None,
    listener: Listener | None = None,
    live: bool = False,
    detect_anomaly: bool = False,
) -> Run | Any:
    """Go on with an interrupted run, bit for bit, or with the rest of a study.

    Args:
        folder: the folder of a run or of a study.
        dataset: the one that the run learns, where that was given as an object.
        data_dir: folder with the data set's files; found or fetched if None.
        listener: called with each event, as that of `train` or of the study; nothing is printed
            without one.
        live: draw a run's learning curve in the notebook.
        detect_anomaly: as `train` has it, for a run.

    Returns:
        The finished run; for a study its table, as the function that began it returns.

    Raises:
        NetinnetError: where there is nothing to go on with; Interrupted after a signal.

    Example:
        >>> netinnet.resume("runs/2026-01-31-nin-small-pytorch")
    """
    from netinnet.reports import html
    from netinnet.reports import live as live_curve
    from netinnet.studies import api, plan
    from netinnet.training import start

    if (Path(folder) / plan.PLAN_FILE).exists():
        return api.conduct(plan.load(Path(folder)), folder, None, data_dir, listener)
    return start.resume(
        Path(folder),
        dataset=dataset,
        data_dir=None if data_dir is None else Path(data_dir),
        listener=live_curve.asked_for(live, listener),
        report=html.write,
        detect_anomaly=detect_anomaly,
    )


def __getattr__(name: str) -> Any:
    """Classes that need heavier imports, brought in when first used."""
    homes = {"Predictor": "netinnet.inference.predictor", "Recipe": "netinnet.training.recipe"}
    if name in homes:
        return getattr(importlib.import_module(homes[name]), name)
    raise AttributeError(f"module 'netinnet' has no attribute '{name}'")
