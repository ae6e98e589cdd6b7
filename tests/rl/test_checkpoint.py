"""Checkpoints that a training is not resumed from, each rejected in one line before it is loaded."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.trainings import LINEAGE, Finished, PowerCut, finish, weights_of

from hlynr.config.config import Config
from hlynr.rl import checkpoint
from hlynr.rl.checkpoint import CheckpointError
from hlynr.rl.train import train, training_digest


def test_a_checkpoint_of_another_configuration_is_rejected(
    ppo: Finished, brief: Callable[..., Config], tmp_path: Path
) -> None:
    finish(brief(), tmp_path)
    for other in (
        "train.vf_coef=0.77",
        "train.seed=5",
        "reward.progress=0.2",
        "scenarios.reference.capture_radius=140.0",
    ):
        with pytest.raises(CheckpointError, match="another configuration") as refusal:
            train(brief(other), tmp_path, LINEAGE, resume=True)
        assert "\n" not in str(refusal.value)


def test_what_does_not_touch_the_training_may_change(brief: Callable[..., Config]) -> None:
    others = (
        "gate.baseline=0.4",
        "evaluation.batch_size=50",
        "scenarios.hard.capture_radius=21.0",
        "tracking.experiment=x",
    )
    assert {training_digest(brief(other)) for other in others} == {training_digest(brief())}


def _resealed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Other values under a header with their hash, as another program would write it."""
    line, _, saved = path.read_bytes().partition(b"\n")
    values = torch.load(io.BytesIO(saved), weights_only=True)
    change(values)
    buffer = io.BytesIO()
    torch.save(values, buffer)
    header = json.loads(line) | {"sha256": hashlib.sha256(buffer.getbuffer()).hexdigest()}
    path.write_bytes(json.dumps(header).encode() + b"\n" + buffer.getvalue())


def _former(path: Path) -> None:
    """As earlier versions wrote it: without the header's line."""
    saved = path.read_bytes().partition(b"\n")[2]
    values = torch.load(io.BytesIO(saved), weights_only=True) | {"format": 2}
    torch.save(values, path)


FOREIGN: dict[str, Callable[[dict[str, Any]], object]] = {
    "no digest": lambda values: values.pop("digest"),
    "no format": lambda values: values.pop("format"),
    "no progress": lambda values: values.pop("progress"),
    "no policy": lambda values: values.pop("policy"),
    "no lineage": lambda values: values["progress"].pop("lineage"),
    "progress that is a list": lambda values: values.update(progress=[]),
    "policy of another shape": lambda values: values["policy"].update(log_std=torch.zeros(7)),
    "environments of another size": lambda values: values["env"].update(state=torch.zeros(1, dtype=torch.uint8)),
    "environments of another kind": lambda values: values["env"].update(episodes=torch.zeros(3)),
    "generator of another size": lambda values: values["generators"].update(torch=torch.zeros(3, dtype=torch.uint8)),
    "generators that are a number": lambda values: values.update(generators=3),
    "optimizer without groups": lambda values: values["optimizer"].pop("param_groups"),
}


@pytest.mark.parametrize("former", [False, True])
@pytest.mark.parametrize("case", FOREIGN)
def test_foreign_values_are_a_checkpoint_error(ppo: Finished, tmp_path: Path, case: str, former: bool) -> None:
    shutil.copytree(ppo.out / "checkpoints", tmp_path / "checkpoints")
    path = tmp_path / "checkpoints" / checkpoint.FILE
    if former:
        _former(path)
        values = torch.load(path, weights_only=True)
        FOREIGN[case](values)
        torch.save(values, path)
    else:
        _resealed(path, FOREIGN[case])
    with pytest.raises(CheckpointError, match="delete it to start anew") as refusal:
        train(ppo.config, tmp_path, LINEAGE, resume=True)
    assert "\n" not in str(refusal.value)


