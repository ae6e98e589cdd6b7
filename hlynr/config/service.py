"""The sections of params.yaml that say how retraining is kept going unattended; none has a say in what is trained."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import Field, field_validator

from hlynr.config.base import Section

Port = Annotated[int, Field(ge=1, le=65535)]
AlertKind = Literal["failed", "crashed", "collapsed", "promoted"]

_WITH_PASSWORD = re.compile(r"[a-z0-9+]+://[^/@]*:[^/@]*@")

SECTIONS = ("schedule", "service", "alerts", "retention")


class Schedule(Section):
    cron: str | None
    timezone: str

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, cron: str | None) -> str | None:
        """As Prefect reads it, which holds a copy of croniter; without R, a time drawn anew at every look."""
        if cron is None:
            return None
        from croniter import croniter

        try:
            if len(cron.split()) != 5 or re.search(r"\br\b", cron.lower()):
                raise ValueError
            croniter(cron, datetime(2000, 1, 1)).get_next()
        except ValueError:
            allowed = "five fields of cron (minute hour day month weekday) with a date that comes, or null"
            raise ValueError(f"{json.dumps(cron)} is not {allowed}") from None
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


def without_password(uri: str) -> str:
    """The address of a database, refused if it holds a password: it would go into logs and tracked parameters."""
    if _WITH_PASSWORD.match(uri):
        raise ValueError("a password is not to stand here; set PGPASSWORD, or write it to ~/.pgpass")
    return uri
