"""What `hlynr status` says about a schedule that was changed in Prefect's UI."""

import re

import pytest

from hlynr.service.prefect_api import DeployedSchedule
from hlynr.service.status import idle


@pytest.mark.parametrize(
    ("deployed", "reason"),
    [
        ([DeployedSchedule("0 2 31 2 *", "UTC", True)], r"0 2 31 2 \* \(UTC\) in Prefect never comes due"),
        ([DeployedSchedule("0 2 * * *", "No/Where", True)], r"\(No/Where\) in Prefect never comes due"),
        ([DeployedSchedule("0 2 * * *", "UTC", False)], "the schedule is paused in Prefect"),
        ([DeployedSchedule("0 2 * * *", "UTC", False), DeployedSchedule(None, "UTC", True)], None),
        ([DeployedSchedule("0 2 29 2 *", "UTC", True)], None),
        ([], None),
    ],
)
def test_a_schedule_by_which_nothing_comes_is_not_healthy(deployed: list[DeployedSchedule], reason: str | None) -> None:
    found = idle(deployed)
    assert found is None if reason is None else found and re.search(reason, found)
