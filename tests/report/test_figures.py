"""Figures are written, say what is in the records, survive missing data and are the same bytes twice."""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageColor
from support import samples

from hlynr.config.sections import Monitor
from hlynr.report import figures, style

MONITOR = Monitor(
    interval=300_000,
    episodes=200,
    selection_seed=1,
    window=3,
    collapse_fraction=0.5,
    abort_after=1_000_000,
    abort_below=0.05,
    plateau_patience=5,
    plateau_min_delta=0.01,
    farming_drop=0.1,
    loss_factor=100.0,
    std_limit=2.0,
    saturation_limit=0.9,
    stop_on=("collapse",),
)
Draw = Callable[[Path], Path]

USUAL: dict[str, Draw] = {
    "learning_curve": lambda path: figures.learning_curve(samples.training(), MONITOR, 0.33, path),
    "collapsed": lambda path: figures.learning_curve(samples.collapsed(), MONITOR, 0.33, path),
    "comparison": lambda path: figures.comparison(samples.evaluation(), 0.33, path),
    "slices": lambda path: figures.slices(samples.policy(), path),
    "miss_distance": lambda path: figures.miss_distance(samples.misses(), 150.0, path),
    "trajectories": lambda path: figures.trajectories(samples.results(), path),
}
NOTHING = samples.evaluation(heldout=samples.empty_policy(), report=samples.empty_policy(), baselines={})
LONG = samples.training().verdict.model_copy(update={"reason": "a long reason " * 20})
POINTLESS = dataclasses.replace(samples.trajectory(ticks=1, outcome="timeout"), miss_distance=samples.NAN)
BLIND = dataclasses.replace(samples.trajectory(), estimate=np.full((90, 3), samples.NAN))
LOST = dataclasses.replace(samples.trajectory(), own=np.full((90, 3), samples.NAN))
BARE: dict[str, Draw] = {
    "no evaluation": lambda path: figures.learning_curve(samples.training((), timesteps=0), MONITOR, 0.33, path),
    "one evaluation": lambda path: figures.learning_curve(samples.training((0.2,)), MONITOR, 0.33, path),
    "NaN evaluation": lambda path: figures.learning_curve(
        samples.training((0.2, samples.NAN, 0.4, 0.5)), MONITOR, 0.33, path
    ),
    "only NaN": lambda path: figures.learning_curve(samples.training((samples.NAN,) * 4), MONITOR, 0.33, path),
    "long reason": lambda path: figures.learning_curve(samples.training(verdict=LONG), MONITOR, 0.33, path),
    "no engagements": lambda path: figures.comparison(NOTHING, 0.33, path),
    "no intercepts": lambda path: figures.comparison(
        samples.evaluation(heldout=samples.policy(rate=0.0, low=0.0, high=0.004)), 0.33, path
    ),
    "empty slice": lambda path: figures.slices(samples.empty_policy(), path),
    "no slices": lambda path: figures.slices(samples.policy(slices={}), path),
    "slices of no width": lambda path: figures.slices(
        samples.policy(slices={"range": (samples.slice_(1.0, 1.0, 0.1),), "azimuth": ()}), path
    ),
    "no policies": lambda path: figures.miss_distance({}, 150.0, path),
    "no misses": lambda path: figures.miss_distance({"policy": np.array([])}, 150.0, path),
    "odd misses": lambda path: figures.miss_distance({"pn": np.array([0.0, np.nan, np.inf])}, 150.0, path),
    "no results": lambda path: figures.trajectories([], path),
    "one point": lambda path: figures.trajectories([POINTLESS], path),
    "no estimate": lambda path: figures.trajectories([BLIND], path),
    "lost": lambda path: figures.trajectories([LOST], path),
    "many results": lambda path: figures.trajectories(samples.results() * 2, path),
}


