"""Chains over the registry alone: the state machine of the tests, with other operations for each seed."""

from __future__ import annotations

import json
import random
from pathlib import Path

from chaos.chains import Chain, Workshop


def registry(shop: Workshop, seed: int) -> Chain:
    """Random operations, changes by hand and kills, in a process of its own; each kill is a fault."""
    chain = Chain("registry", seed)
    ended = shop.runner.run(lambda: _machine(shop.world.folder, seed), [], random.Random(0), lambda: None)
    said = shop.world.output.with_suffix(".out").read_text(encoding="utf-8").splitlines()
    kills = json.loads(said[-1]) if ended.code == 0 else []
    phases = {"keep": "promote", "register": "promote"}
    chain.hits += [{"phase": phases.get(name, name), "how": "kill", "who": "main", "at": name} for name in kills]
    if ended.code:
        chain.hits.append({"phase": "promote", "how": "kill", "who": "main", "at": "registry"})
        chain.wrong.append(f"the model disagrees: {' '.join(shop.world.said().split())[-1500:]}")
    return chain


def _machine(folder: Path, seed: int) -> None:
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis import seed as seeded
    from hypothesis.stateful import run_state_machine_as_test
    from support import stores
    from support.registry_machine import RegistryMachine

    from hlynr.ops.tracking.store import open_store

    template = folder / "registry"
    if not (template / "mlruns/mlflow.db").exists():
        open_store(stores.config("tracking.experiment=template"), template)
    RegistryMachine.template = template / "mlruns/mlflow.db"
    drawn = settings(
        max_examples=10,
        stateful_step_count=20,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seeded(seed)(RegistryMachine), settings=drawn)  # type: ignore[no-untyped-call]
    print(json.dumps(RegistryMachine.kills))
