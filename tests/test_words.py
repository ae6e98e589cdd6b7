"""One word for one thing: words that the project has given up do not return to code, pages or names of tests."""

from __future__ import annotations

import re
from collections.abc import Collection

import pytest
from support import ROOT

# Words that are also plain English, like place, parts, turns, again, left, above and lost, are for a reviewer to judge.
INSTEAD = {
    r"nights?": "retraining",
    r"refus\w+": "not promoted; rejected",
    r"came[ _](?:to|of)|comes?[ _]to|at[ _]hand|stood|told|tells?[ _]of|stands?[ _]for": "the field's noun",
    r"desks?|clinics?|doors?": "commands, diagnosis, entry points",
    r"keepers?|minders?": "process supervisor, process guard",
    r"alarms?|silenced|orphans?": "alerts, lost runs",
    r"crews?|conduct(?:s|ed|ing)?": "worker pool, run",
    r"holdings?|garbage(?![\s_]collect)|housekeeping|erasing": "inventory, garbage collection, retention, deletion",
    r"(?:un)?crown(?:s|ed)?|reigns?|corpses?": "champion alias, dead process",
    r"canar(?:y|ies)|training_sound": "evaluator_check, training_healthy",
    r"flights?|flown|fl(?:y|ies|ew)|earned|seen": "episodes, reward, observation",
    r"who(?:m)?ever|somebody|nobody|anybody": "the component",
}
BANNED = {re.compile(rf"(?<![a-z])(?:{words})(?![a-z])", re.IGNORECASE): better for words, better in INSTEAD.items()}

FORMER_NAMES = {
    "CHANGELOG.md",
    "docs/upgrade.md",
    "hlynr/config/former_names.py",
    "hlynr/ops/tracking/migration.py",
}
"""Files whose subject is what had another name."""

ALLOWED = {
    "compose.yaml": {"orphans"},  # a service of Prefect's
    "hlynr/service/prefect_server.py": {"orphans"},
    "hlynr/ops/versioning/experiments.py": {"night"},  # the prefix of experiments of an earlier version
    "hlynr/records/retraining.py": {"refused"},  # what earlier versions wrote
    "hlynr/records/training.py": {"night"},
    "hlynr/report/text.py": {"refused"},
    "hlynr/rl/train.py": {"night"},
}

LOOSE = [ROOT / name for name in ("params.yaml", "dvc.yaml", "prefect.yaml", "compose.yaml", "Makefile", "Dockerfile")]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *LOOSE]
CODE = [path for package in ("hlynr", "flows") for path in (ROOT / package).rglob("*.py")]
READ = {str(path.relative_to(ROOT)): path for path in [*PAGES, *CODE]}


def _banned(text: str, allowed: Collection[str] = ()) -> list[str]:
    found = [(match.group(), better) for words, better in BANNED.items() for match in words.finditer(text)]
    return [f"{word}: {better}" for word, better in found if word.lower() not in allowed]


@pytest.mark.parametrize("name", sorted(READ.keys() - FORMER_NAMES))
def test_code_and_pages_use_the_words_of_the_field(name: str) -> None:
    assert _banned(READ[name].read_text(encoding="utf-8"), ALLOWED.get(name, set())) == []


def test_names_of_tests_use_the_words_of_the_field() -> None:
    names = [(path, *re.findall(r"def (test_\w+)", path.read_text("utf-8"))) for path in (ROOT / "tests").rglob("*.py")]
    assert {str(each): found for path, *own in names for each in (path.name, *own) if (found := _banned(each))} == {}
