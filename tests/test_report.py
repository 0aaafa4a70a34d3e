"""The report of a run: one file, complete, whatever the class names and however the run ended."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from netinnet import weights
from netinnet.data.source import Arrays
from netinnet.errors import ModelError, NetworkError
from netinnet.metrics import evaluate
from netinnet.networks import zoo
from netinnet.reports import figures
from netinnet.reports.html import write
from netinnet.training.events import Progress
from netinnet.weights import Model
from tests.html_parser import parse

CLASSES = ("<script>alert('x')</script>", "$5 & $6", "naïve \N{PILE OF POO}", "bag")
STEPS = 40
DATA_URI = re.compile(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)")


def _test_split(count: int = 60) -> Arrays:
    rng = np.random.default_rng(1)
    return Arrays(
        rng.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8), rng.integers(0, 4, count)
    )


def _evaluation(split: Arrays, epoch: int) -> dict[str, Any]:
    logits = np.random.default_rng(epoch).normal(size=(len(split), 4)).astype(np.float32)
    logits[np.arange(len(split)), split.labels] += epoch
    return evaluate(logits, split.labels).to_dict()


def _events(split: Arrays, epochs: int) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = [
        {
            "event": "start",
            "time": "2026-05-04T10:00:00+00:00",
            "run": "runs/x",
            "steps_per_epoch": STEPS,
            "epochs": 3,
            "network": "nin-small",
            "framework": "pytorch",
            "device": "cpu",
            "threads": 2,
            "versions": {"numpy": "2.4.6", "torch": "<2.13>"},
            "parameters": 1234,
            "cautions": [],
        }
    ]
    for step in range(1, STEPS * epochs + 1):
        events.append(
            {
                "event": "progress",
                "step": step,
                "epoch": step / STEPS,
                "loss": 2 / step,
                "accuracy": 1 - 1 / step,
                "images_per_second": 1000.0 + step,
                "learning_rate": 0.1,
                "seconds": step / 10,
                "seconds_of_step": 0.1,
            }
        )
        if step % STEPS == 0:
            event = {
                "event": "evaluation",
                "epoch": step // STEPS,
                "step": step,
                "seconds": step / 10,
                "train": {"loss": 0.5, "accuracy": 0.75},
                "test": _evaluation(split, step // STEPS),
            }
            events.append(event)
    return events


END = {"event": "end", "time": "2026-05-04T10:01:00+00:00", "step": 120, "seconds": 14.0}


class _Run:
    """A run folder to write events into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.split = _test_split()
        self.network = zoo.network("nin-small", classes=CLASSES)
        (folder / "network.json").write_text(self.network.to_json(), "utf-8")
        recipe = 'network = "nin-small"\ndataset = "fashion-mnist" # <b> & $x\nbatch_size = 106\n'
        (folder / "recipe.toml").write_text(recipe, "utf-8")

    def log(self, events: list[dict[str, Any]], tail: str = "") -> None:
        text = "".join(json.dumps(event) + "\n" for event in events)
        (self.folder / "events.jsonl").write_text(text + tail, "utf-8")

    def report(self, pictures: Arrays | None = None, train: Arrays | None = None) -> str:
        path = write(self.folder, pictures, train)
        assert path == self.folder / "report.html"
        return path.read_text("utf-8")


@pytest.fixture
def run(tmp_path: Path) -> _Run:
    return _Run(tmp_path)


def test_a_finished_run_has_everything(run: _Run) -> None:
    run.log([*_events(run.split, 3), END])
    page = run.report(run.split)
    parsed = parse(page)
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == [
        "Learning curves",
        "Confusion matrix",
        "Precision and recall by class",
        "The most confident mistakes",
        "Network",
        "Recipe",
        "Versions",
    ]
    assert "nin-small on fashion-mnist" in parsed.text
    test = _evaluation(run.split, 3)
    assert not test["suspects"]
    for text in (f"{100 * test['accuracy']:.1f}%", f"{test['loss']:.3f}", "12 s", "1,060"):
        assert f"<dd>{text}</dd>" in page
    assert "Finished 2026-05-04 10:01:00" in page
    assert "refresh" not in page
    assert len(DATA_URI.findall(page)) == 4
    assert "Dead class" not in page


