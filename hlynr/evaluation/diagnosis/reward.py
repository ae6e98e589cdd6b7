"""Whether the reward ranks episodes as success does, or something else than success can be farmed.

Measured on episodes of the policy and of guidance laws together: a policy that always or never fails ranks nothing.
"""

import math
from collections.abc import Sequence

import numpy as np

from hlynr.envs.reward import TERMS
from hlynr.evaluation.diagnosis.findings import finding, percent
from hlynr.evaluation.recording import Recording, Setup
from hlynr.records.diagnosis import Finding

NAME = "reward"
OUTCOME_TERMS = ("intercept", "miss", "precision")
"""Paid once, at the end; the others are paid step by step."""
LEAST_RANKING = 0.9
MOST_OVERTAKING = 0.05


def check(setup: Setup, recordings: Sequence[Recording]) -> Finding:
    """Compare reward with success over all episodes of ``recordings``, the policy's first.

    By the scales, per-step terms can add up to ``stepwise_limit``, and the outcome decides ``outcome_margin`` at least.
    """
    terms = np.concatenate([recording.terms for recording in recordings])
    success = np.concatenate([recording.success for recording in recordings])
    at_end = np.isin(TERMS, OUTCOME_TERMS)
    reward, outcome, stepwise = terms.sum(axis=1), terms[:, at_end].sum(axis=1), terms[:, ~at_end].sum(axis=1)
    policy, scales, mixed = recordings[0], setup.config.reward, success.any() and not success.all()
    figures = {
        "ranking": ranking(reward, success),
        "ranking_policy": ranking(policy.reward, policy.success),
        "overtaking": float((reward[~success] > np.median(reward[success])).mean()) if mixed else math.nan,
        "stepwise_spread": float(np.subtract(*np.percentile(stepwise, [95, 5]))),
        "outcome_gap": float(outcome[success].mean() - outcome[~success].mean()) if mixed else math.nan,
        "stepwise_limit": scales.progress + scales.tracking + scales.effort,
        "outcome_margin": scales.intercept + scales.miss - scales.precision,
        **{f"term_{name}": float(policy.terms[:, column].mean()) for column, name in enumerate(TERMS)},
    }
    return _judge(figures, finite=bool(np.isfinite(reward).all()))


def ranking(reward: np.ndarray, success: np.ndarray) -> float:
    """Share of the pairs of a success and a failure in which the success has more reward, ties counting half.

    The area under the ROC curve; NaN without a success or without a failure.
    """
    won, lost = reward[success], reward[~success]
    if not won.size or not lost.size:
        return float("nan")
    below = np.searchsorted(np.sort(lost), won, side="left").sum()
    up_to = np.searchsorted(np.sort(lost), won, side="right").sum()
    return float(0.5 * (below + up_to) / (won.size * lost.size))


def _judge(figures: dict[str, float], *, finite: bool) -> Finding:
    limit, margin = figures["stepwise_limit"], figures["outcome_margin"]
    spread, gap = figures["stepwise_spread"], figures["outcome_gap"]
    numbers = (
        f"A success has more reward than a failure in {percent(figures['ranking'])} of the pairs, "
        f"{percent(figures['overtaking'])} of the failures have more than the median success. Per-step terms "
        f"vary by {spread:.2f} between episodes, where the outcome is worth {gap:.2f}; by their scales they can add up "
        f"to {limit:g}, where the outcome decides at least {margin:g}."
    )
    if not finite:
        return finding(NAME, "fault", "reward", f"The reward is not a number in some episodes. {numbers}", **figures)
    if limit >= margin or spread >= gap > 0.0:
        text = f"The reward can be farmed: per-step terms outweigh the outcome. {numbers}"
        return finding(NAME, "fault", "reward", text, **figures)
    if figures["ranking"] < LEAST_RANKING or figures["overtaking"] > MOST_OVERTAKING:
        text = f"The reward does not rank episodes as success does. {numbers}"
        return finding(NAME, "fault", "reward", text, **figures)
    return finding(NAME, "ok", None, f"The reward ranks episodes as success does. {numbers}", **figures)
