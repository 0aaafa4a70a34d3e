"""What PyTorch's compiled layers share: when C takes their tensors, and how it is loaded."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from netinnet.errors import FrameworkError
from netinnet.frameworks import compiled
from netinnet.frameworks.compiled import Compiled, NotCompiled


def for_vectors(
    source: Path, sizes: type[ctypes.Structure], rooms: Iterable[str], *defines: str
) -> Compiled | NotCompiled:
    """The functions of a source that needs AVX2, or why there are none.

    `rooms` are those that say for `sizes` how many values of scratch memory the others need.
    """
    if not all(torch.cpu.get_capabilities().get(name) for name in ("avx2", "fma3")):
        return NotCompiled("the processor has no AVX2")
    try:
        found = compiled.load(source, *defines)
    except NotCompiled as error:
        return error
    for name in rooms:
        room = getattr(found.functions, name)
        room.argtypes, room.restype = [ctypes.POINTER(sizes)], ctypes.c_long
    return found


def takes(x: Tensor, weight: Tensor) -> bool:
    """Whether C computes a layer of these: float32 in memory, and no tool watches the operators.

    Not of no picture at all, which is what a shard of a small batch may have.
    """
    return (
        x.numel() > 0
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._len_torch_dispatch_stack()
    )


def refuse_second(layer: str) -> None:
    """Raise FrameworkError for create_graph: what C computes has no gradient of its own."""
    if torch.is_grad_enabled():
        raise FrameworkError(f"{layer} in training has no second gradient")
