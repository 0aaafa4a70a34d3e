"""`nin ablate`: what each part of a NiN, or of its training, is good for."""

from __future__ import annotations

from netinnet import units
from netinnet.cli import study
from netinnet.cli.console import WholeNumber
from netinnet.cli.recipe_flags import RecipeFlags
from netinnet.cli.study import NO_FLAGS, StudyFlags
from netinnet.studies import ablation
from netinnet.studies.pages.page import difference


def ablate(
    *questions: str,
    recipe: str | None = None,
    seeds: WholeNumber | None = None,
    first_seed: WholeNumber | None = None,
    flags: StudyFlags = NO_FLAGS,
    overrides: RecipeFlags = None,
) -> None:
    """Change one thing of a NiN, or of its training, at a time and compare over the same seeds.

    The baseline is the recipe as it is. Each arm's accuracy is compared with the baseline's seed by
    seed; the interval is Student's, 95 %. Ctrl-C saves all runs; `--resume`, or the same command
    with the same `--output`, continues, and more seeds may be added.

    Parameters
    ----------
    questions
        What to change. Of the network: `pointwise` (1×1 convolutions in a block: 0, 1, 2, 3),
        `inner` (3×3 convolutions in their place), `last-step` (direct or gradual to the classes),
        `dropout`, `logits-relu`, `head` (global average pooling or a fully connected layer); all of
        these if none is named. Of the training: `flips`, `crops`, `erasing`, `mixup`, `cutmix`,
        `smoothing`, `averaging`, `recalibration`, `decay`, `schedule`, or `levers` for all of them.
    recipe
        A shipped recipe (`fashion` if not given) or the path of a TOML file.
    seeds
        Number of seeds, 5 if not given.
    first_seed
        The first of them; 0 if not given.
    """
    study.run(
        ablation.KIND,
        flags,
        overrides,
        decided={"recipe": recipe, "questions": questions},
        seeds=(seeds, first_seed, 5),
        plan=lambda changes, seeds: ablation.plan(
            recipe or "fashion",
            questions=questions,
            seeds=seeds,
            data_dir=flags.data_dir,
            **changes,
        ),
        headers={
            "arm": lambda row: row.arm,
            "{judged} acc": study.accuracy,
            "against baseline (95 %)": lambda row: difference(row.difference),
            "parameters": lambda row: units.count(row.parameters),
            "MACs": lambda row: units.operations(row.macs),
            "time": study.seconds,
        },
        right=(3, 4, 5),
    )
