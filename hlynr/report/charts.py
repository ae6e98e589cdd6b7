"""Curves as text for terminals and logs: braille dots, or ASCII where the output has nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from hlynr.report import text

if TYPE_CHECKING:
    from rich.text import Text

Point = tuple[float, float]

BRAILLE = 0x2800
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot of a braille character, by row and column. Source: Unicode chart U2800."""
MARGIN = 5
"""Columns for the labels beside an axis, so that charts one above the other have one time axis."""
LEAST_SPAN = 0.1
"""Of a frame; two decimals of a label can tell its ends apart."""
BARS = "▁▂▃▄▅▆▇█"
STYLES = {"curve": "cyan", "level": "yellow", "mark": "bold green"}


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
class Frame:
    """What the edges of a chart stand for; the left one is zero timesteps."""

    right: int
    bottom: float
    top: float

    def cell(self, point: Point, columns: int, rows: int, dots: tuple[int, int]) -> tuple[int, int]:
        """Column and row of the character that holds a point's dot."""
        across, down = self.place(point, columns * dots[0], rows * dots[1])
        return across // dots[0], down // dots[1]

    def place(self, point: Point, columns: int, rows: int) -> tuple[int, int]:
        """Column and row of a point on a grid, counted from the upper left; what lies outside is on the edge."""
        across, up = point[0] / self.right, (point[1] - self.bottom) / (self.top - self.bottom)
        return round(_within(across) * (columns - 1)), round((1 - _within(up)) * (rows - 1))


def frame(values: Sequence[float], right: int) -> Frame:
    """A frame with round numbers around finite values, of which there is at least one; noise is not blown up."""
    low, high = min(values), max(values)
    span = max(high - low, LEAST_SPAN)
    step = 10.0 ** math.floor(math.log10(span))
    if span / step < 2:
        step /= 4
    bottom, top = math.floor(low / step) * step, math.ceil(high / step) * step
    return Frame(right, bottom, top if top > bottom else bottom + step)


def extent(timesteps: int, budget: int) -> int:
    """The right edge: the budget, or the half, the quarter ... of it that still holds ``timesteps``.

    The last rollout of a training ends a little beyond its budget, which is no reason for an edge at 3.01 M.
    """
    right = budget if 0 < timesteps <= 1.02 * budget else max(timesteps, budget, 1)
    while right // 2 >= max(timesteps, 1):
        right //= 2
    return right


def chart(
    points: Sequence[Point],
    edges: Frame,
    write: Callable[[float], str],
    *,
    width: int,
    rows: int,
    glyphs: Glyphs,
    level: float | None = None,
    mark: Point | None = None,
) -> Text:
    """A curve through ``points`` with its axes, ``rows`` + 2 lines of at most ``width`` columns.

    Args:
        points: timesteps and value, in the order of time; those that are not finite leave a gap.
        write: how a value stands beside the axis.
        level: a value to draw as a line across.
        mark: a point to mark, if it is finite.
    """
    labels = {edges.cell((0, value), 1, rows, glyphs.dots)[1]: write(value) for value in _ticks(edges, level)}
    margin = max(MARGIN, *map(len, labels.values()))
    columns = width - margin - 2
    cells = [[(" ", "")] * columns for _ in range(rows)]
    if level is not None:
        cells[edges.cell((0, level), 1, rows, glyphs.dots)[1]] = [(glyphs.level, "level")] * columns
    for (column, row), character in _curve(points, edges, columns, rows, glyphs).items():
        cells[row][column] = (character, "curve")
    if mark is not None and math.isfinite(mark[1]):
        column, row = edges.cell(mark, columns, rows, glyphs.dots)
        cells[row][column] = (glyphs.mark, "mark")
    return _assembled(cells, labels, margin, edges.right, glyphs)


def bar(fraction: float, width: int, glyphs: Glyphs) -> str:
    """A bar that is full at 1."""
    full = round(_within(fraction) * width)
    return glyphs.full * full + glyphs.empty * (width - full)


def spark(values: Sequence[float], width: int) -> str:
    """The course of values in at most ``width`` characters, from the lowest to the highest; ``!`` is no number."""
    stride = max((len(values) - 1) / (width - 1), 1.0)
    chosen = [values[round(k * stride)] for k in range(min(len(values), width))]
    finite = [value for value in chosen if math.isfinite(value)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    span = high - low if high > low else 1.0
    return "".join(
        BARS[round((value - low) / span * (len(BARS) - 1))] if math.isfinite(value) else "!" for value in chosen
    )


def _within(fraction: float) -> float:
    return min(max(fraction, 0.0), 1.0)


def _ticks(edges: Frame, level: float | None) -> Iterable[float]:
    """The level last, so that its label wins where two share a row."""
    yield from (edges.bottom, (edges.bottom + edges.top) / 2, edges.top)
    if level is not None:
        yield level


def _curve(
    points: Sequence[Point], edges: Frame, columns: int, rows: int, glyphs: Glyphs
) -> dict[tuple[int, int], str]:
    """The characters of a curve by their column and row."""
    across, down = glyphs.dots
    places = [
        edges.place(point, columns * across, rows * down) if math.isfinite(point[1]) else None for point in points
    ]
    dots = {place for place in places if place}
    for start, end in pairwise(places):
        if start and end:
            dots |= _line(start, end)
    if glyphs.dots == (1, 1):
        return dict.fromkeys(dots, "*")
    bits: dict[tuple[int, int], int] = {}
    for x, y in dots:
        cell = x // across, y // down
        bits[cell] = bits.get(cell, 0) | DOTS[y % down][x % across]
    return {cell: chr(BRAILLE + pattern) for cell, pattern in bits.items()}


def _line(start: tuple[int, int], end: tuple[int, int]) -> set[tuple[int, int]]:
    (x, y), (to_x, to_y) = start, end
    steps = max(abs(to_x - x), abs(to_y - y), 1)
    return {(round(x + (to_x - x) * k / steps), round(y + (to_y - y) * k / steps)) for k in range(steps + 1)}


def _assembled(
    cells: list[list[tuple[str, str]]], labels: dict[int, str], margin: int, right: int, glyphs: Glyphs
) -> Text:
    from rich.text import Text

    drawn = Text(no_wrap=True)
    for row, line in enumerate(cells):
        drawn.append(f"{labels.get(row, ''):>{margin}} {glyphs.axis[0 if row in labels else 1]}")
        end = max((column for column, (character, _) in enumerate(line, 1) if character != " "), default=0)
        for character, kind in line[:end]:
            drawn.append(character, STYLES.get(kind, ""))
        drawn.append("\n")
    columns = len(cells[0])
    ends = [text.timesteps(0), text.timesteps(right // 2), f"{text.timesteps(right)} timesteps"]
    middle = ends[1].center(columns - 2 * len(ends[2]))
    drawn.append(f"{'':{margin}} {glyphs.corner}{glyphs.axis[2] * columns}\n")
    return drawn.append(f"{'':{margin}}  {ends[0]:<{len(ends[2])}}{middle}{ends[2]}")
