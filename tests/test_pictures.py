"""Picture files: what is read, how it is converted, and what is refused."""

from __future__ import annotations

import io
import os
import re
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from netinnet.data import pictures
from netinnet.errors import ImageError

EXPECTED = "expected a PNG, JPEG, WebP, BMP, GIF or TIFF picture"


def exactly(text: str) -> str:
    return f"^{re.escape(text)}$"


def rgb(height: int = 5, width: int = 7) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def grey(height: int = 5, width: int = 7) -> np.ndarray:
    return rgb(height, width)[..., 0]


def png(width: int, height: int, bits: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG made by hand, for what Pillow doesn't write."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    whole = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        checksum = zlib.crc32(kind + body)
        whole += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)
    return whole


# --- what is read


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.webp", "no-suffix"])
def test_lossless_colour(tmp_path: Path, name: str) -> None:
    if name.endswith("webp") and not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    kind = Path(name).suffix.removeprefix(".") or "png"
    Image.fromarray(rgb()).save(tmp_path / name, format=kind, lossless=True)
    read = pictures.read(tmp_path / name)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, rgb())


def test_jpeg_is_near(tmp_path: Path) -> None:
    smooth = np.zeros((16, 16, 3), np.uint8)
    smooth[..., 0] = np.arange(0, 160, 10)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    read = pictures.read(tmp_path / "a.jpg")
    assert read.shape == (16, 16, 3)
    assert np.abs(read.astype(int) - smooth).max() < 16


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    read = pictures.read(tmp_path / "a.jpg")
    assert read.shape == (8, 8, 3)
    assert read[0, 0, 0] > 240
    assert read[0, 0, 1:].max() < 15


def test_grey_has_one_channel(tmp_path: Path) -> None:
    Image.fromarray(grey()).save(tmp_path / "a.png")
    np.testing.assert_array_equal(pictures.read(tmp_path / "a.png"), grey()[..., np.newaxis])


def test_one_bit(tmp_path: Path) -> None:
    bits = grey() > 127
    Image.fromarray(bits).save(tmp_path / "a.png")
    read = pictures.read(tmp_path / "a.png")
    np.testing.assert_array_equal(read[..., 0], np.where(bits, 255, 0))


def test_palette_becomes_rgb(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8)).convert("P")
    picture.putpalette([255, 0, 0, 0, 128, 0, 10, 20, 30])
    picture.save(tmp_path / "a.png")
    assert pictures.read(tmp_path / "a.png").tolist() == [
        [[255, 0, 0], [0, 128, 0]],
        [[10, 20, 30], [0, 128, 0]],
    ]


def test_sixteen_bit_grey_is_scaled_and_rounded(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 257], [32767, 32896, 65406, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    read = pictures.read(tmp_path / "a.png")
    assert read.shape == (2, 4, 1)
    np.testing.assert_array_equal(read[..., 0], np.round(values / 257))


def test_sixteen_bit_grey_with_a_transparent_value(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + struct.pack(">2H", 1000, value) for value in (1001, 65535))
    body = zlib.compress(rows)
    transparent = (b"tRNS", struct.pack(">H", 1000))
    (tmp_path / "a.png").write_bytes(png(2, 2, 16, 0, transparent, (b"IDAT", body)))
    assert pictures.read(tmp_path / "a.png")[..., 0].tolist() == [[255, 4], [255, 255]]


def test_sixteen_bit_rgb(tmp_path: Path) -> None:
    row = b"\0" + struct.pack(">3H", 0, 0x80FF, 0xFFFF)
    (tmp_path / "a.png").write_bytes(png(1, 1, 16, 2, (b"IDAT", zlib.compress(row))))
    assert pictures.read(tmp_path / "a.png").tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_over_white(tmp_path: Path, mode: str) -> None:
    channels = len(mode) - 1
    picture = Image.new(mode, (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        picture.putpixel((x, 0), (100,) * channels + (alpha,))
    picture.save(tmp_path / "a.png")
    read = pictures.read(tmp_path / "a.png")
    assert read.shape == (1, 3, channels)
    assert read[0, :, 0].tolist() == [255, round((100 * 128 + 255 * 127) / 255), 100]


def test_transparent_palette_entry_and_grey_value_are_white(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    picture.putpalette([9, 9, 9, 0, 128, 0])
    picture.save(tmp_path / "a.png", transparency=0)
    assert pictures.read(tmp_path / "a.png").tolist() == [[[255, 255, 255], [0, 128, 0]]]
    Image.fromarray(np.array([[7, 8]], np.uint8)).save(tmp_path / "b.png", transparency=7)
    assert pictures.read(tmp_path / "b.png").tolist() == [[[255], [8]]]


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (6, lambda a: np.rot90(a, -1)),
        (8, np.rot90),
    ],
)
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, turned) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(rgb()).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(pictures.read(tmp_path / "a.png"), turned(rgb()))


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.fromarray(rgb()), Image.fromarray(255 - rgb())]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(pictures.read(tmp_path / "a.png"), rgb())


