"""Safetensors files of any origin: bfloat16 and float8, which NumPy lacks, become float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from netinnet import weights
from netinnet.errors import ModelError

Array = npt.NDArray[Any]

PLAIN = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "?"},
    **{f"I{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
}
"""What NumPy has, by the names of safetensors."""


def _bfloat16(data: bytes) -> Array:
    """The upper half of a float32."""
    return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)


def _float8_e5m2(data: bytes) -> Array:
    """The upper half of a float16."""
    return (np.frombuffer(data, "u1").astype(np.uint16) << 8).view(np.float16).astype(np.float32)


def _float8_e4m3(data: bytes) -> Array:
    """Sign, 4 bits of exponent (bias 7), 3 of mantissa; no infinity, one NaN of each sign."""
    code = np.arange(256)
    exponent, mantissa = code >> 3 & 15, code & 7
    normal = np.ldexp(1 + mantissa / 8, exponent - 7)
    values = np.where(exponent > 0, normal, np.ldexp(mantissa / 8, -6))
    values[code & 127 == 127] = np.nan
    values = np.where(code & 128, -values, values).astype(np.float32)
    found: Array = values[np.frombuffer(data, "u1")]
    return found


SHORT: dict[str, tuple[str, Callable[[bytes], Array]]] = {
    "BF16": ("bfloat16", _bfloat16),
    "F8_E4M3": ("float8 (e4m3)", _float8_e4m3),
    "F8_E5M2": ("float8 (e5m2)", _float8_e5m2),
}
"""What becomes float32, exactly."""


def header(path: Path) -> tuple[list[str], dict[str, str]]:
    """Names of a file's tensors, and its metadata. Raises ModelError where it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return list(file.keys()), file.metadata() or {}
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"{path}: not a safetensors file, or damaged ({error})") from error


def read(path: Path) -> tuple[dict[str, Array], list[str]]:
    """The arrays, and what became float32, a line each. Raises ModelError, also where the file has
    netinnet's digest and is not what was written."""
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"{path}: not a safetensors file, or damaged ({error})") from error
    tensors, counts = {}, dict.fromkeys(SHORT, 0)
    for name, entry in entries:
        kind, data, shape = entry["dtype"], bytes(entry["data"]), entry["shape"]
        if kind in PLAIN:
            tensors[name] = np.frombuffer(data, PLAIN[kind]).reshape(shape)
        elif kind in SHORT:
            tensors[name] = SHORT[kind][1](data).reshape(shape)
            counts[kind] += 1
        else:
            known = ", ".join((*PLAIN, *SHORT))
            raise ModelError(f"{path}: tensor {name} is of the type {kind}; known are {known}")
    if weights.DIGEST in (about := header(path)[1]):
        weights.check_digest(tensors, about, str(path))
    said = [
        f"{count} tensors are {SHORT[kind][0]}: read as float32, with the digits that they have"
        for kind, count in counts.items()
        if count
    ]
    return tensors, said
