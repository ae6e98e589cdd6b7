"""What a project holds after a retraining, in a form that equals the undisturbed one's if nothing went wrong."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

from hlynr.config import params
from hlynr.config.project import Project


def facts(root: Path) -> dict[str, Any]:
    """Everything that is compared; to be called in a process that has not opened the store before."""
    from hlynr.ops.registry import journal, versions
    from hlynr.ops.tracking import store

    project = Project(root, params.load(root / "params.yaml"))
    opened = store.open_store(project.config, root)
    history = journal.history(opened)
    last = history[-1]
    made = opened.client.search_model_versions(f"name = '{opened.model}'")
    aliases = {name: versions.by_alias(opened, name) for name in ("champion", "previous_champion", "challenger")}  # type: ignore[arg-type]
    return {
        "weights": _sha(project.bundle / "weights.safetensors"),
        "versions": sorted(int(each.version) for each in made),
        "runs of versions": len({each.run_id for each in made}),
        "aliases": {name: found.version for name, found in aliases.items() if found},
        "history": [(each.action, each.version, each.champion_before, each.champion_after) for each in history],
        "pending": str(journal.unfinished(opened)),
        "unfinished runs": _unfinished(opened),
        "record": _record(project, last),
        "evaluations missing in MLflow": _missing(opened, last, project),
        "registered bundle": _registered(opened, last.version, project),
        "experiment": _experiment(project, last.lineage_id),
        "left behind": _left(project, opened),
        "project": repository(root),
    }


def _sha(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else "missing"


def _unfinished(opened: Any) -> int:
    found = opened.client.search_runs([opened.experiment_id], max_results=1000)
    return sum(run.info.status not in ("FINISHED", "FAILED", "KILLED") for run in found)


def _record(project: Project, last: Any) -> Any:
    from hlynr.records.retraining import RetrainRecord

    try:
        record = RetrainRecord.read(project.record)
    except (OSError, ValueError) as error:
        return str(error)
    same = (record.lineage.id, record.promotion.when) == (last.lineage_id, last.when)
    evaluations = [point.timesteps for point in record.train.evaluations]
    return ["is the history's newest entry", same, record.promotion.action, len(record.attempts), evaluations]


def _missing(opened: Any, last: Any, project: Project) -> list[int]:
    """Evaluations of the training that MLflow lacks; it may have more, made when a training was interrupted."""
    from hlynr.records.training import TrainResult

    logged = {entry.step for entry in opened.client.get_metric_history(last.mlflow_run_id, "eval/success_rate")}
    known = TrainResult.read(project.train / "result.json").evaluations
    return [point.timesteps for point in known if point.timesteps not in logged]


def _registered(opened: Any, version: int, project: Project) -> str:
    import tempfile

    from hlynr.ops.registry import versions

    with tempfile.TemporaryDirectory() as folder:
        return _sha(versions.fetch_bundle(opened, version, Path(folder) / "bundle") / "weights.safetensors")


def _experiment(project: Project, lineage_id: str) -> Any:
    """Weights as they come back, and how many experiments there are."""
    import tempfile

    from hlynr.ops.versioning import experiments

    if not project.config.versioning.enabled:
        return None
    name = experiments.experiment_names(lineage_id)[0]
    with tempfile.TemporaryDirectory() as folder:
        restored = experiments.restore(project.root, name, Path(folder) / "bundle")
        weights = _sha(restored / "weights.safetensors")
    return [weights, sorted(each.name == name for each in experiments.saved(project.root))]


def _left(project: Project, opened: Any) -> list[str]:
    root = project.root
    found = [path for folder in (".git", ".hlynr/worktrees", ".dvc/tmp") for path in (root / folder).rglob("*.lock")]
    found += [*(root / ".hlynr/worktrees").glob("*"), *(root / "mlruns").glob("*unfinished*")]
    found += [*project.train.glob("unsent*"), *root.rglob("*.db-journal"), *root.glob("outputs/**/*.tmp")]
    found = [path for path in found if path.relative_to(root).parts[:2] != (".dvc", "tmp")]
    locks = [each.name for each in opened.client.search_registered_models() if ".lock" in each.name]
    return sorted([*(str(path.relative_to(root)) for path in found), *locks])


def repository(root: Path) -> dict[str, str]:
    def git(*command: str) -> str:
        done = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr * (done.returncode != 0)

    return {
        "params.yaml": _sha(root / "params.yaml"),
        "head": git("rev-parse", "HEAD"),
        "branch": git("symbolic-ref", "HEAD"),
        "status": git("status", "--porcelain"),
        "worktrees": str(git("worktree", "list", "--porcelain").count("worktree ")),
        "objects": git("fsck", "--connectivity-only", "--no-dangling", "--no-progress"),
    }


def difference(found: dict[str, Any], expected: dict[str, Any]) -> str:
    """What differs, as one line; empty if nothing does."""
    found, expected = json.loads(json.dumps(found)), json.loads(json.dumps(expected))
    keys = [key for key in expected if expected[key] is not None and found.get(key) != expected[key]]
    return "; ".join(f"{key}: {found.get(key)!r} instead of {expected[key]!r}" for key in keys)


def concluded(root: Path) -> int:
    """How many retrainings the store has the result of, the template's included; 0 for a store on a server."""
    database = root / "mlruns" / "mlflow.db"
    if not database.exists():
        return 0
    with closing(sqlite3.connect(database, timeout=60)) as opened:
        counted = opened.execute("select count(*) from tags where key = 'hlynr.retraining.outcome'").fetchone()
    return int(counted[0])


def quick(root: Path) -> str:
    """What is wrong right after a kill, whatever has to be resumed; empty if nothing is. Costs milliseconds."""
    database = root / "mlruns" / "mlflow.db"
    wrong = []
    if database.exists():
        with closing(sqlite3.connect(database, timeout=60)) as opened:
            checked = opened.execute("pragma quick_check").fetchone()[0]
            wrong += [] if checked == "ok" else [f"database: {checked}"]
            aliases = opened.execute(
                "select alias, name, version from registered_model_aliases a where not exists "
                "(select 1 from model_versions v where v.name = a.name and v.version = a.version)"
            ).fetchall()
            wrong += [f"alias without a version: {alias}" for alias in aliases]
            twice = opened.execute(
                "select run_id from model_versions where current_stage != 'Deleted_Internal' "
                "group by name, run_id having count(*) > 1"
            ).fetchall()
            wrong += [f"two versions of run {run}" for (run,) in twice]
    head = (root / ".git" / "HEAD").read_text(encoding="utf-8").strip()
    wrong += [] if head == "ref: refs/heads/main" else [f"HEAD is {head}"]
    try:
        params.load(root / "params.yaml")
    except Exception as error:
        wrong.append(f"params.yaml: {error}")
    return "; ".join(wrong)
