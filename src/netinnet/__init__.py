"""Network in Network: one description, native models, training that works, measured.

    import netinnet

    net = netinnet.build("nin", framework="pytorch", seed=0)   # an ordinary torch.nn.Module
    run = netinnet.train("fashion", epochs=1)                  # a run folder with model and report
    model = netinnet.load(run.folder)                          # network and weights
    netinnet.Predictor(model).predict(picture)                 # class names and probabilities

Importing this imports no framework.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from netinnet.errors import NetinnetError
from netinnet.version import VERSION

if TYPE_CHECKING:
    from netinnet.inference.predictor import Predictor
    from netinnet.training.recipe import Recipe
    from netinnet.training.run import Run
    from netinnet.weights import Model

__version__ = VERSION
__all__ = [
    "NetinnetError",
    "Predictor",
    "Recipe",
    "__version__",
    "build",
    "load",
    "resume",
    "train",
]


def build(
    network: str,
    *,
    framework: str = "pytorch",
    seed: int = 0,
    initialisation: str = "he",
    **options: Any,
) -> Any:
    """A network of the zoo as the framework's own model object, initialised from the seed.

    For PyTorch an `nn.Module` with named blocks that takes preprocessed float input N×C×H×W.
    `options` are those of `zoo.network`: image_size, channels, classes, logits_relu, dropout.
    Raises NetworkError or FrameworkError.
    """
    from netinnet import frameworks, weights, zoo

    net = zoo.network(network, **options)
    return frameworks.adapter(framework).build(net, weights.initial(net, seed, initialisation))


def load(path: str | Path | None = None, *, framework: str | None = None) -> Any:
    """The model in a run folder or model file; the one shipped with the package for None.

    Returns a `weights.Model` (network and weights); with `framework`, that framework's own model
    object. Raises ModelError where the path is missing or damaged.
    """
    from netinnet import frameworks
    from netinnet.inference import model_files

    model: Model = model_files.find(None if path is None else Path(path))
    if framework is None:
        return model
    return frameworks.adapter(framework).build(model.network, model.weights)


def train(
    recipe: str | Path | Recipe = "fashion",
    *,
    output: str | Path | None = None,
    data_dir: str | Path | None = None,
    **changes: Any,
) -> Run:
    """Train a recipe (a shipped one's name, a TOML file, or a `Recipe`) and return the run.

    `changes` override single fields: `train("fashion", epochs=1)`. In a notebook the learning
    curve is drawn while the training goes on. Raises NetinnetError and its children.
    """
    from netinnet.report import html, live
    from netinnet.training import recipe as recipes
    from netinnet.training import start

    resolved = (
        recipe.replace(**changes)
        if isinstance(recipe, recipes.Recipe)
        else recipes.load(str(recipe), **changes)
    )
    return start.train(
        resolved,
        output=None if output is None else Path(output),
        data_dir=None if data_dir is None else Path(data_dir),
        listener=live.listener(),
        report=html.write,
    )


def resume(folder: str | Path, *, data_dir: str | Path | None = None) -> Run:
    """Go on with an interrupted run, bit for bit, and return it when it is finished."""
    from netinnet.report import html, live
    from netinnet.training import start

    return start.resume(
        Path(folder),
        data_dir=None if data_dir is None else Path(data_dir),
        listener=live.listener(),
        report=html.write,
    )


def __getattr__(name: str) -> Any:
    """Classes that need heavier imports, brought in when first used."""
    if name == "Predictor":
        from netinnet.inference.predictor import Predictor

        return Predictor
    if name == "Recipe":
        from netinnet.training.recipe import Recipe

        return Recipe
    raise AttributeError(f"module 'netinnet' has no attribute '{name}'")
