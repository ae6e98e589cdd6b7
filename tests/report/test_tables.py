"""Tables hold the records' figures, fit 80 columns without colour, and say in words what was decided."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import pytest
from rich.console import Console
from support import ROOT, samples

from hlynr.config import params
from hlynr.records.evaluation import Judgement, PolicyReport, TargetRow
from hlynr.records.retraining import Check, RetrainRecord
from hlynr.report import tables, text

CONFIG = params.load(ROOT / "params.yaml")


def shown(renderable: Any, width: int = 80, **options: Any) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, **options).print(renderable)
    return stream.getvalue()


def one_line(words: str) -> str:
    return " ".join(words.split())


def judged(report: PolicyReport) -> Judgement:
    laws = samples.evaluation().baselines
    return Judgement.model_validate(report.model_dump() | {"baselines": {"random": laws["random"].model_dump()}})


RETRAININGS = {
    "first": samples.retraining(first=True),
    "promoted": samples.retraining(),
    "not promoted": samples.retraining(promote=False),
}


@pytest.mark.parametrize("retraining", RETRAININGS.values(), ids=RETRAININGS)
def test_summary_fits_80_columns_without_colour(retraining: RetrainRecord) -> None:
    printed = shown(tables.summary(retraining, CONFIG))
    assert max(map(len, printed.splitlines())) <= 80
    assert "\x1b" not in printed


def test_summary_of_the_first_retraining_names_the_champion_and_its_results() -> None:
    printed = one_line(shown(tables.summary(RETRAININGS["first"], CONFIG)))
    assert "hlynr-intercept version 1 is the first champion." in printed
    for expected in (
        "champion v1, 100 episodes 95.0 % (88.8-97.9)",
        "champion v1, held-out 94.1 % (92.5-95.4)",
        "random 0.1 % (0.0-0.6)",
        "pursuit 11.8 % (9.9-13.9)",
        "proportional navigation 58.1 % (55.0-61.1) +0.02 243 m",
        "1,000 held-out engagements",
        "mean_final_distance 131 m < 2000 m met",
        "Wall time: 2 min 40 s, all but training 15.4 s",
        "make ui",
        "hlynr champions",
        "outputs/",
    ):
        assert expected in printed


def test_summary_without_a_promotion_names_the_champion_and_the_reason() -> None:
    printed = one_line(shown(tables.summary(RETRAININGS["not promoted"], CONFIG)))
    assert "hlynr-intercept version 2 was not promoted; version 1 stays champion." in printed
    assert "champion v1 (stays) 93.8 %" in printed
    assert "challenger v2, held-out 94.1 %" in printed
    assert "Gate: not passed" in printed
    assert "gain_over_champion 0.3 points >= 1 points FAIL" in printed


def test_summary_on_a_colour_terminal_keeps_the_words() -> None:
    plain = shown(tables.summary(RETRAININGS["not promoted"], CONFIG))
    coloured = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard", record=True)
    coloured.print(tables.summary(RETRAININGS["not promoted"], CONFIG))
    assert coloured.export_text() == plain


def test_brackets_in_a_record_are_not_taken_for_markup() -> None:
    found = [Check(name="gpu", ok=False, required=False, detail="none [bold]found[/bold]")]
    assert "none [bold]found[/bold]" in shown(tables.checks(found))


def test_a_judgement_has_every_figure() -> None:
    printed = shown(tables.judgement(judged(samples.policy("pn", 0.581, 0.5502, 0.6112))))
    assert max(map(len, printed.splitlines())) <= 80
    words = one_line(printed)
    for expected in (
        "Proportional navigation on reference",
        "58.1 % (55.0-61.1)",
        "p50 61.5 m",
        "intercept 581",
        "target_impact 419",
        "precision -0.05",
        "elevation 45 60 deg 333 89.2 % (86.7-91.7)",
        "On the same engagements",
        "random 0.1 % (0.0-0.6)",
    ):
        assert expected in words


def test_a_judgement_without_engagements() -> None:
    words = one_line(shown(tables.judgement(judged(samples.empty_policy()))))
    assert "success n/a" in words
    assert "time to intercept n/a (episodes n/a)" in words
    assert "nan" not in words.lower()


def test_history_marks_the_champion_and_has_reasons() -> None:
    entries = [
        samples.promotion(first=True),
        samples.promotion(),
        samples.promotion(promote=False, version=3, champion_before=2, champion_after=2, mlflow_run_id=None),
    ]
    printed = shown(tables.history(entries, 2, "hlynr-intercept"))
    assert max(map(len, printed.splitlines())) <= 80
    words = one_line(printed)
    assert "hlynr-intercept champion v2*" in words
    assert words.count("v2*") == 2
    assert "v1 2025-11-02 03:18" in words
    assert "run 4f1d2a9c" in words
    assert "run none" in words
    assert "not promoted:" in words
    assert "significantly_better_than_champion" in words


def test_history_of_nothing() -> None:
    assert "no champion yet" in shown(tables.history([], None))


def test_history_after_a_rollback_marks_the_old_version() -> None:
    back = samples.promotion(
        action="rolled_back", version=1, champion_before=2, champion_after=1, success_rate=None, success_rate_ci=None
    )
    printed = one_line(shown(tables.history([samples.promotion(), back], 1)))
    assert "v1* 2025" in printed
    assert "rolled back:" in printed
    assert text.headline(back) == "Version 1 is champion again after a rollback from v2."


def test_checks_distinguish_failures_from_warnings() -> None:
    found = [
        Check(name="python", ok=True, required=True, detail="3.11.9"),
        Check(name="gpu", ok=False, required=False, detail="none"),
        Check(name="disk", ok=False, required=True, detail="0.4 GB free"),
    ]
    words = one_line(shown(tables.checks(found)))
    assert "Not ready: 1 of 3 checks failed" in words
    assert "python ok" in words
    assert "gpu warn" in words
    assert "disk FAIL" in words
    assert shown(tables.checks(found[:2])).startswith("Ready")


def test_rows_for_stores_are_plain_strings() -> None:
    gate = tables.gate_rows(samples.decision(promote=False))
    assert gate[3] == {
        "rule": "gain_over_champion",
        "value": "0.3 points",
        "bound": ">= 1 points",
        "verdict": "FAIL",
    }
    missed = TargetRow(metric="Mean final distance", value=samples.NAN, target="< 2000 m", met=False)
    rows = tables.report_rows(samples.evaluation(targets=(missed,)))
    assert rows == [{"metric": "Mean final distance", "value": "n/a", "target": "< 2000 m", "verdict": "NOT MET"}]


def test_markdown_escapes_the_column_sign() -> None:
    assert tables.markdown([{"a": "x|y"}]) == "| a |\n| --- |\n| x\\|y |"
    assert tables.markdown([]) == ""


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (text.percent(None), "n/a"),
        (text.percent(1.0), "100.0 %"),
        (text.success(0.5, None), "50.0 %"),
        (text.success(0.5, (0.4, samples.NAN)), "50.0 %"),
        (text.metres(1607.4), "1,607 m"),
        (text.metres(99.97), "100 m"),
        (text.metres(float("inf")), "n/a"),
        (text.signed(0.0), "+0.00"),
        (text.duration(None), "n/a"),
        (text.duration(0.421), "0.42 s"),
        (text.duration(59.97), "1 min 0 s"),
        (text.duration(7384), "2 h 3 min"),
        (text.timesteps(999_999), "1.00 M"),
        (text.timesteps(400_000), "400 k"),
        (text.timesteps(12), "12"),
        (text.figure("Success Rate", 0.33), "33.0 %"),
        (text.title("policy"), "The policy"),
    ],
)
def test_figures_in_words(found: str, expected: str) -> None:
    assert found == expected


def test_tables_load_nothing_heavy() -> None:
    code = "import sys, hlynr.report.tables; print(sorted({'rich', 'matplotlib', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
