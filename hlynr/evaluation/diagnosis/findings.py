"""Findings of checks, and how they write figures."""

import math

from hlynr.records.diagnosis import Cause, Finding, FindingStatus


def finding(check: str, status: FindingStatus, cause: Cause | None, text: str, **figures: float) -> Finding:
    """A finding with those of its figures that are finite."""
    finite = {name: float(value) for name, value in figures.items() if math.isfinite(value)}
    return Finding(check=check, status=status, cause=cause, finding=text, figures=finite)


def percent(rate: float) -> str:
    """A fraction as ``94.1 %``."""
    return "n/a" if math.isnan(rate) else f"{100 * rate:.1f} %"
