"""Whether a challenger becomes champion: named rules over records. Every rule is evaluated.

The point estimate of 100 episodes alone would promote a policy of exactly the baseline's strength 45 % of the time;
hence the bounds on the held-out engagements and the paired test against the champion.
"""

import math
import operator
from collections.abc import Callable
from typing import Literal

import numpy as np

from hlynr.config.sections import Gate
from hlynr.evaluation.statistics import mcnemar_one_sided
from hlynr.records.evaluation import EvaluationReport, GateDecision, GateRule, PairedComparison
from hlynr.records.training import FATAL, MonitorVerdict

NO_CHAMPION = "no champion"

_Relation = Literal[">", ">=", "<"]
_RELATIONS: dict[_Relation, Callable[[float, float], bool]] = {">": operator.gt, ">=": operator.ge, "<": operator.lt}


def pair(challenger: np.ndarray, champion: np.ndarray, champion_version: int) -> PairedComparison:
    """Count on which engagements the two policies differ.

    Args:
        challenger: success by engagement, (N,) bool.
        champion: the same engagements in the same order, (N,) bool.

    Raises:
        ValueError: if the arrays are empty, not of one length, or not boolean (a NaN would count as a success).
    """
    if challenger.ndim != 1 or challenger.shape != champion.shape or not challenger.size:
        raise ValueError(f"outcomes of shapes {challenger.shape} and {champion.shape} cannot be paired")
    if challenger.dtype != np.bool_ or champion.dtype != np.bool_:
        raise ValueError(f"outcomes must be boolean, not {challenger.dtype} and {champion.dtype}")
    challenger_only = int(np.sum(challenger & ~champion))
    champion_only = int(np.sum(champion & ~challenger))
    return PairedComparison(
        champion_version=champion_version,
        champion_success=float(champion.mean()),
        challenger_success=float(challenger.mean()),
        challenger_only=challenger_only,
        champion_only=champion_only,
        p_value=mcnemar_one_sided(challenger_only, champion_only),
    )


def decide(
    evaluation: EvaluationReport, verdict: MonitorVerdict, comparison: PairedComparison | None, gate: Gate
) -> GateDecision:
    """Apply every rule; promote only if all pass.

    Without a champion (``comparison`` None) the champion's rules pass. A figure that is not finite passes no rule.
    """
    report, heldout = evaluation.report, evaluation.heldout
    rules = (
        _rule("report_beats_baseline", report.success_rate, ">", gate.baseline, _percent),
        _rule("heldout_beats_baseline", heldout.success_rate_ci[0], ">", gate.baseline, _percent),
        *_champion_rules(comparison, gate),
        _rule("mean_reward", heldout.mean_reward, ">", gate.min_mean_reward, _number),
        _rule("final_distance", heldout.mean_final_distance, "<", gate.max_final_distance, _metres),
        GateRule(
            name="training_healthy", value=verdict.status, bound=f"not {', '.join(FATAL)}", passed=not verdict.failed
        ),
        _evaluator_check("evaluator_check_random", evaluation, "random", gate.evaluator_check_random),
        _evaluator_check("evaluator_check_pn", evaluation, "pn", gate.evaluator_check_pn),
    )
    failed = [f"{rule.name} is {rule.value}, must be {rule.bound}" for rule in rules if not rule.passed]
    reason = f"Not promoted: {'; '.join(failed)}." if failed else _success(evaluation, comparison, gate)
    return GateDecision(promote=not failed, rules=rules, comparison=comparison, reason=reason)


def held_back(decision: GateDecision, champion: str) -> GateDecision:
    """The decision against a champion that cannot be run, so that nothing can be compared with it: not to promote.

    Args:
        champion: which one, and why it cannot be run.
    """
    rules = [
        rule.model_copy(update={"value": "not comparable", "passed": False}) if rule.value == NO_CHAMPION else rule
        for rule in decision.rules
    ]
    reason = f"Not promoted: the challenger cannot be compared with the champion: {champion}."
    return decision.model_copy(update={"promote": False, "rules": tuple(rules), "reason": reason})


def _champion_rules(comparison: PairedComparison | None, gate: Gate) -> tuple[GateRule, GateRule]:
    better, by = "significantly_better_than_champion", "gain_over_champion"
    if comparison is None:
        return (
            GateRule(name=better, value=NO_CHAMPION, bound=f"< {_p(gate.p_value)}", passed=True),
            GateRule(name=by, value=NO_CHAMPION, bound=f">= {_points(gate.min_gain)}", passed=True),
        )
    # 0.57 - 0.56 is just below 0.01 in floats; a rate over at most a million engagements needs no tenth digit.
    gain = round(comparison.challenger_success - comparison.champion_success, 9)
    return (
        _rule(better, comparison.p_value, "<", gate.p_value, _p),
        _rule(by, gain, ">=", gate.min_gain, _points),
    )


def _evaluator_check(name: str, evaluation: EvaluationReport, policy: str, interval: tuple[float, float]) -> GateRule:
    """A law of known strength outside its interval means that the evaluator has changed, not the policy."""
    bound = f"in [{_percent(interval[0])}, {_percent(interval[1])}]"
    if policy not in evaluation.baselines:
        return GateRule(name=name, value="not evaluated", bound=bound, passed=False)
    success = evaluation.baselines[policy].success_rate
    return GateRule(name=name, value=_percent(success), bound=bound, passed=interval[0] <= success <= interval[1])


def _rule(name: str, value: float, relation: _Relation, bound: float, show: Callable[[float], str]) -> GateRule:
    passed = math.isfinite(value) and _RELATIONS[relation](value, bound)
    return GateRule(name=name, value=show(value), bound=f"{relation} {show(bound)}", passed=passed)


def _success(evaluation: EvaluationReport, comparison: PairedComparison | None, gate: Gate) -> str:
    heldout = evaluation.heldout
    low, high = heldout.success_rate_ci
    found = (
        f"Promoted: {_percent(heldout.success_rate)} success on {heldout.episodes} held-out engagements "
        f"(interval {_percent(low)} to {_percent(high)}) beats the baseline of {_percent(gate.baseline)}"
    )
    if comparison is None:
        return f"{found}; there was no champion to beat."
    return (
        f"{found} and champion version {comparison.champion_version} with "
        f"{_percent(comparison.champion_success)} on the same engagements (p = {_p(comparison.p_value)})."
    )


def _percent(value: float) -> str:
    return f"{100 * value:.4g} %"


def _points(value: float) -> str:
    return f"{100 * value:.4g} points"


_metres, _number, _p = "{:.1f} m".format, "{:.4g}".format, "{:.3g}".format
