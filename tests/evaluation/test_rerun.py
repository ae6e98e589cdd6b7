"""Flying a retraining's report again: the same engagements, and what may be worse by chance."""

from __future__ import annotations

import pytest
from support import ROOT

from hlynr.config import params
from hlynr.evaluation import judge
from hlynr.evaluation.laws import law
from hlynr.evaluation.rerun import Rerun, rerun
from hlynr.evaluation.statistics import wilson_interval

CONFIG = params.load(ROOT / "params.yaml")


def test_the_same_policy_does_the_same_again() -> None:
    policy = law("pn", CONFIG, "reference")
    report, _ = judge.report_on(policy, CONFIG, judge.report_set(CONFIG))
    found = rerun(policy, CONFIG, report.success_rate)
    assert (found.successes, found.episodes) == (round(100 * report.success_rate), 100)
    assert found.fault(CONFIG.gate) is None
    assert str(found) == f"{found.successes} of 100 episodes succeed again ({found.successes} % recorded)"


@pytest.mark.parametrize("episodes", [20, 100, 1000])
def test_significantly_worse_is_where_the_interval_leaves_the_record(episodes: int) -> None:
    recorded = 0.9
    allowed = [count for count in range(episodes + 1) if Rerun(count, episodes, recorded).fault(CONFIG.gate) is None]
    assert allowed == list(range(min(allowed), episodes + 1))
    assert min(allowed) < recorded * episodes  # a little worse is chance
    assert wilson_interval(min(allowed), episodes, 0.95)[1] >= recorded
    assert wilson_interval(min(allowed) - 1, episodes, 0.95)[1] < recorded


def test_words_name_both_figures() -> None:
    assert Rerun(80, 100, 0.985).fault(CONFIG.gate) == (
        "80 of 100 episodes succeed under today's configuration, 98.5 % are on record"
    )
    assert Rerun(33, 100, 0.33).fault(CONFIG.gate) == (
        "33 of 100 episodes succeed, which does not exceed the baseline of 33 %"
    )
    assert str(Rerun(98, 100, 0.98)) == "98 of 100 episodes succeed again (98 % recorded)"


def test_without_a_record_the_baseline_decides() -> None:
    assert Rerun(34, 100, None).fault(CONFIG.gate) is None
    assert str(Rerun(34, 100, None)) == "34 of 100 episodes succeed (no earlier figure is on record)"
    assert Rerun(33, 100, None).fault(CONFIG.gate) is not None
    assert Rerun(100, 100, 1.0).fault(CONFIG.gate) is None
