"""What is known to go wrong with a recipe, said before it starts."""

from __future__ import annotations

from netinnet.data.source import Dataset
from netinnet.errors import NetworkError, printable
from netinnet.inference.onnx_graph import too_large
from netinnet.networks.network import Network
from netinnet.networks.zoo import ZOO, describe
from netinnet.training.recipe import Recipe


def cautions(recipe: Recipe, network: Network, data: Dataset | None = None) -> list[str]:
    """What is known to go wrong with such a recipe, in one line each."""
    kinds = [type(placed.layer).__name__ for placed in network.placed_layers()]
    texts = _replaced(recipe, network)
    if "GlobalAvgPool" in kinds and "ReLU" in kinds and "BatchNorm" not in kinds:
        before_pool = kinds[kinds.index("GlobalAvgPool") - 1]
        if before_pool == "ReLU" and recipe.optimizer == "sgd":
            texts.append(
                "a ReLU follows the last convolution: of 193 published runs of the book's recipe "
                "84 (4 in 10) ended below .80 accuracy; logits_relu = false is the cure"
            )
    if reason := too_large(network):
        texts.append(f"model.onnx can't be written: {reason}; model.safetensors is written")
    if data is not None and recipe.horizontal_flip and not data.facts.horizontal_flip:
        texts.append(f"horizontal_flip changes what the pictures of {data.name} show")
    if data is not None and data.validation is not None and recipe.validation:
        texts.append(f"the validation split of {data.name} is not used: validation is above 0")
    if data is not None:
        texts += data.cautions
    if data is not None and data.at_size and recipe.horizontal_flip:
        texts.append(
            "half of the pictures are mirrored in training: --no-horizontal-flip where that "
            "changes what they show, as it does with digits and letters"
        )
    return texts


def _replaced(recipe: Recipe, network: Network) -> list[str]:
    """What a description of one's own says of its input and classes, and the data otherwise.

    The zoo's are for any data. A run needs no description any more: it may be gone.
    """
    if recipe.network in ZOO:
        return []
    try:
        own = describe(recipe.network)
    except NetworkError:
        return []
    pairs = {
        "channels": (own.input.channels, network.input.channels),
        "classes": (own.classes, len(network.classes)),
    }
    return [
        f"{printable(recipe.network)} says {what} = {said}, the data has {found}: {found} are taken"
        for what, (said, found) in pairs.items()
        if said and said != found
    ]
