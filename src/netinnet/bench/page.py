"""Results as a page in Markdown with figures: what `nin bench --output` leaves to be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from netinnet import units
from netinnet.bench import roofline_page
from netinnet.bench.contests import QUICK
from netinnet.bench.roofline import Roofline
from netinnet.bench.scaling import Point
from netinnet.bench.tables import markdown_table
from netinnet.bench.verdict import Spread, Verdict
from netinnet.errors import NetinnetError
from netinnet.files import write_bytes, write_text
from netinnet.reports import figures

PAGE, HEADING = "bench.md", "# How fast netinnet is"
HEADERS = (
    "",
    "median",
    "range",
    "rounds",
    "memory",
    "peak, GFLOP/s",
    "as fast as the fastest peer",
)
VARIED = {
    "batch": "batch",
    "width": "width",
    "image_size": "picture's side, pixels",
    "threads": "threads",
    "pictures": "pictures trained on",
    "processes": "processes of one thread",
}
SCALING_HEADERS = (
    *("", "images/s", "GFLOP/s", "of the peak", "memory measured", "memory computed"),
)


def cells(verdict: Verdict) -> list[tuple[str, ...]]:
    """A line of texts for each row, below HEADERS."""
    return [
        (
            f"{row.name} (fastest peer)" if row.name == verdict.fastest_peer else row.name,
            _number(verdict, row.value.median),
            f"{_number(verdict, row.value.low)} to {_number(verdict, row.value.high)}",
            str(row.rounds),
            units.size(row.memory),
            f"{row.peak / 1e9:.0f}",
            "" if row.ratio is None else ratio_text(row.ratio),
        )
        for row in verdict.rows
    ]


def ratio_text(ratio: Spread) -> str:
    """Median and range of the rounds' ratios, and whether they leave it open which is faster."""
    text = f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
    return text if ratio.is_clear else f"{text}, too noisy to tell"


def scaling_cells(points: Sequence[Point]) -> list[tuple[str, ...]]:
    """A line of texts for each point, below SCALING_HEADERS."""
    return [
        (
            f"{VARIED[point.varied]} {point.value:g}",
            units.rate(point.images_per_second),
            f"{point.flops_per_second / 1e9:.0f}",
            units.percent(point.flops_per_second / point.peak_flops_per_second, 0),
            units.size(point.bytes_measured),
            units.size(point.bytes_computed),
        )
        for point in points
    ]


def _number(verdict: Verdict, value: float) -> str:
    return f"{value:.3f}" if verdict.contest.less_is_better else units.rate(value)


def section(verdict: Verdict) -> str:
    """A contest as Markdown: title, unit, table, who is missing."""
    contest = verdict.contest
    order = "less" if contest.less_is_better else "more"
    quick = " --quick" if contest.size == QUICK.name else ""
    text = (
        f"## {contest.title}\n\n`nin bench {contest.name}{quick}`, {contest.unit}: {order} is "
        f"better.\n\n"
    )
    text += markdown_table(HEADERS, cells(verdict))
    for name, reason in verdict.left_out.items():
        text += f"\nLeft out: {name}: {reason}.\n"
    return text


def check_own(folder: Path) -> None:
    """Raise NetinnetError where the folder's page is not one of `write`: it is not written over."""
    page = folder / PAGE
    if page.exists() and not page.read_text("utf-8", errors="replace").startswith(HEADING):
        raise NetinnetError(f"{page} is no page of nin bench; choose another --output")


