"""Events as objects, as lines of JSON, and as tables of the documentation."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest

from netinnet.studies import events as study_events
from netinnet.training import events
from netinnet.training.events import DeadClass, Evaluation, Event, OnnxFailed, Start, from_dict
from netinnet.training.run import Run

ROOT = Path(__file__).parent.parent
LOGS = sorted((ROOT / "tests/fixtures/0.1.0").rglob("events.jsonl"))
START = Start("t", "runs/x", 9, 2, "nin", "jax", "cpu", None, {"jax": "0.8"}, 10, ["a caution"])


@pytest.mark.parametrize("log", LOGS, ids=lambda path: path.parent.name)
def test_the_lines_of_0_1_0_are_those_of_today(log: Path) -> None:
    lines = log.read_text("utf-8").splitlines()
    read = [from_dict(json.loads(line)) for line in lines]
    assert [event and json.dumps(event.to_dict(), ensure_ascii=False) for event in read] == lines


def test_json_has_what_is_given_in_the_order_of_the_fields() -> None:
    assert DeadClass(1, 9, "Coat").to_dict() == {
        "event": "dead_class",
        "epoch": 1,
        "step": 9,
        "class": "Coat",
    }
    figures = {"loss": None, "accuracy": 0.5}
    evaluation = Evaluation(1, 9, 0.5, train=figures, validation=figures)
    assert list(evaluation.to_dict()) == [
        "event",
        "epoch",
        "step",
        "seconds",
        "train",
        "validation",
    ]
    assert evaluation.figures == {"train": figures, "validation": figures}
    # What may be None but has to be given stays: a framework without a number of threads.
    assert START.to_dict()["threads"] is None
    for event in (DeadClass(1, 9, "Coat"), evaluation, START):
        assert from_dict(json.loads(json.dumps(event.to_dict()))) == event


@pytest.mark.parametrize(
    "line",
    ['{"event": "of the future"}', '{"event": "onnx_failed"}', '{"event": ["x"]}', "[1]", '{"e'],
)
def test_what_is_no_known_event_is_left_out(line: str, tmp_path: Path) -> None:
    known = OnnxFailed("disk full")
    more = {**known.to_dict(), "a field of the future": 1}
    (tmp_path / "events.jsonl").write_text(f"{line}\n{json.dumps(more)}\n")
    assert Run(tmp_path).events() == [known]


def test_events_cannot_be_changed_and_are_all_listed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        START.epochs = 3  # type: ignore[misc]
    for module, kinds in (
        (events, (*events.LOGGED, *events.HEARD)),
        (study_events, (*study_events.HEARD, *study_events.TOLD, study_events.WorkerEnd)),
    ):
        made = {
            kind
            for kind in vars(module).values()
            if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
        }
        assert made == {*kinds}


def test_the_documentation_has_the_tables_of_today() -> None:
    spec = importlib.util.spec_from_file_location("docs_tables", ROOT / "tools/docs_tables.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    page = tool.FILE.read_text("utf-8")
    assert tool.renewed(page) == page, "make docs-tables writes them anew"
    stale = page.replace("| `dead_class` | ", "| `dead_class` | At times, ")
    assert tool.renewed(stale) == page