def test_metrics_of_the_run_count_before_the_log(run: _Run) -> None:
    run.log([*_events(run.split, 1), END])
    metrics = {"images_per_second": 4321.4, "training_seconds": 3661}
    (run.folder / "metrics.json").write_text(json.dumps(metrics))
    page = run.report()
    assert "<dd>4,321</dd>" in page
    assert "<dd>1 h 01 min</dd>" in page


def test_the_page_needs_no_other_file(run: _Run) -> None:
    run.log([*_events(run.split, 3), END])
    page = run.report(run.split)
    parsed = parse(page)
    assert not {"script", "link", "iframe", "object", "embed"} & set(parsed.tags)
    outside = DATA_URI.sub("", page)
    assert not re.search(r"(?i)https?://|\burl\(|@import|//[a-z]+\.", outside)
    assert re.findall(r'src="(?!data:)', page) == []
    for data in DATA_URI.findall(page):
        svg = base64.b64decode(data).decode()
        # Addresses in a picture are names of vocabularies; nothing is loaded by them.
        assert re.findall(r'(?:href|src)="(?!#|data:)[^"]*"', svg) == []
        assert "<script" not in svg


def test_names_from_outside_are_escaped(run: _Run) -> None:
    dead = {"event": "dead_class", "epoch": 2, "step": 2 * STEPS, "class": CLASSES[0]}
    start, *rest = _events(run.split, 2)
    run.log([{**start, "cautions": ["ReLU <i>behind</i> the logits"]}, *rest, dead])
    page = run.report(run.split)
    parsed = parse(page)
    assert "<script" not in page
    assert {"i", "b"}.isdisjoint(parsed.tags)
    assert f"Dead class: {CLASSES[0]} (first in epoch 2)." in parsed.text
    assert "logits_relu = false" in parsed.text
    assert "ReLU <i>behind</i> the logits." in parsed.text
    for text in (*CLASSES, "<2.13>", "# <b> & $x"):
        assert text in parsed.text


def test_names_in_attributes_are_escaped(run: _Run) -> None:
    """A picture's alternative text names classes, and so does the picture."""
    names = ('"><script>alert(1)</script>', "' onerror='alert(2)", "</svg><b>", "&lt;i&gt;")
    network = zoo.network("nin-small", classes=names)
    (run.folder / "network.json").write_text(network.to_json(), "utf-8")
    run.log([*_events(run.split, 1), END])
    page = run.report(run.split)
    parsed = parse(page)
    assert {"script", "b", "i", "svg"}.isdisjoint(parsed.tags)
    assert parsed.values("onerror") == []
    mistakes = _evaluation(run.split, 1)["mistakes"]
    suspects = _evaluation(run.split, 1)["suspects"]
    assert len(suspects) > 0
    assert parsed.values("alt")[-len(suspects) :] == [
        f"{names[s['label']]} → {names[s['rather']]}?\n{100 * s['probability']:.1f}% "
        f"{names[s['label']]}"
        for s in suspects
    ]
    assert parsed.values("alt")[-len(suspects) - 1] == "; ".join(
        f"{names[m['label']]} → {names[m['predicted']]} {100 * m['probability']:.1f}%"
        for m in mistakes
    )
    for data in DATA_URI.findall(page):
        assert b"<script" not in base64.b64decode(data)


def test_without_matplotlib_a_report_says_how_to_get_figures(
    run: _Run, without_matplotlib: None
) -> None:
    run.log([*_events(run.split, 3), END])
    page = run.report()
    parsed = parse(page)
    assert "img" not in parsed.tags
    assert parsed.text.count("pip install 'netinnet[figures]' adds them") == 1
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    about = ["Precision and recall by class", "Network", "Recipe", "Versions"]
    assert headings == ["Learning curves", *about]
    assert "All epochs" in page


def test_a_class_that_came_back_is_no_longer_a_warning(run: _Run) -> None:
    dead = {"event": "dead_class", "epoch": 1, "step": STEPS, "class": "bag"}
    run.log([*_events(run.split, 2), dead])
    assert "Dead class" not in run.report()


