"""A run is a folder; this is its layout, its log of events, and how to open one again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netinnet import weights
from netinnet.data import datasets
from netinnet.data.source import DatasetRecord
from netinnet.errors import ModelError, NetinnetError, RecipeError, nin
from netinnet.files import (
    folder_name,
    make_folder,
    new_dated_folder,
    remove_temporary,
    sync_folder,
    write_text,
    writing,
)
from netinnet.inference import model_files
from netinnet.networks import description_file
from netinnet.networks.network import Network
from netinnet.training import recipe as recipes
from netinnet.training.claim import LOCK_FILE, Claim, claimed
from netinnet.training.events import Event, Progress, Resume, Rollback, from_dict, step_of
from netinnet.training.recipe import Recipe
from netinnet.weights import Model

_FIRST = (
    "network.json",
    "dataset.json",
    "pictures.csv",
    "pretrained.safetensors",
    "teacher.safetensors",
)
"""What is written before a new run's recipe."""


class _File:
    """A run's attribute: the path of one of its files."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: Run, _kind: type[Run]) -> Path:
        return run.folder / self.name


@dataclass(frozen=True)
class Run:
    """The files of one run."""

    folder: Path

    recipe_file = _File("recipe.toml")
    network_file = _File("network.json")
    dataset_file = _File("dataset.json")
    events_file = _File("events.jsonl")
    checkpoints = _File("checkpoints")
    model_file = _File("model.safetensors")
    onnx_file = _File("model.onnx")
    metrics_file = _File("metrics.json")
    report_file = _File("report.html")
    pretrained_file = _File("pretrained.safetensors")
    teacher_file = _File("teacher.safetensors")

    @property
    def is_finished(self) -> bool:
        return self.metrics_file.is_file()

    def recipe(self) -> Recipe:
        return recipes.from_mapping(recipes.read_toml(self.recipe_file), str(self.recipe_file))

    def network(self) -> Network:
        """What is trained here, whatever its name stands for now. Raises NetworkError."""
        return description_file.read(self.network_file).network()

    def identity(self) -> str:
        """A digest of all that decides a training; a checkpoint is good for the same one only."""
        # As of 0.1.0, when the network's last line had no end.
        text = f"{self.recipe_file.read_text('utf-8')}\n{self.network_file.read_text('utf-8')}"
        return hashlib.sha256(text.removesuffix("\n").encode()).hexdigest()

    def dataset(self) -> DatasetRecord:
        """What the run keeps of its data set; runs of netinnet 0.1.0 had one with a name.

        Raises NetinnetError where it is damaged.
        """
        file = self.dataset_file
        try:
            return DatasetRecord.from_dict(file.read_text("utf-8", "replace"), str(file))
        except FileNotFoundError:
            return datasets.find(self.recipe().dataset).record()
        except OSError as error:
            raise ModelError(f"{file}: cannot be read ({error.strerror})") from error

    def metrics(self) -> dict[str, Any]:
        """The results of a finished run. Raises ModelError where it has none."""
        try:
            return {**json.loads(self.metrics_file.read_text("utf-8"))}
        except OSError:
            raise ModelError(f"{self.folder}: the run is not finished: it has no metrics") from None
        except (ValueError, TypeError, RecursionError) as error:
            cure = model_files.to_train_again(self.folder)
            raise ModelError(f"{self.metrics_file}: damaged ({error}); {cure}") from error

    def write_dataset(self, record: DatasetRecord) -> None:
        write_text(self.dataset_file, record.to_json(indent=1) + "\n")

    def model(self) -> Model:
        """The trained model. Raises ModelError where the run is not finished or is damaged."""
        return model_files.find(self.folder)

    def teacher(self) -> Model | None:
        """The copy of the model that the run learns from, if it has one. Raises ModelError."""
        return model_files.find(self.teacher_file) if self.recipe().teacher else None

    def log(self, event: Event) -> None:
        """Append one event as a line of JSON. A line that a crash cut off is closed first."""
        line = json.dumps(event.to_dict(), ensure_ascii=False).encode() + b"\n"
        with (
            writing(self.events_file, len(line)),
            self.events_file.open("a+b", buffering=0) as file,
        ):
            is_new = not file.seek(0, os.SEEK_END)
            if not is_new:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = b"\n" + line
            while line:  # a full disk may take a part of it, and says so of the rest only
                line = line[file.write(line) :]
            if not isinstance(event, Progress):
                os.fsync(file.fileno())
                if is_new:
                    sync_folder(self.folder)

    def claimed(self) -> contextlib.AbstractContextManager[Claim]:
        """Keep other processes from training in this folder. Raises NetinnetError."""
        return claimed(self.folder)

    def remove_checkpoints(self) -> None:
        for path in self.checkpoints.glob("*.safetensors"):
            with writing(path):
                path.unlink(missing_ok=True)

    def remove_temporary(self) -> None:
        """Remove half-written files that a kill left behind."""
        for folder in (self.folder, self.checkpoints):
            remove_temporary(folder)

    def events(self) -> list[Event]:
        """The events that count: what a resumed run did again is listed once.

        What is no event known here, such as a line that a crash cut off, is left out.
        """
        kept: list[Event] = []
        for event in self._logged():
            if isinstance(event, Resume):
                kept = _until(kept, event.step)
            if isinstance(event, Rollback):
                # One that a resumed run does again is listed once.
                kept = _until(kept, event.back_to, event.rollbacks)
            kept.append(event)
        return kept

    def _logged(self) -> Iterator[Event]:
        if not self.events_file.is_file():
            return
        for line in self.events_file.read_text("utf-8", errors="replace").split("\n"):
            try:
                event = from_dict(json.loads(line))
            except (ValueError, RecursionError):
                continue
            if event is not None:
                yield event


def _until(logged: list[Event], step: int, rollbacks: int = sys.maxsize) -> list[Event]:
    """The events up to a step; of rollbacks, which go on counting, those before one."""
    return [
        event
        for event in logged
        if (event.rollbacks < rollbacks if isinstance(event, Rollback) else step_of(event) <= step)
    ]


OWN_FILES = frozenset(
    {*(file.name for file in vars(Run).values() if isinstance(file, _File)), "pictures.csv"}
)
"""Names in a run's folder that are the run's own."""


def create(
    recipe: Recipe,
    network: Network,
    output: Path | None,
    data: DatasetRecord,
    pictures: str = "",
    pretrained: Model | None = None,
    teacher: Model | None = None,
) -> Run:
    """Make the folder of a new run: `output`, else runs/DATE-NETWORK-FRAMEWORK.

    `pictures` is the list of the data set's files, if it has one: it becomes pictures.csv.
    `pretrained` is the model it starts from, `teacher` the one it learns from: copies are kept.
    Raises NetinnetError where the folder has a run already or cannot be written.
    """
    if output is None:
        output = new_dated_folder(Path("runs"), f"{folder_name(network.name)}-{recipe.framework}")
    run = Run(output)
    _check_free(run)
    with writing(output):
        make_folder(run.checkpoints)
    with run.claimed():
        _check_free(run)
        run.remove_temporary()
        write_text(run.network_file, network.to_json() + "\n")
        run.write_dataset(data)
        if pictures:
            write_text(run.folder / "pictures.csv", pictures)
        if pretrained is not None:
            weights.save(run.pretrained_file, pretrained)
        if teacher is not None:
            weights.save(run.teacher_file, teacher)
        # The recipe last: a folder with a recipe is a run that can be resumed.
        write_text(run.recipe_file, recipe.to_toml())
    return run


def _check_free(run: Run) -> None:
    """Raise NetinnetError where a new run's folder holds one, or anything else."""
    output = run.folder
    if run.is_finished:
        raise NetinnetError(f"{output} holds a finished run already; choose another --output")
    if run.recipe_file.exists():
        raise NetinnetError(
            f"{output} holds a run already; {nin('train', '--resume', output)} continues "
            f"it, or choose another --output"
        )
    with writing(output):
        if output.is_dir() and not all(_is_left_behind(path) for path in output.iterdir()):
            raise NetinnetError(f"{output} is not empty; choose another --output")


def _is_left_behind(path: Path) -> bool:
    """Whether a start that was killed before its recipe was written can have left this."""
    if path.name == "checkpoints":
        return path.is_dir() and not any(path.iterdir())
    return path.name in (*_FIRST, LOCK_FILE) or path.name.endswith(".tmp")


def open_run(folder: Path) -> Run:
    """The run in a folder. Raises ModelError where there is none or its recipe is damaged."""
    run = Run(folder)
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such run folder{_runs_hint(folder)}")
    if not run.recipe_file.is_file():
        raise ModelError(f"{folder}: not a run folder, it has no recipe.toml{_runs_hint(folder)}")
    try:
        run.recipe()
    except RecipeError as error:
        raise ModelError(f"{folder}: its recipe is damaged: {error}") from error
    return run


def _runs_hint(folder: Path) -> str:
    """The newest run beside the one that was asked for, as a hint."""
    near = [p for p in (Path("runs"), folder.parent) if p.is_dir()]
    runs = [p for parent in near for p in parent.iterdir() if (p / "recipe.toml").is_file()]
    if not runs:
        return ""
    newest = max(runs, key=lambda p: p.stat().st_mtime)
    return f"; the newest run is {newest}"
