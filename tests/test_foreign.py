"""Models of other code: what their files say is read, and no other function comes in silently."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from netinnet import weights
from netinnet.errors import ModelError
from netinnet.formats import convert, mxnet_params, tensor_file
from netinnet.formats.convert import Given, Reading
from netinnet.frameworks import FRAMEWORKS
from netinnet.inference import model_files, oracle
from netinnet.networks import layers, zoo
from netinnet.networks.network import Preprocessing
from netinnet.preprocessing import normalise
from tests import foreign
from tests.conftest import needs, nin

HAS_ONNX = importlib.util.find_spec("onnx") is not None
needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason="onnx is not installed")


def pictures(size: int, channels: int, count: int = 3) -> np.ndarray:
    shape = (count, size, size, channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def difference(reading: Reading, images: np.ndarray, expected: np.ndarray) -> float:
    """Of logits of uint8 pictures, as a share of the largest; a row's mean does not count."""
    network = reading.model.network
    x = normalise(images, network.preprocessing).transpose(0, 3, 1, 2)
    found = oracle.logits(network, reading.model.weights, x)
    if any("softmax" in line for line in reading.said):  # left out: known up to a constant
        found, expected = (v - v.mean(1, keepdims=True) for v in (found, expected))
    return float(np.abs(found - expected).max() / np.abs(expected).max())


# They come in


@needs("tensorflow")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_keras_nin_padded_same_comes_in(suffix: str, tmp_path: Path) -> None:
    path, logits = foreign.keras_nin(tmp_path / f"theirs{suffix}")
    reading = convert.read(path)
    network = reading.model.network
    images = pictures(64, 3)
    assert difference(reading, images, logits(images.astype(np.float32))) <= 1e-5
    assert network.preprocessing == Preprocessing((0.5,), (0.5,))
    kinds = [p.layer for p in network.placed_layers()]
    assert layers.Conv(24, 11, 4, bias=False, same=True) in kinds
    assert layers.BatchNorm(0.001, 0.01) in kinds
    # Of an even size, TensorFlow's padding is what rounding up adds.
    assert layers.MaxPool(3, 2, ceil=True) in kinds
    assert layers.AvgPool(3, 2, same=True) in kinds  # of two pixels
    assert [row.what for row in reading.assumed] == ["classes"]


@needs("tensorflow")
def test_a_residual_sequential_flattened_keras_model_comes_in(tmp_path: Path) -> None:
    import keras
    from keras import layers as k

    class Branch:
        """x + conv(relu(x)), and a model within the model."""

        def __call__(self, x: Any) -> Any:
            y = k.Conv2D(6, 3, padding="same")(k.ReLU()(x))
            return k.Add()([x, y])

    inner = keras.Sequential([k.ZeroPadding2D(1), k.Conv2D(6, 3), k.LeakyReLU(0.1)])
    made = (
        *(k.Normalization(mean=[120.0], variance=[3600.0]), inner, Branch()),
        *(k.AveragePooling2D(2), k.Flatten(), k.BatchNormalization(center=False)),
        *(k.Dense(12, "sigmoid"), k.Dense(5, "softmax", use_bias=False)),
    )
    path, logits = foreign.keras_file(tmp_path / "theirs.keras", *made, size=12)
    reading = convert.read(path)
    images = pictures(12, 1)
    assert difference(reading, images, np.log(logits(images.astype(np.float32)))) <= 1e-5
    assert any(block.residual for block in reading.model.network.blocks)
    assert any("has no bias" in line for line in reading.said)


