"""What a command that trained exits with; the use cases themselves are met through the doors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hlynr.pipeline import steps
from hlynr.records.training import MonitorVerdict
from hlynr.runtime.errors import DONE, INTERRUPTED, TRAINING_FAILED


@pytest.mark.parametrize(
    ("status", "interrupted", "code"),
    [
        ("healthy", False, DONE),
        ("plateau", False, DONE),
        ("collapse", False, TRAINING_FAILED),
        ("abort", False, TRAINING_FAILED),
        ("nan", False, TRAINING_FAILED),
        ("exploding_loss", False, TRAINING_FAILED),
        ("reward_farming", False, DONE),
        ("runaway_std", False, DONE),
        ("action_saturation", False, DONE),
        ("healthy", True, INTERRUPTED),
    ],
)
def test_exit_codes_of_a_training(status: Any, interrupted: bool, code: int) -> None:
    verdict = MonitorVerdict(
        status=status,
        reason="as it went",
        stopped=False,
        at_timesteps=1000,
        peak_success=0.5,
        peak_timesteps=1000,
        final_success=0.5,
    )
    result: Any = SimpleNamespace(verdict=verdict, interrupted=interrupted)
    assert steps.exit_code(result) == code
