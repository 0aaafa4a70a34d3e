"""Weights in and out of every framework's own files, ours and those of plain code."""

from __future__ import annotations

import contextlib
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netinnet import weights
from netinnet.errors import ModelError, NetinnetError
from netinnet.formats import convert, mxnet_params
from netinnet.formats.convert import FORMATS
from netinnet.frameworks import FRAMEWORKS
from netinnet.inference import model_files
from netinnet.inference.predictor import Predictor
from netinnet.networks import zoo
from netinnet.networks.network import Network
from netinnet.weights import Model
from tests.conftest import needs, nin
from tests.parity import drawn

FILES = {
    "pytorch": "net.safetensors",
    "flax": "net.safetensors",
    "keras": "net.keras",
    "keras-weights": "net.weights.h5",
    "mxnet": "net.params",
}


@pytest.mark.parametrize("network", ["nin-small", "lenet", "nin-mnist"])
@pytest.mark.parametrize("kind", FILES)
def test_there_and_back_bit_for_bit(kind: str, network: str, tmp_path: Path) -> None:
    name = kind.removesuffix("-weights")
    if name == "keras" and not FRAMEWORKS["tensorflow"].is_installed:
        pytest.skip("Keras writes its own files")
    net = zoo.network(network)
    model = Model(net, drawn(net))
    path = tmp_path / FILES[kind]
    assert convert.write(path, model, name) == name
    back = convert.read(path, convert.Given(net)).model
    assert list(back.weights) == list(model.weights)
    for tensor, value in model.weights.items():
        assert back.weights[tensor].tobytes() == value.tobytes(), tensor


