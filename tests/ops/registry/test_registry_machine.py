"""The registry under random operations, changes by hand and kills, against a model of it."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from support.registry_machine import RegistryMachine

QUICK = settings(
    max_examples=6,
    stateful_step_count=12,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
"""The same operations in every run; `make chaos` draws others."""


def test_the_registry_is_as_its_model_says_whatever_is_done_and_killed(database: Path) -> None:
    RegistryMachine.template = database
    run_state_machine_as_test(seed(1)(RegistryMachine), settings=QUICK)  # type: ignore[no-untyped-call]
    assert len(RegistryMachine.kills) >= 8
