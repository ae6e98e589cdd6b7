"""How much a count of successes proves: one rate, or two policies on the same engagements."""

from __future__ import annotations

import math
from statistics import NormalDist

from scipy.special import bdtrc


def wilson_interval(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """Two-sided interval for the rate behind ``successes`` out of ``trials``.

    Holds at the ends too: no success still gives a high bound below 1. Without a trial it is (0, 1).

    Raises:
        ValueError: if the counts are impossible or ``confidence`` is not in (0, 1).

    Source: Wilson (1927), JASA 22, 209-212; Brown, Cai and DasGupta (2001), Statistical Science 16, 101-133.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: {confidence} is not in (0, 1)")
    if not 0 <= successes <= trials:
        raise ValueError(f"successes: {successes} is not in [0, trials = {trials}]")
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate = successes / trials
    centre = rate + z * z / (2 * trials)
    half = z * math.sqrt(rate * (1 - rate) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z * z / trials
    # At the ends the bound is exactly 0 or 1; rounding must not move it.
    low = 0.0 if successes == 0 else (centre - half) / scale
    high = 1.0 if successes == trials else (centre + half) / scale
    return low, high


def mcnemar_one_sided(challenger_only: int, champion_only: int) -> float:
    """Probability of at least ``challenger_only`` of the discordant engagements going to one of two equal policies.

    Exact binomial, so valid for few discordant engagements as well; with none it is 1.

    Raises:
        ValueError: if a count is negative.

    Source: McNemar (1947), Psychometrika 12, 153-157.
    """
    if challenger_only < 0 or champion_only < 0:
        raise ValueError(f"discordant counts: {challenger_only} and {champion_only} must not be negative")
    return float(bdtrc(challenger_only - 1, challenger_only + champion_only, 0.5))
