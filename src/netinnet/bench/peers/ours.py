"""netinnet's own training step, as `nin train` takes it, from the pictures to the metrics."""

from __future__ import annotations

import time
from typing import Any

from netinnet import process_memory
from netinnet.data import datasets
from netinnet.data.loader import ahead
from netinnet.training import parts, recipe
from netinnet.training.splits import training_batches


def measure(warmup: int, steps: int, recipe_name: str, **changes: Any) -> float:
    """Images/s of training steps of a shipped recipe with these fields changed."""
    wanted = recipe.load(recipe_name, **changes)
    train = datasets.load(wanted.dataset).train
    network = parts.network_for(wanted)
    learner = parts.learner_for(wanted, network, parts.facts_of(wanted))
    process_memory.keep_freed_memory()
    batches = learner.batches(training_batches(wanted, network, train))
    began = 0.0
    for step, batch in enumerate(ahead(batches, range(warmup + steps))):
        if step == warmup:
            began = time.perf_counter()
        logits = learner.step(batch.images, batch.targets, wanted.learning_rate, step + 1, step)
        float((logits.argmax(1) == batch.labels).sum())
    return wanted.batch_size * steps / (time.perf_counter() - began)