def test_result_is_writable(tmp_path: Path) -> None:
    Image.fromarray(grey()).save(tmp_path / "a.png")
    assert pictures.read(tmp_path / "a.png").flags.writeable


# --- what is refused


def test_missing_folder_and_empty_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=exactly(f"{tmp_path}: is a folder; {EXPECTED}")):
        pictures.read(tmp_path)
    path = tmp_path / "a.png"
    with pytest.raises(ImageError, match=exactly(f"{path}: no such file; {EXPECTED}")):
        pictures.read(path)
    path.write_bytes(b"")
    with pytest.raises(ImageError, match=exactly(f"{path}: empty file; {EXPECTED}")):
        pictures.read(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    os.mkfifo(path)
    with pytest.raises(ImageError, match=exactly(f"{path}: not a regular file; {EXPECTED}")):
        pictures.read(path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(ImageError, match=exactly(f"{path}: cannot be read (Permission denied)")):
        pictures.read(path)


@pytest.mark.parametrize("kind", ["ppm", "ico", "tga"])
def test_other_formats_are_refused_whatever_their_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(rgb(16, 16)).save(path, format=kind)
    message = f"{path}: not a picture that can be read; {EXPECTED}"
    with pytest.raises(ImageError, match=exactly(message)):
        pictures.read(path)


def test_text_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_text("hello")
    message = f"{path}: not a picture that can be read; {EXPECTED}"
    with pytest.raises(ImageError, match=exactly(message)):
        pictures.read(path)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "bmp", "gif", "tiff"])
def test_truncated_picture(tmp_path: Path, kind: str) -> None:
    if kind == "webp" and not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    path = tmp_path / "a"
    Image.fromarray(rgb(64, 64)).save(path, format=kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(ImageError) as caught:
        pictures.read(path)
    message = str(caught.value)
    assert message.startswith((f"{path}: damaged or truncated picture (", f"{path}: not a picture"))
    assert "\n" not in message


def test_truncated_jpeg_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(rgb(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:-100])
    pattern = (
        rf"^{re.escape(str(path))}: damaged or truncated picture \(image file is truncated"
        r" \(\d+ bytes not processed\)\); save it again$"
    )
    with pytest.raises(ImageError, match=pattern):
        pictures.read(path)


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (10_000, 5_001, "10000×5001 pixels are "),
        # Beyond Pillow's own limits it warns or raises before it tells the size.
        (12_000, 10_000, ""),
        (60_000, 60_000, ""),
    ],
)
def test_enormous_picture_is_refused_undecoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, height: int, size: str
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(width, height, 8, 0, (b"IDAT", zlib.compress(b"\0" * 100))))

    def load(_self: Image.Image) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    message = f"{path}: {size}more than 25 megapixels; make it smaller"
    with pytest.raises(ImageError, match=exactly(message)):
        pictures.read(path)


def test_text_bomb_in_a_png(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    bomb = b"Comment\0\0" + zlib.compress(bytes(80 << 20), 1)
    body = zlib.compress(b"\0\0")
    path.write_bytes(png(1, 1, 8, 0, (b"zTXt", bomb), (b"IDAT", body)))
    with pytest.raises(ImageError, match=r"Decompressed data too large"):
        pictures.read(path)


def _saved(kind: str) -> bytes:
    whole = io.BytesIO()
    Image.fromarray(rgb(8, 8)).save(whole, format=kind)
    return whole.getvalue()


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["png", "jpeg", "bmp"]),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8),
    cut=st.integers(0, 10_000),
)
def test_damaged_files_give_an_array_or_one_line(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    changes: list[tuple[int, int]],
    cut: int,
) -> None:
    content = bytearray(_saved(kind))
    for place, value in changes:
        content[place % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content[: cut % len(content) + 1])
    message = ""
    try:
        read = pictures.read(path)
        assert read.dtype == np.uint8
        assert read.shape[2] in (1, 3)
    except ImageError as error:
        message = str(error)
    assert message == "" or (message.startswith(f"{path}: ") and "\n" not in message)


# --- channels


def test_luma_is_pillows() -> None:
    picture = rgb(50, 60)
    expected = np.asarray(Image.fromarray(picture).convert("L"))
    np.testing.assert_array_equal(pictures.as_channels(picture, 1)[..., 0], expected)
    assert pictures.as_channels(picture, 1).dtype == np.uint8


@given(st.integers(0, 255))
def test_grey_to_rgb_and_back_is_the_same(value: int) -> None:
    one = np.full((2, 3, 1), value, np.uint8)
    three = pictures.as_channels(one, 3)
    assert three.shape == (2, 3, 3)
    assert (three == value).all()
    np.testing.assert_array_equal(pictures.as_channels(three, 1), one)


def test_channels_that_fit_are_left_alone() -> None:
    assert pictures.as_channels(rgb(), 3).tolist() == rgb().tolist()


