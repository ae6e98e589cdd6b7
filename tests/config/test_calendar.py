"""When a cron expression comes due, compared with Prefect, which holds the schedule."""

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import available_timezones

import pytest
import pytz
from support import ROOT

from hlynr.config import calendar, params
from hlynr.config.params import ConfigError

NOW = datetime(2026, 11, 28, 0, 30, 30, tzinfo=UTC)
FILE = ROOT / "params.yaml"


@pytest.mark.parametrize(
    "cron",
    [
        "0 2 31 2 *", "0 2 30,31 2 *", "0 0 30 2 ?", "0 2 31 4,6,9,11 *", "0 2 31 feb *", "0 2 29 2 1#1",
        "0 2 31 2 1", "60 * * * *", "*/0 * * * *", "0 2 * *",
        "0 0 2 * * *", "0 0 2 * * * 2026", "@daily", "@reboot", "R * * * *", "H 2 * * *",
        "0 2 15W * *", "0 2 LW * *", "", "0 2 * * fry", "4294967296 2 * * *", "0 2 \u00b2 * *",
    ],
)  # fmt: skip
def test_what_never_comes_due_or_prefect_does_not_know_is_rejected(cron: str) -> None:
    with pytest.raises(ConfigError, match=r"^schedule\.cron: .* is not five fields of cron .* with a date that comes"):
        params.load(FILE, [f'schedule.cron="{cron}"'])


@pytest.mark.parametrize("cron", ["0 2 * * *", "30 2 29 3 *", "0 2 29 2 *", "0 2 L * *", "*/15 22-5 1,15 jan-mar MON"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
@pytest.mark.parametrize("month", [3, 10, 11])
def test_the_next_time_is_that_of_prefect(cron: str, zone: str, month: int) -> None:
    """On days on which the clocks change it may be an hour away."""
    for day in (7, 27, 28):
        after = NOW.replace(month=month, day=day)
        away = abs(calendar.next_due(cron, zone, after) - _prefect(cron, zone, after))
        assert away <= timedelta(hours=0 if zone == "UTC" or month == 11 else 1)


def test_prefect_knows_every_time_zone_that_is_allowed() -> None:
    for zone in available_timezones():
        try:
            calendar.checked_timezone(zone)
        except ValueError:
            continue
        assert pytz.timezone(zone)  # by which Prefect localises


@pytest.mark.parametrize("zone", ["Factory", "localtime", "utc+1", "Mars/Olympus", "", "../etc/passwd"])
def test_a_time_zone_that_prefect_does_not_know_is_rejected(zone: str) -> None:
    with pytest.raises(ConfigError, match=r"^schedule\.timezone: .* is no time zone of the IANA database"):
        params.load(FILE, [f'schedule.timezone="{zone}"'])


def test_a_rare_schedule_is_said() -> None:
    rare = "next retraining 2028-02-29 02:00 UTC, the one after it 1461 days later"
    assert calendar.upcoming("0 2 29 2 *", "UTC", NOW) == rare
    assert calendar.upcoming("0 2 * * *", "UTC", NOW) == "next retraining 2026-11-28 02:00 UTC"
    assert calendar.upcoming(None, "UTC", NOW) == "no retraining is scheduled"


def _prefect(cron: str, zone: str, after: datetime) -> datetime:
    from prefect.server.schemas.schedules import CronSchedule

    return asyncio.run(CronSchedule(cron=cron, timezone=zone).get_dates(n=1, start=after))[0]
