"""Hostile files of every kind but pictures: only NetinnetError may come out of a reader.

    python -m attacks.files [SECONDS] [FOLDER] [KIND ...]

mutates real small files, some bytes or, where a check sum or a parser would stop at once, a part of
what they mean. A mutation that makes a reader say something new is kept as a file to mutate
(FOLDER/KIND/). Prints a table.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import resource
import struct
import sys
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from netinnet import weights
from netinnet.data import cifar, idx, original, svhn
from netinnet.data.original import OriginalFile
from netinnet.errors import NetinnetError
from netinnet.formats import convert, mxnet_params
from netinnet.inference import model_files, onnx_digest, onnx_graph
from netinnet.networks import description_file, zoo
from netinnet.networks.blocks import Block
from netinnet.networks.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool,
    ReLU,
    Shape,
)
from netinnet.networks.network import Network
from netinnet.serve import decoding
from netinnet.serve.limits import Limits
from netinnet.serve.problems import Problem
from netinnet.training import recipe
from netinnet.training.run import Run
from netinnet.weights import Model

SECONDS, MEBIBYTES = 2.0, 512
"""Most processor time that one file may take, and most memory that all may add to the process."""
NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    255,
    2**15,
    2**16,
    2**20 + 1,
    2**31 - 1,
    2**31,
    2**32,
    2**62,
    2**63,
    1e400,
)
WORDS = (
    "null",
    "true",
    "[]",
    "{}",
    '""',
    "1e999",
    "-1",
    "9" * 400,
    "[[[[",
    '"\\ud800"',
    "1.5",
    "NaN",
)
Random = random.Random


# A model, in every kind of file


def small() -> Model:
    """A network that has every kind of window, with weights."""
    blocks = (
        Block("block1", (Conv(4, 3, padding=1, bias=False), BatchNorm(), ReLU(), Conv(4))),
        Block("pool1", (MaxPool(3, 2, padding=1),)),
        Block("block2", (Conv(4, 3, same=True, groups=2), ReLU()), residual=True),
        Block("pool2", (AvgPool(2, 2, ceil=True),)),
        Block("head", (GlobalAvgPool(), Flatten(), Linear(3))),
    )
    network = Network("small", Shape(1, 9, 9), blocks, ("a", "b", "c"))
    return Model(network, weights.initial(network, 0), {"recipe": "{}"})


def _safetensors(_: Path) -> list[bytes]:
    """As before 0.2.0, without a digest, which would stop at every change."""
    from safetensors.numpy import save

    shipped = model_files.find(None)
    few = dict(list(shipped.weights.items())[:2])
    whole = save(small().weights, weights.metadata_of(small()))
    return [whole, save(few, weights.metadata_of(shipped))]


def _network_json(_: Path) -> list[bytes]:
    return [small().network.to_json().encode(), zoo.resolve("nin-small").to_json().encode()]


def _network_toml(_: Path) -> list[bytes]:
    folder = Path(zoo.__file__).parent.parent / "zoo"
    return [path.read_bytes() for path in sorted(folder.glob("*.toml"))]


def _recipe(_: Path) -> list[bytes]:
    return [path.read_bytes() for path in recipe.shipped().values()]


def _events(_: Path) -> list[bytes]:
    lines: list[dict[str, Any]] = [
        {"event": "start", "time": "2024-01-01", "run": "r", "steps_per_epoch": 2, "epochs": 1,
         "network": "n", "framework": "pytorch", "device": "cpu", "threads": 1, "versions": {},
         "parameters": 3, "cautions": []},
        {"event": "progress", "step": 1, "epoch": 0.5, "loss": 1.0, "accuracy": 0.5,
         "images_per_second": 3.0, "learning_rate": 0.1, "seconds": 1.0, "seconds_of_step": 1.0},
        {"event": "resume", "time": "2024-01-01", "step": 1},
        {"event": "evaluation", "epoch": 1, "step": 2, "seconds": 2.0,
         "train": {"loss": 1.0, "accuracy": 0.5}},
        {"event": "end", "time": "2024-01-01", "step": 2, "seconds": 3.0},
    ]  # fmt: skip
    return ["\n".join(map(json.dumps, lines)).encode()]


def _own_onnx(_: Path) -> list[bytes]:
    """Without its digest, as before 0.2.0."""
    return [onnx_graph.to_onnx(small())[: -len(onnx_digest.sealed(b""))]]


def _foreign_onnx(_: Path) -> list[bytes]:
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    shapes = {"w": (4, 1, 3, 3), "b": (4,), "m": (4,), "v": (4,), "d": (3, 4), "e": (3,), "s": (2,)}
    arrays = [
        numpy_helper.from_array(
            np.array([0, -1]) if name == "s" else rng.random(shape, np.float32), name
        )
        for name, shape in shapes.items()
    ]
    window = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["1"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("BatchNormalization", ["1", "b", "b", "m", "v"], ["2"]),
        helper.make_node("Relu", ["2"], ["3"]),
        helper.make_node("Add", ["3", "1"], ["4"]),
        helper.make_node("MaxPool", ["3"], ["5"], auto_pad="SAME_UPPER", **window),
        helper.make_node("AveragePool", ["5"], ["6"], ceil_mode=1, **window),
        helper.make_node("GlobalAveragePool", ["6"], ["7"]),
        helper.make_node("Reshape", ["7", "s"], ["8"]),
        helper.make_node("Gemm", ["8", "d", "e"], ["9"], transB=1),
        helper.make_node("Softmax", ["9"], ["10"]),
    ]
    made = []
    for chosen in ([*nodes[:3], *nodes[4:]], [*nodes[:4], nodes[4], *nodes[5:]]):
        if len(chosen) == len(nodes):
            chosen[4].input[0] = "4"
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (("x", ["n", 1, 9, 9]), ("10", ["n", 3]))
        ]
        graph = helper.make_graph(chosen, "g", ends[:1], ends[1:], arrays)
        made.append(helper.make_model(graph).SerializeToString())
    return made


def _params(folder: Path) -> list[bytes]:
    convert.write(folder / "a-0000.params", small())
    return [(folder / "a-0000.params").read_bytes()]


_SYMBOL = {
    "nodes": [
        {"op": "null", "name": "data", "inputs": []},
        {"op": "null", "name": "c_weight", "inputs": []},
        {"op": "null", "name": "c_bias", "inputs": []},
        {"op": "Convolution", "name": "c", "inputs": [[0, 0, 0], [1, 0, 0], [2, 0, 0]],
         "attrs": {"kernel": "(3, 3)", "num_filter": "4", "pad": "(1, 1)", "stride": "(1, 1)"}},
        {"op": "Activation", "name": "r", "inputs": [[3, 0, 0]], "attrs": {"act_type": "relu"}},
        {"op": "Pooling", "name": "p", "inputs": [[4, 0, 0]],
         "attrs": {"kernel": "(2, 2)", "stride": "(2, 2)", "pool_type": "avg",
                   "pooling_convention": "full"}},
        {"op": "Pooling", "name": "g", "inputs": [[5, 0, 0]],
         "attrs": {"global_pool": "True", "pool_type": "avg"}},
        {"op": "Flatten", "name": "f", "inputs": [[6, 0, 0]]},
    ],
    "heads": [[7, 0, 0]],
}  # fmt: skip
_ARRAYS = {"c.weight": np.ones((4, 1, 3, 3), np.float32), "c.bias": np.ones(4, np.float32)}


def _symbol(_: Path) -> list[bytes]:
    return [json.dumps(_SYMBOL).encode()]


_KERAS = {
    "class_name": "Sequential",
    "config": {"name": "s", "layers": [
        {"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [None, 9, 9, 1]}},
        {"class_name": "Conv2D", "config": {"name": "c", "padding": "same", "strides": [1, 1],
         "activation": "relu"}},
        {"class_name": "AveragePooling2D", "config": {"name": "p", "pool_size": [2, 2],
         "padding": "same"}},
        {"class_name": "GlobalAveragePooling2D", "config": {"name": "g"}},
        {"class_name": "Dense", "config": {"name": "d", "activation": "softmax"}},
    ]},
}  # fmt: skip


def _hdf5(config: bool) -> bytes:
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        if config:
            h5.attrs["model_config"] = json.dumps(_KERAS)
            h5.attrs["layer_names"] = ["c", "d"]
        for name, shapes in (("c", ((3, 3, 1, 4), (4,))), ("d", ((4, 3), (3,)))):
            group = h5.create_group(name if config else f"layers/{name}/vars")
            names = []
            for i, shape in enumerate(shapes):
                names.append(f"{name}/{('kernel', 'bias')[i]}:0" if config else str(i))
                group.create_dataset(names[-1], data=np.ones(shape, np.float32))
            group.attrs["weight_names" if config else "name"] = names if config else name
    return file.getvalue()


def _keras(_: Path) -> list[bytes]:
    return [keras_archive(json.dumps(_KERAS), _hdf5(False))]


def keras_archive(config: str, arrays: bytes, packing: int = zipfile.ZIP_STORED) -> bytes:
    """A .keras file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", arrays)
    return file.getvalue()


