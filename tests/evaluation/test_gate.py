"""The gate: each rule alone decides, bounds are exact, NaN never passes, an equal model is not promoted."""

import math
from typing import Any, get_args

import numpy as np
import pytest
from support import ROOT

from hlynr.config import params
from hlynr.config.sections import Gate
from hlynr.evaluation.gate import decide, pair
from hlynr.evaluation.statistics import mcnemar_one_sided, wilson_interval
from hlynr.records.evaluation import EvaluationReport, GateDecision, PairedComparison, PolicyReport
from hlynr.records.training import AlertKind, Lineage, MonitorVerdict

RULES = (
    "report_beats_baseline",
    "heldout_beats_baseline",
    "significantly_better_than_champion",
    "gain_over_champion",
    "mean_reward",
    "final_distance",
    "training_healthy",
    "evaluator_check_random",
    "evaluator_check_pn",
)
GATE = params.load(ROOT / "params.yaml").gate


def policy_report(policy: str, success: float, episodes: int = 1000, **changed: Any) -> PolicyReport:
    known = math.isfinite(success)
    interval = wilson_interval(round(success * episodes), episodes, 0.95) if known else (math.nan, math.nan)
    fields = {
        "policy": policy,
        "scenario": "reference",
        "seed": 3000017,
        "episodes": episodes,
        "capture_radius": 150.0,
        "success_rate": success,
        "success_rate_ci": interval,
        "mean_reward": 1.2,
        "mean_final_distance": 120.0,
        "miss_distance_quantiles": {"50": 90.0},
        "outcomes": {},
        "mean_fuel_left": 0.3,
        "mean_time_to_intercept": 9.0,
        "mean_episode_seconds": 10.0,
        "reward_terms": {},
        "slices": {},
    }
    return PolicyReport.model_validate(fields | changed)


def evaluation(
    report: float = 0.94, heldout: float = 0.94, random: float = 0.002, pn: float = 0.58, **changed: Any
) -> EvaluationReport:
    """``changed`` goes into the held-out report."""
    return EvaluationReport(
        lineage=Lineage(id="a", created="2026-11-23T18:05:30+00:00", retraining=0, params_digest="d"),
        bundle_sha256="s",
        report=policy_report("ppo", report, 100),
        heldout=policy_report("ppo", heldout, **changed),
        baselines={"random": policy_report("random", random), "pn": policy_report("pn", pn)},
        targets=(),
    )


def verdict(status: str = "healthy") -> MonitorVerdict:
    fields = {"reason": "", "stopped": False, "at_timesteps": 1, "peak_success": 0.9, "peak_timesteps": 1}
    return MonitorVerdict.model_validate({"status": status, "final_success": 0.9, **fields})


def comparison(champion: float = 0.9, challenger: float = 0.94, p_value: float = 0.001) -> PairedComparison:
    return PairedComparison(
        champion_version=3,
        champion_success=champion,
        challenger_success=challenger,
        challenger_only=60,
        champion_only=20,
        p_value=p_value,
    )


def failed(decision: GateDecision) -> list[str]:
    return [rule.name for rule in decision.rules if not rule.passed]


def judged(**changed: Any) -> GateDecision:
    cast = {"evaluation": evaluation(), "verdict": verdict(), "comparison": comparison(), "gate": GATE} | changed
    return decide(**cast)


def test_all_rules_pass() -> None:
    decision = judged()
    assert decision.promote
    assert tuple(rule.name for rule in decision.rules) == RULES
    assert decision.reason == (
        "Promoted: 94 % success on 1000 held-out engagements (interval 92.35 % to 95.31 %) beats the baseline of 33 % "
        "and champion version 3 with 90 % on the same engagements (p = 0.001)."
    )


def test_the_first_champion_has_no_other_to_beat() -> None:
    decision = judged(comparison=None)
    assert decision.promote
    values = {rule.name: rule.value for rule in decision.rules}
    assert values["gain_over_champion"] == values["significantly_better_than_champion"] == "no champion"
    assert "no champion to beat" in decision.reason


