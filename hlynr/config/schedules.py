"""Settings that change while a training goes on: constant, linear or piecewise constant.

In params.yaml a schedule is a number, ``{start, end}`` or ``{phases: [{until, value}, ..., {value}]}``.
"""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Discriminator, Field, Tag

from hlynr.config.base import Count, Fraction, OpenFraction, Section

Start = TypeVar("Start")
End = TypeVar("End")

FORMS = CONSTANT, LINEAR, PHASES = "constant schedule", "linear schedule", "schedule in phases"
"""What pydantic adds to the location of a fault inside a schedule."""


class Linear(Section, Generic[Start, End]):
    """From ``start`` to ``end`` over the training budget."""

    start: Start
    end: End


class Phase(Section, Generic[End]):
    """A value that holds before the timestep ``until``; without one, to the end."""

    until: Count | None = Field(default=None, exclude_if=lambda until: until is None)
    value: End


class Phases(Section, Generic[End]):
    """One value after another."""

    phases: Annotated[tuple[Phase[End], ...], Field(min_length=1, max_length=100)]

    def contradictions(self) -> Iterator[str]:
        *ends, last = [phase.until for phase in self.phases]
        if last is not None or ends != sorted({end for end in ends if end is not None}):
            written = json.dumps([*ends, last])
            yield f"phases: until = {written} should increase, and be left out in the last phase alone"


def _form(written: Any) -> str | None:
    """The form of a schedule, read or already a model; None for what is none."""
    if isinstance(written, Phases) or (isinstance(written, dict) and "phases" in written):
        return PHASES
    if isinstance(written, Linear | dict):
        return LINEAR
    return CONSTANT if isinstance(written, int | float) else None


_BY_FORM = Discriminator(
    _form,
    custom_error_type="schedule",
    custom_error_message="Input should be a number, {start, end} or {phases}",
)
PositiveFraction = Annotated[float, Field(gt=0, le=1)]

RateSchedule = Annotated[
    Annotated[PositiveFraction, Tag(CONSTANT)]
    | Annotated[Linear[PositiveFraction, Fraction], Tag(LINEAR)]
    | Annotated[Phases[Fraction], Tag(PHASES)],
    _BY_FORM,
]
ClipSchedule = Annotated[
    Annotated[OpenFraction, Tag(CONSTANT)]
    | Annotated[Linear[OpenFraction, OpenFraction], Tag(LINEAR)]
    | Annotated[Phases[OpenFraction], Tag(PHASES)],
    _BY_FORM,
]
EntropySchedule = Annotated[
    Annotated[Fraction, Tag(CONSTANT)]
    | Annotated[Linear[Fraction, Fraction], Tag(LINEAR)]
    | Annotated[Phases[Fraction], Tag(PHASES)],
    _BY_FORM,
]

ValueSchedule = float | Linear[float, float] | Phases[float]


def at(schedule: ValueSchedule, timesteps: int, budget: int) -> float:
    """Value after ``timesteps`` of ``budget``; exact at both ends, and beyond the budget that of its end.

    The last rollout may overshoot the budget; a rate that went on falling would be negative there.
    """
    if isinstance(schedule, Phases):
        return next(phase.value for phase in schedule.phases if phase.until is None or timesteps < phase.until)
    if isinstance(schedule, Linear):
        progress = min(timesteps / budget, 1.0)
        return schedule.start * (1.0 - progress) + schedule.end * progress
    return schedule


def first(schedule: ValueSchedule) -> float:
    """Value at the beginning."""
    return at(schedule, 0, 1)


def scaled(schedule: ValueSchedule, start: float) -> Any:
    """A schedule of the same shape that begins at ``start``, as params.yaml writes it; one that begins at zero has no
    shape to keep and becomes constant."""
    before = first(schedule)
    if isinstance(schedule, int | float) or before == 0:
        return start

    def moved(value: float) -> float:
        return float(f"{value * start / before:.6g}")

    if isinstance(schedule, Linear):
        return {"start": start, "end": moved(schedule.end)}
    *bounded, last = schedule.phases
    values = [{"until": phase.until, "value": moved(phase.value)} for phase in bounded]
    return {"phases": [*values, {"value": moved(last.value)}]}
