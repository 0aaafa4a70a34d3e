"""Networks as data: layers, blocks, networks, the zoo, networks of one's own.

    from netinnet.networks import Block, Flatten, GlobalAvgPool, MaxPool, nin_block, register

    @register("mine")
    def mine(classes):
        return (
            nin_block((48, 32), 3, padding=1, pointwise=1, name="block1"),
            Block("pool1", (MaxPool(3, 2, 1),)),
            nin_block((64, classes), 3, padding=1, pointwise=1, name="block2", last_relu=False),
            Block("head", (GlobalAvgPool(), Flatten())),
        )

    netinnet.train("fashion", network="mine")

Wherever a network is named, a name of the zoo (`ZOO`), a registered one, the path of a .toml or
.json file (docs/own-networks.md) and a `Network` will do; `resolve` makes a `Network` of each.
"""

from netinnet.networks.network import *  # noqa: F403 - its own list, which the layers are in
from netinnet.networks.zoo import ZOO as ZOO
from netinnet.networks.zoo import Named as Named
from netinnet.networks.zoo import register as register
from netinnet.networks.zoo import resolve as resolve