@pytest.mark.parametrize(
    ("rule", "changed"),
    [
        ("report_beats_baseline", {"evaluation": evaluation(report=0.2)}),
        ("heldout_beats_baseline", {"evaluation": evaluation(heldout=0.34)}),
        ("significantly_better_than_champion", {"comparison": comparison(p_value=0.06)}),
        ("gain_over_champion", {"comparison": comparison(champion=0.935)}),
        ("mean_reward", {"evaluation": evaluation(mean_reward=-0.1)}),
        ("final_distance", {"evaluation": evaluation(mean_final_distance=2500.0)}),
        ("training_healthy", {"verdict": verdict("collapse")}),
        ("evaluator_check_random", {"evaluation": evaluation(random=0.05)}),
        ("evaluator_check_pn", {"evaluation": evaluation(pn=0.7)}),
        ("evaluator_check_pn", {"evaluation": evaluation(pn=0.3)}),
    ],
)
def test_each_rule_alone_prevents_a_promotion(rule: str, changed: dict[str, Any]) -> None:
    decision = judged(**changed)
    assert failed(decision) == [rule]
    assert not decision.promote
    assert len(decision.rules) == len(RULES)
    assert decision.reason.startswith(f"Not promoted: {rule} is ")


@pytest.mark.parametrize(
    ("rule", "changed", "passes"),
    [
        ("report_beats_baseline", {"evaluation": evaluation(report=0.33)}, False),
        ("report_beats_baseline", {"evaluation": evaluation(report=0.34)}, True),
        ("heldout_beats_baseline", {"evaluation": evaluation(success_rate_ci=(0.33, 0.4))}, False),
        ("heldout_beats_baseline", {"evaluation": evaluation(success_rate_ci=(np.nextafter(0.33, 1), 0.4))}, True),
        ("significantly_better_than_champion", {"comparison": comparison(p_value=0.05)}, False),
        ("significantly_better_than_champion", {"comparison": comparison(p_value=np.nextafter(0.05, 0))}, True),
        ("gain_over_champion", {"comparison": comparison(champion=0.56, challenger=0.57)}, True),
        ("gain_over_champion", {"comparison": comparison(champion=0.561, challenger=0.57)}, False),
        ("mean_reward", {"evaluation": evaluation(mean_reward=0.0)}, False),
        ("final_distance", {"evaluation": evaluation(mean_final_distance=2000.0)}, False),
        ("evaluator_check_random", {"evaluation": evaluation(random=0.0)}, True),
        ("evaluator_check_random", {"evaluation": evaluation(random=0.01)}, True),
        ("evaluator_check_pn", {"evaluation": evaluation(pn=0.45)}, True),
        ("evaluator_check_pn", {"evaluation": evaluation(pn=0.65)}, True),
        ("evaluator_check_pn", {"evaluation": evaluation(pn=0.651)}, False),
    ],
)
def test_at_the_bounds(rule: str, changed: dict[str, Any], passes: bool) -> None:
    assert failed(judged(**changed)) == ([] if passes else [rule])


@pytest.mark.parametrize(
    ("rules", "changed"),
    [
        (["report_beats_baseline"], {"evaluation": evaluation(report=math.nan)}),
        (["heldout_beats_baseline"], {"evaluation": evaluation(heldout=math.nan)}),
        (["significantly_better_than_champion"], {"comparison": comparison(p_value=math.nan)}),
        (["gain_over_champion"], {"comparison": comparison(champion=math.nan)}),
        (["gain_over_champion"], {"comparison": comparison(challenger=math.inf)}),
        (["mean_reward"], {"evaluation": evaluation(mean_reward=math.nan)}),
        (["mean_reward"], {"evaluation": evaluation(mean_reward=math.inf)}),
        (["final_distance"], {"evaluation": evaluation(mean_final_distance=math.nan)}),
        (["final_distance"], {"evaluation": evaluation(mean_final_distance=-math.inf)}),
        (["evaluator_check_random"], {"evaluation": evaluation(random=math.nan)}),
        (["evaluator_check_pn"], {"evaluation": evaluation(pn=math.nan)}),
    ],
)
def test_nan_and_infinity_pass_no_rule(rules: list[str], changed: dict[str, Any]) -> None:
    assert failed(judged(**changed)) == rules