def write(
    folder: Path,
    verdicts: Sequence[Verdict],
    points: Sequence[Point],
    roofs: Sequence[Roofline],
    where: str,
) -> Path:
    """The page with all that the folder holds, and its figures where matplotlib is. Its path."""
    parts = [f"{HEADING}\n\n{where}\n"]
    for verdict in verdicts:
        parts.append(section(verdict))
        if figures.are_available():
            name = f"{verdict.contest.name}.svg"
            write_bytes(folder / name, bars(verdict))
            parts.append(f"![{verdict.contest.title}]({name})\n")
    if points:
        parts.append(
            "## Training nin-small: batch, width, size, threads, pictures, processes\n\n"
            "`nin bench scaling`: PyTorch, a fresh process a line; FLOPs and bytes computed from "
            "the description. Pictures and processes: an epoch of `nin train`, whose memory is "
            "the leading process's with all that it imports, and computed as a process with "
            "PyTorch, the pictures and a step.\n\n"
            + markdown_table(SCALING_HEADERS, scaling_cells(points))
        )
        if figures.are_available():
            write_bytes(folder / "scaling.svg", curves(points))
            parts.append("![Speed and memory against each](scaling.svg)\n")
    parts += [roofline_page.section(roof) for roof in roofs]
    if roofs and figures.are_available():
        write_bytes(folder / "roofline.svg", roofline_page.figure(roofs))
        parts.append("![Speed of each layer against what it computes a byte](roofline.svg)\n")
    page = folder / PAGE
    write_text(page, "\n".join(parts))
    return page


def bars(verdict: Verdict, form: figures.Format = "svg") -> bytes:
    """A bar for each contestant, its range as a line; ours dark, peers light."""
    rows = verdict.rows
    figure, axes = figures.new_axes(7.2, 0.9 + 0.34 * max(len(rows), 2))
    for place, row in enumerate(rows):
        value = row.value
        colour = "#0b5fa5" if row.is_ours else "#b9c4cf"
        axes.barh(place, value.median, height=0.66, color=colour)
        axes.plot((value.low, value.high), (place, place), color=figures.GREY, linewidth=1.2)
        text = f"  {_number(verdict, value.median)}"
        axes.text(max(value.high, value.median), place, text, va="center", fontsize=8.5)
    figures.name_rows(axes, [row.name for row in rows])
    axes.set_xlim(0, 1.15 * max(row.value.high for row in rows))
    order = "less" if verdict.contest.less_is_better else "more"
    axes.set_xlabel(f"{verdict.contest.unit} ({order} is better)")
    figures.tidy(axes, grid=False)
    return figures.image_bytes(figure, form)


def curves(points: Sequence[Point], form: figures.Format = "svg") -> bytes:
    """For each thing varied: GFLOP/s reached and the peak; memory measured and computed."""
    kinds = list(dict.fromkeys(point.varied for point in points))
    figure = figures.new_figure(2.6 * len(kinds), 5.0)
    grid = figure.subplots(2, len(kinds), squeeze=False)
    for column, varied in enumerate(kinds):
        chosen = [point for point in points if point.varied == varied]
        x = [point.value for point in chosen]
        speed, memory = grid[0][column], grid[1][column]
        reached = [point.flops_per_second / 1e9 for point in chosen]
        speed.plot(x, reached, "-o", color="#0b5fa5", label="reached")
        peak = [point.peak_flops_per_second / 1e9 for point in chosen]
        speed.plot(x, peak, "--", color=figures.GREY, label="matrix product")
        computed = [(p.value, p.bytes_computed) for p in chosen if p.bytes_computed is not None]
        memory.plot(*_megabytes(computed), "--", color=figures.GREY, label="computed")
        known = [(p.value, p.bytes_measured) for p in chosen if p.bytes_measured is not None]
        memory.plot(*_megabytes(known), "o", color="#d1670b", label="measured")
        for axes in (speed, memory):
            axes.set_xscale("log", base=2)
            axes.set_xticks(x, [f"{value:g}" for value in x], fontsize=8)
            axes.set_xticks([], minor=True)
            if axes is speed or computed or known:
                axes.set_ylim(0, 1.08 * axes.dataLim.ymax)
            figures.tidy(axes)
        memory.set_xlabel(VARIED[varied])
        if not column:
            speed.set_ylabel("GFLOP/s")
            memory.set_ylabel("memory, MB")
            for axes in (speed, memory):
                axes.legend(frameon=False, fontsize=8)
    return figures.image_bytes(figure, form)


def _megabytes(points: Sequence[tuple[float, int]]) -> tuple[list[float], list[float]]:
    """Values and MB, which may be none."""
    return [value for value, _ in points], [size / 1e6 for _, size in points]
