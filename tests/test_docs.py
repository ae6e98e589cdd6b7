"""The pages: what they link to and name exists, and their tables are complete."""

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
import typer.main
from support import ROOT, samples

from hlynr.cli.app import app
from hlynr.config import params
from hlynr.config.former_names import FORMER
from hlynr.config.sections import NotifiedEvent
from hlynr.evaluation.gate import decide
from hlynr.records.retraining import Promotion
from hlynr.records.training import FATAL, AlertKind, Lineage
from hlynr.runtime.errors import DONE, INTERRUPTED, EnvironmentNotReady, InputError, TrainingError
from hlynr.runtime.logs import LOG_BYTES

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
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


def table(page: str, heading: str) -> list[list[str]]:
    """The rows of the table whose head begins with ``heading``, by columns."""
    text = (ROOT / page).read_text(encoding="utf-8").partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines()[2:]]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def first_column(page: str, heading: str) -> list[str]:
    return [name for row in table(page, heading) for name in names(row[0])]


def numbers(text: str) -> set[float]:
    """Without names and the numbers in them; a thousands separator is read over."""
    plain = re.sub(r"`[^`]*`|(?<=\d),(?=\d{3})", "", text)
    return {float(found) for found in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?(?![\w])", plain)}


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


def test_every_rule_of_the_gate_is_described_with_its_bound() -> None:
    rules = decide(samples.evaluation(), samples.training().verdict, None, CONFIG.gate).rules
    rows = table("docs/promote-and-roll-back.md", "rule")
    assert [row[0] for row in rows] == [f"`{rule.name}`" for rule in rules]
    for rule, (_, passes, setting) in zip(rules, rows, strict=True):
        assert numbers(rule.bound) <= numbers(passes), rule.name
        assert bool(setting) == bool(numbers(rule.bound)), rule.name
    healthy = next(passes for name, passes, _ in rows if name == "`training_healthy`")
    assert healthy.endswith(f"{words(FATAL)} ([training.md](training.md))")


def test_every_setting_of_the_gate_is_in_its_table() -> None:
    named = {name for row in table("docs/promote-and-roll-back.md", "rule") for name in names(row[2])}
    assert named == {f"gate.{field}" for field in type(CONFIG.gate).model_fields}


def words(alerts: Sequence[str]) -> str:
    """The alerts as the pages' sentences list them: NaN, exploding loss, abort or collapse."""
    *others, last = (alert.replace("_", " ").replace("nan", "NaN") for alert in alerts)
    return f"{', '.join(others)} or {last}"


def test_every_alert_of_the_monitor_is_described_with_its_consequence() -> None:
    stated = {names(row[0])[0]: row[2] for row in table("docs/training.md", "alert")}
    assert stated == {alert: "yes" if alert in FATAL else "no" for alert in get_args(AlertKind)}
    assert list(stated) == list(get_args(AlertKind))


def test_every_alert_of_the_monitor_names_the_settings_that_decide_it() -> None:
    named = {name for row in table("docs/training.md", "alert") for name in names(row[1])}
    others = {"interval", "episodes", "selection_seed", "stop_on"}
    assert named == {f"monitor.{field}" for field in set(type(CONFIG.monitor).model_fields) - others}


@pytest.mark.parametrize("page", ["README.md", "docs/training.md", "docs/get-started.md"])
def test_the_pages_name_all_that_fails_a_training(page: str) -> None:
    text = re.sub(r"\ban? (?=\w)", "", " ".join((ROOT / page).read_text(encoding="utf-8").split()))
    assert words(FATAL) in text


def test_the_exit_codes_are_those_of_the_program() -> None:
    codes = [int(row[0]) for row in table("docs/command-line.md", "code")]
    raised = {error.exit_code for error in (InputError, TrainingError, EnvironmentNotReady)}
    assert codes == sorted({DONE, INTERRUPTED, *raised})


def test_every_option_that_verbs_share_is_described() -> None:
    uses = Counter(option for verb in VERBS.values() for param in verb.params for option in param.opts)
    described = {name.split()[0] for name in first_column("docs/command-line.md", "option")}
    everywhere = {option for option, count in uses.items() if option.startswith("--") and count > 2}
    assert everywhere - {"--help"} <= described
    assert all(uses[option] > 1 for option in described)


def test_every_make_target_is_described() -> None:
    targets = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    described = {name.removeprefix("make ") for name in first_column("docs/command-line.md", "target")}
    assert described == {target for line in targets for target in line.split()} - {"study"}


def test_every_alert_that_is_sent_is_described() -> None:
    text = (
        (ROOT / "docs" / "schedule.md").read_text(encoding="utf-8").partition("## Alerts")[2].partition(". All go")[0]
    )
    assert set(names(text)) == set(get_args(NotifiedEvent))


def test_every_action_of_the_history_is_described() -> None:
    text = (ROOT / "docs" / "promote-and-roll-back.md").read_text(encoding="utf-8").partition("with the action")[2]
    actions = get_args(Promotion.model_fields["action"].annotation)
    assert set(names(text.partition(";")[0])) == set(actions)


def test_every_part_of_the_lineage_is_described() -> None:
    tags = next(row[1] for row in table("docs/architecture.md", "from") if row[0].startswith("MLflow"))
    listed = tags.partition(": ")[2].split(", ")
    internal = {"created", "mlflow_run_id", "mlflow_parent_run_id"}
    assert set(listed) == set(Lineage.model_fields) - internal


def test_every_seed_is_described() -> None:
    named = {name for row in table("docs/architecture.md", "seeds") for name in names(row[2])}
    seeds = {
        "train.seed",
        *(key for key in CONFIG.flat() if key.endswith(("report_seed", "selection_seed", "heldout_seed"))),
    }
    assert named == seeds


minute, hour = (CONFIG.schedule.cron or "").split()[:2]
clock = f"{hour:0>2}:{minute:0>2}"


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        ("docs/get-started.md", f"evaluated every {CONFIG.monitor.interval:,} timesteps"),
        ("docs/get-started.md", f"a report on {CONFIG.evaluation.report_episodes} episodes"),
        ("docs/get-started.md", f"{CONFIG.evaluation.heldout_episodes:,} held-out engagements"),
        ("docs/promote-and-roll-back.md", f"{CONFIG.gate.confidence:.0%} Wilson interval".replace("%", " %")),
        ("docs/schedule.md", f"http://{CONFIG.service.host}:{CONFIG.service.prefect_port}"),
        ("docs/schedule.md", f"http://{CONFIG.service.host}:{CONFIG.service.mlflow_port}"),
        (
            "docs/schedule.md",
            "{1:0>2}:{0:0>2} {2} by default".format(*CONFIG.schedule.cron.split()[:2], CONFIG.schedule.timezone),
        ),
        ("docs/schedule.md", f"cut at {LOG_BYTES // 1_000_000} MB"),
        ("docs/training.md", f"`train.curriculum.mode` is `{CONFIG.train.curriculum.mode}` by default"),
        ("docs/promote-and-roll-back.md", f"registered model `{CONFIG.tracking.model}`"),
    ],
)
def test_the_defaults_in_the_pages_are_those_of_params_yaml(page: str, sentence: str) -> None:
    assert sentence in (ROOT / page).read_text(encoding="utf-8")


def test_the_strategies_are_described_with_their_numbers() -> None:
    for name, text in table("docs/training.md", "strategy"):
        strategy = params.load(ROOT / "params.yaml", [f"run.strategy={names(name)[0]}"])
        known = numbers(repr((strategy.train, strategy.monitor, strategy.scenarios[strategy.train.scenario])))
        assert numbers(re.sub(r"strategy \d|(?<=\d)-(?=\d)", " ", text)) <= known, name


def test_every_strategy_is_described() -> None:
    assert set(first_column("docs/training.md", "strategy")) == {"default", *CONFIG.strategies}


def test_every_former_setting_is_described() -> None:
    text = (ROOT / "docs" / "upgrade.md").read_text(encoding="utf-8")
    assert [new for new, old in FORMER.items() if f"| `{old}` | `{new}` |" not in text] == []
