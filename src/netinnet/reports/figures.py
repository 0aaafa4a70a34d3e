"""Figures of a run as SVG or PNG bytes, made to be read in print: line styles and markers, not only
colours, and maps that stay in order in grey.

Only matplotlib's object-oriented interface is used, so nothing here touches a display, a global
style or another figure.
"""

from __future__ import annotations

import base64
import io
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, ParamSpec

import numpy as np
import numpy.typing as npt

from netinnet.data.source import Pictures
from netinnet.errors import NetinnetError
from netinnet.metrics import Exact
from netinnet.training.events import Evaluation, Event, Progress, of_kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
Format = Literal["svg", "png"]
ADD_FIGURES = "pip install 'netinnet[figures]'"

# Blue, orange and green that differ in lightness too (after Okabe and Ito).
_COLOURS = {"train": "#0b5fa5", "test": "#d1670b", "validation": "#3f8f5f"}
_STYLES = {"train": ("-", "o"), "test": ("--", "s"), "validation": (":", "^")}
_POINTS: dict[str, Any] = {"linewidth": 1.6, "markersize": 5, "markerfacecolor": "white"}
_SPLITS = {"train": "training", "test": "test", "validation": "validation"}
GREY = "#444444"

CURVE_POINTS = 250
"""More progress points than this are averaged in groups: a figure cannot show more."""

ANNOTATED_CLASSES = 20
"""Up to so many classes every cell of a confusion matrix has its count and every class its name."""

BARS = 40
"""The most bars in a figure; of more classes the worst are shown."""

COLUMNS = 5
"""Pictures beside each other in a grid."""


def are_available() -> bool:
    """Whether matplotlib is installed; it is an extra."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def require() -> None:
    """Raise NetinnetError where matplotlib is missing."""
    if not are_available():
        raise NetinnetError(f"figures need matplotlib; {ADD_FIGURES} adds it")


def drawn(figure: Callable[P, bytes], *args: P.args, **kwargs: P.kwargs) -> str | None:
    """A figure of this module's kind as the address of an SVG picture; None without matplotlib.

    Example: `drawn(learning_curves, events)`.
    """
    if not are_available():
        return None
    return f"data:image/svg+xml;base64,{base64.b64encode(figure(*args, **kwargs)).decode()}"


def learning_curves(events: Sequence[Event], form: Format = "svg") -> bytes:
    """Loss and accuracy over the epochs, from the Progress and Evaluation events.

    The thin line is made of single training batches, averaged where there are many; marked points
    stand for whole epochs. Training points are with dropout and augmentation, while the weights
    change: they may lie below test points.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(9.0, 3.6)
    loss, accuracy = figure.subplots(1, 2)
    steps, epochs = of_kind(events, Progress), of_kind(events, Evaluation)
    for axes, field in ((loss, "loss"), (accuracy, "accuracy")):
        x, y = _averaged(*_points((step.epoch, getattr(step, field)) for step in steps))
        axes.plot(x, y, color=_COLOURS["train"], linewidth=0.8, alpha=0.6, label="training batches")
        for split, (line, marker) in _STYLES.items():
            x, y = _points((e.epoch, e.figures[split][field]) for e in epochs if split in e.figures)
            if not len(x):
                continue
            look = {"color": _COLOURS[split], "linestyle": line, "marker": marker}
            axes.plot(x, y, **_POINTS, **look, label=_SPLITS[split])
        tidy(axes)
        axes.set_xlabel("epoch")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True))
    loss.set_ylabel("loss (cross-entropy, nats)")
    loss.set_ylim(bottom=0)
    percent_axis(accuracy.yaxis, "accuracy (%)")
    accuracy.set_ylim(top=1)
    legend_above(figure, loss, 4)
    return image_bytes(figure, form)


def confusion(
    matrix: Sequence[Sequence[int]], classes: Sequence[str], form: Format = "svg"
) -> bytes:
    """Heat map of a confusion matrix (true × predicted counts), dark where counts are high.

    Shades are shares of the true class, so that a rare class is as visible as a frequent one.
    """
    from matplotlib.colors import PowerNorm

    counts = np.asarray(matrix, np.int64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    few = len(classes) <= ANNOTATED_CLASSES
    side = max(3.4, 0.52 * len(classes)) if few else 7.0
    figure, axes = new_axes(side + 2.0, side + 1.1)
    # Mistakes are a few per cent; a square root gives them shades that can be told apart.
    image = axes.imshow(shares, cmap="Greys", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if few:
        names = [shortened(name, 18) for name in classes]
        axes.set_xticks(range(len(classes)), names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(classes)), names)
        axes.tick_params(length=0, labelsize=9)
        _annotate(axes, counts, shares)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, ticks=[0, 0.05, 0.25, 0.5, 1])
    bar.ax.set_yticklabels(["0", "5", "25", "50", "100"], fontsize=8)
    bar.set_label("share of the true class (%)", fontsize=9)
    bar.outline.set_visible(False)
    return image_bytes(figure, form)