def _texts(figure: Figure) -> str:
    found = [artist.get_text() for artist in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    return "\n".join(found)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """What would have been saved."""
    figures_drawn: list[Figure] = []

    def keep(figure: Figure, path: Path) -> Path:
        figures_drawn.append(figure)
        return path

    monkeypatch.setattr(style, "save", keep)
    return figures_drawn


@pytest.mark.parametrize("draw", USUAL.values(), ids=USUAL)
def test_same_data_same_bytes(draw: Draw, tmp_path: Path) -> None:
    first, second = draw(tmp_path / "deep" / "first.png"), draw(tmp_path / "second.png")
    assert first == tmp_path / "deep" / "first.png"
    content = first.read_bytes()
    assert content == second.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert b"matplotlib" not in content.lower()
    assert struct.unpack(">I", content[16:20]) == (900,)
    assert len(content) < 40_000
    with Image.open(first) as image:
        found = {colour for _, colour in image.convert("RGB").getcolors() or ()}
    assert {ImageColor.getrgb("white"), ImageColor.getrgb(style.INK)} <= found


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_an_output_that_is_a_link_into_dvcs_cache_leaves_the_cache_alone(
    tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    (tmp_path / "cached").write_text("cached")
    link(tmp_path / "cached", tmp_path / "figure.png")
    figures.trajectories(samples.results(), tmp_path / "figure.png")
    assert (tmp_path / "cached").read_text() == "cached"
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("draw", BARE.values(), ids=BARE)
def test_draws_what_is_missing_as_missing(draw: Draw, tmp_path: Path) -> None:
    assert draw(tmp_path / "figure.png").stat().st_size > 2_000


def test_learning_curve_marks_best_and_bound(drawn: list[Figure], tmp_path: Path) -> None:
    figures.learning_curve(samples.collapsed(), MONITOR, 0.33, tmp_path / "x.png")
    lines = {line.get_label(): line for line in drawn[0].axes[0].get_lines()}
    assert "collapse" in _texts(drawn[0])
    assert "best success 88.0 %" in _texts(drawn[0])
    star = lines["best checkpoint, 1.50 M"]
    assert (list(star.get_xdata()), list(star.get_ydata())) == ([1_500_000], [0.88])
    bound = np.asarray(lines["collapse bound, 0.5 x best mean"].get_ydata())
    assert bound[0] == pytest.approx(0.5 * (0.1 + 0.4 + 0.7) / 3)
    assert bound[-1] == pytest.approx(0.5 * (0.85 + 0.88 + 0.8) / 3)
    assert np.all(np.diff(bound) >= 0)


def test_too_few_evaluations_have_no_bound(drawn: list[Figure], tmp_path: Path) -> None:
    figures.learning_curve(samples.training((0.1, 0.2)), MONITOR, 0.33, tmp_path / "x.png")
    assert "collapse bound" not in _texts(drawn[0])


def test_comparison_names_every_policy_with_its_interval(drawn: list[Figure], tmp_path: Path) -> None:
    figures.comparison(samples.evaluation(), 0.33, tmp_path / "x.png")
    words = _texts(drawn[0])
    for expected in ("94.1 % (92.5-95.4)", "95.0 % (88.8-97.9)", "58.1 % (55.0-61.1)"):
        assert expected in words
    for expected in ("proportional navigation", "pursuit", "random", "baseline 33.0 %"):
        assert expected in words


def test_miss_distance_counts_within_the_radius(drawn: list[Figure], tmp_path: Path) -> None:
    distances = {"policy": np.array([10.0, 150.0, 151.0, np.nan]), "pn": np.array([300.0])}
    figures.miss_distance(distances, 150.0, tmp_path / "x.png")
    words = _texts(drawn[0])
    assert "66.7 % of engagements within 150 m" in words
    assert "policy, n = 3" in words


def test_trajectories_name_outcomes_and_mark_closest_approach(drawn: list[Figure], tmp_path: Path) -> None:
    sample = samples.trajectory(4, "target_impact", 212.0)
    figures.trajectories([sample], tmp_path / "x.png")
    assert "policy #4: target impact, 212 m" in _texts(drawn[0])
    nearest = int(np.argmin(np.linalg.norm(sample.target - sample.own, axis=1)))
    marks = [line for line in drawn[0].axes[0].get_lines() if line.get_marker() == "x"]
    assert [float(np.asarray(mark.get_xdata())[0]) for mark in marks] == [sample.own[nearest, 0]]
