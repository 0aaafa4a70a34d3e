"""ONNX files: whole or plain, in float32, float16 or int8; checked before they take their name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from netinnet.data.source import Progress
from netinnet.export import at_hand, check, loss, metadata, plain, quantise
from netinnet.export.folding import folded
from netinnet.export.options import Exported, Options
from netinnet.files import replacing
from netinnet.inference import onnx_digest, onnx_graph
from netinnet.weights import Model

if TYPE_CHECKING:
    from onnx import ModelProto

AXES = (0, 3, 1, 2)
"""Pictures n×h×w×c as the plain graph takes them."""


def write(path: Path, model: Model, options: Options, on_progress: Progress) -> Exported:
    """Write a model as an ONNX file: see `writing.export`."""
    batch = options.batch if options.plain else None
    network, precision = model.network, options.numbers
    float32 = _float32(model, options)
    before = onnx_digest.sealed(float32.SerializeToString(deterministic=True))
    pictures, notes = at_hand.wanted(model, options, on_progress)
    graph = float32
    if precision == "float16":
        quantise.halve(graph, network)
    elif precision == "int8":
        assert pictures is not None
        graph = _in_eight_bits(model, options, pictures)
    metadata.describe(graph, model, options)
    with replacing(path) as file:
        file.write(onnx_digest.sealed(graph.SerializeToString(deterministic=True)))
        file.seek(0)
        content = file.read()
        engine = check.onnx_engine(content, network, batch)
        shown = pictures.some[:8] if pictures and precision == "int8" else check.samples(network)
        difference = check.against_oracle(path, model, engine, precision, shown)
        lost = None
        if pictures is not None:
            on_progress(f"measuring what {precision} changes", 0, None)
            lost = loss.measure(check.onnx_engine(before, network, batch), engine, pictures)
    if precision != "float32" or options.plain:
        notes = (*notes, "nin does not read it back: keep the model that it was made of")
    size = len(before) if precision != "float32" else None
    return Exported(path, _kind(options), len(content), size, difference, lost, notes)


def _float32(model: Model, options: Options) -> ModelProto:
    from onnx import load_model_from_string

    if options.plain:
        graph = plain.graph(model, options.batch)
    else:
        graph = load_model_from_string(onnx_graph.to_onnx(model))
    metadata.describe(graph, model, Options(plain=options.plain, licence=options.licence))
    return graph


def _in_eight_bits(model: Model, options: Options, pictures: at_hand.AtHand) -> ModelProto:
    from onnx import load_model_from_string

    flat = folded(model)
    if options.plain:
        batches: list[Any] = []
        for start in range(0, len(pictures.some), options.batch):
            part = pictures.some[start : start + options.batch]
            x = np.concatenate([check.batches(p, model.network, 1, AXES)[0] for p in part])
            batches.append(np.concatenate([x, np.repeat(x[-1:], options.batch - len(x), axis=0)]))
        return quantise.in_eight_bits(plain.graph(model, options.batch), flat.network, batches)
    whole = load_model_from_string(onnx_graph.to_onnx(flat))
    return quantise.in_eight_bits(whole, flat.network, pictures.some)


def _kind(options: Options) -> str:
    form = f"plain graph of {options.batch}" if options.plain else "graph with preprocessing"
    return f"ONNX, {form}, {options.numbers}"