def _idx(_: Path) -> list[bytes]:
    import gzip

    content = b"\0\0\x08\x03" + struct.pack(">3I", 3, 4, 5) + bytes(60)
    return [content, gzip.compress(content, mtime=0)]


def _cifar(_: Path) -> list[bytes]:
    import tarfile

    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name in ("f/a.bin", "f/b.bin"):
            entry = tarfile.TarInfo(name)
            entry.size = 3073
            archive.addfile(entry, io.BytesIO(bytes(3073)))
    return [file.getvalue()]


def _mat(_: Path) -> list[bytes]:
    from scipy.io import savemat

    made = []
    for packed in (False, True):
        file = io.BytesIO()
        x = np.zeros((32, 32, 3, 2), np.uint8)
        savemat(file, {"X": x, "y": np.ones((2, 1), np.uint8)}, do_compression=packed)
        made.append(file.getvalue())
    return made


def _npy(_: Path) -> list[bytes]:
    file = io.BytesIO()
    np.save(file, np.zeros((2, 3, 4, 1), np.uint8))
    return [file.getvalue()]


# What changes them


def bytewise(content: bytes, rng: Random, others: list[bytes]) -> bytes:
    """Some bytes flipped, cut, repeated, overwritten by odd numbers, or of another file."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at, way = rng.randrange(len(data) + 1), rng.randrange(8)
        if way <= 2 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif way == 3:
            data[at : at + rng.choice((1, 2, 4, 8))] = rng.choice(NUMBERS[:-1]).to_bytes(
                9, rng.choice(("little", "big")), signed=True
            )[:8]
        elif way == 4:
            del data[at : at + rng.choice((1, 2, 8, 100, 10_000))]
        elif way == 5:
            data[at:at] = data[at : at + rng.randrange(1, 64)] * rng.choice((1, 2, 50))
        elif way == 6:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            data[at:at] = other[start : start + rng.randrange(1, 200)]
        else:
            data[at : at + 1] = bytes([rng.choice((0, 0x7F, 0x80, 0xFF))])
    return bytes(data)


def textual(content: bytes, rng: Random, others: list[bytes]) -> bytes:
    """A value, a word or a part of a text becomes another."""
    if rng.random() < 0.3:
        return bytewise(content, rng, others)
    text = content.decode("utf-8", "replace")
    for _ in range(rng.choice((1, 1, 2, 5))):
        places = list(re.finditer(r"-?\d+(?:\.\d+)?|\"[^\"]*\"|true|false|null|[\[\]{}:,=]", text))
        if not places or len(text) > 100_000:  # repeating what was repeated would fill the memory
            break
        place = rng.choice(places)
        way = rng.randrange(4)
        if way == 0:
            new = rng.choice(WORDS)
        elif way == 1:
            new = str(rng.choice(NUMBERS[:-1]))
        elif way == 2:
            new = rng.choice(places)[0]
        else:
            new = place[0][:100] * rng.choice((0, 2, 500))
        text = text[: place.start()] + new + text[place.end() :]
    return text.encode("utf-8", "replace")


def _safetensors_parts(content: bytes, rng: Random, others: list[bytes]) -> bytes:
    """The header changed as text, with the right length before it."""
    size = int.from_bytes(content[:8], "little")
    if rng.random() < 0.3 or size > len(content):
        return bytewise(content, rng, others)
    head, behind = content[8 : 8 + size], content[8 + size :]
    if rng.random() < 0.5:
        try:
            data = json.loads(head)
            about = data["__metadata__"]
            name = rng.choice(list(about))
            about[name] = textual(about[name].encode(), rng, [b"{}"]).decode("utf-8", "replace")
            head = json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            head = textual(head, rng, [b"{}"])
    else:
        head = textual(head, rng, [b"{}"])
    return len(head).to_bytes(8, "little") + head + behind


def _onnx_parts(content: bytes, rng: Random, others: list[bytes]) -> bytes:
    """A node, an attribute, a tensor or a size changed in the message."""
    import onnx

    if rng.random() < 0.4:
        return bytewise(content, rng, others)
    try:
        proto = onnx.load_model_from_string(content)
        graph = proto.graph
        for _ in range(rng.choice((1, 1, 2, 4))):
            node, way = rng.choice(graph.node), rng.randrange(9)
            if way == 0 and node.attribute:
                attribute = rng.choice(node.attribute)
                attribute.i = rng.choice(NUMBERS[:-2])
                for i in range(len(attribute.ints)):
                    attribute.ints[i] = rng.choice(NUMBERS[:-2])
            elif way == 1:
                node.op_type = rng.choice(graph.node).op_type
            elif way == 2 and node.input:
                node.input[rng.randrange(len(node.input))] = rng.choice(graph.node).output[0]
            elif way == 3 and graph.initializer:
                tensor = rng.choice(graph.initializer)
                if tensor.dims:
                    tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS[:-2])
            elif way == 4 and graph.initializer:
                rng.choice(graph.initializer).data_type = rng.randrange(25)
            elif way == 5:
                dim = rng.choice(graph.input[0].type.tensor_type.shape.dim)
                dim.dim_value = rng.choice(NUMBERS[:-2])
            elif way == 6:
                graph.node.remove(node)
            elif way == 7:
                graph.node.append(node)
            elif proto.metadata_props:
                entry = rng.choice(proto.metadata_props)
                changed = textual(entry.value.encode(), rng, [b"{}"])
                entry.value = changed.decode("utf-8", "replace")
        return bytes(proto.SerializeToString())
    except Exception:  # what was mutated before need not be a message
        return bytewise(content, rng, others)


def _keras_parts(content: bytes, rng: Random, others: list[bytes]) -> bytes:
    """The config as text, or the arrays' bytes, in a sound archive; or the archive's bytes."""
    if rng.random() < 0.3:
        return bytewise(content, rng, others)
    config, arrays = json.dumps(_KERAS), _hdf5(False)
    if rng.random() < 0.7:
        config = textual(config.encode(), rng, [b"{}"]).decode("utf-8", "replace")
    else:
        arrays = bytewise(arrays, rng, [arrays])
    return keras_archive(config, arrays)


# What reads them


def _given() -> convert.Given:
    return convert.Given(network=None)


def _read_npy(path: Path) -> object:
    try:
        return decoding.decode([decoding.Part(decoding.NPY, path.read_bytes())], 1, Limits())
    except Problem as error:
        raise NetinnetError(str(error)) from error


def _read_symbol(path: Path) -> object:
    params = path.parent / "s-0000.params"
    if not params.exists():
        mxnet_params.write(params, _ARRAYS)
    return convert.read(params, convert.Given(size=(9, 9)))


def _read_events(path: Path) -> object:
    return Run(path.parent).events()


def _read_cifar(path: Path) -> object:
    return cifar._splits([(path, path.read_bytes())], ("f/a.bin", "f/b.bin"), 1)


def _read_mat(path: Path) -> object:
    """As SVHN's are read: SciPy, which crashes on damaged ones, sees what has the right SHA-256."""
    content = path.read_bytes()
    right = [OriginalFile("m", len(made), sha256(made).hexdigest()) for made in _mat(path)]
    file = next((f for f in right if f.size == len(content)), right[0])
    return svhn._arrays(path, original.checked(content, file, str(path)))


