"""The pages: what they link to and name exists, and their tables are complete."""

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
import typer.main
from support import ROOT, samples

from hlynr.cli.app import app
from hlynr.config import params
from hlynr.config.former_names import FORMER
from hlynr.evaluation.gate import decide
from hlynr.records.training import AlertKind

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "mlruns" / "README.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
each_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])

CONFIG = params.load(ROOT / "params.yaml")
VERBS = typer.main.get_command(app).commands
SOURCES = "\n".join(
    path.read_text(encoding="utf-8")
    for folder in ("hlynr", "flows", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != Path(__file__)
)
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^|[\s/`])hlynr ([a-z]+)([^#`|;&\n]*)")
BANNED = re.compile(
    r"\b(nights?|canary\w*|crown\w*|reign\w*|corpses?|orphans?|keepers?|minders?|doors?|clinic|desk|housekeeping)\b"
)


def spans(page: Path) -> list[str]:
    """What stands in single backticks."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text(encoding="utf-8")))


def introduced(page: Path) -> set[str]:
    """Settings that a page shows how to add."""
    blocks = [text for language, text in FENCE.findall(page.read_text(encoding="utf-8")) if language == "yaml"]
    return {name for text in blocks for name in re.findall(r"^ +(\w+):", text, re.MULTILINE)}


def first_column(page: str, heading: str) -> list[str]:
    """The backticked names in the first column of the table whose head begins with ``heading``."""
    table = (ROOT / page).read_text(encoding="utf-8").partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    return [name for line in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", line.split(" | ")[0])]


@each_page
def test_links_resolve(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    local = [link.partition("#")[0] for link in links if not link.startswith(("http://", "https://", "#"))]
    assert [link for link in local if not (page.parent / link).exists()] == []


@each_page
def test_commands_exist(page: Path) -> None:
    unknown = []
    for verb, rest in COMMAND.findall(page.read_text(encoding="utf-8")):
        known = {option for param in VERBS[verb].params for option in param.opts} if verb in VERBS else set()
        unknown += [f"{verb} {option}" for option in re.findall(r"--[a-z-]+", rest) if option not in known]
        unknown += [] if verb in VERBS else [verb]
    assert unknown == []


@each_page
def test_set_options_are_accepted(page: Path) -> None:
    new = introduced(page)
    for _, rest in COMMAND.findall(page.read_text(encoding="utf-8")):
        words = shlex.split(rest.partition("  ")[0])
        changes = [value for option, value in pairwise(words) if option == "--set" and value != "section.key=value"]
        settings = [change for change in changes if change.partition("=")[0].split(".")[-1] not in new]
        if settings:
            params.load(ROOT / "params.yaml", settings)


@each_page
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {name for names in re.findall(r"^([a-z ]+):", makefile, re.MULTILINE) for name in names.split()}
    assert set(re.findall(r"(?:^|`|&& )make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE)) <= targets


@each_page
def test_settings_exist(page: Path) -> None:
    keys = {*CONFIG.flat(), *FORMER.values()}
    known = {key[: match.start()] for key in keys for match in re.finditer(r"\.|$", key)}
    sections = {key.partition(".")[0] for key in known}
    named = [span for span in spans(page) if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", span)]
    files = (".py", ".json", ".md", ".yaml", ".toml", ".safetensors")
    settings = [name for name in named if name.partition(".")[0] in sections and not name.endswith(files)]
    new = introduced(page)
    assert [name for name in settings if name not in known and name.split(".")[-1] not in new] == []


@each_page
def test_files_exist(page: Path) -> None:
    tracked = r"(hlynr|flows|tests|docs|\.ci)(/[\w.*-]+)*/?|[\w-]+\.(yaml|toml|txt|md)|Makefile|Dockerfile"
    paths = [span for span in spans(page) if "/" in span or "." in span or span in ("Makefile", "Dockerfile")]
    paths = [path for path in paths if re.fullmatch(tracked, path)]
    assert [path for path in paths if not list(ROOT.glob(path)) and not (page.parent / path).exists()] == []


@each_page
def test_names_in_the_code_exist(page: Path) -> None:
    """Private names, classes, constants, tests and environment variables."""
    text = page.read_text(encoding="utf-8")
    named = [span for span in spans(page) if re.fullmatch(r"_[a-z_]+|[A-Z]\w*[a-z]\w*|test_\w+", span)]
    named += re.findall(r"\bHLYNR_[A-Z_]+\b", text)
    assert [name for name in named if not re.search(rf"\b{name}\b", SOURCES)] == []


@each_page
def test_names_are_in_the_file_that_is_named(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"`(\w+)`(?: \w+)?\s+in\s+`((?:hlynr|tests)/[\w/]+\.py)`", text)
    found += [(name, path) for path, name in re.findall(r"`(hlynr/[\w/]+\.py)`, class `(\w+)`", text)]
    missing = [(name, path) for name, path in found if name not in (ROOT / path).read_text(encoding="utf-8")]
    assert missing == []


@each_page
def test_no_banned_word(page: Path) -> None:
    if page.name != "upgrade.md":
        assert BANNED.findall(page.read_text(encoding="utf-8")) == []


def test_the_folders_have_what_the_architecture_names() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `((?:hlynr/)?\w+)` \| (.*) \|$", text, re.MULTILINE)
    assert len(rows) > 10
    for folder, rest in rows:
        assert [name for name in re.findall(r"`([\w]+(?:\.py|/))`", rest) if not (ROOT / folder / name).exists()] == []


def test_every_verb_is_described() -> None:
    described = {name.split()[1] for name in first_column("docs/command-line.md", "verb") if name.startswith("hlynr ")}
    assert described == {name for name, verb in VERBS.items() if not verb.hidden}


def test_every_rule_of_the_gate_is_described() -> None:
    decision = decide(samples.evaluation(), samples.training().verdict, None, CONFIG.gate)
    assert first_column("docs/promote-and-roll-back.md", "rule") == [rule.name for rule in decision.rules]


def test_every_alert_of_the_monitor_is_described() -> None:
    assert set(first_column("docs/training.md", "alert")) == set(get_args(AlertKind))


def test_every_strategy_is_described() -> None:
    assert set(first_column("docs/training.md", "strategy")) == {"default", *CONFIG.strategies}


def test_every_former_setting_is_described() -> None:
    text = (ROOT / "docs" / "upgrade.md").read_text(encoding="utf-8")
    assert [new for new, old in FORMER.items() if f"| `{old}` | `{new}` |" not in text] == []
