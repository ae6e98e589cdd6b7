"""Training checkpoints: everything from which a killed training goes on as if it had not been killed.

Written between two rollouts, loaded with ``weights_only``: tensors and plain values, nothing that executes.
"""

from __future__ import annotations

import os
import pickle
import random
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sb3_contrib.common.recurrent.type_aliases import RNNStates

from hlynr.records.training import EvaluationPoint, Lineage
from hlynr.runtime.errors import InputError

if TYPE_CHECKING:
    from hlynr.rl.adapter import InterceptVecEnv
    from hlynr.rl.algorithms import Algorithm

FILE = "latest.pt"
_FORMAT = 2


class CheckpointError(InputError):
    """A checkpoint that cannot be gone on from; the message says why in one line."""


@dataclass
class Progress:
    """What a training has found so far, beside the learner itself."""

    lineage: Lineage
    points: list[EvaluationPoint]
    best: EvaluationPoint | None
    best_weights: dict[str, torch.Tensor]
    next_evaluation: int
    next_checkpoint: int
    seconds: float
    curriculum: dict[str, Any]


def save(folder: Path, model: Algorithm, env: InterceptVecEnv, progress: Progress, digest: str) -> None:
    """Write the checkpoint atomically; ``digest`` names the configuration it belongs to."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{FILE}.{os.getpid()}.tmp"
    try:
        torch.save({"format": _FORMAT, "digest": digest, **_captured(model, env, progress)}, temporary)
        temporary.replace(folder / FILE)
    finally:
        temporary.unlink(missing_ok=True)


def load(folder: Path, model: Algorithm, env: InterceptVecEnv, digest: str) -> Progress | None:
    """Put ``model`` and ``env`` where the checkpoint left them; None if there is no checkpoint.

    Raises:
        CheckpointError: if it is damaged, of another format or of another configuration.
    """
    saved = _read(folder, digest)
    if saved is None:
        return None
    _restore(model, env, saved)
    facts = saved["progress"]
    return Progress(
        lineage=Lineage.model_validate(facts["lineage"]),
        points=[EvaluationPoint.model_validate(point) for point in facts["points"]],
        best=EvaluationPoint.model_validate(facts["best"]) if facts["best"] else None,
        best_weights=saved["best_weights"],
        next_evaluation=facts["next_evaluation"],
        next_checkpoint=facts["next_checkpoint"],
        seconds=facts["seconds"],
        curriculum=facts["curriculum"],
    )


def lineage_of(folder: Path, digest: str) -> Lineage | None:
    """Whose training the checkpoint belongs to; None if there is no checkpoint. Raises as `load` does."""
    saved = _read(folder, digest)
    return Lineage.model_validate(saved["progress"]["lineage"]) if saved else None


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
    if saved["digest"] != digest:
        raise CheckpointError(f"{path}: belongs to another configuration; undo the change, or train without --resume")
    return saved


def _captured(model: Algorithm, env: InterceptVecEnv, progress: Progress) -> dict[str, Any]:
    return {
        "policy": model.policy.state_dict(),
        "optimizer": model.policy.optimizer.state_dict(),
        "env": {key: torch.from_numpy(value) for key, value in env.state_dict().items()},
        "learner": _learner(model),
        "generators": _generators(),
        "best_weights": progress.best_weights,
        "progress": {
            "lineage": progress.lineage.model_dump(mode="json"),
            "points": [point.model_dump(mode="json") for point in progress.points],
            "best": progress.best.model_dump(mode="json") if progress.best else None,
            "next_evaluation": progress.next_evaluation,
            "next_checkpoint": progress.next_checkpoint,
            "seconds": progress.seconds,
            "curriculum": progress.curriculum,
        },
    }


def _learner(model: Algorithm) -> dict[str, Any]:
    memory = getattr(model, "_last_lstm_states", None)
    return {
        "num_timesteps": model.num_timesteps,
        "updates": model._n_updates,
        "last_obs": torch.from_numpy(np.asarray(model._last_obs)),
        "last_episode_starts": torch.from_numpy(np.asarray(model._last_episode_starts)),
        "lstm": None if memory is None else [list(memory.pi), list(memory.vf)],
        "episodes": list(model.ep_info_buffer or []),
        "successes": list(model.ep_success_buffer or []),
    }


def _restore(model: Algorithm, env: InterceptVecEnv, saved: dict[str, Any]) -> None:
    model.policy.load_state_dict(saved["policy"], strict=True)
    model.policy.optimizer.load_state_dict(saved["optimizer"])
    learner = saved["learner"]
    model._setup_learn(1, reset_num_timesteps=True)  # creates the buffers that the next lines fill, resets env
    env.load_state_dict({key: value.numpy() for key, value in saved["env"].items()})
    model.num_timesteps = learner["num_timesteps"]
    model._n_updates = learner["updates"]
    model._last_obs = learner["last_obs"].numpy()
    model._last_episode_starts = learner["last_episode_starts"].numpy()
    model.ep_info_buffer.extend(learner["episodes"])  # type: ignore[union-attr]  # made by _setup_learn
    model.ep_success_buffer.extend(learner["successes"])  # type: ignore[union-attr]
    if learner["lstm"] is not None:
        pi, vf = (tuple(part.to(model.device) for part in pair) for pair in learner["lstm"])
        model._last_lstm_states = RNNStates(pi, vf)  # type: ignore[union-attr]  # only the recurrent one has it
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
