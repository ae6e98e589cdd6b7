"""The use cases beside a retraining: judge a policy, diagnose it, promote, list champions, roll back, restore."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlynr.config.project import Project
from hlynr.ops.registry import journal, pages, promotion, standing, versions
from hlynr.ops.registry.standing import Standing
from hlynr.ops.tracking import runs, store
from hlynr.ops.versioning import experiments
from hlynr.pipeline import diagnosis, steps
from hlynr.records.diagnosis import Diagnosis
from hlynr.records.evaluation import EvaluationReport, GateDecision, Judgement
from hlynr.records.retraining import Promotion
from hlynr.records.training import TrainResult
from hlynr.report import descriptions
from hlynr.runtime.errors import EnvironmentNotReady, InputError
from hlynr.runtime.suggestions import not_one_of

if TYPE_CHECKING:
    from hlynr.evaluation.policy import Policy

_MAX_SEED = 2**31 - 1


@dataclass(frozen=True)
class PolicyChoice:
    """Which policy to judge: exactly one of a law's name, a bundle's folder, and a registered model."""

    policy: str | None = None
    bundle: Path | None = None
    model: str | None = None
    truth: bool = False
    """Let it observe the truth instead of the estimate."""


def judge(
    project: Project,
    chosen: PolicyChoice,
    *,
    scenario: str | None = None,
    episodes: int | None = None,
    seed: int | None = None,
) -> Judgement:
    """Run one policy and the reference laws on the same engagements, by default the held-out ones.

    Raises:
        InputError: if the choice, the scenario, the number or the seed is invalid.
    """
    from hlynr.evaluation import judge as judging

    given: dict[str, Any] = {"scenario": scenario, "episodes": episodes, "seed": seed}
    changes = {name: value for name, value in given.items() if value is not None}
    engagements = replace(judging.heldout_set(project.config), **changes)
    known = project.config.scenarios
    if engagements.scenario not in known:
        raise InputError(f"--scenario: {engagements.scenario} {not_one_of(engagements.scenario, sorted(known))}")
    _require_range("--episodes", engagements.episodes, 1, 1_000_000)
    _require_range("--seed", engagements.seed, 0, _MAX_SEED)
    with _policy(project, chosen, engagements.scenario) as policy:
        report, _ = judging.report_on(policy, project.config, engagements, omniscient=chosen.truth)
    laws, _ = judging.baselines(project.config, engagements)
    return Judgement(**report.model_dump(), baselines=laws)


def _require_range(option: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(f"{option}: {value} is not in [{low}, {high}]")


@contextmanager
def _policy(project: Project, chosen: PolicyChoice, scenario: str) -> Iterator[Policy]:
    from hlynr.evaluation.laws import LAWS, law

    given = [name for name in ("policy", "bundle", "model") if getattr(chosen, name) is not None]
    if len(given) != 1:
        found = " and ".join(f"--{name}" for name in given) or "none"
        raise InputError(f"--policy, --bundle, --model: {found} given; exactly one is needed")
    if chosen.policy is not None:
        if chosen.policy not in LAWS:
            raise InputError(f"--policy: {chosen.policy} {not_one_of(chosen.policy, LAWS)}")
        yield law(chosen.policy, project.config, scenario)
        return
    from hlynr.rl.bundle import load_policy

    with tempfile.TemporaryDirectory(prefix="hlynr-model-") as folder:
        bundle = chosen.bundle or _registered_bundle(project, str(chosen.model), "--model", Path(folder))
        yield load_policy(bundle, threads=project.config.train.torch_threads)


def _registered_bundle(project: Project, reference: str, option: str, folder: Path) -> Path:
    """The bundle of a model version, fetched into ``folder``."""
    opened = store.open_existing(project.config, project.root)
    if opened is None:
        raise InputError(f"{option}: {reference}: no model has been registered yet; hlynr retrain does that")
    try:
        versions.find(opened, reference)
    except versions.RegistryError as error:
        raise InputError(f"{option}: {error}") from None
    return versions.fetch_bundle(opened, reference, folder / "bundle")


def diagnose(
    project: Project, target: str, *, episodes: int, seed: int | None, budget: int, out: Path | None
) -> Diagnosis:
    """Find out why a policy fails; record and page go to ``out``, by default the outputs folder's diagnose.

    Args:
        target: a bundle's folder, a registered model like models:/NAME/3, or the id of an MLflow run.

    Raises:
        InputError: if there is no such bundle, or an option is invalid.
    """
    _require_range("--episodes", episodes, 1, diagnosis.MOST_EPISODES)
    _require_range("--seed", seed or 0, 0, _MAX_SEED)
    with _bundle_of(project, target) as bundle:
        return diagnosis.examine(project, bundle, name=target, episodes=episodes, seed=seed, budget=budget, out=out)


@contextmanager
def _bundle_of(project: Project, target: str) -> Iterator[Path]:
    """The bundle's folder; one from the store is removed afterwards."""
    if Path(target).is_dir():
        yield Path(target)
    elif _newest_run(project) == target:
        yield project.bundle
    else:
        with tempfile.TemporaryDirectory(prefix="hlynr-model-") as folder:
            if target.startswith("models:/"):
                yield _registered_bundle(project, target, "TARGET", Path(folder))
            else:
                yield _bundle_of_run(project, target, Path(folder))