def chapter(classes: int = 10) -> Any:
    """The chapter's network in plain PyTorch."""
    import torch
    from torch import nn

    def block(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> Any:
        return nn.Sequential(
            *(nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.ReLU()),
            *(nn.Conv2d(outputs, outputs, 1), nn.ReLU(), nn.Conv2d(outputs, outputs, 1), nn.ReLU()),
        )

    torch.manual_seed(1)
    return nn.Sequential(
        *(block(1, 96, 11, 4, 0), nn.MaxPool2d(3, 2), block(96, 256, 5, 1, 2), nn.MaxPool2d(3, 2)),
        *(block(256, 384, 3, 1, 1), nn.MaxPool2d(3, 2), nn.Dropout(0.5)),
        *(block(384, classes, 3, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


@needs("pytorch")
@needs_onnx
def test_pytorchs_onnx_of_the_chapter_comes_in(tmp_path: Path) -> None:
    path, logits = foreign.torch_onnx(tmp_path / "chapter.onnx", chapter(), 224)
    images = pictures(224, 1, 1)
    expected = logits(images.astype(np.float32) / 255)
    reading = convert.read(path)
    assert difference(reading, images, expected) <= 1e-5
    assert [row.what for row in reading.assumed] == ["pictures", "classes"]
    same = convert.read(path, Given(zoo.network("nin")))
    assert same.model.network == zoo.network("nin")
    assert difference(same, images, expected) <= 1e-5


@needs_onnx
def test_a_graph_written_by_hand_comes_in(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    norm = [drawn(6), drawn(6), drawn(6), np.linspace(0.01, 2, 6, dtype=np.float32)]
    window = {"kernel_shape": [3, 3], "strides": [2, 2]}
    path = foreign.onnx_graph(
        tmp_path / "theirs.onnx",
        ("Sub", [np.float32([[[0.2]], [[0.3]], [[0.4]]])], {}),
        ("Div", [np.float32(0.5)], {}),
        ("Conv", [drawn(6, 3, 4, 4)], {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        ("BatchNormalization", norm, {"epsilon": 0.001}),
        ("LeakyRelu", [], {"alpha": 0.2}),
        ("MaxPool", [], {**window, "ceil_mode": 1}),
        ("Gelu", [], {"approximate": "tanh"}),
        ("AveragePool", [], {**window, "auto_pad": "SAME_UPPER"}),
        ("Reshape", [np.int64([0, -1])], {}),
        ("MatMul", [drawn(6 * 2 * 2, 5)], {}),
        ("Add", [drawn(5)], {}),
        ("Gemm", [drawn(5, 4), drawn(4)], {"alpha": 0.5}),
        ("Softmax", [], {"axis": 1}),
        shape=(3, 15, 15),
    )
    given = Given(mean=(0.2, 0.3, 0.4), std=(0.5,))
    reading = convert.read(path, given)
    images = pictures(15, 3)
    x = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    assert difference(reading, images, np.log(foreign.onnx_logits(path, x))) <= 1e-5


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 0.3, shape).astype(np.float32)


FACTORS = np.float32([0.01, 0.02, 0.03])
CONV3 = ("Conv", [drawn(12, 3, 3, 3)], {"pads": [1, 1, 1, 1]})
CONV12 = ("Conv", [drawn(12, 12, 3, 3)], {"pads": [1, 1, 1, 1]})
GAP = ("GlobalAveragePool", [], {})
FLAT = ("Flatten", [], {})
ADAPTED: dict[str, list[Any]] = {
    "bias": [CONV3, ("Add", [drawn(12, 1, 1)], {}), GAP, FLAT],
    "bias of four axes": [CONV3, ("Add", [drawn(1, 12, 1, 1)], {}), GAP, FLAT],
    "one bias for all": [CONV3, ("Add", [drawn(1)], {}), GAP, FLAT],
    "bias of two axes": [CONV3, GAP, FLAT, ("Gemm", [drawn(12, 4), drawn(1, 4)], {"beta": 2.0})],
    "scaled": [
        *(("Mul", [FACTORS[:, None, None]], {}), ("Sub", [drawn(1, 3, 1, 1)], {})),
        *(CONV3, GAP, FLAT),
    ],
    "scaled, channels last": [
        *(("Mul", [FACTORS], {}), ("Sub", [drawn(3)], {})),
        *(("Transpose", [], {"perm": [0, 3, 1, 2]}), ("Mul", [1 + FACTORS[:, None, None]], {})),
        *(CONV3, GAP, FLAT),
    ],
    "block": [CONV3, CONV12, ("Relu", [], {}), ("Add", ["y0"], {}), GAP, FLAT],
    "biases in a block": [
        *(CONV3, ("Add", [drawn(12, 1, 1)], {}), CONV12, ("Add", ["y1"], {})),
        *(("Add", [drawn(12, 1, 1)], {}), ("Relu", [], {}), GAP, FLAT),
    ],
}
"""Graphs of pictures 3×12×12, each the function of a network here."""


@needs_onnx
@pytest.mark.parametrize("what", ADAPTED)
def test_constants_and_blocks_of_onnx_are_adapted(what: str, tmp_path: Path) -> None:
    shape = (12, 12, 3) if "last" in what else (3, 12, 12)
    path = foreign.onnx_graph(tmp_path / "theirs.onnx", *ADAPTED[what], shape=shape)
    reading = convert.read(path)
    images = pictures(12, 3)
    x = images if "last" in what else images.transpose(0, 3, 1, 2)
    is_assumed = any(row.what == "pictures" for row in reading.assumed)
    expected = foreign.onnx_logits(path, (x / (255 if is_assumed else 1)).astype(np.float32))
    assert difference(reading, images, expected) <= 1e-5


def gluon_nin() -> list[Any]:
    from mxnet import npx
    from mxnet.gluon import nn

    npx.set_np()
    return [
        *(nn.Conv2D(8, 5, 2, 2, activation="relu"), nn.BatchNorm(epsilon=1e-3)),
        *(nn.Conv2D(8, 1, use_bias=False), nn.LeakyReLU(0.2), nn.MaxPool2D(3, 2, ceil_mode=True)),
        *(nn.Dropout(0.5), nn.Conv2D(10, 3, padding=1), nn.GlobalAvgPool2D(), nn.Flatten()),
    ]


@needs("mxnet")
def test_a_gluon_export_comes_in(tmp_path: Path) -> None:
    path, logits = foreign.gluon(tmp_path / "theirs", *gluon_nin())
    reading = convert.read(path, Given(size=(28, 28)))
    images = pictures(28, 1)
    assert difference(reading, images, logits(images.astype(np.float32) / 255)) <= 1e-5
    assert layers.BatchNorm(0.001) in [p.layer for p in reading.model.network.placed_layers()]
    with pytest.raises(ModelError, match="does not keep the size of its pictures; give --image-si"):
        convert.read(path)


# Others do not

SMALL_TOML = """
channels = 1
size = 12
classes = 4
blocks = [
    { nin = [6, 6], kernel = 3, padding = 1, norm = true, bias = true },
    { max_pool = 3, stride = 2 },
    { nin = [4], kernel = 3, padding = 1, pointwise = 0, last_relu = false },
    { head = "gap" },
]
"""


def small(folder: Path) -> Given:
    path = folder / "small.toml"
    path.write_text(SMALL_TOML)
    return Given(zoo.resolve(path))


def keras_small(**changes: Any) -> list[Any]:
    """The layers of `SMALL_TOML` in Keras, one of them changed; `None` leaves it out."""
    from keras import layers as k

    parts = {
        "start": None,
        "conv": k.Conv2D(6, 3, padding="same"),
        "norm": k.BatchNormalization(epsilon=1e-5),
        "relu": k.ReLU(),
        "conv2": k.Conv2D(6, 1),
        "norm2": k.BatchNormalization(epsilon=1e-5),
        "relu2": k.Activation("relu"),
        "pool": k.MaxPooling2D(3, 2),
        "conv3": k.Conv2D(4, 3, padding="same"),
        "end": k.GlobalAveragePooling2D(),
    }
    return [layer for layer in (parts | changes).values() if layer is not None]


def _keras(make: Callable[[Any], dict[str, Any]]) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        from keras import layers as k

        parts = keras_small(**make(k))
        return foreign.keras_file(folder / "theirs.keras", *parts, size=12)[0]

    return made


KERAS_WRONG: dict[str, tuple[Callable[[Any], dict[str, Any]], str]] = {
    "pool kind": (
        lambda k: {"pool": k.AveragePooling2D(3, 2)},
        "is average pool 3×3, stride 2, small has max pool 3×3, stride 2 there",
    ),
    "pool start": (
        lambda k: {"pool": k.MaxPooling2D(3, 2, padding="same")},
        r"is max pool 3×3, stride 2, rounded up, small has max pool 3×3, stride 2 there",
    ),
    "epsilon": (
        lambda k: {"norm": k.BatchNormalization()},
        "is batch norm of epsilon 0.001, small has batch norm of epsilon 1e-05 there",
    ),
    "activation": (lambda k: {"relu": k.LeakyReLU(0.1)}, "is leaky ReLU 0.1, small has ReLU there"),
    "logits ReLU": (lambda k: {"conv3": k.Conv2D(4, 3, padding="same", activation="relu")}, "ReLU"),
    "scaling": (lambda k: {"start": k.Rescaling(1 / 127.5, -1)}, None),
}
NEVER: dict[str, tuple[Callable[[Any], dict[str, Any]], str]] = {
    "permute": (
        lambda k: {"end": k.Permute((2, 1, 3))},
        r"layer permute\w*: Permute\(\[2, 1, 3\]\) is not in the vocabulary",
    ),
    "exact gelu": (
        lambda k: {"relu": k.Activation("gelu")},
        r"exact GELU .* not in the vocabulary",
    ),
    "relu6": (lambda k: {"relu": k.ReLU(max_value=6.0)}, "a ReLU from 0 to 6.0 is not in the"),
    "elu": (lambda k: {"relu": k.Activation("elu")}, "the activation 'elu' is not in the vocab"),
    "odd scaling": (lambda k: {"start": k.Rescaling(3.0, -0.5)}, "say --mean 0.166667 --std 0.333"),
    "scaling behind": (lambda k: {"relu": k.Rescaling(0.5)}, "multiplication behind the first"),
    "dilated": (
        lambda k: {"conv": k.Conv2D(6, 3, dilation_rate=2)},
        r"with dilation 2×2 is not in",
    ),
    "oblong": (lambda k: {"conv2": k.Conv2D(6, (1, 3))}, r"a window of 1×3 is not in the vocab"),
    "max at the end": (lambda k: {"end": k.GlobalMaxPooling2D()}, "GlobalMaxPooling2D is not in"),
    "norm over rows": (
        lambda k: {"norm": k.BatchNormalization(axis=1)},
        "batch norm over axis 1 is not in the vocabulary",
    ),
    "upsampling": (lambda k: {"pool": k.UpSampling2D()}, r"UpSampling2D\(\[2, 2\]\) is not in the"),
    "softmax within": (
        lambda k: {"relu2": k.Softmax()},
        "a layer behind the softmax",
    ),
    "moved behind a padding": (
        lambda k: {"start": _padded(k.Rescaling(1 / 127.5, -1)), "conv": k.Conv2D(6, 3)},
        r"rescaling\w*: an addition to pictures with padding around them is not in the vocabulary",
    ),
    "scaling along the rows": (
        lambda k: {"start": k.Rescaling([[[1 / 255]]] * 12)},
        r"a constant of shape \(1, 1, 12, 1\) that is not along the 1 channels",
    ),
    "block around a flattened map": (
        lambda k: {"end": _around(k)},
        "adding a map, or a flattened one, to a vector is not in the vocabulary",
    ),
}


def _padded(layer: Any) -> Any:
    import keras

    return keras.Sequential([keras.layers.ZeroPadding2D(1), layer])


def _around(k: Any) -> Callable[[Any], Any]:
    """Flattened, and added to what a matrix makes of it: here it has another order."""

    def made(x: Any) -> Any:
        flat = k.Flatten()(x)
        return k.Dense(4)(k.Add()([k.Dense(flat.shape[1])(flat), flat]))

    return made


@needs("tensorflow")
def test_an_array_too_many_in_a_described_layer_is_named(tmp_path: Path) -> None:
    import h5py

    path, member = _keras(lambda k: {})(tmp_path), "model.weights.h5"
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    stream = io.BytesIO(parts[member])
    with h5py.File(stream, "r+") as file:
        file["layers/conv2d/vars/2"] = np.ones(6, np.float32)
    parts[member] = stream.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(ModelError, match=r"layer conv2d\w* should have kernel, bias; it has 3"):
        convert.read(path)


@needs("tensorflow")
def test_pictures_may_be_padded_then_multiplied(tmp_path: Path) -> None:
    from keras import layers as k

    parts = keras_small(start=_padded(k.Rescaling(1 / 255)), conv=k.Conv2D(6, 3))
    path, logits = foreign.keras_file(tmp_path / "theirs.keras", *parts, size=12)
    images = pictures(12, 1)
    found = difference(convert.read(path), images, logits(images.astype(np.float32)))
    assert found <= 1e-5


@needs("tensorflow")
def test_the_right_one_is_taken(tmp_path: Path) -> None:
    given = small(tmp_path)
    path = _keras(lambda k: {})(tmp_path)
    assert convert.read(path, given).model.network == given.network


@needs("tensorflow")
@pytest.mark.parametrize("what", KERAS_WRONG)
def test_another_keras_function_is_refused_or_adapted(what: str, tmp_path: Path) -> None:
    change, message = KERAS_WRONG[what]
    given, path = small(tmp_path), _keras(change)(tmp_path)
    if message is None:  # the given network says nothing of scaling
        assert convert.read(path, given).model.network.preprocessing == Preprocessing(
            (0.5,), (0.5,)
        )
        return
    with pytest.raises(ModelError, match=message):
        convert.read(path, given)
    model = convert.read(path).model  # as it is, without a network
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (2, 12, 12, 1)).astype(np.float32)
    import keras

    expected = np.asarray(keras.models.load_model(path)(x))
    found = oracle.logits(model.network, model.weights, x.transpose(0, 3, 1, 2))
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@needs("tensorflow")
@pytest.mark.parametrize("what", NEVER)
def test_what_the_vocabulary_lacks_is_named(what: str, tmp_path: Path) -> None:
    change, message = NEVER[what]
    path = _keras(change)(tmp_path)
    with pytest.raises(ModelError, match=message):
        convert.read(path)


CONV = ("Conv", [np.ones((4, 1, 3, 3), np.float32)], {"pads": [1, 1, 1, 1]})
POOL = {"kernel_shape": [3, 3], "strides": [2, 2]}
DEEP = ("Conv", [np.ones((12, 1, 3, 3), np.float32)], {"pads": [1, 1, 1, 1]})
ONE = ("Conv", [np.ones((1, 1, 1, 1), np.float32)], {})
WIDE = ("Conv", [np.ones((4, 4, 1, 1), np.float32)], {})
MATRIX = ("MatMul", [np.eye(4, dtype=np.float32)], {})
ONNX_NEVER: dict[str, tuple[list[Any], str]] = {
    "permute": (
        [CONV, ("Transpose", [], {"perm": [0, 2, 1, 3]}), FLAT],
        r"Transpose\(0, 2, 1, 3\)",
    ),
    "padded without counting": (
        [CONV, ("AveragePool", [], {**POOL, "pads": [1, 1, 1, 1]}), GAP, FLAT],
        "average pool 3×3 padded by 1 above.*the padding not counted is not in the vocabulary",
    ),
    "exact gelu": ([CONV, ("Gelu", [], {}), GAP, FLAT], "the exact GELU"),
    "elu": ([CONV, ("Elu", [], {}), GAP, FLAT], "Elu1: Elu is not in the vocabulary"),
    "scaled within": ([CONV, ("Mul", [np.float32(2)], {}), GAP, FLAT], "Mul by a constant behind"),
    "made for 0 to 1": ([("Div", [np.float32(0.3)], {}), CONV, GAP, FLAT], "--mean 0 --std 0.3"),
    "softmax of maps": ([CONV, ("Softmax", [], {"axis": 1}), GAP, FLAT], "over axis 1 of a map"),
    "largest at the end": ([CONV, ("GlobalMaxPool", [], {}), FLAT], "GlobalMaxPool is not in the"),
    "bias along the columns": (
        [DEEP, ("Add", [np.ones(12, np.float32)], {}), GAP, FLAT],
        r"Add1: a constant of shape \(12,\) that is not along the 12 channels",
    ),
    "bias along the rows": (
        [DEEP, ("Add", [np.ones((12, 1), np.float32)], {}), GAP, FLAT],
        r"a constant of shape \(12, 1\) that is not along the 12 channels",
    ),
    "bias of each example": (
        [CONV, GAP, FLAT, ("Gemm", [np.eye(4, dtype=np.float32), np.ones((4, 1), "f")], {})],
        r"a constant of shape \(4, 1\) that is not along the 4 channels",
    ),
    "mean picture": (
        [("Sub", [np.ones((1, 12, 12), np.float32)], {}), CONV, GAP, FLAT],
        r"a constant of shape \(1, 12, 12\) that is not along the 1 channels",
    ),
    "transposed twice": (
        [*[("Transpose", [], {"perm": [0, 3, 1, 2]})] * 2, CONV, GAP, FLAT],
        r"Transpose\(0, 3, 1, 2\) is not in the vocabulary",
    ),
    "block around the scaling": (
        [("Mul", [np.float32(1 / 255)], {}), ONE, ("Add", ["x"], {}), CONV, GAP, FLAT],
        "Add2: adding x, as it is in front of Mul0, is not in the vocabulary",
    ),
    "block around a bias": (
        [CONV, ("Add", [np.float32(3)], {}), WIDE, ("Add", ["y0"], {}), GAP, FLAT],
        "Add3: adding y0, as it is in front of Add1, is not in the vocabulary",
    ),
    "block around a sum": (
        [CONV, WIDE, ("Add", ["y0"], {}), WIDE, ("Add", ["y1"], {}), GAP, FLAT],
        "Add4: adding y1, as it is in front of Add2, is not in the vocabulary",
    ),
    "block around the softmax": (
        [CONV, GAP, FLAT, MATRIX, ("Softmax", [], {}), ("Add", ["y2"], {})],
        r"Add5: a layer behind the softmax \(Softmax4\)",
    ),
    "vector added to a map": (
        [CONV, GAP, FLAT, MATRIX, ("Add", ["y1"], {})],
        "Add4: adding a map, or a flattened one, to a vector is not in the vocabulary",
    ),
}


@needs_onnx
@pytest.mark.parametrize("what", ONNX_NEVER)
def test_what_no_network_here_can_is_named_of_onnx(what: str, tmp_path: Path) -> None:
    nodes, message = ONNX_NEVER[what]
    path = foreign.onnx_graph(tmp_path / "theirs.onnx", *nodes, shape=(1, 12, 12))
    with pytest.raises(ModelError, match=message):
        convert.read(path)


ONNX_WRONG: dict[str, tuple[tuple[str, list[Any], dict[str, Any]], str]] = {
    "pool kind": (("AveragePool", [], POOL), "is average pool 3×3, stride 2, .* has max pool 3×3"),
    "rounded up": (("MaxPool", [], {**POOL, "ceil_mode": 1}), "is max pool .*, rounded up, .* has"),
    "pool start": (
        ("MaxPool", [], {**POOL, "pads": [1, 1, 1, 1]}),
        "is max pool .*, pad 1, net has",
    ),
    "activation": (("Sigmoid", [], {}), "is sigmoid, .* has max pool"),
}


@needs_onnx
@pytest.mark.parametrize("what", ONNX_WRONG)
def test_another_onnx_function_is_refused(what: str, tmp_path: Path) -> None:
    node, message = ONNX_WRONG[what]
    toml = tmp_path / "net.toml"
    toml.write_text(
        "channels = 1\nsize = 12\nclasses = 4\nblocks = [{ conv = 4, kernel = 3, padding = 1, "
        "bias = false, "
        'last_relu = false }, { max_pool = 3, stride = 2 }, { head = "gap" }]\n'
    )
    path = foreign.onnx_graph(tmp_path / "theirs.onnx", CONV, node, GAP, FLAT, shape=(1, 12, 12))
    with pytest.raises(ModelError, match=message):
        convert.read(path, Given(zoo.resolve(toml)))
    assert convert.read(path).model.network.classes == ("0", "1", "2", "3")


@needs_onnx
def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    import onnx

    path = foreign.onnx_graph(tmp_path / "theirs.onnx", CONV, GAP, FLAT, shape=(1, 12, 12))
    model = onnx.load_model(path)
    options = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}
    onnx.save_model(model, path, **options)
    with pytest.raises(ModelError, match="c0_0 is in another file; save the model as one file"):
        convert.read(path)


def _gluon_wrong() -> dict[str, tuple[dict[int, Any], str]]:
    from mxnet.gluon import nn

    return {
        "pool kind": ({4: nn.AvgPool2D(3, 2, ceil_mode=True)}, "is average pool 3×3"),
        "rounded up": ({4: nn.MaxPool2D(3, 2)}, "is max pool 3×3, stride 2, .*rounded up there"),
        "epsilon": ({1: nn.BatchNorm()}, "is batch norm of epsilon 1e-05"),
        "activation": ({3: nn.LeakyReLU(0.1)}, "is leaky ReLU 0.1"),
        "exact gelu": ({3: nn.GELU()}, r"the activation gelu \(exact\) is not in the vocabulary"),
        "padding not counted": (
            {4: nn.AvgPool2D(3, 2, 1, count_include_pad=False)},
            "the padding not counted is not in the vocabulary",
        ),
    }


@needs("mxnet")
@pytest.mark.parametrize(
    "what",
    ["pool kind", "rounded up", "epsilon", "activation", "exact gelu", "padding not counted"],
)
def test_another_gluon_function_is_refused(what: str, tmp_path: Path) -> None:
    right, _ = foreign.gluon(tmp_path / "right", *gluon_nin())
    network = convert.read(right, Given(size=(28, 28))).model.network
    assert convert.read(right, Given(network)).model.network == network
    changes, message = _gluon_wrong()[what]
    parts = [changes.get(i, layer) for i, layer in enumerate(gluon_nin())]
    wrong, _ = foreign.gluon(tmp_path / "wrong", *parts)
    with pytest.raises(ModelError, match=message):
        convert.read(wrong, Given(network))


# Arrays alone: what is assumed is told, and can be set, proved and corrected


@pytest.fixture(scope="module")
def shipped() -> Any:
    from netinnet.inference import model_files

    return model_files.find(None)


@pytest.mark.parametrize("kind", ["pytorch", "flax", "keras", "onnx"])
def test_the_shipped_model_comes_back_as_it_was(kind: str, shipped: Any, tmp_path: Path) -> None:
    """Weights, scaling, recipe, data set and calibration: nothing is left behind."""
    if kind == "keras" and not FRAMEWORKS["tensorflow"].is_installed:
        pytest.skip("Keras writes its own files")
    if kind == "onnx" and not HAS_ONNX:
        pytest.skip("onnx is not installed")
    path = tmp_path / {"keras": "net.keras", "onnx": "net.onnx"}.get(kind, "net.safetensors")
    back, again = tmp_path / "back.safetensors", tmp_path / "again.safetensors"
    assert nin("convert", model_files.shipped(), path, "--to", kind).returncode == 0
    done = nin("convert", path, back)
    assert done.returncode == 0, done.stderr
    assert "assumed" not in done.stdout
    assert nin("convert", model_files.shipped(), again).returncode == 0
    assert back.read_bytes() == again.read_bytes()
    assert shipped.notes["recipe"] == model_files.find(back).notes["recipe"]


@needs("pytorch")
def test_pytorch_finds_a_plain_state_dict(shipped: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    path = tmp_path / "net.safetensors"
    convert.write(path, shipped, "pytorch")
    assert set(load_file(path)) == set(shipped.weights)


def state(folder: Path, shipped: Any, name: str = "theirs.safetensors") -> Path:
    """The shipped model's weights as a state dict that says nothing."""
    path = folder / name
    weights.save_tensors(path, shipped.weights, {})
    return path


def examples(folder: Path, shipped: Any) -> tuple[str, str]:
    images = pictures(28, 1)
    x = normalise(images, shipped.network.preprocessing)
    expected = oracle.logits(shipped.network, shipped.weights, x.transpose(0, 3, 1, 2))
    for name, array in {"x": x, "y": expected, "pictures": images}.items():
        np.save(folder / f"{name}.npy", array)
    return str(folder / "x.npy"), str(folder / "y.npy")


def test_what_is_assumed_is_told(shipped: Any, tmp_path: Path) -> None:
    arguments = ["convert", state(tmp_path, shipped), tmp_path / "o.safetensors"]
    done = nin(*arguments, "--network", "nin-small", "--mean", "0.3,", "--json")
    assert done.returncode == 2
    assert "--mean is a number, or one a channel with commas between" in done.stderr
    done = nin(*arguments, "--network", "nin-small", "--mean", "0.286", "--std", "0.353")
    assert done.returncode == 0, done.stderr
    for text in (
        "mean 0.286, standard deviation 0.353",
        "epsilon",
        "1e-05",
        "max pool 3×3",
        "ReLU",
        "0 to 9: no names",
    ):
        assert text in done.stdout
    found = model_files.find(tmp_path / "o.safetensors").network.preprocessing
    assert found == Preprocessing((0.286,), (0.353,))
    named = convert.read(state(tmp_path, shipped), Given(shipped.network)).assumed
    assert ("classes", "T-shirt/top, Trouser, Pullover, …, Ankle boot: 10 in this order") in [
        row[:2] for row in named
    ]


DIFFERS = "not the same function: logits of 3 examples differ by at most"
WRONG_FLAGS = {
    "epsilon": (["--epsilon", "0.001"], DIFFERS),
    "rounded up": (["--pool-ceil"], DIFFERS),
    "a ReLU on the logits": (["--logits-relu"], "nin-small has 9 batch norms, the file 8"),
    "another head": (["--head", "dense"], "nin-small has 1 linear layers, the file 0"),
}


@pytest.mark.parametrize("what", WRONG_FLAGS)
def test_a_check_finds_another_function(what: str, shipped: Any, tmp_path: Path) -> None:
    flags, message = WRONG_FLAGS[what]
    x, y = examples(tmp_path, shipped)
    out = tmp_path / "o.safetensors"
    arguments = ["convert", state(tmp_path, shipped), out, "--network", "nin-small"]
    done = nin(*arguments, "--check", x, y, *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert ("inputs that are not uint8 count as scaled already" in done.stderr) == (
        message is DIFFERS
    )
    assert not out.exists()
    done = nin(*arguments, "--check", x, y)
    assert done.returncode == 0, done.stderr
    assert "logits of 3 examples differ by at most" in done.stdout
    assert "the scaling of pictures was not checked: the inputs are not uint8 pic" in done.stdout


def test_a_check_of_pictures_finds_another_scaling(shipped: Any, tmp_path: Path) -> None:
    _, y = examples(tmp_path, shipped)
    x = str(tmp_path / "pictures.npy")
    mean, std = (
        ",".join(map(repr, v))
        for v in (shipped.network.preprocessing.mean, shipped.network.preprocessing.std)
    )
    arguments = ["convert", state(tmp_path, shipped), tmp_path / "o.safetensors"]
    arguments += ["--network", "nin-small", "--check", x, y]
    assert "not the same function" in nin(*arguments).stderr
    done = nin(*arguments, "--mean", mean, "--std", std)
    assert done.returncode == 0, done.stderr
    assert "not checked" not in done.stdout


def test_a_map_corrects_the_order(shipped: Any, tmp_path: Path) -> None:
    """block2's last two convolutions, of one shape, in the wrong order."""
    swap = {"block2.conv2": "block2.conv3", "block2.conv3": "block2.conv2"}
    tensors = {}
    for name, array in shipped.weights.items():
        layer, _, tensor = name.rpartition(".")
        tensors[f"net.{swap.get(layer, layer)}.{tensor}"] = array
    path = tmp_path / "theirs.safetensors"
    weights.save_tensors(path, tensors, {})
    x, y = examples(tmp_path, shipped)
    arguments = ["convert", path, tmp_path / "o.safetensors", "--network", "nin-small"]
    arguments += ["--check", x, y]
    assert nin(*arguments).returncode == 2
    maps = [f"--map=net.{theirs}={ours}" for theirs, ours in swap.items()]
    done = nin(*arguments, *maps)
    assert done.returncode == 0, done.stderr
    assert (
        "did you mean" in nin(*arguments, "--force", "--map=net.block2.conv9=block2.conv2").stderr
    )


def test_linens_running_statistics_are_found(shipped: Any, tmp_path: Path) -> None:
    from netinnet.formats.matching import from_canonical

    flat = {}
    for layer, arrays in from_canonical(shipped.network, "jax", shipped.weights).items():
        for name, array in arrays.items():
            tree = "batch_stats" if name in ("mean", "var") else "params"
            flat[f"{tree}/{layer.replace('.', '/')}/{name}"] = array
    path = tmp_path / "theirs.safetensors"
    weights.save_tensors(path, flat, {})
    reading = convert.read(path, Given(shipped.network))
    assert all(np.array_equal(reading.model.weights[k], v) for k, v in shipped.weights.items())


@needs("pytorch")
@pytest.mark.parametrize("kind", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_short_numbers_become_float32(kind: str, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    every = torch.arange(256, dtype=torch.uint8)
    values = every.view(getattr(torch, kind))
    path = tmp_path / "short.safetensors"
    save_file({"a.weight": values}, path)
    found, said = tensor_file.read(path)
    assert np.array_equal(found["a.weight"], values.float().numpy(), equal_nan=True)
    assert "1 tensors are" in said[0]


PLAIN_TOML = """
channels = 1
size = 12
classes = 4
blocks = [
    { nin = [6], kernel = 3, pointwise = 0 },
    { nin = [4], kernel = 1, pointwise = 0, last_relu = false },
    { head = "gap" },
]
"""


def plain(folder: Path, **more: np.ndarray) -> tuple[Path, Path]:
    """A network of two convolutions, and a state dict that has more than those."""
    network, path = folder / "plain.toml", folder / "theirs.safetensors"
    network.write_text(PLAIN_TOML)
    tensors = {"features.0.weight": drawn(6, 1, 3, 3), "features.0.bias": drawn(6)}
    tensors |= {"features.2.weight": drawn(4, 6, 1, 1), "features.2.bias": drawn(4)}
    save_file({name: np.asarray(array) for name, array in (tensors | more).items()}, path)
    return network, path


MEAN_STD = "give --mean and --std, for values from 0 to 1"
NOWHERE: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "slopes": (
        {"features.1.weight": drawn(6)},
        "features.1.weight (6) belongs to no layer of plain: slopes of a PReLU, for example, are "
        "not in the vocabulary; what computes nothing may be left out of the file",
    ),
    "three axes": ({"scale": drawn(6, 1, 1)}, "scale (6×1×1) belongs to no layer of plain"),
    "one number": ({"temperature": np.ones(())}, "temperature (one number) belongs to no layer"),
    "scaling": (
        {"mean": np.full((1, 1, 1), 0.25), "std": np.full((1, 1, 1), 0.5)},
        f"mean, std scale pictures (mean 0.25; standard deviation 0.5), which is no layer's work "
        f"here; {MEAN_STD}",
    ),
    "scaling by a module": (
        {"pre.pixel_mean": np.full(1, 0.25), "pre.pixel_std": np.full(1, 0.5)},
        "pre.pixel_mean, pre.pixel_std scale pictures (mean 0.25; standard deviation 0.5)",
    ),
    "two vectors": ({"a": drawn(6), "b": drawn(6)}, "the file 1; layer of a, b has no counterpart"),
}


@pytest.mark.parametrize("what", NOWHERE)
def test_an_array_that_goes_nowhere_is_named(what: str, tmp_path: Path) -> None:
    more, message = NOWHERE[what]
    network, path = plain(tmp_path, **more)
    with pytest.raises(ModelError) as caught:
        convert.read(path, Given(zoo.resolve(network)))
    assert message in str(caught.value)


def test_slopes_in_mxnets_parameters_are_named(tmp_path: Path) -> None:
    network, _ = plain(tmp_path)
    path = tmp_path / "theirs.params"
    tensors = {"conv0_weight": drawn(6, 1, 3, 3), "conv0_bias": drawn(6)}
    tensors |= {"conv1_weight": drawn(4, 6, 1, 1), "conv1_bias": drawn(4)}
    slopes = {f"arg:prelu{i}_alpha": drawn(6) for i in range(2)}
    mxnet_params.write(path, tensors | slopes)
    with pytest.raises(ModelError, match=r"prelu0\.alpha \(6\) belongs to no layer of plain"):
        convert.read(path, Given(zoo.resolve(network)))


def test_what_is_left_out_of_arrays_is_told(tmp_path: Path) -> None:
    """A scaling where the user says it, and what no output depends on."""
    more = {"norm.mean": np.full((1, 1, 1), 0.25), "norm.std": np.full((1, 1, 1), 0.5)}
    more |= {"features.0.num_batches_tracked": np.int64(3), "drop.rngs.count": np.uint32(7)}
    network, path = plain(tmp_path, **more)
    arguments = ["convert", path, tmp_path / "o.safetensors", "--network", network]
    assert MEAN_STD in nin(*arguments, "--mean", "0.25").stderr
    done = nin(*arguments, "--mean", "0.25", "--std", "0.5")
    assert done.returncode == 0, done.stderr
    for line in (
        "left out, since no output depends on it: rngs (1), num_batches_tracked (1)",
        "left out, since --mean and --std are given: norm.mean, norm.std",
    ):
        assert line in done.stdout
    assert "0 to 3: no names" in done.stdout


@needs("tensorflow")
def test_no_layer_of_keras_weights_goes_in_silence(tmp_path: Path) -> None:
    from keras import layers as k

    network, _ = plain(tmp_path)
    given = zoo.resolve(network)
    first, last = k.Conv2D(6, 3, activation="relu"), (k.Conv2D(4, 1), k.GlobalAveragePooling2D())
    normalization = k.Normalization()
    normalization.adapt(pictures(12, 1).astype(np.float32))
    path = tmp_path / "theirs.weights.h5"
    model = foreign.keras_model(normalization, first, *last, size=12)
    model.save_weights(path)
    with pytest.raises(ModelError, match=r"normalization.mean, .*give --mean and --std"):
        convert.read(path, Given(given))
    reading = convert.read(path, Given(given, mean=(0.5,), std=(0.3,)))
    assert any("normalization.variance" in line for line in reading.said)
    foreign.keras_model(first, k.PReLU(shared_axes=[1, 2]), *last, size=12).save_weights(path)
    with pytest.raises(ModelError, match=r"p_re_lu\w*\.0 \(1×1×6\) belongs to no layer of plain"):
        convert.read(path, Given(given))
    model = foreign.keras_model(first, *last, size=12)
    model.compile("adam", "mse")
    model.fit(np.zeros((1, 12, 12, 1)), np.zeros((1, 4)), verbose=0)
    model.save_weights(path)
    reading = convert.read(path, Given(given))
    assert reading.said == ("left out, since no output depends on it: what the optimizer keeps",)


def test_weights_saved_by_keras_2_come_in(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    network, _ = plain(tmp_path)
    path, kernels = tmp_path / "theirs.h5", {"z": drawn(3, 3, 1, 6), "a": drawn(1, 1, 6, 4)}
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"z", b"re_lu", b"a"]
        file.create_group("re_lu").attrs["weight_names"] = []
        for name, kernel in kernels.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{x}:0".encode() for x in ("kernel", "bias")]
            group[f"{name}/kernel:0"], group[f"{name}/bias:0"] = kernel, drawn(kernel.shape[3])
    reading = convert.read(path, Given(zoo.resolve(network)))
    assert reading.pairs == {"block1.conv1": "z", "block2.conv1": "a"}
    found = reading.model.weights["block2.conv1.weight"]
    assert np.array_equal(found, kernels["a"].transpose(3, 2, 0, 1))


# Nothing is written over


def test_nothing_is_written_over(shipped: Any, tmp_path: Path) -> None:
    target = tmp_path / "net.params"
    target.write_text("mine")
    done = nin("convert", model_files.shipped(), target)
    assert done.returncode == 2
    assert "already exists; give another name, or --force to replace it" in done.stderr
    assert target.read_text() == "mine"
    done = nin("convert", model_files.shipped(), target, "--force")
    assert done.returncode == 0
    assert "holds arrays alone, not the network" in done.stdout
    assert "--network; the recipe" in done.stdout


@pytest.mark.parametrize("name", ["model.safetensors", "model.onnx", "checkpoints/a.safetensors"])
def test_a_runs_own_files_are_never_written_over(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    for own in ("recipe.toml", "network.json", name):
        (run / own).write_text("its own")
    done = nin("convert", model_files.shipped(), run / name, "--force")
    assert done.returncode == 2
    assert "belongs to the run run, which would be unusable without it" in done.stderr
    assert (run / name).read_text() == "its own"
