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

from netinnet.networks.blocks import Block as Block
from netinnet.networks.blocks import conv_block as conv_block
from netinnet.networks.blocks import nin_block as nin_block
from netinnet.networks.family import nin_family as nin_family
from netinnet.networks.layers import GELU as GELU
from netinnet.networks.layers import LAYERS as LAYERS
from netinnet.networks.layers import AvgPool as AvgPool
from netinnet.networks.layers import BatchNorm as BatchNorm
from netinnet.networks.layers import Conv as Conv
from netinnet.networks.layers import Dropout as Dropout
from netinnet.networks.layers import Flatten as Flatten
from netinnet.networks.layers import GlobalAvgPool as GlobalAvgPool
from netinnet.networks.layers import Layer as Layer
from netinnet.networks.layers import LeakyReLU as LeakyReLU
from netinnet.networks.layers import Linear as Linear
from netinnet.networks.layers import MaxPool as MaxPool
from netinnet.networks.layers import ReLU as ReLU
from netinnet.networks.layers import Shape as Shape
from netinnet.networks.layers import Sigmoid as Sigmoid
from netinnet.networks.network import Network as Network
from netinnet.networks.network import Preprocessing as Preprocessing
from netinnet.networks.zoo import ZOO as ZOO
from netinnet.networks.zoo import Named as Named
from netinnet.networks.zoo import register as register
from netinnet.networks.zoo import resolve as resolve
