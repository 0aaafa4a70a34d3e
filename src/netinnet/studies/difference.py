"""What differs between two plans of studies, in words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from netinnet.studies.fields import value_text

if TYPE_CHECKING:
    from netinnet.studies.plan import Plan, SearchPlan


def words(there: Plan | SearchPlan, here: Plan | SearchPlan) -> str:
    """The first thing that differs, as in "epochs: 1 there, 2 here"; "" where none is known.

    Seeds and a search's trials may differ: a study may grow.
    """
    for name, old, new in _pairs(there, here):
        if old != new:
            return f"{name}: {_text(old)} there, {_text(new)} here"
    return ""


def _pairs(there: Plan | SearchPlan, here: Plan | SearchPlan) -> Iterator[tuple[str, Any, Any]]:
    yield "kind", there.kind, here.kind
    yield "arms", [arm.name for arm in there.arms], [arm.name for arm in here.arms]
    for old, new in zip(there.arms, here.arms, strict=True):
        arm = f"{new.name}: " if len(here.arms) > 1 else ""
        for name, value in vars(new.recipe).items():
            # Of many seeds the recipe's own is none; a search has that one alone.
            if name != "seed" or here.kind == "tune":
                yield f"{arm}{name}", getattr(old.recipe, name), value
    settings = there.settings | here.settings
    for name in settings:
        if name != "trials":
            yield name, there.settings.get(name), here.settings.get(name)
    for name in there.data.keys() & here.data.keys():
        yield f"digest of {name}", there.data[name].digest, here.data[name].digest
    for old, new in zip(there.arms, here.arms, strict=True):
        yield f"{new.name}: facts of {new.recipe.dataset}", vars(old.facts), vars(new.facts)
        name = f"{new.name}: what {new.recipe.network} stands for"
        yield name, _short(old.base.to_json()), _short(new.base.to_json())


def _short(text: str) -> str:
    return f"{hashlib.sha256(text.encode()).hexdigest()[:12]}…"


def _text(value: Any) -> str:
    if value is None:
        return "not given"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value_text(value)