def _annotate(axes: Axes, counts: npt.NDArray[np.int64], shares: npt.NDArray[Any]) -> None:
    """Write the counts into the cells, white on dark ones; zeros stay empty."""
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if np.sqrt(shares[row, column]) > 0.55 else "black"
            size = 8 if count < 10000 else 6.5
            # Inside the axes: measuring each for the layout would take most of the time.
            middle: dict[str, Any] = {"ha": "center", "va": "center", "in_layout": False}
            axes.text(column, row, str(count), **middle, fontsize=size, color=colour)
    axes.set_xticks(np.arange(len(counts) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(counts) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#dddddd", linewidth=0.6)
    axes.tick_params(which="minor", length=0)


def recall_bars(
    recall: Sequence[float | None], classes: Sequence[str], form: Format = "svg"
) -> bytes:
    """Share of each class that was found, the worst class at the top.

    A class without a picture has no bar; of more than `BARS` classes the worst are shown.
    """
    known = [
        (value, name) for value, name in zip(recall, classes, strict=True) if value is not None
    ]
    ranked = sorted(known, key=lambda pair: pair[0])[:BARS]
    figure, axes = new_axes(6.4, 0.9 + 0.28 * max(len(ranked), 2))
    values = [value for value, _ in ranked]
    axes.barh(range(len(ranked)), values, height=0.68, color=_COLOURS["train"])
    name_rows(axes, [shortened(name, 28) for _, name in ranked])
    for row, value in enumerate(values):
        axes.text(value + 0.01, row, f"{100 * value:.1f}", va="center", fontsize=8.5)
    axes.set_xlim(0, 1.1)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")
    which = f", the worst {len(ranked)} of {len(known)} classes" if len(ranked) < len(known) else ""
    axes.set_xlabel(f"recall (%){which}")
    tidy(axes, grid=False)  # every bar has its number
    return image_bytes(figure, form)


def reliability(
    diagram: Mapping[str, Sequence[Mapping[str, float]]], form: Format = "svg"
) -> bytes:
    """Accuracy over the probability of the most probable class, before and after scaling.

    `diagram` has lists of `count`, `confidence` and `accuracy` by those names. The size of a point
    says how many pictures it stands for.
    """
    figure = new_figure(5.0, 4.2)
    axes = figure.subplots()
    axes.plot((0, 1), (0, 1), color=GREY, linewidth=0.8, linestyle="--")
    for (name, bins), split in zip(diagram.items(), ("train", "test"), strict=False):
        x, y = ([b[field] for b in bins] for field in ("confidence", "accuracy"))
        most = max((b["count"] for b in bins), default=1)
        sizes = [8 + 80 * b["count"] / most for b in bins]
        axes.plot(x, y, color=_COLOURS[split], linewidth=0.8)
        axes.scatter(x, y, sizes, color=_COLOURS[split], alpha=0.7, label=name)
    for axis in (axes.xaxis, axes.yaxis):
        percent_axis(axis)
    axes.set_xlabel("probability of the most probable class (%)")
    axes.set_ylabel("accuracy (%)")
    axes.legend(frameon=False, fontsize=9)
    tidy(axes)
    return image_bytes(figure, form)


def picture_grid(pictures: Pictures, captions: Sequence[str], form: Format = "svg") -> bytes:
    """Pictures (uint8, n×h×w×c with 1 or 3 channels) in rows of five, each above its caption.

    A caption may have several lines; long lines are wrapped.
    """
    wrapped = [_wrap(caption) for caption in captions]
    columns = max(1, min(COLUMNS, len(wrapped)))
    rows = -(-len(wrapped) // columns)
    tile = 1.25  # inches
    lines = [
        max(text.count("\n") + 1 for text in wrapped[row * columns : (row + 1) * columns])
        for row in range(rows)
    ]
    heights = [tile + 0.16 * count + 0.18 for count in lines]
    width, height = 1.75 * columns, max(sum(heights), tile)
    figure = new_figure(width, height, layout=None)
    # All pictures are drawn in one axes whose unit is the inch: 25 axes would take a second.
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    for i, (picture, caption) in enumerate(zip(pictures, wrapped, strict=True)):
        centre = 1.75 * (i % columns) + 1.75 / 2
        top = sum(heights[: i // columns]) + 0.04
        _draw(axes, picture, centre, top, tile)
        axes.text(centre, top + tile + 0.05, caption, ha="center", va="top", fontsize=8.5)
    return image_bytes(figure, form)


def _draw(axes: Axes, picture: Pictures, centre: float, top: float, tile: float) -> None:
    """Draw one picture into a square of `tile` inches, keeping its proportions."""
    height, width = picture.shape[:2]
    x, y = tile * np.array([width, height]) / max(height, width) / 2
    middle = top + tile / 2
    axes.imshow(
        picture[..., 0] if picture.shape[2] == 1 else picture,
        cmap="gray",
        vmin=0,
        vmax=255,
        # A small picture shows its pixels, and is in an SVG as it is; a large one is averaged.
        interpolation="none" if max(height, width) < 128 else "antialiased",
        extent=(centre - x, centre + x, middle + y, middle - y),
        aspect="auto",
    )


def new_figure(
    width: float, height: float, layout: Literal["constrained"] | None = "constrained"
) -> Figure:
    """A white figure of that size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout, facecolor="white")


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of that size with one panel."""
    figure = new_figure(width, height)
    return figure, figure.subplots()


def new_grid(
    count: int, most: int, width: float, height: float, margin: float = 0.0, **options: Any
) -> tuple[Figure, Any]:
    """A figure of panels of so many inches, `most` beside each other; and its axes, row by row."""
    columns = min(most, count)
    rows = -(-count // columns)
    figure = new_figure(width * columns + margin, height * rows)
    grid = figure.subplots(rows, columns, squeeze=False, **options)
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    return figure, grid


def image_bytes(figure: Figure, form: Format) -> bytes:
    from matplotlib import rc_context

    buffer = io.BytesIO()
    # Without a date (SVG) the same run gives the same figure.
    metadata = {"Date": None, "Creator": None} if form == "svg" else None
    # A fixed salt: the names of clip paths would else be new each time.
    with warnings.catch_warnings(), rc_context({"svg.hashsalt": "netinnet"}):
        # A class name may be in a script that the font has not; the page has it as text.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format=form, dpi=150, metadata=metadata)
    return buffer.getvalue()


def tidy(axes: Axes, grid: bool = True) -> None:
    """No frame but the axes themselves, and a light grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    if grid:
        axes.grid(color="#e4e4e4", linewidth=0.7)
        axes.set_axisbelow(True)
    axes.tick_params(colors=GREY, labelsize=9)


def percent_axis(axis: Any, label: str = "") -> None:
    """The axis's shares as numbers of per cent; its label says so."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    if label:
        axis.set_label_text(label)


def legend_above(figure: Figure, axes: Axes, columns: int) -> None:
    """What the axes' lines and points mean, above all of the figure."""
    handles, labels = axes.get_legend_handles_labels()
    look: dict[str, Any] = {"ncols": columns, "frameon": False, "fontsize": 9}
    figure.legend(handles, labels, loc="outside upper center", **look)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """A name for each of the rows 0, 1, …, the first at the top."""
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def _points(points: Iterable[tuple[float, float | None]]) -> tuple[Exact, Exact]:
    """Epochs and values; one that was not finite (None) becomes NaN, a gap in the line."""
    pairs = np.array(list(points), np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _averaged(x: Exact, y: Exact) -> tuple[Exact, Exact]:
    """At most `CURVE_POINTS` points: means over groups of neighbours."""
    group = -(-len(x) // CURVE_POINTS)
    if group <= 1:
        return x, y
    starts = np.arange(0, len(x), group)
    sizes = np.diff(np.append(starts, len(x)))
    return np.add.reduceat(x, starts) / sizes, np.add.reduceat(y, starts) / sizes


def shortened(name: str, length: int) -> str:
    """A class name for an axis: one line, and an ellipsis for the middle of a long one.

    Long names often differ at their ends alone.
    """
    line = " ".join(name.split()) or "(no name)"
    if len(line) > length:
        line = f"{line[: length - length // 2 - 1]}…{line[-(length // 2) :]}"
    return _plain(line)


def _wrap(caption: str) -> str:
    """Wrap every line of a caption to the width of a picture; at most two lines each."""
    lines: list[str] = []
    for line in caption.splitlines():
        lines += textwrap.wrap(line, 24, max_lines=2, placeholder="…") or [""]
    return _plain("\n".join(lines))


def _plain(text: str) -> str:
    """Dollar signs escaped: matplotlib reads text between two of them as a formula."""
    return text.replace("$", r"\$")
