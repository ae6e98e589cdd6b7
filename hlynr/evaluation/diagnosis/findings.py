"""How checks say what they found."""

from __future__ import annotations

import math
from typing import Literal

from hlynr.records.diagnosis import Cause, Finding


def fine(check: str, text: str, **figures: float) -> Finding:
    """All is well."""
    return _finding(check, "ok", None, text, figures)


def warning(check: str, cause: Cause, text: str, **figures: float) -> Finding:
    """Odd, but no reason by itself for a policy to fail."""
    return _finding(check, "warning", cause, text, figures)


def fault(check: str, cause: Cause, text: str, **figures: float) -> Finding:
    """A reason for a policy to fail."""
    return _finding(check, "fault", cause, text, figures)


def skipped(check: str, text: str, **figures: float) -> Finding:
    """Does not apply, or was not asked for."""
    return _finding(check, "skipped", None, text, figures)


def percent(rate: float) -> str:
    """A fraction as ``94.1 %``."""
    return "n/a" if math.isnan(rate) else f"{100 * rate:.1f} %"


def _finding(
    check: str,
    status: Literal["ok", "warning", "fault", "skipped"],
    cause: Cause | None,
    text: str,
    figures: dict[str, float],
) -> Finding:
    finite = {name: float(value) for name, value in figures.items() if math.isfinite(value)}
    return Finding(check=check, status=status, cause=cause, finding=text, figures=finite)
