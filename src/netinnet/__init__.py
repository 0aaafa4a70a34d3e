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
    from collections.abc import Mapping, Sequence

    from netinnet.inference.predictor import Predictor
    from netinnet.studies.outcome import Outcome
    from netinnet.studies.plan import Plan
    from netinnet.studies.study import Report
    from netinnet.studies.tables import Row
    from netinnet.training.recipe import Recipe
    from netinnet.training.run import Run
    from netinnet.weights import Model

__version__ = VERSION
__all__ = [
    "NetinnetError",
    "Predictor",
    "Recipe",
    "__version__",
    "ablate",
    "build",
    "compare",
    "load",
    "nin_block",
    "reliability",
    "resume",
    "train",
    "tune",
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

    It takes preprocessed float input in the framework's own layout: for `pytorch` an
    `nn.Sequential` and for `mxnet` a Gluon `HybridSequential`, N×C×H×W; for `tensorflow` a
    `keras.Model` and for `jax` a Flax `nnx.Module`, N×H×W×C. Blocks and layers have the
    description's names. `options` are those of `zoo.network`: image_size, channels, classes,
    logits_relu, dropout, pointwise, narrowing, head, width. Raises NetworkError or FrameworkError.
    """
    from netinnet import frameworks, weights
    from netinnet.networks import zoo

    net = zoo.network(network, **options)
    return frameworks.adapter(framework).build(net, weights.initial(net, seed, initialisation))


def nin_block(
    in_channels: int,
    channels: int | Sequence[int],
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    *,
    framework: str = "pytorch",
    seed: int = 0,
    initialisation: str = "he",
    **options: Any,
) -> Any:
    """A NiN block as the framework's own layer, for networks of your own; any picture size.

    `channels` is one number for all convolutions or one for each; `options` are those of
    `network.nin_block`: pointwise, norm, bias, last_relu, inner, residual.

    Raises NetworkError or FrameworkError.
    """
    from netinnet import frameworks, weights
    from netinnet.networks import layers, network

    block = network.nin_block(channels, kernel, stride, padding, **options)
    # One step more than fits: a residual block that strides keeps the size of 1×1 alone.
    size = (network.smallest_input((block,), in_channels) or 1) + stride
    outputs = channels if isinstance(channels, int) else channels[-1]
    net = network.Network(
        "nin_block",
        layers.Shape(in_channels, size, size),
        (block, network.Block("head", (layers.GlobalAvgPool(), layers.Flatten()))),
        tuple(str(i) for i in range(outputs)),
    )
    adapter = frameworks.adapter(framework)
    model = adapter.build(net, weights.initial(net, seed, initialisation))
    return adapter.block(model, block.name)


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
    from netinnet.reports import html, live
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
    from netinnet.reports import html, live
    from netinnet.training import start

    return start.resume(
        Path(folder),
        data_dir=None if data_dir is None else Path(data_dir),
        listener=live.listener(),
        report=html.write,
    )


def reliability(
    recipe: str | Path | Recipe = "fashion",
    *,
    vary: Mapping[str, Sequence[Any]] | None = None,
    seeds: int = 10,
    first_seed: int = 0,
    threshold: float = 0.8,
    output: str | Path | None = None,
    workers: int | None = None,
    data_dir: str | Path | None = None,
    quiet: bool = False,
    **changes: Any,
) -> list[Row]:
    """Train a recipe over many seeds; a plain table with a row for each arm.

    `vary` maps fields of the recipe to values, an arm for each combination:
    {"logits_relu": [True, False]}. A run has converged when no class is dead and its test accuracy
    is at least `threshold`. With the `output` of an earlier call the study goes on.
    """
    from netinnet.studies import plan as plans
    from netinnet.studies import reliability as studies
    from netinnet.studies import tables
    from netinnet.studies.pages import reliability as page

    plan = studies.plan(
        _recipe(recipe, changes),
        name=recipe.network if not isinstance(recipe, str | Path) else Path(recipe).stem,
        vary=vary or {},
        seeds=plans.seeds(seeds, first_seed),
        threshold=threshold,
    )
    found = _conduct(plan, page.write, output, workers, data_dir, quiet)
    return tables.plain(studies.table(*found))


def ablate(
    *questions: str,
    recipe: str | Path | Recipe = "fashion",
    seeds: int = 5,
    first_seed: int = 0,
    output: str | Path | None = None,
    workers: int | None = None,
    data_dir: str | Path | None = None,
    quiet: bool = False,
    **changes: Any,
) -> list[Row]:
    """Change one thing of a NiN at a time; a plain table, a row for each arm, the baseline first.

    `questions` are those of `nin ablate`: "pointwise", "last-step", "dropout", "logits-relu",
    "head"; all if none is named. With the `output` of an earlier call the study goes on.
    """
    from netinnet.studies import ablation as studies
    from netinnet.studies import plan as plans
    from netinnet.studies import tables
    from netinnet.studies.pages import ablation as page

    plan = studies.plan(
        _recipe(recipe, changes), questions=questions, seeds=plans.seeds(seeds, first_seed)
    )
    found = _conduct(plan, page.write, output, workers, data_dir, quiet)
    return tables.plain(studies.table(*found))


def compare(
    *networks: str,
    seeds: int = 3,
    first_seed: int = 0,
    output: str | Path | None = None,
    workers: int | None = None,
    data_dir: str | Path | None = None,
    quiet: bool = False,
    **changes: Any,
) -> list[Row]:
    """Compare networks, each trained by its own recipe; a plain table with a row for each.

    `changes`, such as `epochs=2`, are the budget, the same for all. With the `output` of an earlier
    call the study goes on.
    """
    from netinnet.studies import comparison as studies
    from netinnet.studies import plan as plans
    from netinnet.studies import tables
    from netinnet.studies.pages import comparison as page

    plan = studies.plan(networks, seeds=plans.seeds(seeds, first_seed), **changes)
    found = _conduct(plan, page.write, output, workers, data_dir, quiet)
    return tables.plain(studies.table(*found))


def tune(
    recipe: str | Path | Recipe = "fashion",
    *,
    search: Sequence[str] = (),
    trials: int | None = 20,
    minutes: float | None = None,
    pruner: str = "median",
    storage: str | None = None,
    name: str = "tune",
    output: str | Path | None = None,
    workers: int | None = None,
    data_dir: str | Path | None = None,
    quiet: bool = False,
    **changes: Any,
) -> list[Row]:
    """Search for a better recipe on a validation split; a plain table with a row for each trial.

    `search` is what may be tried, as in ["learning_rate=0.01..0.5:log", "batch_size=64,128"], all
    that `nin tune` searches if empty. The best recipe is best.toml in the study's folder, which
    `train` takes. With the `output` of an earlier call the search goes on; searches that name one
    `storage` (the URL of an SQL database) share their trials.
    """
    from netinnet.cli.study_progress import StudyProgress
    from netinnet.studies import search as searches
    from netinnet.studies import search_space, tables, tuning
    from netinnet.studies.pages import tuning as page

    plan = tuning.plan(
        _recipe(recipe, changes),
        space=search_space.parse(search) if search else None,
        trials=trials,
        pruner=pruner,
        storage=storage,
        name=name,
    )
    with StudyProgress(quiet=quiet) as progress:
        found = searches.conduct(
            plan,
            output=None if output is None else Path(output),
            minutes=minutes,
            workers=workers,
            storage=storage,
            data_dir=None if data_dir is None else Path(data_dir),
            listener=progress,
            report=page.write,
        )
    return tables.plain(found.trials)


def _recipe(recipe: str | Path | Recipe, changes: dict[str, Any]) -> Recipe:
    """The recipe named or given, with single fields changed."""
    from netinnet.training import recipe as recipes

    if isinstance(recipe, recipes.Recipe):
        return recipe.replace(**changes)
    return recipes.load(str(recipe), **changes)


def _conduct(
    plan: Plan,
    report: Report,
    output: str | Path | None,
    workers: int | None,
    data_dir: str | Path | None,
    quiet: bool,
) -> tuple[Plan, list[Outcome]]:
    """Run a study with its progress on standard error."""
    from netinnet.cli.study_progress import StudyProgress
    from netinnet.studies import study

    with StudyProgress(quiet=quiet) as progress:
        plan, _, outcomes = study.conduct(
            plan,
            output=None if output is None else Path(output),
            workers=workers,
            data_dir=None if data_dir is None else Path(data_dir),
            listener=progress,
            report=report,
        )
    return plan, outcomes


def __getattr__(name: str) -> Any:
    """Classes that need heavier imports, brought in when first used."""
    if name == "Predictor":
        from netinnet.inference.predictor import Predictor

        return Predictor
    if name == "Recipe":
        from netinnet.training.recipe import Recipe

        return Recipe
    raise AttributeError(f"module 'netinnet' has no attribute '{name}'")
