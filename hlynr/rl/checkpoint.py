"""Training checkpoints: everything that a killed training needs to go on as if it had not been killed.

One file, written between two rollouts: a line of JSON, which says whose training it is and holds the sha256 of all that
follows, then what torch writes. It is loaded with ``weights_only``: tensors and plain values, nothing that executes.
"""

import hashlib
import io
import random
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from hlynr.records.base import Record, write_bytes
from hlynr.records.guarded_file import read_bytes
from hlynr.records.training import EvaluationPoint, Lineage
from hlynr.rl import sb3_private
from hlynr.rl.adapter import InterceptVecEnv
from hlynr.rl.algorithms import Algorithm
from hlynr.runtime.errors import InputError

FILE = "latest.pt"
_FORMAT, _FORMER_FORMAT = 3, 2
"""The former one is what torch writes, without the line."""
_FORMER_HEADER = "latest.json"
SIZE_LIMIT = 16 * 2**30
"""[bytes]; the largest network and batch that params.yaml allows take less."""


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
    """What is asked of a checkpoint before a training goes on from it: it costs no load."""

    format: int
    sha256: str
    """Of all that follows."""
    digest: str
    lineage: Lineage


def save(folder: Path, model: Algorithm, env: InterceptVecEnv, progress: Progress, digest: str) -> None:
    """Write the checkpoint atomically; ``digest`` names the configuration it belongs to."""
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()  # torch's own writer reports a full disk as a position that did not advance
    torch.save({"format": _FORMAT, "digest": digest, **_captured(model, env, progress)}, buffer)
    sha256 = hashlib.sha256(buffer.getbuffer()).hexdigest()
    header = _Header(format=_FORMAT, sha256=sha256, digest=digest, lineage=progress.lineage)
    write_bytes(folder / FILE, header.model_dump_json().encode() + b"\n" + buffer.getbuffer())
    (folder / _FORMER_HEADER).unlink(missing_ok=True)


def load(folder: Path, model: Algorithm, env: InterceptVecEnv, digest: str) -> Progress | None:
    """Restore ``model`` and ``env``; None if there is no checkpoint.

    Raises:
        CheckpointError: if it is damaged, of another format or of another configuration.
    """
    path = folder / FILE
    found = _opened(path, digest)
    if found is None:
        return None
    with _reported(path):
        values = _loaded(found.saved)
        _require_digest(path, values["digest"], digest)
        progress = Progress.model_validate(values["progress"] | {"best_weights": values["best_weights"]})
        _restore(model, env, values)
        return progress


def lineage_of(folder: Path, digest: str) -> Lineage | None:
    """Whose training the checkpoint belongs to; None if there is no checkpoint. Raises as `load` does."""
    path = folder / FILE
    found = _opened(path, digest)
    if found is None or found.header:
        return found.header.lineage if found and found.header else None
    with _reported(path):
        values = _loaded(found.saved)
        _require_digest(path, values["digest"], digest)
        return Lineage.model_validate(values["progress"]["lineage"])


class _Opened(NamedTuple):
    header: _Header | None
    """None in the former format."""
    saved: bytes
    """What torch has written."""


def _opened(path: Path, digest: str) -> _Opened | None:
    """A checkpoint whose sha256 is right, of the configuration ``digest`` if its header says so."""
    content = _content(path)
    if content is None:
        return None
    if content.startswith(b"PK"):  # a zip, which torch writes
        return _Opened(None, content)
    line, _, saved = content.partition(b"\n")
    try:
        header = _Header.model_validate_json(line)
    except ValidationError:
        header = None
    if header is None or header.format != _FORMAT:
        raise _anew(path, f"is not of checkpoint format {_FORMAT}")
    if hashlib.sha256(saved).hexdigest() != header.sha256:
        raise _anew(path, "was changed: its sha256 is not that of its content")
    _require_digest(path, header.digest, digest)
    return _Opened(header, saved)


def _content(path: Path) -> bytes | None:
    try:
        return read_bytes(path, SIZE_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _anew(path, f"cannot be read ({error.strerror})") from None


def _loaded(saved: bytes) -> dict[str, Any]:
    """The values that torch has written, if they take no more room in memory than in the file."""
    with zipfile.ZipFile(io.BytesIO(saved)) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("it is compressed")
    if sum(entry.file_size for entry in entries) > len(saved):
        raise ValueError("its parts overlap")
    values = torch.load(io.BytesIO(saved), weights_only=True, map_location="cpu")
    if not isinstance(values, dict):
        raise TypeError("it holds no values by name")
    if values["format"] not in (_FORMAT, _FORMER_FORMAT):
        raise ValueError(f"format {values['format']}")
    return values


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Any error as one line: torch, stable-baselines3 and numpy each raise their own where a value is not theirs."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise _anew(path, f"cannot be read ({reason})") from None


def _anew(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path}: {reason}; delete it to start anew")


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
