"""The sections of params.yaml that say how retraining is kept going unattended; none has a say in what is trained."""

from __future__ import annotations

import json
import re
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import Field, field_validator

from hlynr.config.base import Section

Port = Annotated[int, Field(ge=1, le=65535)]
AlertKind = Literal["failed", "crashed", "collapsed", "promoted"]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_CRON: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 7, _DAYS),
)
_CRON_PART = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[1-9]\d*))?")
_WITH_PASSWORD = re.compile(r"[a-z0-9+]+://[^/@]*:[^/@]*@")

SECTIONS = ("schedule", "service", "alerts", "retention")


class Schedule(Section):
    cron: str | None
    timezone: str

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, cron: str | None) -> str | None:
        if cron is None:
            return None
        texts = cron.split()
        if len(texts) != len(_CRON):
            raise ValueError(f"{json.dumps(cron)} is not five fields of cron (minute hour day month weekday) or null")
        for text, (name, low, high, names) in zip(texts, _CRON, strict=True):
            if not all(_fits(part, low, high, names) for part in text.lower().split(",")):
                raise ValueError(
                    f"{json.dumps(cron)}: its {name} is not *, a number in [{low}, {high}], or such with - , /"
                )
        return cron

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError(f"{json.dumps(name)} is no time zone of the IANA database, like UTC or Europe/Berlin")
        return name


class Service(Section):
    host: str = Field(pattern=r"^[A-Za-z0-9.:-]+$")
    allowed_hosts: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9.:*-]+$")], ...]
    prefect_port: Port
    mlflow_port: Port
    database: str = Field(min_length=1)
    pool: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    gpu_slots: int = Field(ge=1, le=1000)

    @field_validator("database")
    @classmethod
    def _known_database(cls, database: str) -> str:
        if not database.startswith(("sqlite:///", "postgresql://")):
            raise ValueError(
                f"{json.dumps(database)} is not sqlite:///PATH or postgresql://[USER@]HOST[:PORT]/DATABASE"
            )
        return without_password(database)


class Alerts(Section):
    send: tuple[AlertKind, ...]
    timeout: float = Field(gt=0, le=300)


class Retention(Section):
    days: int = Field(ge=1, le=100_000)
    remote: bool
    after_retraining: bool


def _fits(part: str, low: int, high: int, names: tuple[str, ...]) -> bool:
    match = _CRON_PART.fullmatch(part)
    if match is None:
        return False
    ends = [names.index(end) + low if end in names else end for end in match.group("first", "last") if end is not None]
    values = [int(end) if str(end).isdecimal() else -1 for end in ends]
    return all(low <= value <= high for value in values) and values == sorted(values)


def without_password(uri: str) -> str:
    """The address of a database, refused if it holds a password: it would go into logs and tracked parameters."""
    if _WITH_PASSWORD.match(uri):
        raise ValueError("a password is not to stand here; set PGPASSWORD, or write it to ~/.pgpass")
    return uri
