"""The evaluate stage's output folder: the report, DVC's metrics and plot, figures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from hlynr.config.config import Config
from hlynr.evaluation.recording import Trajectory
from hlynr.evaluation.rollout import EpisodeResults
from hlynr.records.base import write_csv, write_text
from hlynr.records.evaluation import EvaluationReport
from hlynr.records.training import TrainResult
from hlynr.report import figures


def write(
    config: Config,
    report: EvaluationReport,
    results: Mapping[str, EpisodeResults],
    samples: Sequence[Trajectory],
    training: TrainResult | None,
    out: Path,
) -> list[Path]:
    """Write everything below ``out``; returns the figures. Without ``training`` there is no learning curve."""
    out.mkdir(parents=True, exist_ok=True)
    report.write(out / "report.json")
    write_text(out / "metrics.json", json.dumps(_metrics(report), indent=2) + "\n")
    rows = [
        (name, row.success_rate, *row.success_rate_ci)
        for name, row in {"policy": report.heldout, **report.baselines}.items()
    ]
    write_csv(out / "comparison.csv", ("policy", "success_rate", "low", "high"), rows)
    pages, baseline = out / "figures", config.gate.baseline
    distances = {"policy": results["policy"].miss_distance, "pn": results["pn"].miss_distance}
    drawn = [
        figures.comparison(report, baseline, pages / "comparison.png"),
        figures.slices(report.heldout, pages / "slices.png"),
        figures.miss_distance(distances, report.heldout.capture_radius, pages / "miss-distance.png"),
        figures.trajectories(samples, pages / "trajectories.png"),
    ]
    if training:
        drawn.insert(0, figures.learning_curve(training, config.monitor, baseline, pages / "learning-curve.png"))
    return drawn


def _metrics(report: EvaluationReport) -> dict[str, float]:
    return {
        "report_success": report.report.success_rate,
        "heldout_success": report.heldout.success_rate,
        "heldout_success_low": report.heldout.success_rate_ci[0],
        "heldout_success_high": report.heldout.success_rate_ci[1],
        "heldout_mean_reward": report.heldout.mean_reward,
        "heldout_mean_final_distance": report.heldout.mean_final_distance,
    }
