"""Everything that a command and its children import, imported once, before the first fork."""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from pathlib import Path

from hlynr.config.config import Config

MODULES = (
    "hlynr.cli.app",
    "mlflow",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.rest_store",
    "psycopg2",
    "torch",
    "torch._dynamo",
    "torch.utils.tensorboard",
    "stable_baselines3",
    "sb3_contrib",
    "hlynr.rl.train",
    "hlynr.envs.batch",
    "hlynr.evaluation.judge",
    "hlynr.evaluation.gate",
    "hlynr.report.stage",
    "hlynr.report.figures",
    "hlynr.pipeline.preflight",
    "hlynr.pipeline.steps",
    "hlynr.pipeline.commands",
    "hlynr.ops.registry.logged_model",
    "hlynr.ops.retention.prune",
    "hlynr.service.prefect_server",
    "flows.retrain",
    "prefect.server.api.server",
    "scipy.stats",
    "dvc.repo",
    "dvc.repo.experiments",
    "dvc.repo.commit",
    "dvc.repo.push",
    "dvc.config",
    "dvc_data.index",
    "dvc.fs.dvc",
    "git",
    "matplotlib.backends.backend_agg",
    "PIL.JpegImagePlugin",
    "PIL.GifImagePlugin",
    "PIL.PpmImagePlugin",
    "PIL.BmpImagePlugin",
    "pandas",
    "alembic.command",
    "croniter",
    "filelock",
    "torch.utils.serialization",
)
_PIXEL = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU"
    b"\0\0\0\nIDATx\x9cc\xf8\x0f\0\x01\x01\x01\0\x1b\xb6\xeeV\0\0\0\0IEND\xaeB`\x82"
)


def preload(config: Config) -> None:
    """Import all, compile the simulation, and leave no thread behind, for a fork has only one."""
    with contextlib.redirect_stdout(sys.stderr):  # as the worker of DVC, whose console keeps what it finds here
        for name in MODULES:
            importlib.import_module(name)
    _warm_up(config)
    alive = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if alive:
        raise RuntimeError(f"an import has started threads, which a fork does not have: {alive}")


def _warm_up(config: Config) -> None:
    """Run the compiled simulation, and let figures be files of one pixel: drawing them takes half of an evaluation."""
    from hlynr.evaluation import judge, laws
    from hlynr.report import style

    scenario = config.evaluation.scenario
    judge.run_seed_set(laws.law("pursuit", config, scenario), config, judge.SeedSet(scenario, 1, 10))

    def save(figure: object, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_PIXEL)
        return path

    style.save = save
