"""TensorFlow Lite files, for phones and microcontrollers: by TensorFlow's own converter."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

from netinnet import frameworks
from netinnet.data.source import Progress
from netinnet.errors import FrameworkError
from netinnet.export import at_hand, check, loss
from netinnet.export.options import Exported, Options
from netinnet.files import replacing
from netinnet.weights import Model

AXES = (0, 1, 2, 3)
"""TensorFlow's pictures are n×h×w×c, as ours."""


def write(path: Path, model: Model, options: Options, on_progress: Progress) -> Exported:
    """Write a model as a TFLite file: see `writing.export`.

    Input: float32, batch×height×width×channels, preprocessed. Output: logits, float32,
    batch×classes; with int8 both are still float32 and everything between is int8. Needs the
    framework TensorFlow.
    """
    adapter = frameworks.adapter("tensorflow")
    network, precision = model.network, options.numbers
    pictures, notes = at_hand.wanted(model, options, on_progress)
    on_progress("converting by TensorFlow", 0, None)
    native = adapter.build(network, model.weights)
    content = float32 = _converted(native, model, dataclasses.replace(options, precision=None))
    if precision != "float32":
        content = _converted(native, model, options, pictures)
    with replacing(path) as file:
        file.write(content)
        file.seek(0)
        engine = _engine(file.read(), model, options.batch)
        shown = pictures.some[:8] if pictures and precision == "int8" else check.samples(network)
        difference = check.against_oracle(path, model, engine, precision, shown)
        lost = None
        if pictures is not None:
            on_progress(f"measuring what {precision} changes", 0, None)
            lost = loss.measure(_engine(float32, model, options.batch), engine, pictures)
    kind = f"TFLite, batch of {options.batch}, {precision}"
    size = None if precision == "float32" else len(float32)
    notes = (
        *notes,
        "it takes preprocessed pictures: a model card (FILE.md) says how",
        "nin does not read it back: keep the model that it was made of",
    )
    return Exported(path, kind, len(content), size, difference, lost, notes)


def _converted(
    native: Any, model: Model, options: Options, pictures: at_hand.AtHand | None = None
) -> bytes:
    """The file's bytes in the options' precision; int8 needs pictures."""
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    channels, height, width = model.network.input
    signature = tf.TensorSpec((options.batch, height, width, channels), tf.float32, "input")
    concrete = tf.function(lambda x: native(x, training=False)).get_concrete_function(signature)
    frozen = convert_to_constants.convert_variables_to_constants_v2(concrete)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen], native)
    if options.numbers != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if options.numbers == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif options.numbers == "int8":
        assert pictures is not None
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        arrays = [
            x
            for picture in pictures.some
            for x in check.batches(picture, model.network, options.batch, AXES)
        ]
        converter.representative_dataset = lambda: ([x] for x in arrays)
    try:
        with warnings.catch_warnings():
            # "Statistics for quantized inputs were expected": they come of the pictures.
            warnings.simplefilter("ignore")
            return bytes(converter.convert())
    except Exception as error:  # the converter has no common class for its errors
        reason = " ".join(str(error).split())[:300]
        raise FrameworkError(f"TensorFlow's converter does not take the network ({reason})") from (
            error
        )


def _engine(content: bytes, model: Model, batch: int) -> check.Engine:
    import tensorflow as tf

    with warnings.catch_warnings():
        # It is to be removed some day; it is what this TensorFlow has.
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(model_content=content)
    try:
        interpreter.allocate_tensors()
    except RuntimeError as error:
        raise FrameworkError(f"TensorFlow Lite does not take the file ({error})") from error
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()

    def compute(x: check.Array) -> check.Array:
        interpreter.set_tensor(taken["index"], x)
        interpreter.invoke()
        logits: check.Array = interpreter.get_tensor(given["index"])
        return logits

    return check.in_batches(compute, model.network, batch, AXES)