def chapter_torch(folder: Path) -> tuple[Path, Callable[[np.ndarray], np.ndarray]]:
    """The chapter's network in plain PyTorch: nameless layers in nested `Sequential`s."""
    import torch
    from safetensors.torch import save_file
    from torch import nn

    def block(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> Any:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, padding),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, kernel_size=1),
            nn.ReLU(),
        )

    torch.manual_seed(1)
    net = nn.Sequential(
        block(1, 96, 11, 4, 0),
        nn.MaxPool2d(3, stride=2),
        block(96, 256, 5, 1, 2),
        nn.MaxPool2d(3, stride=2),
        block(256, 384, 3, 1, 1),
        nn.MaxPool2d(3, stride=2),
        nn.Dropout(0.5),
        block(384, 10, 3, 1, 1),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
    ).eval()
    path = folder / "chapter.safetensors"
    save_file(net.state_dict(), path)

    def logits(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found: np.ndarray = net(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
        return found

    return path, logits


def chapter_keras(folder: Path, suffix: str) -> tuple[Path, Callable[[np.ndarray], np.ndarray]]:
    import keras
    from keras import layers

    def block(channels: int, kernel: int, stride: int, padding: str) -> Any:
        return keras.Sequential(
            [
                layers.Conv2D(channels, kernel, stride, padding=padding, activation="relu"),
                layers.Conv2D(channels, kernel_size=1, activation="relu"),
                layers.Conv2D(channels, kernel_size=1, activation="relu"),
            ]
        )

    keras.utils.set_random_seed(1)
    net = keras.Sequential(
        [
            block(96, 11, 4, "valid"),
            layers.MaxPool2D(pool_size=3, strides=2),
            block(256, 5, 1, "same"),
            layers.MaxPool2D(pool_size=3, strides=2),
            block(384, 3, 1, "same"),
            layers.MaxPool2D(pool_size=3, strides=2),
            layers.Dropout(0.5),
            block(10, 3, 1, "same"),
            layers.GlobalAveragePooling2D(),
            layers.Reshape((1, 1, 10)),
            layers.Flatten(),
        ]
    )
    net(np.zeros((1, 67, 67, 1), np.float32))
    path = folder / f"chapter{suffix}"
    net.save(path) if suffix == ".keras" else net.save_weights(path)
    return path, lambda images: np.asarray(net(images, training=False))


def chapter_flax(folder: Path) -> tuple[Path, Callable[[np.ndarray], np.ndarray]]:
    """Flax has no file format of its own; safetensors with flattened names is what people use."""
    from flax import nnx
    from safetensors.numpy import save_file

    rngs = nnx.Rngs(1)

    def block(inputs: int, channels: int, kernel: int, stride: int, pad: int) -> Any:
        return nnx.Sequential(
            nnx.Conv(
                inputs, channels, (kernel, kernel), stride, padding=[(pad, pad)] * 2, rngs=rngs
            ),
            nnx.relu,
            nnx.Conv(channels, channels, (1, 1), rngs=rngs),
            nnx.relu,
            nnx.Conv(channels, channels, (1, 1), rngs=rngs),
            nnx.relu,
        )

    def pool(x: Any) -> Any:
        return nnx.max_pool(x, (3, 3), (2, 2))

    net = nnx.Sequential(
        block(1, 96, 11, 4, 0),
        pool,
        block(96, 256, 5, 1, 2),
        pool,
        block(256, 384, 3, 1, 1),
        pool,
        block(384, 10, 3, 1, 1),
        lambda x: x.mean((1, 2)),
    )
    flat = nnx.to_flat_state(nnx.state(net, nnx.Param))
    path = folder / "chapter.safetensors"
    tensors = {
        ".".join(str(part) for part in names): np.asarray(value[...]) for names, value in flat
    }
    save_file(tensors, path)
    return path, lambda images: np.asarray(net(images))


def chapter_mxnet(
    folder: Path, kind: str = "Sequential"
) -> tuple[Path, Callable[[np.ndarray], np.ndarray]]:
    from mxnet import init, npx, random
    from mxnet import np as mxnp
    from mxnet.gluon import nn

    npx.set_np()
    random.seed(1)  # some weights make logits so small that their own rounding is above 1e-5

    def block(channels: int, kernel: int, stride: int, padding: int) -> Any:
        made = getattr(nn, kind)()
        made.add(
            nn.Conv2D(channels, kernel, stride, padding, activation="relu"),
            nn.Conv2D(channels, kernel_size=1, activation="relu"),
            nn.Conv2D(channels, kernel_size=1, activation="relu"),
        )
        return made

    net = getattr(nn, kind)()
    net.add(
        block(96, 11, 4, 0),
        nn.MaxPool2D(pool_size=3, strides=2),
        block(256, 5, 1, 2),
        nn.MaxPool2D(pool_size=3, strides=2),
        block(384, 3, 1, 1),
        nn.MaxPool2D(pool_size=3, strides=2),
        nn.Dropout(0.5),
        block(10, 3, 1, 1),
        nn.GlobalAvgPool2D(),
        nn.Flatten(),
    )
    net.initialize(init.Xavier())

    def logits(images: np.ndarray) -> np.ndarray:
        found: np.ndarray = net(mxnp.array(images.transpose(0, 3, 1, 2))).asnumpy()
        return found

    logits(np.zeros((1, 67, 67, 1), np.float32))
    if kind == "HybridSequential":
        net.hybridize()
        logits(np.zeros((1, 67, 67, 1), np.float32))
        net.export(str(folder / "chapter"))
        return folder / "chapter-0000.params", logits
    path = folder / "chapter.params"
    net.save_parameters(str(path))
    return path, logits


CHAPTERS = {
    "pytorch": chapter_torch,
    "tensorflow-keras": lambda folder: chapter_keras(folder, ".keras"),
    "tensorflow-h5": lambda folder: chapter_keras(folder, ".weights.h5"),
    "jax": chapter_flax,
    "mxnet": chapter_mxnet,
    "mxnet-export": lambda folder: chapter_mxnet(folder, "HybridSequential"),
}


@pytest.mark.parametrize("which", CHAPTERS)
def test_the_chapters_own_weights_come_in(which: str, tmp_path: Path) -> None:
    """What plain code saved gives the same logits here, through the command."""
    framework = which.partition("-")[0]
    if not FRAMEWORKS[framework].is_installed:
        pytest.skip(f"{FRAMEWORKS[framework].title} is not installed")
    path, logits = CHAPTERS[which](tmp_path)
    out = tmp_path / "ours.safetensors"
    done = nin("convert", path, out, "--network", "nin", "--image-size", "67")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"{out}: nin, 1,992,166 parameters, netinnet\n")
    assert f"taken from, in {path.name}" in done.stdout
    pairs = dict(re.findall(r"^ (block\d\.conv\d) +(\S+)", done.stdout, re.MULTILINE))
    assert len(pairs) == len(set(pairs.values())) == 12
    images = np.random.default_rng(0).integers(0, 256, (4, 67, 67, 1), np.uint8)
    expected = logits(images.astype(np.float32) / 255)
    found = Predictor(model_files.find(out)).logits(images)
    assert abs(expected).max() > 1e-4
    assert abs(found - expected).max() <= 1e-5 * abs(expected).max()


@needs("mxnet")
def test_mxnet_reads_what_is_written(tmp_path: Path) -> None:
    import mxnet as mx

    from netinnet import frameworks

    net = zoo.network("nin-small")
    values = drawn(net)
    path = tmp_path / "net.params"
    convert.write(path, Model(net, values))
    adapter = frameworks.adapter("mxnet")
    native = adapter.build(net, weights.initial(net, 9))
    native.load_parameters(str(path), ctx=mx.cpu())
    read = adapter.read(net, native)
    assert all(np.array_equal(read[name], value) for name, value in values.items())


@needs("pytorch")
def test_pytorch_reads_what_is_written(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from netinnet import frameworks

    net = zoo.network("nin-small")
    values = drawn(net)
    convert.write(tmp_path / "net.safetensors", Model(net, values), "pytorch")
    adapter = frameworks.adapter("pytorch")
    native = adapter.build(net, weights.initial(net, 9))
    native.load_state_dict(load_file(tmp_path / "net.safetensors"))
    read = adapter.read(net, native)
    assert all(np.array_equal(read[name], value) for name, value in values.items())


def _state(network: Network, **changes: np.ndarray | None) -> dict[str, np.ndarray]:
    """A foreign state dict: nameless layers, some of them changed or left out."""
    names = {f"{layer}": str(i) for i, layer in enumerate(dict.fromkeys(_layers(network)))}
    state = {
        f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": value
        for name, value in drawn(network).items()
    }
    for name, value in changes.items():
        key = name.replace("_", ".")
        if value is None:
            del state[key]
        else:
            state[key] = value
    return state


def _layers(network: Network) -> list[str]:
    return [name.rpartition(".")[0] for name in weights.shapes(network)]


SMALL = zoo.network("lenet", image_size=28)
WRONG = {
    "shape": (
        {"1_weight": np.zeros((16, 6, 3, 3), np.float32)},
        "layer 1 should be block2.conv1 of lenet, with weight 16×6×5×5; it has 16×6×3×3",
    ),
    "missing": (
        {"1_weight": None, "1_bias": None},
        "lenet has 2 convolutions, the file 1; block2.conv1 has no counterpart",
    ),
    "too many": (
        {"9_weight": np.zeros((10, 84), np.float32), "9_bias": np.zeros(10, np.float32)},
        "lenet has 3 linear layers, the file 4; layer 9 has no counterpart",
    ),
    "no bias": (
        {"0_bias": None},
        "layer 0 should be block1.conv1 of lenet, but has no bias; it has weight",
    ),
    "whole numbers": (
        {"0_weight": np.zeros((6, 1, 5, 5), np.int32)},
        "weight of layer 0 is int32, no float",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_named(what: str, tmp_path: Path) -> None:
    changes, message = WRONG[what]
    path = tmp_path / "theirs.safetensors"
    weights.save_tensors(path, _state(SMALL, **changes), {})
    with pytest.raises(ModelError) as caught:
        convert.read(path, convert.Given(SMALL))
    assert str(caught.value) == f"{path}: {message}"


def test_a_bias_too_many_is_named(tmp_path: Path) -> None:
    net = zoo.network("nin-small")
    path = tmp_path / "theirs.safetensors"
    weights.save_tensors(path, _state(net, **{"0_bias": np.zeros(48, np.float32)}), {})
    with pytest.raises(ModelError, match=r"layer 0 has a bias, but block1\.conv1 has none"):
        convert.read(path, convert.Given(net))


COMMANDS = {
    "pickle": (["net.pt", "out.safetensors"], "this kind of file is a pickle"),
    "no network": (["net.params", "out.safetensors"], "does not say which network it is; give"),
    "unknown source": (["net.txt", "out.safetensors"], "net.txt: unknown kind of file; known are"),
    "missing source": (["none.params", "o.onnx", "--network", "lenet"], "no such file"),
    "unknown network": (["net.params", "o.onnx", "--network", "lenett"], "(did you mean 'lenet'?)"),
    "loose flag": (["net.params", "o.onnx", "--classes", "3"], "--classes goes with --network"),
    "damaged": (["net.params", "o.onnx", "--network", "lenet"], "not an MXNet .params file, or"),
    "damaged Keras": (["net.keras", "o.onnx", "--network", "lenet"], "net.keras: not a Keras file"),
    "damaged h5": (["a.weights.h5", "o.onnx", "--network", "lenet"], "cannot be read as Keras"),
}


@pytest.mark.parametrize("what", COMMANDS)
def test_mistakes_are_one_line(what: str, tmp_path: Path) -> None:
    for name in ("net.pt", "net.txt", "net.params", "net.keras", "a.weights.h5"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
    arguments, message = COMMANDS[what]
    if "Keras" in what or "h5" in what:
        pytest.importorskip("h5py")
    done = nin("convert", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert not (tmp_path / arguments[1]).exists()


def test_a_target_that_says_nothing_is_refused(tmp_path: Path) -> None:
    model = model_files.find(None)
    for name, kind, message in (
        ("net.txt", None, "unknown kind of file; known are .safetensors"),
        ("net.h5", None, "Keras wants the name of a weights file to end in .weights.h5"),
        ("net.onnx", "mxnet", "format mxnet has files called *.params"),
    ):
        with pytest.raises(ModelError) as caught:
            convert.write(tmp_path / name, model, kind)
        assert message in str(caught.value)
        assert not (tmp_path / name).exists()


def test_a_run_converts_to_onnx(tmp_path: Path) -> None:
    source = model_files.shipped()
    done = nin("convert", source, tmp_path / "net.onnx", "--json")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "net.onnx").stat().st_size > 300_000


@given(st.data())
def test_damaged_params_are_an_error_or_arrays(data: st.DataObject) -> None:
    """Whatever a byte is changed to: an error of ours, or arrays; never a crash or a huge array."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.params"
        mxnet_params.write(path, {"a.weight": np.ones((2, 3), np.float32), "b": np.ones(1)})
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
        path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
        message = ""
        try:
            found = mxnet_params.read(path)
        except NetinnetError as error:
            found, message = {}, str(error)
        assert not message or message.startswith(f"{path}: not an MXNet .params file, or damaged (")
        assert all(isinstance(array, np.ndarray) for array in found.values())


def test_a_huge_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.params"
    header = struct.pack("<QQQIiiqq", 0x112, 0, 1, 0xF993FAC9, 0, 2, 2**40, 2**20)
    path.write_bytes(header + struct.pack("<iii", 1, 0, 0))
    with pytest.raises(ModelError, match="it ends in the middle"):
        mxnet_params.read(path)


def test_a_keras_archive_without_weights_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    path = tmp_path / "net.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ModelError, match="not a Keras file, or damaged"):
        convert.read(path, convert.Given(SMALL))


def test_every_format_is_told_by_its_files() -> None:
    for name, found in FORMATS.items():
        for extension in found.extensions:
            expected = "netinnet" if extension == ".safetensors" else name
            assert convert.by_name(Path(f"x{extension}")) == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_values_that_are_no_numbers_are_refused(bad: float, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    array = np.full((6, 1, 5, 5), bad)
    weights.save_tensors(theirs, _state(SMALL, **{"0_weight": array}), {})
    with pytest.raises(ModelError, match=r"weight of layer 0 has values that are not float32"):
        convert.read(theirs, convert.Given(SMALL))
    values = {**weights.initial(SMALL, 0), "block1.conv1.weight": array}
    with pytest.raises(ModelError, match=r"tensor block1\.conv1\.weight has values that are no"):
        weights.save(ours, Model(SMALL, values))
    assert not ours.exists()


@pytest.mark.parametrize("name", ["²", "9" * 5000, "stem"])
def test_any_name_has_an_order(name: str) -> None:
    from netinnet.formats.matching import natural

    names = [f"conv{name}", "conv2", "conv10", "conv", "10", "9"]
    backwards = names[::-1]
    assert sorted(names, key=natural) == sorted(backwards, key=natural)
    assert sorted(["conv_10", "conv_9", "conv_010", "conv"], key=natural)[:2] == ["conv", "conv_9"]


def test_the_model_itself_is_no_target(tmp_path: Path) -> None:
    from netinnet.inference import model_files

    file = tmp_path / "model.safetensors"
    file.write_bytes(model_files.shipped().read_bytes())
    done = nin("convert", file, file, "--to", "flax")
    assert done.returncode == 2
    assert done.stderr == (f"nin: {file}: the model itself; give the converted one another name\n")
    assert file.read_bytes() == model_files.shipped().read_bytes()


@needs("tensorflow")
def test_damage_anywhere_in_a_keras_archive_is_one_line(tmp_path: Path) -> None:
    net = zoo.network("lenet")
    path = tmp_path / "net.keras"
    convert.write(path, Model(net, weights.initial(net, 0)))
    squeezed = tmp_path / "squeezed.keras"
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(squeezed, "w", method) as new:
            for member in old.namelist():
                new.writestr(member, old.read(member))
        whole = squeezed.read_bytes()
        for place in range(40, len(whole), len(whole) // 40):
            squeezed.write_bytes(whole[:place] + b"\xff\x00\xff" + whole[place + 3 :])
            with contextlib.suppress(ModelError):
                convert.read(squeezed, convert.Given(net))
