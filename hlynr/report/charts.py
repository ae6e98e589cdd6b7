"""Curves as text for terminals and logs: braille dots, or ASCII where the output has nothing else."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from rich.text import Text

from hlynr.report import text

ChartPoint = tuple[float, float]

BRAILLE = 0x2800
DOTS = np.array([(0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80)])
"""The bit of each dot of a braille character, by row and column. Source: Unicode chart U2800."""
MARGIN = 5
"""Least columns for the labels, so that stacked charts share their time axis."""
LEAST_SPAN = 0.1
"""Of the vertical axis; two decimals of a label distinguish its ends."""
BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Glyphs:
    """The characters of a chart and how many dots one of them holds."""

    dots: tuple[int, int]
    """Columns and rows."""
    level: str
    mark: str
    axis: tuple[str, str, str]
    """Beside a label, elsewhere up the side, and along the bottom."""
    corner: str
    full: str
    empty: str


BRAILLES = Glyphs(dots=(2, 4), level="┄", mark="◆", axis=("┤", "│", "─"), corner="└", full="█", empty="░")
ASCII = Glyphs(dots=(1, 1), level="-", mark="P", axis=("+", "|", "-"), corner="+", full="#", empty=".")


@dataclass(frozen=True)
class Edges:
    """The edges of a chart: timesteps at the right, from zero at the left, and values at bottom and top."""

    right: int
    bottom: float
    top: float

    def place(self, point: ChartPoint, columns: int, rows: int) -> tuple[int, int]:
        """Column and row of a point on a grid, counted from the upper left; a point outside is on the edge."""
        fractions = point[0] / self.right, (point[1] - self.bottom) / (self.top - self.bottom)
        across, up = np.clip(fractions, 0, 1).tolist()
        return round(across * (columns - 1)), round((1 - up) * (rows - 1))


def edges_around(values: Sequence[float], right: int) -> Edges:
    """Round numbers around finite values, of which there is at least one; noise is not blown up."""
    low, high = min(values), max(values)
    span = max(high - low, LEAST_SPAN)
    step = 10.0 ** math.floor(math.log10(span))
    if span / step < 2:
        step /= 4
    bottom, top = math.floor(low / step) * step, math.ceil(high / step) * step
    return Edges(right, bottom, top if top > bottom else bottom + step)


def extent(timesteps: int, budget: int) -> int:
    """The right edge: the budget, or the half, the quarter ... of it that still holds ``timesteps``.

    The last rollout of a training ends a little beyond its budget, which is no reason for an edge at 3.01 M.
    """
    right = budget if 0 < timesteps <= 1.02 * budget else max(timesteps, budget, 1)
    while right // 2 >= max(timesteps, 1):
        right //= 2
    return right


def chart(
    points: Sequence[ChartPoint],
    edges: Edges,
    write: Callable[[float], str],
    *,
    width: int,
    rows: int,
    glyphs: Glyphs,
    level: float | None = None,
    mark: ChartPoint | None = None,
) -> Text:
    """A curve through ``points`` with its axes, ``rows`` + 2 lines of at most ``width`` columns.

    Args:
        points: timesteps and value, in the order of time; those that are not finite leave a gap.
        write: formats a value for the vertical axis.
        level: a value to draw as a line across.
        mark: a point to mark, if it is finite.
    """

    def row_of(value: float) -> int:
        return edges.place((0, value), 1, rows * down)[1] // down

    across, down = glyphs.dots
    values = [edges.bottom, (edges.bottom + edges.top) / 2, edges.top, *([] if level is None else [level])]
    labels = {row_of(value): write(value) for value in values}  # the level is last: its label wins a shared row
    margin = max(MARGIN, *map(len, labels.values()))
    columns = width - margin - 2
    cells = np.full((rows, columns), " ")
    if level is not None:
        cells[row_of(level)] = glyphs.level
    patterns = _patterns(points, edges, columns, rows, glyphs)
    curve = patterns > 0
    cells[curve] = "*" if glyphs is ASCII else [chr(BRAILLE + pattern) for pattern in patterns[curve]]
    if mark is not None and math.isfinite(mark[1]):
        column, row = edges.place(mark, columns * across, rows * down)
        cells[row // down, column // across] = glyphs.mark
    return _assembled(["".join(line).rstrip() for line in cells], labels, margin, columns, edges.right, glyphs)


def bar(fraction: float, width: int, glyphs: Glyphs) -> str:
    """A bar that is full at 1."""
    full = round(min(max(fraction, 0.0), 1.0) * width)
    return glyphs.full * full + glyphs.empty * (width - full)


def spark(values: Sequence[float], width: int) -> str:
    """The course of values in at most ``width`` characters, from the lowest to the highest; ``!`` is no number."""
    stride = max((len(values) - 1) / (width - 1), 1.0)
    chosen = [values[round(k * stride)] for k in range(min(len(values), width))]
    finite = [value for value in chosen if math.isfinite(value)]
    if not finite:
        return ""
    low, span = min(finite), (max(finite) - min(finite)) or 1.0
    return "".join(
        BARS[round((value - low) / span * (len(BARS) - 1))] if math.isfinite(value) else "!" for value in chosen
    )


def _patterns(points: Sequence[ChartPoint], edges: Edges, columns: int, rows: int, glyphs: Glyphs) -> np.ndarray:
    """The bits of the dots in every character, (rows, columns), with a straight line between two points."""
    across, down = glyphs.dots
    dots = np.zeros((rows * down, columns * across), dtype=int)
    places = [edges.place(point, *dots.shape[::-1]) if math.isfinite(point[1]) else None for point in points]
    for start, end in pairwise([*places[:1], *places]):
        if end:
            (x, y), (to_x, to_y) = start or end, end
            steps = max(abs(to_x - x), abs(to_y - y), 1)
            way = np.arange(steps + 1)
            dots[
                np.rint(y + (to_y - y) * way / steps).astype(int), np.rint(x + (to_x - x) * way / steps).astype(int)
            ] = 1
    return np.asarray(np.einsum("rdca,da->rc", dots.reshape(rows, down, columns, across), DOTS[:down, :across]))


def _assembled(
    lines: Sequence[str], labels: dict[int, str], margin: int, columns: int, right: int, glyphs: Glyphs
) -> Text:
    styles = {glyphs.level: "yellow", glyphs.mark: "bold green", " ": ""}
    drawn = Text(no_wrap=True)
    for row, line in enumerate(lines):
        drawn.append(f"{labels.get(row, ''):>{margin}} {glyphs.axis[row not in labels]}")
        drawn.append_tokens((character, styles.get(character, "cyan")) for character in f"{line}\n")
    start, middle, end = text.timesteps(0), text.timesteps(right // 2), f"{text.timesteps(right)} timesteps"
    drawn.append(f"{'':{margin}} {glyphs.corner}{glyphs.axis[2] * columns}\n")
    return drawn.append(f"{'':{margin}}  {start:<{len(end)}}{middle.center(columns - 2 * len(end))}{end}")
