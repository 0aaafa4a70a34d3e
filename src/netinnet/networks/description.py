"""A network as it is described, before the data decides its classes, channels and size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from netinnet.errors import NetworkError, check_name
from netinnet.networks.blocks import Block
from netinnet.networks.checks import class_names, typed
from netinnet.networks.layers import Shape
from netinnet.networks.network import Network, Preprocessing
from netinnet.networks.variations import Variations


@dataclass(frozen=True)
class Description:
    """Blocks for any number of classes, and what the network's own input and classes are.

    0 stands for what is left open: channels, height and width of `input`, `classes`. What is not is
    what the network is of itself, which data and options change. A network with class `names` of
    its own has that number of classes and no other.
    """

    name: str
    build: Callable[[int], Sequence[Block]]
    """Called with the number of classes."""
    input: Shape
    classes: int
    source: str = ""
    """Where it comes from."""
    names: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None

    def network(
        self,
        *,
        image_size: int | None = None,
        channels: int | None = None,
        classes: int | Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
        pictures: Shape | None = None,
        **variations: Any,
    ) -> Network:
        """The network, as it is or for another input, other classes, with `Variations`.

        `classes` is their number or their names; None means its own. What the description leaves
        open of the input is taken from `pictures`, the shape of the data's. Raises NetworkError
        where something stays open, the input is too small, or the network has no such variation.
        """
        for option in variations:
            check_name("option", option, OPTIONS, NetworkError)
        if image_size is not None:
            image_size = typed("image_size", image_size, "int")
        if channels is not None:
            channels = typed("channels", channels, "int")
        size = self.input[1:] if image_size is None else (image_size, image_size)
        shape = Shape(self.input.channels if channels is None else channels, *size)
        if pictures is not None:
            shape = Shape(*(own or other for own, other in zip(shape, pictures, strict=True)))
        names = self.classes if classes is None else class_names(classes)
        count = names if isinstance(names, int) else len(names)
        given = {"classes": classes, "channels": channels, "image-size": image_size}
        for what, number in zip(given, (count, *shape[:2]), strict=True):
            if given[what] is None and not number:
                cure = f"write them into its description, or give --{what}"
                raise NetworkError(f"{self.name} leaves its {what} open: {cure}")
        if count < 1:
            raise NetworkError(
                f"{self.name}: the number of classes must be at least 1, got {count}"
            )
        if self.names and count != len(self.names):
            raise NetworkError(
                f"{self.name} is made for {len(self.names)} classes, not for {count}: change its "
                f'last layer, or describe it in a .toml file, where "classes" is their number'
            )
        if isinstance(names, int):
            names = self.names or tuple(map(str, range(count)))
        return Network(
            name=self.name,
            input=shape,
            blocks=Variations(**variations).apply(self.name, tuple(self.build(count)), count),
            classes=tuple(names),
            preprocessing=preprocessing or self.preprocessing or Preprocessing(),
        )


OPTIONS = (
    *("image_size", "channels", "classes", "preprocessing", "pictures"),
    *(field.name for field in fields(Variations)),
)
"""What `Description.network` may be given."""


def concrete(net: Network) -> Description:
    """The description of a network whose classes are decided."""
    size, scaling = len(net.classes), net.preprocessing
    return Description(
        net.name, lambda classes: net.blocks, net.input, size, "", net.classes, scaling
    )
