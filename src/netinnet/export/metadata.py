"""What an exported graph says of itself, as ONNX metadata: everything that its user must know."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from netinnet.export.options import Options
from netinnet.inference.model_files import WHOLE
from netinnet.inference.onnx_graph import NO_LICENCE, NOT_NOTES
from netinnet.networks.network import Network
from netinnet.version import VERSION
from netinnet.weights import Model

if TYPE_CHECKING:
    from onnx import ModelProto

RESIZE = "bilinear, half-pixel centres, antialiased where the picture shrinks"
CHANNELS = {1: "grey", 3: "RGB"}
FITS = {
    "stretch": "height and width are resized apart",
    "crop": "the largest centred part of the input's aspect ratio is resized",
    "pad": "the whole picture is resized into the middle, zeros of the normalised input around it",
}


def preprocessing(network: Network) -> dict[str, Any]:
    """How a picture becomes the network's input, as plain data."""
    said, (channels, height, width) = network.preprocessing, network.input
    return {
        "channels": CHANNELS.get(channels, str(channels)),
        "height": height,
        "width": width,
        "resize": RESIZE,
        "fit": said.fit,
        "fit_means": FITS[said.fit],
        "formula": "(value / 255 - mean) / std",
        "mean": list(said.mean),
        "std": list(said.std),
    }


def describe(proto: ModelProto, model: Model, options: Options) -> None:
    """Write the metadata of an export into its graph, in the place of what is there.

    `export` says which kind it is: a file that has it, and isn't float32 and whole, is not read
    back as a model. One that is keeps the model's notes: its recipe and data set.
    """
    from onnx import helper

    network, found = model.network, model.calibration
    texts = {
        "classes": json.dumps(list(network.classes), ensure_ascii=False),
        "export": f"{'plain ' if options.plain else ''}{options.numbers}",
        "licence": options.licence or model.notes.get("licence") or NO_LICENCE,
        "netinnet": VERSION,
        "network": json.dumps(network.to_dict(), ensure_ascii=False, separators=(",", ":")),
        "preprocessing": json.dumps(
            {**preprocessing(network), "in_graph": not options.plain}, ensure_ascii=False
        ),
    }
    if found is not None:
        texts["temperature"] = f"{found.temperature:.9g}"
        if not options.plain:
            texts["calibration"] = found.to_json(halved=options.numbers != "float32")
            texts["threshold"] = "none" if found.threshold is None else f"{found.threshold:.9g}"
    if not options.plain and options.numbers == WHOLE:
        texts = {**{name: t for name, t in model.notes.items() if name not in NOT_NOTES}, **texts}
    del proto.metadata_props[:]
    helper.set_model_props(proto, dict(sorted(texts.items())))
    proto.producer_name = "netinnet"
