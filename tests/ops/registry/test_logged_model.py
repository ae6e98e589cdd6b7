"""A logged model: it acts as its policy, wherever it is loaded, and is found by its success."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from support import ROOT, stores
from support.services import faults

from hlynr.envs.observation import SIZE
from hlynr.ops.registry.logged_model import PACKAGES, log_bundle, requirements
from hlynr.ops.registry.versions import fetch_bundle, register
from hlynr.ops.tracking import deletion
from hlynr.ops.tracking.metric_stream import MetricStream
from hlynr.ops.tracking.runs import start_run
from hlynr.ops.tracking.store import Store
from hlynr.rl import bundle

HISTORIES = np.random.default_rng(1).normal(size=(5, 7, SIZE)).astype(np.float32)


@pytest.fixture
def _same_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model puts its copy of the code on the path."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def tracking_uri(store: Store) -> Iterator[str]:
    """MLflow's own loading goes through the global tracking URI."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store.uri)
    yield store.uri
    mlflow.set_tracking_uri(before)


def log(store: Store, folder: Path, algorithm: str) -> tuple[str, str, str]:
    """Log an untrained network; returns the run's id, the model's id and URI."""
    from hlynr.rl.network import build, policy_settings

    config = stores.config(f"train.algorithm={algorithm}", "train.lstm_hidden_size=8", "train.net_arch=[8]")
    weights = build(algorithm, policy_settings(config.train)).state_dict()
    lineage = stores.lineage(int(algorithm == "recurrent_ppo"))
    bundle.save(folder, weights, config, lineage, timesteps=1, success=0.9)
    run_id = start_run(store, lineage, config)
    return run_id, *log_bundle(store, run_id, folder, stores.evaluation(), lineage, config, np.zeros((1, 2, SIZE)))


def actions_of(folder: Path) -> np.ndarray:
    """The policy's own actions after `HISTORIES`."""
    policy, state = bundle.load_policy(folder), None
    for timestep in range(HISTORIES.shape[1]):
        expected, state = policy.predict(HISTORIES[:, timestep], state, np.full(len(HISTORIES), timestep == 0))
    return expected


@pytest.mark.usefixtures("_same_path", "tracking_uri")
@pytest.mark.parametrize("algorithm", ["ppo", "recurrent_ppo"])
def test_logged_model_acts_as_the_policy_after_the_same_history(store: Store, tmp_path: Path, algorithm: str) -> None:
    run_id, model_id, uri = log(store, tmp_path / "bundle", algorithm)
    from mlflow import pyfunc

    model = pyfunc.load_model(uri)
    actions = model.predict(HISTORIES)
    assert actions.shape == (5, 3)
    assert actions.dtype == np.float32
    np.testing.assert_array_equal(actions, actions_of(tmp_path / "bundle"))
    with pytest.raises(Exception, match="does not match expected shape"):
        model.predict(HISTORIES[:, :, 1:])
    with pytest.raises(ValueError, match="at least one timestep"):
        model.predict(HISTORIES[:, :0])
    assert store.client.get_run(run_id).outputs.model_outputs[0].model_id == model_id


class KilledError(BaseException):
    """The process ends here."""


def killed(*_: object, **__: object) -> None:
    raise KilledError


