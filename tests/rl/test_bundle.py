"""The bundle: what is saved is what is loaded, and any change is rejected in one line."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from support.trainings import LINEAGE

from hlynr.config.config import Config
from hlynr.envs.observation import SCHEMA, SIZE
from hlynr.records import guarded_file
from hlynr.rl import bundle
from hlynr.rl.bundle import BundleError, digest, load_policy, read_manifest
from hlynr.rl.inference import files
from hlynr.rl.inference.actor import load_actor
from hlynr.rl.inference.files import MANIFEST, WEIGHTS
from hlynr.rl.network import NetworkPolicy, build, policy_settings

SEEN = np.random.default_rng(0).uniform(-2.0, 2.0, (40, SIZE)).astype(np.float32)
STARTS = np.ones(40, dtype=bool)


def saved(config: Config, folder: Path, seed: int = 1) -> NetworkPolicy:
    """Save an untrained network and return it."""
    torch.manual_seed(seed)
    network = build(config.train.algorithm, policy_settings(config.train))
    bundle.save(folder, network.state_dict(), config, LINEAGE, timesteps=1234, success=0.5)
    return NetworkPolicy(config.train.algorithm, network)


@pytest.fixture
def folder(tiny: Callable[..., Config], tmp_path: Path) -> Path:
    saved(tiny(), tmp_path / "bundle")
    return tmp_path / "bundle"


def refused(folder: Path, pattern: str) -> None:
    """Loading fails with one line that names the bundle."""
    with pytest.raises(BundleError, match=pattern) as refusal:
        load_policy(folder)
    assert str(refusal.value).startswith(str(folder))
    assert "\n" not in str(refusal.value)


def rewritten(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """A manifest with other entries and a seal that fits them, as a program of another version would write it."""
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(files.sealed(manifest))


def test_round_trip(tiny: Callable[..., Config], algorithm: str, tmp_path: Path) -> None:
    policy = saved(
        tiny(f"train.algorithm={algorithm}", "train.activation=elu", "train.net_arch=[32, 16]"), tmp_path / "b"
    )
    loaded = load_policy(tmp_path / "b")
    assert loaded.name == policy.name == algorithm
    memory = other = None
    for k in range(3):
        one, memory = policy.predict(SEEN, memory, STARTS & (k == 0))
        two, other = loaded.predict(SEEN, other, STARTS & (k == 0))
        np.testing.assert_array_equal(one, two)


def test_the_same_training_gives_the_same_digest(tiny: Callable[..., Config], folder: Path, tmp_path: Path) -> None:
    saved(tiny(), tmp_path / "twin")
    assert digest(tmp_path / "twin") == digest(folder) == hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    saved(tiny(), tmp_path / "other", seed=2)
    assert digest(tmp_path / "other") != digest(folder)


def test_the_manifest_describes_the_policy(tiny: Callable[..., Config], folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest["algorithm"] == "ppo"
    assert manifest["timesteps"] == 1234
    assert [channel[0] for channel in manifest["observation"]["channels"]] == [channel.name for channel in SCHEMA]
    assert manifest["action"]["size"] == 3
    assert manifest["lineage"]["id"] == LINEAGE.id
    assert manifest["versions"]["torch"] == torch.__version__
    assert manifest["files"] == {WEIGHTS: hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()}


def test_nothing_in_it_executes(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, WEIGHTS]
    for path in folder.iterdir():
        content = path.read_bytes()
        assert not content.startswith((b"\x80", b"PK"))  # pickle, and the zip that torch.save and SB3 write
        with pytest.raises((ValueError, IndexError)):
            list(pickletools.genops(content))


# Refusals


def test_every_changed_byte_of_the_manifest_is_rejected(folder: Path) -> None:
    whole = (folder / MANIFEST).read_bytes()
    for position in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[position] ^= 0x01
        (folder / MANIFEST).write_bytes(changed)
        refused(folder, MANIFEST + "|format|schema")
    (folder / MANIFEST).write_bytes(whole + b"\n")
    refused(folder, "was changed")


@pytest.mark.parametrize("position", [0, 8, 20, 5000, -1])
def test_a_changed_byte_of_the_weights_is_rejected(folder: Path, position: int) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[position] ^= 0x10
    (folder / WEIGHTS).write_bytes(content)
    refused(folder, f"{WEIGHTS} was changed")


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", 7), ("timesteps", 1), ("selection_success", 0.99), ("scenario", "hard"), ("algorithm", "recurrent_ppo")],
)
def test_a_changed_field_is_rejected(folder: Path, key: str, value: object) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest[key] = value
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    refused(folder, "was changed")


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda m: m.update(format=2), "bundle format 2 is not 1"),
        (lambda m: m.pop("format"), "bundle format None is not 1"),
        (lambda m: m["observation"].update(version=99), "observation schema 99 is not 1; retrain"),
        (lambda m: m["observation"]["channels"][0].__setitem__(2, 1.0), "channels differ"),
        (lambda m: m["observation"].update(limit=9.0), "channels differ"),
        (lambda m: m["files"].clear(), f"does not name {WEIGHTS} alone"),
        (lambda m: m["files"].update({"../secret": "0"}), "weights.safetensors alone"),
        (lambda m: m["files"].update({"/etc/passwd": "0"}), "weights.safetensors alone"),
        (lambda m: m.update(files=[WEIGHTS]), "weights.safetensors alone"),
        (lambda m: m.pop("files"), "weights.safetensors alone"),
        (lambda m: m["files"].update({WEIGHTS: None}), "was changed"),
        (lambda m: m.pop("observation"), "observation is missing"),
        (lambda m: m.update(observation=[]), r"observation is \[\]"),
        (lambda m: m["observation"].pop("channels"), "channels is missing"),
        (lambda m: m["observation"].update(channels=[]), "channels has the width 0"),
        (lambda m: m["observation"].update(channels=[1] * len(SCHEMA)), "channels differ"),
        (lambda m: m.pop("lineage"), "the lineage in manifest.json"),
        (lambda m: m["lineage"].pop("id"), "the lineage in manifest.json.*id: "),
        (lambda m: m["network"].update(net_arch=[1] * 200_000), "Larger than 1,000,000 bytes"),
        (lambda m: m["network"].update(net_arch=[1] * 20_000), "20000 layers"),
        (lambda m: m["network"].update(net_arch=[10**9]), "width 1000000000"),
        (lambda m: m["network"].update(net_arch=[True, 64]), "width True"),
        (lambda m: m["network"].update(net_arch=["64", 64]), "width 64"),
        (lambda m: m["network"].update(net_arch={}), "net_arch is {}"),
        (lambda m: m["network"].update(net_arch=[8192] * 8), "do not fit"),
        (lambda m: m["network"].update(net_arch=[1]), "cannot be read|do not fit"),
        (lambda m: m.update(algorithm="dqn"), "do not fit.*dqn"),
        (lambda m: m.update(algorithm="recurrent_ppo"), "do not fit"),
        (lambda m: m["network"].update(lstm_hidden_size=8) or m.update(algorithm="recurrent_ppo"), "do not fit"),
        (lambda m: m["network"].update(net_arch=[64]), "do not fit"),
        (lambda m: m["network"].update(activation="gelu"), "do not fit.*gelu"),
        (lambda m: m.pop("network"), "do not fit"),
    ],
)
def test_another_version_or_network_is_rejected(
    folder: Path, change: Callable[[dict[str, Any]], object], pattern: str
) -> None:
    rewritten(folder, change)
    refused(folder, pattern)


def test_a_recurrent_bundle_is_no_mlp(tiny: Callable[..., Config], tmp_path: Path) -> None:
    saved(tiny("train.algorithm=recurrent_ppo"), tmp_path / "b")
    rewritten(tmp_path / "b", lambda m: m.update(algorithm="ppo"))
    refused(tmp_path / "b", "do not fit")


def test_truncated_weights_are_rejected(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])
    refused(folder, "was changed")
    sha = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    rewritten(folder, lambda m: m["files"].update({WEIGHTS: sha}))
    refused(folder, "do not fit")


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder, name)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', "\x00"])
def test_a_manifest_that_is_none_is_rejected(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    refused(folder, "not valid JSON|bundle format")


def test_no_folder_and_a_manifest_that_is_no_text(tmp_path: Path, folder: Path) -> None:
    refused(tmp_path / "nowhere", "is no bundle")
    (folder / MANIFEST).write_bytes(b"\xff\xfe\x00")
    refused(folder, "not valid JSON")


def resealed(folder: Path, weights: bytes) -> None:
    """Other weights under a manifest that names their hash."""
    (folder / WEIGHTS).write_bytes(weights)
    rewritten(folder, lambda m: m["files"].update({WEIGHTS: hashlib.sha256(weights).hexdigest()}))


def _header(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def changed(weights: bytes) -> bytes:
        length = int.from_bytes(weights[:8], "little")
        header = json.loads(weights[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + weights[8 + length :]

    return changed


def _overlapping(header: dict[str, Any]) -> None:
    header["log_std"]["data_offsets"] = header["action_net.bias"]["data_offsets"]


WEIGHTS_OF_OTHERS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "not valid JSON"),
    "header without end": (lambda weights: (2**60).to_bytes(8, "little") + weights[8:], "not valid JSON|do not fit"),
    "header that is a list": (lambda weights: (2).to_bytes(8, "little") + b"[]" + weights, "do not fit"),
    "deep header": (lambda _: (90_000).to_bytes(8, "little") + b"[" * 90_000, "not valid JSON"),
    "number of a million digits": (lambda _: (900_000).to_bytes(8, "little") + b"1" * 900_000, "not valid JSON"),
    "bytes behind the last": (lambda weights: weights + b"more", "do not fit"),
    "overlap": (_header(_overlapping), "cannot be read"),
    "entry that is a list": (_header(lambda h: h.update(log_std=[])), "log_std is not float32"),
    "integers": (_header(lambda h: h["log_std"].update(dtype="I32")), r"log_std is not float32 \[3\]"),
    "no offsets": (_header(lambda h: h["log_std"].pop("data_offsets")), "cannot be read"),
    "other shape": (_header(lambda h: h["log_std"].update(shape=[1, 3])), "log_std is not float32"),
    "one less": (_header(lambda h: h.pop("log_std")), "do not fit.*log_std"),
    "one more": (_header(lambda h: h.update(more=h["log_std"])), "do not fit.*more"),
}


@pytest.mark.parametrize("case", WEIGHTS_OF_OTHERS)
def test_weights_that_another_program_sealed_are_compared_first(folder: Path, case: str) -> None:
    change, pattern = WEIGHTS_OF_OTHERS[case]
    resealed(folder, change((folder / WEIGHTS).read_bytes()))
    refused(folder, pattern)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_finite_numbers_are_rejected(folder: Path, number: float) -> None:
    tensors = safetensors.torch.load_file(folder / WEIGHTS)
    tensors["action_net.bias"][1] = number
    resealed(folder, safetensors.torch.save(tensors))
    refused(folder, f"{WEIGHTS}: action_net.bias is not finite")


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS])
@pytest.mark.parametrize("kind", ["pipe", "folder", "link in a circle", "link to a pipe", "large"])
def test_only_a_regular_file_of_the_expected_size_is_read(folder: Path, name: str, kind: str) -> None:
    path = folder / name
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(2**40)  # takes no room
    elif kind == "link in a circle":
        path.symlink_to(name)
    else:
        os.mkfifo(folder / "pipe")
        (folder / "pipe").rename(path) if kind == "pipe" else path.symlink_to("pipe")
    refused(folder, f"{name} cannot be read")


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 900_000, '{"format": 1, "format": 1}', " " * 2_000_000])
def test_a_manifest_made_to_hurt_is_rejected(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    refused(folder, "not valid JSON|was changed|cannot be read")


def test_a_logged_model_reads_as_carefully_as_the_package() -> None:
    """It carries a copy of its own, since it imports nothing of the package."""
    assert inspect.getsource(files.read_bytes) == inspect.getsource(guarded_file.read_bytes)


def test_the_actor_alone_has_the_same_limits(folder: Path) -> None:
    rewritten(folder, lambda m: m["network"].update(net_arch=[1] * 20_000))
    with pytest.raises(ValueError, match="20000 layers"):
        load_actor(folder)


# Interrupted


@pytest.mark.parametrize("at", ["save_file", "_manifest"])
def test_an_interrupted_save_leaves_the_previous_bundle(
    tiny: Callable[..., Config], folder: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    before, content = digest(folder), (folder / WEIGHTS).read_bytes()

    def fails(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(safetensors.torch if at == "save_file" else bundle, at, fails)
    with pytest.raises(OSError, match="disk full"):
        saved(tiny(), folder, seed=2)
    assert digest(folder) == before
    assert (folder / WEIGHTS).read_bytes() == content
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


def test_saving_again_replaces_the_whole_bundle(tiny: Callable[..., Config], folder: Path) -> None:
    (folder / "stray").touch()
    before = digest(folder)
    saved(tiny(), folder, seed=2)
    assert digest(folder) != before
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, WEIGHTS]
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]
