"""Training checkpoints: everything that a killed training needs to go on as if it had not been killed.

Written between two rollouts, loaded with ``weights_only``: tensors and plain values, nothing that executes.
"""

import hashlib
import io
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from hlynr.records.base import Record, write_bytes
from hlynr.records.training import EvaluationPoint, Lineage
from hlynr.rl import sb3_private
from hlynr.rl.adapter import InterceptVecEnv
from hlynr.rl.algorithms import Algorithm
from hlynr.runtime.errors import InputError

FILE, HEADER = "latest.pt", "latest.json"
_FORMAT = 2


class CheckpointError(InputError):
    """A training cannot go on from this checkpoint."""


class Progress(BaseModel):
    """The state of a training beside the learner itself."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    lineage: Lineage
    points: list[EvaluationPoint] = []
    best: EvaluationPoint | None = None
    best_weights: dict[str, torch.Tensor] = {}
    next_evaluation: int
    next_checkpoint: int
    seconds: float = 0.0
    curriculum: dict[str, Any] = {}


class _Header(Record):
    """What is asked of a checkpoint before a training goes on from it, in a file of its own: it costs no load."""

    format: int
    sha256: str
    """Of the checkpoint. The file of another one, which a kill between the two writes leaves, does not count."""
    digest: str
    lineage: Lineage


def save(folder: Path, model: Algorithm, env: InterceptVecEnv, progress: Progress, digest: str) -> None:
    """Write the checkpoint atomically, then its header; ``digest`` names the configuration it belongs to."""
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()  # torch's own writer reports a full disk as a position that did not advance
    torch.save({"format": _FORMAT, "digest": digest, **_captured(model, env, progress)}, buffer)
    write_bytes(folder / FILE, buffer.getbuffer())
    sha256 = hashlib.sha256(buffer.getbuffer()).hexdigest()
    _Header(format=_FORMAT, sha256=sha256, digest=digest, lineage=progress.lineage).write(folder / HEADER)


def load(folder: Path, model: Algorithm, env: InterceptVecEnv, digest: str) -> Progress | None:
    """Restore ``model`` and ``env``; None if there is no checkpoint.

    Raises:
        CheckpointError: if it is damaged, of another format or of another configuration.
    """
    saved = _read(folder, digest)
    if saved is None:
        return None
    _restore(model, env, saved)
    return Progress.model_validate(saved["progress"] | {"best_weights": saved["best_weights"]})


def lineage_of(folder: Path, digest: str) -> Lineage | None:
    """Whose training the checkpoint belongs to; None if there is no checkpoint. Raises as `load` does."""
    header = _header(folder)
    if header is None:
        saved = _read(folder, digest)
        return Lineage.model_validate(saved["progress"]["lineage"]) if saved else None
    _require_digest(folder / FILE, header.digest, digest)
    return header.lineage


def _header(folder: Path) -> _Header | None:
    """None where it is missing, as in earlier versions, or not that of the checkpoint."""
    try:
        header = _Header.read(folder / HEADER)
        sha256 = hashlib.sha256((folder / FILE).read_bytes()).hexdigest()
    except (OSError, ValueError):
        return None
    return header if (header.format, header.sha256) == (_FORMAT, sha256) else None


def _read(folder: Path, digest: str) -> dict[str, Any] | None:
    path = folder / FILE
    if not path.exists():
        return None
    try:
        saved = torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, OSError, ValueError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: cannot be read ({type(error).__name__}); delete it to start anew") from None
    if not isinstance(saved, dict) or saved.get("format") != _FORMAT:
        raise CheckpointError(f"{path}: is not of checkpoint format {_FORMAT}; delete it to start anew")
    _require_digest(path, saved["digest"], digest)
    return saved


def _require_digest(path: Path, found: str, wanted: str) -> None:
    if found != wanted:
        raise CheckpointError(f"{path}: belongs to another configuration; undo the change, or train without --resume")


def _captured(model: Algorithm, env: InterceptVecEnv, progress: Progress) -> dict[str, Any]:
    return {
        "policy": model.policy.state_dict(),
        "optimizer": model.policy.optimizer.state_dict(),
        "env": {key: torch.from_numpy(value) for key, value in env.state_dict().items()},
        "learner": sb3_private.learner_state(model),
        "generators": _generators(),
        "best_weights": progress.best_weights,
        "progress": progress.model_dump(mode="json", exclude={"best_weights"}),
    }


def _restore(model: Algorithm, env: InterceptVecEnv, saved: dict[str, Any]) -> None:
    model.policy.load_state_dict(saved["policy"], strict=True)
    model.policy.optimizer.load_state_dict(saved["optimizer"])
    sb3_private.set_up_learning(model)
    env.load_state_dict({key: value.numpy() for key, value in saved["env"].items()})
    sb3_private.restore_learner(model, saved["learner"])
    _restore_generators(saved["generators"])


def _generators() -> dict[str, Any]:
    _, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002  (SB3's buffers draw from it)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [torch.from_numpy(np.asarray(keys)), position, has_gauss, cached],
        "python": random.getstate(),
    }


def _restore_generators(saved: dict[str, Any]) -> None:
    torch.set_rng_state(saved["torch"])
    if saved["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(saved["cuda"])
    keys, position, has_gauss, cached = saved["numpy"]
    np.random.set_state(("MT19937", keys.numpy(), position, has_gauss, cached))  # noqa: NPY002
    version, internal, gauss = saved["python"]
    random.setstate((version, tuple(internal), gauss))