def test_an_unfinished_run_reloads_and_says_how_far_it_is(run: _Run) -> None:
    run.log(_events(run.split, 2))
    page = run.report()
    assert '<meta http-equiv="refresh" content="10">' in page
    assert "Running: step 80 of 120" in page
    assert '<progress value="80" max="120">' in page
    assert "mistakes" not in page


def test_an_interrupted_run_says_how_to_go_on(run: _Run) -> None:
    stop = {"event": "interrupted", "time": "2026-05-04T10:01:00", "step": 47, "signal": "SIGINT"}
    run.log([*_events(run.split, 1), stop])
    page = run.report()
    assert "Interrupted at step 47 of 120" in page
    assert f"nin train --resume {run.folder}" in page
    assert 'http-equiv="refresh"' in page


def test_what_a_resumed_run_does_again_is_shown_once(run: _Run) -> None:
    events = _events(run.split, 2)
    resume = {"event": "resume", "time": "2026-05-04T11:00:00", "step": STEPS + 3}
    run.log([*events, resume, events[0]])
    page = run.report()
    assert "Running: step 43 of 120" in page
    assert page.count("<tr><td class='n'>1</td>") == 1
    assert "<tr><td class='n'>2</td>" not in page


@pytest.mark.parametrize("tail", ['{"event": "evaluation", "epoch": 3, "te', "\0\0\0", "\ud800"])
def test_a_line_cut_off_by_a_crash_is_left_out(run: _Run, tail: str) -> None:
    run.log(_events(run.split, 2))
    with (run.folder / "events.jsonl").open("ab") as file:
        file.write(tail.encode("utf-8", "surrogatepass"))
    assert "Running: step 80 of 120" in run.report(run.split)


def test_before_the_first_event_and_the_first_epoch(run: _Run) -> None:
    assert "Not started yet" in run.report(run.split)
    run.log(_events(run.split, 1)[:1])
    assert "Running: step 0 of 120" in run.report(run.split)
    run.log(_events(run.split, 1)[:5])
    page = run.report(run.split)
    assert "Learning curves" in page
    assert "Confusion" not in page


def test_numbers_that_are_not_finite_do_not_stop_the_report(run: _Run) -> None:
    events = _events(run.split, 1)
    logits = np.full((len(run.split), 4), np.nan, np.float32)
    events[-1]["test"] = evaluate(logits, run.split.labels).to_dict()
    run.log(events)
    assert "<dd>not finite</dd>" in run.report(run.split)


def test_without_class_examples_recall_is_a_dash(run: _Run) -> None:
    run.split = Arrays(run.split.images, np.minimum(run.split.labels, 2))
    run.log(_events(run.split, 1))
    assert "<td>bag</td><td class='n'>0</td><td class='n'>0</td><td class='n'>–</td>" in (
        run.report(run.split)
    )


def test_precision_is_the_share_of_what_was_taken_for_a_class(run: _Run) -> None:
    events = _events(run.split, 1)
    matrix = [[8, 2, 0, 0], [1, 9, 0, 0], [0, 1, 0, 0], [3, 0, 0, 0]]
    events[-1]["test"] |= {"confusion": matrix, "recall": [0.8, 0.9, 0.0, 0.0]}
    run.log(events)
    page = run.report()
    for name, cells in (("bag", "3 0 0.0% –"), ("$5 &amp; $6", "10 9 90.0% 75.0%")):
        numbers = "".join(f"<td class='n'>{cell}</td>" for cell in cells.split())
        assert f"<td>{name}</td>{numbers}" in page


def _headings(page: str) -> list[str]:
    return re.findall(r"<h[23]>(.*?)</h[23]>", page)


def test_training_pictures_as_they_are_and_as_the_network_sees_them(run: _Run) -> None:
    run.log(_events(run.split, 1))
    train = Arrays(np.full((30, 28, 28, 1), 100, np.uint8), np.arange(30) % 3)
    parsed = parse(page := run.report(None, train))
    assert "Training pictures" in _headings(page)
    assert "As the network sees them" not in _headings(page)
    alt = parsed.values("alt")
    # Of the last class there is no picture.
    assert [alt.count(name) for name in run.network.classes] == [5, 5, 5, 0]
    with (run.folder / "recipe.toml").open("a") as file:
        file.write("random_erasing = 1.0\n")
    parsed = parse(page := run.report(None, train))
    assert "As the network sees them" in _headings(page)
    shown = [_pixels(src) for src in parsed.values("src") if src.startswith("data:image/png")]
    assert len(shown) == 15 + 12
    assert all((picture == 100).all() for picture in shown[:15])
    # Normalised and back: what was not erased has its value.
    assert all(0.5 < (picture == 100).mean() < 1 for picture in shown[15:])


