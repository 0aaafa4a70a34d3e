"""`nin convert`: a model from one framework's file to another's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from netinnet.cli.console import Switch, WholeNumber, print_json, print_table, say
from netinnet.cli.networks import described, is_model
from netinnet.errors import ModelError
from netinnet.networks.network import Network

FormatName = Literal["netinnet", "pytorch", "flax", "keras", "mxnet", "onnx"]


def convert(
    source: Path,
    target: Path,
    /,
    *,
    network: str | None = None,
    dataset: str | None = None,
    image_size: WholeNumber | None = None,
    channels: WholeNumber | None = None,
    classes: WholeNumber | None = None,
    mean: str | None = None,
    std: str | None = None,
    logits_relu: bool | None = None,
    head: str | None = None,
    width: float | None = None,
    pool_ceil: bool | None = None,
    epsilon: float | None = None,
    map: Annotated[list[str] | None, Parameter(negative=())] = None,  # noqa: A002 - the flag's name
    check: Annotated[tuple[Path, Path] | None, Parameter(negative=())] = None,
    tolerance: float = 1e-5,
    source_format: Annotated[FormatName | None, Parameter(name="--from")] = None,
    target_format: Annotated[FormatName | None, Parameter(name="--to")] = None,
    force: Switch = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Convert a trained model between frameworks' own files.

    The kind of a file follows from its name: `.safetensors` (netinnet's own; with `--to`, a PyTorch
    state dict or a Flax state), `.keras`, `.h5` and `.weights.h5` (Keras), `.params` (MXNet, with
    its `-symbol.json` beside it), `.onnx`.

    `.keras`, `.h5`, `.onnx` and `.params` with a symbol describe their layers. These are read one
    by one, and a layer that netinnet does not have is refused by name. All other files hold arrays
    alone and need `--network`: layers are paired in the order of their names and each shape is
    checked. The pairs are shown, and so is what is assumed about pools, epsilon, activation,
    scaling and head. `--check` tests the result. Nothing is ever unpickled or run, and nothing is
    written over without `--force`.

    Parameters
    ----------
    source
        A run folder, a model file, or a framework's own file.
    target
        The file to write.
    network
        The network that a framework's own file belongs to: one of the zoo, the path of a
        description (.toml, .json), or a run folder or model file whose network it is.
    dataset
        Take the class names and channels from this data set (not with a run or model).
    image_size
        Height and width of the network's input in pixels (not with a run or model).
    channels
        Input channels (not with a run or model).
    classes
        Number of classes (not with a run or model).
    mean
        Mean that is subtracted from pictures after 0…255 was scaled to 0…1: one number, or one for
        each channel, separated by commas.
    std
        Standard deviation that they are divided by after that, in the same form.
    logits_relu
        Whether an activation follows the last convolution of `--network`.
    head
        The head of `--network`: gap, dense or dense-dropout.
    width
        Factor on the hidden channels of `--network`.
    pool_ceil
        Whether the pools of `--network` round sizes up.
    epsilon
        Epsilon of batch norm in `--network`: PyTorch's is 1e-5, Keras's 1e-3.
    map
        THEIRS=OURS: pair the file's layer THEIRS with the layer OURS of `--network`, where the
        order of the names would give another pair; may be repeated.
    check
        INPUTS.npy OUTPUTS.npy: inputs as the network takes them (or uint8 pictures), and the logits
        that the original computes for them. If the converted model's logits differ, nothing is
        written.
    tolerance
        Largest difference that `--check` allows, as a share of the largest logit.
    source_format
        Format of the source, if the file's name does not say it.
    target_format
        Format of the target, if the file's name does not say it.
    force
        Replace an existing file, but never one of a run's own files.
    json
        Print JSON.
    """
    from netinnet.costs import counts
    from netinnet.formats import checking
    from netinnet.formats import convert as formats
    from netinnet.formats import target as targets

    targets.check(target, source, force)
    sizes = {"image_size": image_size, "channels": channels, "classes": classes}
    varied = {"logits_relu": logits_relu, "head": head, "width": width}
    constants = {"epsilon": epsilon, "pool_ceil": pool_ceil}
    given = formats.Given(
        network=_network(network, dataset, sizes, varied, constants),
        size=(image_size, image_size) if image_size and network is None else None,
        mean=_numbers("--mean", mean),
        std=_numbers("--std", std),
        classes=_class_names(dataset) if dataset and network is None else (),
        pairs=dict(_pair(text) for text in map or ()),
    )
    reading = formats.read(source, given, source_format)
    model = reading.model
    checked = checking.check(model, *check, tolerance) if check else None
    written = formats.write(target, model, target_format)
    lost = formats.lost(written, target, model)
    count = counts.total_cost(model.network).parameters
    if json:
        about: dict[str, Any] = {
            "file": str(target),
            "format": written,
            "network": model.network.name,
        }
        about |= {"assumed": {row.what: row.value for row in reading.assumed}}
        about |= {"said": list(reading.said), "lost": lost}
        about |= {"check": checked._asdict() if checked else None}
        print_json({**about, "parameters": count, "layers": reading.pairs})
        return
    if any(ours != theirs for ours, theirs in reading.pairs.items()):
        headers = (f"layer of {model.network.name}", f"taken from, in {source.name}")
        print_table(headers, list(reading.pairs.items()))
    if reading.assumed:
        headers3 = ("assumed", f"what {source.name} does not say", "set by")
        print_table(headers3, [tuple(row) for row in reading.assumed])
    for line in (*reading.said, checked, lost):
        if line:
            say(str(line))
    say(f"{target}: {model.network.name}, {count:,} parameters, {written}")


def _pair(text: str) -> tuple[str, str]:
    theirs, sign, ours = text.partition("=")
    if not (theirs and sign and ours):
        raise ModelError(f"--map is THEIRS=OURS, as in features.0=block1.conv1, got {text!r}")
    return theirs, ours


def _numbers(flag: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ModelError(
            f"{flag} is a number, or one a channel with commas between, got {text!r}"
        ) from None


def _class_names(dataset: str) -> tuple[str, ...]:
    from netinnet.data import datasets

    return tuple(datasets.facts(dataset).classes)


def _network(
    name: str | None,
    dataset: str | None,
    sizes: dict[str, Any],
    varied: dict[str, Any],
    constants: dict[str, Any],
) -> Network | None:
    from netinnet.data import datasets
    from netinnet.formats import assumptions

    open_here = {} if name is None else {"dataset": dataset, "image_size": sizes["image_size"]}
    own = {k: v for k, v in sizes.items() if k != "image_size"} | varied
    needed = {**open_here, **own} if name is None or is_model(name) else {}
    needed |= constants if name is None else {}
    given = [flag for flag, value in needed.items() if value is not None]
    if given:
        flag = given[0].replace("_", "-")
        raise ModelError(f"--{flag} goes with --network and a network of the zoo or of a file")
    if name is None:
        return None
    if dataset is None:
        made = described(name, **sizes, **varied)
    else:
        if {"channels", "classes"} & {k for k, v in sizes.items() if v is not None}:
            raise ModelError("--dataset says what the channels and classes are; leave those out")
        facts = datasets.facts(dataset)
        sizes = {**sizes, "channels": facts.channels, "classes": facts.classes}
        made = described(name, **sizes, **varied)
    return assumptions.adjusted(made, **constants)
