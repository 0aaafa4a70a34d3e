"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), the binary version: 60,000 colour pictures of 32×32.

A file holds records, one a picture: a byte for each label (CIFAR-100: the superclass, which is not
used, and the class), then 32×32 bytes of red, as many of green, of blue.
"""

from __future__ import annotations

import functools
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from netinnet.data.named import NamedDataset, mirrors
from netinnet.data.original import OriginalFile
from netinnet.data.source import Arrays, Facts
from netinnet.errors import DataError
from netinnet.networks.layers import Shape

SHAPE = Shape(3, 32, 32)
# The author's pages, old and new, and TensorFlow's copy.
MIRRORS = (
    "https://www.cs.toronto.edu/~kriz",
    "https://cave.cs.toronto.edu/kriz",
    "https://storage.googleapis.com/mirror.tensorflow.org/www.cs.toronto.edu/~kriz",
)
CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"
# As in the archive's fine_label_names.txt.
FINE_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""


def _splits(
    found: Sequence[tuple[Path, bytes]], members: Sequence[str], label_bytes: int
) -> tuple[Arrays, Arrays]:
    """The splits in an archive with these members, or in the members themselves: test is last."""
    contents = [content for _, content in found]
    if len(members) > len(found):
        contents = _unpacked(*found[0], members)
    return _arrays(b"".join(contents[:-1]), label_bytes), _arrays(contents[-1], label_bytes)


def _unpacked(path: Path, content: bytes, members: Sequence[str]) -> list[bytes]:
    """The content of an archive's members; nothing is written. Raises DataError."""
    held: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isreg() else None
                if stream and member.name in members:
                    held[member.name] = stream.read()
        return [held[name] for name in members]
    except (KeyError, tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{path}: damaged, no {', '.join(members)} in it") from error


def _arrays(content: bytes, label_bytes: int) -> Arrays:
    size = label_bytes + SHAPE.channels * SHAPE.height * SHAPE.width
    records: npt.NDArray[np.uint8] = np.frombuffer(content, np.uint8).reshape(-1, size)
    planes = records[:, label_bytes:].reshape(-1, *SHAPE)
    images = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    return Arrays(images, records[:, label_bytes - 1].astype(np.int64))


def _dataset(
    name: str,
    title: str,
    facts: Facts,
    archive: OriginalFile,
    folder: str,
    listed: str,
    label_bytes: int,
    pickled: tuple[str, ...],
) -> NamedDataset:
    """One of the two; `listed` are the files in the archive's folder, with size and SHA-256."""
    lines = [line.split() for line in listed.strip().splitlines()]
    members = tuple(f"{folder}/{file}" for file, _, _ in lines)
    return NamedDataset(
        name=name,
        title=title,
        description="50,000 training and 10,000 test photographs, colour 32×32,"
        f" {len(facts.classes)} classes",
        facts=facts,
        counts={"train": 50_000, "test": 10_000},
        megabytes=round(archive.size / 1e6),
        files=(archive,),
        sources=(mirrors(MIRRORS),),
        parse=functools.partial(_splits, members=members, label_bytes=label_bytes),
        unpacked=tuple(OriginalFile(file, int(size), sha256) for file, size, sha256 in lines),
        inside=folder,
        pickled=pickled,
    )


CIFAR10 = _dataset(
    "cifar10",
    "CIFAR-10",
    Facts(
        tuple(CLASSES.split()), SHAPE, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)
    ),
    OriginalFile(
        "cifar-10-binary.tar.gz",
        170_052_171,
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ),
    "cifar-10-batches-bin",
    """
data_batch_1.bin 30730000 cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5
data_batch_2.bin 30730000 a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed
data_batch_3.bin 30730000 bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67
data_batch_4.bin 30730000 014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48
data_batch_5.bin 30730000 755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add
test_batch.bin 30730000 8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b
""",
    label_bytes=1,
    pickled=("cifar-10-python.tar.gz", "cifar-10-batches-py", "data_batch_1"),
)
CIFAR100 = _dataset(
    "cifar100",
    "CIFAR-100",
    Facts(
        tuple(FINE_CLASSES.split()),
        SHAPE,
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
    ),
    OriginalFile(
        "cifar-100-binary.tar.gz",
        168_513_733,
        "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    ),
    "cifar-100-binary",
    """
train.bin 153700000 f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29
test.bin 30740000 d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a
""",
    label_bytes=2,
    pickled=("cifar-100-python.tar.gz", "cifar-100-python", "meta"),
)
