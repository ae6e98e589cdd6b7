"""The bundle: a trained policy as weights.safetensors and manifest.json, and nothing that executes on load.

SB3's own zip holds cloudpickle, which runs code when it is opened; so it never leaves a trainer.
"""

from __future__ import annotations

import hashlib
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hlynr.envs.observation import LIMIT, SCHEMA, SCHEMA_VERSION
from hlynr.records.base import first_error, intermediate
from hlynr.records.training import Lineage
from hlynr.rl.inference.files import FORMAT, MANIFEST, WEIGHTS, BundleFiles, read_files, sealed
from hlynr.runtime.errors import InputError

if TYPE_CHECKING:
    import torch

    from hlynr.config.config import Config
    from hlynr.rl.network import NetworkPolicy

_PACKAGES = ("torch", "stable-baselines3", "sb3-contrib", "gymnasium", "numpy", "numba")


class BundleError(InputError):
    """A bundle that cannot be trusted or read; the message gives the reason in one line."""


def save(
    folder: Path, weights: dict[str, torch.Tensor], config: Config, lineage: Lineage, *, timesteps: int, success: float
) -> str:
    """Write a bundle, replacing what lies at ``folder`` in one move; returns its `digest`."""
    from safetensors.torch import save_file

    temporary = intermediate(folder)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        save_file({name: tensor.contiguous().cpu() for name, tensor in weights.items()}, str(temporary / WEIGHTS))
        sha256 = hashlib.sha256((temporary / WEIGHTS).read_bytes()).hexdigest()
        manifest = _manifest(config, lineage, timesteps, success, sha256)
        (temporary / MANIFEST).write_text(sealed(manifest), encoding="utf-8")
        _replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return digest(folder)


def _replace(new: Path, folder: Path) -> None:
    """Put ``new`` where ``folder`` is; a crash in between leaves the old one under another name."""
    old = intermediate(folder, "old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _manifest(config: Config, lineage: Lineage, timesteps: int, success: float, weights_sha: str) -> dict[str, Any]:
    train = config.train
    return {
        "format": FORMAT,
        "algorithm": train.algorithm,
        "network": {
            "net_arch": list(train.net_arch),
            "activation": train.activation,
            "lstm_hidden_size": train.lstm_hidden_size if train.algorithm == "recurrent_ppo" else None,
        },
        "observation": observation_schema(),
        "action": {"frame": "line_of_sight of the estimate", "size": 3, "low": -1.0, "high": 1.0},
        "scenario": train.scenario,
        "control_interval_s": config.sim.dt * config.sim.control_interval,
        "seed": config.train_seed,
        "timesteps": timesteps,
        "selection_success": success,
        "lineage": lineage.model_dump(mode="json"),
        "versions": versions(),
        "files": {WEIGHTS: weights_sha},
    }


def versions() -> dict[str, str]:
    """Versions of the packages that a policy's numbers depend on."""
    return {package: version(package) for package in _PACKAGES}


def observation_schema() -> dict[str, Any]:
    """The observation schema, as in the manifest."""
    return {"version": SCHEMA_VERSION, "limit": LIMIT, "channels": [list(channel) for channel in SCHEMA]}


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, after checking format, observation schema, lineage, shapes, and the hash of both files.

    Raises:
        BundleError: if anything is missing, of another version, or changed.
    """
    return _files(folder).manifest


def digest(folder: Path) -> str:
    """sha256 [hex] of the manifest, which holds the sha256 of every other file.

    Raises:
        BundleError: if the bundle does not pass `read_manifest`.
    """
    return _files(folder).digest


def _files(folder: Path) -> BundleFiles:
    try:
        files = read_files(folder)
    except ValueError as error:
        raise BundleError(str(error)) from None
    observation = files.manifest["observation"]
    if (found := observation.get("version")) != SCHEMA_VERSION:
        raise BundleError(f"{folder}: observation schema {found} is not {SCHEMA_VERSION}; retrain the policy")
    if observation != observation_schema():
        raise BundleError(f"{folder}: the observation channels differ from this version's; retrain the policy")
    try:
        Lineage.model_validate(files.manifest.get("lineage"))
    except ValidationError as error:
        reason = first_error(error)
        raise BundleError(f"{folder}: the lineage in {MANIFEST} is none of this version's: {reason}") from None
    return files


def load_policy(folder: Path, *, threads: int = 1) -> NetworkPolicy:
    """The policy of a bundle, on the CPU.

    Args:
        threads: of torch, for the whole process; small networks run best on one.

    Raises:
        BundleError: if the bundle does not pass `read_manifest`, or its weights are not finite.
    """
    import torch

    from hlynr.rl.inference.actor import ACTIVATIONS, load_weights
    from hlynr.rl.network import NetworkPolicy, build

    files = _files(folder)
    try:
        weights = load_weights(folder, files)
    except ValueError as error:
        raise BundleError(str(error)) from None
    algorithm, network = files.manifest["algorithm"], files.manifest["network"]
    settings = {"net_arch": network["net_arch"], "activation_fn": ACTIVATIONS[network["activation"]]}
    if algorithm == "recurrent_ppo":
        settings["lstm_hidden_size"] = network["lstm_hidden_size"]
    policy = build(algorithm, settings)
    policy.load_state_dict(weights, strict=True)
    torch.set_num_threads(threads)
    return NetworkPolicy(algorithm, policy)
