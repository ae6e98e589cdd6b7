"""What the sections of params.yaml share: their base class and the types of their values."""

import json
import re
from collections.abc import Iterable
from copy import copy
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model, model_validator

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
"""Without a dot, so that ``scenarios.NAME.key`` has one reading."""
T = TypeVar("T")
Named = Annotated[dict[Name, T], Field(json_schema_extra={"additionalProperties": False})]


def _in_order(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"{list(bounds)} is not in order: the first bound must not exceed the second")
    return bounds


Bounds = Annotated[tuple[T, T], AfterValidator(_in_order)]


def address(allowed: str, words: str) -> AfterValidator:
    """Of a database or server: begins with the pattern ``allowed`` and holds no password, which would be logged."""

    def checked(uri: str) -> str:
        if not re.match(allowed, uri):
            raise ValueError(f"{json.dumps(uri)} is not {words}")
        if re.match(r"[a-z0-9+]+://[^/@]*:[^/@]*@", uri):
            raise ValueError("a password is not allowed here; set PGPASSWORD, or write it to ~/.pgpass")
        return uri

    return AfterValidator(checked)


DATABASE = "sqlite:///PATH or postgresql://[USER@]HOST[:PORT]/DATABASE"


class Section(BaseModel):
    """Frozen; without unknown keys, NaN and infinity; a boolean or a string is no number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    def contradictions(self) -> Iterable[str]:
        """A line for each contradiction between keys that are sound one by one; it starts with a key."""
        return ()

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if faults := list(self.contradictions()):
            raise ValueError("\n".join(faults))
        return self


def overlay_of(section: type[Section]) -> type[Section]:
    """Any of the section's keys, with their bounds; checks across keys are left to the section.

    ``...`` is the value of a key that is not set.
    """
    fields: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        optional = copy(field)
        optional.default_factory = lambda: ...
        optional.exclude_if = lambda value: value is ...
        fields[name] = (field.annotation, optional)
    return create_model(f"{section.__name__}Overlay", __base__=Section, **fields)


SEED_DISTANCE = 100_000
"""Least distance between two seeds. Some are shifted by ``run.retraining``, which stays below it: with less, the
engagements that one retraining trains on would judge another retraining's policy."""
