"""The sections of params.yaml that schedule retraining and run it unattended; they do not change what is trained."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import Field, field_validator

from hlynr.config.base import DATABASE, Section, address

Port = Annotated[int, Field(ge=1, le=65535)]
AlertKind = Literal["failed", "crashed", "collapsed", "promoted"]

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
    database: Annotated[str, address(r"sqlite:///|postgresql://", DATABASE)]
    pool: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    gpu_slots: int = Field(ge=1, le=1000)


class Alerts(Section):
    send: tuple[AlertKind, ...]
    timeout: float = Field(gt=0, le=300)


class Retention(Section):
    days: int = Field(ge=1, le=100_000)
    remote: bool
    after_retraining: bool
