"""What is known to go wrong with a recipe, said before it starts."""

from __future__ import annotations

from netinnet.data.source import Dataset
from netinnet.inference.onnx_graph import too_large
from netinnet.networks.network import Network
from netinnet.training.recipe import Recipe


def cautions(recipe: Recipe, network: Network, data: Dataset | None = None) -> list[str]:
    """What is known to go wrong with such a recipe, in one line each."""
    kinds = [type(placed.layer).__name__ for placed in network.placed_layers()]
    texts: list[str] = []
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