@pytest.mark.parametrize("moment", ["log_model_artifacts", "finalize_logged_model", "delete_logged_model"])
def test_killed_loggings_leave_no_unfinished_model(
    store: Store, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    folder, run_id = tmp_path / "bundle", start_run(store, stores.lineage(), stores.config())
    found = stores.evaluation(bundle_sha256=stores.make_bundle(folder))
    for _ in range(3):
        with monkeypatch.context() as patched:
            patched.setattr(store.client, moment, killed)
            patched.setattr(store.client, "finalize_logged_model", killed)
            with pytest.raises(KilledError):
                stores.log_model(store, run_id, folder, found)
    model_id, uri = stores.log_model(store, run_id, folder, found)
    assert stores.log_model(store, run_id, folder, found) == (model_id, uri)
    (model,) = store.client.search_logged_models([store.experiment_id])
    assert (model.model_id, str(model.status)) == (model_id, "READY")
    assert [path.name for path in (project / "mlruns/artifacts/models").iterdir()] == [model_id]
    assert deletion.marked_models(store) == []


PREDICT = """
import importlib.util, sys
import numpy as np
import mlflow
assert importlib.util.find_spec("hlynr") is None
np.save("actions.npy", mlflow.pyfunc.load_model(sys.argv[1]).predict(np.load("histories.npy")))
"""


@faults
@pytest.mark.timeout(1800)
def test_it_predicts_where_only_its_four_requirements_are_installed(store: Store, tmp_path: Path) -> None:
    """The download of torch makes this a matter of minutes."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "--constraint", ROOT / "constraints.txt", *requirements()]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip could not install the four packages: {done.stderr.strip().splitlines()[-1]}")
    compare_in(python, store, tmp_path)


def compare_in(python: Path, store: Store, folder: Path) -> None:
    """Predictions of a fresh interpreter against the policy's own."""
    np.save(folder / "histories.npy", HISTORIES)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"MLFLOW_TRACKING_URI": store.uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    for algorithm in ("ppo", "recurrent_ppo"):
        _, _, uri = log(store, folder / algorithm, algorithm)
        predict = [python, "-c", PREDICT, uri]
        done = subprocess.run(predict, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        np.testing.assert_array_equal(np.load(folder / "actions.npy"), actions_of(folder / algorithm))


def test_the_bundle_of_a_model_that_carries_all_of_hlynr_is_found(store: Store, tmp_path: Path) -> None:
    """Earlier versions kept it elsewhere in the model."""
    run_id, model_id, uri = log(store, tmp_path / "bundle", "ppo")
    from mlflow.utils.file_utils import local_file_uri_to_path

    model = Path(local_file_uri_to_path(store.client.get_logged_model(model_id).artifact_location))
    (model / "data").rename(model / "artifacts")
    sha = bundle.digest(tmp_path / "bundle")
    version = register(store, run_id, uri, model_id, sha, stores.evaluation(), stores.lineage())
    assert bundle.digest(fetch_bundle(store, version, tmp_path / "fetched")) == sha


def test_a_models_files_are_made_under_the_umask(store: Store, tmp_path: Path) -> None:
    from mlflow.utils.file_utils import local_file_uri_to_path

    before = os.umask(0o077)
    try:
        _, model_id, _ = log(store, tmp_path / "bundle", "ppo")
    finally:
        os.umask(before)
    model = Path(local_file_uri_to_path(store.client.get_logged_model(model_id).artifact_location))
    files = [path for path in model.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [path for path in files if path.stat().st_mode & 0o077] == []


def test_models_are_found_by_their_success(store: Store, tmp_path: Path) -> None:
    stores.make_bundle(tmp_path / "bundle")
    for number, success in enumerate((0.2, 0.94)):
        run_id = start_run(store, stores.lineage(number), stores.config())
        model_id, _ = stores.log_model(store, run_id, tmp_path / "bundle", stores.evaluation(success, number))
    good = store.client.search_logged_models([store.experiment_id], filter_string="metrics.success_rate > 0.33")
    assert [model.model_id for model in good] == [model_id]
    assert str(good[0].status) == "READY"
    assert good[0].metrics[0].dataset_name == "reference-heldout-3000017"
    assert good[0].name == "retraining-1-default"


def test_a_models_figures_leave_the_trainings_curves_alone(store: Store, tmp_path: Path) -> None:
    stores.make_bundle(tmp_path / "bundle")
    run_id = start_run(store, stores.lineage(), stores.config())
    with closing(MetricStream(store, run_id, tmp_path / "unsent.jsonl")) as stream:
        stream.log(512, {"reward/intercept": 0.25})
    stores.log_model(store, run_id, tmp_path / "bundle", stores.evaluation())
    assert [point.step for point in store.client.get_metric_history(run_id, "reward/intercept")] == [512]


def test_any_strategys_name_makes_a_models_name(store: Store, tmp_path: Path) -> None:
    stores.make_bundle(tmp_path / "bundle")
    run_id = start_run(store, stores.lineage(), stores.config())
    odd = stores.lineage(strategy="v1.5: 'fast' 90%/x")
    found = stores.evaluation().model_copy(update={"lineage": odd})
    model_id, _ = stores.log_model(store, run_id, tmp_path / "bundle", found)
    assert store.client.get_logged_model(model_id).name == "retraining-0-v1-5- -fast- 90--x"


def test_a_model_that_cannot_be_logged_is_marked(store: Store, tmp_path: Path) -> None:
    run_id = start_run(store, stores.lineage(), stores.config())
    with pytest.raises(Exception, match="missing"):
        stores.log_model(store, run_id, tmp_path / "missing", stores.evaluation())
    models = store.client.search_logged_models([store.experiment_id])
    assert [str(model.status) for model in models] == ["FAILED"]


def test_requirements_are_the_installed_releases() -> None:
    found = requirements()
    assert [line.partition("==")[0] for line in found] == list(PACKAGES)
    assert not any("+" in line for line in found)