@dataclass
class Kind:
    """A kind of file: its name, sound ones, what changes them and what reads them."""

    file: str
    seeds: Callable[[Path], list[bytes]]
    mutate: Callable[[bytes, Random, list[bytes]], bytes]
    read: Callable[[Path], object]
    apart: bool = False
    """Whether its parser is C that may crash: then it is read in a child process."""
    done: dict[str, float] = field(default_factory=lambda: {"files": 0, "read": 0, "slowest": 0.0})


KINDS = {
    "model.safetensors": Kind("a.safetensors", _safetensors, _safetensors_parts, weights.load),
    "network.json": Kind("a.json", _network_json, textual,
                         lambda path: description_file.read(path).network()),
    "network.toml": Kind("a.toml", _network_toml, textual,
                         lambda path: description_file.read(path).network()),
    "recipe.toml": Kind("r.toml", _recipe, textual, lambda path: recipe.load(str(path))),
    "events.jsonl": Kind("events.jsonl", _events, textual, _read_events),
    "ONNX, ours": Kind("a.onnx", _own_onnx, _onnx_parts, convert.read),
    "ONNX, foreign": Kind("f.onnx", _foreign_onnx, _onnx_parts, convert.read),
    ".params": Kind("p.params", _params, bytewise,
                    lambda path: convert.read(path, convert.Given(network=small().network))),
    "symbol.json": Kind("s-symbol.json", _symbol, textual, _read_symbol),
    ".keras": Kind("k.keras", _keras, _keras_parts, convert.read, apart=True),
    ".h5": Kind("k.h5", lambda _: [_hdf5(True)], bytewise, convert.read, apart=True),
    "IDX": Kind("i.idx", _idx, bytewise, lambda path: idx.open_idx(path).sum()),
    "CIFAR": Kind("c.tar.gz", _cifar, bytewise, _read_cifar),
    ".mat": Kind("m.mat", _mat, bytewise, _read_mat),
    ".npy": Kind("n.npy", _npy, bytewise, _read_npy),
}  # fmt: skip


