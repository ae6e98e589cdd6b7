"""What a count of successes proves: about one rate, or about two policies on the same engagements."""


def wilson_interval(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """Two-sided interval for the rate behind ``successes`` out of ``trials``.

    Holds at the ends too: no success still gives a high bound below 1. Without a trial it is (0, 1).

    Source: Wilson (1927), JASA 22, 209-212; Brown, Cai and DasGupta (2001), Statistical Science 16, 101-133.
    """
    from scipy.stats import binomtest  # its import takes 1.1 s

    if trials == 0:
        return 0.0, 1.0
    interval = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar_one_sided(challenger_only: int, champion_only: int) -> float:
    """Probability of at least ``challenger_only`` of the discordant engagements going to one of two equal policies.

    Exact binomial, so valid for few discordant engagements as well; with none it is 1.

    Source: McNemar (1947), Psychometrika 12, 153-157.
    """
    from scipy.stats import binomtest

    discordant = challenger_only + champion_only
    return float(binomtest(challenger_only, discordant, alternative="greater").pvalue) if discordant else 1.0
