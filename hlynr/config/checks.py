"""Settings that are sound one by one and contradict each other across sections of params.yaml.

A setting may not be without effect, with one exception: ``monitor.abort_after``, ``monitor.window`` and
``train.checkpoint_interval`` may lie beyond ``train.timesteps``, so that a short trial takes one change and not four.
"""

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations, product
from typing import Any

from hlynr.config.base import SEED_DISTANCE
from hlynr.config.scenarios import Scenario
from hlynr.config.sections import Evaluation, Gate, Monitor, Retrain, Run, Sim, Stability, Strategy, Train, Tune
from hlynr.runtime.suggestions import not_one_of

HORIZON_FRACTION = 1 / 5
"""Least part of the time limit that the discount must see; gamma 0.99 at 100 Hz is one second."""


def faults(sections: Mapping[str, Any]) -> list[str]:
    """One line per contradiction; a check is left out where a section it needs is missing."""
    found: list[str] = []
    for check in _CHECKS:
        needed = inspect.signature(check).parameters
        if needed.keys() <= sections.keys():
            found += check(**{name: sections[name] for name in needed})
    return found


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
        yield "strategies.default: is the name of the sections without an overlay; give the overlay another name"
    for number, name in enumerate(retrain.plan):
        if name in retrain.plan[:number]:
            # The same seeds and settings would fail in the same way.
            yield f"retrain.plan[{number}]: {json.dumps(name)} is in the plan already"


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


def _seeds_apart(
    train: Train, monitor: Monitor, evaluation: Evaluation, stability: Stability, tune: Tune
) -> Iterator[str]:
    """No policy is judged on engagements it was trained or selected on."""
    judging = {
        "monitor.selection_seed": monitor.selection_seed,
        "evaluation.report_seed": evaluation.report_seed,
        "evaluation.heldout_seed": evaluation.heldout_seed,
    }
    confirming = judging | {"tune.confirm.heldout_seed": tune.confirm.heldout_seed}
    training = {"train.seed": train.seed} | {key: seed for key, (_, seed) in _stability_runs(stability).items()}
    searching = _numbered("tune.seeds", tune.seeds) | _numbered("tune.confirm.seeds", tune.confirm.seeds)
    pairs = [(later, earlier) for earlier, later in combinations(confirming.items(), 2)]
    pairs += [*product(training.items(), judging.items()), *product(searching.items(), confirming.items())]
    for (name, seed), (other, value) in pairs:
        if abs(seed - value) < SEED_DISTANCE:
            yield f"{name}: {seed} is not at least {SEED_DISTANCE} from {other} = {value}"


def _trainings_differ(stability: Stability, tune: Tune) -> Iterator[str]:
    """Two trainings alike would count as two witnesses; a winner is confirmed on seeds the search has not used."""
    searching = _numbered("tune.seeds", tune.seeds) | _numbered("tune.confirm.seeds", tune.confirm.seeds)
    for trainings in (_stability_runs(stability), searching):
        first: dict[Any, str] = {}
        for key, training in trainings.items():
            if first.setdefault(training, key) != key:
                yield f"{key}: {json.dumps(training)} is the same as {first[training]}"


def _stability_runs(stability: Stability) -> dict[str, tuple[str, int]]:
    """Strategy and seed of each run."""
    return {
        f"stability.runs[{number}].seeds[{index}]": (runs.strategy, seed)
        for number, runs in enumerate(stability.runs)
        for index, seed in enumerate(runs.seeds)
    }


def _numbered(key: str, seeds: Iterable[int]) -> dict[str, int]:
    return {f"{key}[{number}]": seed for number, seed in enumerate(seeds)}


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
        yield 'tune.study: "default" is the name of the sections without an overlay; give the study another name'


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


_CHECKS: tuple[Callable[..., Iterator[str]], ...] = (
    _strategies_exist,
    _scenarios_exist,
    _curriculum_ends_as_declared,
    _seeds_apart,
    _trainings_differ,
    _search_has_a_course,
    _horizon,
    _evaluations_happen,
    _events_happen,
    _champion_beatable,
)
