"""A bundle as an MLflow LoggedModel: it predicts without hlynr, and carries signature, example and success rate."""

from __future__ import annotations

import re
import shutil
import tempfile
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hlynr.config.config import Config
from hlynr.ops.registry.versions import SHA_TAG
from hlynr.ops.tracking import deletion
from hlynr.ops.tracking.calls import pages
from hlynr.ops.tracking.metrics import dataset_of, merits, metrics
from hlynr.ops.tracking.store import Store
from hlynr.records.evaluation import EvaluationReport
from hlynr.records.training import Lineage
from hlynr.rl import inference

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

PACKAGES = ("mlflow", "numpy", "safetensors", "torch")
CODE = "hlynr_policy"
"""What a model calls its copy of `hlynr.rl.inference`."""
ACTIONS = 3


def log_bundle(
    store: Store,
    run_id: str,
    bundle: Path,
    evaluation: EvaluationReport,
    lineage: Lineage,
    config: Config,
    example: np.ndarray,
) -> tuple[str, str]:
    """Log the bundle with its held-out figures and return the model's id and URI; once for a run and bundle.

    Afterwards ``search_logged_models(filter_string="metrics.success_rate > 0.33")`` finds it.

    Args:
        example: observation histories, (B, T, D); their D becomes part of the signature.
    """
    from mlflow.entities import LoggedModelOutput

    earlier = _earlier(store, run_id, evaluation.bundle_sha256)
    if earlier is not None:
        return earlier, f"models:/{earlier}"
    tags = lineage.tags() | {SHA_TAG: evaluation.bundle_sha256}
    model = store.client.create_logged_model(
        store.experiment_id, name=_name(lineage), source_run_id=run_id, tags=tags, model_type=config.train.algorithm
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            # MLflow keeps data under its source's name, and `versions.fetch_bundle` looks for this one.
            named = shutil.copytree(bundle, Path(folder) / "bundle")
            _save(Path(folder) / "model", model, run_id, named, example)
            store.client.log_model_artifacts(model.model_id, str(Path(folder) / "model"))
        _log_success(store, run_id, model.model_id, evaluation, config)
        store.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    except BaseException:
        store.client.finalize_logged_model(model.model_id, "FAILED")
        raise
    store.client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id), f"models:/{model.model_id}"


def _earlier(store: Store, run_id: str, sha: str) -> str | None:
    """The run's model of this bundle, if it was logged as a whole before; unfinished ones of the run are erased."""
    wanted = {"experiment_ids": [store.experiment_id], "filter_string": f"source_run_id = '{run_id}'"}
    finished = None
    for marked in deletion.marked_models(store):
        if marked.source_run_id == run_id:
            deletion.erase_model(store, marked.model_id, marked.artifact_location)
    for model in pages(store.client.search_logged_models, **wanted):
        if str(model.status) != "READY":
            store.client.delete_logged_model(model.model_id)
            deletion.erase_model(store, model.model_id, model.artifact_location)
        elif model.tags.get(SHA_TAG) == sha:
            finished = str(model.model_id)
    return finished


def _name(lineage: Lineage) -> str:
    """Retraining and strategy, without the characters that MLflow does not allow in a model's name."""
    return f"retraining-{lineage.retraining}-" + re.sub("[/:.%'\"]", "-", lineage.strategy)


def requirements() -> list[str]:
    """What predicts, pinned to what is installed.

    Build labels such as ``+cpu`` are left out: they name a wheel, not a release.
    """
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in PACKAGES]


def _save(path: Path, model: LoggedModel, run_id: str, bundle: Path, example: np.ndarray) -> None:
    """Write the model's folder; `mlflow.pyfunc.log_model` would do it through a global tracking URI."""
    with warnings.catch_warnings():
        # MLflow warns about type hints of its own agent classes on import.
        warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType", UserWarning)
        from mlflow.pyfunc import save_model
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    float32 = np.dtype(np.float32)
    description = Model(
        artifact_path=model.artifact_location, run_id=run_id, model_uuid=model.model_id, model_id=model.model_id
    )
    # Not as "hlynr": where that is installed too, the one would hide the other.
    code = shutil.copytree(
        Path(inference.__file__).parent,
        bundle.with_name(CODE),
        ignore=shutil.ignore_patterns("__pycache__"),
        copy_function=shutil.copyfile,  # not with the modes of the installed package
    )
    save_model(
        path=str(path),
        mlflow_model=description,
        loader_module=f"{CODE}.served",
        data_path=str(bundle),
        code_paths=[str(code)],
        pip_requirements=requirements(),
        signature=ModelSignature(
            inputs=Schema([TensorSpec(float32, (-1, -1, example.shape[-1]))]),
            outputs=Schema([TensorSpec(float32, (-1, ACTIONS))]),
        ),
        input_example=example.astype(np.float32),
    )


def _log_success(store: Store, run_id: str, model_id: str, evaluation: EvaluationReport, config: Config) -> None:
    dataset = dataset_of(evaluation.heldout, "heldout", config)
    bound = {
        "model_id": model_id,
        "run_id": run_id,
        "dataset_name": dataset.name,
        "dataset_digest": dataset.digest,
    }
    store.client.log_batch(run_id, metrics=metrics(merits(evaluation.heldout), **bound))
