"""The page of a diagnosis needs nothing beside itself, says what the record says, and draws what is missing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support import samples

from hlynr.records.diagnosis import ChannelFigures, Diagnosis, Finding, SampledEpisode, ScanFigures
from hlynr.report import diagnosis as page
from hlynr.report import tables

LIMIT = 5.0


def finding(check: str, status: str = "ok", cause: str | None = None, **figures: float) -> Finding:
    text = f"What {check} found. And <more> & more."
    return Finding.model_validate(
        {"check": check, "status": status, "cause": cause, "finding": text, "figures": figures}
    )


def episode(number: int, outcome: str, cause: str, reward: float) -> SampledEpisode:
    return SampledEpisode(
        episode=number,
        outcome=outcome,
        cause=cause,
        miss_distance=80.0 + number,
        seconds=9.5,
        reward=reward,
        fuel_left=0.25,
        first_detection=None if cause == "never detected" else 0.4,
        detections=30,
        rejections=2,
    )


def diagnosed() -> Diagnosis:
    sampled = [episode(k, "intercept", "intercept", 1.1) for k in range(30)]
    sampled += [episode(k, "target_impact", "never detected", -1.2) for k in range(30, 40)]
    return Diagnosis(
        subject="outputs/<b>/bundle",
        scenario="reference",
        seed=9,
        episodes=40,
        success_rate=0.75,
        success_rate_ci=(0.6, 0.86),
        verdict="The tracker does not predict. It stands <still>.",
        cause="tracker",
        findings=(
            finding("reward", term_intercept=0.75, term_miss=-0.25),
            finding("tracker", "fault", "tracker", nis=40.0),
            finding("omniscient", "warning", "observation", policy=0.75, pn_truth=1.0, pn_estimate=0.55),
            finding("memory", "skipped"),
        ),
        sampled=tuple(sampled),
        channels=(
            ChannelFigures(channel="range", mean=0.5, std=0.2, min=0.0, max=1.2, clipped=0.0),
            ChannelFigures(channel="los_rate_2", mean=0.0, std=2.0, min=-5.0, max=5.0, clipped=0.31),
        ),
        scans=tuple(
            ScanFigures(seconds=0.05 * k, nees=6.0 + k, nees_bounds=(5.7, 6.3), position_error=100.0 / (1 + k))
            for k in range(20)
        ),
    )


def empty() -> Diagnosis:
    """Nothing could be measured."""
    return diagnosed().model_copy(
        update={
            "sampled": (),
            "channels": (),
            "scans": (),
            "success_rate": samples.NAN,
            "cause": None,
            "findings": (finding("reward"),),
        }
    )


class Loads(HTMLParser):
    """What a browser would fetch, and whether every tag is closed."""

    VOID = ("meta", "img", "br")

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def written(diagnosis: Diagnosis, folder: Path, paths: int = 3) -> str:
    file = page.write(diagnosis, samples.results()[:paths], LIMIT, folder / "deep")
    assert file == folder / "deep" / "diagnosis.html"
    return file.read_text()


@pytest.mark.parametrize("make", [diagnosed, empty])
def test_the_page_needs_no_other_file(make: type[Diagnosis], tmp_path: Path) -> None:
    loads = Loads()
    loads.feed(written(make(), tmp_path))
    assert not loads.open
    assert len(loads.sources) == 6
    assert all(source.startswith("data:image/png;base64,") for source in loads.sources)
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["diagnosis.html", "diagnosis.json"]


def test_the_page_has_the_findings(tmp_path: Path) -> None:
    content = written(diagnosed(), tmp_path)
    words = re.sub(r"<[^>]*>", " ", content.partition("<body>")[2])
    assert "Most upstream fault: tracker. " in words
    assert "It stands &lt;still&gt;." in words
    assert "outputs/&lt;b&gt;/bundle" in words
    for check in ("reward", "tracker", "omniscient", "memory"):
        assert f"What {check} found. And &lt;more&gt; &amp; more." in words
    assert "nis = 40" in words
    assert "75.0 % (60.0-86.0)" in words
    rows = re.findall(r"<tr><td class=\"number\">(\d+)</td>", content)
    assert rows == [str(number) for number in (*range(30, 40), *range(10))]
    assert "20 of 40 episodes" in words


def test_the_same_diagnosis_gives_the_same_page_and_record(tmp_path: Path) -> None:
    assert written(diagnosed(), tmp_path / "a") == written(diagnosed(), tmp_path / "b")
    assert Diagnosis.read(tmp_path / "a" / "deep" / "diagnosis.json") == diagnosed()


def test_without_a_fault_none_is_named(tmp_path: Path) -> None:
    content = written(empty(), tmp_path, paths=0)
    assert "Most upstream fault" not in content
    assert '<p class="verdict">' in content


def test_the_terminal_shows_faults_in_full() -> None:
    from rich.console import Console

    console = Console(width=80)
    with console.capture() as captured:
        console.print(tables.diagnosis(diagnosed()))
    words = " ".join(captured.get().split())
    assert "outputs/<b>/bundle: The tracker does not predict." in words
    assert "tracker FAIL What tracker found. And <more> & more." in words
    assert "omniscient warn What omniscient found. And" in words
    assert "reward ok What reward found. tracker" in words
