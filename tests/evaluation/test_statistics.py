"""The interval and the paired test against published values, brute force and simulation."""

import itertools

import numpy as np
import pytest

from hlynr.evaluation.statistics import mcnemar_one_sided, wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_published_values(successes: int, trials: int, low: float, high: float) -> None:
    """Source: Newcombe (1998), Statistics in Medicine 17, 857-872, table I, method 3."""
    assert wilson_interval(successes, trials, 0.95) == pytest.approx((low, high), abs=5e-5)


def test_wilson_ends_are_exact_and_ordered() -> None:
    for trials in range(1, 40):
        assert wilson_interval(0, trials, 0.95)[0] == 0.0
        assert wilson_interval(trials, trials, 0.95)[1] == 1.0
        for successes in range(trials + 1):
            low, high = wilson_interval(successes, trials, 0.95)
            assert 0 <= low <= successes / trials <= high <= 1


def test_wilson_without_trials_knows_nothing() -> None:
    assert wilson_interval(0, 0, 0.95) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "trials", "confidence"), [(-1, 10, 0.95), (11, 10, 0.95), (1, 10, 1.1)])
def test_wilson_needs_possible_counts(successes: int, trials: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="must"):
        wilson_interval(successes, trials, confidence)


@pytest.mark.parametrize("rate", [0.005, 0.05, 0.33, 0.58, 0.94])
def test_wilson_covers_the_true_rate(rate: float) -> None:
    counts = np.random.default_rng(7).binomial(1000, rate, size=4000)
    intervals = {count: wilson_interval(count, 1000, 0.95) for count in set(counts.tolist())}
    covered = np.mean([low <= rate <= high for low, high in map(intervals.__getitem__, counts.tolist())])
    # The interval is approximate: its coverage oscillates about 95 % by about a point at n = 1000.
    assert 0.935 < covered < 0.975


def test_mcnemar_by_enumeration() -> None:
    for challenger_only, champion_only in itertools.product(range(7), repeat=2):
        tosses = itertools.product((0, 1), repeat=challenger_only + champion_only)
        as_extreme = [sum(toss) >= challenger_only for toss in tosses]
        assert mcnemar_one_sided(challenger_only, champion_only) == pytest.approx(np.mean(as_extreme), abs=1e-12)


def test_mcnemar_without_discordance_proves_nothing() -> None:
    assert mcnemar_one_sided(0, 0) == 1.0
    assert mcnemar_one_sided(0, 9) == 1.0


def test_mcnemar_rejects_negative_counts() -> None:
    with pytest.raises(ValueError, match="must"):
        mcnemar_one_sided(-1, 2)
