"""A bundle's two files, and what must hold before anything is built from them."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from errno import EFBIG, EISDIR, EPERM
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

FORMAT = 1
WEIGHTS, MANIFEST, SEAL = "weights.safetensors", "manifest.json", "sha256"
ALGORITHMS = ("ppo", "recurrent_ppo")
ACTIVATIONS = ("tanh", "relu", "elu")
ACTIONS = 3
WIDTH_LIMIT, DEPTH_LIMIT = 8192, 8
"""Of a network, as params.yaml allows them."""
HEADER_LIMIT = 1_000_000
"""[bytes] of the manifest, and of the header of the weights."""

Shapes = dict[str, tuple[int, ...]]


class BundleFiles(NamedTuple):
    """Both files, as they were when they were checked."""

    manifest: dict[str, Any]
    digest: str
    """sha256 [hex] of the manifest, which holds that of the weights."""
    weights: bytes


def sealed(manifest: dict[str, Any]) -> str:
    """The manifest's text, ending with the sha256 of all its other entries."""
    facts = {key: value for key, value in manifest.items() if key != SEAL}
    seal = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return json.dumps({**facts, SEAL: seal}, indent=2) + "\n"


def read_files(folder: Path) -> BundleFiles:
    """Both files, after checking the format, the hash of each, and the weights' names and shapes against the manifest.

    Raises:
        ValueError: in one line, if anything is missing, of another format or network, or changed.
    """
    try:
        return _read_files(folder)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None


def _read_files(folder: Path) -> BundleFiles:
    text = _read(folder / MANIFEST, HEADER_LIMIT, f"is no bundle: {MANIFEST}")
    manifest = _parsed(text, MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise ValueError(f"bundle format {_shown(found)} is not {FORMAT}")
    if text.decode() != sealed(manifest):
        raise ValueError(f"{MANIFEST} was changed: its {SEAL} is not that of its other entries")
    files = manifest.get("files")
    if not isinstance(files, dict) or set(files) != {WEIGHTS}:
        raise ValueError(f"{MANIFEST} does not name {WEIGHTS} alone as its files")
    try:
        wanted = shapes(manifest)
    except ValueError as error:
        raise _unfit(str(error)) from None
    weights = _read(folder / WEIGHTS, HEADER_LIMIT + sum(map(_bytes, wanted.values())), WEIGHTS)
    if hashlib.sha256(weights).hexdigest() != files[WEIGHTS]:
        raise ValueError(f"{WEIGHTS} was changed: its sha256 is not the one in {MANIFEST}")
    _require_shapes(weights, wanted)
    return BundleFiles(manifest, hashlib.sha256(text).hexdigest(), weights)


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most ``limit`` bytes; links to one are followed.

    Raises:
        OSError: if it cannot be read, is no regular file, or is larger.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)  # of what was opened: the path may lead elsewhere by now
        if stat.S_ISDIR(found.st_mode):
            raise OSError(EISDIR, os.strerror(EISDIR), str(path))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(EPERM, "Not a regular file", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1) if found.st_size <= limit else None
        if content is None or len(content) > limit:
            raise OSError(EFBIG, f"Larger than {limit:,} bytes", str(path))
        return content
    finally:
        os.close(descriptor)


def _read(path: Path, limit: int, name: str) -> bytes:
    try:
        return read_bytes(path, limit)
    except FileNotFoundError:
        raise ValueError(f"{name} is missing") from None
    except OSError as error:
        raise ValueError(f"{name} cannot be read ({error.strerror})") from None


def _parsed(text: bytes, name: str) -> Any:
    try:
        return json.loads(text.decode())  # without translating newlines
    except (ValueError, RecursionError):
        raise ValueError(f"{name} is not valid JSON") from None


def _shown(value: object) -> str:
    return str(value)[:80]


def _unfit(reason: str) -> ValueError:
    return ValueError(f"the weights do not fit the network in {MANIFEST}: {reason}")


def _require_shapes(weights: bytes, wanted: Shapes) -> None:
    """Compare safetensors' header with what the network needs."""
    length = int.from_bytes(weights[:8], "little")
    header = _parsed(weights[8 : 8 + min(length, HEADER_LIMIT)], WEIGHTS)
    if not isinstance(header, dict) or 8 + length + sum(map(_bytes, wanted.values())) != len(weights):
        raise _unfit(f"{len(weights):,} bytes are not theirs")
    header.pop("__metadata__", None)
    if different := header.keys() ^ wanted.keys():
        raise _unfit(_shown(min(different)))
    for name, shape in wanted.items():
        entry = header[name]
        if not isinstance(entry, dict) or entry.get("dtype") != "F32" or entry.get("shape") != list(shape):
            raise _unfit(f"{name} is not float32 {list(shape)}")


def _bytes(shape: tuple[int, ...]) -> int:
    size = 4
    for extent in shape:
        size *= extent
    return size


def shapes(manifest: dict[str, Any]) -> Shapes:
    """Names and shapes of the weights that the network of a manifest has.

    Raises:
        ValueError: if it describes no network.
    """
    algorithm, network = manifest.get("algorithm"), _entry(manifest, "network", dict)
    channels = _entry(_entry(manifest, "observation", dict), "channels", list)
    widths = _entry(network, "net_arch", list)
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm {_shown(algorithm)}")
    if network.get("activation") not in ACTIVATIONS:
        raise ValueError(f"activation {_shown(network.get('activation'))}")
    if not 1 <= len(widths) <= DEPTH_LIMIT:
        raise ValueError(f"net_arch has {len(widths)} layers; 1 to {DEPTH_LIMIT} are allowed")
    inputs = _width(len(channels), "observation.channels")
    found: Shapes = {"log_std": (ACTIONS,)}
    if algorithm == "recurrent_ppo":
        memory = _width(network.get("lstm_hidden_size"), "lstm_hidden_size")
        found |= dict(_lstm(inputs, memory))
        inputs = memory
    layers = [inputs, *(_width(width, "net_arch") for width in widths)]
    for net in ("policy_net", "value_net"):
        for number, (before, after) in enumerate(pairwise(layers)):
            found |= _linear(f"mlp_extractor.{net}.{2 * number}", before, after)
    return found | _linear("action_net", layers[-1], ACTIONS) | _linear("value_net", layers[-1], 1)


def _entry(mapping: dict[str, Any], key: str, kind: type[Any]) -> Any:
    if not isinstance(mapping.get(key), kind):
        raise ValueError(f"{key} is missing" if key not in mapping else f"{key} is {_shown(mapping[key])}")
    return mapping[key]


def _width(value: object, name: str) -> int:
    if type(value) is not int or not 1 <= value <= WIDTH_LIMIT:
        raise ValueError(f"{name} has the width {_shown(value)}; 1 to {WIDTH_LIMIT} are allowed")
    return value


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _lstm(inputs: int, memory: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for net in ("lstm_actor", "lstm_critic"):
        for kind, before in (("ih", inputs), ("hh", memory)):
            yield f"{net}.weight_{kind}_l0", (4 * memory, before)
            yield f"{net}.bias_{kind}_l0", (4 * memory,)
