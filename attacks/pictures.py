"""Malformed and odd picture files: each is decoded rightly or refused by name, in bounded time.

    python -m attacks.pictures [COUNT] [SEED]

prints a table: of each kind how many were decoded and refused, the slowest and the peak of memory.
"""

from __future__ import annotations

import io
import random
import resource
import struct
import sys
import time
import warnings
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from PIL import Image

from netinnet.data import pictures
from netinnet.errors import ImageError

SECONDS, MEBIBYTES = 2.0, 512
"""Most processor time that one file may take, and most memory of the whole process."""
MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("1", "L", "P"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "YCbCr", "I;16", "I", "F"),
}
ODD_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@cache
def whole(kind: str, mode: str, frames: int = 1) -> bytes:
    """A sound file of a format and mode."""
    rng = np.random.default_rng(len(mode) + frames)
    made = []
    for _ in range(frames):
        values = rng.integers(0, 256, (23, 19, 3), dtype=np.uint8)
        colour = Image.fromarray(values)
        if mode.startswith("I;"):
            made.append(Image.fromarray(values[..., 0].astype(np.uint16) * 257))
        elif mode == "LA":
            made.append(colour.convert("LA"))
        else:
            made.append(colour.convert(mode))
    options = {"save_all": True, "append_images": made[1:]} if frames > 1 else {}
    if kind == "WEBP":
        options["lossless"] = True
    file = io.BytesIO()
    made[0].save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes, *, length: int | None = None, crc: int | None = None) -> bytes:
    """A PNG chunk, perhaps with a length or a check sum that lies."""
    right = zlib.crc32(name + data)
    return b"".join(
        (
            struct.pack(">I", len(data) if length is None else length),
            name + data,
            struct.pack(">I", right if crc is None else crc),
        )
    )


