"""Models that other code made, in small: for `test_foreign`. Each maker writes a file.

It returns the file's path and what computes the original's logits of float pictures n×h×w×c.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Logits = Callable[[np.ndarray], np.ndarray]


def keras_model(*layers: Any, size: int = 28, channels: int = 1) -> Any:
    """A functional model of layers, one after the other."""
    import keras

    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((size, size, channels))
    for layer in layers:
        x = layer(x)
    model = keras.Model(inputs, x)
    for weight in model.weights:
        name = weight.path.rpartition("/")[2]
        if name in ("moving_variance", "variance"):
            weight.assign(np.linspace(0.01, 2.0, weight.shape[0]))
        elif name in ("moving_mean", "beta", "bias", "mean"):
            weight.assign(np.linspace(-0.2, 0.3, weight.shape[0]))
    return model


def keras_file(path: Path, *layers: Any, **options: Any) -> tuple[Path, Logits]:
    model = keras_model(*layers, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # .h5 is called legacy
        model.save(path)
    return path, lambda x: np.asarray(model(x, training=False))


def keras_nin(path: Path, size: int = 64) -> tuple[Path, Logits]:
    """AlexNet's windows, all padded "same", batch norm as Keras has it, pictures from 0 to 255."""
    from keras import layers as k

    made: list[Any] = [k.Rescaling(1 / 127.5, offset=-1.0)]
    for channels, kernel, stride in ((24, 11, 4), (32, 5, 1), (40, 3, 1)):
        for window, step in ((kernel, stride), (1, 1), (1, 1)):
            made.append(k.Conv2D(channels, window, step, padding="same", use_bias=False))
            made += [k.BatchNormalization(), k.Activation("relu")]
        made.append(k.MaxPooling2D(3, 2, padding="same"))
    made += [k.Dropout(0.5), k.Conv2D(10, 3, padding="same"), k.AveragePooling2D(3, 2, "same")]
    made.append(k.GlobalAveragePooling2D())
    return keras_file(path, *made, size=size, channels=3)


def gluon(path: Path, *layers: Any, size: int = 28, channels: int = 1) -> tuple[Path, Logits]:
    """A HybridSequential's export: NAME-symbol.json and NAME-0000.params."""
    from mxnet import init, npx, random
    from mxnet import np as mxnp
    from mxnet.gluon import nn

    npx.set_np()
    random.seed(1)
    net = nn.HybridSequential()
    net.add(*layers)
    net.initialize(init.Xavier())
    net.hybridize()

    def logits(x: np.ndarray) -> np.ndarray:
        found: np.ndarray = net(mxnp.array(x.transpose(0, 3, 1, 2))).asnumpy()
        return found

    logits(np.zeros((1, size, size, channels), np.float32))
    for name, parameter in net.collect_params().items():
        if name.endswith("running_var"):
            parameter.set_data(mxnp.linspace(0.01, 2.0, parameter.shape[0]))
        if name.endswith(("running_mean", "bias", "beta")):
            parameter.set_data(mxnp.linspace(-0.2, 0.3, parameter.shape[0]))
    logits(np.zeros((1, size, size, channels), np.float32))
    net.export(str(path))
    return path.with_name(f"{path.name}-0000.params"), logits


def torch_onnx(path: Path, net: Any, size: int, channels: int = 1) -> tuple[Path, Logits]:
    """What PyTorch's exporter makes of a module."""
    import torch

    net = net.eval()
    example = torch.zeros(1, channels, size, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is called old; the new one needs onnxscript
        torch.onnx.export(
            net, (example,), str(path), dynamo=False, dynamic_axes={"input": {0: "n"}},
            input_names=["input"],
        )  # fmt: skip

    def logits(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found: np.ndarray = net(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()
        return found

    return path, logits


def onnx_graph(
    path: Path, *nodes: tuple[str, list[np.ndarray | str], dict[str, Any]], shape: tuple[int, ...]
) -> Path:
    """A graph written by hand: operators one after the other, each with its constants.

    A name among them is an earlier value: "x" goes in, "y0" comes out of the first operator.
    """
    from onnx import TensorProto, helper, numpy_helper, save_model

    end, made, constants = "x", [], []
    for number, (op, arrays, attributes) in enumerate(nodes):
        names = []
        for i, array in enumerate(arrays):
            names.append(array if isinstance(array, str) else f"c{number}_{i}")
            if not isinstance(array, str):
                constants.append(numpy_helper.from_array(array, names[-1]))
        made.append(
            helper.make_node(op, [end, *names], [f"y{number}"], f"{op}{number}", **attributes)
        )
        end = f"y{number}"
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        made,
        "theirs",
        [value("x", TensorProto.FLOAT, ["n", *shape])],
        [value(end, TensorProto.FLOAT, None)],
        constants,
    )
    save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), path)
    return path


def onnx_logits(path: Path, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {session.get_inputs()[0].name: x})[0]
    return found
