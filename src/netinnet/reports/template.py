"""Pages by Jinja2, from the templates beside this module: every text from outside is escaped."""

from __future__ import annotations

import datetime
import functools
from typing import TYPE_CHECKING, Any

from netinnet import units
from netinnet.reports import figures

if TYPE_CHECKING:
    from jinja2 import Environment


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("netinnet.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["units"] = units
    return environment


def render(template: str, **data: Any) -> str:
    """The page that a template makes of plain data; each name it uses must be given.

    Example: `render("run.html", title="nin-small on fashion-mnist", …)`.
    """
    now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
    page = _environment().get_template(template)
    return page.render(
        data, now=now, has_figures=figures.are_available(), add_figures=figures.ADD_FIGURES
    )
