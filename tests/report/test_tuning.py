"""The page of a search: every figure from the record, nothing hidden."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib
import optuna
from rich.console import Console
from support import searches

from hlynr.report import tuning as page
from hlynr.studies.tuning import foreign, tune


def printed(renderable: object) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def test_the_page_has_winner_candidates_and_trials(tmp_path: Path) -> None:
    record = searches.record()
    path = page.write(record, tmp_path, ["history.png"])
    text = path.read_text()
    assert path == tmp_path / "README.md"
    assert "**stability-7**: stability-7 gains +3.0 points on fresh seeds (+1.0 to +5.0)." in text
    assert "| stability-7 | 93.0 % (92.0-94.0) | +3.0 (+1.0 to +5.0) | 0.0 % | 0 of 2 | 93.0 %, 93.0 % |" in text
    assert "| train.learning_rate | {start: 0.002, end: 0.0} |" in text
    assert "4 trials in 1 min 1 s: 2 complete, 1 failed, 1 pruned, 1 infeasible." in text
    assert "biased upwards by the choice" in text
    assert "`hlynr tune --trials 4`" in text
    assert (tmp_path / "learning.png").stat().st_size > 5_000
    assert "history.png" in text
    assert "parallel.png" not in text


def test_a_strategy_that_is_kept_changes_nothing() -> None:
    record = searches.record("default", reason="default is kept: no trial was feasible")
    assert record.strategy_kept
    assert "What the winner changes" not in page.description(record)
    assert "What the winner changes" not in printed(page.summary(record))
    assert page.description(record).startswith("**default**: default is kept: no trial was feasible.")


def test_the_summary_fits_a_terminal() -> None:
    text = printed(page.summary(searches.record()))
    assert max(map(len, text.splitlines())) <= 80
    assert "stability-7" in text
    assert "0.800" in text


def own(trial: optuna.Trial, value: float) -> float:
    """Give the trial what a worker of the search notes; the value is a mean success."""
    points: list[dict[str, float]] = []
    run = {"seed": 1, "verdict": "healthy", "timesteps": 1, "seconds": 1.0, "final": value, "peak": value}
    trial.set_user_attr(foreign.PLACE, "a machine, process 1")
    trial.set_user_attr(foreign.TRAIN, {})
    trial.set_user_attr(foreign.RUNS, [run | {"points": points}])
    return value


def test_the_figures_of_a_study_need_some_trials(tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))

    def objective(trial: optuna.Trial) -> float:
        trial.set_constraint("collapse", -1.0)
        rate = trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
        return own(trial, rate + trial.suggest_int("n_epochs", 1, 9) / 10)

    study.optimize(objective, n_trials=tune.MIN_TRIALS - 1)
    assert tune.draw_figures(study, tmp_path) == []
    study.optimize(objective, n_trials=5)
    assert set(tune.draw_figures(study, tmp_path)) == set(page.FIGURES)
    assert all((tmp_path / name).stat().st_size > 5_000 for name in page.FIGURES)


def test_optunas_style_does_not_leak_into_other_figures(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(lambda trial: own(trial, trial.suggest_float("gamma", 0.0, 1.0)), n_trials=tune.MIN_TRIALS)
    assert tune.draw_figures(study, tmp_path)
    assert dict(matplotlib.rcParams) == before
