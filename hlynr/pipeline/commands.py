"""What a person asks for beside the nightly steps: judge any policy, look at champions, roll back, restore."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hlynr.config.project import Project
from hlynr.records.diagnosis import Diagnosis
from hlynr.records.evaluation import EvaluationReport, GateDecision, Judgement
from hlynr.records.retraining import Promotion
from hlynr.records.training import TrainResult
from hlynr.runtime.errors import EnvironmentNotReady, InputError
from hlynr.runtime.suggestions import not_one_of

if TYPE_CHECKING:
    from hlynr.evaluation.policy import Policy
    from hlynr.ops.registry.versions import VersionInfo
    from hlynr.ops.tracking.store import Store


@dataclass(frozen=True)
class PolicyChoice:
    """Which policy to judge: exactly one of a law, a bundle's folder, and a registered model."""

    policy: str | None = None
    bundle: Path | None = None
    model: str | None = None
    truth: bool = False
    """Let it see the truth instead of the estimate."""


def judge(
    project: Project,
    chosen: PolicyChoice,
    *,
    scenario: str | None = None,
    episodes: int | None = None,
    seed: int | None = None,
) -> Judgement:
    """Fly one policy and the reference laws through the same engagements.

    Raises:
        InputError: if the choice, the scenario, the number or the seed cannot be.
    """
    from hlynr.evaluation import judge as judging

    default = judging.heldout_set(project.config)
    engagements = judging.SeedSet(
        scenario if scenario is not None else default.scenario,
        seed if seed is not None else default.seed,
        episodes if episodes is not None else default.episodes,
    )
    _check_engagements(project, engagements.scenario, engagements.episodes, engagements.seed)
    with _policy(project, chosen, engagements.scenario) as policy:
        report, _ = judging.report_on(policy, project.config, engagements, omniscient=chosen.truth)
    laws, _ = judging.baselines(project.config, engagements)
    return Judgement(**report.model_dump(), baselines=laws)


def _check_engagements(project: Project, scenario: str, episodes: int, seed: int) -> None:
    known = project.config.scenarios
    if scenario not in known:
        raise InputError(f"--scenario: {scenario} {not_one_of(scenario, sorted(known))}")
    if not 1 <= episodes <= 1_000_000:
        raise InputError(f"--episodes: {episodes} is not in [1, 1000000]")
    if not 0 <= seed < 2**31:
        raise InputError(f"--seed: {seed} is not in [0, {2**31})")


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

    threads = project.config.train.torch_threads
    if chosen.bundle is not None:
        yield load_policy(chosen.bundle, threads=threads)
        return
    from hlynr.ops.registry import versions

    opened, version = _registered(project, str(chosen.model))
    with tempfile.TemporaryDirectory(prefix="hlynr-model-") as folder:
        yield load_policy(versions.fetch_bundle(opened, version, Path(folder) / "bundle"), threads=threads)


def _registered(project: Project, reference: str, option: str = "--model") -> tuple[Store, str]:
    """The store, and the reference once it is clear that it means a version there."""
    from hlynr.ops.registry import versions

    opened = _store(project)
    if opened is None:
        raise InputError(f"{option}: {reference}: no model has been registered yet; hlynr retrain does that")
    try:
        versions.find(opened, reference)
    except versions.RegistryError as error:
        raise InputError(f"{option}: {error}") from None
    return opened, reference


def _store(project: Project) -> Store | None:
    """The MLflow store; None where it has not been made yet."""
    from hlynr.ops.tracking import store

    return store.open_existing(project.config, project.root)


def diagnose(
    project: Project, target: str, *, episodes: int, seed: int | None, budget: int, out: Path | None
) -> Diagnosis:
    """Find out why a policy fails; record and page go to ``out``, by default the outputs folder's diagnose.

    Args:
        target: a bundle's folder, a registered model like models:/NAME/3, or the id of an MLflow run.

    Raises:
        InputError: if there is no such bundle, or an option cannot be.
    """
    from hlynr.pipeline import diagnosis

    if not 1 <= episodes <= diagnosis.MOST_EPISODES:
        raise InputError(f"--episodes: {episodes} is not in [1, {diagnosis.MOST_EPISODES}]")
    if seed is not None and not 0 <= seed < 2**31:
        raise InputError(f"--seed: {seed} is not in [0, {2**31})")
    with _bundle_of(project, target) as bundle:
        return diagnosis.examine(project, bundle, name=target, episodes=episodes, seed=seed, budget=budget, out=out)


