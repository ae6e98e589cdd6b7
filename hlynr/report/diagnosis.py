"""A diagnosis as one HTML page that needs nothing beside itself."""

import base64
import html
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from hlynr.evaluation.recording import Trajectory
from hlynr.records.base import write_text
from hlynr.records.diagnosis import Diagnosis, Finding, SampledEpisode
from hlynr.report import diagnosis_figures, text
from hlynr.report.figures import trajectories

RECORD, PAGE = "diagnosis.json", "diagnosis.html"
SHOWN = 20
"""Episodes in the table; the record holds all."""

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 960px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
.facts { color: #555; margin: 0 0 1rem; }
.verdict { border-left: 6px solid #009E73; background: #f3f8f6; padding: .7rem 1rem; margin: 0; }
.verdict.fault { border-color: #D55E00; background: #fbf2ec; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #ddd; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.ok { color: #00704f; } .warning { color: #8a5a00; } .bad { color: #b34700; font-weight: 700; }
.skipped { color: #666; }
.figures { color: #555; font-size: .85rem; overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; display: block; margin: .8rem 0; }
"""
_CLASSES = {"ok": "ok", "warning": "warning", "fault": "bad", "skipped": "skipped"}


def write(diagnosis: Diagnosis, paths: Sequence[Trajectory], limit: float, out: Path) -> Path:
    """Write record and page below ``out``; returns the page.

    Args:
        limit: at which observations are clipped.
    """
    diagnosis.write(out / RECORD)
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder)
        pictures = {
            "episodes": diagnosis_figures.causes(diagnosis, drawn / "causes.png"),
            "paths": trajectories(paths, drawn / "paths.png"),
            "reward": diagnosis_figures.reward(diagnosis, drawn / "reward.png"),
            "tracker": diagnosis_figures.tracker(diagnosis, drawn / "tracker.png"),
            "success": diagnosis_figures.success(diagnosis, drawn / "success.png"),
            "observations": diagnosis_figures.observations(diagnosis, limit, drawn / "observations.png"),
        }
        embedded = {name: _image(file) for name, file in pictures.items()}
    write_text(out / PAGE, _page(diagnosis, embedded))
    return out / PAGE


def _page(diagnosis: Diagnosis, images: dict[str, str]) -> str:
    title = f"Diagnosis of {diagnosis.subject}"
    success = text.success(diagnosis.success_rate, diagnosis.success_rate_ci)
    engagements = f"{diagnosis.episodes} engagements of {diagnosis.scenario}, seed {diagnosis.seed}"
    facts = f"{engagements}; the policy succeeds in {success}"
    verdict = "verdict fault" if diagnosis.cause else "verdict"
    named = f"<strong>Most upstream fault: {diagnosis.cause}.</strong> " if diagnosis.cause else ""
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="facts">{html.escape(facts)}</p>',
        f'<p class="{verdict}">{named}{html.escape(diagnosis.verdict)}</p>',
        "<h2>Findings</h2>",
        _findings(diagnosis.findings),
        "<h2>How episodes end</h2>",
        images["episodes"],
        images["paths"],
        _episodes(diagnosis.sampled),
        "<h2>What would help</h2>",
        images["success"],
        "<h2>Reward</h2>",
        images["reward"],
        "<h2>Tracker</h2>",
        images["tracker"],
        "<h2>Observations</h2>",
        images["observations"],
    ]
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(body) + "\n</body></html>\n"


def _findings(found: Iterable[Finding]) -> str:
    rows = []
    for finding in found:
        figures = ", ".join(f"{name} = {value:.4g}" for name, value in finding.figures.items())
        row = {
            "status": f'<span class="{_CLASSES[finding.status]}">{finding.status}</span>',
            "check": html.escape(finding.check),
            "finding": f'{html.escape(finding.finding)}<div class="figures">{html.escape(figures)}</div>',
        }
        rows.append(row)
    return _table(rows, words=("status", "check", "finding"))


def _episodes(sampled: Sequence[SampledEpisode]) -> str:
    """Failures first; at most `SHOWN`."""
    shown = sorted(sampled, key=lambda episode: episode.outcome == "intercept")[:SHOWN]
    note = f'<p class="facts">{len(shown)} of {len(sampled)} episodes, failures first; {RECORD} holds all.</p>'
    rows = [
        {
            "episode": str(episode.episode),
            "outcome": html.escape(episode.outcome.replace("_", " ")),
            "cause": html.escape(episode.cause),
            "miss": text.metres(episode.miss_distance),
            "time": text.duration(episode.seconds),
            "reward": text.signed(episode.reward),
            "first detection": text.duration(episode.first_detection),
            "detections": str(episode.detections),
            "rejected": str(episode.rejections),
            "fuel": text.percent(episode.fuel_left),
        }
        for episode in shown
    ]
    return _table(rows, words=("outcome", "cause")) + note


def _table(rows: Sequence[dict[str, str]], words: Sequence[str]) -> str:
    """Rows of equal keys, their cells HTML; columns other than ``words`` hold numbers."""
    if not rows:
        return ""
    kinds = {name: "" if name in words else ' class="number"' for name in rows[0]}
    lines = ["".join(f"<th{kind}>{name}</th>" for name, kind in kinds.items())]
    lines += ["".join(f"<td{kinds[name]}>{cell}</td>" for name, cell in row.items()) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _image(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{html.escape(path.stem)}" src="data:image/png;base64,{data}">'
