"""The section scenarios: what the engagements of a training or an evaluation are sampled from."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from hlynr.config.base import Bounds, Count, Fraction, NonNegative, Positive, Section

Elevation = Annotated[float, Field(ge=0, le=90)]


class ScenarioSection(Section):
    """What of a scenario the file may leave out, where the scenario extends another that has it."""

    model_config = ConfigDict(json_schema_extra=lambda schema: schema.pop("required"))


class Spawn(ScenarioSection):
    range: float = Field(gt=0, le=100_000)
    range_spread: float = Field(ge=0, lt=1)
    elevation: Bounds[Elevation]
    aim_spread: NonNegative


class Target(ScenarioSection):
    speed: Bounds[Positive]
    weave: Bounds[NonNegative]
    weave_period: Bounds[Positive]
    jink: NonNegative


class Interceptor(ScenarioSection):
    launch_speed: Positive
    launch_error: float = Field(ge=0, le=90)
    launch_elevation_min: Elevation
    launch_height: Positive
    max_acceleration: Positive
    fuel_time: Positive
    actuator_lag: Positive
    drag: NonNegative


class Radar(ScenarioSection):
    half_angle: float = Field(gt=0, le=180)
    detection_peak: Fraction
    detection_range: Positive
    noise_floor: Positive
    noise_fraction: NonNegative
    delay: int = Field(ge=0, le=7)
    dropout: Fraction


class Cue(ScenarioSection):
    position_error: Positive
    velocity_error: Positive
    interval: int = Field(ge=0)
    dropout: Fraction


class Wind(ScenarioSection):
    speed: Bounds[NonNegative]
    gust: NonNegative
    gust_time: Positive


def _extending(schema: dict[str, Any]) -> None:
    del schema["required"]
    schema["properties"]["extends"] = {"type": "string"}


class Scenario(Section):
    model_config = ConfigDict(json_schema_extra=_extending)

    capture_radius: Positive
    time_limit: float = Field(gt=0, le=600)
    spawn: Spawn
    target: Target
    interceptor: Interceptor
    radar: Radar
    cue: Cue
    dropout_interval: Count
    wind: Wind

    def contradictions(self) -> Iterator[str]:
        closest = self.spawn.range * (1 - self.spawn.range_spread)
        if self.capture_radius >= closest:
            yield (
                f"capture_radius: {self.capture_radius} is not below the closest spawn, "
                f"spawn.range * (1 - spawn.range_spread) = {closest:g}"
            )