@contextmanager
def _bundle_of(project: Project, target: str) -> Iterator[Path]:
    """The bundle's folder; what comes from the registry is gone afterwards."""
    from hlynr.ops.registry import versions

    if Path(target).is_dir():
        yield Path(target)
        return
    if _newest_run(project) == target:
        yield project.bundle
        return
    version: int | str
    with tempfile.TemporaryDirectory(prefix="hlynr-model-") as folder:
        if target.startswith("models:/"):
            opened, version = _registered(project, target, "TARGET")
        elif (kept := _kept(project, target, Path(folder))) is not None:
            yield kept
            return
        else:
            opened, version = _registered_run(project, target)
        yield versions.fetch_bundle(opened, version, Path(folder) / "bundle")


def _kept(project: Project, run_id: str, folder: Path) -> Path | None:
    """The bundle of a failed attempt, which no registered model holds."""
    from hlynr.ops.tracking import runs

    opened = _store(project)
    return None if opened is None else runs.fetch_bundle(opened, run_id, folder)


def _newest_run(project: Project) -> str | None:
    """The MLflow run of the newest training; None if there is no bundle, or it cannot be trusted."""
    from hlynr.rl.bundle import BundleError, read_manifest

    try:
        run_id: str | None = read_manifest(project.bundle)["lineage"]["mlflow_run_id"]
    except BundleError:
        return None
    return run_id


def _registered_run(project: Project, run_id: str) -> tuple[Store, int]:
    from hlynr.ops.registry import versions

    opened = _store(project)
    version = None if opened is None else versions.newest_of_run(opened, run_id)
    if opened is None or version is None:
        raise InputError(
            f"TARGET: {run_id}: is no bundle's folder, no models:/ reference, and no run whose bundle is the newest, "
            "registered or that of a failed attempt"
        )
    return opened, version


def promote_newest(project: Project) -> tuple[GateDecision, Promotion]:
    """Gate and promotion for what the last training and evaluation left in the outputs folder.

    Raises:
        InputError: if there is no training or no evaluation, or they do not belong together.
    """
    from hlynr.pipeline import steps

    try:
        result = TrainResult.read(project.train / "result.json")
        report = EvaluationReport.read(project.evaluate / "report.json")
    except OSError as error:
        raise InputError(f"{error.filename}: is missing; run hlynr train and hlynr evaluate --out first") from None
    if result.bundle_sha256 != report.bundle_sha256:
        raise InputError(f"{project.evaluate / 'report.json'}: judges another bundle than the newest; evaluate again")
    numbered = project.at_retraining(result.lineage.retraining)
    decision = steps.gate(numbered, result, report)
    return decision, steps.promote(numbered, result, report, decision)


def rollback(project: Project) -> Promotion:
    """Make the previous champion champion again, once it has been fetched, verified, loaded and flown again.

    Raises:
        EnvironmentNotReady: if there is no previous champion, it does not load, or it no longer flies as it did.
    """
    from hlynr.ops.registry import pages, promotion
    from hlynr.report import descriptions

    opened = _store(project)
    if opened is None:
        raise EnvironmentNotReady(f"{project.config.tracking.model} has no champion to roll back from")
    done = promotion.rollback(opened, partial(_flown_again, project, opened))
    if done.champion_before is not None:
        pages.add_to_version(opened, done.champion_before, descriptions.rolled_back(done))
    pages.describe_model(opened, descriptions.model)
    return done


def _flown_again(project: Project, opened: Store, version: VersionInfo, bundle: Path) -> str:
    """What flying the report of the version's own retraining gave, under today's configuration."""
    from hlynr.evaluation.rerun import rerun
    from hlynr.ops.registry import versions
    from hlynr.rl.bundle import load_policy

    policy = load_policy(bundle, threads=project.config.train.torch_threads)
    own = project if version.retraining is None else project.at_retraining(version.retraining)
    found = rerun(policy, own.config, versions.reported_success(opened, version))
    fault = found.fault(project.config.gate)
    if fault:
        raise EnvironmentNotReady(fault)
    return f"its bundle loads, and {found}"


def champions(project: Project) -> list[Promotion]:
    """Every decision about the registered model, oldest first."""
    from hlynr.ops.registry import journal

    opened = _store(project)
    return [] if opened is None else journal.history(opened)


def restore(project: Project, revision: str, destination: Path) -> Path:
    """Bring a bundle back from DVC and check it."""
    from hlynr.ops.versioning import experiments
    from hlynr.rl.bundle import digest

    restored = experiments.restore(project.root, revision, destination)
    digest(restored)
    return restored
