"""Chains over a pruning: killed at its changes until it is let through, it removes and keeps what it should."""

from __future__ import annotations

import json
import random
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from chaos import interposer, judge
from chaos.chains import Chain, Workshop, step
from chaos.runs import Fault, Who

KILLS = 12
"""Of one chain; the undisturbed pruning has some hundred changes."""
LATER = timedelta(days=400)
"""The time at which is pruned: everything is older than `retention.days`."""


def prune(shop: Workshop, seed: int) -> Chain:
    """A project with a champion and three retrainings that ended without a decision is pruned, and killed meanwhile."""
    chain, rng = Chain("prune", seed), random.Random(f"prune {seed}")
    root = shop.world.root
    prepared = _prepared(shop)
    shop.world.restore(prepared)
    expected: dict[str, Any] = json.loads((prepared.with_name("pruned.json")).read_text(encoding="utf-8"))
    for _ in range(KILLS):
        who: Who = rng.choice(("one", "all"))
        mode = rng.choice((interposer.DIE, interposer.DIE, interposer.TORN))
        faults = [Fault("prune", k=rng.randint(1, max(1, expected["changes"] // 2)), mode=mode, who=who)]
        ended = shop.runner.run(lambda: _prune(root), faults, rng, lambda: None)
        chain.note(ended)
        shop.look(chain)
        shop.said(chain, ended)
        if not ended.hit:
            break
    if shop.runner.run(lambda: _prune(root), [], rng, lambda: None).code:
        chain.wrong.append(f"the pruning failed: {shop.world.said().strip().splitlines()[-1:]}")
    if left := shop.runner.remaining(30.0):
        chain.wrong.append(f"processes that remain: {left}")
    if difference := judge.difference(_stored(shop), expected["stored"]):
        chain.wrong.append(difference)
    return chain


def _prepared(shop: Workshop) -> Path:
    """The project before the pruning; beside it what an undisturbed one leaves and how many changes it makes."""
    prepared, facts = shop.world.folder / "unpruned", shop.world.folder / "pruned.json"
    if facts.exists() and facts.stat().st_mtime > (shop.world.template / "params.yaml").stat().st_mtime:
        return prepared
    rng, root = random.Random(0), shop.world.root
    shop.world.restore()
    for name in ("train", "version") * 3:  # each begins where no result is left to go on with
        if name == "train":
            shutil.rmtree(root / "outputs", ignore_errors=True)
        if shop.runner.run(lambda: step(root, name), [], rng, lambda: None).code:  # noqa: B023
            raise RuntimeError(f"preparing the pruning: {shop.world.said()}")
    shutil.rmtree(root / "outputs", ignore_errors=True)
    shutil.rmtree(prepared, ignore_errors=True)
    shutil.copytree(root, prepared, symlinks=True)
    ended = shop.runner.run(lambda: _prune(root), [], rng, lambda: None)
    if ended.code:
        raise RuntimeError(f"the undisturbed pruning: {shop.world.said()}")
    facts.write_text(json.dumps({"stored": _stored(shop), "changes": ended.changes["prune"]}), encoding="utf-8")
    return prepared


def _prune(root: Path) -> int:
    from hlynr.config import params
    from hlynr.config.project import Project
    from hlynr.ops.retention import prune as pruning
    from hlynr.runtime import errors

    def run() -> None:
        print("prune ...", file=sys.stderr, flush=True)
        record = pruning.prune(Project(root, params.load(root / "params.yaml")), now=datetime.now(UTC) + LATER)
        if record.faults:
            raise errors.EnvironmentNotReady("; ".join(record.faults))

    return errors.exit_code(run)


def _stored(shop: Workshop) -> dict[str, Any]:
    """What remains, found by a process of its own."""

    def main() -> None:
        print(json.dumps(_found(shop.world.root)))

    if shop.runner.run(main, [], random.Random(0), lambda: None).code:
        return {"judge": shop.world.said().strip().splitlines()[-1:]}
    found: dict[str, Any] = json.loads(shop.world.output.with_suffix(".out").read_text().splitlines()[-1])
    return found


def _found(root: Path) -> dict[str, Any]:
    from mlflow.entities import ViewType

    from hlynr.config import params
    from hlynr.ops.registry import journal, versions
    from hlynr.ops.tracking import store
    from hlynr.ops.versioning import experiments

    opened = store.open_store(params.load(root / "params.yaml"), root)
    champion = versions.champion(opened)
    assert champion is not None
    versions.fetch_bundle(opened, champion.version, root / ".hlynr" / "fetched")
    shutil.rmtree(root / ".hlynr" / "fetched")
    runs = opened.client.search_runs([opened.experiment_id], run_view_type=ViewType.ALL)
    return {
        "runs": sorted((run.info.status, run.info.lifecycle_stage) for run in runs),
        "models": len(opened.client.search_logged_models([opened.experiment_id])),
        "history": [entry.action for entry in journal.history(opened)],
        "champion": champion.version,
        "experiments": len(experiments.saved(root)),
        "artifacts": _files(root / "mlruns" / "artifacts"),
        "cache": _files(root / ".dvc" / "cache"),
        "remote": _files(root / ".dvc" / "storage"),
        "objects": judge.repository(root),
    }


def _files(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))
