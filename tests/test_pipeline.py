"""What a command that trained exits with; the use cases themselves are met through the doors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hlynr import pipeline
from hlynr.errors import DONE, INTERRUPTED, TRAINING_FAILED


@pytest.mark.parametrize(
    ("status", "interrupted", "code"),
    [
        ("healthy", False, DONE),
        ("plateau", False, DONE),
        ("collapse", False, TRAINING_FAILED),
        ("abort", False, TRAINING_FAILED),
        ("nan", False, TRAINING_FAILED),
        ("healthy", True, INTERRUPTED),
    ],
)
def test_exit_codes_of_a_training(status: str, interrupted: bool, code: int) -> None:
    result: Any = SimpleNamespace(verdict=SimpleNamespace(status=status), interrupted=interrupted)
    assert pipeline.exit_code(result) == code