def test_a_checkpoint_of_an_earlier_version_is_resumed(ppo: Finished, tmp_path: Path) -> None:
    shutil.copytree(ppo.out, tmp_path / "train")
    path = tmp_path / "train" / "checkpoints" / checkpoint.FILE
    _former(path)
    path.with_name("latest.json").write_text("{}")
    digest = training_digest(ppo.config)
    assert checkpoint.lineage_of(path.parent, digest) == LINEAGE
    assert train(ppo.config, tmp_path / "train", LINEAGE, resume=True).resumed_from == 7168
    assert weights_of(tmp_path / "train") == ppo.weights


@pytest.mark.parametrize("kind", ["pipe", "folder", "large", "compressed", "executes"])
def test_a_checkpoint_of_another_kind_is_rejected_before_it_is_loaded(
    ppo: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / checkpoint.FILE
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(2**40)  # takes no room
    elif kind == "compressed":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", b"0" * 1_000_000)
    else:
        line = (ppo.out / "checkpoints" / checkpoint.FILE).read_bytes().partition(b"\n")[0]
        saved = pickle.dumps(Path("executes"))
        header = json.loads(line) | {"sha256": hashlib.sha256(saved).hexdigest()}
        path.write_bytes(json.dumps(header).encode() + b"\n" + saved)
    monkeypatch.setattr(checkpoint.torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    if kind == "executes":
        assert checkpoint.lineage_of(tmp_path, training_digest(ppo.config)) == LINEAGE
        (tmp_path / "checkpoints").mkdir()
        path.rename(tmp_path / "checkpoints" / checkpoint.FILE)
        with pytest.raises(CheckpointError, match="BadZipFile"):
            train(ppo.config, tmp_path, LINEAGE, resume=True)
    else:
        with pytest.raises(CheckpointError, match="delete it to start anew"):
            checkpoint.lineage_of(tmp_path, training_digest(ppo.config))


@pytest.mark.parametrize("position", [0, 10, -1, -5000])
def test_a_changed_byte_of_a_checkpoint_is_rejected(ppo: Finished, tmp_path: Path, position: int) -> None:
    content = bytearray((ppo.out / "checkpoints" / checkpoint.FILE).read_bytes())
    content[position] ^= 0x10
    (tmp_path / checkpoint.FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"was changed|is not of checkpoint format"):
        checkpoint.lineage_of(tmp_path, training_digest(ppo.config))


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "other format", "other pickle"])
def test_a_damaged_checkpoint_is_rejected_in_one_line(
    brief: Callable[..., Config], tmp_path: Path, damage: str
) -> None:
    config = brief("train.timesteps=2048")
    finish(config, tmp_path)
    path = tmp_path / "checkpoints" / checkpoint.FILE
    whole = path.read_bytes()
    if damage == "other format":
        torch.save({"format": 99}, path)
    elif damage == "other pickle":
        torch.save(Path("executes"), path)  # needs a class, which weights_only does not load
    else:
        path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"nothing of the kind"}[damage])
    with pytest.raises(CheckpointError, match="delete it to start anew") as refusal:
        train(config, tmp_path, LINEAGE, resume=True)
    assert "\n" not in str(refusal.value)


def test_an_interrupted_write_leaves_the_previous_checkpoint(
    brief: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = brief()
    with pytest.raises(RuntimeError, match="power cut"):
        train(config, tmp_path, LINEAGE, progress_to=[PowerCut(2048)], resume=False)
    before = (tmp_path / "checkpoints" / checkpoint.FILE).read_bytes()

    def half(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(bytes(content)[:100])
        raise OSError(28, "disk full")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", half)
        with pytest.raises(OSError, match="disk full"):
            train(config, tmp_path, LINEAGE, resume=True)
    assert (tmp_path / "checkpoints" / checkpoint.FILE).read_bytes() == before
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {checkpoint.FILE}


def test_the_lineage_is_read_without_loading_the_weights(ppo: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint.torch, "load", lambda *_, **__: pytest.fail("the weights were loaded"))
    assert checkpoint.lineage_of(ppo.out / "checkpoints", training_digest(ppo.config)) == LINEAGE
    with pytest.raises(CheckpointError, match="another configuration"):
        checkpoint.lineage_of(ppo.out / "checkpoints", "0" * 64)
    assert checkpoint.lineage_of(ppo.out / "bundle", training_digest(ppo.config)) is None
