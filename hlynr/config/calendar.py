"""When a cron expression comes due: what validation, `hlynr up` and `hlynr status` say about the schedule."""

import json
import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

RARE_DAYS = 62
"""Days between two retrainings from which on they are rare enough to say so."""
_NO_ZONES = {"Factory", "localtime"}
"""Listed as time zones, but Prefect raises at each look at its schedules: none would ever come due."""


def checked_cron(cron: str) -> str:
    """The expression, in five fields, as Prefect reads it, which holds a copy of croniter.

    Without R, a time drawn anew at every look, and without W, the nearest weekday, which only newer croniters know.

    Raises:
        ValueError: if it is none, or has no date that ever comes.
    """
    try:
        if re.search(r"\br\b|\dw", cron.lower()):
            raise ValueError
        minute, hour, day, month, weekday = cron.split()
        for days in ((day, "*"), ("*", weekday)):  # each for itself: Prefect's croniter gives up where one never comes
            next_due(f"{minute} {hour} {days[0]} {month} {days[1]}", "UTC")
        next_due(cron, "UTC")
    except (ValueError, OverflowError):
        allowed = "five fields of cron (minute hour day month weekday) with a date that comes, or null"
        raise ValueError(f"{json.dumps(cron)} is not {allowed}") from None
    return cron


def checked_timezone(name: str) -> str:
    """The name, if Prefect knows it as a time zone; ValueError otherwise."""
    if name not in available_timezones() - _NO_ZONES:
        raise ValueError(f"{json.dumps(name)} is no time zone of the IANA database, like UTC or Europe/Berlin")
    return name


def next_due(cron: str, timezone: str, after: datetime | None = None) -> datetime:
    """The first time after ``after``, by default now, in that time zone.

    When the clocks change Prefect may begin an hour earlier or later.

    Raises:
        ValueError: if there is none within fifty years.
    """
    from croniter import croniter

    begin = (after or datetime.now(UTC)).astimezone(ZoneInfo(timezone))
    due: datetime = croniter(cron, begin).get_next(datetime)
    return due


def upcoming(cron: str | None, timezone: str, after: datetime | None = None) -> str:
    """In words: when the next retraining is due, and how rare it is."""
    if cron is None:
        return "no retraining is scheduled"
    first = next_due(cron, timezone, after)
    days = (next_due(cron, timezone, first) - first).days
    rare = f", the one after it {days} days later" if days >= RARE_DAYS else ""
    return f"next retraining {first:%Y-%m-%d %H:%M} {timezone}{rare}"
