"""The bundle: a trained policy as weights.safetensors and manifest.json, and nothing that executes on load.

SB3's own zip holds cloudpickle, which runs code when it is opened; so it never leaves a trainer.
"""

from __future__ import annotations

import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlynr.envs.observation import LIMIT, SCHEMA, SCHEMA_VERSION
from hlynr.rl.inference.files import FORMAT, MANIFEST, WEIGHTS, read_files, sealed, sha256
from hlynr.runtime.errors import InputError

if TYPE_CHECKING:
    import torch

    from hlynr.config.config import Config
    from hlynr.records.training import Lineage
    from hlynr.rl.network import NetworkPolicy

_PACKAGES = ("torch", "stable-baselines3", "sb3-contrib", "gymnasium", "numpy", "numba")


class BundleError(InputError):
    """A bundle that cannot be trusted or read; the message gives the reason in one line."""


def save(
    folder: Path, weights: dict[str, torch.Tensor], config: Config, lineage: Lineage, *, timesteps: int, success: float
) -> str:
    """Write a bundle, replacing what lies at ``folder`` in one move; returns its `digest`."""
    from safetensors.torch import save_file

    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        save_file({name: tensor.contiguous().cpu() for name, tensor in weights.items()}, str(temporary / WEIGHTS))
        manifest = _manifest(config, lineage, timesteps, success, sha256(temporary / WEIGHTS))
        (temporary / MANIFEST).write_text(sealed(manifest), encoding="utf-8")
        _replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return digest(folder)


def _replace(new: Path, folder: Path) -> None:
    """Put ``new`` where ``folder`` is; a crash in between leaves the old one under another name."""
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
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
    """The manifest, after checking format, observation schema, and the hash of every file and of itself.

    Raises:
        BundleError: if anything is missing, of another version, or changed.
    """
    try:
        manifest = read_files(folder)
    except ValueError as error:
        raise BundleError(str(error)) from None
    found = manifest["observation"]["version"]
    if found != SCHEMA_VERSION:
        raise BundleError(f"{folder}: observation schema {found} is not {SCHEMA_VERSION}; retrain the policy")
    if manifest["observation"] != observation_schema():
        raise BundleError(f"{folder}: the observation channels differ from this version's; retrain the policy")
    return manifest


def digest(folder: Path) -> str:
    """sha256 [hex] of the manifest, which holds the sha256 of every other file.

    Raises:
        BundleError: if the bundle does not pass `read_manifest`.
    """
    read_manifest(folder)
    return sha256(folder / MANIFEST)


def load_policy(folder: Path, *, threads: int = 1) -> NetworkPolicy:
    """The policy of a bundle, on the CPU.

    Args:
        threads: of torch, for the whole process; small networks run best on one.

    Raises:
        BundleError: if the bundle does not pass `read_manifest` or its weights do not fit its network.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from hlynr.rl.inference.actor import ACTIVATIONS
    from hlynr.rl.network import NetworkPolicy, build

    manifest = read_manifest(folder)
    try:
        network = manifest["network"]
        settings = {"net_arch": network["net_arch"], "activation_fn": ACTIVATIONS[network["activation"]]}
        if manifest["algorithm"] == "recurrent_ppo":
            settings["lstm_hidden_size"] = network["lstm_hidden_size"]
        policy = build(manifest["algorithm"], settings)
        policy.load_state_dict(load_file(str(folder / WEIGHTS)), strict=True)
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BundleError(f"{folder}: the weights do not fit the network in {MANIFEST}: {reason}") from None
    torch.set_num_threads(threads)
    return NetworkPolicy(manifest["algorithm"], policy)
