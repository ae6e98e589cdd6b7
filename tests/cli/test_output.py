"""Records among other data, as a verb prints them."""

import json
from pathlib import Path

import pytest

from hlynr.cli.output import show
from hlynr.records.base import Record


class Example(Record):
    number: int
    rate: float


def test_records_among_other_data_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    record = {"one": Example(number=1, rate=0.5), "more": [Example(number=2, rate=0.5)], "text": "x"}
    show(None, record, Path("-"))
    found = json.loads(capsys.readouterr().out)
    assert found == {"one": {"number": 1, "rate": 0.5}, "more": [{"number": 2, "rate": 0.5}], "text": "x"}