def png(
    width: int, height: int, depth: int, colour: int, *chunks: bytes, interlace: int = 0
) -> bytes:
    """A PNG file of these chunks."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    signature = b"\x89PNG\r\n\x1a\n"
    return b"".join((signature, chunk(b"IHDR", header), *chunks, chunk(b"IEND", b"")))


def zeros(count: int) -> bytes:
    """Compressed zeros, without holding them."""
    packer, block = zlib.compressobj(9), bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(count >> 20)]
    return b"".join((*parts, packer.compress(bytes(count & 0xFFFFF)), packer.flush()))


def _sound(rng: random.Random) -> bytes:
    kind = rng.choice(list(MODES))
    return whole(kind, rng.choice(MODES[kind]))


def _truncated(rng: random.Random) -> bytes:
    content = _sound(rng)
    return content[: rng.randrange(1, len(content))]


def _flipped(rng: random.Random) -> bytes:
    content = bytearray(_sound(rng))
    for _ in range(rng.choice((1, 1, 2, 8))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def _numbers(rng: random.Random) -> bytes:
    """A number in the head, where sizes and offsets stand, becomes an odd one."""
    content, size = bytearray(_sound(rng)), rng.choice((1, 2, 4))
    at = rng.randrange(min(len(content), 200) - size)
    value = rng.choice(ODD_NUMBERS) & (1 << 8 * size) - 1
    content[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))
    return bytes(content)


def _spliced(rng: random.Random) -> bytes:
    first, second = _sound(rng), _sound(rng)
    cut = rng.randrange(len(first))
    return first[:cut] + second[rng.randrange(len(second)) :]


def _repeated(rng: random.Random) -> bytes:
    content = _sound(rng)
    start = rng.randrange(len(content))
    part = content[start : start + rng.randrange(1, 64)]
    return content[:start] + part * rng.choice((2, 100, 10_000)) + content[start:]


def _sizes(rng: random.Random) -> bytes:
    """Absurd sizes, in the header of each format."""
    sides = (0, 1, 5000, 5001, 65_535, 65_536, 3_000_000, 2**31 - 1, 2**32 - 1)
    width, height = rng.choice(sides), rng.choice(sides)
    kind = rng.choice(("PNG", "BMP", "GIF", "TIFF", "JPEG", "WEBP"))
    if kind == "PNG":
        depth, colour = rng.choice(((8, 0), (8, 2), (1, 3), (16, 6), (3, 5)))
        data = chunk(b"IDAT", zlib.compress(bytes(100)))
        return png(width, height, depth, colour, data, interlace=rng.choice((0, 1, 7)))
    content = bytearray(whole(kind, "L" if kind in ("GIF", "JPEG") else "RGB"))
    if kind == "BMP":
        content[18:26] = struct.pack("<II", width, height)
    elif kind == "GIF":
        content[6:10] = struct.pack("<HH", width & 0xFFFF, height & 0xFFFF)
    elif kind == "JPEG":
        at = content.index(b"\xff\xc0")
        content[at + 5 : at + 9] = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
    elif kind == "TIFF":
        for tag, value in ((256, width), (257, height), (278, height)):
            at = content.find(struct.pack("<H", tag), 8)
            content[at + 2 : at + 12] = struct.pack("<HII", 4, 1, value)
    else:
        flags = struct.pack("<BxxxI", 0, (width & 0xFFFFFF) | (height & 0xFF) << 24)
        content[12:12] = b"VP8X" + struct.pack("<I", 10) + flags + b"\0\0"
        content[4:8] = struct.pack("<I", len(content) - 8)
    return bytes(content)


def _chunks(rng: random.Random) -> bytes:
    """PNG: lengths, check sums, order and number of chunks that lie; palettes that lack colours."""
    rows = b"".join(b"\0" + rng.randbytes(8) for _ in range(8))
    data = chunk(b"IDAT", zlib.compress(rows))
    bad = chunk(
        rng.choice(
            (b"IDAT", b"PLTE", b"tRNS", b"gAMA", b"IHDR", b"iCCP", b"eXIf", b"acTL", b"fcTL")
        ),
        rng.randbytes(rng.choice((0, 1, 3, 13, 26, 768, 900))),
        length=rng.choice((None, 0, 2**31 - 1, 2**32 - 1, 5)),
        crc=rng.choice((None, 0)),
    )
    extra = [bad, chunk(b"PLTE", rng.randbytes(3 * rng.randrange(4)))]
    parts = rng.choice(([*extra, data], [data, *extra], [extra[1], bad, data, data], extra))
    return png(8, 8, 8, rng.choice((0, 3, 3)), *parts)


def _animated(rng: random.Random) -> bytes:
    kind = rng.choice(("GIF", "PNG", "WEBP", "TIFF"))
    mode = {"GIF": "P", "PNG": "RGB", "WEBP": "RGB", "TIFF": "L"}[kind]
    content = bytearray(whole(kind, mode, rng.choice((2, 30))))
    for _ in range(rng.choice((0, 1, 4))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def _metadata(rng: random.Random) -> bytes:
    """EXIF that is huge, odd or a knot of pointers."""
    count = rng.choice((1, 1000, 5000))
    entries = b"".join(
        struct.pack("<HHII", rng.choice((0x0112, 0x8769, rng.randrange(65536))),
                    rng.randrange(14), rng.choice((1, 3, 2**32 - 1)), rng.randrange(200))
        for _ in range(count)
    )  # fmt: skip
    exif = b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries
    content = whole("JPEG", "RGB")
    marker = b"Exif\0\0" + exif[:65_000]
    if rng.random() < 0.5:
        return content[:2] + b"\xff\xe1" + struct.pack(">H", len(marker) + 2) + marker + content[2:]
    padding = bytes(rng.choice((0, 5_000_000)))
    rows = b"".join(b"\0" + bytes(8) for _ in range(8))
    return png(8, 8, 8, 0, chunk(b"eXIf", exif + padding), chunk(b"IDAT", zlib.compress(rows)))


def _bomb(rng: random.Random) -> bytes:
    """Little that becomes much: as pixels, beyond the pixels, as text or as a colour profile."""
    return rng.choice(_bombs())


@cache
def _bombs() -> tuple[bytes, ...]:
    row = chunk(b"IDAT", zlib.compress(bytes(9 * 8)))
    big = zeros(64 << 20)
    gif = bytearray(whole("GIF", "P"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    many = io.BytesIO()
    frames = [Image.new("P", (1, 1), i & 1) for i in range(3000)]
    frames[0].save(many, "GIF", save_all=True, append_images=frames[1:], duration=[20, 40] * 1500)
    largest = Image.new("RGB", (5000, 5000), (1, 2, 3))
    compressed = io.BytesIO()
    largest.save(compressed, "TIFF", compression="tiff_lzw")
    progressive = io.BytesIO()
    largest.save(progressive, "JPEG", progressive=True, subsampling=0)
    webp = io.BytesIO()
    largest.save(webp, "WEBP", lossless=True, method=0)
    return (
        png(5000, 5000, 8, 0, chunk(b"IDAT", zeros(5000 * 5001))),
        png(5000, 5000, 8, 6, chunk(b"IDAT", zeros(5000 * 20_001))),
        png(5000, 5000, 16, 2, chunk(b"IDAT", zeros(5000 * 30_001))),
        png(381, 65_535, 8, 2, chunk(b"IDAT", zeros(65_535 * (3 * 381 + 1)))),
        png(7100, 7100, 8, 0, chunk(b"IDAT", zeros(7100 * 7101))),
        png(8, 8, 8, 0, chunk(b"IDAT", big)),
        png(8, 8, 8, 0, chunk(b"zTXt", b"a\0\0" + big), row),
        png(8, 8, 8, 0, *[chunk(b"zTXt", b"a\0\0" + zeros(1 << 20))] * 100, row),
        png(8, 8, 8, 0, chunk(b"iCCP", b"a\0\0" + big), row),
        png(8, 8, 8, 0, *[chunk(b"tEXt", b"a\0b")] * 50_000, row),
        bytes(gif),
        many.getvalue(),
        compressed.getvalue(),
        progressive.getvalue(),
        webp.getvalue(),
    )


def _noise(rng: random.Random) -> bytes:
    start = _sound(rng)[: rng.choice((0, 4, 8, 12, 30))]
    return start + rng.randbytes(rng.choice((0, 1, 100, 10_000)))


KINDS: dict[str, tuple[int, Callable[[random.Random], bytes]]] = {
    "sound, of every mode": (2, _sound),
    "truncated": (4, _truncated),
    "bits flipped": (6, _flipped),
    "odd numbers in the head": (6, _numbers),
    "two files in one": (2, _spliced),
    "a part repeated": (2, _repeated),
    "absurd sizes": (6, _sizes),
    "PNG chunks that lie": (4, _chunks),
    "animated, and damaged": (3, _animated),
    "huge and knotted EXIF": (2, _metadata),
    "noise": (2, _noise),
}
"""Each kind's share, and what makes one."""


