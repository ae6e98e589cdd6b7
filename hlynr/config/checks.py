"""Settings that are sound one by one and contradict each other across sections of params.yaml.

Refused is what would make a setting mean something else than it says, or nothing at all. Accepted is what only
never comes about in a short trial: ``monitor.abort_after``, ``monitor.window`` or ``train.checkpoint_interval``
beyond ``train.timesteps``; to try out a training with fewer timesteps must not take four more changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hlynr.config.base import SEED_DISTANCE
from hlynr.runtime.suggestions import not_one_of

if TYPE_CHECKING:
    from hlynr.config.sections import (
        Evaluation,
        Gate,
        Monitor,
        Retrain,
        Run,
        Scenario,
        Sim,
        Stability,
        Strategy,
        Train,
        Tune,
    )


HORIZON_FRACTION = 1 / 5
"""Least part of the time limit that the discount must see; gamma 0.99 at 100 Hz is one second."""


def faults(sections: Mapping[str, Any]) -> list[str]:
    """One line per contradiction; a check is left out where a section it needs is missing."""
    return [
        fault
        for check, needed in _CHECKS
        if all(name in sections for name in needed)
        for fault in check(*(sections[name] for name in needed))
    ]


def _strategies_exist(
    run: Run, strategies: Mapping[str, Strategy], retrain: Retrain, stability: Stability
) -> Iterator[str]:
    known = ["default", *sorted(strategies)]
    named = {"run.strategy": run.strategy}
    named |= {f"retrain.plan[{number}]": name for number, name in enumerate(retrain.plan)}
    named |= {f"stability.runs[{number}].strategy": runs.strategy for number, runs in enumerate(stability.runs)}
    for key, name in named.items():
        if name not in known:
            yield f"{key}: {json.dumps(name)} {not_one_of(name, known)}"
    if "default" in strategies:
        yield "strategies.default: is what the sections say as they stand; give the overlay another name"
    for number, name in enumerate(retrain.plan):
        if name in retrain.plan[:number]:
            # The same seeds and settings would fail in the same way.
            yield f"retrain.plan[{number}]: {json.dumps(name)} has been tried before in the plan"


def _scenarios_exist(train: Train, evaluation: Evaluation, scenarios: Mapping[str, Scenario]) -> Iterator[str]:
    for key, name in (("train", train.scenario), ("evaluation", evaluation.scenario)):
        if name not in scenarios:
            yield f"{key}.scenario: {json.dumps(name)} {not_one_of(name, sorted(scenarios))}"


def _curriculum_ends_as_declared(train: Train, scenarios: Mapping[str, Scenario]) -> Iterator[str]:
    """A training that never meets the radius at which it is judged."""
    if train.curriculum.mode == "frozen" or train.scenario not in scenarios:
        return
    last, declared = train.curriculum.radii[-1], scenarios[train.scenario].capture_radius
    if last != declared:
        yield (
            f"train.curriculum.radii: the last one, {last:g}, is not scenarios.{train.scenario}.capture_radius = "
            f"{declared:g}"
        )


def _seeds_apart(train: Train, monitor: Monitor, evaluation: Evaluation) -> Iterator[str]:
    seeds = {
        "train.seed": train.seed,
        "monitor.selection_seed": monitor.selection_seed,
        "evaluation.report_seed": evaluation.report_seed,
        "evaluation.heldout_seed": evaluation.heldout_seed,
    }
    names = list(seeds)
    for number, name in enumerate(names):
        for other in names[:number]:
            yield from _apart(name, seeds[name], other, seeds[other])


def _judging(monitor: Monitor, evaluation: Evaluation) -> dict[str, int]:
    return {
        "monitor.selection_seed": monitor.selection_seed,
        "evaluation.report_seed": evaluation.report_seed,
        "evaluation.heldout_seed": evaluation.heldout_seed,
    }


def _stability_runs_differ(stability: Stability, monitor: Monitor, evaluation: Evaluation) -> Iterator[str]:
    """Its seeds are training seeds, and two runs alike would count as two witnesses."""
    judging = _judging(monitor, evaluation)
    known: set[tuple[str, int]] = set()
    for number, runs in enumerate(stability.runs):
        for place, seed in enumerate(runs.seeds):
            key = f"stability.runs[{number}].seeds[{place}]"
            if (runs.strategy, seed) in known:
                yield f"{key}: {json.dumps(runs.strategy)} with seed {seed} stands in the study before"
            known.add((runs.strategy, seed))
            for other, value in judging.items():
                yield from _apart(key, seed, other, value)


def _search_is_confirmed_afresh(tune: Tune, monitor: Monitor, evaluation: Evaluation) -> Iterator[str]:
    """A winner is to hold on seeds and engagements that the search has not seen."""
    judging = _judging(monitor, evaluation)
    for name, value in judging.items():
        yield from _apart("tune.confirm.heldout_seed", tune.confirm.heldout_seed, name, value)
    judging["tune.confirm.heldout_seed"] = tune.confirm.heldout_seed
    known: dict[int, str] = {}
    for section, seeds in (("tune.seeds", tune.seeds), ("tune.confirm.seeds", tune.confirm.seeds)):
        for place, seed in enumerate(seeds):
            key = f"{section}[{place}]"
            if seed in known:
                yield f"{key}: {seed} is the same as {known[seed]}"
            known.setdefault(seed, key)
            for other, value in judging.items():
                yield from _apart(key, seed, other, value)


def _search_has_a_course(tune: Tune, monitor: Monitor) -> Iterator[str]:
    """Enough evaluations for an end that can differ from the peak."""
    evaluations = tune.timesteps // tune.interval
    if evaluations <= monitor.window:
        yield (
            f"tune.interval: {tune.interval} gives {evaluations} evaluations in tune.timesteps = {tune.timesteps}, "
            f"which is not more than monitor.window = {monitor.window}"
        )
    if tune.prune_after > tune.timesteps:
        yield f"tune.prune_after: {tune.prune_after} is not in [1, tune.timesteps = {tune.timesteps}]"
    if tune.study == "default":
        yield 'tune.study: "default" is what the sections say as they stand; give the study another name'


def _apart(name: str, seed: int, other: str, value: int) -> Iterator[str]:
    if abs(seed - value) < SEED_DISTANCE:
        yield f"{name}: {seed} is not at least {SEED_DISTANCE} from {other} = {value}"


def _horizon(train: Train, sim: Sim, scenarios: Mapping[str, Scenario]) -> Iterator[str]:
    """A discount that forgets the outcome before the policy can influence it."""
    if train.gamma == 1.0 or train.scenario not in scenarios:
        return
    horizon = sim.dt * sim.control_interval / (1.0 - train.gamma)
    needed = scenarios[train.scenario].time_limit * HORIZON_FRACTION
    if horizon < needed:
        yield (
            f"train.gamma: {train.gamma} looks {horizon:.2g} s ahead (sim.dt * sim.control_interval / (1 - gamma)), "
            f"which is not at least a fifth of the scenario's time limit, {needed:g} s"
        )


def _evaluations_happen(train: Train, monitor: Monitor) -> Iterator[str]:
    """Training is looked at between rollouts, so an interval below one would be another than the one set."""
    low, high = train.rollout, max(train.rollout, train.timesteps)
    if not low <= monitor.interval <= high:
        limits = f"[n_envs * n_steps = {low}, train.timesteps = {train.timesteps}]"
        yield f"monitor.interval: {monitor.interval} is not in {limits}"


def _events_happen(sim: Sim, scenarios: Mapping[str, Scenario]) -> Iterator[str]:
    for name, scenario in scenarios.items():
        key, limit = f"scenarios.{name}", scenario.time_limit
        needed = {
            "one timestep, sim.dt * sim.control_interval": sim.control_interval,
            "the first radar scan, sim.dt * sim.radar_interval * (radar.delay + 1)": sim.radar_interval
            * (scenario.radar.delay + 1),
        }
        for what, ticks in needed.items():
            if limit < (seconds := sim.dt * ticks):
                yield f"{key}.time_limit: {limit} is not at least {what} = {seconds:g}"
        interval = scenario.cue.interval
        if interval % sim.radar_interval:
            # The tracker meets the ground's cue at a scan; in between there would be none.
            yield f"{key}.cue.interval: {interval} is not a multiple of sim.radar_interval = {sim.radar_interval}"


def _champion_beatable(evaluation: Evaluation, gate: Gate) -> Iterator[str]:
    """With too few engagements even a challenger that wins all of those its champion loses is not significant."""
    best = 0.5**evaluation.heldout_episodes
    if best >= gate.p_value:
        yield (
            f"evaluation.heldout_episodes: {evaluation.heldout_episodes} is not enough for gate.p_value = "
            f"{gate.p_value}: the smallest possible p is {best:g}"
        )


_CHECKS: tuple[tuple[Callable[..., Iterator[str]], tuple[str, ...]], ...] = (
    (_strategies_exist, ("run", "strategies", "retrain", "stability")),
    (_scenarios_exist, ("train", "evaluation", "scenarios")),
    (_curriculum_ends_as_declared, ("train", "scenarios")),
    (_seeds_apart, ("train", "monitor", "evaluation")),
    (_stability_runs_differ, ("stability", "monitor", "evaluation")),
    (_search_is_confirmed_afresh, ("tune", "monitor", "evaluation")),
    (_search_has_a_course, ("tune", "monitor")),
    (_horizon, ("train", "sim", "scenarios")),
    (_evaluations_happen, ("train", "monitor")),
    (_events_happen, ("sim", "scenarios")),
    (_champion_beatable, ("evaluation", "gate")),
)
