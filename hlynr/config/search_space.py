"""What a hyperparameter search may try: ranges and choices, each with its scale.

A setting that is a schedule is searched by its first value and keeps its shape.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Generic, Literal, Protocol

from pydantic import Field

from hlynr.config.base import Count, Fraction, OpenFraction, Positive, Section, T
from hlynr.config.schedules import PositiveFraction

RECURRENT = ("lstm_hidden_size", "lstm_chunk")
"""Settings that a network without memory does not have."""
SCHEDULES = ("learning_rate", "clip_range", "ent_coef")


class Suggester(Protocol):
    """What of an Optuna trial is used here."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = ...) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, log: bool = ...) -> int: ...
    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


class Range(Section, Generic[T]):
    """All values from ``low`` to ``high``, in equal distances of the scale.

    ``log-complement`` is the logarithm of the distance to 1: what a discount of 0.99 and one of 0.999 differ in.
    """

    low: T
    high: T
    scale: Literal["linear", "log", "log-complement"]

    def contradictions(self) -> Iterator[str]:
        low, high = self.extremes()
        if low >= high:
            yield f"low: {low} is not below high = {high}"
        elif self.scale == "log" and low <= 0:
            yield f"low: {low} is not greater than 0, as the scale log needs"
        elif self.scale == "log-complement" and high >= 1:
            yield f"high: {high} is not below 1, as the scale log-complement needs"

    def extremes(self) -> tuple[Any, Any]:
        """The values between which all others lie."""
        return self.low, self.high

    def draw(self, trial: Suggester, name: str) -> Any:
        """A value; real ones to four significant digits, as a person would write them."""
        low, high = self.extremes()
        if isinstance(low, int) and isinstance(high, int):
            return trial.suggest_int(name, low, high, log=self.scale == "log")
        if self.scale == "log-complement":
            rest = trial.suggest_float(f"1 - {name}", _rest(high), _rest(low), log=True)
            return min(max(_rest(float(f"{rest:.4g}")), low), high)
        return min(max(float(f"{trial.suggest_float(name, low, high, log=self.scale == 'log'):.4g}"), low), high)

    def nearest(self, value: Any) -> Any:
        """The value itself, or the end of the range that is nearer to it."""
        low, high = self.extremes()
        return min(max(value, low), high)

    def point(self, name: str, value: Any) -> dict[str, Any]:
        """The parameter that makes `draw` return the value."""
        return {f"1 - {name}": _rest(value)} if self.scale == "log-complement" else {name: value}


class Choices(Section, Generic[T]):
    """One of some values."""

    choices: Annotated[tuple[T, ...], Field(min_length=2, max_length=100)]

    def contradictions(self) -> Iterator[str]:
        for number, choice in enumerate(self.choices):
            if choice in self.choices[:number]:
                yield f"choices[{number}]: {choice} is there twice"

    def extremes(self) -> tuple[T, ...]:
        """All of them: nothing lies between."""
        return self.choices

    def draw(self, trial: Suggester, name: str) -> Any:
        return trial.suggest_categorical(name, self.choices)

    def nearest(self, value: Any) -> Any:
        """The value itself, or the nearest number among the choices, or else the first of them."""
        numbers = [choice for choice in self.choices if isinstance(choice, int | float)]
        if value in self.choices or value is None or not numbers:
            return value if value in self.choices else self.choices[0]
        return min(numbers, key=lambda number: abs(number - value))

    def point(self, name: str, value: Any) -> dict[str, Any]:
        return {name: value}


class Space(Section):
    """The settings of the section train that are searched; a key that is left out keeps its value."""

    learning_rate: Range[PositiveFraction] | None = None
    clip_range: Range[OpenFraction] | None = None
    ent_coef: Range[Fraction] | None = None
    max_grad_norm: Range[Positive] | None = None
    gae_lambda: Range[Fraction] | None = None
    gamma: Range[PositiveFraction] | None = None
    n_epochs: Range[Annotated[int, Field(ge=1, le=100)]] | None = None
    batch_size: Choices[Annotated[int, Field(ge=2)]] | None = None
    n_steps: Choices[Annotated[int, Field(ge=2, le=65536)]] | None = None
    target_kl: Choices[Positive | None] | None = None
    log_std_init: Range[Annotated[float, Field(ge=-20, le=20)]] | None = None
    log_std_max: Range[Annotated[float, Field(ge=-20, le=20)]] | None = None
    lstm_hidden_size: Choices[Annotated[int, Field(ge=1, le=8192)]] | None = None
    lstm_chunk: Choices[Count | None] | None = None

    def searched(self, algorithm: str) -> dict[str, Range[Any] | Choices[Any]]:
        """What there is to search in a training by ``train.algorithm``."""
        entries = {name: getattr(self, name) for name in type(self).model_fields}
        skipped = () if algorithm == "recurrent_ppo" else RECURRENT
        return {name: entry for name, entry in entries.items() if entry is not None and name not in skipped}


def _rest(value: float) -> float:
    """What is missing to 1, without the last digits that subtracting leaves."""
    return round(1.0 - value, 12)
