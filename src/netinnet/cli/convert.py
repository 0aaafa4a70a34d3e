"""`nin convert`: a model from one framework's file to another's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from netinnet.cli.console import WholeNumber, print_json, print_table
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
    source_format: Annotated[FormatName | None, Parameter(name="--from")] = None,
    target_format: Annotated[FormatName | None, Parameter(name="--to")] = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Convert a trained model between frameworks' own files.

    The kind of a file follows from its name: `.safetensors` (netinnet's own; with `--to`, a PyTorch
    state dict or a Flax state), `.keras` and `.weights.h5` (Keras), `.params` (MXNet), `.onnx`
    (read if `nin` wrote it). Weights that other code trained need `--network`: their layers are
    taken in the order of their names, each one's shape is checked, and the pairs are shown: names
    that say nothing of the order may be taken wrongly where shapes are equal. Nothing is ever
    unpickled.

    Parameters
    ----------
    source
        A run folder, a model file, or a framework's own file.
    target
        The file to write.
    network
        What a framework's own file belongs to: a network of the zoo, the path of a description
        (.toml, .json), or a run folder or model file whose network it is.
    dataset
        Take the class names and channels from this data set (not with a run or model).
    image_size
        Height and width of the network's input in pixels (not with a run or model).
    channels
        Input channels (not with a run or model).
    classes
        Number of classes (not with a run or model).
    source_format
        Format of the source, where its name leaves it open.
    target_format
        Format of the target, where its name leaves it open.
    json
        Print JSON.
    """
    from netinnet.costs import counts
    from netinnet.formats import convert as formats

    if target.exists() and source.exists() and target.samefile(source):
        raise ModelError(f"{target}: the model itself; give the converted one another name")
    sizes = {"image_size": image_size, "channels": channels, "classes": classes}
    described = _network(network, dataset, sizes)
    model, pairs = formats.read(source, described, source_format)
    if described is not None and model.network != described:
        raise ModelError(
            f"{source}: has its own network, {model.network.name}; leave out --network"
        )
    written = formats.write(target, model, target_format)
    count = counts.total_cost(model.network).parameters
    if json:
        about = {"file": str(target), "format": written, "network": model.network.name}
        print_json({**about, "parameters": count, "layers": pairs})
        return
    if any(ours != theirs for ours, theirs in pairs.items()):
        headers = (f"layer of {model.network.name}", f"taken from, in {source.name}")
        print_table(headers, list(pairs.items()))
    print(f"{target}: {model.network.name}, {count:,} parameters, {written}")


def _network(name: str | None, dataset: str | None, sizes: dict[str, Any]) -> Network | None:
    from netinnet.data import datasets

    given = [f for f, value in {"dataset": dataset, **sizes}.items() if value is not None]
    if given and (name is None or is_model(name)):
        flag = given[0].replace("_", "-")
        raise ModelError(f"--{flag} goes with --network and a network of the zoo or of a file")
    if name is None:
        return None
    if dataset is None:
        return described(name, **sizes)
    if {"channels", "classes"} & {*given}:
        raise ModelError("--dataset says what the channels and classes are; leave those out")
    facts = datasets.facts(dataset)
    return described(name, **{**sizes, "channels": facts.channels, "classes": facts.classes})
