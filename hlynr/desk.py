"""What a person asks for beside the nightly steps: judge any policy, look at champions, roll back, restore."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from hlynr.errors import InputError
from hlynr.project import Project
from hlynr.records import Check, EvaluationReport, GateDecision, Judgement, Promotion, TrainResult

if TYPE_CHECKING:
    from hlynr.evaluation.policy import Policy


@dataclass(frozen=True)
class Choice:
    """Which policy to judge: exactly one of a law, a bundle's folder, and a registered model."""

    policy: str | None = None
    bundle: Path | None = None
    model: str | None = None
    truth: bool = False
    """Let it see the truth instead of the estimate."""


def tables() -> ModuleType:
    """How records look in a terminal."""
    from hlynr.report import tables as module

    return module


def doctor(project: Project) -> list[Check]:
    """The checklist, whatever its outcome."""
    from hlynr import doctor as checks

    return checks.examine(project)


def judge(
    project: Project,
    chosen: Choice,
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
        raise InputError(f"--scenario: {scenario} is not one of {', '.join(sorted(known))}")
    if not 1 <= episodes <= 1_000_000:
        raise InputError(f"--episodes: {episodes} is not in [1, 1000000]")
    if not 0 <= seed < 2**31:
        raise InputError(f"--seed: {seed} is not in [0, {2**31})")


@contextmanager
def _policy(project: Project, chosen: Choice, scenario: str) -> Iterator[Policy]:
    from hlynr.evaluation.laws import LAWS, law

    given = [name for name in ("policy", "bundle", "model") if getattr(chosen, name) is not None]
    if len(given) != 1:
        found = " and ".join(f"--{name}" for name in given) or "none"
        raise InputError(f"--policy, --bundle, --model: {found} given; exactly one is needed")
    if chosen.policy is not None:
        if chosen.policy not in LAWS:
            raise InputError(f"--policy: {chosen.policy} is not one of {', '.join(LAWS)}")
        yield law(chosen.policy, project.config, scenario)
        return
    from hlynr.rl.bundle import load_policy

    threads = project.config.train.torch_threads
    if chosen.bundle is not None:
        yield load_policy(chosen.bundle, threads=threads)
        return
    from hlynr.ops import registry, store

    with tempfile.TemporaryDirectory(prefix="hlynr-model-") as folder:
        opened = store.open_store(project.config, project.root)
        yield load_policy(registry.fetch_bundle(opened, str(chosen.model), Path(folder) / "bundle"), threads=threads)


def promote_newest(project: Project) -> tuple[GateDecision, Promotion]:
    """Gate and promotion for what the last training and evaluation left in the outputs folder.

    Raises:
        InputError: if there is no training or no evaluation, or they do not belong together.
    """
    from hlynr import pipeline

    try:
        result = TrainResult.read(project.train / "result.json")
        report = EvaluationReport.read(project.evaluate / "report.json")
    except OSError as error:
        raise InputError(f"{error.filename}: is missing; run hlynr train and hlynr evaluate --out first") from None
    if result.bundle_sha256 != report.bundle_sha256:
        raise InputError(f"{project.evaluate / 'report.json'}: judges another bundle than the newest; evaluate again")
    numbered = project.at_night(result.lineage.night)
    decision = pipeline.gate(numbered, result, report)
    return decision, pipeline.promote(numbered, result, report, decision)


def rollback(project: Project) -> Promotion:
    """Make the previous champion champion again, once its bundle has been fetched, verified and loaded."""
    from hlynr.ops import promotion, store
    from hlynr.rl.bundle import load_policy

    return promotion.rollback(store.open_store(project.config, project.root), load_policy)


def champions(project: Project) -> list[Promotion]:
    """Every decision about the registered model, oldest first."""
    from hlynr.ops import promotion, store

    return promotion.history(store.open_store(project.config, project.root))


def restore(project: Project, revision: str, destination: Path) -> Path:
    """Bring a bundle back from DVC and check it."""
    from hlynr.ops import versioning
    from hlynr.rl.bundle import digest

    restored = versioning.restore(project.root, revision, destination)
    digest(restored)
    return restored


def prepare_prefect(project: Project) -> None:
    """Prefect's settings for a project of its own, unless the user's environment says otherwise.

    Must run before prefect is imported, which reads them.
    """
    settings = {
        "PREFECT_HOME": str(project.root / ".hlynr" / "prefect"),
        # The default of 20 s is short for a busy machine, where the ephemeral server takes up to 40 s.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        # The flow says itself what it does; Prefect's own lines stay in its database for the UI.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)  # its server does not make it


def serve_ui(project: Project, port: int) -> int:
    """Run the MLflow server on localhost until it is stopped; its exit code."""
    from hlynr.ops import store

    opened = store.open_store(project.config, project.root)
    artifacts = (project.root / project.config.tracking.artifacts).as_uri()
    print(f"MLflow UI on http://127.0.0.1:{port}, Ctrl-C stops it")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    stores = ["--backend-store-uri", opened.uri, "--default-artifact-root", artifacts]
    try:
        return subprocess.run([*command, *stores], check=False).returncode
    except KeyboardInterrupt:
        return 0


def bench(project: Project) -> dict[str, float]:
    """The benchmark's figures by their documented keys."""
    from hlynr import bench as benchmark

    return benchmark.run(project.config)
