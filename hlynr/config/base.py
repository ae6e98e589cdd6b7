"""What every section of params.yaml has in common, and the kinds of number that stand in them."""

from __future__ import annotations

import json
import re
from copy import copy
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model, model_serializer
from pydantic_core import to_jsonable_python

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


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
    """Frozen, refuses unknown keys, NaN and infinity; a boolean or a string is no number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class Overlay(Section):
    """Some keys of another section, each with a value that takes the place of that section's, whole."""

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and isinstance(other, Overlay) and self.model_fields_set == other.model_fields_set

    @model_serializer
    def _only_what_is_set(self) -> dict[str, Any]:
        return {
            key: to_jsonable_python(getattr(self, key))
            for key in type(self).model_fields
            if key in self.model_fields_set
        }


def overlay_of(section: type[Section]) -> type[Overlay]:
    """The section's fields with their bounds, none of them needed; checks across fields are left to the section."""
    fields: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        optional = copy(field)
        optional.default_factory = lambda: None  # never read: a key that is not set is not part of the overlay
        fields[name] = (field.annotation, optional)
    return create_model(f"{section.__name__}Overlay", __base__=Overlay, **fields)


SEED_DISTANCE = 100_000
"""Least distance between two seeds. Some are shifted by ``run.retraining``, which stays below it: with less, the
engagements that one retraining trains on would judge another retraining's policy."""
