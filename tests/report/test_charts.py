"""Charts put every point where its value says, within their edges, in braille and in ASCII."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hlynr.report import charts
from hlynr.report.charts import ASCII, BRAILLES, ChartPoint, Edges, Glyphs

RATES = Edges(right=1000, bottom=0.0, top=1.0)
WIDTH, ROWS = 60, 8


def drawn(
    points: list[ChartPoint], edges: Edges = RATES, glyphs: Glyphs = ASCII, **options: float | ChartPoint
) -> list[str]:
    """The chart's rows without the two of the time axis."""
    output = charts.chart(points, edges, lambda value: f"{value:g}", width=WIDTH, rows=ROWS, glyphs=glyphs, **options)  # type: ignore[arg-type]
    assert len(output.plain.splitlines()) == ROWS + 2
    assert max(map(len, output.plain.splitlines())) <= WIDTH
    return output.plain.splitlines()[:ROWS]


def body(row: str) -> str:
    """A row without labels and axis, padded."""
    return row[charts.MARGIN + 2 :].ljust(WIDTH - charts.MARGIN - 2)


@pytest.mark.parametrize("glyphs", [ASCII, BRAILLES], ids=["ascii", "braille"])
def test_a_point_is_where_its_value_says(glyphs: Glyphs) -> None:
    for where, value in [(0, 0.0), (0, 1.0), (1000, 0.0), (1000, 1.0), (500, 0.5)]:
        rows = [body(row) for row in drawn([(where, value)], glyphs=glyphs)]
        hits = [(row.index(row.strip()), k) for k, row in enumerate(rows) if row.strip()]
        assert len(hits) == 1
        column, row = hits[0]
        assert column == pytest.approx(where / 1000 * (len(rows[0]) - 1), abs=1)
        assert row == pytest.approx((1 - value) * (ROWS - 1), abs=1)


def test_a_curve_is_connected_and_follows_its_points() -> None:
    rows = [body(row) for row in drawn([(0, 0.0), (500, 1.0), (1000, 0.0)])]
    heights = ["".join(row[column] for row in rows).find("*") for column in range(len(rows[0]))]
    assert -1 not in heights
    middle = len(heights) // 2
    assert heights[0] == heights[-1] == ROWS - 1
    assert heights[middle] == 0
    assert heights[:middle] == sorted(heights[:middle], reverse=True)
    assert heights[middle:] == sorted(heights[middle:])


def test_what_is_no_number_leaves_a_gap() -> None:
    points = [(0.0, 0.5), (300.0, 0.5), (400.0, math.nan), (600.0, math.inf), (700.0, 0.5), (1000.0, 0.5)]
    row = next(body(row) for row in drawn(points) if "*" in row)
    columns = len(row)
    assert row[: int(0.3 * columns)].strip("*") == ""
    assert row[int(0.34 * columns) : int(0.66 * columns)].strip() == ""
    assert row[int(0.72 * columns) :].strip("*") == ""


def test_level_and_mark_are_in_the_row_of_their_value() -> None:
    for glyphs in (ASCII, BRAILLES):
        rows = drawn([(0, 0.1), (1000, 0.1)], glyphs=glyphs, level=0.33, mark=(400, 0.8))
        level = next(k for k, row in enumerate(rows) if body(row).count(glyphs.level) > 40)
        mark = next(k for k, row in enumerate(rows) if glyphs.mark in row)
        assert rows[level].split()[0] == "0.33"
        assert (level, mark) == (round((1 - 0.33) * (ROWS - 1)), round((1 - 0.8) * (ROWS - 1)))
        assert body(rows[mark]).index(glyphs.mark) == pytest.approx(0.4 * (WIDTH - charts.MARGIN - 3), abs=1)


def test_the_mark_lies_on_the_curve() -> None:
    """At any value and any height of the chart, since both go through the same dots."""
    for value in np.linspace(0, 1, 23):
        plain, marked = drawn([(0, value)], glyphs=BRAILLES), drawn([(0, value)], glyphs=BRAILLES, mark=(0, value))
        assert [bool(body(row).strip()) for row in plain] == [BRAILLES.mark in row for row in marked]


def test_a_mark_that_is_no_number_is_left_out() -> None:
    assert all(ASCII.mark not in row for row in drawn([(0, 0.5)], mark=(0, math.nan)))


def test_the_time_axis_names_both_ends_and_the_middle() -> None:
    output = charts.chart([], Edges(3_000_000, 0, 1), str, width=WIDTH, rows=ROWS, glyphs=ASCII).plain.splitlines()[-1]
    assert output.split() == ["0", "1.50", "M", "3.00", "M", "timesteps"]
    assert output.index("1.50 M") == pytest.approx(charts.MARGIN + 2 + (WIDTH - charts.MARGIN - 2) / 2 - 3, abs=1)


@pytest.mark.parametrize(
    ("timesteps", "budget", "right"),
    [
        (0, 3_000_000, 1),
        (400_000, 3_000_000, 750_000),
        (1_600_000, 3_000_000, 3_000_000),
        (3_014_656, 3_000_000, 3_000_000),
        (8192, 5000, 8192),
        (0, 0, 1),
    ],
)
def test_the_right_edge_leaves_less_than_half_empty(timesteps: int, budget: int, right: int) -> None:
    assert charts.extent(timesteps, budget) == right


def test_a_frame_holds_its_values_without_wasting_half_of_its_height() -> None:
    rng = np.random.default_rng(3)
    for _ in range(500):
        values = (rng.normal(0, 1, 5) * 10 ** rng.uniform(-4, 4) + rng.choice([0, 5])).tolist()
        edges = charts.edges_around(values, 10)
        assert edges.bottom <= min(values)
        assert max(values) <= edges.top
        assert (edges.top - edges.bottom) <= 2 * max(max(values) - min(values), charts.LEAST_SPAN)
    for same in (0.0, -1.15, 1e9):
        edges = charts.edges_around([same], 10)
        assert edges.bottom <= same <= edges.top
        assert edges.bottom < edges.top


def test_a_spark_spans_the_whole_course() -> None:
    assert charts.spark([0.0, 1.0], 8) == "▁█"
    assert charts.spark([float(k) for k in range(80)], 8) == charts.BARS
    assert charts.spark([5.0] * 3, 8) == "▁▁▁"
    assert charts.spark([0.0, math.nan, math.inf, 1.0], 8) == "▁!!█"
    assert charts.spark([math.nan], 8) == ""


def test_a_bar_is_full_at_one_and_never_beyond() -> None:
    assert [charts.bar(part, 4, ASCII) for part in (-1.0, 0.0, 0.5, 1.0, 1.2)] == [
        "....",
        "....",
        "##..",
        "####",
        "####",
    ]
