"""The digest at the end of an ONNX file that `nin` wrote: one bit more or less is noticed.

It is the last entry of the file's metadata, over all bytes before it: so it does not depend on how
a library would serialise the graph again, and other programs read the file as before.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from netinnet.errors import ModelError
from netinnet.weights import DIGEST

if TYPE_CHECKING:
    from onnx import ModelProto


def sealed(graph: bytes) -> bytes:
    """The bytes of a graph, and its digest behind them."""
    from onnx import ModelProto

    # A message behind a message adds its entries to the first one's.
    entry = ModelProto()
    entry.metadata_props.add(key=DIGEST, value=hashlib.sha256(graph).hexdigest())
    return graph + bytes(entry.SerializeToString())


def read(path: Path) -> tuple[ModelProto, dict[str, str]]:
    """The graph in a file of any origin, and its metadata; a digest in that is compared.

    Raises ModelError where it can't be read or is not what was written.
    """
    import onnx

    try:
        content = path.read_bytes()
        proto = onnx.load_model_from_string(content)
        metadata = {entry.key: entry.value for entry in proto.metadata_props}
    except Exception as error:  # a parser of foreign files can raise anything
        raise ModelError(f"{path}: not an ONNX file, or damaged ({error})") from error
    if DIGEST in metadata and content != sealed(content[: -len(sealed(b""))]):
        raise ModelError(
            f"{path}: damaged, its content is not what was written; take a copy of it (if it was "
            f"changed on purpose, leave {DIGEST} out of its metadata)"
        )
    return proto, metadata