def _bundle_of_run(project: Project, run_id: str, folder: Path) -> Path:
    """Of a failed attempt, which keeps its bundle with the run, or of a registered model."""
    opened = store.open_existing(project.config, project.root)
    if opened is not None:
        kept = runs.fetch_bundle(opened, run_id, folder)
        if kept is not None:
            return kept
        version = versions.newest_of_run(opened, run_id)
        if version is not None:
            return versions.fetch_bundle(opened, version, folder / "bundle")
    raise InputError(
        f"TARGET: {run_id}: is no bundle's folder, no models:/ reference, and no run whose bundle is the newest, "
        "registered or that of a failed attempt"
    )


def _newest_run(project: Project) -> str | None:
    """The MLflow run of the newest training; None if there is no bundle, or its manifest is invalid."""
    from hlynr.rl.bundle import BundleError, read_manifest

    try:
        run_id: str | None = read_manifest(project.bundle)["lineage"]["mlflow_run_id"]
    except BundleError:
        return None
    return run_id


def promote_newest(project: Project) -> tuple[GateDecision, Promotion]:
    """Gate and promotion for the newest training and evaluation in the outputs folder.

    Raises:
        InputError: if there is no training or no evaluation, or they do not belong together.
    """
    try:
        result = TrainResult.read(project.train / "result.json")
        report = EvaluationReport.read(project.evaluate / "report.json")
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: is missing; run hlynr train and hlynr evaluate --out first") from None
    if result.bundle_sha256 != report.bundle_sha256:
        raise InputError(f"{project.evaluate / 'report.json'}: judges another bundle than the newest; evaluate again")
    numbered = project.at_retraining(result.lineage.retraining)
    decision = steps.gate(numbered, result, report)
    return decision, steps.promote(numbered, result, report, decision)


def rollback(project: Project) -> Promotion:
    """Make the previous champion champion again, after its bundle has been verified, loaded and run again.

    Raises:
        EnvironmentNotReady: if there is no previous champion, its bundle does not load, or its success has dropped.
    """
    opened = store.open_existing(project.config, project.root)
    if opened is None:
        raise EnvironmentNotReady(f"{project.config.tracking.model} has no champion to roll back from")
    done = promotion.rollback(opened, partial(_run_again, project, opened))
    if done.champion_before is not None:
        pages.add_to_version(opened, done.champion_before, descriptions.rolled_back(done))
    pages.describe_model(opened, descriptions.model)
    return done


def _run_again(project: Project, opened: store.Store, version: versions.VersionInfo, bundle: Path) -> str:
    """The result of the report's engagements of the version's own retraining, under today's configuration."""
    from hlynr.evaluation.judge import rerun
    from hlynr.rl.bundle import load_policy

    policy = load_policy(bundle, threads=project.config.train.torch_threads)
    own = project if version.retraining is None else project.at_retraining(version.retraining)
    found = rerun(policy, own.config, versions.reported_success(opened, version))
    fault = found.fault(project.config.gate)
    if fault:
        raise EnvironmentNotReady(fault)
    return f"its bundle loads, and {found}"


def champions(project: Project) -> list[Promotion]:
    """Every decision about the registered model, the oldest first."""
    opened = store.open_existing(project.config, project.root)
    return [] if opened is None else journal.history(opened)


def present_champion(project: Project) -> Standing:
    """The version that is champion now, and what is wrong in the registry."""
    opened = store.open_existing(project.config, project.root)
    return Standing(None, None, ()) if opened is None else standing.look(opened)


def restore(project: Project, revision: str, destination: Path) -> Path:
    """Restore a bundle from DVC and verify it."""
    from hlynr.rl.bundle import digest

    restored = experiments.restore(project.root, revision, destination)
    digest(restored)
    return restored