def _pixels(source: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))


def test_where_the_network_looked_is_shown_once_there_is_a_model(run: _Run) -> None:
    run.log([*_events(run.split, 1), END])
    assert "Where the network looked" not in _headings(run.report(run.split))
    model = Model(run.network, weights.initial(run.network, 0))
    weights.save(run.folder / "model.safetensors", model)
    (run.folder / "metrics.json").write_text("{}")
    parsed = parse(page := run.report(run.split))
    assert "Where the network looked" in _headings(page)
    assert sum(src.startswith("data:image/jpeg") for src in parsed.values("src")) == 10
    worst = _evaluation(run.split, 1)["mistakes"][0]
    label, predicted = (run.network.classes[worst[key]] for key in ("label", "predicted"))
    assert f"\n{label} → {predicted}\n" in parsed.text


def test_pictures_that_fail_never_fail_the_report(run: _Run) -> None:
    class Gone(Arrays):
        def pictures(self, indices: Any) -> Any:
            raise OSError("the disk <b>is gone</b>")

    run.log([*_events(run.split, 1), END])
    (run.folder / "metrics.json").write_text("{}")  # and no model
    text = parse(run.report(run.split, Gone(run.split.images, run.split.labels))).text
    assert "Pictures that could not be shown: samples: the disk <b>is gone</b>" in text
    assert "Pictures that could not be shown: looked: " in text
    assert "Labels that are perhaps wrong" in text


def test_runs_of_before_have_no_suspects(run: _Run) -> None:
    events = _events(run.split, 1)
    del events[-1]["test"]["suspects"]
    run.log(events)
    assert "Labels that are perhaps wrong" not in run.report(run.split)


@pytest.mark.parametrize("missing", ["network.json", "recipe.toml"])
def test_a_folder_that_is_no_run(run: _Run, missing: str) -> None:
    (run.folder / missing).unlink()
    with pytest.raises(ModelError, match=rf"{missing}: cannot be read .* is this a run folder\?"):
        run.report()


def test_damaged_descriptions_are_named(run: _Run) -> None:
    (run.folder / "metrics.json").write_text("{")
    with pytest.raises(ModelError, match=r"metrics\.json: damaged"):
        run.report()
    (run.folder / "network.json").write_text("{}")
    (run.folder / "metrics.json").unlink()
    with pytest.raises(NetworkError):
        run.report()


@pytest.mark.parametrize("form", ["svg", "png"])
def test_figures_of_many_classes_and_of_one(form: figures.Format) -> None:
    magic = {"svg": b"<?xml", "png": b"\x89PNG"}[form]
    many = [f"a rather long class name, number {i}" for i in range(120)]
    rng = np.random.default_rng(0)
    recall = [None, *rng.random(119)]
    for classes, share, matrix in (
        (many, recall, rng.integers(0, 9, (120, 120)).tolist()),
        (["only"], [None], [[0]]),
    ):
        assert figures.confusion(matrix, classes, form).startswith(magic)
        assert figures.recall_bars(share, classes, form).startswith(magic)
    assert figures.learning_curves([], form).startswith(magic)


@pytest.mark.parametrize("shape", [(1, 28, 28, 1), (7, 300, 120, 3), (0, 8, 8, 1)])
def test_picture_grids_take_any_size(shape: tuple[int, ...]) -> None:
    captions = ["one word\n12%", "several words that are far too long to stand in one line"]
    texts = [captions[i % 2] for i in range(shape[0])]
    assert figures.picture_grid(np.zeros(shape, np.uint8), texts).startswith(b"<?xml")


def test_a_long_log_does_not_make_large_curves() -> None:
    """More progress events than points in the figure do not make it larger."""
    long = [Progress(i, i / 5000, 1.0, 0.5, 100.0, 0.1, i / 100, 0.01) for i in range(1, 20001)]
    assert len(figures.learning_curves(long)) < 100_000
