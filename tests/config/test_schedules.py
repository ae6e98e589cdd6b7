"""The values of schedules over a training."""

from collections.abc import Callable

import pytest

from hlynr.config.config import Config
from hlynr.config.schedules import at

Configure = Callable[..., Config]


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("0.25", {0: 0.25, 500: 0.25, 1000: 0.25, 1300: 0.25}),
        ("{start: 0.3, end: 0.1}", {0: 0.3, 500: 0.2, 1000: 0.1, 1300: 0.1}),
        ("{phases: [{value: 0.3}]}", {0: 0.3, 1000: 0.3}),
        (
            "{phases: [{until: 10, value: 0.3}, {until: 20, value: 0.7}, {value: 0.1}]}",
            {0: 0.3, 9: 0.3, 10: 0.7, 19: 0.7, 20: 0.1, 1000: 0.1},
        ),
    ],
)
@pytest.mark.parametrize("key", ["learning_rate", "clip_range", "ent_coef"])
def test_a_schedule_has_its_values(configure: Configure, key: str, written: str, values: dict[int, float]) -> None:
    schedule = getattr(configure(f"train.{key}={written}").train, key)
    assert {timesteps: at(schedule, timesteps, 1000) for timesteps in values} == pytest.approx(values)
    assert at(schedule, 0, 1000) == values[0]
    assert at(schedule, 1000, 1000) == values[1000]