@pytest.mark.parametrize(("present", "wanted"), [(3, 2), (4, 3)])
def test_other_channels_are_refused(present: int, wanted: int) -> None:
    message = f"cannot make {wanted} channels of {present}; grey has 1, RGB has 3"
    with pytest.raises(ImageError, match=exactly(message)):
        pictures.as_channels(np.zeros((2, 2, present), np.uint8), wanted)


# --- bytes and streams, long sides, pictures in memory


class _Pipe(io.RawIOBase):
    """Bytes that can't be sought, as a pipe's."""

    def __init__(self, content: bytes) -> None:
        self.content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self.content.readinto(buffer)


def test_bytes_and_streams_are_read_like_files(tmp_path: Path) -> None:
    content = _saved("png")
    (tmp_path / "a.png").write_bytes(content)
    sources = (tmp_path / "a.png", str(tmp_path / "a.png"), content, io.BytesIO(content))
    for source in (*sources, io.BufferedReader(_Pipe(content))):
        np.testing.assert_array_equal(pictures.read(source), rgb(8, 8))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty file; "), (b"hello", "not a picture that can be read; ")],
)
def test_errors_of_bytes_and_streams_have_the_name_given(content: bytes, message: str) -> None:
    for source in (content, io.BytesIO(content)):
        with pytest.raises(ImageError, match=exactly(f"upload 7: {message}{EXPECTED}")):
            pictures.read(source, "upload 7")


def test_an_endless_stream_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_BYTES", 1 << 20)
    stream = io.BytesIO(bytes(3 << 20))
    with pytest.raises(ImageError, match=r"^picture: more than 1 MiB; make it smaller$"):
        pictures.read(stream)
    assert stream.tell() == (1 << 20) + 1


@pytest.mark.parametrize("size", [(3_000_000, 1), (1, 65_536)])
def test_a_side_too_long_is_refused_undecoded(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", None)
    content = png(*size, 8, 0, (b"IDAT", zlib.compress(b"\0" * 100)))
    message = "picture: a side is longer than 65,535 pixels; make it smaller"
    with pytest.raises(ImageError, match=exactly(message)):
        pictures.read(content)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3)])
def test_arrays_that_are_pictures(shape: tuple[int, ...]) -> None:
    array = rgb().ravel()[: int(np.prod(shape))].reshape(shape)
    np.testing.assert_array_equal(
        pictures.from_memory(array), array.reshape(5, 7, shape[2] if shape[2:] else 1)
    )


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "LA", "P", "CMYK", "I;16"])
def test_pil_pictures_are_what_their_files_are(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(rgb()).convert("RGBA" if mode == "LA" else "RGB").convert(mode)
    kind = "jpeg" if mode == "CMYK" else "png"
    picture.save(tmp_path / "a", format=kind)
    opened = Image.open(tmp_path / "a")
    np.testing.assert_array_equal(pictures.from_memory(opened), pictures.read(tmp_path / "a"))
    assert opened.size == (7, 5)  # still usable


TAKES = (
    "a picture is a uint8 array height×width, height×width×1 or height×width×3, or a PIL picture "
    "of 8 bits, got "
)
CURE = "floats of 0…1: (x * 255).round().astype('uint8'), values of 0…255: x.astype('uint8')"


@pytest.mark.parametrize(
    ("picture", "text"),
    [
        (np.zeros((28, 28, 3)), f"float64 28×28×3; {CURE}"),
        (np.full((28, 28), np.nan, np.float32), f"float32 28×28; {CURE}"),
        (np.zeros((28, 28), bool), f"bool 28×28; {CURE}"),
        (np.zeros((28, 28), np.int64), f"int64 28×28; {CURE}"),
        (np.zeros((28, 28), object), f"object 28×28; {CURE}"),
        (np.zeros((28, 28, 4), np.uint8), "uint8 28×28×4"),
        (np.zeros((3, 28, 28), np.uint8), "uint8 3×28×28"),
        (np.zeros((1, 28, 28, 1), np.uint8), "uint8 1×28×28×1"),
        (np.zeros(28, np.uint8), "uint8 28"),
        (np.zeros((0, 28), np.uint8), "uint8 0×28"),
        (np.zeros((28, 0, 3), np.uint8), "uint8 28×0×3"),
        ([[1, 2], [3, 4]], "list"),
        (None, "NoneType"),
        (Image.new("F", (2, 2)), "Image F"),
        (Image.new("I", (2, 2)), "Image I"),
        (Image.new("L", (0, 2)), "Image L"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_picture_in_memory_is_refused(picture: object, text: str) -> None:
    with pytest.raises(ImageError, match=exactly(TAKES + text)):
        pictures.from_memory(picture)


def test_threads_that_read_leave_the_warnings_as_they_were() -> None:
    """All threads have one list of filters: one would restore what another one had set."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(file, "PNG")
    before, often = list(warnings.filters), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            read = list(pool.map(pictures.read, [file.getvalue()] * 1000))
    finally:
        sys.setswitchinterval(often)
    assert len(read) == 1000
    assert list(warnings.filters) == before