def hostile(count: int, seed: int = 0, bombs: bool = True) -> Iterator[tuple[str, bytes]]:
    """Kind and content of `count` files, the same for equal seeds; then each bomb once."""
    rng = random.Random(seed)
    shares = [share for share, _ in KINDS.values()]
    for kind in rng.choices(list(KINDS), shares, k=count):
        yield kind, KINDS[kind][1](rng)
    if bombs:
        for bomb in _bombs():
            yield "bombs, and the largest that are taken", bomb


def outcome(content: bytes) -> tuple[str, pictures.Array | None]:
    """Why a file is refused ("": it is not), and its pixels. Raises what must not come out."""
    try:
        array = pictures.read(content, "hostile.bin")
    except ImageError as error:
        text = str(error)
        if not text.startswith("hostile.bin: ") or "\n" in text or len(text) < 20:
            raise AssertionError(
                f"refused without file and reason in one line: {text!r}"
            ) from error
        return text, None
    good = array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] in (1, 3)
    if not good or not 0 < array.shape[0] * array.shape[1] <= pictures.MAX_PIXELS:
        raise AssertionError(f"decoded to {array.dtype} {array.shape}")
    return "", array


def main(count: int, seed: int) -> None:
    """Try them all, and print what became of them. Raises AssertionError for a limit broken."""
    warnings.simplefilter("error")
    table: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0])
    for kind, content in hostile(count, seed):
        began = time.process_time()
        why, _ = outcome(content)
        took = time.process_time() - began
        row = table[kind]
        row[bool(why)] += 1
        row[2] = max(row[2], took)
        assert took < SECONDS, f"{kind}: {took:.2f} s of processor time"
    print(f"{'kind':40}{'decoded':>9}{'refused':>9}{'slowest':>10}")
    for kind, (decoded, refused, slowest) in sorted(table.items()):
        print(f"{kind:40}{decoded:9.0f}{refused:9.0f}{slowest:8.3f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{sum(d + r for d, r, _ in table.values()):,.0f} files, peak {peak:.0f} MiB")
    assert peak < MEBIBYTES, f"{peak:.0f} MiB"


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    main((given or [2000])[0], (given[1:] or [0])[0])
