"""`nin compare`: networks side by side on the same data."""

from __future__ import annotations

from netinnet import units
from netinnet.cli import study
from netinnet.cli.console import WholeNumber
from netinnet.cli.recipe_flags import RecipeFlags
from netinnet.cli.study import NO_FLAGS, StudyFlags
from netinnet.studies import comparison


def compare(
    *networks: str,
    seeds: WholeNumber | None = None,
    first_seed: WholeNumber | None = None,
    flags: StudyFlags = NO_FLAGS,
    overrides: RecipeFlags = None,
) -> None:
    """Compare networks: size, work, memory, speed and accuracy over several seeds.

    `nin`, `lenet`, `alexnet`, `vgg11` and `vgg11-quarter` are trained by the book's recipes, any
    other network by `fashion`, on Fashion-MNIST. A recipe's name (`fashion-best`, `cifar10`) in a
    network's place trains its network by that recipe. `--epochs`, `--train-examples`,
    `--image-size` or any other field of the recipe, if given, is the same for all. Ctrl-C saves all
    runs; `--resume`, or the same command with the same `--output`, continues, and more seeds may be
    added. To compare speeds, add `--workers 1`.

    Parameters
    ----------
    networks
        Networks of the zoo, shipped recipes, paths of recipes or of networks' descriptions (.toml,
        .json); nin-small, lenet, alexnet and vgg11-quarter if none is named.
    seeds
        Number of seeds, 3 if not given.
    first_seed
        The first of them; 0 if not given.
    """
    study.run(
        comparison.KIND,
        flags,
        overrides,
        decided={"networks": networks},
        seeds=(seeds, first_seed, 3),
        plan=lambda changes, seeds: comparison.plan(
            networks, seeds=seeds, data_dir=flags.data_dir, **changes
        ),
        headers={
            "network": lambda row: row.arm,
            "parameters": lambda row: units.count(row.parameters),
            "MACs": lambda row: units.operations(row.macs),
            # That of one picture's activations, and that of model.safetensors.
            "memory": lambda row: units.size(row.activation_bytes),
            "file": lambda row: units.size(row.file_bytes),
            "images/s": lambda row: units.rate(
                row.images_per_second.mean if row.images_per_second else None
            ),
            "time": study.seconds,
            "{judged} acc": study.accuracy,
        },
        right=(1, 2, 3, 4, 5, 6),
        rows="networks",
    )
