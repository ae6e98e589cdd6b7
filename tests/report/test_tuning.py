"""The page of a search: every figure from the record, nothing hidden."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib
import optuna
from rich.console import Console
from support import searches

from hlynr.report import tuning as page
from hlynr.studies.tuning import figures


def printed(renderable: object) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def test_the_page_tells_winner_candidates_and_trials(tmp_path: Path) -> None:
    record = searches.record()
    path = page.write(record, tmp_path, ["history.png"])
    told = path.read_text()
    assert path == tmp_path / "README.md"
    assert "**stability-7**: stability-7 gains +3.0 points on fresh seeds (+1.0 to +5.0)." in told
    assert "| stability-7 | 93.0 % (92.0-94.0) | +3.0 (+1.0 to +5.0) | 0.0 % | 0 of 2 | 93.0 %, 93.0 % |" in told
    assert "| train.learning_rate | {start: 0.002, end: 0.0} |" in told
    assert "4 trials in 1 min 1 s: 2 complete, 1 failed, 1 pruned, 1 infeasible." in told
    assert "somewhat flattered by the choice" in told
    assert "`hlynr tune --trials 4`" in told
    assert (tmp_path / "learning.png").stat().st_size > 10_000
    assert "history.png" in told
    assert "parallel.png" not in told


def test_a_strategy_that_stands_changes_nothing() -> None:
    record = searches.record("default", reason="default is kept: no trial was feasible")
    assert record.strategy_kept
    assert "What the winner changes" not in page.description(record)
    assert "What the winner changes" not in printed(page.summary(record))
    assert page.description(record).startswith("**default**: default is kept: no trial was feasible.")


def test_the_summary_fits_a_terminal() -> None:
    told = printed(page.summary(searches.record()))
    assert max(map(len, told.splitlines())) <= 80
    assert "stability-7" in told
    assert "0.800" in told


def test_the_figures_of_a_study_are_drawn_once_they_mean_something(tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))

    def objective(trial: optuna.Trial) -> float:
        trial.set_constraint("collapse", -1.0)
        return trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True) + trial.suggest_int("n_epochs", 1, 9)

    study.optimize(objective, n_trials=figures.LEAST - 1)
    assert figures.write(study, tmp_path) == []
    study.optimize(objective, n_trials=5)
    assert set(figures.write(study, tmp_path)) == set(page.FIGURES)
    assert all((tmp_path / name).stat().st_size > 10_000 for name in page.FIGURES)


def test_what_optuna_draws_leaves_the_look_of_other_figures_alone(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(lambda trial: trial.suggest_float("gamma", 0.0, 1.0), n_trials=figures.LEAST)
    assert figures.write(study, tmp_path)
    assert dict(matplotlib.rcParams) == before
