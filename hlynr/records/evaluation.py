"""The records of an evaluation and of the gate."""

from hlynr.records.base import Record
from hlynr.records.training import Lineage


class Slice(Record):
    """Success within one part of a quantity's range."""

    low: float
    high: float
    episodes: int
    success_rate: float
    success_rate_ci: tuple[float, float]


class PolicyReport(Record):
    """One policy on one seed set. Means are over all engagements unless said otherwise; intervals are Wilson's."""

    policy: str
    scenario: str
    seed: int
    episodes: int
    capture_radius: float
    success_rate: float
    success_rate_ci: tuple[float, float]
    mean_reward: float
    mean_final_distance: float
    miss_distance_quantiles: dict[str, float]
    """By percentile, "5" to "95"."""
    outcomes: dict[str, int]
    mean_fuel_left: float
    mean_time_to_intercept: float | None
    """Over intercepts."""
    mean_episode_seconds: float
    reward_terms: dict[str, float]
    """Mean contribution of each reward term to the episode's reward."""
    slices: dict[str, tuple[Slice, ...]]
    """By range [m], azimuth [deg], elevation [deg], target_speed [m/s]."""


class Judgement(PolicyReport):
    """A policy with the reference laws on the same engagements."""

    baselines: dict[str, PolicyReport]


class TargetRow(Record):
    """One row of the 100-episode report: a figure beside its target."""

    metric: str
    value: float
    target: str
    met: bool


class EvaluationReport(Record):
    """A policy judged on the report and held-out seed sets, beside baselines on the same engagements."""

    lineage: Lineage
    bundle_sha256: str
    report: PolicyReport
    heldout: PolicyReport
    baselines: dict[str, PolicyReport]
    targets: tuple[TargetRow, ...]


class HeldoutSuccess(Record):
    """The evaluated bundle on the held-out engagements, one by one, for the gate to pair with the champion's."""

    bundle_sha256: str
    params_digest: str
    """Of the whole configuration, which decides what the engagements are."""
    success: tuple[bool, ...]


class PairedComparison(Record):
    """Challenger and champion on the same held-out engagements."""

    champion_version: int
    champion_success: float
    challenger_success: float
    challenger_only: int
    champion_only: int
    p_value: float
    """Exact one-sided McNemar: how likely so many are under equal policies."""


class GateRule(Record):
    """One named condition: the value, its bound, and whether it passed."""

    name: str
    value: str
    bound: str
    passed: bool


class GateDecision(Record):
    """Whether the challenger becomes champion, and why."""

    promote: bool
    rules: tuple[GateRule, ...]
    comparison: PairedComparison | None
    reason: str