def attempt(kind: Kind, path: Path, content: bytes) -> tuple[str, float]:
    """What a reader says of a file ("": it was read), and its processor time.

    Raises what must not come out, with the file kept beside it.
    """
    path.write_bytes(content)
    began, said = time.process_time(), ""
    try:
        kind.read(path)
    except NetinnetError as error:
        said = re.sub(r"\d+", "#", str(error).replace(str(path), ""))[:80] or "?"
    except BaseException:
        path.with_name(f"FOUND-{path.name}").write_bytes(content)
        raise
    took = time.process_time() - began
    if took > SECONDS:
        path.with_name(f"SLOW-{path.name}").write_bytes(content)
        raise AssertionError(f"{path}: {took:.1f} s of processor time: {said}")
    return said, took


def fuzz(
    name: str, folder: Path, rng: Random, *, count: int | None = None, seconds: float = 1e9
) -> Kind:
    """Mutate and read files of a kind: so many, or as many as the time allows."""
    kind, place = KINDS[name], folder / re.sub(r"\W+", "-", name).strip("-")
    corpus, work = place / "corpus", place / "work"
    for made in (corpus, work):
        made.mkdir(parents=True, exist_ok=True)
    seeds = kind.seeds(work)
    files = [*seeds, *(path.read_bytes() for path in sorted(corpus.iterdir()))]
    path, heard = work / kind.file, set[str]()
    for content in files:
        heard.add(attempt(kind, path, content)[0])
    if "" not in heard:
        raise AssertionError(f"{name}: no sound file: {heard}")
    end, done = time.monotonic() + seconds, kind.done
    while time.monotonic() < end and (count is None or done["files"] < count):
        content = kind.mutate(rng.choice(files), rng, files)
        said, took = attempt(kind, path, content)
        done["files"] += 1
        done["read"] += not said
        done["slowest"] = max(done["slowest"], took)
        if said not in heard and len(content) < 100_000 and len(heard) < 2000:
            heard.add(said)
            files.append(content)
            (corpus / sha256(content).hexdigest()[:16]).write_bytes(content)
    return kind


