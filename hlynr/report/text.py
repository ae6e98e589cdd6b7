"""Figures and decisions in words: the format of rates, distances and verdicts.

Plain ASCII, so that it reads alike in a log file, a terminal and a web page.
"""

import math
from collections.abc import Iterable

from hlynr.records.evaluation import EvaluationReport, PairedComparison, PolicyReport
from hlynr.records.retraining import Promotion
from hlynr.records.training import TrainResult

UNKNOWN = "n/a"
NAMES = {"pn": "proportional navigation", "apn": "augmented PN"}
ALGORITHMS = {"ppo": "PPO", "recurrent_ppo": "RecurrentPPO"}


def listed(items: Iterable[object]) -> str:
    """With commas; ``none`` for nothing."""
    return ", ".join(map(str, items)) or "none"


def percent(rate: float | None) -> str:
    """A fraction as ``94.1 %``; None and NaN as ``n/a``."""
    return UNKNOWN if rate is None or math.isnan(rate) else f"{100 * rate:.1f} %"


def success(rate: float | None, interval: tuple[float, float] | None) -> str:
    """A rate with its interval, ``94.1 % (92.5-95.4)``."""
    if rate is None or math.isnan(rate) or interval is None or any(map(math.isnan, interval)):
        return percent(rate)
    return f"{percent(rate)} ({100 * interval[0]:.1f}-{100 * interval[1]:.1f})"


def report_success(report: PolicyReport) -> str:
    """A policy's success with its interval."""
    return success(report.success_rate, report.success_rate_ci)


def metres(distance: float | None) -> str:
    """A distance, to a tenth of a metre below 100 m."""
    if distance is None or not math.isfinite(distance):
        return UNKNOWN
    return f"{distance:.1f} m" if distance < 99.95 else f"{distance:,.0f} m"


def signed(value: float | None) -> str:
    """A reward with its sign."""
    return UNKNOWN if value is None or math.isnan(value) else f"{value:+.2f}"


def duration(seconds: float | None) -> str:
    """``0.42 s``, ``38.1 s`` or ``2 min 24 s``."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def timesteps(count: int) -> str:
    """``2.80 M``, ``400 k`` or ``512``."""
    if count < 1000:
        return str(count)
    return f"{count / 1e3:.0f} k" if count < 999_500 else f"{count / 1e6:.2f} M"


def figure(metric: str, value: float) -> str:
    """A value of the 100-episode report in the unit its metric's name implies."""
    name = metric.lower()
    if "success" in name:
        return percent(value)
    return metres(value) if "distance" in name else signed(value)


def size(count: int) -> str:
    """Bytes as ``3.4 GB``, ``790 MB`` or ``12 kB``."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def commit(name: str | None, dirty: bool | None) -> str:
    """A git commit as markdown."""
    return (UNKNOWN if name is None else f"`{name[:12]}`") + (" with uncommitted changes" if dirty else "")


def policy_name(key: str) -> str:
    """A policy's name in words."""
    return NAMES.get(key, key)


def title(key: str) -> str:
    """A policy's name at the start of a sentence."""
    name = "the policy" if key == "policy" else policy_name(key)
    return name[:1].upper() + name[1:]


def version(number: int | None) -> str:
    """A model version as ``v3``."""
    return "none" if number is None else f"v{number}"


def headline(promotion: Promotion | None, model: str = "") -> str:
    """The decision on the challenger, in one line."""
    if promotion is None:
        return "Not evaluated: no decision was made."
    name = f"{model} version {promotion.version}" if model else f"Version {promotion.version}"
    before = promotion.champion_before
    if promotion.action == "not_promoted":
        stays = "there is still no champion" if before is None else f"version {before} stays champion"
        return f"{name} was not promoted; {stays}."
    if promotion.action == "rolled_back":
        return f"{name} is champion again after a rollback{'' if before is None else f' from {version(before)}'}."
    return f"{name} is {'the first champion' if before is None else f'the new champion, in place of version {before}'}."


def reason(given: str) -> str:
    """A decision's reason without its verdict, which the headline beside it gives; "Refused" is the former word."""
    return given.removeprefix("Promoted: ").removeprefix("Not promoted: ").removeprefix("Refused: ")


def training(train: TrainResult) -> str:
    """One training in three or four sentences."""
    verdict = train.verdict
    sentences = [
        f"{ALGORITHMS[train.algorithm]} trained on `{train.scenario}` with seed {train.seed} for "
        f"{train.timesteps:,} of {train.budget:,} timesteps in {duration(train.seconds)} on {train.device} "
        f"({train.timesteps_per_second:,.0f} timesteps/s)."
    ]
    if train.resumed_from is not None:
        sentences.append(f"It was resumed from the checkpoint at {train.resumed_from:,} timesteps.")
    if train.interrupted:
        sentences.append("It was interrupted before the end of its budget.")
    sentences.append(
        f"The best checkpoint, after {train.best_timesteps:,} timesteps, has {percent(train.best_success)} success "
        "on the selection seeds."
    )
    ended = ", and it ended the training" if verdict.stopped else ""
    sentences.append(f"The monitor's verdict is {verdict.status}{ended}: {verdict.reason.rstrip('.')}.")
    return " ".join(sentences)


def judgement(evaluation: EvaluationReport) -> str:
    """The policy on both seed sets, beside the baselines."""
    heldout, report = evaluation.heldout, evaluation.report
    beside = ", ".join(f"{policy_name(key)} {percent(item.success_rate)}" for key, item in evaluation.baselines.items())
    on_same = f"; on the same engagements: {beside}" if beside else ""
    return (
        f"On {heldout.episodes:,} held-out engagements of `{heldout.scenario}` the policy succeeds in "
        f"{report_success(heldout)} within {heldout.capture_radius:g} m{on_same}. "
        f"On the {report.episodes:,} episodes of the report: {report_success(report)}, mean reward "
        f"{signed(report.mean_reward)}, mean final distance {metres(report.mean_final_distance)}."
    )


def duel(comparison: PairedComparison) -> str:
    """Challenger against champion on the same engagements."""
    return (
        f"Against champion version {comparison.champion_version} on the same engagements: "
        f"{percent(comparison.challenger_success)} to {percent(comparison.champion_success)}; "
        f"{comparison.challenger_only} only the challenger won, {comparison.champion_only} only the champion "
        f"(McNemar p = {comparison.p_value:.3g})."
    )
