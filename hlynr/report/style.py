"""The look that all figures share: colour-blind-safe, readable at 900 px, the same bytes for the same data."""

import io
import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, PercentFormatter
from PIL import Image

from hlynr.records.base import write_bytes

# Source: Okabe and Ito, "Color Universal Design" (2008).
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
GREY, INK = "#7F7F7F", "#222222"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY)
GRID = "#DDDDDD"
COLOURS = (*SERIES, GREY, INK, GRID, "black")
POLICY_COLOURS = {"pn": ORANGE, "apn": RED, "pursuit": GREEN, "random": GREY}


def canvas(title: str, subtitle: str = "", height: float = 5.0) -> Figure:
    """An empty figure, 900 px wide; ``height`` in inches at 100 px each."""
    figure = Figure(figsize=(9.0, height), dpi=100, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.06))
    figure.suptitle(title, x=0.012, ha="left", fontsize=14, fontweight="bold", color=INK)
    if subtitle:
        figure.supxlabel(textwrap.fill(subtitle, 120), x=0.012, ha="left", fontsize=10, color=GREY)
    return figure


def tidy(axes: Axes, xlabel: str = "", ylabel: str = "") -> Axes:
    """Labels, a light grid and no box."""
    axes.set_xlabel(xlabel, fontsize=11)
    axes.set_ylabel(ylabel, fontsize=11)
    axes.tick_params(labelsize=10)
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def rate_axis(axes: Axes) -> None:
    """A vertical axis of rates from 0 to 1, ticks in percent."""
    axes.set_ylim(-0.02, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1.0, decimals=0, symbol=" %"))


def rows(axes: Axes, names: Sequence[str], *, rates: bool = False) -> None:
    """A named row for each bar, from the top; with ``rates`` the horizontal axis has ticks in percent."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    if rates:
        axes.xaxis.set_major_formatter(PercentFormatter(xmax=1.0, decimals=0, symbol=" %"))


def around(rate: float, interval: tuple[float, float]) -> list[list[float]]:
    """An interval as matplotlib's error bars, which must not be negative."""
    return [[max(rate - interval[0], 0.0)], [max(interval[1] - rate, 0.0)]]


def timestep_axis(axes: Axes, end: int) -> None:
    """A horizontal axis of timesteps from 0 to ``end``, ticks as 500 k or 2 M."""
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.set_xlim(0, 1.02 * max(end, 1))


def legend_above(axes: Axes, columns: int) -> None:
    """A legend between title and plot, where it hides no data."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2, fontsize=10, ncols=columns, frameon=False
    )


def nothing(axes: Axes, message: str) -> None:
    """Say in an empty plot why it is empty."""
    axes.text(0.5, 0.5, message, transform=axes.transAxes, ha="center", va="center", fontsize=12, color=GREY)


def save(figure: Figure, path: Path) -> Path:
    """Write as PNG with a palette of the colours above, which takes a third of the bytes of one in true colour."""
    drawn, reduced = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    with Image.open(drawn) as image:
        with_palette = image.convert("RGB").quantize(palette=_palette(), dither=Image.Dither.NONE)
    with_palette.save(reduced, format="PNG", optimize=True)
    return _write(path, reduced)


def save_in_true_colour(figure: Figure, path: Path, **layout: Any) -> Path:
    """Write a figure that has colours of its own, without the time or the library's version in it."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None}, **layout)
    return _write(path, drawn)


def _write(path: Path, image: io.BytesIO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, image.getbuffer())
    return path


@cache
def _palette() -> Image.Image:
    """The colours, each also a third and two thirds of the way to white, as at the edges of lines."""
    full = np.array([to_rgb(colour) for colour in COLOURS])
    shades = [1 - part * (1 - full) for part in (0, 1 / 3, 2 / 3, 1)]
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.rint(255 * np.ravel(shades)).astype(int).tolist())
    return palette
