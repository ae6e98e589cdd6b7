"""The winner: what holds on fresh seeds, or the strategy that was there before."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from support import ROOT, searches, stability_samples

from hlynr.records.stability import StabilityRun
from hlynr.runtime.errors import TrainingError
from hlynr.studies.tuning import confirm, search_config
from hlynr.studies.tuning.search_config import SearchConfig

FILE = ROOT / "params.yaml"
BASE, SEVENTH, NINTH = (None, {}), (7, {"gamma": 0.99}), (9, {"gamma": 0.98})


@pytest.fixture
def brief(tmp_path: Path) -> SearchConfig:
    return SearchConfig(root=str(tmp_path), config=search_config.load(searches.FILE).config)


def runs(strategy: str, *success: float, collapsed: bool = False) -> list[StabilityRun]:
    """One for each seed from 201 on."""
    return [
        stability_samples.run(strategy, seed, heldout_success_rate=rate, heldout_episodes=1000, collapsed=collapsed)
        for seed, rate in enumerate(success, start=201)
    ]


def test_every_candidate_trains_with_every_fresh_seed_in_a_folder_of_its_own(brief: SearchConfig) -> None:
    made = confirm.assignments(brief, [BASE, SEVENTH])
    assert [run.name for run in made] == ["default-201", "default-202", "stability-7-201", "stability-7-202"]
    assert {run.out.parent for run in made} == {brief.folder / "confirm"}
    assert {run.config.heldout_seed for run in made} == {brief.config.tune.confirm.heldout_seed}
    assert {run.config.monitor.stop_on for run in made} == {("nan",)}
    assert made[2].config.train.gamma == 0.99


def test_the_gain_is_measured_seed_by_seed(brief: SearchConfig) -> None:
    records = [*runs("default", 0.90, 0.94, 0.92), *runs("stability-7", 0.93, 0.95, 0.95)]
    base, found = confirm.candidates(brief, [BASE, SEVENTH], records)
    assert (base.gain, base.gain_ci) == (None, None)
    assert found.gain == pytest.approx((0.03 + 0.01 + 0.03) / 3)
    assert found.gain_ci is not None
    # Student's t with two degrees of freedom: 4.303; the gains' standard deviation is 0.011547.
    half = 4.302653 * 0.0115470 / math.sqrt(3)
    assert found.gain_ci == pytest.approx((found.gain - half, found.gain + half), abs=1e-5)
    assert found.success == pytest.approx(2.83 / 3)
    assert found.success_ci[0] < found.success < found.success_ci[1]


def test_a_seed_that_only_one_of_them_has_gives_no_gain(brief: SearchConfig) -> None:
    records = [*runs("default", 0.90, 0.94), *runs("stability-7", 0.93)]
    _, found = confirm.candidates(brief, [BASE, SEVENTH], records)
    assert (found.gain, found.gain_ci) == (pytest.approx(0.03), None)


def test_without_the_strategy_itself_nothing_can_be_compared(brief: SearchConfig) -> None:
    with pytest.raises(TrainingError, match="default: no training on a fresh seed has ended"):
        confirm.candidates(brief, [BASE, SEVENTH], runs("stability-7", 0.9))


def decided(brief: SearchConfig, *records: list[StabilityRun]) -> tuple[str, str]:
    tried = [BASE, SEVENTH, NINTH][: len(records)]
    return confirm.decide(confirm.candidates(brief, tried, [run for group in records for run in group]))


def test_the_candidate_of_the_greatest_gain_wins(brief: SearchConfig) -> None:
    better, best = runs("stability-7", 0.92, 0.93, 0.94), runs("stability-9", 0.95, 0.96, 0.97)
    winner, why = decided(brief, runs("default", 0.90, 0.91, 0.92), better, best)
    assert winner == "stability-9"
    assert why == "stability-9 gains +5.0 points on fresh seeds (+5.0 to +5.0)"


def test_a_gain_that_may_be_chance_is_called_so(brief: SearchConfig) -> None:
    winner, why = decided(brief, runs("default", 0.90, 0.95, 0.92), runs("stability-7", 0.95, 0.91, 0.94))
    assert winner == "stability-7"
    assert why.endswith(", which may be chance")


def test_the_strategy_is_kept_when_nothing_is_better(brief: SearchConfig) -> None:
    winner, why = decided(brief, runs("default", 0.95, 0.95), runs("stability-7", 0.94, 0.94))
    assert winner == "default"
    assert why == "default is kept: the best candidate, stability-7 gains -1.0 points on fresh seeds (-1.0 to -1.0)"
    assert decided(brief, runs("default", 0.95, 0.95), runs("stability-7", 0.95, 0.95))[0] == "default"


def test_what_collapses_on_a_fresh_seed_does_not_win(brief: SearchConfig) -> None:
    collapsed = runs("stability-7", 0.99, 0.99, collapsed=True)
    assert decided(brief, runs("default", 0.9, 0.9), collapsed) == (
        "default",
        "default is kept: every candidate collapsed on a fresh seed",
    )
    assert decided(brief, runs("default", 0.9, 0.9), collapsed, runs("stability-9", 0.91, 0.91))[0] == "stability-9"
    assert decided(brief, runs("default", 0.9, 0.9)) == ("default", "default is kept: no trial was feasible")