def test_an_evaluator_check_that_was_not_evaluated_fails() -> None:
    bare = evaluation().model_copy(update={"baselines": {}})
    assert failed(judged(evaluation=bare)) == ["evaluator_check_random", "evaluator_check_pn"]


@pytest.mark.parametrize("status", ["healthy", *get_args(AlertKind)])
def test_the_gate_fails_the_trainings_that_the_monitor_fails(status: str) -> None:
    found = verdict(status)
    assert found.failed == (status in {"nan", "exploding_loss", "abort", "collapse"})
    assert failed(judged(verdict=found)) == (["training_healthy"] if found.failed else [])


def test_reason_names_every_failing_rule_with_its_numbers() -> None:
    decision = judged(evaluation=evaluation(pn=0.7), comparison=comparison(p_value=0.21))
    assert decision.reason == (
        "Not promoted: significantly_better_than_champion is 0.21, must be < 0.05; "
        "evaluator_check_pn is 70 %, must be in [45 %, 65 %]."
    )


def test_pair_counts_what_differs() -> None:
    challenger = np.array([1, 1, 1, 0, 0, 1], dtype=bool)
    champion = np.array([1, 0, 0, 0, 1, 0], dtype=bool)
    paired = pair(challenger, champion, 4)
    assert (paired.challenger_only, paired.champion_only, paired.champion_version) == (3, 1, 4)
    assert paired.challenger_success == pytest.approx(4 / 6)
    assert paired.champion_success == pytest.approx(2 / 6)
    assert paired.p_value == mcnemar_one_sided(3, 1) == pytest.approx(5 / 16)


@pytest.mark.parametrize(
    ("challenger", "champion"),
    [
        (np.ones(3, dtype=bool), np.ones(4, dtype=bool)),
        (np.ones(0, dtype=bool), np.ones(0, dtype=bool)),
        (np.ones((2, 2), dtype=bool), np.ones((2, 2), dtype=bool)),
        (np.array([1.0, np.nan]), np.ones(2, dtype=bool)),
    ],
)
def test_pair_rejects(challenger: np.ndarray, champion: np.ndarray) -> None:
    with pytest.raises(ValueError, match="outcomes"):
        pair(challenger, champion, 1)


def promoted_share(gain: float, gate: Gate, retrainings: int = 1500, episodes: int = 1000) -> float:
    """Share of retrainings promoted over a champion of 90 % whose success correlates with the challenger's."""
    rng = np.random.default_rng(11)
    promoted = 0
    for _ in range(retrainings):
        difficulty = rng.beta(9, 1, size=episodes)  # chance of success of this engagement, 90 % on average
        champion = rng.random(episodes) < difficulty
        challenger = rng.random(episodes) < np.minimum(difficulty + gain, 1)
        success = float(challenger.mean())
        found = decide(evaluation(heldout=success), verdict(), pair(challenger, champion, 1), gate)
        promoted += found.promote
    return promoted / retrainings


def test_an_equal_model_is_promoted_on_less_than_one_retraining_in_twenty() -> None:
    assert promoted_share(0.0, GATE) < 0.05


def test_a_model_at_the_baseline_is_promoted_on_less_than_one_retraining_in_twenty() -> None:
    rng = np.random.default_rng(13)
    reports, heldouts = rng.binomial(100, 0.33, size=2000) / 100, rng.binomial(1000, 0.33, size=2000) / 1000
    retrainings = zip(reports, heldouts, strict=True)
    promoted = [decide(evaluation(report, heldout), verdict(), None, GATE).promote for report, heldout in retrainings]
    assert np.mean(promoted) < 0.05


def test_a_clearly_better_model_is_promoted() -> None:
    assert promoted_share(0.06, GATE, retrainings=300) > 0.8