def _apart(name: str, folder: Path, seed: int, seconds: float) -> Kind:
    """`fuzz` in a process of its own, where a parser in C may crash."""
    kind = KINDS[name]
    if not kind.apart:
        return fuzz(name, folder, Random(seed), seconds=seconds)
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        os.close(told)
        try:
            os.write(
                tell, json.dumps(fuzz(name, folder, Random(seed), seconds=seconds).done).encode()
            )
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(tell)
    with os.fdopen(told) as said:
        text = said.read()
    if status := os.waitpid(child, 0)[1]:
        raise AssertionError(f"{name}: status {status} of the process that read work/{kind.file}")
    kind.done = json.loads(text)
    return kind


def main(seconds: float, folder: Path, names: list[str]) -> None:
    """Each kind in turn for its share of the time, with new random numbers; print a table."""
    warnings.simplefilter("ignore")
    seed = time.time_ns()
    print(f"seed {seed}\n{'kind':20}{'files':>10}{'read':>9}{'slowest':>10}{'peak':>11}")
    for name in names:
        kind = _apart(name, folder, seed, seconds / len(names))
        done, peak = kind.done, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        row = f"{done['files']:10,.0f}{done['read']:9,.0f}{done['slowest']:8.3f} s{peak:7.0f} MiB"
        print(f"{name:20}{row}", flush=True)
    print(f"{sum(KINDS[name].done['files'] for name in names):,.0f} files")


if __name__ == "__main__":
    words = sys.argv[1:]
    main(float((words or ["60"])[0]), Path((words[1:] or ["fuzz"])[0]), words[2:] or list(KINDS))
