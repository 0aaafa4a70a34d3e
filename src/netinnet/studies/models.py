"""The models that a study's recipes name: what runs start from, and what they learn from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from netinnet.inference import model_files
from netinnet.networks.network import Network
from netinnet.training import teaching
from netinnet.training.listening import Listener, data_progress
from netinnet.training.prepared import what_fits
from netinnet.training.recipe import Recipe
from netinnet.weights import Model


@dataclass
class Models:
    """Each is read once, so that all runs of a sitting have the same one."""

    listener: Listener = lambda event: None
    _read: dict[str, Model] = field(default_factory=dict)
    _said: set[str] = field(default_factory=set)

    def of(self, recipe: Recipe, network: Network) -> tuple[Model | None, Model | None]:
        """The pretrained model and the teacher of a run; how much of the first fits is said.

        Raises ModelError where one is not there or does not suit the network.
        """
        pretrained, teacher = self._find(recipe.pretrained), self._find(recipe.teacher)
        if pretrained is not None:
            self._say(what_fits(network, pretrained, str(recipe.pretrained)))
        if teacher is not None:
            teaching.check(network, teacher, str(recipe.teacher))
        return pretrained, teacher

    def _find(self, name: str | None) -> Model | None:
        if not name:
            return None
        if name not in self._read:
            self._read[name] = model_files.find(Path(name))
        return self._read[name]

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            data_progress(self.listener)(line, 0, None)
